//! What a guest gets of the outside world: nothing, unless asked for.

use std::{path::PathBuf, sync::Arc};

use parking_lot::Mutex;

use crate::error::{BoxError, EngineError};

/// The settings of WASI preview 1 (and of the older `wasi_unstable`) for the
/// guests of a provider.
///
/// By default a guest that imports WASI is run, and gets no arguments, no
/// environment, no directories, an empty standard input, and outputs that
/// swallow what it writes. Clocks and random numbers are always there. There
/// is no network.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct WasiSettings {
    /// The program arguments; by convention the first is the program's name.
    pub args: Vec<String>,
    /// The environment, as names and values.
    pub env: Vec<(String, String)>,
    /// The directories that the guest may open, in the order in which it
    /// finds them, from file descriptor 3 on.
    pub dirs: Vec<MappedDir>,
    /// Standard input.
    pub stdin: Stdin,
    /// Standard output.
    pub stdout: Stdout,
    /// Standard error.
    pub stderr: Stdout,
}

impl WasiSettings {
    /// Nothing granted: the default.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a program argument.
    #[must_use]
    pub fn arg(mut self, arg: impl Into<String>) -> Self {
        self.args.push(arg.into());
        self
    }

    /// Adds an environment variable.
    #[must_use]
    pub fn env(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.env.push((name.into(), value.into()));
        self
    }

    /// Maps the host's directory `host` to the guest's path `guest`. The
    /// guest can leave it neither by `..` nor by a symbolic link.
    #[must_use]
    pub fn dir(
        mut self,
        host: impl Into<PathBuf>,
        guest: impl Into<String>,
        access: DirAccess,
    ) -> Self {
        self.dirs.push(MappedDir {
            host: host.into(),
            guest: guest.into(),
            access,
        });
        self
    }

    /// Sets standard input.
    #[must_use]
    pub fn stdin(mut self, stdin: Stdin) -> Self {
        self.stdin = stdin;
        self
    }

    /// Sets standard output.
    #[must_use]
    pub fn stdout(mut self, stdout: Stdout) -> Self {
        self.stdout = stdout;
        self
    }

    /// Sets standard error.
    #[must_use]
    pub fn stderr(mut self, stderr: Stdout) -> Self {
        self.stderr = stderr;
        self
    }
}

/// A directory of the host's that a guest may open.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct MappedDir {
    /// Where it is on the host. It must exist when an instance is made.
    pub host: PathBuf,
    /// What the guest calls it.
    pub guest: String,
    /// What the guest may do there.
    pub access: DirAccess,
}

impl MappedDir {
    /// The error of a directory that an engine cannot open. For engines.
    pub fn unusable(&self, cause: impl Into<BoxError>) -> EngineError {
        EngineError::Directory {
            host: self.host.clone(),
            cause: cause.into(),
        }
    }
}

/// What a guest may do in a [`MappedDir`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum DirAccess {
    /// List and read.
    #[default]
    ReadOnly,
    /// List, read, write, make and remove.
    ReadWrite,
}

/// A guest's standard input.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Stdin {
    /// At its end from the beginning.
    #[default]
    Closed,
    /// The host process's own.
    Inherited,
    /// These bytes, anew for each instance.
    Bytes(Arc<[u8]>),
}

/// A guest's standard output or standard error.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Stdout {
    /// What the guest writes is swallowed.
    #[default]
    Closed,
    /// The host process's own.
    Inherited,
    /// What the guest writes is collected.
    Captured(Capture),
}

/// Collects what guests write, up to a limit. Clones share what was collected.
///
/// What goes past the limit is dropped, and [`Capture::dropped_bytes`] counts
/// it; the guest is not told.
#[derive(Clone, Debug)]
pub struct Capture {
    limit: usize,
    collected: Arc<Mutex<Collected>>,
}

#[derive(Debug, Default)]
struct Collected {
    bytes: Vec<u8>,
    dropped: u64,
}

impl Capture {
    /// An empty one that holds up to `limit` bytes.
    #[must_use]
    pub fn new(limit: usize) -> Self {
        Self {
            limit,
            collected: Arc::default(),
        }
    }

    /// Takes what has been collected so far, and makes room for more.
    #[must_use]
    pub fn take(&self) -> Vec<u8> {
        std::mem::take(&mut self.collected.lock().bytes)
    }

    /// How many bytes did not fit, over the whole life of this capture.
    #[must_use]
    pub fn dropped_bytes(&self) -> u64 {
        self.collected.lock().dropped
    }

    /// Adds what a guest wrote. For engines.
    pub fn write(&self, bytes: &[u8]) {
        let mut collected = self.collected.lock();
        let room = self.limit.saturating_sub(collected.bytes.len());
        let (kept, dropped) = bytes.split_at(room.min(bytes.len()));
        collected.bytes.extend_from_slice(kept);
        collected.dropped += dropped.len() as u64;
    }
}

impl Default for Capture {
    /// One that holds up to 1 MiB.
    fn default() -> Self {
        Self::new(1024 * 1024)
    }
}

impl PartialEq for Capture {
    /// Whether both collect into the same place.
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.collected, &other.collected)
    }
}

impl Eq for Capture {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_capture_keeps_what_fits_and_counts_the_rest() {
        let capture = Capture::new(4);
        let clone = capture.clone();
        clone.write(b"abc");
        capture.write(b"def");
        assert_eq!(
            (capture.take(), capture.dropped_bytes()),
            (b"abcd".to_vec(), 2)
        );
        capture.write(b"gh");
        assert_eq!(
            (capture.take(), capture.dropped_bytes()),
            (b"gh".to_vec(), 2)
        );
    }
}
