//! The errors that an engine reports to the host.

use std::{error::Error as StdError, path::PathBuf};

use thiserror::Error as ThisError;

use super::{stop::StopReason, trap::Trap};
use crate::module::{ModuleError, StartFunction};

/// Any error that a callback may end in; its text reaches the guest through
/// `__host_error`.
pub type BoxError = Box<dyn StdError + Send + Sync>;

/// An error that an engine reports to the host.
#[derive(Debug, ThisError)]
#[non_exhaustive]
pub enum EngineError {
    /// The module is not a guest that this engine can run.
    #[error(transparent)]
    Module(#[from] ModuleError),

    /// A start function ended badly.
    #[error("the guest failed in {function}")]
    Start {
        /// Which one.
        function: StartFunction,
        /// How it ended.
        #[source]
        cause: Box<Self>,
    },

    /// The guest trapped.
    #[error(transparent)]
    Trap(#[from] Trap),

    /// The guest left through WASI's `proc_exit` with this code.
    #[error("the guest exited with code {0}")]
    Exit(i32),

    /// [`ModuleState`](crate::ModuleState) said that the guest must not go on.
    #[error(transparent)]
    Stopped(#[from] StopReason),

    /// A directory of [`WasiSettings`](crate::WasiSettings) cannot be opened.
    #[error("the directory `{}` cannot be mapped", .host.display())]
    Directory {
        /// Where it is on the host.
        host: PathBuf,
        /// Why.
        #[source]
        cause: BoxError,
    },

    /// Something else, in the engine's own words: out of memory, for example.
    #[error("the engine failed")]
    Other(#[source] BoxError),
}

impl EngineError {
    /// This error of an engine's instantiation: what is the guest's doing has
    /// happened in its start section. For engines.
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
    /// Turns the end of this function into the end of a start: a WASI command
    /// may exit with code 0, any other error becomes [`EngineError::Start`].
    ///
    /// # Errors
    ///
    /// [`EngineError::Start`].
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
