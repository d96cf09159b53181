//! Writes modules so that wasmi 2.0 runs them as it should.
//!
//! Some of its instructions go wrong, and each can be written in another way
//! that does the same. When the pinned wasmi does better, this goes.
//!
//! - **Blocks with parameters**: a local that lies on the stack beneath is put
//!   where it is kept only when the next block within begins, and the other
//!   ways out of the block find there whatever was there before
//!   (`hostile/engine_block_params`). An empty block in front has it put there
//!   in time.
//! - **`select` after a comparison with zero**: where the number compared is in
//!   a local, wasmi leaves the comparison out and decides by whatever its
//!   register holds (`hostile/engine_select_zero`). An instruction between the
//!   two, which changes nothing, keeps it from joining them.
//! - **`i32.store` at an offset above 65535, or in another memory than the
//!   first**: where address and value are the same local, its translator panics
//!   (`hostile/engine_store_itself`). The same instruction makes them two.
//! - **`v128.store8_lane` and `v128.store16_lane`** there: the interpreter goes
//!   on at a wild address (`hostile/engine_store_lane`), which takes a guest
//!   out of its sandbox. Taking the lane out and storing it as an `i32` is the
//!   same.

use std::{borrow::Cow, mem};

use wasmparser::{BinaryReaderError, BlockType, MemArg, Operator, Parser, Payload};

use super::edit::{Edit, Editor, HEADER_BYTES, SECTION_CODE, bytes, code_section, edited, number};

/// `binary` without what wasmi gets wrong; `None` if there is nothing of it.
///
/// A module that is not valid stays so.
pub(crate) fn mend(binary: &[u8]) -> Option<Vec<u8>> {
    let code = mended_code(binary).ok()??;
    let mut output = binary.get(..HEADER_BYTES)?.to_vec();
    for payload in Parser::new(0).parse_all(binary) {
        let Some((id, range)) = payload.ok()?.as_section() else {
            continue;
        };
        output.push(id);
        match id {
            SECTION_CODE => bytes(&mut output, &code),
            _ => bytes(&mut output, binary.get(range)?),
        }
    }
    Some(output)
}

/// The contents of the code section, if they need mending.
fn mended_code(binary: &[u8]) -> Result<Option<Vec<u8>>, BinaryReaderError> {
    let (mut bodies, mut mended) = (vec![], false);
    for payload in Parser::new(0).parse_all(binary) {
        let Payload::CodeSectionEntry(body) = payload? else {
            continue;
        };
        let changed = edited(binary, &body, Mending::default())?;
        mended |= changed.is_some();
        bodies.push(changed.map_or(Cow::Borrowed(body.as_bytes()), Cow::Owned));
    }
    Ok(mended.then(|| code_section(bodies.iter().map(Cow::as_ref))))
}

/// Mends a function.
#[derive(Default)]
struct Mending {
    previous: Previous,
}

impl Editor for Mending {
    #[inline(always)]
    fn edit(&mut self, operator: &Operator<'_>) -> Option<Edit> {
        let previous = mem::replace(&mut self.previous, Previous::of(operator));
        edit_of(previous, operator)
    }
}

/// The kind of the instruction before, as far as it matters.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
enum Previous {
    /// It has left a local on the stack.
    Local,
    /// It has ended a block.
    End,
    /// wasmi may take what is on the stack behind it for the outcome of a
    /// comparison: such an instruction, or one for which it does nothing.
    Comparison,
    #[default]
    Other,
}

impl Previous {
    #[inline(always)]
    const fn of(operator: &Operator<'_>) -> Self {
        match operator {
            Operator::LocalGet { .. } | Operator::LocalTee { .. } => Self::Local,
            Operator::End => Self::End,
            Operator::I32Eqz
            | Operator::I32Eq
            | Operator::I32Ne
            | Operator::I32Shl
            | Operator::I32ShrS
            | Operator::I32ShrU
            | Operator::I32Rotl
            | Operator::I32Rotr
            | Operator::Nop
            | Operator::Drop
            | Operator::Block { .. }
            | Operator::Loop { .. }
            | Operator::LocalSet { .. } => Self::Comparison,
            _ => Self::Other,
        }
    }
}

/// What becomes of `operator` behind `previous`.
#[inline(always)]
fn edit_of(previous: Previous, operator: &Operator<'_>) -> Option<Edit> {
    match operator {
        Operator::Block { blockty } | Operator::Loop { blockty } | Operator::If { blockty } => {
            // Behind another block there are only its results.
            (matches!(blockty, BlockType::FuncType(_)) && previous != Previous::End)
                .then(|| Edit::Before(EMPTY_BLOCK.to_vec()))
        }
        Operator::Select | Operator::TypedSelect { .. } => {
            matches!(previous, Previous::Comparison | Previous::End)
                .then(|| Edit::Before(SAME_NUMBER.to_vec()))
        }
        Operator::I32Store { memarg }
        | Operator::I32Store8 { memarg }
        | Operator::I32Store16 { memarg } => (is_far(*memarg) && previous == Previous::Local)
            .then(|| Edit::Before(SAME_NUMBER.to_vec())),
        Operator::V128Store8Lane { memarg, lane } => is_far(*memarg)
            .then(|| Edit::Instead(stored(EXTRACT_LANE_8, *lane, I32_STORE_8, *memarg))),
        Operator::V128Store16Lane { memarg, lane } => is_far(*memarg)
            .then(|| Edit::Instead(stored(EXTRACT_LANE_16, *lane, I32_STORE_16, *memarg))),
        _ => None,
    }
}

