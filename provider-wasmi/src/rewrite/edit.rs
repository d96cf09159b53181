//! Changes single instructions of a module in the
//! [binary format](https://webassembly.github.io/spec/core/binary/).

use wasmparser::{
    BinaryReaderError, FunctionBody, Operator, VisitOperator, VisitSimdOperator,
    for_each_visit_operator, for_each_visit_simd_operator,
};

/// A change of one instruction.
pub(crate) enum Edit {
    /// Inserts these bytes in front of it.
    InsertBefore(Vec<u8>),
    /// Replaces it by these bytes.
    Replace(Vec<u8>),
}

/// Called for each instruction in order. Returns the edit to apply, or `None` to
/// keep it.
pub(crate) trait Editor {
    /// Implementations must be `#[inline(always)]`: see [`EditingVisitor`].
    fn edit(&mut self, operator: &Operator<'_>) -> Option<Edit>;
}

/// Applies `editor` to a function's body, a part of the module `binary`. Returns
/// `None` if nothing changes.
pub(crate) fn edit_body<'m>(
    binary: &'m [u8],
    body: &FunctionBody<'m>,
    editor: impl Editor,
) -> Result<Option<Vec<u8>>, BinaryReaderError> {
    let range = body.range();
    let mut copied = range.start;
    let mut output = Vec::new();
    let mut operators = body.get_operators_reader()?;
    let mut visitor = EditingVisitor { editor, edit: None };
    while !operators.eof() {
        let at = operators.original_position();
        operators.visit_operator(&mut visitor)?;
        let Some(edit) = visitor.edit.take() else {
            continue;
        };
        output.extend(binary.get(copied..at).unwrap_or_default());
        let (bytes, next) = match edit {
            Edit::InsertBefore(bytes) => (bytes, at),
            Edit::Replace(bytes) => (bytes, operators.original_position()),
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

/// Passes each instruction to an editor.
///
/// Each kind of instruction has its own method, into which the editor is
/// inlined. Most of them then compile to nothing, which takes half as long as
/// reading each instruction as an `Operator` and matching on it.
struct EditingVisitor<E> {
    editor: E,
    edit: Option<Edit>,
}

macro_rules! visit {
    ($(
        @$proposal:ident $operator:ident
        $({ $($argument:ident: $type:ty),* })? => $visit:ident ($($annotation:tt)*)
    )*) => {
        $(
            #[inline]
            fn $visit(&mut self $($(, $argument: $type)*)?) {
                let operator = Operator::$operator $({ $($argument),* })?;
                if let Some(edit) = self.editor.edit(&operator) {
                    self.edit = Some(edit);
                }
            }
        )*
    };
}

impl<'a, E: Editor> VisitOperator<'a> for EditingVisitor<E> {
    type Output = ();

    fn simd_visitor(&mut self) -> Option<&mut dyn VisitSimdOperator<'a, Output = ()>> {
        Some(self)
    }

    for_each_visit_operator!(visit);
}

impl<'a, E: Editor> VisitSimdOperator<'a> for EditingVisitor<E> {
    for_each_visit_simd_operator!(visit);
}

/// Returns the contents of a code section with these bodies.
pub(crate) fn code_section<'b>(bodies: impl ExactSizeIterator<Item = &'b [u8]>) -> Vec<u8> {
    let mut section = Vec::new();
    write_count(&mut section, bodies.len());
    for body in bodies {
        write_bytes(&mut section, body);
    }
    section
}

/// Writes the length of `contents`, then the contents.
pub(crate) fn write_bytes(output: &mut Vec<u8>, contents: &[u8]) {
    write_count(output, contents.len());
    output.extend(contents);
}

fn write_count(output: &mut Vec<u8>, count: usize) {
    // The format bounds all lengths to 32 bits.
    write_leb128(output, u64::try_from(count).unwrap_or(u64::MAX));
}

/// Writes an unsigned number in LEB128.
pub(crate) fn write_leb128(output: &mut Vec<u8>, mut value: u64) {
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
