//! `wapc inspect`: reports on modules.

mod analysis;
mod extern_types;
mod languages;
mod print;
mod report;
mod sections;

use wapc_dialects::{AdaptError, Adapted, Options, adapt};
use wapc_host::error::ModuleError;

pub use self::report::{
    CustomSection, Export, Form, Functions, Import, ImportGroup, ImportStatus, Kind, Language,
    Limits, Memory, Producer, Report, StartEntry, Table, TargetFeature, Verdict, WasiKind,
};
use crate::{
    arguments::InspectArguments,
    engine::Engine,
    error::{CommandError, Subject},
    max_module_bytes,
    plugin::{self, Modules},
    read_file, write_output,
};

/// Writes the report of a module to standard output.
pub(crate) fn run(arguments: &InspectArguments) -> Result<(), CommandError> {
    let bytes = read_file(&arguments.module, Subject::Module, max_module_bytes())?;
    let refused = |cause| CommandError::Module {
        path: arguments.module.clone(),
        cause,
    };
    let report = match plugin::manifest(&arguments.module, &bytes)? {
        Some(manifest) => {
            let modules = Modules::new(manifest, &[], &[])?;
            let linked = modules.link(false)?;
            inspect_linked(&modules, &linked.binary).map_err(refused)?
        }
        None => inspect(&bytes).map_err(refused)?,
    };
    let text = match arguments.json {
        true => report
            .json()
            .map_err(|cause| CommandError::Write(cause.into()))?,
        false => report.to_string(),
    };
    write_output(text.as_bytes())
}

/// Describes `bytes`, and compiles them with each engine of this command.
///
/// None of the module's code is run. [`read`] leaves the engines out, which take
/// most of the time.
///
/// ```
/// let report = wapc_cli::inspect::inspect(b"(module)")?;
/// assert!(!report.refusals.is_empty(), "it exports no `__guest_call`");
/// for verdict in &report.engines {
///     assert!(verdict.refusal.is_some(), "{} accepts it", verdict.engine);
/// }
/// # Ok::<(), wapc_host::error::ModuleError>(())
/// ```
///
/// # Errors
///
/// Any [`ModuleError`], for bytes that are no module. Components, modules that are
/// no guests, and invalid modules that can be read have a report.
pub fn inspect(bytes: &[u8]) -> Result<Report, ModuleError> {
    let mut report = Report::analyze(bytes)?;
    let adapted = report.adapt(bytes);
    let guest = adapted.as_ref().map_or(bytes, |adapted| &adapted.binary);
    report.engines = verdicts(guest);
    Ok(report)
}

/// Describes the module of a plugin that is called, and compiles what is linked with each engine.
fn inspect_linked(modules: &Modules, linked: &[u8]) -> Result<Report, ModuleError> {
    let mut report = read(modules.main())?;
    report.refusals.clear();
    report.notes.push(modules.description());
    report.engines = verdicts(linked);
    Ok(report)
}

fn verdicts(guest: &[u8]) -> Vec<Verdict> {
    let engines = Engine::ALL.iter();
    engines
        .map(|engine| Verdict::compile(*engine, guest))
        .collect()
}

/// Describes `bytes` without compiling them: [`Report::engines`] is empty.
///
/// ```
/// use wapc_cli::inspect::{Form, read};
///
/// let report = read(b"(module $name)")?;
/// assert_eq!(report.form, Form::Text);
/// assert_eq!(report.name.as_deref(), Some("name"));
/// # Ok::<(), wapc_host::error::ModuleError>(())
/// ```
///
/// # Errors
///
/// The same errors as [`inspect`].
pub fn read(bytes: &[u8]) -> Result<Report, ModuleError> {
    let mut report = Report::analyze(bytes)?;
    report.adapt(bytes);
    Ok(report)
}

impl Report {
    /// Adapts a module of another dialect, which then is not refused as it is.
    fn adapt<'m>(&mut self, bytes: &'m [u8]) -> Option<Adapted<'m>> {
        match adapt(bytes, &Options::new()) {
            Ok(adapted) if adapted.is_transformed() => {
                self.adapted = adapted.summary();
                self.adapted_needs = adapted.needs().unwrap_or_default();
                self.refusals.clear();
                Some(adapted)
            }
            Ok(_) => None,
            // Otherwise the module itself is told to be wrong.
            Err(error) => {
                if let AdaptError::Unfit { .. } | AdaptError::Link(_) = error {
                    self.refusals.push(error.to_string());
                }
                None
            }
        }
    }
}
