//! `wapc call`: calls an operation of a guest.

use std::io::{self, IsTerminal};

use wapc_dialects::{AdaptError, Adapted, Settings, adapt};
use wapc_host::{
    Interruption, Limits, WapcHost, WasiSettings,
    module::read_at_most,
    wasi::{Capture, Stdout},
};

use crate::{
    adapt,
    arguments::{CallArguments, PayloadArguments},
    error::{CommandError, Subject},
    guest_log,
    host_responses::HostResponses,
    max_module_bytes, read_file, tell, write_output,
};

/// Calls the guest and writes its response to standard output.
pub(crate) fn run(arguments: &CallArguments) -> Result<(), CommandError> {
    let module = read_file(&arguments.module, Subject::Module, max_module_bytes())?;
    let payload = payload(&arguments.payload)?;

    guest_log::start();
    let output = Capture::default();
    let responses = HostResponses::new(&arguments.host_response);
    let refused = |cause| CommandError::Module {
        path: arguments.module.clone(),
        cause,
    };
    let adapted = match adapt(&module, &adapt::options(&arguments.dialect)?) {
        // The engine may know more than that it is no module.
        Err(AdaptError::Module(_)) => None,
        adapted => Some(adapted.map_err(|error| refused(adapt::refusal(error)))?),
    };
    if let Some(adapted) = &adapted
        && arguments.verbose
    {
        tell(adapt::description(adapted));
    }
    let guest = adapted
        .as_ref()
        .map_or(&*module, |adapted| &*adapted.binary);
    let mut wasi = wasi(arguments, &output);
    if adapted.as_ref().is_some_and(Adapted::is_transformed) {
        let settings = Settings::read(&module).map_err(|error| refused(adapt::refusal(error)))?;
        for (path, contents) in settings.files {
            wasi = wasi.file(path, contents);
        }
    }
    let provider = arguments
        .engine
        .provider(guest, wasi, interruption(arguments), !arguments.no_cache)
        .map_err(refused)?;
    let response = WapcHost::builder(provider)
        .limits(limits(arguments))
        .build_with(responses.clone())
        .and_then(|host| host.call(&arguments.operation, &payload));

    guest_log::show_output(&output);
    let response = response.map_err(CommandError::from);
    let shown = match &response {
        Ok(_) => String::new(),
        Err(error) => error.report(),
    };
    responses.show_unanswered(&shown);
    write_output(&response?)
}

/// Returns the limits of the guest.
fn limits(arguments: &CallArguments) -> Limits {
    Limits::default()
        .timeout(arguments.timeout.0)
        .start_timeout(arguments.timeout.0)
        .max_memory_bytes(arguments.max_memory)
        .max_total_memory_bytes(arguments.max_memory)
        .fuel(arguments.fuel)
}

/// Returns the cheapest interruption that enforces the limits.
const fn interruption(arguments: &CallArguments) -> Interruption {
    match (arguments.timeout.0, arguments.fuel) {
        (None, None) => Interruption::Off,
        (Some(_), None) => Interruption::Kill,
        (None, Some(_)) => Interruption::Fuel,
        (Some(_), Some(_)) => Interruption::TimeAndFuel,
    }
}

/// Grants the guest the arguments, variables and directories that were asked for.
fn wasi(arguments: &CallArguments, output: &Capture) -> WasiSettings {
    let mut wasi = WasiSettings::new()
        .stdout(Stdout::Captured(output.clone()))
        .stderr(Stdout::Captured(output.clone()));
    if !arguments.arg.is_empty() {
        let name = arguments.module.file_name().unwrap_or_default();
        wasi = wasi.arg(name.to_string_lossy());
    }
    for arg in &arguments.arg {
        wasi = wasi.arg(arg);
    }
    for (name, value) in &arguments.env {
        wasi = wasi.env(name, value);
    }
    for dir in &arguments.dir {
        wasi = wasi.dir(&dir.host, &dir.guest, dir.access);
    }
    wasi
}

fn payload(arguments: &PayloadArguments) -> Result<Vec<u8>, CommandError> {
    if let Some(text) = &arguments.data {
        return Ok(text.clone().into_bytes());
    }
    if let Some(path) = &arguments.file {
        return read_file(path, Subject::Payload, max_payload_bytes());
    }
    let stdin = io::stdin().lock();
    match arguments.stdin || !stdin.is_terminal() {
        true => read_at_most(stdin, max_payload_bytes()).map_err(CommandError::Stdin),
        false => Ok(Vec::new()),
    }
}

/// The greatest length of a payload: the host would refuse a longer one.
fn max_payload_bytes() -> usize {
    Limits::default().max_inbound_bytes
}
