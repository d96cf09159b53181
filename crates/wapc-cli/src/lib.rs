//! The command `wapc`: calls waPC guests from a terminal, and says what a
//! WebAssembly module is.
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
//! This library is the command without its `main`, so that its parts can be
//! tested. Start at [`run`]; [`inspect::inspect`] takes any bytes.

#![forbid(unsafe_code)]

#[cfg(not(any(feature = "wasmtime", feature = "wasmi")))]
compile_error!("the command needs an engine: turn on the feature `wasmtime` or `wasmi`");

pub mod arguments;
mod call;
mod engine;
mod error;
mod guest_log;
mod host_responses;
pub mod inspect;
mod printable;

use std::{
    fmt, fs,
    io::{self, Write},
    path::Path,
};

use crate::arguments::Command;
pub use crate::{
    arguments::Arguments,
    engine::Engine,
    error::{CommandError, ExitStatus, Subject},
};

/// Does what `arguments` ask for. What was asked for goes to standard output,
/// all else to standard error.
///
/// # Errors
///
/// Any [`CommandError`]; the caller shows it and exits with its
/// [`status`](CommandError::status).
pub fn run(arguments: Arguments) -> Result<(), CommandError> {
    match arguments.command {
        Command::Call(arguments) => call::run(&arguments),
        Command::Inspect(arguments) => inspect::run(&arguments),
    }
}

/// Writes a line to standard error. If nobody reads it any more, that is no
/// reason to stop.
fn tell(line: impl fmt::Display) {
    let _ = writeln!(io::stderr().lock(), "{line}");
}

fn read_file(path: &Path, subject: Subject) -> Result<Vec<u8>, CommandError> {
    fs::read(path).map_err(|cause| CommandError::Read {
        subject,
        path: path.to_owned(),
        cause,
    })
}

fn write_output(bytes: &[u8]) -> Result<(), CommandError> {
    let mut stdout = io::stdout().lock();
    stdout
        .write_all(bytes)
        .and_then(|()| stdout.flush())
        .map_err(CommandError::Write)
}
