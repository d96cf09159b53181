//! The names of functions, locals and the rest, for traces and debuggers.

use std::collections::{BTreeMap, HashSet};

use wasm_encoder::{IndirectNameMap, NameMap, NameSection};
use wasmparser::{ExternalKind, Name, NameSectionReader};

use super::{
    spaces::{Places, Spaces},
    unit::Unit,
};

/// The names of all units by their places in the result.
#[derive(Default)]
pub(super) struct Names {
    module: Option<String>,
    functions: BTreeMap<u32, String>,
    types: BTreeMap<u32, String>,
    tables: BTreeMap<u32, String>,
    memories: BTreeMap<u32, String>,
    globals: BTreeMap<u32, String>,
    elements: BTreeMap<u32, String>,
    data: BTreeMap<u32, String>,
    tags: BTreeMap<u32, String>,
    locals: BTreeMap<u32, Vec<(u32, String)>>,
    labels: BTreeMap<u32, Vec<(u32, String)>>,
    fields: BTreeMap<u32, Vec<(u32, String)>>,
}

impl Names {
    /// The labels of `with_new_labels` have no names, because they have other numbers.
    pub(super) fn merged(
        units: &[Unit<'_>],
        spaces: &Spaces<'_>,
        with_new_labels: &HashSet<u32>,
    ) -> Self {
        let mut names = Self::default();
        for (unit, places) in units.iter().zip(&spaces.units) {
            if let Some(section) = &unit.names {
                names.add(section.clone(), places);
            }
        }
        names
            .labels
            .retain(|function, _| !with_new_labels.contains(function));
        names
    }

    /// Adds a unit's names. Those that cannot be decoded, or are of nothing, are left out.
    fn add(&mut self, section: NameSectionReader<'_>, places: &Places<'_>) {
        let of = |kind| move |index| places.of(kind, index).ok();
        let behind = |first: u32| move |index: u32| first.checked_add(index);
        for subsection in section.into_iter().map_while(Result::ok) {
            match subsection {
                Name::Module { name, .. } => {
                    self.module.get_or_insert_with(|| name.to_owned());
                }
                Name::Function(map) => add(&mut self.functions, map, of(ExternalKind::Func)),
                Name::Table(map) => add(&mut self.tables, map, of(ExternalKind::Table)),
                Name::Memory(map) => add(&mut self.memories, map, of(ExternalKind::Memory)),
                Name::Global(map) => add(&mut self.globals, map, of(ExternalKind::Global)),
                Name::Tag(map) => add(&mut self.tags, map, of(ExternalKind::Tag)),
                Name::Type(map) => add(&mut self.types, map, behind(places.first_type)),
                Name::Element(map) => add(&mut self.elements, map, behind(places.first_element)),
                Name::Data(map) => add(&mut self.data, map, behind(places.first_data)),
                Name::Local(map) => add_indirect(&mut self.locals, map, of(ExternalKind::Func)),
                Name::Label(map) => add_indirect(&mut self.labels, map, of(ExternalKind::Func)),
                Name::Field(map) => {
                    add_indirect(&mut self.fields, map, behind(places.first_type));
                }
                Name::Unknown { .. } => {}
            }
        }
    }

    pub(super) fn section(&self) -> NameSection {
        let mut section = NameSection::new();
        if let Some(module) = &self.module {
            section.module(module);
        }
        section.functions(&map(&self.functions));
        if !self.locals.is_empty() {
            section.locals(&indirect_map(&self.locals));
        }
        if !self.labels.is_empty() {
            section.labels(&indirect_map(&self.labels));
        }
        for (names, add) in [
            (
                &self.types,
                NameSection::types as fn(&mut NameSection, &NameMap),
            ),
            (&self.tables, NameSection::tables),
            (&self.memories, NameSection::memories),
            (&self.globals, NameSection::globals),
            (&self.elements, NameSection::elements),
            (&self.data, NameSection::data),
        ] {
            if !names.is_empty() {
                add(&mut section, &map(names));
            }
        }
        if !self.fields.is_empty() {
            section.fields(&indirect_map(&self.fields));
        }
        if !self.tags.is_empty() {
            section.tags(&map(&self.tags));
        }
        section
    }
}

fn add(
    names: &mut BTreeMap<u32, String>,
    map: wasmparser::NameMap<'_>,
    place: impl Fn(u32) -> Option<u32>,
) {
    for naming in map.into_iter().map_while(Result::ok) {
        if let Some(place) = place(naming.index) {
            // An import that a unit provides has the provider's name, if that has one.
            names.insert(place, naming.name.to_owned());
        }
    }
}

fn add_indirect(
    names: &mut BTreeMap<u32, Vec<(u32, String)>>,
    map: wasmparser::IndirectNameMap<'_>,
    place: impl Fn(u32) -> Option<u32>,
) {
    for indirect in map.into_iter().map_while(Result::ok) {
        let Some(place) = place(indirect.index) else {
            continue;
        };
        let inner = indirect.names.into_iter().map_while(Result::ok);
        let inner = inner.map(|naming| (naming.index, naming.name.to_owned()));
        names.insert(place, inner.collect());
    }
}

fn map(names: &BTreeMap<u32, String>) -> NameMap {
    let mut map = NameMap::new();
    for (index, name) in names {
        map.append(*index, name);
    }
    map
}

fn indirect_map(names: &BTreeMap<u32, Vec<(u32, String)>>) -> IndirectNameMap {
    let mut map = IndirectNameMap::new();
    for (index, inner) in names {
        let mut names = NameMap::new();
        for (index, name) in inner {
            names.append(*index, name);
        }
        map.append(*index, &names);
    }
    map
}
