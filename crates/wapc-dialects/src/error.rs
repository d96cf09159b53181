//! The reasons why a module cannot be adapted.

use thiserror::Error;
use wapc_host::{
    error::EngineError,
    module::{Dialect, ModuleError},
};
use wasmparser::BinaryReaderError;

use crate::{link::LinkError, settings::SettingsError};

/// The reason why a module cannot be adapted.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum AdaptError {
    /// The bytes are no core module.
    #[error(transparent)]
    Module(#[from] ModuleError),

    /// The module lacks something that its dialect asks for, or has something that it excludes.
    #[error("the module looks like {dialect}, but {reason}")]
    Unfit {
        /// The dialect that it looks like.
        dialect: Dialect,
        /// The part that is missing or too much.
        reason: String,
    },

    /// A custom section with settings cannot be read, or a setting cannot be used.
    #[error(transparent)]
    Settings(#[from] SettingsError),

    /// The module, or a library, cannot be linked.
    #[error("the module cannot be adapted")]
    Link(#[from] LinkError),

    /// The guest is not valid: the module was not either.
    #[error("the adapted module is not valid WebAssembly at byte {offset:#x}: {reason}")]
    Invalid {
        /// The rule that is broken.
        reason: String,
        /// The byte of the adapted module.
        offset: usize,
    },
}

impl AdaptError {
    pub(crate) fn invalid(error: BinaryReaderError) -> Self {
        Self::Invalid {
            reason: error.message().to_owned(),
            offset: error.offset(),
        }
    }
}

impl From<AdaptError> for EngineError {
    fn from(error: AdaptError) -> Self {
        match error {
            AdaptError::Module(error) => error.into(),
            other => ModuleError::Refused(Box::new(other)).into(),
        }
    }
}
