//! Rewrites modules that wasmi cannot interrupt as they are.
//!
//! - **Start sections**: wasmi runs them without returning control. The section
//!   becomes an export that the provider calls like the other start functions.
//! - **`table.grow`** (`docs/upstream/wasmi-table-grow-resume.md`): when fuel runs
//!   out in it, wasmi 2.0.0 does not store the instruction pointer, so a resumed
//!   guest restarts its function. Each `table.grow` becomes a call of a function
//!   that contains nothing else: there, restarting is correct.
//!   `tests/wasmi_defects.rs` fails when wasmi is fixed.

use std::{borrow::Cow, ops::Range};

use wasmparser::{BinaryReaderError, FunctionBody, Operator, Parser, Payload, RefType, TypeRef};

use super::edit::{
    Edit, Editor, HEADER_BYTES, SECTION_CODE, code_section, edit_body, write_bytes, write_leb128,
};

/// A module after rewriting.
pub(crate) struct Rewritten {
    pub(crate) binary: Vec<u8>,
    /// The name under which the start section's function is exported, if there
    /// is one.
    pub(crate) start: Option<String>,
}

/// Returns `binary` in an interruptible form, or `None` if it is interruptible
/// already. Function indices and names do not change.
///
/// `binary` must be a valid module; the result for an invalid one is unspecified.
pub(crate) fn rewrite(binary: &[u8]) -> Option<Rewritten> {
    let outline = Outline::parse(binary).ok()?;
    let growth = outline.growth(binary);
    if outline.start.is_none() && growth.is_none() {
        return None;
    }
    let start = outline.start.map(|_| outline.private_name());
    let mut output = binary.get(..HEADER_BYTES)?.to_vec();
    for section in &outline.sections {
        let contents = binary.get(section.range.clone())?;
        let contents = match (section.id, &growth) {
            (SECTION_START, _) => continue,
            (SECTION_EXPORT, _) => match (&start, outline.start) {
                (Some(name), Some(function)) => {
                    let mut export = Vec::new();
                    write_bytes(&mut export, name.as_bytes());
                    export.push(KIND_FUNCTION);
                    write_leb128(&mut export, function.into());
                    append_items(contents, &[export])?
                }
                _ => contents.to_vec(),
            },
            (SECTION_TYPE, Some(growth)) => append_items(contents, &growth.types)?,
            (SECTION_FUNCTION, Some(growth)) => append_items(contents, &growth.functions)?,
            (SECTION_CODE, Some(growth)) => growth.code.clone(),
            _ => contents.to_vec(),
        };
        output.push(section.id);
        write_bytes(&mut output, &contents);
    }
    Some(Rewritten {
        binary: output,
        start,
    })
}

/// The parts of a module that the rewriting needs.
#[derive(Default)]
struct Outline<'m> {
    sections: Vec<Section>,
    types: u32,
    functions: u32,
    tables: Vec<Table>,
    exports: Vec<&'m str>,
    start: Option<u32>,
    bodies: Vec<FunctionBody<'m>>,
}

struct Section {
    id: u8,
    range: Range<usize>,
}

struct Table {
    element: RefType,
    can_grow: bool,
}

/// The replacement of the module's `table.grow` instructions.
struct Growth {
    /// One type and one function per table, to be appended to the module's.
    types: Vec<Vec<u8>>,
    functions: Vec<Vec<u8>>,
    /// The contents of the new code section.
    code: Vec<u8>,
}

impl<'m> Outline<'m> {
    fn parse(binary: &'m [u8]) -> Result<Self, BinaryReaderError> {
        let mut outline = Self::default();
        for payload in Parser::new(0).parse_all(binary) {
            let payload = payload?;
            if let Some((id, range)) = payload.as_section() {
                outline.sections.push(Section { id, range });
            }
            match payload {
                Payload::TypeSection(groups) => {
                    for group in groups {
                        let types = group?.types().len();
                        outline.types += u32::try_from(types).unwrap_or(u32::MAX);
                    }
                }
                Payload::ImportSection(imports) => {
                    for import in imports.into_imports() {
                        if let TypeRef::Func(_) = import?.ty {
                            outline.functions += 1;
                        }
                    }
                }
                Payload::FunctionSection(functions) => outline.functions += functions.count(),
                Payload::TableSection(tables) => {
                    for table in tables {
                        let table = table?.ty;
                        outline.tables.push(Table {
                            element: table.element_type,
                            can_grow: table.maximum != Some(table.initial),
                        });
                    }
                }
                Payload::ExportSection(exports) => {
                    for export in exports {
                        outline.exports.push(export?.name);
                    }
                }
                Payload::StartSection { func, .. } => outline.start = Some(func),
                Payload::CodeSectionEntry(body) => outline.bodies.push(body),
                _ => {}
            }
        }
        Ok(outline)
    }

