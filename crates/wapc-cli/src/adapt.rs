//! `wapc adapt`: turns a module of another dialect into a waPC guest.

use std::fs;

use wapc_dialects::{AdaptError, Adapted, Format, Memories, Options, adapt};
use wapc_host::error::ModuleError;

use crate::{
    arguments::{AdaptArguments, DialectArguments},
    error::{CommandError, Subject},
    max_module_bytes, read_file, tell,
};

/// Writes the guest.
pub(crate) fn run(arguments: &AdaptArguments) -> Result<(), CommandError> {
    let module = read_file(&arguments.module, Subject::Module, max_module_bytes())?;
    let mut options = options(&arguments.dialect)?.args(&arguments.arg);
    for (name, value) in &arguments.env {
        options = options.env(name, value);
    }
    let adapted =
        adapt(&module, &options.validates(true)).map_err(|error| CommandError::Module {
            path: arguments.module.clone(),
            cause: refusal(error),
        })?;
    tell(description(&adapted));
    fs::write(&arguments.output, &adapted.binary).map_err(CommandError::Write)
}

/// Returns the options that the arguments ask for. Reads the libraries.
pub(crate) fn options(arguments: &DialectArguments) -> Result<Options, CommandError> {
    let mut options = Options::new().operation_is_argument(arguments.operation_is_argument);
    for (name, path) in &arguments.link {
        let library = read_file(path, Subject::Module, max_module_bytes())?;
        options = options.link(name, library, Memories::Shared);
    }
    Ok(options)
}

/// Says what was done to a module.
pub(crate) fn description(adapted: &Adapted<'_>) -> String {
    let reason = adapted.from.reason;
    match adapted.from.format {
        Format::Foreign(dialect) => format!("note: adapted from {dialect}: {reason}"),
        Format::Unknown => "note: of no dialect that is known".to_owned(),
        _ => format!("note: a waPC guest: {reason}"),
    }
}

pub(crate) fn refusal(error: AdaptError) -> ModuleError {
    match error {
        AdaptError::Module(error) => error,
        other => ModuleError::Refused(Box::new(other)),
    }
}
