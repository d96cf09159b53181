//! The errors that an engine reports to the host.

use std::{error::Error as StdError, path::PathBuf};

use thiserror::Error as ThisError;

use super::{stop::StopReason, trap::Trap};
use crate::module::{ModuleError, StartFunction};

/// Any error, in a box that may move between threads. A guest gets the text of
/// a callback's error through `__host_error`.
pub type BoxError = Box<dyn StdError + Send + Sync>;

/// An error that an engine reports to the host.
#[derive(Debug, ThisError)]
#[non_exhaustive]
pub enum EngineError {
    /// The module is not a guest that this engine can run.
    #[error(transparent)]
    Module(#[from] ModuleError),

    /// A start function failed.
    #[error("the guest failed in {function}")]
    Start {
        /// The start function.
        function: StartFunction,
        /// The reason.
        #[source]
        cause: Box<Self>,
    },

    /// The guest trapped.
    #[error(transparent)]
    Trap(#[from] Trap),

    /// The guest called WASI's `proc_exit` with this code.
    #[error("the guest exited with code {0}")]
    Exit(i32),

    /// [`ModuleState`](crate::ModuleState) has ended the guest.
    #[error(transparent)]
    Stopped(#[from] StopReason),

    /// A directory of [`WasiSettings`](crate::WasiSettings) cannot be opened.
    #[error("the directory `{}` cannot be mapped", .host.display())]
    Directory {
        /// Its path on the host.
        host: PathBuf,
        /// The reason.
        #[source]
        cause: BoxError,
    },

    /// Any other error, in the engine's own words: out of memory, for example.
    #[error("the engine failed")]
    Other(#[source] BoxError),
}

impl EngineError {
    /// Converts an error of the engine's instantiation: a trap, an exit or a
    /// stop can only come from the start section, and becomes
    /// [`EngineError::Start`]. Other errors stay as they are.
    #[must_use]
    pub fn in_instantiation(self) -> Self {
        match self {
            Self::Trap(_) | Self::Exit(_) | Self::Stopped(_) => Self::Start {
                function: StartFunction::Section,
                cause: Box::new(self),
            },
            error => error,
        }
    }
}

impl StartFunction {
    /// Converts the outcome of this function: an exit of a WASI command with
    /// code 0 is success, and any other error becomes [`EngineError::Start`].
    ///
    /// # Errors
    ///
    /// [`EngineError::Start`] if the function failed.
    pub fn outcome(self, outcome: Result<(), EngineError>) -> Result<(), EngineError> {
        match outcome {
            Ok(()) => Ok(()),
            Err(EngineError::Exit(0)) if self == Self::Command => Ok(()),
            Err(cause) => Err(EngineError::Start {
                function: self,
                cause: Box::new(cause),
            }),
        }
    }
}