    /// Returns a name that the module does not export.
    fn private_name(&self) -> String {
        let mut name = "wapc start section".to_owned();
        while self.exports.contains(&name.as_str()) {
            name.push('\'');
        }
        name
    }

    /// Returns the replacement of `table.grow`, or `None` if there is none. The
    /// code of modules whose tables cannot grow, most of them, is not read.
    fn growth(&self, binary: &[u8]) -> Option<Growth> {
        let code = self.sections.iter().find(|s| s.id == SECTION_CODE)?;
        let code = binary.get(code.range.clone())?;
        if !self.tables.iter().any(|table| table.can_grow)
            || !code.windows(TABLE_GROW.len()).any(|at| at == TABLE_GROW)
        {
            return None;
        }
        let (mut types, mut functions, mut bodies) = (vec![], vec![], vec![]);
        let mut found = false;
        for body in &self.bodies {
            let changed = edit_body(binary, body, GrowthByCall(self.functions)).ok()?;
            found |= changed.is_some();
            bodies.push(changed.map_or(Cow::Borrowed(body.as_bytes()), Cow::Owned));
        }
        if !found {
            return None;
        }
        for (index, table) in (0..).zip(&self.tables) {
            let element = match table.element {
                RefType::FUNCREF => TYPE_FUNCREF,
                RefType::EXTERNREF => TYPE_EXTERNREF,
                _ => return None,
            };
            types.push(vec![TYPE_FUNCTION, 2, element, TYPE_I32, 1, TYPE_I32]);
            let mut function = Vec::new();
            write_leb128(&mut function, self.types.checked_add(index)?.into());
            functions.push(function);
            let mut body = vec![NO_LOCALS, LOCAL_GET, 0, LOCAL_GET, 1];
            body.extend(TABLE_GROW);
            write_leb128(&mut body, index.into());
            body.push(END);
            bodies.push(Cow::Owned(body));
        }
        Some(Growth {
            types,
            functions,
            code: code_section(bodies.iter().map(Cow::as_ref)),
        })
    }
}

/// Replaces each `table.grow` by a call. The field is the index of the function
/// for table 0; those for further tables follow.
struct GrowthByCall(u32);

impl Editor for GrowthByCall {
    #[inline(always)]
    fn edit(&mut self, operator: &Operator<'_>) -> Option<Edit> {
        let Operator::TableGrow { table } = operator else {
            return None;
        };
        let mut call = vec![CALL];
        write_leb128(&mut call, self.0.checked_add(*table)?.into());
        Some(Edit::Replace(call))
    }
}

/// Appends `items` to a vector in the binary format.
fn append_items(vector: &[u8], items: &[Vec<u8>]) -> Option<Vec<u8>> {
    let mut reader = wasmparser::BinaryReader::new(vector, 0);
    let count = reader.read_var_u32().ok()?;
    let mut output = Vec::new();
    let count = count.checked_add(u32::try_from(items.len()).ok()?)?;
    write_leb128(&mut output, count.into());
    output.extend(vector.get(reader.original_position()..)?);
    output.extend(items.iter().flatten());
    Some(output)
}

// The binary format: <https://webassembly.github.io/spec/core/binary/>.
const SECTION_TYPE: u8 = 1;
const SECTION_FUNCTION: u8 = 3;
const SECTION_EXPORT: u8 = 7;
const SECTION_START: u8 = 8;
const KIND_FUNCTION: u8 = 0;
const TYPE_FUNCTION: u8 = 0x60;
const TYPE_I32: u8 = 0x7f;
const TYPE_FUNCREF: u8 = 0x70;
const TYPE_EXTERNREF: u8 = 0x6f;
const NO_LOCALS: u8 = 0;
const END: u8 = 0x0b;
const CALL: u8 = 0x10;
const LOCAL_GET: u8 = 0x20;
const TABLE_GROW: [u8; 2] = [0xfc, 0x0f];
