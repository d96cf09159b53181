//! Guests that are made in code. Needs the feature `generate`.
//!
//! A [`large_guest`] has the code, the data and the names of a program of about
//! 400 KB, so that compiling it takes as long as compiling a real guest:
//!
//! ```
//! use guest_fixtures::generate::{Entry, large_guest};
//!
//! let guest = large_guest(Entry::Echo, 0);
//! assert!((380_000..420_000).contains(&guest.len()));
//! assert!(guest == large_guest(Entry::Echo, 0), "the same seed gives the same bytes");
//! ```

mod functions;
mod random;

use std::borrow::Cow;

use wasm_encoder::{
    BlockType, CodeSection, ConstExpr, DataSection, ElementSection, Elements, EntityType,
    ExportKind, ExportSection, Function, FunctionSection, ImportSection, InstructionSink,
    MemorySection, MemoryType, Module, NameMap, NameSection, RefType, TableSection, TableType,
    TypeSection, ValType,
};

use self::{
    functions::{BINARY, TABLE_SIZE, WORD},
    random::Random,
};

/// The function that the host calls in a [`large_guest`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Entry {
    /// Responds with the payload, over waPC. Payloads have up to 62 KiB.
    Echo,
    /// Computes, over waPC. The first four bytes of the payload are the number
    /// of rounds, in little-endian order; the response is the payload with
    /// [`computed`] in their place.
    Compute,
    /// Responds with the payload over Extism's calls, exported as `echo`.
    ExtismEcho,
}

/// Makes a guest of about 400 KB.
///
/// Its functions are drawn at random from what compilers emit: arithmetic, loads
/// and stores, branches, loops, direct and indirect calls. Equal seeds give
/// equal guests. A call runs eight of the functions (with [`Entry::Compute`],
/// eight in each round), so an engine that compiles lazily compiles a small
/// part.
#[must_use]
pub fn large_guest(entry: Entry, seed: u64) -> Vec<u8> {
    let mut random = Random::new(seed);
    let imported = entry.imports();

    let mut types = TypeSection::new();
    types.ty().function([ValType::I32; 2], [ValType::I32]);
    types.ty().function([ValType::I32; 2], []);
    types.ty().function([], [ValType::I64]);
    types.ty().function([ValType::I64; 2], []);
    types.ty().function([], [ValType::I32]);

    let mut imports = ImportSection::new();
    let mut first = 0;
    for (module, name, ty) in imported {
        imports.import(module, name, EntityType::Function(*ty));
        first += 1;
    }

    let mut functions = FunctionSection::new();
    let mut code = CodeSection::new();
    let mut count = 0;
    while code.byte_len() < CODE_BYTES {
        functions.function(BINARY);
        code.function(&functions::body(&mut random, first, count));
        count += 1;
    }
    functions.function(entry.ty());
    code.function(&entry.body(first, count));

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
    exports.export(entry.export(), ExportKind::Func, first + count);
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
        (0..DATA_BYTES).map(|_| random.byte()),
    );
    let mut names = NameSection::new();
    let mut function_names = NameMap::new();
    for nth in 0..count {
        function_names.append(first + nth, &functions::name(&mut random, nth));
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

/// The number that a guest with [`Entry::Compute`] responds with after this many
/// rounds.
///
/// ```
/// use guest_fixtures::generate::computed;
///
/// assert_eq!(computed(0), 1);
/// assert_ne!(computed(1), computed(2));
/// ```
#[must_use]
pub fn computed(rounds: u32) -> u32 {
    (0..rounds).fold(1, |result, _| {
        (1..=STEPS).rev().fold(result, |result: u32, step| {
            result
                .wrapping_mul(FACTOR)
                .rotate_left(7)
                .wrapping_add(step)
        })
    })
}

impl Entry {
    /// Module, name and type of each imported function.
    const fn imports(self) -> &'static [(&'static str, &'static str, u32)] {
        match self {
            Self::Echo | Self::Compute => &[
                ("wapc", "__guest_request", CONSUMER),
                ("wapc", "__guest_response", CONSUMER),
            ],
            Self::ExtismEcho => &[
                ("extism:host/env", "input_offset", LONG_SOURCE),
                ("extism:host/env", "input_length", LONG_SOURCE),
                ("extism:host/env", "output_set", LONG_CONSUMER),
            ],
        }
    }

    const fn export(self) -> &'static str {
        match self {
            Self::Echo | Self::Compute => "__guest_call",
            Self::ExtismEcho => "echo",
        }
    }

    const fn ty(self) -> u32 {
        match self {
            Self::Echo | Self::Compute => BINARY,
            Self::ExtismEcho => SOURCE,
        }
    }

    /// The body of the exported function, where `count` generated functions
    /// begin at the index `first`.
    fn body(self, first: u32, count: u32) -> Function {
        let mut function = match self {
            Self::Echo | Self::ExtismEcho => Function::new([]),
            Self::Compute => Function::new([(3, ValType::I32)]),
        };
        let mut code = function.instructions();
        match self {
            Self::Echo => {
                call_some(&mut code, first, count);
                code.i32_const(REQUEST).i32_const(PAYLOAD).call(0);
                code.i32_const(PAYLOAD).local_get(1).call(1);
                code.i32_const(1);
            }
            Self::Compute => compute(&mut code, first, count),
            Self::ExtismEcho => {
                call_some(&mut code, first, count);
                code.call(0).call(1).call(2).i32_const(0);
            }
        }
        code.end();
        function
    }
}

