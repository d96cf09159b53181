//! Compiled code kept in a directory, so that a module is compiled once.
//!
//! wasmtime's own cache finds, loads and stores the code, since only wasmtime may load machine code
//! without a promise of its caller's. What is missing there is added here: the directory is its user's
//! alone, its size is bounded when a process ends soon, and damage is noticed.

use std::{
    fs::{self, File},
    hash::{Hash, Hasher},
    io::{self, Read, Write},
    panic,
    path::{Path, PathBuf},
    sync::Arc,
    time::{Duration, SystemTime},
};

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use sha2::{Digest, Sha256};
use thiserror::Error as ThisError;
use twox_hash::XxHash64;
use wasmtime::{Cache, CacheConfig, Engine, Module};

/// A directory that keeps compiled code for later processes.
///
/// [`Builder::compile_cache`](crate::Builder::compile_cache) looks for a module's code here before it
/// compiles, and keeps here what it has compiled. Code is found by the SHA-256 of the module, the
/// engine's settings and version, and the features of the processor.
///
/// Machine code becomes a part of the program that loads it. The directory therefore belongs to the
/// user who runs the program, and nobody else may write to it: see [`CompileCache::open`]. Files are
/// complete when they appear. What is damaged nevertheless is noticed by a checksum, compiled again,
/// and replaced. Several processes and threads may use one directory at the same time.
///
/// A failure to read or to write costs time only: it is logged (target `wapc::cache`), and the module
/// is compiled.
///
/// Clones share the directory and the counters.
///
/// ```
/// use provider_wasmtime::{CompileCache, WasmtimeEngineProvider};
///
/// let guest = br#"(module
///     (import "wapc" "__guest_response" (func $respond (param i32 i32)))
///     (memory (export "memory") 1)
///     (func (export "__guest_call") (param i32 i32) (result i32)
///         (call $respond (i32.const 0) (i32.const 0))
///         (i32.const 1)))"#;
///
/// let directory = std::env::temp_dir().join(format!("compiled-{}", std::process::id()));
/// let cache = CompileCache::open(&directory)?.max_bytes(64 << 20);
/// let build = || {
///     WasmtimeEngineProvider::builder()
///         .compile_cache(cache.clone())
///         .build(guest)
/// };
/// build()?; // compiles
/// build()?; // loads what was compiled
/// assert_eq!((cache.misses(), cache.hits()), (1, 1));
/// assert_eq!(cache.clear()?, 1);
/// # std::fs::remove_dir_all(&directory)?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug)]
pub struct CompileCache {
    directory: Arc<Path>,
    cache: Cache,
    max_bytes: u64,
}

/// 1 GiB.
const DEFAULT_MAX_BYTES: u64 = 1 << 30;

/// An unfinished file of a process that has ended is removed after this time.
const UNFINISHED_FOR: Duration = Duration::from_secs(3600);

/// The last use of an entry is noted this exactly.
const USE_RESOLUTION: Duration = Duration::from_secs(60);

/// wasmtime's part of the directory. Now and then its thread removes all in it that it does not know.
const OF_WASMTIME: &str = "wasmtime";

/// Where wasmtime keeps entries, in a folder for each of its versions.
const MODULES: &str = "modules";

/// How the names of unfinished files begin behind the entry's name. wasmtime's thread leaves those alone.
const UNFINISHED: &str = "wip-";

/// The length of an entry's name.
const NAME_LENGTH: usize = 43;

/// wasmtime computes percentages of its limits.
const NO_LIMIT: u64 = u64::MAX / 100;

const LOG_TARGET: &str = "wapc::cache";

/// The compiled code of one module in a [`CompileCache`].
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct CacheEntry {
    /// The file.
    pub path: PathBuf,
    /// The file's length. Code is compressed.
    pub bytes: u64,
    /// The time of its last use, exact to a minute.
    pub last_used: SystemTime,
}

/// The reason why a directory cannot be a [`CompileCache`].
#[derive(Debug, ThisError)]
#[non_exhaustive]
pub enum CacheError {
    /// The directory cannot be made or examined.
    #[error("the cache directory `{}` cannot be used", .directory.display())]
    Io {
        /// The directory.
        directory: PathBuf,
        /// The cause.
        #[source]
        cause: io::Error,
    },

    /// Other users can write there, so its machine code cannot be trusted.
    #[error(
        "the cache directory `{}` belongs to another user, or others may write to it: \
         make it yours alone (chmod go-w), or use another one",
        .directory.display()
    )]
    NotPrivate {
        /// The directory.
        directory: PathBuf,
    },
}

