//! Functions with the instructions and the names that compilers emit.

use wasm_encoder::{BlockType, Function, InstructionSink, MemArg, MemArgTarget, ValType};

use super::random::Random;

/// A first argument with which no generated function calls another.
pub(super) const LEAF: i32 = 7;

/// A name of the length that mangled names have.
pub(super) fn name(random: &mut Random, nth: u32) -> String {
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
    let mut word = || random.one_of(WORDS);
    format!("{}{}{}function_{nth}", word(), word(), word())
}

/// The function that is the `index`th of the generated ones: two parameters,
/// four locals. It calls only functions before it, of which the first has the
/// index `first` in the module.
pub(super) fn body(random: &mut Random, first: u32, index: u32) -> Function {
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
            code.i32_load(WORD).local_set(target(random));
        }
        4 => {
            address(code, random);
            code.local_get(any_local(random)).i32_store(WORD);
        }
        5 => {
            code.local_get(any_local(random)).i32_const(1).i32_and();
            code.if_(BlockType::Empty);
            arithmetic(code, random);
            code.local_set(target(random)).else_();
            arithmetic(code, random);
            code.local_set(target(random)).end();
        }
        6 => {
            let turns = 3 + random.below(5);
            code.i32_const(turns.cast_signed()).local_set(COUNTER);
            code.loop_(BlockType::Empty);
            arithmetic(code, random);
            code.local_set(target(random));
            code.local_get(COUNTER).i32_const(1).i32_sub();
            code.local_tee(COUNTER).br_if(0).end();
        }
        _ => {
            code.local_get(0).i32_const(LEAF).i32_ne();
            code.if_(BlockType::Empty);
            code.local_get(any_local(random))
                .local_get(any_local(random));
            if index == 0 || random.below(4) == 0 {
                let mask = TABLE_SIZE - 1;
                code.local_get(any_local(random))
                    .i32_const(mask.cast_signed());
                code.i32_and().call_indirect(0, BINARY);
            } else {
                code.call(first + random.below(index));
            }
            code.local_set(target(random)).end();
        }
    }
}

fn arithmetic(code: &mut InstructionSink<'_>, random: &mut Random) {
    code.local_get(any_local(random));
    if random.below(2) == 0 {
        code.local_get(any_local(random));
    } else {
        code.i32_const(random.below(1 << 20).cast_signed());
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

/// An address in the first page, a multiple of four.
fn address(code: &mut InstructionSink<'_>, random: &mut Random) {
    code.local_get(any_local(random)).i32_const(0xfffc);
    code.i32_and();
}

/// A parameter or a local to read.
fn any_local(random: &mut Random) -> u32 {
    random.below(6)
}

/// A local to write. The parameters decide which function is called, and
/// [`COUNTER`] ends loops: none of them may change.
fn target(random: &mut Random) -> u32 {
    2 + random.below(3)
}

const COUNTER: u32 = 5;

/// The index of the type of functions with two numbers and a result.
pub(super) const BINARY: u32 = 0;

pub(super) const TABLE_SIZE: u32 = 128;

/// Access to an aligned `i32` of the first memory.
pub(super) const WORD: MemArg = MemArg {
    offset: 0,
    align: 2,
    target: MemArgTarget::Memory(0),
    ordering: None,
};
