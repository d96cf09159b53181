//! The places of what units have in the index spaces of the result.

use std::collections::HashMap;

use wasmparser::{ExternalKind, FuncType, Import, TypeRef, ValType};

use super::{
    LinkError,
    unit::{Unit, function_type_of},
};

/// The kinds of things that are imported and exported, each with an index space.
const KINDS: [ExternalKind; 5] = [
    ExternalKind::Func,
    ExternalKind::Table,
    ExternalKind::Memory,
    ExternalKind::Global,
    ExternalKind::Tag,
];

/// The imports that a thing may pass through on its way from its definition to its use.
const MAX_PASSES: usize = 1_000;

type Bindings = HashMap<(usize, String, String), (usize, String)>;

/// The index spaces of the result.
///
/// In each come first the imports that are left, and then what the units define, in their order.
pub(super) struct Spaces<'l> {
    pub(super) units: Vec<Places<'l>>,
    /// The numbers of types, functions and globals.
    pub(super) types: u32,
    pub(super) functions: u32,
    globals: u32,
}

/// The places of what one unit has, by the unit's own indices.
pub(super) struct Places<'l> {
    unit: &'l str,
    pub(super) first_type: u32,
    pub(super) first_element: u32,
    pub(super) first_data: u32,
    spaces: [Vec<Place>; 5],
    /// Nothing but functions has another place than in the unit.
    pub(super) only_functions_move: bool,
    /// The size that the unit's memory has for the unit, if it is another than the engine's.
    pub(super) size: Option<Size>,
}

/// A size of a memory that is kept in a global, and the function that grows it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Size {
    pub(super) global: u32,
    pub(super) grow: u32,
}

/// The place of one thing.
#[derive(Clone, Copy, Debug)]
struct Place {
    index: u32,
    is_bound: bool,
}

impl<'l> Spaces<'l> {
    pub(super) fn new(units: &'l [Unit<'_>], bindings: &Bindings) -> Result<Self, LinkError> {
        let mut next = [0_u32; 5];
        let mut bound = Vec::new();
        let mut places: Vec<Places<'l>> = Vec::new();
        for (number, unit) in units.iter().enumerate() {
            let mut spaces: [Vec<Place>; 5] = Default::default();
            for import in &unit.imports {
                let kind = kind_of(import.ty);
                let (Some(space), Some(next)) = (spaces.get_mut(kind), next.get_mut(kind)) else {
                    continue;
                };
                let key = (number, import.module.to_owned(), import.name.to_owned());
                let binding = bindings.get(&key);
                if let Some((provider, export)) = binding {
                    bound.push((
                        number,
                        import,
                        kind,
                        space.len(),
                        *provider,
                        export.as_str(),
                    ));
                }
                space.push(Place {
                    index: if binding.is_some() { 0 } else { take(next, 1)? },
                    is_bound: binding.is_some(),
                });
            }
            places.push(Places {
                unit: unit.name(),
                first_type: 0,
                first_element: 0,
                first_data: 0,
                spaces,
                only_functions_move: false,
                size: None,
            });
        }
        let (mut types, mut elements, mut data) = (0, 0, 0);
        for (unit, places) in units.iter().zip(&mut places) {
            let defined = [
                u32::try_from(unit.functions.len()).map_err(|_| LinkError::TooMany)?,
                unit.tables.as_ref().map_or(0, |section| section.count()),
                unit.memories.as_ref().map_or(0, |section| section.count()),
                unit.globals.as_ref().map_or(0, |section| section.count()),
                unit.tags.as_ref().map_or(0, |section| section.count()),
            ];
            for ((space, next), defined) in places.spaces.iter_mut().zip(&mut next).zip(defined) {
                let first = take(next, defined)?;
                space.extend((first..*next).map(|index| Place {
                    index,
                    is_bound: false,
                }));
            }
            let of_types =
                u32::try_from(unit.function_types.len()).map_err(|_| LinkError::TooMany)?;
            places.first_type = take(&mut types, of_types)?;
            let count = unit.elements.as_ref().map_or(0, |section| section.count());
            places.first_element = take(&mut elements, count)?;
            let count = unit.data.as_ref().map_or(0, |section| section.count());
            places.first_data = take(&mut data, count)?;
        }
        let resolver = Resolver {
            units,
            bindings,
            places: &places,
        };
        let mut resolved = Vec::new();
        for (number, import, kind, at, provider, export) in bound {
            let index = resolver.resolve(number, import, provider, export)?;
            resolved.push((number, kind, at, index));
        }
        for (number, kind, at, index) in resolved {
            let space = places
                .get_mut(number)
                .and_then(|places| places.spaces.get_mut(kind));
            if let Some(place) = space.and_then(|space| space.get_mut(at)) {
                place.index = index;
            }
        }
        for places in &mut places {
            places.only_functions_move = places.stays_but_functions();
        }
        let [functions, _, _, globals, _] = next;
        Ok(Self {
            units: places,
            types,
            functions,
            globals,
        })
    }
}

