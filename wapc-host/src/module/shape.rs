//! The shape of a guest: its imports and exports, checked.

use std::borrow::Cow;

use thiserror::Error as ThisError;

use super::{
    ModuleError,
    dialect::Dialect,
    imports::{WASI_MODULES, provided, signature},
    types::ExternType,
};
use crate::text::clip_name;

/// The export that is the memory of waPC's functions in a guest that has one more: WASI and
/// the functions of `env` keep `memory`. In a guest without it, `memory` is the memory of all.
///
/// It keeps what a guest says to its host out of the reach of the code that the guest wraps.
pub const WAPC_MEMORY: &str = "wapc:memory";

/// Returns the name of the export that WASI's functions use after a guest has called
/// `wapc.__wasi_memory` with this number. 0 is `memory`, with which a guest begins.
///
/// A guest that is linked of several modules has a memory for each. The function answers 1, or 0 if
/// there is no such memory, and WASI's functions then use the one that they used. For engines.
///
/// ```
/// use wapc_host::module::wasi_memory;
///
/// assert_eq!((&*wasi_memory(0), &*wasi_memory(2)), ("memory", "wasi:memory:2"));
/// ```
#[must_use]
pub fn wasi_memory(number: i32) -> Cow<'static, str> {
    match number {
        0 => Cow::Borrowed("memory"),
        number => Cow::Owned(format!("wasi:memory:{number}")),
    }
}

/// The imports and exports of a guest module, checked.
///
/// ```
/// use wapc_host::module::{ExternType, GuestShape, ValueType::I32};
///
/// // An engine lists these from its compiled module.
/// let guest_call = ExternType::Function(vec![I32, I32], vec![I32]);
/// let exports = [("memory", ExternType::Memory), ("__guest_call", guest_call)];
/// let shape = GuestShape::new([], exports)?;
/// assert!(!shape.imports_wasi && shape.start_functions.is_empty());
///
/// let missing = GuestShape::new([], []).unwrap_err();
/// assert_eq!(missing.to_string(), "the module does not export `memory`, a memory");
/// # Ok::<(), wapc_host::module::ModuleError>(())
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct GuestShape {
    /// The start functions that the guest exports, in the order in which they
    /// run. The start section is not included: instantiation runs it.
    pub start_functions: Vec<StartFunction>,
    /// The guest imports functions of WASI, from `wasi_snapshot_preview1` or
    /// `wasi_unstable`.
    pub imports_wasi: bool,
}

impl GuestShape {
    /// Checks the imports (module, name, type) and the exports (name, type) of
    /// a module.
    ///
    /// # Errors
    ///
    /// [`ModuleError::Foreign`] for a module that was written for another host;
    /// [`ModuleError::UnknownImport`] or [`ModuleError::ImportType`] for the
    /// first wrong import in the order of names; otherwise
    /// [`ModuleError::MissingExport`] or [`ModuleError::ExportType`] for the
    /// first wrong export.
    pub fn new<'m>(
        imports: impl IntoIterator<Item = (&'m str, &'m str, ExternType)>,
        exports: impl IntoIterator<Item = (&'m str, ExternType)>,
    ) -> Result<Self, ModuleError> {
        Self::with_functions(imports, exports, &|module, name, _| provided(module, name))
    }

    /// Checks a module for a host with other functions: `provided` returns the type of one for
    /// the type that the module expects.
    pub(crate) fn with_functions<'m>(
        imports: impl IntoIterator<Item = (&'m str, &'m str, ExternType)>,
        exports: impl IntoIterator<Item = (&'m str, ExternType)>,
        provided: &Provided<'_>,
    ) -> Result<Self, ModuleError> {
        // Engines list imports in different orders, but must report the same
        // one.
        let mut imports: Vec<_> = imports.into_iter().collect();
        imports
            .sort_by_cached_key(|(module, name, expected)| (*module, *name, expected.to_string()));
        let exports: Vec<_> = exports.into_iter().collect();
        Self::check(&imports, &exports, provided).map_err(|missing| {
            match Dialect::detect(&imports, &exports) {
                Some((dialect, reason)) => ModuleError::Foreign {
                    dialect,
                    reason,
                    missing: Box::new(missing),
                },
                None => missing,
            }
        })
    }

