//! Checks that a module is a waPC guest, the same for every engine.
//!
//! An engine takes these steps:
//!
//! 1. [`binary`] converts the text format and refuses bytes that are no module.
//! 2. [`ModuleLimits::check`](crate::ModuleLimits::check) refuses modules that
//!    are too costly to compile.
//! 3. The engine compiles. [`refusal`] explains an error of the compiler.
//! 4. [`GuestShape::new`] checks the imports and exports.
//!
//! A guest may use the features of WebAssembly 2.0 (which include fixed-width
//! SIMD), tail calls, extended constant expressions and several memories.

use std::{
    borrow::Cow,
    error::Error as StdError,
    io::{self, Read},
    sync::Arc,
};

use thiserror::Error as ThisError;
use wasmparser::{Parser, Payload, Validator, WasmFeatures};

pub use self::{
    dialect::Dialect,
    imports::provided,
    shape::{GuestShape, StartFunction, WAPC_MEMORY, wasi_memory},
    types::{ExternType, ValueType},
};
use crate::limits::module::ModuleLimitError;

mod dialect;
mod imports;
mod shape;
mod types;

/// The WebAssembly features that a guest may use on every engine.
const FEATURES: WasmFeatures = WasmFeatures::WASM2
    .union(WasmFeatures::TAIL_CALL)
    .union(WasmFeatures::EXTENDED_CONST)
    .union(WasmFeatures::MULTI_MEMORY);

/// The reason why a module is not a guest that an engine can run.
#[derive(Debug, ThisError)]
#[non_exhaustive]
pub enum ModuleError {
    /// The module has no bytes.
    #[error("the module is empty")]
    Empty,

    /// The bytes are neither a WebAssembly binary nor its text format.
    #[error("not a WebAssembly module: it begins with {}", .start.escape_ascii())]
    NotWasm {
        /// The first bytes, at most eight.
        start: Vec<u8>,
    },

    /// The bytes are a component; waPC guests are core modules.
    #[error("a WebAssembly component, not a core module")]
    Component,

    /// The bytes look like the text format, but do not parse.
    #[error("the text format does not parse: {0}")]
    Text(String),

    /// The module breaks a rule of WebAssembly, or uses a feature that guests
    /// may not use.
    #[error("not valid WebAssembly at byte {offset:#x}: {reason}")]
    Invalid {
        /// The rule or feature, in the validator's words.
        reason: String,
        /// The position in the binary.
        offset: usize,
    },

