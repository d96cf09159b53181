//! Which modules are waPC guests: decided here, for every engine alike.
//!
//! An engine passes its bytes through [`binary`] and
//! [`ModuleLimits::check`](crate::ModuleLimits::check) before it compiles them,
//! describes the compiled module's imports and exports to [`GuestShape::new`],
//! and lets [`refusal`] say what is wrong with bytes that it refuses.
//!
//! A guest may use the features of WebAssembly 2.0 (fixed-width SIMD among
//! them), tail calls, extended constant expressions and several memories.

use std::{borrow::Cow, error::Error as StdError};

use thiserror::Error as ThisError;
use wasmparser::{Validator, WasmFeatures};

pub use self::{
    imports::provided,
    shape::{GuestShape, StartFunction},
    types::{ExternType, ValueType},
};
use crate::limits::module::ModuleLimitError;

mod imports;
mod shape;
mod types;

/// The WebAssembly features that a guest may use on every engine.
const FEATURES: WasmFeatures = WasmFeatures::WASM2
    .union(WasmFeatures::TAIL_CALL)
    .union(WasmFeatures::EXTENDED_CONST)
    .union(WasmFeatures::MULTI_MEMORY);

/// Why a module is not a guest that an engine can run.
#[derive(Debug, ThisError)]
#[non_exhaustive]
pub enum ModuleError {
    /// There are no bytes.
    #[error("the module is empty")]
    Empty,

    /// The bytes are neither a WebAssembly binary nor its text format.
    #[error("not a WebAssembly module: it begins with {}", .start.escape_ascii())]
    NotWasm {
        /// The first bytes, eight at the most.
        start: Vec<u8>,
    },

    /// The bytes are a component; waPC guests are core modules.
    #[error("a WebAssembly component, not a core module")]
    Component,

    /// The bytes look like the text format and are not.
    #[error("the text format does not parse: {0}")]
    Text(String),

    /// The module breaks a rule of WebAssembly, or uses a feature that guests
    /// may not use.
    #[error("not valid WebAssembly at byte {offset:#x}: {reason}")]
    Invalid {
        /// What is wrong.
        reason: String,
        /// Where, in the binary.
        offset: usize,
    },

    /// The module would cost too much to compile.
    #[error("too costly to compile")]
    Limit(#[from] ModuleLimitError),

    /// The module is valid, and this engine refuses it all the same.
    #[error("the engine refuses the module")]
    Refused(#[source] Box<dyn StdError + Send + Sync>),

    /// An export that every guest needs is not there.
    #[error("the module does not export `{name}`, {expected}")]
    MissingExport {
        /// Its name.
        name: &'static str,
        /// What it must be.
        expected: String,
    },

    /// An export with a meaning in waPC is something else.
    #[error("the module's export `{name}` must be {expected}, and is {found}")]
    ExportType {
        /// Its name.
        name: &'static str,
        /// What it must be.
        expected: String,
        /// What it is.
        found: String,
    },

    /// The module imports what no host provides.
    #[error("the module imports `{module}.{name}`, {expected}, which the host does not provide")]
    UnknownImport {
        /// The import's module name.
        module: String,
        /// The import's own name.
        name: String,
        /// What the module wants it to be.
        expected: String,
    },

    /// The module imports a host function as something else.
    #[error("the module imports `{module}.{name}` as {expected}; the host provides {found}")]
    ImportType {
        /// The import's module name.
        module: String,
        /// The import's own name.
        name: String,
        /// What the module wants it to be.
        expected: String,
        /// What it is.
        found: String,
    },
}

/// The binary form of a module that comes as binary or as text.
///
/// # Errors
///
/// [`ModuleError::Empty`], [`ModuleError::NotWasm`], [`ModuleError::Component`]
/// and [`ModuleError::Text`]. A binary is not looked at beyond its header.
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

/// The word that the text format begins with, behind comments and a
/// parenthesis; `None` if this is not the text format.
fn first_word(mut text: &str) -> Option<&str> {
    loop {
        text = text.trim_start();
        if let Some(comment) = text.strip_prefix(";;") {
            text = comment.split_once('\n')?.1;
        } else if let Some(comment) = text.strip_prefix("(;") {
            text = comment.split_once(";)")?.1;
        } else {
            return text
                .strip_prefix('(')?
                .trim_start()
                .split(|end: char| !end.is_ascii_lowercase())
                .next();
        }
    }
}

/// Why an engine refused `binary`: in the words of WebAssembly's own
/// validation, the same for every engine, or else in the engine's.
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
