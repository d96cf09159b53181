//! The parts of an adapted guest that are written here, in the text format.

use std::fmt::Write as _;

use wapc_host::module::{Dialect, ModuleError};
use wasmparser::ExternalKind;

use crate::{AdaptError, link::Unit};

/// Functions of several kernels, each of which has two memories: `$own`, and `$theirs` of the module
/// that is adapted.
const COMMON: &str = include_str!("kernel/common.wat");

/// Functions of kernels that find the function of an operation by its name.
const DISPATCH: &str = include_str!("kernel/dispatch.wat");

/// The beginning of the text for an operation that a module does not have.
const REFUSAL: &str = "the module has no operation ";

/// Returns a kernel in binary format, with words in capitals replaced by what they are.
pub(crate) fn assemble(text: &str, words: &[(&str, &str)]) -> Result<Vec<u8>, AdaptError> {
    let mut text = text.replace("COMMON", COMMON).replace("DISPATCH", DISPATCH);
    let refusal_bytes = REFUSAL.len().to_string();
    for (word, replacement) in words.iter().chain(&[("REFUSAL_BYTES", &*refusal_bytes)]) {
        text = text.replace(word, replacement);
    }
    wat::parse_str(text).map_err(|error| ModuleError::Text(error.to_string()).into())
}

/// The names by which a kernel finds operations.
pub(crate) struct Operations(Vec<u8>);

impl Operations {
    pub(crate) fn new<'n>(names: impl Iterator<Item = &'n str>) -> Self {
        let mut data = vec![];
        for name in names {
            // The format bounds names to 32 bits.
            let length = u32::try_from(name.len()).unwrap_or(u32::MAX);
            data.extend(length.to_le_bytes());
            data.extend(name.as_bytes());
        }
        Self(data)
    }

    /// Returns the beginning of the kernel's memory.
    pub(crate) fn data(&self) -> Vec<u8> {
        self.0.clone()
    }
}

/// Appends the beginning of a refusal, which must be the end of the data: the operation follows.
/// Returns its place.
pub(crate) fn append_refusal(data: &mut Vec<u8>) -> usize {
    let at = data.len();
    data.extend(REFUSAL.as_bytes());
    at
}

/// Returns bytes as a string of the text format.
pub(crate) fn quoted(bytes: &[u8]) -> String {
    let mut quoted = String::with_capacity(4 * bytes.len() + 2);
    quoted.push('"');
    for byte in bytes {
        // A `String` takes everything.
        _ = write!(quoted, "\\{byte:02x}");
    }
    quoted.push('"');
    quoted
}

/// Checks that a module exports a memory, as its dialect asks for.
pub(crate) fn require_memory(unit: &Unit<'_>, dialect: Dialect) -> Result<(), AdaptError> {
    let mut exports = unit.exports();
    match exports.any(|(name, kind, _)| name == "memory" && kind == ExternalKind::Memory) {
        true => Ok(()),
        false => Err(AdaptError::Unfit {
            dialect,
            reason: "it exports no memory as `memory`".to_owned(),
        }),
    }
}
