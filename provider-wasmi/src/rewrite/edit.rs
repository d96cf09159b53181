//! Changes single instructions of a module in the
//! [binary format](https://webassembly.github.io/spec/core/binary/).

use wasmparser::{
    BinaryReaderError, FunctionBody, Operator, VisitOperator, VisitSimdOperator,
    for_each_visit_operator, for_each_visit_simd_operator,
};

/// What becomes of an instruction.
pub(crate) enum Edit {
    /// These bytes come before it.
    Before(Vec<u8>),
    /// These bytes come in its place.
    Instead(Vec<u8>),
}

/// Says of each instruction of a function, one after the other, what becomes of
/// it; `None` if it stays as it is.
pub(crate) trait Editor {
    /// To be inlined always: see [`Each`].
    fn edit(&mut self, operator: &Operator<'_>) -> Option<Edit>;
}

/// A function's body as `editor` wants it; `None` if nothing changes. `binary`
/// is the module that it is in.
pub(crate) fn edited<'m>(
    binary: &'m [u8],
    body: &FunctionBody<'m>,
    editor: impl Editor,
) -> Result<Option<Vec<u8>>, BinaryReaderError> {
    let range = body.range();
    let mut copied = range.start;
    let mut output = Vec::new();
    let mut operators = body.get_operators_reader()?;
    let mut each = Each { editor, edit: None };
    while !operators.eof() {
        let at = operators.original_position();
        operators.visit_operator(&mut each)?;
        let Some(edit) = each.edit.take() else {
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

/// Asks an editor about each instruction.
///
/// Each kind has a method of its own, into which the editor is inlined: the many
/// that it does not care about are only stepped over, which takes about half as
/// long as to read each as an `Operator` and look what it is.
struct Each<E> {
    editor: E,
    edit: Option<Edit>,
}

macro_rules! ask {
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

impl<'a, E: Editor> VisitOperator<'a> for Each<E> {
    type Output = ();

    fn simd_visitor(&mut self) -> Option<&mut dyn VisitSimdOperator<'a, Output = ()>> {
        Some(self)
    }

    for_each_visit_operator!(ask);
}

impl<'a, E: Editor> VisitSimdOperator<'a> for Each<E> {
    for_each_visit_simd_operator!(ask);
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
