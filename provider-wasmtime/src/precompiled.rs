//! Artefacts of code that was compiled ahead of time.

use std::{
    error::Error as StdError,
    hash::{Hash, Hasher},
    io::{self, BufReader, Read, Seek, SeekFrom, Write},
};

use thiserror::Error as ThisError;
use twox_hash::{XxHash3_64, XxHash3_128};
use wapc_host::{Interruption, error::ModuleError};
use wasmtime::{Engine, Module};

use crate::{Builder, WasmtimeEngineProvider, page_checks};

impl Builder {
    /// Compiles `module`, in binary or text format, ahead of time. Returns an
    /// artefact to be loaded later, by a provider with the same settings, on the
    /// same kind of processor. [`Precompiled`] shows how to load it.
    ///
    /// The artefact is the output of wasmtime's `Module::serialize`, followed by
    /// 64 bytes that identify its source and its engine.
    ///
    /// ```
    /// use std::io::Cursor;
    ///
    /// use provider_wasmtime::{PrecompiledError, WasmtimeEngineProvider};
    ///
    /// let guest = br#"(module
    ///     (import "wapc" "__guest_response" (func $respond (param i32 i32)))
    ///     (memory (export "memory") 1)
    ///     (func (export "__guest_call") (param i32 i32) (result i32)
    ///         (call $respond (i32.const 0) (i32.const 0))
    ///         (i32.const 1)))"#;
    ///
    /// let settings = WasmtimeEngineProvider::builder();
    /// let artefact = settings.precompile(guest)?;
    /// let check = |module: &[u8]| {
    ///     settings
    ///         .clone()
    ///         .check_precompiled(Cursor::new(&artefact), Some(module))
    /// };
    /// assert!(check(guest).is_ok());
    /// assert!(matches!(check(b"new code"), Err(PrecompiledError::Stale)));
    /// # Ok::<(), wapc_host::error::ModuleError>(())
    /// ```
    ///
    /// # Errors
    ///
    /// [`ModuleError`] if the bytes are not a module or the module is not a
    /// guest.
    pub fn precompile(&self, module: &[u8]) -> Result<Vec<u8>, ModuleError> {
        let compiled = self.clone().build(module)?;
        let code = compiled.module().serialize();
        let code = code.map_err(|error| ModuleError::Refused(error.into()))?;
        let engine = fingerprint(compiled.engine(), compiled.has_checks());
        Ok(seal(code, engine, module))
    }

    /// Checks that `artefact` was written by [`Builder::precompile`] for the same
    /// settings, version of wasmtime and kind of processor, before any of it is
    /// loaded. If `module` is `Some`, checks also that the artefact was compiled
    /// from those bytes.
    ///
    /// The artefact is a `File`, or a `Cursor` over bytes. It is read from its
    /// beginning, whatever its position, which is unspecified afterwards.
    /// [`Builder::module_limits`] are ignored.
    ///
    /// # Errors
    ///
    /// [`PrecompiledError`], with one variant for each kind of wrong artefact.
    pub fn check_precompiled(
        self,
        mut artefact: impl Read + Seek,
        module: Option<&[u8]>,
    ) -> Result<Precompiled, PrecompiledError> {
        let epochs = self.clone().interruption(Interruption::Time);
        let (builder, engine) = self
            .with_engine()
            .map_err(|error| PrecompiledError::Engine(error.into()))?;
        let kills = builder.kills(&engine);
        match check(&mut artefact, fingerprint(&engine, kills), module) {
            Ok(()) => Ok(Precompiled::new(engine, builder)),
            // A module that could have no checks was compiled with epochs.
            Err(PrecompiledError::Foreign) if kills => epochs.check_precompiled(artefact, module),
            Err(error) => Err(error),
        }
    }
}

/// A checked artefact of [`Builder::precompile`]: complete, up to date and
/// compiled for this engine. [`Builder::check_precompiled`] returns it.
///
#[doc = include_str!("precompiled.md")]
#[derive(Clone, Debug)]
pub struct Precompiled {
    engine: Engine,
    builder: Builder,
}

impl Precompiled {
    pub(crate) const fn new(engine: Engine, builder: Builder) -> Self {
        Self { engine, builder }
    }

    /// Returns the engine on which the artefact must be loaded.
    #[must_use]
    pub const fn engine(&self) -> &Engine {
        &self.engine
    }

