//! `wapc inspect`: what a module is.

mod extern_types;
mod languages;
mod report;
mod report_text;
mod sections;
mod survey;

use wapc_host::ModuleError;

pub use self::{
    languages::Language,
    report::{
        CustomSection, Export, Form, Functions, Import, ImportGroup, Kind, Limits, Memory,
        Producer, Report, Standing, StartEntry, Table, TargetFeature, Verdict, WasiKind,
    },
};
use crate::{
    arguments::InspectArguments,
    engine::Engine,
    error::{CommandError, Subject},
    read_file, write_output,
};

/// Writes to standard output what the module is.
pub(crate) fn run(arguments: &InspectArguments) -> Result<(), CommandError> {
    let bytes = read_file(&arguments.module, Subject::Module)?;
    let report = inspect(&bytes).map_err(|cause| CommandError::Module {
        path: arguments.module.clone(),
        cause,
    })?;
    let text = match arguments.json {
        true => report
            .json()
            .map_err(|cause| CommandError::Write(cause.into()))?,
        false => report.to_string(),
    };
    write_output(text.as_bytes())
}

/// What `bytes` are, and what each engine of this command says of them.
///
/// Nothing of the module is run.
///
/// # Errors
///
/// Any [`ModuleError`], for bytes that are no module. A component, a module
/// that is no guest, and one that is not valid but can be read have a report.
pub fn inspect(bytes: &[u8]) -> Result<Report, ModuleError> {
    let mut report = read(bytes)?;
    report.engines = Engine::ALL
        .iter()
        .map(|engine| Verdict::of(*engine, bytes))
        .collect();
    Ok(report)
}

/// As [`inspect`], without asking the engines, which takes most of the time.
///
/// # Errors
///
/// As [`inspect`].
pub fn read(bytes: &[u8]) -> Result<Report, ModuleError> {
    Report::of(bytes)
}
