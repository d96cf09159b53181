//! The command `wapc`: calls waPC guests from a terminal, and describes
//! WebAssembly modules.
//!
//! ```console
//! $ wapc call hello.wasm hello --data World
//! Hello, World.
//! $ wapc inspect hello.wasm
//! ```
//!
//! The engines are chosen at build time by the features `wasmtime` and
//! `wasmi`, both on by default.
//!
//! This library is the command without its `main`, for tests and for programs
//! that want a module's report. [`run`] executes a command line, and
//! [`inspect::inspect`] describes any bytes:
//!
//! ```
//! use wapc_cli::inspect::{Kind, inspect};
//!
//! let module = br#"(module
//!     (memory (export "memory") 1)
//!     (func (export "__guest_call") (param i32 i32) (result i32) (i32.const 1)))"#;
//! let report = inspect(module)?;
//! assert_eq!(report.kind, Kind::WapcGuest);
//! assert!(report.refusals.is_empty());
//! # Ok::<(), wapc_host::error::ModuleError>(())
//! ```

#![forbid(unsafe_code)]

#[cfg(not(any(feature = "wasmtime", feature = "wasmi")))]
compile_error!("the command needs an engine: turn on the feature `wasmtime` or `wasmi`");

mod adapt;
pub mod arguments;
#[cfg(feature = "wasmtime")]
mod cache;
mod call;
mod engine;
mod error;
mod grants;
mod guest_log;
mod host_responses;
pub mod inspect;
mod plugin;

use std::{
    fmt,
    fs::File,
    io::{self, Write},
    path::Path,
};

use wapc_host::{ModuleLimits, module::read_at_most};

use crate::arguments::Command;
pub use crate::{
    arguments::Arguments,
    engine::{Engine, GuestSettings},
    error::{CommandError, ExitStatus, Subject},
};

/// Runs the command. Results go to standard output, messages to standard error.
///
/// ```no_run
/// use clap::Parser;
///
/// let arguments = wapc_cli::Arguments::parse_from(["wapc", "inspect", "guest.wasm"]);
/// if let Err(error) = wapc_cli::run(arguments) {
///     error.show();
///     std::process::exit(error.status() as i32);
/// }
/// ```
///
/// # Errors
///
/// Any [`CommandError`]. [`CommandError::show`] prints it, and
/// [`CommandError::status`] is the code to exit with.
pub fn run(arguments: Arguments) -> Result<(), CommandError> {
    match arguments.command {
        Command::Adapt(arguments) => adapt::run(&arguments),
        #[cfg(feature = "wasmtime")]
        Command::Cache(command) => cache::run(&command),
        Command::Call(arguments) => call::run(&arguments),
        Command::Inspect(arguments) => inspect::run(&arguments),
    }
}

/// Writes a line to standard error. Ignores failures: a closed standard error
/// must not end the command.
fn tell(line: impl fmt::Display) {
    let _ = writeln!(io::stderr().lock(), "{line}");
}

/// Reads a file, or what the path leads to, of at most `limit` bytes.
fn read_file(path: &Path, subject: Subject, limit: usize) -> Result<Vec<u8>, CommandError> {
    let read = || read_at_most(File::open(path)?, limit);
    read().map_err(|cause| CommandError::Read {
        subject,
        path: path.to_owned(),
        cause,
    })
}

/// The greatest length of a module.
fn max_module_bytes() -> usize {
    ModuleLimits::default().max_bytes
}

fn write_output(bytes: &[u8]) -> Result<(), CommandError> {
    let mut stdout = io::stdout().lock();
    stdout
        .write_all(bytes)
        .and_then(|()| stdout.flush())
        .map_err(CommandError::Write)
}