/// Calls eight functions, spread over all.
fn call_some(code: &mut InstructionSink<'_>, first: u32, count: u32) {
    for nth in 0..8_u32 {
        code.i32_const(functions::LEAF).i32_const(nth.cast_signed());
        code.call(first + nth * (count / 8)).drop();
    }
}

/// The body of [`Entry::Compute`]; [`computed`] gives its result.
fn compute(code: &mut InstructionSink<'_>, first: u32, count: u32) {
    const MSG_LENGTH: u32 = 1;
    const ROUNDS: u32 = 2;
    const STEP: u32 = 3;
    const RESULT: u32 = 4;
    code.i32_const(REQUEST).i32_const(PAYLOAD).call(0);
    code.i32_const(PAYLOAD).i32_load(WORD).local_set(ROUNDS);
    code.i32_const(1).local_set(RESULT);
    code.loop_(BlockType::Empty);
    code.local_get(ROUNDS).if_(BlockType::Empty);
    call_some(code, first, count);
    code.i32_const(STEPS.cast_signed()).local_set(STEP);
    code.loop_(BlockType::Empty);
    code.local_get(RESULT).i32_const(FACTOR.cast_signed());
    code.i32_mul().i32_const(7).i32_rotl();
    code.local_get(STEP).i32_add().local_set(RESULT);
    code.local_get(STEP).i32_const(1).i32_sub().local_tee(STEP);
    code.br_if(0).end();
    code.local_get(ROUNDS).i32_const(1).i32_sub();
    code.local_set(ROUNDS).br(1).end().end();
    code.i32_const(PAYLOAD).local_get(RESULT).i32_store(WORD);
    code.i32_const(PAYLOAD).local_get(MSG_LENGTH).call(1);
    code.i32_const(1);
}

// The indices of the types; that of `BINARY` is 0.
const CONSUMER: u32 = 1;
const LONG_SOURCE: u32 = 2;
const LONG_CONSUMER: u32 = 3;
const SOURCE: u32 = 4;

const CODE_BYTES: usize = 140 * 1024;
const DATA_BYTES: usize = 210 * 1024;
const DATA_START: i32 = 1024;
/// The operation's name is written to the fifth page, behind the data.
const REQUEST: i32 = 4 << 16;
const PAYLOAD: i32 = REQUEST + 1024;
const STEPS: u32 = 1000;
const FACTOR: u32 = 0x0193_0001;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_large_guest_has_about_400_kb_and_depends_on_its_seed_alone() {
        for entry in [Entry::Echo, Entry::Compute, Entry::ExtismEcho] {
            let guest = large_guest(entry, 1);
            assert!((380_000..420_000).contains(&guest.len()), "{}", guest.len());
            assert!(guest == large_guest(entry, 1));
            assert!(guest != large_guest(entry, 2));
        }
    }
}
