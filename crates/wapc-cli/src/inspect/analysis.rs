//! The analysis of a module by the rules of the host, which gives its report.

use std::{borrow::Cow, error::Error as StdError, iter, sync::Arc};

use wapc_host::{
    error::{ModuleError, StartFunction},
    module::{self, GuestShape},
};
use wapc_typed::{Descriptor, DescriptorError};
use wasmparser::{ExternalKind, MemoryType, TableType};

use super::{
    extern_types::ExternTypes,
    languages,
    report::{
        CustomSection, Export, Form, Functions, Import, ImportGroup, ImportStatus, Kind, Limits,
        Memory, Report, StartEntry, Table, Verdict, WasiKind,
    },
    sections::Sections,
};
use crate::engine::{Engine, GuestSettings};

impl Report {
    pub(super) fn analyze(bytes: &[u8]) -> Result<Self, ModuleError> {
        match module::binary(bytes) {
            Ok(Cow::Borrowed(binary)) => Self::analyze_module(binary, bytes.len(), Form::Binary),
            Ok(Cow::Owned(binary)) => Self::analyze_module(&binary, bytes.len(), Form::Text),
            Err(error @ ModuleError::Component) => Ok(Self {
                kind: Kind::Component,
                form: match bytes.starts_with(MAGIC) {
                    true => Form::Binary,
                    false => Form::Text,
                },
                file_bytes: bytes.len(),
                module_bytes: bytes.len(),
                adapted: None,
                adapted_needs: vec![],
                refusals: vec![error.to_string()],
                ..Self::empty()
            }),
            Err(error) => Err(error),
        }
    }

    const fn empty() -> Self {
        Self {
            kind: Kind::Other,
            wasi: None,
            form: Form::Binary,
            file_bytes: 0,
            module_bytes: 0,
            name: None,
            imports: Vec::new(),
            exports: Vec::new(),
            memories: Vec::new(),
            tables: Vec::new(),
            start_functions: Vec::new(),
            functions: Functions {
                imported: 0,
                defined: 0,
                named: 0,
                code_bytes: 0,
            },
            custom_sections: Vec::new(),
            operations: Vec::new(),
            producers: Vec::new(),
            target_features: Vec::new(),
            has_name_section: false,
            languages: Vec::new(),
            adapted: None,
            adapted_needs: vec![],
            refusals: Vec::new(),
            engines: Vec::new(),
            notes: Vec::new(),
        }
    }

    fn analyze_module(binary: &[u8], file_bytes: usize, form: Form) -> Result<Self, ModuleError> {
        let sections = Sections::read(binary)?;
        let types = ExternTypes::new(&sections);
        let wasi = wasi_kind(&sections);
        let mut report = Self {
            kind: kind(&sections, wasi),
            wasi,
            form,
            file_bytes,
            module_bytes: binary.len(),
            memories: memories(&sections),
            tables: tables(&sections),
            start_functions: start_functions(&sections),
            functions: Functions {
                imported: sections.imported_functions,
                defined: sections.functions.len() - sections.imported_functions,
                named: sections.custom.named_functions,
                code_bytes: sections.code_bytes,
            },
            ..Self::empty()
        };

        report.add_imports(&sections, &types);
        report.add_exports(&sections, &types);
        // Without an objection of an engine, the refusal is `Invalid` only for modules
        // that are invalid by the specification.
        if let invalid @ ModuleError::Invalid { .. } = module::refusal(binary, NO_OBJECTION) {
            report.refusals = vec![invalid.to_string()];
        } else {
            report.refusals = refusals(&sections, &types);
        }
        report.languages = languages::guess(&sections.custom.producers);
        report.name = sections.custom.module_name.map(str::to_owned);
        report.custom_sections = sections
            .custom
            .sizes
            .iter()
            .map(|(name, bytes)| CustomSection {
                name: (*name).to_owned(),
                bytes: *bytes,
            })
            .collect();
        report.producers = sections.custom.producers;
        report.target_features = sections.custom.target_features;
        report.has_name_section = sections.custom.has_names;
        report.notes = sections.custom.notes;
        match Descriptor::read(binary) {
            Ok(descriptor) => report.operations = descriptor.operations,
            // It has been read as a module.
            Err(DescriptorError::Module(_)) => {}
            Err(error) => report.notes.push(error.to_string()),
        }
        Ok(report)
    }

    fn add_imports(&mut self, sections: &Sections<'_>, types: &ExternTypes) {
        for (module, items) in sections.imports.iter() {
            let items = items.iter().map(|(name, ty)| {
                let required = types.import(*ty);
                let wanted = required.extern_type.as_ref();
                Import {
                    name: (*name).to_owned(),
                    extern_type: Arc::clone(&required.text),
                    status: match module::provided(module, name) {
                        None => ImportStatus::NotProvided,
                        Some(provided) if Some(&provided) == wanted => ImportStatus::Provided,
                        Some(provided) => ImportStatus::Mismatched {
                            provided: provided.to_string(),
                        },
                    },
                }
            });
            self.imports.push(ImportGroup {
                module: module.to_owned(),
                items: items.collect(),
            });
        }
    }

