//! Modules as wasmi gets them: without what it runs wrong, and without what it
//! cannot interrupt.

mod edit;
mod interruptible;
mod workarounds;

use wapc_host::{ModuleError, module};
use wasmi::{Engine, Module};

use crate::{engine::translate, instance::Origin};

/// A binary that was translated, and rewritten before where that is needed.
pub(crate) struct Code {
    pub(crate) module: Module,
    pub(crate) origin: Origin,
    pub(crate) rewritten: Option<Vec<u8>>,
}

impl Code {
    pub(crate) fn of(engine: &Engine, binary: &[u8]) -> Result<Self, ModuleError> {
        let mended = workarounds::mend(binary);
        let wasmi_gets = mended.as_deref().unwrap_or(binary);
        let module = translate(engine, wasmi_gets)?.map_err(|error| match &mended {
            // What is refused is refused for what it is.
            Some(_) => match translate(engine, binary) {
                Ok(Err(error)) => module::refusal(binary, error),
                Ok(Ok(_)) => ModuleError::Refused(error.into()),
                Err(panicked) => panicked,
            },
            None => module::refusal(binary, error),
        })?;
        // Only now, since a rewritten module may be valid where this one is not.
        let Some(rewritten) = interruptible::rewrite(wasmi_gets) else {
            return Ok(Self {
                module,
                origin: Origin::Provider {
                    start_section: None,
                },
                rewritten: mended,
            });
        };
        Ok(Self {
            module: translate(engine, &rewritten.binary)?
                .map_err(|error| ModuleError::Refused(error.into()))?,
            origin: Origin::Provider {
                start_section: rewritten.start,
            },
            rewritten: Some(rewritten.binary),
        })
    }
}
