//! A static linker of core modules.
//!
//! A *unit* is a module. Each keeps its memories, tables, globals and tags; an import of one is
//! bound to an export of another, and what is bound to nothing stays an import of the result. The
//! result exports what the caller says, and nothing else. The linker knows no ABI.

mod code;
mod error;
mod inline;
mod names;
mod relocate;
mod renewal;
mod sections;
mod spaces;
mod unit;

use std::collections::{BTreeSet, HashMap, HashSet};

use wasm_encoder::{Function, Instruction, reencode::Reencode};
use wasmparser::ExternalKind;

use self::error::Fault;
pub use self::error::LinkError;
pub(crate) use self::unit::Unit;
use self::{
    inline::{Small, SmallFunctions},
    names::Names,
    relocate::Relocate,
    renewal::Renewal,
    sections::Sections,
    spaces::Spaces,
};

/// The number of a unit in a [`Linker`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct UnitId(usize);

/// Links units into one module.
///
/// The first unit keeps its indices but for those of functions, and its custom sections, except
/// for those that say where something is in its bytes (DWARF, relocations). The names of all
/// units' functions, locals and so on are kept. Start sections run in the order in which the units
/// were added, the first unit's last: the others are its libraries.
#[derive(Debug, Default)]
pub(crate) struct Linker<'m> {
    units: Vec<Unit<'m>>,
    bindings: HashMap<(usize, String, String), (usize, String)>,
    exports: Vec<(usize, String, String)>,
    inlined: HashSet<usize>,
    renewed: BTreeSet<usize>,
}

impl<'m> Linker<'m> {
    /// Creates a linker without units.
    #[must_use]
    pub(crate) fn new() -> Self {
        Self::default()
    }

    /// Adds a unit.
    pub(crate) fn add(&mut self, unit: Unit<'m>) -> UnitId {
        self.units.push(unit);
        UnitId(self.units.len() - 1)
    }

    /// Binds what `unit` imports as `module.name`, whatever its kind, to the export of `provider`.
    /// Of several bindings of one import the last one counts; one of an import that the unit does
    /// not have has no effect.
    pub(crate) fn bind(
        &mut self,
        unit: UnitId,
        module: &str,
        name: &str,
        provider: UnitId,
        export: &str,
    ) {
        self.bindings.insert(
            (unit.0, module.to_owned(), name.to_owned()),
            (provider.0, export.to_owned()),
        );
    }

    /// Exports an export of `unit` from the result, as `name`.
    pub(crate) fn export(&mut self, unit: UnitId, export: &str, name: &str) {
        let export = (unit.0, export.to_owned(), name.to_owned());
        self.exports.push(export);
    }

    /// Puts small functions of `unit` in place of the calls to them, in all units.
    pub(crate) fn inline(&mut self, unit: UnitId) {
        self.inlined.insert(unit.0);
    }

    /// Has each call of a function of `unit` by another one find the unit as it is at first, and its start section
    /// run.
    pub(crate) fn renew(&mut self, unit: UnitId) {
        self.renewed.insert(unit.0);
    }