    fn add_exports(&mut self, sections: &Sections<'_>, types: &ExternTypes) {
        self.exports = sections
            .exports
            .iter()
            .map(|export| Export {
                name: export.name.to_owned(),
                extern_type: Arc::clone(&types.export(sections, export).text),
                index: export.index,
            })
            .collect();
        for export in &sections.exports {
            let index = usize::try_from(export.index).unwrap_or(usize::MAX);
            let names = match export.kind {
                ExternalKind::Memory => self
                    .memories
                    .get_mut(index)
                    .map(|memory| &mut memory.exported_as),
                ExternalKind::Table => self
                    .tables
                    .get_mut(index)
                    .map(|table| &mut table.exported_as),
                ExternalKind::Func
                | ExternalKind::FuncExact
                | ExternalKind::Global
                | ExternalKind::Tag => None,
            };
            if let Some(names) = names {
                names.push(export.name.to_owned());
            }
        }
    }
}

impl Verdict {
    /// Compiles `module` with `engine`.
    pub(super) fn compile(engine: Engine, module: &[u8]) -> Self {
        Self {
            engine: engine.name(),
            refusal: engine
                .provider(module, GuestSettings::default())
                .err()
                .map(|error| with_causes(&error)),
        }
    }
}

/// Returns the reasons for which a valid module is no guest: every wrong import,
/// and the first wrong export.
fn refusals(sections: &Sections<'_>, types: &ExternTypes) -> Vec<String> {
    let mut refusals = Vec::new();
    for (module, items) in sections.imports.iter() {
        for (name, ty) in items {
            let Some(wanted) = types.import(*ty).extern_type.clone() else {
                continue;
            };
            // One import at a time, since the rules name only the first wrong one.
            // They check exports after imports, so the missing ones do not hide it.
            let rules = GuestShape::new(iter::once((module, *name, wanted)), iter::empty());
            if let Err(
                error @ (ModuleError::UnknownImport { .. } | ModuleError::ImportType { .. }),
            ) = rules
            {
                refusals.push(error.to_string());
            }
        }
    }
    let exports = sections.exports.iter().filter_map(|export| {
        let found = types.export(sections, export).extern_type.clone()?;
        Some((export.name, found))
    });
    if let Err(error) = GuestShape::new(iter::empty(), exports) {
        refusals.push(error.to_string());
    }
    refusals
}

fn kind(sections: &Sections<'_>, wasi: Option<WasiKind>) -> Kind {
    let imports_wapc = sections.imports.iter().any(|(module, _)| module == "wapc");
    if imports_wapc || function_export(sections, "__guest_call").is_some() {
        return Kind::WapcGuest;
    }
    match wasi {
        Some(WasiKind::Command) => Kind::WasiCommand,
        Some(WasiKind::Reactor) => Kind::WasiReactor,
        None => Kind::Other,
    }
}

fn wasi_kind(sections: &Sections<'_>) -> Option<WasiKind> {
    let exports = |start: StartFunction| {
        start
            .export()
            .is_some_and(|name| function_export(sections, name).is_some())
    };
    let imports_wasi = || {
        sections
            .imports
            .iter()
            .any(|(module, _)| module.starts_with("wasi_"))
    };
    if exports(StartFunction::Command) {
        Some(WasiKind::Command)
    } else if exports(StartFunction::Reactor) || imports_wasi() {
        Some(WasiKind::Reactor)
    } else {
        None
    }
}

/// Returns the index of the function that is exported under this name.
fn function_export(sections: &Sections<'_>, name: &str) -> Option<u32> {
    sections
        .exports
        .iter()
        .find(|export| {
            export.name == name
                && matches!(export.kind, ExternalKind::Func | ExternalKind::FuncExact)
        })
        .map(|export| export.index)
}

fn start_functions(sections: &Sections<'_>) -> Vec<StartEntry> {
    StartFunction::ALL
        .into_iter()
        .filter_map(|start| {
            Some(StartEntry {
                name: start.to_string(),
                function: match start.export() {
                    Some(name) => function_export(sections, name)?,
                    None => sections.start?,
                },
            })
        })
        .collect()
}

fn memories(sections: &Sections<'_>) -> Vec<Memory> {
    let memory = |(index, memory): (usize, &MemoryType)| {
        let page_bytes = memory.page_size_log2.map_or(PAGE_BYTES, |log2| {
            1_u64.checked_shl(log2).unwrap_or(u64::MAX)
        });
        Memory {
            imported: index < sections.imported_memories,
            exported_as: Vec::new(),
            pages: Limits {
                min: memory.initial,
                max: memory.maximum,
            },
            bytes: Limits {
                min: memory.initial.saturating_mul(page_bytes),
                max: memory.maximum.map(|max| max.saturating_mul(page_bytes)),
            },
            page_bytes,
            is_64: memory.memory64,
            is_shared: memory.shared,
        }
    };
    sections.memories.iter().enumerate().map(memory).collect()
}

fn tables(sections: &Sections<'_>) -> Vec<Table> {
    let table = |(index, table): (usize, &TableType)| Table {
        imported: index < sections.imported_tables,
        exported_as: Vec::new(),
        element_type: table.element_type.to_string(),
        elements: Limits {
            min: table.initial,
            max: table.maximum,
        },
        is_64: table.table64,
    };
    sections.tables.iter().enumerate().map(table).collect()
}

/// Formats an error and its causes on one line.
fn with_causes(error: &dyn StdError) -> String {
    iter::successors(Some(error), |error| StdError::source(*error))
        .map(ToString::to_string)
        .collect::<Vec<_>>()
        .join(": ")
}

/// The size of a page, unless the memory's type has another.
pub(super) const PAGE_BYTES: u64 = 64 * 1024;

/// The first bytes of a binary.
const MAGIC: &[u8] = b"\0asm";

const NO_OBJECTION: &str = "no objection";
