//! A guest of about 400 KB: an echo that carries the code, the data and the names of a
//! larger program.
//!
//! The functions are drawn at random, always the same ones, from what compilers emit:
//! arithmetic, loads and stores, branches, loops, direct and indirect calls. Each call of
//! the guest runs a few of them, so that an engine that compiles at first use has some
//! work, but much less than the whole.

use std::borrow::Cow;

use wasm_encoder::{
    BlockType, CodeSection, ConstExpr, DataSection, ElementSection, Elements, EntityType,
    ExportKind, ExportSection, Function, FunctionSection, ImportSection, InstructionSink, MemArg,
    MemorySection, MemoryType, Module, NameMap, NameSection, RefType, TableSection, TableType,
    TypeSection, ValType,
};

use crate::guests::Dialect;

pub fn generate(dialect: Dialect) -> Vec<u8> {
    let mut random = Random(0x9e37_79b9_7f4a_7c15);

    let mut types = TypeSection::new();
    types
        .ty()
        .function([ValType::I32, ValType::I32], [ValType::I32]);
    types.ty().function([ValType::I32, ValType::I32], []);
    types.ty().function([], [ValType::I64]);
    types.ty().function([ValType::I64, ValType::I64], []);
    types.ty().function([], [ValType::I32]);

    let imported: &[(&str, &str, u32)] = match dialect {
        Dialect::Wapc => &[
            ("wapc", "__guest_request", 1),
            ("wapc", "__guest_response", 1),
        ],
        Dialect::Extism => &[
            ("extism:host/env", "input_offset", 2),
            ("extism:host/env", "input_length", 2),
            ("extism:host/env", "output_set", 3),
        ],
    };
    let mut imports = ImportSection::new();
    for (module, name, ty) in imported {
        imports.import(module, name, EntityType::Function(*ty));
    }
    let first = imported.len() as u32;

    let mut functions = FunctionSection::new();
    let mut code = CodeSection::new();
    let mut count = 0;
    while code.byte_len() < CODE_BYTES {
        functions.function(0);
        code.function(&body(&mut random, first, count));
        count += 1;
    }
    let entry = first + count;
    functions.function(if dialect == Dialect::Wapc { 0 } else { 4 });
    code.function(&entry_point(dialect, first, count));

    let mut tables = TableSection::new();
    tables.table(TableType {
        element_type: RefType::FUNCREF,
        table64: false,
        minimum: TABLE_SIZE.into(),
        maximum: Some(TABLE_SIZE.into()),
        shared: false,
    });
    let mut memories = MemorySection::new();
    memories.memory(MemoryType {
        minimum: 5,
        maximum: None,
        memory64: false,
        shared: false,
        page_size_log2: None,
    });
    let mut exports = ExportSection::new();
    exports.export("memory", ExportKind::Memory, 0);
    let entry_name = match dialect {
        Dialect::Wapc => "__guest_call",
        Dialect::Extism => "echo",
    };
    exports.export(entry_name, ExportKind::Func, entry);
    let mut elements = ElementSection::new();
    let indirect: Vec<u32> = (0..TABLE_SIZE).map(|slot| first + slot * 3).collect();
    elements.active(
        None,
        &ConstExpr::i32_const(0),
        Elements::Functions(Cow::from(indirect)),
    );
    let mut data = DataSection::new();
    data.active(
        0,
        &ConstExpr::i32_const(DATA_START),
        (0..DATA_BYTES).map(|_| random.below(256) as u8),
    );

    let mut names = NameSection::new();
    let mut function_names = NameMap::new();
    for nth in 0..count {
        function_names.append(first + nth, &name(&mut random, nth));
    }
    names.functions(&function_names);

    let mut module = Module::new();
    module
        .section(&types)
        .section(&imports)
        .section(&functions)
        .section(&tables)
        .section(&memories)
        .section(&exports)
        .section(&elements)
        .section(&code)
        .section(&data)
        .section(&names);
    module.finish()
}

const CODE_BYTES: usize = 140 * 1024;
const DATA_BYTES: usize = 210 * 1024;
const DATA_START: i32 = 1024;
/// The fifth page: what the guest is sent goes behind its data.
const REQUEST: i32 = 4 << 16;
const TABLE_SIZE: u32 = 128;
/// Function 0 and so on, called with this, never take the branches that call further.
const SEED: i32 = 7;

