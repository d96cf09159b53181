//! Runs this program again, for tests of things that a process has only once.

use std::{
    env,
    io::{self, PipeWriter},
    process::Command,
};

/// Returns a command that runs this program without arguments, with a standard input
/// that stays silent, and open for as long as the second value lives.
///
/// # Errors
///
/// If the system has no pipe left, or does not know the path of the program.
pub fn with_silent_input() -> io::Result<(Command, PipeWriter)> {
    let (silent, open) = io::pipe()?;
    let mut again = Command::new(env::current_exe()?);
    again.stdin(silent).env(MARK, "1");
    Ok((again, open))
}

/// Returns `true` in a process that was started by [`with_silent_input`].
#[must_use]
pub fn has_silent_input() -> bool {
    env::var_os(MARK).is_some()
}

const MARK: &str = "CONFORMANCE_HAS_SILENT_INPUT";
