//! Changes single instructions of a module in the
//! [binary format](https://webassembly.github.io/spec/core/binary/).

use wasmparser::{BinaryReaderError, FunctionBody, Operator};

/// What becomes of an instruction.
pub(crate) enum Edit {
    /// These bytes come before it.
    Before(Vec<u8>),
    /// These bytes come in its place.
    Instead(Vec<u8>),
}

/// A function's body with `edit` applied to each of its instructions; `None`
/// if that changes nothing. `binary` is the module that it is in.
pub(crate) fn edited<'m>(
    binary: &'m [u8],
    body: &FunctionBody<'m>,
    mut edit: impl FnMut(&Operator<'m>) -> Option<Edit>,
) -> Result<Option<Vec<u8>>, BinaryReaderError> {
    let range = body.range();
    let mut copied = range.start;
    let mut output = Vec::new();
    let mut operators = body.get_operators_reader()?;
    while !operators.eof() {
        let (operator, at) = operators.read_with_offset()?;
        let Some(edit) = edit(&operator) else {
            continue;
        };
        output.extend(binary.get(copied..at).unwrap_or_default());
        let (bytes, next) = match edit {
            Edit::Before(bytes) => (bytes, at),
            Edit::Instead(bytes) => (bytes, operators.original_position()),
        };
        output.extend(bytes);
        copied = next;
    }
    if copied == range.start {
        return Ok(None);
    }
    output.extend(binary.get(copied..range.end).unwrap_or_default());
    Ok(Some(output))
}

/// The contents of a code section with these bodies.
pub(crate) fn code_section<'b>(bodies: impl ExactSizeIterator<Item = &'b [u8]>) -> Vec<u8> {
    let mut section = Vec::new();
    count(&mut section, bodies.len());
    for body in bodies {
        bytes(&mut section, body);
    }
    section
}

/// Writes `contents` behind their length.
pub(crate) fn bytes(output: &mut Vec<u8>, contents: &[u8]) {
    count(output, contents.len());
    output.extend(contents);
}

fn count(output: &mut Vec<u8>, count: usize) {
    // A module is no larger than its format allows: 4 GiB.
    number(output, u64::try_from(count).unwrap_or(u64::MAX));
}

/// Writes an unsigned number in LEB128.
pub(crate) fn number(output: &mut Vec<u8>, mut value: u64) {
    loop {
        let [low, ..] = value.to_le_bytes();
        value >>= 7;
        if value == 0 {
            output.push(low & 0x7f);
            return;
        }
        output.push(low | 0x80);
    }
}

pub(crate) const HEADER_BYTES: usize = 8;
pub(crate) const SECTION_CODE: u8 = 10;
