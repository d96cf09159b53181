//! The reasons why a plugin cannot be built, or a call failed.

use wapc_dialects::AdaptError;
use wapc_host::{
    BoxError,
    error::{EngineError, FunctionError, LimitError},
};
use wapc_net::PatternError;

use crate::ManifestError;

/// The reason why a plugin cannot be built, or a call failed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The input makes no plugin, or a module cannot be had.
    #[error(transparent)]
    Manifest(#[from] ManifestError),
    /// The modules cannot be linked.
    #[error(transparent)]
    Module(#[from] AdaptError),
    /// An allowed host that cannot be read.
    #[error(transparent)]
    AllowedHost(#[from] PatternError),
    /// An import that neither the host nor a module provides.
    #[error("unknown import: `{module}::{name}` has not been defined")]
    UnknownImport {
        /// The import's module.
        module: String,
        /// The import's name.
        name: String,
    },
    /// An import of another type than the host's function has.
    #[error("the function `{module}::{name}` of the host has another type than the plugin imports")]
    OtherType {
        /// The function's namespace.
        module: String,
        /// The function's name.
        name: String,
    },
    /// More memory than the manifest allows.
    #[error("oom: its memories begin with {pages} pages, and `max_pages` is {limit}")]
    Memory {
        /// The pages that the modules ask for.
        pages: u64,
        /// The limit.
        limit: u32,
    },
    /// A limit of fuel for constructors without one for calls.
    #[error("an initialization fuel limit requires a call fuel limit")]
    InitializationFuel,
    /// The engine has refused the plugin, or it has failed to start.
    #[error("unable to start the plugin")]
    Build(#[source] Box<wapc_host::Error>),
    /// A call has failed.
    #[error(transparent)]
    Call(#[from] CallError),
    /// Input or output that cannot be converted.
    #[error("unable to convert the {what}")]
    Convert {
        /// "input" or "output".
        what: &'static str,
        /// The cause.
        #[source]
        source: BoxError,
    },
}

impl From<wapc_host::Error> for Error {
    fn from(error: wapc_host::Error) -> Self {
        Self::Build(Box::new(error))
    }
}

impl From<EngineError> for Error {
    fn from(error: EngineError) -> Self {
        wapc_host::Error::Init(error).into()
    }
}

impl From<Error> for EngineError {
    fn from(error: Error) -> Self {
        Self::Other(error.into())
    }
}

/// A call that has failed.
#[derive(Debug, thiserror::Error)]
#[error("{message}")]
#[non_exhaustive]
pub struct CallError {
    /// Extism's code: what the plugin returned or exited with; 134 for a trap, a timeout and a
    /// cancelled call; otherwise -1.
    pub code: i32,
    /// The text: the plugin's if it has set an error.
    pub message: String,
    /// The cause, as the host has it; `None` for a code without an error.
    #[source]
    pub source: Option<Box<wapc_host::Error>>,
}

/// The code of a trap.
const TRAPPED: i32 = 134;

impl CallError {
    pub(crate) fn returned(code: i32) -> Self {
        Self {
            code,
            message: format!("Returned non-zero exit code: {code}"),
            source: None,
        }
    }

    /// `told` is what the plugin has returned or exited with.
    pub(crate) fn new(error: wapc_host::Error, told: i32, is_export: bool) -> Self {
        use wapc_host::Error as Host;

        let (code, message) = match &error {
            Host::Guest { message, .. } if is_export => (told, message.clone()),
            Host::Guest { message, .. } => (-1, message.clone()),
            Host::Trapped {
                guest_error: Some(text),
                ..
            } => (-1, text.clone()),
            Host::Trapped {
                refused: Some(refused),
                ..
            } if matches!(
                **refused,
                LimitError::Memory { .. } | LimitError::TotalMemory { .. }
            ) =>
            {
                (TRAPPED, "oom".to_owned())
            }
            // WASI has no codes above 125, but the plugin has told its own before.
            Host::Engine { .. } | Host::Trapped { .. } if told != 0 => {
                (told, format!("exit {told}"))
            }
            Host::Trapped { trap, .. } => (TRAPPED, trap.to_string()),
            Host::Exited {
                guest_error: Some(text),
                code,
                ..
            } => (*code, text.clone()),
            Host::Exited { code, .. } => (*code, format!("exit {code}")),
            Host::TimedOut { .. } => (TRAPPED, "timeout".to_owned()),
            Host::Cancelled { .. } => (TRAPPED, "cancelled".to_owned()),
            Host::Limit {
                source: LimitError::Fuel { .. },
                ..
            } => (-1, "plugin ran out of fuel".to_owned()),
            Host::Function { source, .. } => match &**source {
                FunctionError::Failed { message, .. } => (-1, message.clone()),
                other => (-1, other.to_string()),
            },
            Host::Reentrant { .. } => (-1, "cannot make reentrant calls into plugin".to_owned()),
            other => (-1, other.report().to_string()),
        };
        Self {
            code,
            message,
            source: Some(Box::new(error)),
        }
    }
}
