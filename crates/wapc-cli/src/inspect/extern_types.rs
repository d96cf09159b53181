//! The types of imports and exports, converted to the host's.

use std::sync::Arc;

use wapc_host::module::{ExternType, ValueType};
use wasmparser::{Export, ExternalKind, FuncType, MemoryType, TypeRef, ValType};

use super::sections::Sections;

/// The types of a module's imports and exports, converted to the host's.
pub(super) struct ExternTypes {
    functions: Vec<Option<Named>>,
    memory: Named,
    other_memory: Named,
    table: Named,
    global: Named,
    tag: Named,
    /// Stands for a missing type, in an invalid module.
    unknown: Named,
}

/// A type and its text, which all imports and exports of the type share.
pub(super) struct Named {
    /// `None` for a type that the module does not define.
    pub(super) extern_type: Option<ExternType>,
    pub(super) text: Arc<str>,
}

impl Named {
    fn new(extern_type: ExternType) -> Self {
        Self {
            text: extern_type.to_string().into(),
            extern_type: Some(extern_type),
        }
    }
}

impl ExternTypes {
    pub(super) fn new(sections: &Sections<'_>) -> Self {
        let function = |function: &FuncType| {
            let (params, results) = (function.params(), function.results());
            let named = Named::new(ExternType::Function(
                params.iter().map(value_type).collect(),
                results.iter().map(value_type).collect(),
            ));
            match params.len() + results.len() {
                0..=SHOWN_VALUES => named,
                _ => Named {
                    text: format!(
                        "a function of {} parameters and {} results",
                        params.len(),
                        results.len()
                    )
                    .into(),
                    ..named
                },
            }
        };
        Self {
            functions: sections
                .types
                .iter()
                .map(|ty| ty.as_ref().map(function))
                .collect(),
            memory: Named::new(ExternType::Memory),
            other_memory: Named::new(ExternType::OtherMemory),
            table: Named::new(ExternType::Table),
            global: Named::new(ExternType::Global),
            tag: Named::new(ExternType::Tag),
            unknown: Named {
                extern_type: None,
                text: "of a type that the module does not define".into(),
            },
        }
    }

    pub(super) fn import(&self, ty: TypeRef) -> &Named {
        match ty {
            TypeRef::Func(index) | TypeRef::FuncExact(index) => self.function(index),
            TypeRef::Memory(memory) => self.memory(&memory),
            TypeRef::Table(_) => &self.table,
            TypeRef::Global(_) => &self.global,
            TypeRef::Tag(_) => &self.tag,
        }
    }

    pub(super) fn export(&self, sections: &Sections<'_>, export: &Export<'_>) -> &Named {
        let index = usize::try_from(export.index).unwrap_or(usize::MAX);
        match export.kind {
            ExternalKind::Func | ExternalKind::FuncExact => sections
                .functions
                .get(index)
                .map_or(&self.unknown, |ty| self.function(*ty)),
            ExternalKind::Memory => sections
                .memories
                .get(index)
                .map_or(&self.unknown, |memory| self.memory(memory)),
            ExternalKind::Table => &self.table,
            ExternalKind::Global => &self.global,
            ExternalKind::Tag => &self.tag,
        }
    }

    fn function(&self, ty: u32) -> &Named {
        usize::try_from(ty)
            .ok()
            .and_then(|index| self.functions.get(index)?.as_ref())
            .unwrap_or(&self.unknown)
    }

    const fn memory(&self, memory: &MemoryType) -> &Named {
        match memory.memory64 || memory.shared {
            true => &self.other_memory,
            false => &self.memory,
        }
    }
}

const fn value_type(value_type: &ValType) -> ValueType {
    match value_type {
        ValType::I32 => ValueType::I32,
        ValType::I64 => ValueType::I64,
        ValType::F32 => ValueType::F32,
        ValType::F64 => ValueType::F64,
        ValType::V128 => ValueType::V128,
        ValType::Ref(_) => ValueType::Ref,
    }
}

/// Longer signatures are abbreviated: a million exports may share a type of two
/// thousand values.
const SHOWN_VALUES: usize = 32;
