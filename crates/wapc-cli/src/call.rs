//! `wapc call`: calls an operation of a guest.

use std::{
    fs,
    io::{self, IsTerminal},
    path::Path,
};

use wapc_dialects::{AdaptError, Adapted, Settings, adapt};
use wapc_extism::Manifest;
use wapc_host::{Limits, WapcHost, module::read_at_most, wasi::Capture};
use wapc_typed::{Descriptor, Operation};

use crate::{
    adapt,
    arguments::{CallArguments, PayloadArguments},
    engine::GuestSettings,
    error::{CommandError, Subject},
    grants, guest_log,
    host_responses::HostResponses,
    plugin::{self, Modules},
    read_file, tell, write_output,
};

/// Calls the guest and writes its response to standard output.
pub(crate) fn run(arguments: &CallArguments) -> Result<(), CommandError> {
    let limits = grants::module_limits(arguments);
    let module = read_file(&arguments.module, Subject::Module, limits.max_bytes)?;
    let typed = match arguments.json || !arguments.payload.field.is_empty() {
        true => Some(typed_operation(&module, &arguments.operation)?),
        false => None,
    };
    let payload = match &typed {
        Some(operation) if !arguments.payload.field.is_empty() => {
            let fields = arguments.payload.field.iter().cloned().collect();
            operation.encode(fields).map_err(CommandError::Arguments)?
        }
        _ => payload(&arguments.payload)?,
    };

    guest_log::start();
    let output = Capture::default();
    let responses = HostResponses::new(&arguments.host_response);
    let manifest = match plugin::manifest(&arguments.module, &module)? {
        None if plugin::is_plugin(&module) => Some(Manifest::new([module.as_slice()])),
        manifest => manifest,
    };
    if let Some(manifest) = manifest {
        return call_plugin(manifest, arguments, &payload, &responses, &output);
    }
    arguments.plugin.reject_for_a_guest()?;
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
    let mut wasi = grants::wasi(arguments, &output);
    if adapted.as_ref().is_some_and(Adapted::is_transformed) {
        let settings = Settings::read(&module).map_err(|error| refused(adapt::refusal(error)))?;
        for (path, contents) in settings.files {
            wasi = wasi.file(path, contents);
        }
    }
    let provider = arguments
        .engine
        .provider(
            guest,
            GuestSettings {
                wasi,
                ..grants::settings(arguments, arguments.timeout.0)
            },
        )
        .map_err(refused)?;
    let host = WapcHost::builder(provider)
        .limits(grants::limits(arguments))
        .build_with(responses.clone());
    let response = match (host, &arguments.dump_memory) {
        (Err(error), _) => Err(error.into()),
        (Ok(host), None) => host
            .call(&arguments.operation, &payload)
            .map_err(Into::into),
        (Ok(host), Some(path)) => call_and_dump(&host, &arguments.operation, &payload, path),
    };
    finish(response, typed.as_ref(), &responses, &output)
}

/// Calls the guest, and writes its memory to a file afterwards.
fn call_and_dump(
    host: &WapcHost,
    operation: &str,
    payload: &[u8],
    path: &Path,
) -> Result<Vec<u8>, CommandError> {
    let mut held = host.check_out()?;
    let response = held.call(operation, payload);
    match held.memory() {
        Some(memory) => fs::write(path, memory).map_err(|cause| CommandError::Dump {
            path: path.to_owned(),
            cause,
        })?,
        None => tell("note: no memory is written, since the guest has ended"),
    }
    Ok(response?)
}

/// Calls a plugin.
fn call_plugin(
    manifest: Manifest,
    arguments: &CallArguments,
    payload: &[u8],
    responses: &HostResponses,
    output: &Capture,
) -> Result<(), CommandError> {
    let modules = Modules::new(
        manifest,
        &arguments.dialect.link,
        &arguments.plugin.allow_host,
    )?;
    if arguments.verbose {
        tell(modules.description());
    }
    let response = plugin::call(modules, arguments, payload, responses, output);
    finish(response, None, responses, output)
}

/// Writes the response, that of a typed operation as JSON, and what is to be said beside it.
fn finish(
    response: Result<Vec<u8>, CommandError>,
    typed: Option<&Operation>,
    responses: &HostResponses,
    output: &Capture,
) -> Result<(), CommandError> {
    guest_log::show_output(output);
    let shown = match &response {
        Ok(_) => String::new(),
        Err(error) => error.report(),
    };
    responses.show_unanswered(&shown);
    let response = response?;
    match typed {
        Some(operation) => {
            let json = operation
                .decode(&response)
                .map_err(CommandError::Response)?;
            write_output(format!("{json}\n").as_bytes())
        }
        None => write_output(&response),
    }
}

/// Returns what the guest's descriptor says of an operation.
fn typed_operation(module: &[u8], name: &str) -> Result<Operation, CommandError> {
    let descriptor = Descriptor::read(module).map_err(CommandError::Descriptor)?;
    match descriptor.operations.iter().find(|it| it.name == name) {
        Some(operation) => Ok(operation.clone()),
        None => Err(CommandError::NotTyped {
            operation: name.to_owned(),
            typed: descriptor
                .operations
                .into_iter()
                .map(|it| it.name)
                .collect(),
        }),
    }
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