/// Whether wasmi encodes the address in its long form.
const fn is_far(memarg: MemArg) -> bool {
    memarg.offset > 0xffff || memarg.memory != 0
}

/// Stores a lane, taken out of its vector.
fn stored(extract: [u8; 2], lane: u8, store: u8, memarg: MemArg) -> Vec<u8> {
    let mut output = extract.to_vec();
    output.extend([lane, store]);
    match memarg.memory {
        0 => output.push(memarg.align),
        memory => {
            output.push(memarg.align | MEMORY_FLAG);
            number(&mut output, memory.into());
        }
    }
    number(&mut output, memarg.offset);
    output
}

/// `block`, `end`.
const EMPTY_BLOCK: [u8; 3] = [0x02, 0x40, 0x0b];
/// `i32.const 0`, `i32.add`.
const SAME_NUMBER: [u8; 3] = [0x41, 0, 0x6a];
const I32_STORE_8: u8 = 0x3a;
const I32_STORE_16: u8 = 0x3b;
/// The byte that every vector instruction begins with.
const VECTOR_PREFIX: u8 = 0xfd;
/// `i8x16.extract_lane_u`, `i16x8.extract_lane_u`.
const EXTRACT_LANE_8: [u8; 2] = [VECTOR_PREFIX, 0x16];
const EXTRACT_LANE_16: [u8; 2] = [VECTOR_PREFIX, 0x19];
/// In the alignment: the index of a memory follows.
const MEMORY_FLAG: u8 = 0x40;

#[cfg(test)]
mod tests {
    use super::*;

    fn binary(function: &str) -> Vec<u8> {
        let text = format!(
            "(module (memory 1) (memory 1) (func) (func (param $a i32) (local $v v128) {function}))"
        );
        wapc_host::module::binary(text.as_bytes())
            .unwrap()
            .into_owned()
    }

    /// Each with what it becomes.
    #[test]
    fn what_wasmi_gets_wrong_is_written_in_another_way() {
        let values = "i32.const 7 i32.const 8 local.get $a";
        let select =
            |condition: &str, typed: &str| format!("{values} {condition} select {typed} drop");
        let same = "i32.const 0 i32.add";
        let mut cases = vec![];
        for typed in ["", "(result i32)"] {
            for condition in [
                "i32.eqz",
                "i32.const 0 i32.eq",
                "i32.const 0 i32.ne",
                "i32.eqz nop",
                "i32.eqz i32.const 32 i32.shl",
                "i32.eqz local.get $a drop",
                "i32.eqz local.get $a local.set $a",
                "(block (result i32) i32.eqz)",
            ] {
                cases.push((
                    select(condition, typed),
                    select(&format!("{condition} {same}"), typed),
                ));
            }
        }
        for store in ["i32.store", "i32.store8", "i32.store16"] {
            for place in ["offset=65536", "1"] {
                let store =
                    |same: &str| format!("local.get $a local.get $a {same} {store} {place}");
                cases.push((store(""), store(same)));
            }
        }
        for (place, lane) in [("offset=65536", 3), ("1", 0), ("1 offset=70000 align=1", 5)] {
            for (bits, shape) in [(8, "i8x16"), (16, "i16x8")] {
                cases.push((
                    format!("local.get $a local.get $v v128.store{bits}_lane {place} {lane}"),
                    format!(
                        "local.get $a local.get $v {shape}.extract_lane_u {lane} \
                         i32.store{bits} {place}"
                    ),
                ));
            }
        }
        for block in ["block", "loop", "i32.eqz if"] {
            let nested = |before: &str| {
                let block = block.replace("if", &format!("{before} if"));
                let before = if block.contains("if") { "" } else { before };
                format!("local.get $a local.get $a {before} {block} (param i32) drop end drop")
            };
            cases.push((nested(""), nested("block end")));
        }
        for (wrong, right) in cases {
            assert_eq!(mend(&binary(&wrong)), Some(binary(&right)), "{wrong}");
            assert_eq!(mend(&binary(&right)), None, "{right}");
        }
    }

    #[test]
    fn all_else_stays_as_it_is() {
        for right in [
            "i32.const 7 i32.const 8 local.get $a select drop",
            "i32.const 7 i32.const 8 local.get $a i32.const 3 i32.lt_s select drop",
            "local.get $a local.get $a i32.store offset=65535",
            "local.get $a i32.const 0 i32.store offset=65536",
            "local.get $a local.get $v v128.store8_lane offset=65535 0",
            "local.get $a local.get $v v128.store32_lane offset=65536 0",
            "local.get $a local.get $v v128.store offset=65536",
            "local.get $a block (result i32) local.get $a if end local.get $a end drop drop",
        ] {
            assert_eq!(mend(&binary(right)), None, "{right}");
        }
    }

    #[test]
    fn what_is_no_module_is_left_alone() {
        let mut cut = binary("i32.const 7 i32.const 8 local.get $a i32.eqz select drop");
        cut.truncate(cut.len() - 5);
        assert_eq!(mend(&cut), None);
        assert_eq!(mend(b"\0asm\x01\0\0\0"), None);
    }
}