impl CompileCache {
    /// Opens the cache in `directory`. Makes the directory, for this user alone, if it does not exist.
    ///
    /// # Errors
    ///
    /// [`CacheError::NotPrivate`] on Unix if the directory does not belong to this process's user, or
    /// if others may write to it. Other systems are not asked; keep the cache in the user's profile
    /// there. [`CacheError::Io`] if it cannot be made or is not a directory, or if the system refuses
    /// the thread that wasmtime's cache has.
    pub fn open(directory: impl AsRef<Path>) -> Result<Self, CacheError> {
        let directory = directory.as_ref();
        let failed = |cause| CacheError::Io {
            directory: directory.to_owned(),
            cause,
        };
        let found = make_private(directory).and_then(|is_private| {
            let directory = fs::canonicalize(directory)?;
            let is_private = is_private && make_private(&directory.join(OF_WASMTIME))?;
            Ok((is_private, directory))
        });
        let (is_private, canonical) = found.map_err(failed)?;
        if !is_private {
            return Err(CacheError::NotPrivate {
                directory: directory.to_owned(),
            });
        }
        let mut config = CacheConfig::new();
        config
            .with_directory(canonical.join(OF_WASMTIME))
            // Its thread compresses once more what is used often, and removes what is too much once in
            // an hour. The first would drop the checksum, the second comes too late for a command.
            .with_optimized_compression_usage_counter_threshold(u64::MAX)
            .with_file_count_soft_limit(NO_LIMIT)
            .with_files_total_size_soft_limit(NO_LIMIT);
        let cache = match panic::catch_unwind(|| Cache::new(config)) {
            Ok(Ok(cache)) => cache,
            Ok(Err(error)) => return Err(failed(io::Error::other(error.to_string()))),
            // It starts a thread without asking whether there can be one.
            Err(_) => return Err(failed(io::ErrorKind::WouldBlock.into())),
        };
        Ok(Self {
            directory: canonical.into(),
            cache,
            max_bytes: DEFAULT_MAX_BYTES,
        })
    }

    /// Sets how many bytes of compiled code are kept, by default 1 GiB. When there are more, those that
    /// were not used for the longest time are removed. Code of more bytes is not kept.
    #[must_use]
    pub const fn max_bytes(mut self, bytes: u64) -> Self {
        self.max_bytes = bytes;
        self
    }

    /// Returns the directory.
    #[must_use]
    pub fn directory(&self) -> &Path {
        &self.directory
    }

    /// Returns the number of modules whose code was found here, since the cache was opened.
    #[must_use]
    pub fn hits(&self) -> usize {
        self.cache.cache_hits()
    }

    /// Returns the number of modules that were compiled and kept, since the cache was opened.
    #[must_use]
    pub fn misses(&self) -> usize {
        self.cache.cache_misses()
    }

    /// Returns what the cache holds, of all versions of wasmtime, the entry that was used last first.
    ///
    /// # Errors
    ///
    /// Any error of reading the directory.
    pub fn entries(&self) -> io::Result<Vec<CacheEntry>> {
        let (entries, _) = self.files()?;
        Ok(entries)
    }

    /// Removes all entries and returns their number. Code that was loaded is not concerned.
    ///
    /// # Errors
    ///
    /// Any error of reading the directory or of removing a file.
    pub fn clear(&self) -> io::Result<usize> {
        let entries = self.entries()?;
        for entry in &entries {
            remove(entry)?;
        }
        Ok(entries.len())
    }

    /// Returns wasmtime's part, for an engine's settings.
    pub(crate) const fn cache(&self) -> &Cache {
        &self.cache
    }

    /// Notes that `engine` has compiled `binary`, or has found its code.
    pub(crate) fn note(&self, engine: &Engine, binary: &[u8], module: &Module) {
        let name = entry_name(engine, binary);
        if let Err(error) = self.note_entry(&name, module) {
            log::warn!(target: LOG_TARGET, "compiled code cannot be kept as `{name}`: {error}");
        }
    }

    fn note_entry(&self, name: &str, module: &Module) -> io::Result<()> {
        // There is none if wasmtime could not write it. It has logged why.
        let Some(path) = self.find(name)? else {
            return Ok(());
        };
        if !lacks_checksum(&path)? {
            return note_use(&path);
        }
        let Some(sealed) = with_checksum(fs::read(&path)?, module) else {
            return Ok(());
        };
        let unfinished =
            path.with_extension(format!("{UNFINISHED}checksum-{}", std::process::id()));
        let written = File::create_new(&unfinished)
            .and_then(|mut file| file.write_all(&sealed))
            .and_then(|()| fs::rename(&unfinished, &path));
        if written.is_err() {
            let _ = fs::remove_file(&unfinished);
        }
        // Another thread may be sealing the same code.
        match written {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => Err(error),
            _ => self.evict(),
        }
    }

    fn find(&self, name: &str) -> io::Result<Option<PathBuf>> {
        for version in directory(&self.cache.directory().join(MODULES))? {
            let path = version?.path().join(name);
            if path.exists() {
                return Ok(Some(path));
            }
        }
        Ok(None)
    }

    /// Removes the entries that are too many, and what ended processes have left.
    fn evict(&self) -> io::Result<()> {
        let (entries, unfinished) = self.files()?;
        let mut bytes = 0_u64;
        for entry in entries {
            bytes = bytes.saturating_add(entry.bytes);
            if bytes > self.max_bytes {
                remove(&entry)?;
            }
        }
        for file in unfinished {
            if file.last_used.elapsed().unwrap_or_default() > UNFINISHED_FOR {
                remove(&file)?;
            }
        }
        Ok(())
    }