    fn check(
        imports: &[(&str, &str, ExternType)],
        exports: &[(&str, ExternType)],
        provided: &Provided<'_>,
    ) -> Result<Self, ModuleError> {
        let mut shape = Self::default();
        for (module, name, expected) in imports {
            check_import(module, name, expected, provided)?;
            shape.imports_wasi |= WASI_MODULES.contains(module);
        }
        let find = |name| exports.iter().find(|(export, _)| *export == name);
        for (name, expected) in required_exports() {
            match find(name) {
                Some((_, found)) => check_export(name, &expected, found)?,
                None => {
                    return Err(ModuleError::MissingExport {
                        name,
                        expected: expected.to_string(),
                    });
                }
            }
        }
        if let Some((_, found)) = find(WAPC_MEMORY) {
            check_export(WAPC_MEMORY, &ExternType::Memory, found)?;
        }
        for start in StartFunction::ALL {
            if let Some(name) = start.export()
                && let Some((_, found)) = find(name)
            {
                check_export(name, &ExternType::Function(vec![], vec![]), found)?;
                shape.start_functions.push(start);
            }
        }
        Ok(shape)
    }
}

/// A function that runs when an instance is made.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, ThisError)]
#[non_exhaustive]
pub enum StartFunction {
    /// The module's start section, run by instantiation itself.
    #[error("the module's start section")]
    Section,
    /// The entry point of a WASI command; its exit with code 0 is success.
    #[error("`_start`")]
    Command,
    /// The initialiser of a WASI reactor.
    #[error("`_initialize`")]
    Reactor,
    /// The initialiser of waPC guests.
    #[error("`wapc_init`")]
    Wapc,
}

impl StartFunction {
    /// All start functions, in the order in which they run.
    pub const ALL: [Self; 4] = [Self::Section, Self::Command, Self::Reactor, Self::Wapc];

    /// Returns the name of the export; the start section has none.
    #[must_use]
    pub const fn export(self) -> Option<&'static str> {
        match self {
            Self::Section => None,
            Self::Command => Some("_start"),
            Self::Reactor => Some("_initialize"),
            Self::Wapc => Some("wapc_init"),
        }
    }
}

fn required_exports() -> [(&'static str, ExternType); 2] {
    [
        ("memory", ExternType::Memory),
        ("__guest_call", signature("ii>i")),
    ]
}

fn check_export(
    name: &'static str,
    expected: &ExternType,
    found: &ExternType,
) -> Result<(), ModuleError> {
    if found == expected {
        return Ok(());
    }
    Err(ModuleError::ExportType {
        name,
        expected: expected.to_string(),
        found: found.to_string(),
    })
}

/// Returns the type of the host function of a module and a name, for the type that is expected.
type Provided<'p> = dyn Fn(&str, &str, &ExternType) -> Option<ExternType> + 'p;

fn check_import(
    module: &str,
    name: &str,
    expected: &ExternType,
    provided: &Provided<'_>,
) -> Result<(), ModuleError> {
    match provided(module, name, expected) {
        Some(found) if found == *expected => Ok(()),
        Some(found) => Err(ModuleError::ImportType {
            module: clip_name(module),
            name: clip_name(name),
            expected: expected.to_string(),
            found: found.to_string(),
        }),
        None => Err(ModuleError::UnknownImport {
            module: clip_name(module),
            name: clip_name(name),
            expected: expected.to_string(),
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_shape_names_start_functions_in_their_order() {
        let exports = [
            ("wapc_init", signature("")),
            ("__guest_call", signature("ii>i")),
            ("memory", ExternType::Memory),
            ("_initialize", signature("")),
        ];
        let shape = GuestShape::new(
            [("wasi_unstable", "fd_write", signature("iiii>i"))],
            exports,
        )
        .unwrap();
        assert_eq!(
            shape.start_functions,
            [StartFunction::Reactor, StartFunction::Wapc]
        );
        assert!(shape.imports_wasi);
    }
}
