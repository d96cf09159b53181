//! The settings of WASI: arguments, environment, directories, standard streams.

mod attached;
mod disk;

pub use attached::{AttachError, AttachedPaths, Attachment};
pub use disk::{DiskAccount, DiskQuota, DiskUsage, FileId};

use std::{path::PathBuf, sync::Arc};

use parking_lot::Mutex;

use crate::error::{BoxError, EngineError};

/// The settings of WASI preview 1 (and of the older `wasi_unstable`) for the
/// guests of a provider.
///
/// By default a guest gets no arguments, no environment, no directories and an
/// empty standard input, and its output is discarded. Clocks and random numbers
/// are always available. There is no network.
///
/// ```
/// use wapc_host::{WasiSettings, wasi::{Capture, DirAccess, Stdout}};
///
/// let output = Capture::new(64 * 1024);
/// let wasi = WasiSettings::new()
///     .arg("guest")
///     .env("LANG", "C")
///     .dir("/srv/data", "/data", DirAccess::ReadOnly)
///     .stdout(Stdout::Captured(output.clone()));
/// // A provider takes them: `WasmtimeEngineProvider::builder().wasi(wasi)`.
/// assert_eq!(wasi.dirs[0].guest, "/data");
/// ```
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct WasiSettings {
    /// The program arguments; by convention the first is the program's name.
    pub args: Vec<String>,
    /// The environment, as pairs of name and value.
    pub env: Vec<(String, String)>,
    /// The directories that the guest may open. The first one has file
    /// descriptor 3, the next one 4, and so on.
    pub dirs: Vec<MappedDir>,
    /// Files in memory, which the guest may read.
    pub files: Vec<MemoryFile>,
    /// Directories that come and go while guests live.
    pub attached_paths: Option<AttachedPaths>,
    /// Standard input.
    pub stdin: Stdin,
    /// Standard output.
    pub stdout: Stdout,
    /// Standard error.
    pub stderr: Stdout,
    /// The space that guests may take in directories that they may write to.
    pub disk_quota: DiskQuota,
    disk_usage: Arc<DiskUsage>,
}

impl PartialEq for WasiSettings {
    /// Compares what is granted, and not how much of it is used.
    fn eq(&self, other: &Self) -> bool {
        let grants = |settings: &Self| {
            let Self {
                args,
                env,
                dirs,
                files,
                attached_paths,
                stdin,
                stdout,
                stderr,
                disk_quota,
                disk_usage: _,
            } = settings.clone();
            let inside = (args, env, dirs, files, attached_paths);
            (inside, stdin, stdout, stderr, disk_quota)
        };
        grants(self) == grants(other)
    }
}

impl Eq for WasiSettings {}

impl WasiSettings {
    /// Returns the default settings, which grant nothing.
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

    /// Maps the host's directory `host` to the guest's path `guest`.
    ///
    /// The guest cannot escape from it, neither by `..` nor by a symbolic link.
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

    /// Lets the guest read a file that is in memory, without a directory of the host's.
    ///
    /// All such files are in a read-only directory `/`, which is there only if there are some, or if
    /// there may be [`attached_paths`](Self::attached_paths).
    /// Its descriptor comes after those of [`dir`](Self::dir), whose longer paths go before it.
    ///
    /// ```
    /// use wapc_host::WasiSettings;
    ///
    /// let wasi = WasiSettings::new().file("/etc/greeting", *b"Hello");
    /// assert_eq!(*wasi.files[0].contents, *b"Hello");
    /// ```
    #[must_use]
    pub fn file(mut self, path: impl Into<String>, contents: impl Into<Arc<[u8]>>) -> Self {
        self.files.push(MemoryFile {
            path: path.into(),
            contents: contents.into(),
        });
        self
    }

    /// Lets directories be given to guests, and taken away, while they live. [`AttachedPaths`] has an
    /// example.
    #[must_use]
    pub fn attached_paths(mut self, paths: &AttachedPaths) -> Self {
        self.attached_paths = Some(paths.clone());
        self
    }

    /// Sets the space that guests may take in directories that they may write to.
    #[must_use]
    pub fn disk_quota(mut self, quota: DiskQuota) -> Self {
        self.disk_quota = quota;
        self
    }

    /// Returns the use of the quota, which clones share. For authors of engines.
    #[must_use]
    pub fn disk_usage(&self) -> &Arc<DiskUsage> {
        self.disk_usage.set_quota(self.disk_quota);
        &self.disk_usage
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

/// A directory of the host that a guest may open.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct MappedDir {
    /// Its path on the host. It must exist when an instance is made.
    pub host: PathBuf,
    /// Its path in the guest.
    pub guest: String,
    /// The guest's rights in it.
    pub access: DirAccess,
}

impl MappedDir {
    /// Returns the error for a directory that an engine cannot open.
    pub fn unusable(&self, cause: impl Into<BoxError>) -> EngineError {
        EngineError::Directory {
            host: self.host.clone(),
            cause: cause.into(),
        }
    }
}

/// A file in memory that a guest may read.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct MemoryFile {
    /// Its path in the guest, from `/`.
    pub path: String,
    /// Its contents.
    pub contents: Arc<[u8]>,
}

/// A guest's rights in a [`MappedDir`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum DirAccess {
    /// The guest may list and read.
    #[default]
    ReadOnly,
    /// The guest may list, read, write, create and remove.
    ReadWrite,
}

/// A guest's standard input.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Stdin {
    /// Standard input is empty.
    #[default]
    Closed,
    /// The guest reads the standard input of the host's process.
    Inherited,
    /// Each instance reads these bytes from the start.
    Bytes(Arc<[u8]>),
}

/// A guest's standard output or standard error.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Stdout {
    /// Output is discarded.
    #[default]
    Closed,
    /// Output goes to the same stream of the host's process.
    Inherited,
    /// Output is collected.
    Captured(Capture),
}

/// Collects the output of guests, up to a limit. Clones share one buffer.
///
/// Output beyond the limit is dropped and counted by
/// [`Capture::dropped_bytes`]; the guest's write succeeds.
///
/// ```
/// use wapc_host::wasi::Capture;
///
/// let capture = Capture::new(5);
/// // An engine writes what its guests print; a program takes it.
/// capture.write(b"hello, world");
/// assert_eq!(capture.take(), b"hello");
/// assert_eq!(capture.dropped_bytes(), 7);
/// ```
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
    /// Creates an empty capture that holds up to `limit` bytes.
    #[must_use]
    pub fn new(limit: usize) -> Self {
        Self {
            limit,
            collected: Arc::default(),
        }
    }

    /// Returns the output collected so far and empties the buffer.
    #[must_use]
    pub fn take(&self) -> Vec<u8> {
        std::mem::take(&mut self.collected.lock().bytes)
    }

    /// Returns the number of bytes dropped since the capture was created.
    #[must_use]
    pub fn dropped_bytes(&self) -> u64 {
        self.collected.lock().dropped
    }

    /// Appends a guest's output. Engines call this.
    pub fn write(&self, bytes: &[u8]) {
        let mut collected = self.collected.lock();
        let room = self.limit.saturating_sub(collected.bytes.len());
        let (kept, dropped) = bytes.split_at(room.min(bytes.len()));
        collected.bytes.extend_from_slice(kept);
        collected.dropped += dropped.len() as u64;
    }
}

impl Default for Capture {
    /// Creates an empty capture that holds up to 1 MiB.
    fn default() -> Self {
        Self::new(1024 * 1024)
    }
}

impl PartialEq for Capture {
    /// Compares by identity: equal captures share one buffer.
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