    /// Returns the entries, the one that was used last first, and the unfinished files. Files that another process removes meanwhile are
    /// left out.
    fn files(&self) -> io::Result<(Vec<CacheEntry>, Vec<CacheEntry>)> {
        let (mut entries, mut unfinished) = (vec![], vec![]);
        for version in directory(&self.cache.directory().join(MODULES))? {
            for file in directory(&version?.path())? {
                let file = file?;
                let Ok(metadata) = file.metadata() else {
                    continue;
                };
                let path = file.path();
                let name_length = path.file_stem().map_or(0, |name| name.len());
                if !metadata.is_file() || name_length != NAME_LENGTH {
                    continue;
                }
                let kind = match path.extension().and_then(|extension| extension.to_str()) {
                    None => &mut entries,
                    Some(extension) if extension.starts_with(UNFINISHED) => &mut unfinished,
                    Some(_) => continue,
                };
                kind.push(CacheEntry {
                    bytes: metadata.len(),
                    last_used: metadata.modified()?,
                    path,
                });
            }
        }
        entries.sort_by(|a, b| (b.last_used, &b.path).cmp(&(a.last_used, &a.path)));
        Ok((entries, unfinished))
    }
}

/// Returns the name that wasmtime gives an entry, from all that its `CodeBuilder` hashes.
fn entry_name(engine: &Engine, binary: &[u8]) -> String {
    let mut key = KeyHasher(Sha256::new());
    engine.precompile_compatibility_hash().hash(&mut key);
    binary.hash(&mut key);
    // No DWARF package and no intrinsics.
    None::<&[u8]>.hash(&mut key);
    None::<&str>.hash(&mut key);
    URL_SAFE_NO_PAD.encode(key.0.finalize())
}

struct KeyHasher(Sha256);

impl Hasher for KeyHasher {
    fn write(&mut self, bytes: &[u8]) {
        self.0.update(bytes);
    }

    fn finish(&self) -> u64 {
        unreachable!("the digest is taken from the field")
    }
}

/// The beginning of a frame of zstd, and a flag in the byte after it: there is a checksum of the contents.
///
/// RFC 8878, 3.1.1.
const MAGIC: [u8; 4] = [0x28, 0xB5, 0x2F, 0xFD];
const CHECKSUM_FLAG: u8 = 1 << 2;

/// Returns whether a file is a frame of zstd without a checksum, as wasmtime writes it.
fn lacks_checksum(path: &Path) -> io::Result<bool> {
    let mut header = [0; MAGIC.len() + 1];
    match File::open(path)?.read_exact(&mut header) {
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(false),
        read => read?,
    }
    let [magic @ .., descriptor] = header;
    Ok(magic == MAGIC && descriptor & CHECKSUM_FLAG == 0)
}

/// Adds to a frame of zstd the checksum of its contents, which the decoder then compares: four bytes at its
/// end, and a flag that announces them.
fn with_checksum(mut frame: Vec<u8>, module: &Module) -> Option<Vec<u8>> {
    *frame.get_mut(MAGIC.len())? |= CHECKSUM_FLAG;
    let contents = module.serialize().ok()?;
    let [low @ .., _, _, _, _] = XxHash64::oneshot(0, &contents).to_le_bytes();
    frame.extend(low);
    Some(frame)
}

/// Notes that an entry is used now, so that others are removed first. Without the right to, it keeps its
/// age.
fn note_use(path: &Path) -> io::Result<()> {
    let file = File::open(path)?;
    let used = file.metadata().and_then(|metadata| metadata.modified());
    let recently = used.is_ok_and(|time| time.elapsed().is_ok_and(|age| age < USE_RESOLUTION));
    if !recently {
        let _ = file.set_modified(SystemTime::now());
    }
    Ok(())
}

/// Lists a directory. One that does not exist is empty.
fn directory(path: &Path) -> io::Result<impl Iterator<Item = io::Result<fs::DirEntry>>> {
    match fs::read_dir(path) {
        Err(error)
            if matches!(
                error.kind(),
                io::ErrorKind::NotFound | io::ErrorKind::NotADirectory
            ) =>
        {
            Ok(None.into_iter().flatten())
        }
        files => files.map(|files| Some(files).into_iter().flatten()),
    }
}

/// Removes a file and what wasmtime notes beside it, unless another process was faster.
fn remove(entry: &CacheEntry) -> io::Result<()> {
    let _ = fs::remove_file(entry.path.with_extension("stats"));
    match fs::remove_file(&entry.path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

/// Makes the directory if there is none, and returns whether only this user may write to it.
#[cfg(unix)]
fn make_private(directory: &Path) -> io::Result<bool> {
    use std::os::unix::fs::{DirBuilderExt, MetadataExt};

    fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(directory)?;
    let metadata = fs::metadata(directory)?;
    let owner = rustix::process::geteuid().as_raw();
    Ok(metadata.uid() == owner && metadata.mode() & 0o022 == 0)
}

/// Makes the directory if there is none. Its access list is the parent's.
#[cfg(not(unix))]
fn make_private(directory: &Path) -> io::Result<bool> {
    fs::create_dir_all(directory)?;
    Ok(true)
}
