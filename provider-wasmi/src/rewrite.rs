//! Rewrites modules before wasmi translates them.
//!
//! - `interruptible.rs` removes constructs that wasmi cannot interrupt: start
//!   sections, and `table.grow` in the middle of a function.
//! - `workarounds.rs` avoids instruction sequences that the pinned wasmi
//!   miscompiles. It goes when wasmi is fixed.
//! - `edit.rs` is the instruction editor that both use.

mod edit;
mod interruptible;
mod workarounds;

use wapc_host::{error::ModuleError, module};
use wasmi::{Engine, Module};

use crate::engine::translate;

/// The author of a translation, which decides how far a guest can be
/// interrupted.
#[derive(Clone, Debug)]
pub(crate) enum Translation {
    /// The provider has rewritten the module where needed: the guest can be
    /// interrupted anywhere.
    ByProvider {
        /// The name under which the start section's function is exported. The
        /// section itself is removed.
        start_section: Option<String>,
    },
    /// The user has translated the module, start section included.
    ByUser,
}

/// A module that the provider has translated, rewritten where needed.
pub(crate) struct TranslatedModule {
    pub(crate) module: Module,
    pub(crate) translation: Translation,
    /// The binary that was translated, if it differs from the user's.
    pub(crate) rewritten: Option<Vec<u8>>,
}

impl TranslatedModule {
    /// Rewrites `binary` and translates it on `engine`.
    ///
    /// The module with workarounds alone is translated first: `interruptible`
    /// may make an invalid module valid, so validity is decided before it.
    pub(crate) fn new(engine: &Engine, binary: &[u8]) -> Result<Self, ModuleError> {
        let worked_around = workarounds::apply(binary);
        let checked = worked_around.as_deref().unwrap_or(binary);
        let module = translate(engine, checked)?.map_err(|error| match &worked_around {
            // Report the error in the user's module, not in ours.
            Some(_) => match translate(engine, binary) {
                Ok(Err(error)) => module::refusal(binary, error),
                Ok(Ok(_)) => ModuleError::Refused(error.into()),
                Err(panicked) => panicked,
            },
            None => module::refusal(binary, error),
        })?;
        let Some(rewritten) = interruptible::rewrite(checked) else {
            return Ok(Self {
                module,
                translation: Translation::ByProvider {
                    start_section: None,
                },
                rewritten: worked_around,
            });
        };
        Ok(Self {
            module: translate(engine, &rewritten.binary)?
                .map_err(|error| ModuleError::Refused(error.into()))?,
            translation: Translation::ByProvider {
                start_section: rewritten.start,
            },
            rewritten: Some(rewritten.binary),
        })
    }
}
