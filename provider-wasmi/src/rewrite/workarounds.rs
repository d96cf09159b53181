//! Avoids instruction sequences that wasmi 2.0.0 miscompiles.
//!
//! Each is rewritten into an equivalent sequence that wasmi compiles correctly.
//! `tests/wasmi_defects.rs` runs a minimal case of each on plain wasmi and fails
//! as soon as the pinned version gets it right; the workaround goes then. The
//! reports for wasmi's maintainers are in `docs/upstream/`.
//!
//! - **Blocks with parameters** (`wasmi-block-params.md`): a local on the operand
//!   stack below the parameters is copied to its slot only on the path into the
//!   first nested block. Other paths read a stale slot. An empty block in front
//!   forces the copy. Fixture: `hostile/engine_block_params`.
//! - **`select` after a comparison with zero** (`wasmi-select-eqz.md`): if the
//!   compared number is in a local, wasmi fuses comparison and `select` and
//!   tests a stale register. Adding 0 to the condition prevents the fusion.
//!   Fixture: `hostile/engine_select_zero`.
//! - **`i32.store` of a local at itself** (`wasmi-store-same-local.md`): with an
//!   offset above 65535, or in another memory than the first, the translator
//!   panics. Adding 0 to the value makes address and value different operands.
//!   Fixture: `hostile/engine_store_itself`.
//! - **`v128.store8_lane` and `v128.store16_lane`** (`wasmi-store-lane.md`): with
//!   such an offset or memory, the interpreter continues at a wild address, which
//!   takes a guest out of its sandbox. The lane is extracted and stored as an
//!   `i32` instead. Fixture: `hostile/engine_store_lane`.

use std::{borrow::Cow, mem};

use wasmparser::{BinaryReaderError, BlockType, MemArg, Operator, Parser, Payload};

use super::edit::{
    Edit, Editor, HEADER_BYTES, SECTION_CODE, code_section, edit_body, write_bytes, write_leb128,
};

/// Returns `binary` with all workarounds applied, or `None` if it needs none.
///
/// An invalid module stays invalid.
pub(crate) fn apply(binary: &[u8]) -> Option<Vec<u8>> {
    let code = rewrite_code_section(binary).ok()??;
    let mut output = binary.get(..HEADER_BYTES)?.to_vec();
    for payload in Parser::new(0).parse_all(binary) {
        let Some((id, range)) = payload.ok()?.as_section() else {
            continue;
        };
        output.push(id);
        match id {
            SECTION_CODE => write_bytes(&mut output, &code),
            _ => write_bytes(&mut output, binary.get(range)?),
        }
    }
    Some(output)
}

/// Returns the new contents of the code section, or `None` if nothing changes.
fn rewrite_code_section(binary: &[u8]) -> Result<Option<Vec<u8>>, BinaryReaderError> {
    let (mut bodies, mut changed) = (vec![], false);
    for payload in Parser::new(0).parse_all(binary) {
        let Payload::CodeSectionEntry(body) = payload? else {
            continue;
        };
        let edited = edit_body(binary, &body, WorkaroundEditor::default())?;
        changed |= edited.is_some();
        bodies.push(edited.map_or(Cow::Borrowed(body.as_bytes()), Cow::Owned));
    }
    Ok(changed.then(|| code_section(bodies.iter().map(Cow::as_ref))))
}

/// Applies the workarounds to one function.
#[derive(Default)]
struct WorkaroundEditor {
    previous: Previous,
}

impl Editor for WorkaroundEditor {
    #[inline(always)]
    fn edit(&mut self, operator: &Operator<'_>) -> Option<Edit> {
        let previous = mem::replace(&mut self.previous, Previous::new(operator));
        edit_of(previous, operator)
    }
}

/// The previous instruction, as far as the workarounds distinguish it.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
enum Previous {
    /// Pushed a local.
    Local,
    /// Ended a block.
    End,
    /// wasmi may take the top of the stack for the result of a comparison: the
    /// instruction is one, or wasmi emits no code for it.
    Comparison,
    #[default]
    Other,
}

