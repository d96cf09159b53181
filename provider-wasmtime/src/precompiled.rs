//! Code that was compiled ahead of time.

use std::{
    error::Error as StdError,
    hash::{Hash, Hasher},
    io::{self, BufReader, Read, Seek, SeekFrom, Write},
};

use thiserror::Error as ThisError;
use twox_hash::{XxHash3_64, XxHash3_128};
use wapc_host::error::ModuleError;
use wasmtime::{Engine, Module};

use crate::{Builder, WasmtimeEngineProvider};

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
        Ok(seal(code, compiled.engine(), module))
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
        artefact: impl Read + Seek,
        module: Option<&[u8]>,
    ) -> Result<Precompiled, PrecompiledError> {
        let (builder, engine) = self
            .with_engine()
            .map_err(|error| PrecompiledError::Engine(error.into()))?;
        check(artefact, &engine, module)?;
        Ok(Precompiled::new(engine, builder))
    }
}

/// An artefact of [`Builder::precompile`] that has been found whole, fresh and
/// made for this engine: made by [`Builder::check_precompiled`].
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

    /// The engine that the artefact is for, and on which it must be loaded.
    #[must_use]
    pub const fn engine(&self) -> &Engine {
        &self.engine
    }

    /// The provider of the module that you have loaded from the artefact.
    /// What a swap brings later is compiled with the same settings.
    ///
    /// # Errors
    ///
    /// [`ModuleError`]: the module is no guest, or is on another engine than
    /// [`Precompiled::engine`] ([`ModuleError::Refused`]).
    pub fn build(self, module: Module) -> Result<WasmtimeEngineProvider, ModuleError> {
        if !Engine::same(module.engine(), &self.engine) {
            return Err(ModuleError::Refused(Box::new(PrecompiledError::Foreign)));
        }
        self.builder.link(module)
    }
}

/// Why an artefact must not be loaded. To compile the module again is the
/// remedy for all but [`PrecompiledError::Engine`]; for
/// [`PrecompiledError::Unreadable`], too, if it can be written then.
#[derive(Debug, ThisError)]
#[non_exhaustive]
pub enum PrecompiledError {
    /// It is no artefact of [`Builder::precompile`] at all.
    #[error("no artefact of precompiled code")]
    NotPrecompiled,

    /// It begins like an artefact and does not end like one: it is cut short,
    /// or damaged at its very end.
    #[error("the artefact has no proper end")]
    Truncated,

    /// Its format is not that of this version of the crate.
    #[error("an artefact of format {found}, not {FORMAT}")]
    Format {
        /// The number of its format.
        found: u32,
    },

    /// It is not what was written: its digest says so, or its length.
    #[error("the artefact is damaged")]
    Corrupt,

    /// It is not there, or cannot be read.
    #[error("the artefact cannot be read")]
    Unreadable(#[from] io::Error),

    /// It was compiled for another version of wasmtime, other settings or
    /// another processor.
    #[error("the artefact was compiled for another engine")]
    Foreign,

    /// It was compiled from another module.
    #[error("the artefact was compiled from another module")]
    Stale,

    /// The settings make no engine.
    #[error("there is no engine with these settings")]
    Engine(#[source] Box<dyn StdError + Send + Sync>),
}

/// Puts the trailer behind the code that `engine` has made of `source`.
///
/// The code stays at the beginning, and page by page where it was, so that the
/// file can be mapped as if it ended there.
pub(crate) fn seal(mut code: Vec<u8>, engine: &Engine, source: &[u8]) -> Vec<u8> {
    let trailer = Trailer {
        code_digest: XxHash3_128::oneshot(&code),
        source_digest: XxHash3_128::oneshot(source),
        code_bytes: to_u64(code.len()),
        engine: fingerprint(engine),
    };
    code.extend_from_slice(&trailer.to_bytes());
    code
}

/// Whether `artefact` is what [`seal`] has made for such an engine, and of
/// `source` if that is given.
pub(crate) fn check(
    mut artefact: impl Read + Seek,
    engine: &Engine,
    source: Option<&[u8]>,
) -> Result<(), PrecompiledError> {
    let length = artefact.seek(SeekFrom::End(0))?;
    let trailer = match Trailer::read(&mut artefact, length) {
        Err(PrecompiledError::Truncated) if !is_elf(&mut artefact)? => {
            return Err(PrecompiledError::NotPrecompiled);
        }
        trailer => trailer?,
    };
    // What costs little comes first; the trailer has been found whole.
    if trailer.code_bytes != length - to_u64(TRAILER_BYTES) {
        return Err(PrecompiledError::Corrupt);
    }
    if trailer.engine != fingerprint(engine) {
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

/// Whether it begins as wasmtime's artefacts do.
fn is_elf(artefact: &mut (impl Read + Seek)) -> io::Result<bool> {
    let mut beginning = Vec::new();
    artefact.rewind()?;
    artefact.take(4).read_to_end(&mut beginning)?;
    Ok(beginning == b"\x7fELF")
}

/// What stands behind the code.
struct Trailer {
    code_digest: u128,
    source_digest: u128,
    code_bytes: u64,
    /// [`fingerprint`] of the engine.
    engine: u64,
}

/// The fields, their digest, [`FORMAT`] and [`MAGIC`], each with the least
/// significant byte first.
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

    /// Of an artefact of `length` bytes.
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

/// The next bytes of a trailer.
fn take<const N: usize>(bytes: &mut &[u8]) -> [u8; N] {
    let (taken, rest) = bytes
        .split_first_chunk()
        .expect("a trailer is as long as its parts");
    *bytes = rest;
    *taken
}

/// What of an engine code depends on: its version, settings and processor.
fn fingerprint(engine: &Engine) -> u64 {
    let mut settings = Settings::default();
    engine.precompile_compatibility_hash().hash(&mut settings);
    settings.finish()
}

/// Many small pieces, which are hashed at once: one by one takes longer than
/// to make an engine.
#[derive(Default)]
struct Settings(Vec<u8>);

impl Hasher for Settings {
    fn write(&mut self, bytes: &[u8]) {
        self.0.extend_from_slice(bytes);
    }

    fn finish(&self) -> u64 {
        XxHash3_64::oneshot(&self.0)
    }
}

/// Of accidents it misses one in 2¹²⁸; who wants to deceive it can.
///
/// Piece by piece: memory for all of it takes longer to get than it to hash.
fn digest(code: impl Read) -> io::Result<u128> {
    let mut digest = Digest(XxHash3_128::new());
    io::copy(
        &mut BufReader::with_capacity(PIECE_BYTES, code),
        &mut digest,
    )?;
    Ok(digest.0.finish_128())
}

/// What fits the processor's cache.
const PIECE_BYTES: usize = 64 << 10;

struct Digest(XxHash3_128);

impl Write for Digest {
    fn write(&mut self, piece: &[u8]) -> io::Result<usize> {
        self.0.write(piece);
        Ok(piece.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn to_u64(length: usize) -> u64 {
    u64::try_from(length).unwrap_or(u64::MAX)
}