    /// Returns the provider of the module that the program has loaded from the
    /// artefact. Replacements in swaps are compiled with the same settings.
    ///
    /// # Errors
    ///
    /// [`ModuleError`] if the module is not a guest, and
    /// [`ModuleError::Refused`] if it is not on [`Precompiled::engine`].
    pub fn build(self, module: Module) -> Result<WasmtimeEngineProvider, ModuleError> {
        if !Engine::same(module.engine(), &self.engine) {
            return Err(ModuleError::Refused(Box::new(PrecompiledError::Foreign)));
        }
        self.builder.link(module)
    }
}

/// The reason why an artefact must not be loaded.
///
/// The remedy is to compile the module again, except for
/// [`PrecompiledError::Engine`].
#[derive(Debug, ThisError)]
#[non_exhaustive]
pub enum PrecompiledError {
    /// The bytes are not an artefact of [`Builder::precompile`].
    #[error("not an artefact of precompiled code")]
    NotPrecompiled,

    /// The artefact is truncated, or its last bytes are damaged.
    #[error("the artefact is truncated")]
    Truncated,

    /// The artefact has the format of another version of this crate.
    #[error("the artefact has format {found}, not {FORMAT}")]
    Format {
        /// The number of its format.
        found: u32,
    },

    /// The artefact was changed after it was written: its digest or length is
    /// wrong.
    #[error("the artefact is damaged")]
    Corrupt,