    /// The module exceeds one of the [`ModuleLimits`](crate::ModuleLimits).
    #[error("too costly to compile")]
    Limit(#[from] ModuleLimitError),

    /// The module is valid, but this engine refuses it.
    #[error("the engine refuses the module")]
    Refused(#[source] Box<dyn StdError + Send + Sync>),

    /// The module lacks an export that every guest needs.
    #[error("the module does not export `{name}`, {expected}")]
    MissingExport {
        /// The export's name.
        name: &'static str,
        /// The type that it must have.
        expected: String,
    },

    /// An export with a meaning in waPC has another type.
    #[error("the module's export `{name}` must be {expected}, and is {found}")]
    ExportType {
        /// The export's name.
        name: &'static str,
        /// The type that it must have.
        expected: String,
        /// The type that it has.
        found: String,
    },

    /// The module was written for another host.
    #[error("{dialect}, not a waPC guest: {reason}; {}", .dialect.advice())]
    Foreign {
        /// The kind of host.
        dialect: Dialect,
        /// The sign by which it is known.
        reason: &'static str,
        /// The first thing that a guest has and this module has not.
        #[source]
        missing: Box<Self>,
    },

    /// The module imports something that the host does not provide.
    #[error("the module imports `{module}.{name}`, {expected}, which the host does not provide")]
    UnknownImport {
        /// The import's module name.
        module: String,
        /// The import's own name.
        name: String,
        /// The type that the module declares.
        expected: String,
    },

    /// One of the program's [`HostFunctions`](crate::HostFunctions) has the name of a function of
    /// waPC or WASI, which cannot be replaced. The cause is the program, not the module.
    #[error("the host function `{module}.{name}` is the host's own and cannot be replaced")]
    NameTaken {
        /// The module's name.
        module: String,
        /// The function's own name.
        name: String,
    },

    /// The module imports a host function with another type.
    #[error("the module imports `{module}.{name}` as {expected}; the host provides {found}")]
    ImportType {
        /// The import's module name.
        module: String,
        /// The import's own name.
        name: String,
        /// The type that the module declares.
        expected: String,
        /// The type that the host provides.
        found: String,
    },
}

/// The custom section in which a guest describes its operations.
const SERVICE: &str = "wapc.service";

/// Returns the contents of a binary's custom sections `wapc.service`, one after the
/// other: what the guest says of its operations, unchecked. `None` without any, and of
/// bytes that are no module.
///
/// ```
/// use wapc_host::module;
///
/// let guest = module::binary(br#"(module (@custom "wapc.service" "{}"))"#)?;
/// assert_eq!(module::service_section(&guest).as_deref(), Some(&b"{}"[..]));
/// assert_eq!(module::service_section(b"\0asm\x01\0\0\0"), None);
/// # Ok::<(), module::ModuleError>(())
/// ```
#[must_use]
pub fn service_section(binary: &[u8]) -> Option<Arc<[u8]>> {
    let mut contents = Vec::new();
    for payload in Parser::new(0).parse_all(binary) {
        match payload.ok()? {
            Payload::CustomSection(section) if section.name() == SERVICE => {
                contents.extend_from_slice(section.data());
            }
            _ => {}
        }
    }
    (!contents.is_empty()).then(|| contents.into())
}

/// Returns the binary form of a module that is given as binary or as text.
///
/// ```
/// use wapc_host::module::{self, ModuleError};
///
/// assert_eq!(*module::binary(b"(module)")?, *b"\0asm\x01\0\0\0");
/// assert!(matches!(module::binary(b"#!/bin/sh"), Err(ModuleError::NotWasm { .. })));
/// # Ok::<(), ModuleError>(())
/// ```
///
/// # Errors
///
/// [`ModuleError::Empty`], [`ModuleError::NotWasm`], [`ModuleError::Component`]
/// and [`ModuleError::Text`]. Of a binary, only the header is checked.
pub fn binary(bytes: &[u8]) -> Result<Cow<'_, [u8]>, ModuleError> {
    const MAGIC: &[u8] = b"\0asm";
    const COMPONENT_LAYER: &[u8] = &[1, 0];

    if bytes.is_empty() {
        return Err(ModuleError::Empty);
    }
    if bytes.starts_with(MAGIC) {
        // The version field: two bytes of version, two of layer. See
        // <https://github.com/WebAssembly/component-model/blob/main/design/mvp/Binary.md>.
        return match bytes.get(6..8) {
            Some(COMPONENT_LAYER) => Err(ModuleError::Component),
            _ => Ok(Cow::Borrowed(bytes)),
        };
    }
    match std::str::from_utf8(bytes) {
        Ok(text) if first_word(text) == Some("component") => Err(ModuleError::Component),
        Ok(text) if first_word(text).is_some() => wat::parse_str(text)
            .map(Cow::Owned)
            .map_err(|error| ModuleError::Text(error.to_string())),
        _ => Err(ModuleError::NotWasm {
            start: bytes.iter().take(8).copied().collect(),
        }),
    }
}

/// Returns the first word of the text format, after comments and a parenthesis;
/// `None` if `text` is not in the text format.
fn first_word(mut text: &str) -> Option<&str> {
    loop {
        text = text.trim_start();
        if let Some(comment) = text.strip_prefix(";;") {
            text = comment.split_once('\n')?.1;
        } else if text.starts_with("(;") {
            text = after_block_comment(text)?;
        } else {
            return text
                .strip_prefix('(')?
                .trim_start()
                .split(|end: char| !end.is_ascii_lowercase())
                .next();
        }
    }
}

/// Returns what follows the comment `(; … ;)` at the beginning, which may hold others.
fn after_block_comment(text: &str) -> Option<&str> {
    let mut depth = 0_usize;
    let mut rest = text;
    loop {
        let place = rest.find([';', '('])?;
        rest = rest.get(place..)?;
        rest = if let Some(after) = rest.strip_prefix("(;") {
            depth += 1;
            after
        } else if let Some(after) = rest.strip_prefix(";)") {
            depth = depth.checked_sub(1)?;
            if depth == 0 {
                return Some(after);
            }
            after
        } else {
            rest.get(1..)?
        };
    }
}

/// Reads all of `source`, which may have at most `limit` bytes: a module, or a payload.
///
/// ```
/// use wapc_host::module::read_at_most;
///
/// assert_eq!(read_at_most(&b"module"[..], 6)?, b"module");
/// let endless = std::io::repeat(0);
/// assert!(read_at_most(endless, 1000).is_err());
/// # Ok::<(), std::io::Error>(())
/// ```
///
/// # Errors
///
/// [`FileTooLarge`](io::ErrorKind::FileTooLarge) after one byte more than `limit`, and any error of
/// `source`.
pub fn read_at_most(source: impl Read, limit: usize) -> io::Result<Vec<u8>> {
    let most = u64::try_from(limit).unwrap_or(u64::MAX).saturating_add(1);
    let mut bytes = Vec::new();
    source.take(most).read_to_end(&mut bytes)?;
    match bytes.len() <= limit {
        true => Ok(bytes),
        false => Err(io::Error::new(
            io::ErrorKind::FileTooLarge,
            format!("it has more than {limit} bytes, the limit"),
        )),
    }
}

/// Returns the error for a `binary` that an engine refused.
///
/// It is [`ModuleError::Invalid`], with the same text for every engine, if the
/// binary is not valid, and otherwise [`ModuleError::Refused`] with the
/// engine's own error.
#[must_use]
pub fn refusal(binary: &[u8], engine: impl Into<Box<dyn StdError + Send + Sync>>) -> ModuleError {
    match Validator::new_with_features(FEATURES).validate_all(binary) {
        Err(error) => ModuleError::Invalid {
            reason: error.message().to_owned(),
            offset: error.offset(),
        },
        Ok(_) => ModuleError::Refused(engine.into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_that_are_no_module_say_what_they_are() {
        let words = |bytes: &[u8]| binary(bytes).unwrap_err().to_string();
        assert_eq!(words(b""), "the module is empty");
        assert_eq!(
            words(b"\x7fELF\x02\x01\x01\0\0\0"),
            r"not a WebAssembly module: it begins with \x7fELF\x02\x01\x01\x00"
        );
        assert_eq!(
            words(b"hello"),
            "not a WebAssembly module: it begins with hello"
        );
        assert_eq!(
            words(b"\0asm\x0d\0\x01\0"),
            "a WebAssembly component, not a core module"
        );
        assert!(words(b"(module (func)").starts_with("the text format does not parse"));
    }

    #[test]
    fn text_is_found_behind_comments() {
        let text = b"\n;; a line\n(; a block ;)\n(module)";
        assert_eq!(&*binary(text).unwrap(), b"\0asm\x01\0\0\0");
        for text in [
            "(; a (; b ;) (; c (; d ;) ;) ;)(module)",
            "(;;)(module)",
            "(; ; ( ;;) ;) (module)",
            "(;(;;);)\n;; (;\n(module (; ;))",
            "(@custom \"a\" \"b\")(module)",
        ] {
            let parsed = wat::parse_str(text).ok();
            assert_eq!(
                binary(text.as_bytes()).ok().map(Cow::into_owned),
                parsed,
                "{text}"
            );
        }
        assert_eq!(first_word("(; (; ;)"), None);
        assert_eq!(first_word(";; only a comment"), None);
        assert_eq!(first_word("(; never closed"), None);
        assert_eq!(first_word(";;\n( component)"), Some("component"));
    }

    #[test]
    fn a_refusal_is_in_the_words_of_the_validator_if_it_has_any() {
        let ModuleError::Invalid { offset, .. } = refusal(b"\0asm\x01\0\0\0\xff", "no") else {
            panic!("an unknown section is invalid");
        };
        assert_eq!(offset, 8);
        assert!(matches!(
            refusal(b"\0asm\x01\0\0\0", "no"),
            ModuleError::Refused(_)
        ));
    }
}
