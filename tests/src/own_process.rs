//! Runs this very program once more: for what a process has only once.

use std::{
    env,
    io::{self, PipeWriter},
    process::Command,
};

/// This program, without arguments yet, with a standard input on which nothing
/// ever comes. It stays open for as long as the second value lives.
///
/// # Errors
///
/// The system has no pipe left, or does not know where the program is.
pub fn with_silent_input() -> io::Result<(Command, PipeWriter)> {
    let (silent, open) = io::pipe()?;
    let mut again = Command::new(env::current_exe()?);
    again.stdin(silent).env(MARK, "1");
    Ok((again, open))
}

/// Whether this process was started so.
#[must_use]
pub fn has_silent_input() -> bool {
    env::var_os(MARK).is_some()
}

const MARK: &str = "CONFORMANCE_HAS_SILENT_INPUT";