    /// The artefact does not exist or cannot be read.
    #[error("the artefact cannot be read")]
    Unreadable(#[from] io::Error),

    /// The artefact was compiled for another version of wasmtime, other settings
    /// or another processor.
    #[error("the artefact was compiled for another engine")]
    Foreign,

    /// The artefact was compiled from another module.
    #[error("the artefact was compiled from another module")]
    Stale,

    /// No engine can be made with the settings.
    #[error("no engine can be made with these settings")]
    Engine(#[source] Box<dyn StdError + Send + Sync>),
}

/// Appends the trailer to the code that an engine with this fingerprint has compiled from
/// `source`.
///
/// The offsets of the code do not change, so that the file can still be mapped.
pub(crate) fn seal(mut code: Vec<u8>, engine: u64, source: &[u8]) -> Vec<u8> {
    let trailer = Trailer {
        code_digest: XxHash3_128::oneshot(&code),
        source_digest: XxHash3_128::oneshot(source),
        code_bytes: to_u64(code.len()),
        engine,
    };
    code.extend_from_slice(&trailer.to_bytes());
    code
}

/// Fails unless `artefact` was sealed for an engine with this fingerprint, and for `source` if that
/// is given.
pub(crate) fn check(
    mut artefact: impl Read + Seek,
    engine: u64,
    source: Option<&[u8]>,
) -> Result<(), PrecompiledError> {
    let length = artefact.seek(SeekFrom::End(0))?;
    let trailer = match Trailer::read(&mut artefact, length) {
        Err(PrecompiledError::Truncated) if !is_elf(&mut artefact)? => {
            return Err(PrecompiledError::NotPrecompiled);
        }
        trailer => trailer?,
    };
    // Cheap checks first. The trailer is intact.
    if trailer.code_bytes != length - to_u64(TRAILER_BYTES) {
        return Err(PrecompiledError::Corrupt);
    }
    if trailer.engine != engine {
        return Err(PrecompiledError::Foreign);
    }
    if source.is_some_and(|source| trailer.source_digest != XxHash3_128::oneshot(source)) {
        return Err(PrecompiledError::Stale);
    }
    artefact.rewind()?;
    if trailer.code_digest != digest(artefact.take(trailer.code_bytes))? {
        return Err(PrecompiledError::Corrupt);
    }
    Ok(())
}

/// Returns whether the artefact begins like wasmtime's.
fn is_elf(artefact: &mut (impl Read + Seek)) -> io::Result<bool> {
    let mut beginning = Vec::new();
    artefact.rewind()?;
    artefact.take(4).read_to_end(&mut beginning)?;
    Ok(beginning == b"\x7fELF")
}

/// The end of an artefact.
struct Trailer {
    code_digest: u128,
    source_digest: u128,
    code_bytes: u64,
    /// [`fingerprint`] of the engine.
    engine: u64,
}

/// The fields, their digest, [`FORMAT`] and [`MAGIC`], all little-endian.
const TRAILER_BYTES: usize = FIELD_BYTES + 8 + 4 + MAGIC.len();
const FIELD_BYTES: usize = 16 + 16 + 8 + 8;
const FORMAT: u32 = 1;
const MAGIC: [u8; 4] = *b"waPC";

impl Trailer {
    fn to_bytes(&self) -> [u8; TRAILER_BYTES] {
        let fields = [
            &self.code_digest.to_le_bytes()[..],
            &self.source_digest.to_le_bytes(),
            &self.code_bytes.to_le_bytes(),
            &self.engine.to_le_bytes(),
        ]
        .concat();
        let all = [
            &fields[..],
            &XxHash3_64::oneshot(&fields).to_le_bytes(),
            &FORMAT.to_le_bytes(),
            &MAGIC,
        ]
        .concat();
        all.try_into().expect("the sum of their lengths")
    }

    /// Reads the trailer of an artefact of `length` bytes.
    fn read(artefact: &mut (impl Read + Seek), length: u64) -> Result<Self, PrecompiledError> {
        let begins = length.checked_sub(to_u64(TRAILER_BYTES));
        let mut bytes = [0; TRAILER_BYTES];
        artefact.seek(SeekFrom::Start(begins.ok_or(PrecompiledError::Truncated)?))?;
        artefact.read_exact(&mut bytes)?;
        Self::from_bytes(&bytes)
    }

    fn from_bytes(bytes: &[u8; TRAILER_BYTES]) -> Result<Self, PrecompiledError> {
        let mut rest = &bytes[..];
        let trailer = Self {
            code_digest: u128::from_le_bytes(take(&mut rest)),
            source_digest: u128::from_le_bytes(take(&mut rest)),
            code_bytes: u64::from_le_bytes(take(&mut rest)),
            engine: u64::from_le_bytes(take(&mut rest)),
        };
        let fields_digest = u64::from_le_bytes(take(&mut rest));
        let format = u32::from_le_bytes(take(&mut rest));
        if rest != MAGIC {
            return Err(PrecompiledError::Truncated);
        }
        if format != FORMAT {
            return Err(PrecompiledError::Format { found: format });
        }
        let (fields, _) = bytes.split_at(FIELD_BYTES);
        if fields_digest != XxHash3_64::oneshot(fields) {
            return Err(PrecompiledError::Corrupt);
        }
        Ok(trailer)
    }
}

/// Splits off the next bytes of a trailer.
fn take<const N: usize>(bytes: &mut &[u8]) -> [u8; N] {
    let (taken, rest) = bytes
        .split_first_chunk()
        .expect("a trailer is as long as its parts");
    *bytes = rest;
    *taken
}

/// Returns a digest of everything that code depends on: the version, settings and
/// processor of an engine, and the checks in the code if it has some.
pub(crate) fn fingerprint(engine: &Engine, has_checks: bool) -> u64 {
    let mut hasher = FingerprintHasher::default();
    if has_checks {
        page_checks::VERSION.hash(&mut hasher);
    }
    engine.precompile_compatibility_hash().hash(&mut hasher);
    hasher.finish()
}

/// Collects many small pieces and hashes them at once. Hashing each takes longer
/// than making an engine.
#[derive(Default)]
struct FingerprintHasher(Vec<u8>);

impl Hasher for FingerprintHasher {
    fn write(&mut self, bytes: &[u8]) {
        self.0.extend_from_slice(bytes);
    }

    fn finish(&self) -> u64 {
        XxHash3_64::oneshot(&self.0)
    }
}

/// Detects accidental corruption (false negative 2⁻¹²⁸). Not a defence against
/// tampering.
///
/// Hashes in chunks: allocating memory for the whole artefact takes longer than
/// hashing it.
fn digest(code: impl Read) -> io::Result<u128> {
    let mut digest = Digest(XxHash3_128::new());
    io::copy(
        &mut BufReader::with_capacity(CHUNK_BYTES, code),
        &mut digest,
    )?;
    Ok(digest.0.finish_128())
}

/// Fits the L2 cache.
const CHUNK_BYTES: usize = 64 << 10;

struct Digest(XxHash3_128);

impl Write for Digest {
    fn write(&mut self, chunk: &[u8]) -> io::Result<usize> {
        self.0.write(chunk);
        Ok(chunk.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn to_u64(length: usize) -> u64 {
    u64::try_from(length).unwrap_or(u64::MAX)
}