impl Spaces<'_> {
    /// Reserves a function of the result's own.
    pub(super) fn take_function(&mut self) -> Result<u32, LinkError> {
        take(&mut self.functions, 1)
    }

    /// Reserves a global of the result's own.
    pub(super) fn take_global(&mut self) -> Result<u32, LinkError> {
        take(&mut self.globals, 1)
    }
}

/// Reserves indices. Returns the first.
fn take(next: &mut u32, number: u32) -> Result<u32, LinkError> {
    let first = *next;
    *next = first.checked_add(number).ok_or(LinkError::TooMany)?;
    Ok(first)
}

struct Resolver<'r, 'l> {
    units: &'r [Unit<'r>],
    bindings: &'r Bindings,
    places: &'r [Places<'l>],
}

impl<'r> Resolver<'r, '_> {
    /// Returns the place of what an import is bound to. What provides it may itself import it.
    fn resolve(
        &self,
        number: usize,
        import: &Import<'_>,
        mut provider: usize,
        mut export: &'r str,
    ) -> Result<u32, LinkError> {
        let importer = self.units.get(number).ok_or(LinkError::NoUnit)?;
        // Each step passes another import, or goes round in circles. Nobody has built a longer chain.
        for _ in 0..MAX_PASSES {
            let unit = self.units.get(provider).ok_or(LinkError::NoUnit)?;
            let places = self.places.get(provider).ok_or(LinkError::NoUnit)?;
            let found = unit
                .find_export(export)
                .ok_or_else(|| LinkError::NoExport {
                    unit: unit.name().to_owned(),
                    export: export.to_owned(),
                })?;
            if !self.fits(importer, import, unit, found.kind, found.index) {
                return Err(LinkError::OtherType {
                    unit: importer.name().to_owned(),
                    module: import.module.to_owned(),
                    name: import.name.to_owned(),
                    provider: unit.name().to_owned(),
                    export: export.to_owned(),
                });
            }
            if !places.place(found.kind, found.index)?.is_bound {
                return places.of(found.kind, found.index);
            }
            let passed = unit
                .import_at(found.kind, found.index)
                .ok_or(LinkError::NoUnit)?;
            let key = (provider, passed.module.to_owned(), passed.name.to_owned());
            let (next, of) = self.bindings.get(&key).ok_or(LinkError::NoUnit)?;
            (provider, export) = (*next, of);
        }
        Err(LinkError::Circular {
            unit: importer.name().to_owned(),
            module: import.module.to_owned(),
            name: import.name.to_owned(),
        })
    }

    /// Returns `true` if the export is of the import's kind and type, so that the code of the
    /// importer is valid with it, and finds what it asks for when it begins.
    fn fits(
        &self,
        importer: &Unit<'_>,
        import: &Import<'_>,
        unit: &Unit<'_>,
        kind: ExternalKind,
        index: u32,
    ) -> bool {
        if KINDS.get(kind_of(import.ty)) != Some(&kind) {
            return false;
        }
        let found = unit.entity_type(kind, index);
        match (import.ty, found) {
            (TypeRef::Memory(wanted), Some(TypeRef::Memory(found))) => {
                wanted.memory64 == found.memory64
                    && wanted.shared == found.shared
                    && wanted.page_size_log2 == found.page_size_log2
                    && contains(
                        (wanted.initial, wanted.maximum),
                        (found.initial, found.maximum),
                    )
            }
            (TypeRef::Table(wanted), Some(TypeRef::Table(found))) => {
                is_plain_type(&ValType::Ref(wanted.element_type))
                    && wanted.element_type == found.element_type
                    && wanted.table64 == found.table64
                    && wanted.shared == found.shared
                    && contains(
                        (wanted.initial, wanted.maximum),
                        (found.initial, found.maximum),
                    )
            }
            (TypeRef::Global(wanted), Some(TypeRef::Global(found))) => {
                is_plain_type(&wanted.content_type) && wanted == found
            }
            (TypeRef::Tag(wanted), Some(TypeRef::Tag(found))) => same_function(
                importer.type_at(wanted.func_type_idx),
                unit.type_at(found.func_type_idx),
            ),
            (wanted, _) => same_function(
                function_type_of(wanted).and_then(|ty| importer.type_at(ty)),
                unit.function_type(index),
            ),
        }
    }
}