    /// Returns the unit.
    #[must_use]
    pub(crate) fn unit(&self, unit: UnitId) -> Option<&Unit<'m>> {
        self.units.get(unit.0)
    }

    /// Links the units. Valid units that are bound by their types give a valid module.
    ///
    /// # Errors
    ///
    /// [`LinkError`] for a unit that cannot be decoded, for a binding to something that is not
    /// there or is of another kind or type, and for what the linker does not support.
    pub(crate) fn link(&self) -> Result<Vec<u8>, LinkError> {
        self.linked().map_err(|Fault(error)| error)
    }

    fn linked(&self) -> Result<Vec<u8>, Fault> {
        let mut spaces = Spaces::new(&self.units, &self.bindings)?;
        let mut renewals = Vec::new();
        for unit in &self.renewed {
            renewals.push(Renewal::new(*unit, &self.units, &mut spaces)?);
        }
        let small = self.small_functions(&spaces)?;
        let mut out = Sections::default();
        for (unit, places) in self.units.iter().zip(&spaces.units) {
            for (import, _) in places.unbound(unit) {
                let ty = Relocate { places }.entity_type(import.ty)?;
                out.imports.import(import.module, import.name, ty);
            }
        }
        for (number, (unit, places)) in self.units.iter().zip(&spaces.units).enumerate() {
            let to = &mut Relocate { places };
            match self.renewed.contains(&number) {
                true => renewal::add_segments(unit, to, &mut out)?,
                false => out.add_segments(unit, to)?,
            }
            out.add(unit, &small, to)?;
        }
        if !renewals.is_empty() {
            renewal::add_types(&mut out);
        }
        for renewal in &renewals {
            renewal.add(&self.units, &spaces, &mut out)?;
        }
        for (unit, export, name) in &self.exports {
            let (unit, places) = (self.units.get(*unit), spaces.units.get(*unit));
            let (Some(unit), Some(places)) = (unit, places) else {
                return Err(LinkError::NoUnit.into());
            };
            let found = unit
                .find_export(export)
                .ok_or_else(|| LinkError::NoExport {
                    unit: unit.name().to_owned(),
                    export: export.clone(),
                })?;
            let index = places.of(found.kind, found.index)?;
            let kind = Relocate { places }.export_kind(found.kind)?;
            if !out.exported.insert(name.clone()) {
                return Err(LinkError::Duplicate { name: name.clone() }.into());
            }
            out.exports.export(name, kind, index);
        }
        let start = self.start(&spaces, &mut out)?;
        let names = Names::merged(&self.units, &spaces, &out.with_new_labels);
        let custom = self.units.first().map_or(&[][..], Unit::custom_sections);
        Ok(out.finish(start, &names, custom))
    }

    /// Returns the functions that are put in place of calls to them.
    fn small_functions(&self, spaces: &Spaces<'_>) -> Result<SmallFunctions, Fault> {
        let mut small = SmallFunctions::new();
        for number in &self.inlined {
            let (Some(unit), Some(places)) = (self.units.get(*number), spaces.units.get(*number))
            else {
                continue;
            };
            let mut to = Relocate { places };
            for (function, ty, body) in unit.defined_functions() {
                let index = usize::try_from(to.function_index(function)?).unwrap_or(usize::MAX);
                let Some(ty) = ty else { continue };
                if let Some(found) = Small::of(body, ty, &mut to)? {
                    small.resize_with(small.len().max(index.saturating_add(1)), || None);
                    if let Some(place) = small.get_mut(index) {
                        *place = Some(Box::new(found));
                    }
                }
            }
        }
        Ok(small)
    }

    /// Returns the function that runs all start sections, which is made if there are several.
    fn start(&self, spaces: &Spaces<'_>, out: &mut Sections) -> Result<Option<u32>, LinkError> {
        let mut starts = Vec::new();
        for (number, (unit, places)) in self.units.iter().zip(&spaces.units).enumerate() {
            if let Some(function) = unit.start
                && !self.renewed.contains(&number)
            {
                starts.push(places.of(ExternalKind::Func, function)?);
            }
        }
        // Libraries first.
        if self.units.first().is_some_and(|unit| unit.start.is_some()) {
            starts.rotate_left(1);
        }
        if let [] | [_] = *starts {
            return Ok(starts.first().copied());
        }
        if self.renewed.is_empty() {
            out.types.ty().function([], []);
        }
        out.functions.function(spaces.types);
        let mut function = Function::new([]);
        for start in starts {
            function.instruction(&Instruction::Call(start));
        }
        function.instruction(&Instruction::End);
        out.code.function(&function);
        Ok(Some(spaces.functions))
    }
}

#[cfg(test)]
mod tests;
