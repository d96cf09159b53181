//! The reasons why units cannot be linked.

use thiserror::Error;
use wasm_encoder::reencode;
use wasmparser::BinaryReaderError;

/// The reason why a module and what is added to it cannot be linked. A *unit* is one of them.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum LinkError {
    /// A unit is not a module.
    #[error("{unit} is not a WebAssembly module at byte {offset:#x}: {reason}")]
    Malformed {
        /// The unit's name.
        unit: String,
        /// The mistake in its bytes.
        reason: String,
        /// The byte of the unit.
        offset: usize,
    },

    /// A part of a unit cannot be decoded.
    #[error("a module cannot be decoded at byte {offset:#x}: {reason}")]
    Undecodable {
        /// The mistake.
        reason: String,
        /// The byte of the module.
        offset: usize,
    },

    /// A unit refers to something that it does not have.
    #[error("{unit} refers to {kind} {index}, and has fewer")]
    NoSuch {
        /// The unit's name.
        unit: String,
        /// The kind of the thing.
        kind: &'static str,
        /// Its index in the unit.
        index: u32,
    },

    /// A binding or an export is of a unit that was not added.
    #[error("a binding or an export is of a unit that was not added")]
    NoUnit,

    /// A binding or an export is of something that its unit does not export.
    #[error("{unit} does not export `{export}`")]
    NoExport {
        /// The unit's name.
        unit: String,
        /// The name of the export.
        export: String,
    },

    /// An import is bound to an export of another kind or type.
    #[error(
        "`{module}.{name}`, which {unit} imports, is of another type as the `{export}` of {provider}"
    )]
    OtherType {
        /// The unit that imports.
        unit: String,
        /// The module of the import.
        module: String,
        /// The name of the import.
        name: String,
        /// The unit that exports.
        provider: String,
        /// The name of the export.
        export: String,
    },

    /// An import is bound, by way of others, to itself, or through more than a thousand others.
    #[error(
        "`{module}.{name}`, which {unit} imports, is bound to itself, or through too many others"
    )]
    Circular {
        /// The unit that imports.
        unit: String,
        /// The module of the import.
        module: String,
        /// The name of the import.
        name: String,
    },

    /// A constant expression reads a global that is bound to another unit's, which only the host
    /// could provide.
    #[error("{unit} reads global {index}, which another unit provides, in a constant expression")]
    ConstantGlobal {
        /// The unit's name.
        unit: String,
        /// The index of the global in the unit.
        index: u32,
    },

    /// Two exports of the result have one name.
    #[error("two exports have the name `{name}`")]
    Duplicate {
        /// The name.
        name: String,
    },

    /// The units have more of something than one module can have.
    #[error("the units have more than 2^32 of something together")]
    TooMany,

    /// A unit uses something that cannot be linked.
    #[error("a unit uses something that cannot be linked: {0}")]
    Unsupported(String),
}

/// An error on its way out of the linker. It keeps the decoder's types out of the public API.
pub(super) struct Fault(pub(super) LinkError);

impl From<LinkError> for Fault {
    fn from(error: LinkError) -> Self {
        Self(error)
    }
}

impl From<BinaryReaderError> for Fault {
    fn from(error: BinaryReaderError) -> Self {
        Self(LinkError::Undecodable {
            reason: error.message().to_owned(),
            offset: error.offset(),
        })
    }
}

impl From<reencode::Error<LinkError>> for Fault {
    fn from(error: reencode::Error<LinkError>) -> Self {
        match error {
            reencode::Error::UserError(error) => Self(error),
            reencode::Error::ParseError(error) => error.into(),
            other => Self(LinkError::Unsupported(other.to_string())),
        }
    }
}