/// Returns `true` if a size is within the limits of an import: minimum and maximum.
///
/// <https://webassembly.github.io/spec/core/valid/matching.html#limits>
fn contains(wanted: (u64, Option<u64>), found: (u64, Option<u64>)) -> bool {
    let most = match (wanted.1, found.1) {
        (None, _) => true,
        (Some(wanted), Some(found)) => found <= wanted,
        (Some(_), None) => false,
    };
    found.0 >= wanted.0 && most
}

/// Returns `true` if the types are there, equal, and mean the same in each module.
fn same_function(wanted: Option<&FuncType>, found: Option<&FuncType>) -> bool {
    let (Some(wanted), Some(found)) = (wanted, found) else {
        return false;
    };
    let mut types = wanted.params().iter().chain(wanted.results());
    wanted == found && types.all(is_plain_type)
}

/// Returns `true` if a type means the same in each module: it refers to no other.
fn is_plain_type(ty: &ValType) -> bool {
    match ty {
        ValType::Ref(ty) => ty.is_func_ref() || ty.is_extern_ref(),
        _ => true,
    }
}

impl Places<'_> {
    fn place(&self, kind: ExternalKind, index: u32) -> Result<Place, LinkError> {
        let (at, what) = kind_and_name(kind);
        let space = self.spaces.get(at);
        let at = usize::try_from(index).unwrap_or(usize::MAX);
        let place = space.and_then(|space| space.get(at));
        place.copied().ok_or_else(|| LinkError::NoSuch {
            unit: self.unit.to_owned(),
            kind: what,
            index,
        })
    }

    /// Returns the index in the result.
    pub(super) fn of(&self, kind: ExternalKind, index: u32) -> Result<u32, LinkError> {
        Ok(self.place(kind, index)?.index)
    }

    /// Returns whether it is an import that another unit provides.
    pub(super) fn is_bound(&self, kind: ExternalKind, index: u32) -> Result<bool, LinkError> {
        Ok(self.place(kind, index)?.is_bound)
    }

    /// Returns the places of the functions that the unit imports of others.
    pub(super) fn bound_functions(&mut self) -> impl Iterator<Item = &mut u32> {
        let [functions, ..] = &mut self.spaces;
        let bound = functions.iter_mut().filter(|place| place.is_bound);
        bound.map(|place| &mut place.index)
    }

    pub(super) fn unit(&self) -> &str {
        self.unit
    }

    /// The imports of the unit that are left to the host, with their places.
    pub(super) fn unbound<'p, 'm>(
        &'p self,
        unit: &'p Unit<'m>,
    ) -> impl Iterator<Item = (&'p Import<'m>, u32)> {
        let mut seen = [0_usize; 5];
        unit.imports.iter().filter_map(move |import| {
            let kind = kind_of(import.ty);
            let seen = seen.get_mut(kind)?;
            let place = self.spaces.get(kind)?.get(*seen)?;
            *seen += 1;
            (!place.is_bound).then_some((import, place.index))
        })
    }

    fn stays_but_functions(&self) -> bool {
        let [_, others @ ..] = &self.spaces;
        let stays = |space: &Vec<Place>| {
            let mut places = space.iter().zip(0..);
            places.all(|(place, index)| place.index == index)
        };
        (self.first_type, self.first_element, self.first_data) == (0, 0, 0)
            && others.iter().all(stays)
    }
}

/// Returns the number of the index space of an import.
fn kind_of(ty: TypeRef) -> usize {
    match ty {
        TypeRef::Func(_) | TypeRef::FuncExact(_) => 0,
        TypeRef::Table(_) => 1,
        TypeRef::Memory(_) => 2,
        TypeRef::Global(_) => 3,
        TypeRef::Tag(_) => 4,
    }
}

fn kind_and_name(kind: ExternalKind) -> (usize, &'static str) {
    match kind {
        ExternalKind::Func | ExternalKind::FuncExact => (0, "function"),
        ExternalKind::Table => (1, "table"),
        ExternalKind::Memory => (2, "memory"),
        ExternalKind::Global => (3, "global"),
        ExternalKind::Tag => (4, "tag"),
    }
}
