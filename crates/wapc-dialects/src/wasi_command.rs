//! WASI commands: programs that read standard input and write standard output.
//!
//! Both are bound inside the adapted module. So a call needs nothing of the host's WASI, which has
//! its streams for a whole instance; it is the same on every engine; and what is read and written is
//! copied within the guest, without a call of the host. Streams are host calls: see `streams.rs`.
//!
//! A command runs once: after its response the guest leaves by `proc_exit(0)`, and the host makes a
//! new instance for the next call.

use wapc_host::module::Dialect;

use crate::{
    AdaptError, Options, Settings, SettingsError,
    kernel::{assemble, quoted, require_memory},
    link::{Linker, Unit},
    streams::NAMES,
};

const KERNEL: &str = include_str!("wasi_command/kernel.wat");
const WITH_STREAMS: &str = include_str!("wasi_command/streams.wat");
const WITHOUT_STREAMS: &str = include_str!("wasi_command/no_streams.wat");

const STREAM_IMPORTS: &str = r#"
  (import "wapc" "__host_call"
    (func $host_call (param i32 i32 i32 i32 i32 i32 i32 i32) (result i32)))
  (import "wapc" "__host_response_len" (func $host_response_len (result i32)))
  (import "wapc" "__host_response" (func $host_response (param i32)))"#;

/// The functions that the kernel provides instead of the host.
const STREAMS: [&str; 9] = [
    "proc_exit",
    "fd_read",
    "fd_write",
    "fd_pread",
    "fd_pwrite",
    "fd_seek",
    "fd_tell",
    "fd_close",
    "fd_fdstat_get",
];
const FILESTAT: &str = "fd_filestat_get";
const ARGUMENTS: [&str; 2] = ["args_sizes_get", "args_get"];
const ENVIRONMENT: [&str; 2] = ["environ_sizes_get", "environ_get"];

const PREVIEW_1: &str = "wasi_snapshot_preview1";
const UNSTABLE: &str = "wasi_unstable";

/// The place of the names and strings in the kernel's memory.
const DATA_AT: usize = 4096;

pub(crate) fn adapt(command: Unit<'_>, options: &Options) -> Result<Vec<u8>, AdaptError> {
    require_memory(&command, Dialect::WasiCommand)?;
    let imports_from = |from: &str| command.imports().any(|(module, ..)| module == from);
    let (wasi, filestat_bytes) = match (imports_from(PREVIEW_1), imports_from(UNSTABLE)) {
        (true, true) => {
            return Err(AdaptError::Unfit {
                dialect: Dialect::WasiCommand,
                reason: format!("it imports from `{PREVIEW_1}` and from `{UNSTABLE}`"),
            });
        }
        (false, true) => (UNSTABLE, "56"),
        _ => (PREVIEW_1, "64"),
    };
    let suggested = Settings::of(&command)?;
    let or = |own: &[String], suggested: Vec<String>| match own {
        [] => suggested,
        own => own.to_vec(),
    };
    let args = or(&options.args, suggested.args);
    let env = match &*options.env {
        [] => suggested.env,
        own => own.to_vec(),
    };
    let env: Vec<_> = env
        .into_iter()
        .map(|(name, value)| format!("{name}={value}"))
        .collect();
    let environment = strings("the variable", &env)?;
    let mut arguments = strings("the argument", &args)?;
    if options.operation_is_argument && args.is_empty() {
        // The program's name.
        arguments.extend(b"command\0");
    }

    let names = if options.streams { NAMES } else { "" };
    let environment_at = DATA_AT + names.len();
    let args_at = environment_at + environment.len();
    let operation_at = args_at + arguments.len();
    let data = [names.as_bytes(), &environment, &arguments].concat();
    let kernel = assemble(
        KERNEL,
        &[
            // First, since they have words of their own.
            (
                "STREAM_IMPORTS",
                if options.streams { STREAM_IMPORTS } else { "" },
            ),
            (
                "STREAM_FUNCTIONS",
                if options.streams {
                    WITH_STREAMS
                } else {
                    WITHOUT_STREAMS
                },
            ),
            ("WASI", wasi),
            ("NAMES_AT", &DATA_AT.to_string()),
            ("ENVIRONMENT_AT", &environment_at.to_string()),
            ("FILESTAT_BYTES", filestat_bytes),
            ("ARGS_AT", &args_at.to_string()),
            ("OPERATION_AT", &operation_at.to_string()),
            // Behind the zero byte of an operation of no bytes.
            ("OPERATION_END", &(operation_at + 1).to_string()),
            (
                "OPERATION_IS_ARGUMENT",
                if options.operation_is_argument {
                    "1"
                } else {
                    "0"
                },
            ),
            ("PAGES", &(operation_at / 65536 + 1).to_string()),
            (
                "DATA",
                &format!(
                    "(data (memory $own) (i32.const {DATA_AT}) {})",
                    quoted(&data)
                ),
            ),
        ],
    )?;

    let mut linker = Linker::new();
    let command = linker.add(command);
    let kernel = linker.add(Unit::parse("the kernel", &kernel)?);
    linker.inline(kernel);
    for name in STREAMS.iter().chain([&FILESTAT]) {
        linker.bind(command, wasi, name, kernel, name);
    }
    if !arguments.is_empty() {
        for name in ARGUMENTS {
            linker.bind(command, wasi, name, kernel, name);
        }
    }
    if !environment.is_empty() {
        for name in ENVIRONMENT {
            linker.bind(command, wasi, name, kernel, name);
        }
    }
    linker.bind(kernel, "command", "_start", command, "_start");
    linker.bind(kernel, "command", "memory", command, "memory");
    linker.export(command, "memory", "memory");
    linker.export(kernel, "memory", "wapc:memory");
    linker.export(kernel, "__guest_call", "__guest_call");
    Ok(linker.link()?)
}

/// Returns strings for the guest, each with a zero byte.
fn strings(what: &'static str, strings: &[String]) -> Result<Vec<u8>, SettingsError> {
    let mut bytes = vec![];
    for text in strings {
        if text.contains('\0') {
            let text = text.clone();
            return Err(SettingsError::ZeroByte { what, text });
        }
        bytes.extend(text.as_bytes());
        bytes.push(0);
    }
    Ok(bytes)
}
