//! The hosts that modules were written for.

use wapc_host::module::{self, Dialect, ExternType, ModuleError, ValueType};
use wasmparser::{CompositeInnerType, ExternalKind, FuncType, Parser, Payload, TypeRef, ValType};

use crate::AdaptError;

/// The format of a module, and the sign by which it is known.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Detected {
    /// The format.
    pub format: Format,
    /// The sign by which it is known, as in "it exports `_start`".
    pub reason: &'static str,
}

/// The kind of host that a module was written for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Format {
    /// A waPC guest.
    Wapc,
    /// A wasmCloud actor, which speaks waPC under the name `wasmbus`.
    Wasmbus,
    /// A module for another host.
    Foreign(Dialect),
    /// A component.
    Component,
    /// A module without a sign that is known here.
    Unknown,
}

/// Returns what a module (binary or text) was written for.
///
/// ```
/// use wapc_dialects::{Dialect, Format, detect};
///
/// let detected = detect(br#"(module (func (export "_start")))"#)?;
/// assert_eq!(detected.format, Format::Foreign(Dialect::WasiCommand));
/// assert_eq!(detected.reason, "it exports `_start`");
/// assert_eq!(detect(b"(module)")?.format, Format::Unknown);
/// assert_eq!(detect(b"(component)")?.format, Format::Component);
/// # Ok::<(), wapc_dialects::AdaptError>(())
/// ```
///
/// # Errors
///
/// [`AdaptError::Module`] if the bytes are no WebAssembly.
pub fn detect(bytes: &[u8]) -> Result<Detected, AdaptError> {
    let binary = match module::binary(bytes) {
        Err(ModuleError::Component) => {
            return Ok(Detected {
                format: Format::Component,
                reason: "its header is that of a component",
            });
        }
        binary => binary?,
    };
    let Outline { imports, exports } = Outline::parse(&binary)
        .map_err(|error| AdaptError::Module(module::refusal(&binary, error)))?;
    let (format, reason) = match Dialect::detect(&imports, &exports) {
        Some((dialect, reason)) => (Format::Foreign(dialect), reason),
        None => {
            let from = |name| imports.iter().any(|(module, ..)| *module == name);
            match () {
                () if from("wasmbus") => (Format::Wasmbus, "it imports from `wasmbus`"),
                () if from("wapc") => (Format::Wapc, "it imports from `wapc`"),
                () if exports.iter().any(|(name, _)| *name == "__guest_call") => {
                    (Format::Wapc, "it exports `__guest_call`")
                }
                () => (Format::Unknown, "it has no sign of any"),
            }
        }
    };
    Ok(Detected { format, reason })
}

/// The imports and exports of a module in the core's types.
#[derive(Default)]
struct Outline<'m> {
    imports: Vec<(&'m str, &'m str, ExternType)>,
    exports: Vec<(&'m str, ExternType)>,
}

impl<'m> Outline<'m> {
    fn parse(binary: &'m [u8]) -> Result<Self, wasmparser::BinaryReaderError> {
        let mut outline = Self::default();
        let mut types: Vec<Option<FuncType>> = vec![];
        for payload in Parser::new(0).parse_all(binary) {
            match payload? {
                Payload::TypeSection(section) => {
                    for group in section {
                        types.extend(group?.into_types().map(|ty| match ty.composite_type.inner {
                            CompositeInnerType::Func(ty) => Some(ty),
                            _ => None,
                        }));
                    }
                }
                Payload::ImportSection(section) => {
                    for import in section.into_imports() {
                        let import = import?;
                        let ty = import_type(import.ty, &types);
                        outline.imports.push((import.module, import.name, ty));
                    }
                }
                Payload::ExportSection(section) => {
                    for export in section {
                        let export = export?;
                        // Only names tell dialects apart.
                        let ty = match export.kind {
                            ExternalKind::Func | ExternalKind::FuncExact => {
                                ExternType::Function(vec![], vec![])
                            }
                            ExternalKind::Table => ExternType::Table,
                            ExternalKind::Memory => ExternType::Memory,
                            ExternalKind::Global => ExternType::Global,
                            ExternalKind::Tag => ExternType::Tag,
                        };
                        outline.exports.push((export.name, ty));
                    }
                }
                Payload::CodeSectionStart { .. } => break,
                _ => {}
            }
        }
        Ok(outline)
    }
}

fn import_type(ty: TypeRef, types: &[Option<FuncType>]) -> ExternType {
    match ty {
        TypeRef::Func(ty) | TypeRef::FuncExact(ty) => {
            let ty = usize::try_from(ty)
                .ok()
                .and_then(|ty| types.get(ty)?.as_ref());
            let values = |types: &[ValType]| types.iter().map(value_type).collect();
            ty.map_or_else(
                || ExternType::Function(vec![], vec![]),
                |ty| ExternType::Function(values(ty.params()), values(ty.results())),
            )
        }
        TypeRef::Table(_) => ExternType::Table,
        TypeRef::Memory(_) => ExternType::Memory,
        TypeRef::Global(_) => ExternType::Global,
        TypeRef::Tag(_) => ExternType::Tag,
    }
}

const fn value_type(ty: &ValType) -> ValueType {
    match ty {
        ValType::I32 => ValueType::I32,
        ValType::I64 => ValueType::I64,
        ValType::F32 => ValueType::F32,
        ValType::F64 => ValueType::F64,
        ValType::V128 => ValueType::V128,
        ValType::Ref(_) => ValueType::Ref,
    }
}