impl Previous {
    #[inline(always)]
    const fn new(operator: &Operator<'_>) -> Self {
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

/// Returns the edit of `operator` after `previous`.
#[inline(always)]
fn edit_of(previous: Previous, operator: &Operator<'_>) -> Option<Edit> {
    match operator {
        Operator::Block { blockty } | Operator::Loop { blockty } | Operator::If { blockty } => {
            // After another block only its results are on the stack.
            (matches!(blockty, BlockType::FuncType(_)) && previous != Previous::End)
                .then(|| Edit::InsertBefore(EMPTY_BLOCK.to_vec()))
        }
        Operator::Select | Operator::TypedSelect { .. } => {
            matches!(previous, Previous::Comparison | Previous::End)
                .then(|| Edit::InsertBefore(ADD_ZERO.to_vec()))
        }
        Operator::I32Store { memarg }
        | Operator::I32Store8 { memarg }
        | Operator::I32Store16 { memarg } => (has_wide_address(*memarg)
            && previous == Previous::Local)
            .then(|| Edit::InsertBefore(ADD_ZERO.to_vec())),
        Operator::V128Store8Lane { memarg, lane } => has_wide_address(*memarg)
            .then(|| Edit::Replace(lane_store(EXTRACT_LANE_8, *lane, I32_STORE_8, *memarg))),
        Operator::V128Store16Lane { memarg, lane } => has_wide_address(*memarg)
            .then(|| Edit::Replace(lane_store(EXTRACT_LANE_16, *lane, I32_STORE_16, *memarg))),
        _ => None,
    }
}

/// Returns whether wasmi encodes the address in its long form.
const fn has_wide_address(memarg: MemArg) -> bool {
    memarg.offset > 0xffff || memarg.memory != 0
}

/// Encodes the extraction of a lane and its store as an `i32`.
fn lane_store(extract: [u8; 2], lane: u8, store: u8, memarg: MemArg) -> Vec<u8> {
    let mut output = extract.to_vec();
    output.extend([lane, store]);
    match memarg.memory {
        0 => output.push(memarg.align),
        memory => {
            output.push(memarg.align | MEMORY_FLAG);
            write_leb128(&mut output, memory.into());
        }
    }
    write_leb128(&mut output, memarg.offset);
    output
}

/// `block`, `end`.
const EMPTY_BLOCK: [u8; 3] = [0x02, 0x40, 0x0b];
/// `i32.const 0`, `i32.add`.
const ADD_ZERO: [u8; 3] = [0x41, 0, 0x6a];
const I32_STORE_8: u8 = 0x3a;
const I32_STORE_16: u8 = 0x3b;
/// The prefix byte of all vector instructions.
const VECTOR_PREFIX: u8 = 0xfd;
/// `i8x16.extract_lane_u`, `i16x8.extract_lane_u`.
const EXTRACT_LANE_8: [u8; 2] = [VECTOR_PREFIX, 0x16];
const EXTRACT_LANE_16: [u8; 2] = [VECTOR_PREFIX, 0x19];
/// A flag in the alignment field: a memory index follows.
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

    #[test]
    fn miscompiled_sequences_are_rewritten() {
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
            assert_eq!(apply(&binary(&wrong)), Some(binary(&right)), "{wrong}");
            assert_eq!(apply(&binary(&right)), None, "{right}");
        }
    }

    #[test]
    fn other_sequences_are_kept() {
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
            assert_eq!(apply(&binary(right)), None, "{right}");
        }
    }

    #[test]
    fn invalid_modules_are_kept() {
        let mut cut = binary("i32.const 7 i32.const 8 local.get $a i32.eqz select drop");
        cut.truncate(cut.len() - 5);
        assert_eq!(apply(&cut), None);
        assert_eq!(apply(b"\0asm\x01\0\0\0"), None);
    }
}
