//! The sections of the result.

use std::collections::HashSet;

use wasm_encoder::{
    CodeSection, CustomSection, DataCountSection, DataSection, ElementSection, ExportSection,
    FunctionSection, GlobalSection, ImportSection, MemorySection, Module, StartSection,
    TableSection, TagSection, TypeSection,
    reencode::{Reencode, utils},
};

use super::{
    code, error::Fault, inline::SmallFunctions, names::Names, relocate::Relocate, unit::Unit,
};

/// The sections of the result.
#[derive(Default)]
pub(super) struct Sections {
    pub(super) types: TypeSection,
    pub(super) imports: ImportSection,
    pub(super) functions: FunctionSection,
    pub(super) tables: TableSection,
    pub(super) memories: MemorySection,
    pub(super) tags: TagSection,
    pub(super) globals: GlobalSection,
    pub(super) exports: ExportSection,
    pub(super) exported: HashSet<String>,
    pub(super) elements: ElementSection,
    pub(super) code: CodeSection,
    pub(super) data: DataSection,
    /// Functions in which the numbers of labels are others than before.
    pub(super) with_new_labels: HashSet<u32>,
}

impl Sections {
    /// Adds what a unit defines.
    pub(super) fn add(
        &mut self,
        unit: &Unit<'_>,
        small: &SmallFunctions,
        to: &mut Relocate<'_>,
    ) -> Result<(), Fault> {
        if let Some(types) = unit.types.clone() {
            utils::parse_type_section(to, &mut self.types, types)?;
        }
        for ty in &unit.functions {
            self.functions.function(to.type_index(*ty)?);
        }
        if let Some(tables) = unit.tables.clone() {
            utils::parse_table_section(to, &mut self.tables, tables)?;
        }
        if let Some(memories) = unit.memories.clone() {
            utils::parse_memory_section(to, &mut self.memories, memories)?;
        }
        if let Some(tags) = unit.tags.clone() {
            utils::parse_tag_section(to, &mut self.tags, tags)?;
        }
        if let Some(globals) = unit.globals.clone() {
            utils::parse_global_section(to, &mut self.globals, globals)?;
        }
        for (function, ty, body) in unit.defined_functions() {
            let params = ty.map_or(0, |ty| ty.params().len());
            if code::add_body(&mut self.code, body, params, small, to)? {
                self.with_new_labels.insert(to.function_index(function)?);
            }
        }
        Ok(())
    }

    /// Adds a unit's segments.
    pub(super) fn add_segments(
        &mut self,
        unit: &Unit<'_>,
        to: &mut Relocate<'_>,
    ) -> Result<(), Fault> {
        if let Some(elements) = unit.elements.clone() {
            utils::parse_element_section(to, &mut self.elements, elements)?;
        }
        if let Some(data) = unit.data.clone() {
            utils::parse_data_section(to, &mut self.data, data)?;
        }
        Ok(())
    }

    pub(super) fn finish(
        self,
        start: Option<u32>,
        names: &Names,
        custom: &[(&str, &[u8])],
    ) -> Vec<u8> {
        let mut module = Module::new();
        module
            .section(&self.types)
            .section(&self.imports)
            .section(&self.functions);
        if !self.tables.is_empty() {
            module.section(&self.tables);
        }
        if !self.memories.is_empty() {
            module.section(&self.memories);
        }
        if !self.tags.is_empty() {
            module.section(&self.tags);
        }
        if !self.globals.is_empty() {
            module.section(&self.globals);
        }
        module.section(&self.exports);
        if let Some(function_index) = start {
            module.section(&StartSection { function_index });
        }
        if !self.elements.is_empty() {
            module.section(&self.elements);
        }
        if !self.data.is_empty() {
            let count = self.data.len();
            module.section(&DataCountSection { count });
        }
        module.section(&self.code);
        if !self.data.is_empty() {
            module.section(&self.data);
        }
        module.section(&names.section());
        for (name, data) in custom {
            module.section(&CustomSection {
                name: (*name).into(),
                data: (*data).into(),
            });
        }
        module.finish()
    }
}
