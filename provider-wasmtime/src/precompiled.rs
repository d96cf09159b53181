//! Code that was compiled ahead of time.

use std::{
    error::Error as StdError,
    hash::{Hash, Hasher},
};

use thiserror::Error as ThisError;
use twox_hash::{XxHash3_64, XxHash3_128};
use wapc_host::ModuleError;
use wasmtime::{Engine, Module};

use crate::{Builder, WasmtimeEngineProvider};

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
/// remedy for all but [`PrecompiledError::Engine`].
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
        code_digest: digest(&code),
        source_digest: digest(source),
        code_bytes: to_u64(code.len()),
        engine: fingerprint(engine),
    };
    code.extend_from_slice(&trailer.to_bytes());
    code
}

/// Whether `artefact` is what [`seal`] has made for such an engine, and of
/// `source` if that is given.
pub(crate) fn check(
    artefact: &[u8],
    engine: &Engine,
    source: Option<&[u8]>,
) -> Result<(), PrecompiledError> {
    let (code, trailer) = match artefact.split_last_chunk() {
        Some((code, bytes)) => (code, Trailer::from_bytes(bytes)),
        None => (artefact, Err(PrecompiledError::Truncated)),
    };
    let trailer = match trailer {
        // Wasmtime's artefacts are ELF files.
        Err(PrecompiledError::Truncated) if !artefact.starts_with(b"\x7fELF") => {
            return Err(PrecompiledError::NotPrecompiled);
        }
        trailer => trailer?,
    };
    // What costs little comes first; the trailer has been found whole.
    if trailer.code_bytes != to_u64(code.len()) {
        return Err(PrecompiledError::Corrupt);
    }
    if trailer.engine != fingerprint(engine) {
        return Err(PrecompiledError::Foreign);
    }
    if source.is_some_and(|source| trailer.source_digest != digest(source)) {
        return Err(PrecompiledError::Stale);
    }
    if trailer.code_digest != digest(code) {
        return Err(PrecompiledError::Corrupt);
    }
    Ok(())
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
fn digest(bytes: &[u8]) -> u128 {
    XxHash3_128::oneshot(bytes)
}

fn to_u64(length: usize) -> u64 {
    u64::try_from(length).unwrap_or(u64::MAX)
}