/// As long as the names of functions are that compilers leave in.
fn name(random: &mut Random, nth: u32) -> String {
    const WORDS: [&str; 8] = [
        "core::fmt::",
        "alloc::vec::",
        "serde::de::",
        "policy::rules::",
        "iter::adapters::",
        "string::",
        "collections::map::",
        "request::headers::",
    ];
    let word = |random: &mut Random| WORDS[random.below(8) as usize];
    format!(
        "{}{}{}function_{nth}",
        word(random),
        word(random),
        word(random)
    )
}

/// What the host calls: runs eight of the functions, then echoes.
fn entry_point(dialect: Dialect, first: u32, count: u32) -> Function {
    let mut function = Function::new([]);
    let mut code = function.instructions();
    for nth in 0..8 {
        code.i32_const(SEED).i32_const(nth);
        code.call(first + nth as u32 * (count / 8)).drop();
    }
    match dialect {
        Dialect::Wapc => code
            .i32_const(REQUEST)
            .i32_const(REQUEST + 1024)
            .call(0)
            .i32_const(REQUEST + 1024)
            .local_get(1)
            .call(1)
            .i32_const(1),
        Dialect::Extism => code.call(0).call(1).call(2).i32_const(0),
    };
    code.end();
    function
}

/// The function with this index among the generated ones: two parameters, four locals.
fn body(random: &mut Random, first: u32, index: u32) -> Function {
    let mut function = Function::new([(4, ValType::I32)]);
    let mut code = function.instructions();
    for _ in 0..8 + random.below(14) {
        statement(&mut code, random, first, index);
    }
    code.local_get(2).local_get(3).i32_xor().end();
    function
}

fn statement(code: &mut InstructionSink<'_>, random: &mut Random, first: u32, index: u32) {
    match random.below(8) {
        0..=2 => {
            arithmetic(code, random);
            code.local_set(target(random));
        }
        3 => {
            address(code, random);
            code.i32_load(aligned()).local_set(target(random));
        }
        4 => {
            address(code, random);
            code.local_get(any(random)).i32_store(aligned());
        }
        5 => {
            code.local_get(any(random)).i32_const(1).i32_and();
            code.if_(BlockType::Empty);
            arithmetic(code, random);
            code.local_set(target(random)).else_();
            arithmetic(code, random);
            code.local_set(target(random)).end();
        }
        6 => {
            code.i32_const(3 + random.below(5) as i32).local_set(5);
            code.loop_(BlockType::Empty);
            arithmetic(code, random);
            code.local_set(2 + random.below(3));
            code.local_get(5).i32_const(1).i32_sub().local_tee(5);
            code.br_if(0).end();
        }
        _ => {
            code.local_get(0).i32_const(SEED).i32_ne();
            code.if_(BlockType::Empty);
            code.local_get(any(random)).local_get(any(random));
            if index == 0 || random.below(4) == 0 {
                code.local_get(any(random)).i32_const(TABLE_SIZE as i32 - 1);
                code.i32_and().call_indirect(0, 0);
            } else {
                code.call(first + random.below(index));
            }
            code.local_set(target(random)).end();
        }
    }
}

fn arithmetic(code: &mut InstructionSink<'_>, random: &mut Random) {
    code.local_get(any(random));
    if random.below(2) == 0 {
        code.local_get(any(random));
    } else {
        code.i32_const(random.below(1 << 20) as i32);
    }
    match random.below(7) {
        0 => code.i32_add(),
        1 => code.i32_sub(),
        2 => code.i32_mul(),
        3 => code.i32_xor(),
        4 => code.i32_shl(),
        5 => code.i32_rotl(),
        _ => code.i32_lt_u(),
    };
}

/// An address inside the first page, a multiple of four.
fn address(code: &mut InstructionSink<'_>, random: &mut Random) {
    code.local_get(any(random)).i32_const(0xfffc).i32_and();
}

fn aligned() -> MemArg {
    MemArg {
        offset: 0,
        align: 2,
        memory_index: 0,
    }
}

/// A parameter or a local to read.
fn any(random: &mut Random) -> u32 {
    random.below(6)
}

/// A local to write: not the parameters, which decide who is called, nor the loop counter.
fn target(random: &mut Random) -> u32 {
    2 + random.below(3)
}

/// xorshift64*: the same guest in every run, without a dependency.
struct Random(u64);

impl Random {
    fn below(&mut self, limit: u32) -> u32 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        let high = (self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 32) as u32;
        high % limit
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_about_400_kb_and_the_same_each_time() {
        let guest = generate(Dialect::Wapc);
        assert!((380_000..420_000).contains(&guest.len()), "{}", guest.len());
        assert!(guest == generate(Dialect::Wapc));
    }
}
