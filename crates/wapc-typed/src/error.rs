//! The errors of typed calls.

use std::{convert::Infallible, error::Error as _};

use thiserror::Error;

use crate::codec::CodecError;

/// The reason why a typed call has no result. `E` is the service's own error.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum CallError<E = Infallible> {
    /// The service has answered with its own error.
    #[error("{0}")]
    Service(E),

    /// The guest, or the host for a guest, has failed with a text that is not the service's own.
    #[error("{0}")]
    Text(String),

    /// The other side does not have the operation.
    #[error("there is no operation `{operation}`")]
    UnknownOperation {
        /// The operation.
        operation: String,
    },

    /// The arguments cannot be encoded.
    #[error("the arguments of `{operation}` cannot be encoded")]
    Encode {
        /// The operation.
        operation: String,
        /// The reason.
        #[source]
        source: CodecError,
    },

    /// The result cannot be decoded: the other side has another contract.
    #[error("the result of `{operation}` cannot be decoded")]
    Decode {
        /// The operation.
        operation: String,
        /// The reason. It quotes nothing of the result.
        #[source]
        source: CodecError,
    },

    /// The call has ended otherwise, with all that the host says of it.
    #[cfg(not(target_arch = "wasm32"))]
    #[error(transparent)]
    Host(wapc_host::Error),
}

/// The text of a service whose errors are texts: its own, or the error with its causes.
impl From<CallError<Self>> for String {
    fn from(error: CallError<Self>) -> Self {
        let (CallError::Service(text) | CallError::Text(text)) = error else {
            let mut text = error.to_string();
            let mut cause = error.source();
            while let Some(error) = cause {
                text += &format!(": {error}");
                cause = error.source();
            }
            return text;
        };
        text
    }
}

/// The text for an operation that the other side does not have; that of `wapc-guest`, so that old
/// and new sides understand each other.
pub(crate) const UNKNOWN: &str = "No handler registered for function ";

/// That of `@wapc/as-guest`.
const UNKNOWN_TO_ASSEMBLYSCRIPT: &str = "Could not find function ";

impl<E> CallError<E> {
    /// Returns the service's own error, or else the failure of the call: for the `From<CallError<Self>>` of
    /// a service's error, by which a client is the service's trait.
    ///
    /// ```
    /// use wapc_typed::CallError;
    ///
    /// enum StoreError {
    ///     Missing,
    ///     Call(String),
    /// }
    ///
    /// impl From<CallError<Self>> for StoreError {
    ///     fn from(error: CallError<Self>) -> Self {
    ///         error.into_service().unwrap_or_else(|failed| Self::Call(failed.to_string()))
    ///     }
    /// }
    ///
    /// assert!(matches!(CallError::Service(StoreError::Missing).into(), StoreError::Missing));
    /// let failed: StoreError = CallError::Text("closed".to_owned()).into();
    /// assert!(matches!(failed, StoreError::Call(text) if text == "closed"));
    /// ```
    ///
    /// # Errors
    ///
    /// The same error, which is none of the service's own.
    pub fn into_service(self) -> Result<E, CallError> {
        Err(match self {
            Self::Service(own) => return Ok(own),
            Self::Text(text) => CallError::Text(text),
            Self::UnknownOperation { operation } => CallError::UnknownOperation { operation },
            Self::Encode { operation, source } => CallError::Encode { operation, source },
            Self::Decode { operation, source } => CallError::Decode { operation, source },
            #[cfg(not(target_arch = "wasm32"))]
            Self::Host(error) => CallError::Host(error),
        })
    }

    /// The error for the text that the other side has failed with.
    pub(crate) fn of_text(
        operation: &str,
        text: String,
        own: impl FnOnce(&str) -> Option<E>,
    ) -> Self {
        // `wapc-guest` puts a text of its own in front.
        let is_unknown = [UNKNOWN, UNKNOWN_TO_ASSEMBLYSCRIPT].iter().any(|words| {
            text.split_once(words)
                .is_some_and(|(_, rest)| rest.trim_matches('"') == operation)
        });
        if is_unknown {
            return Self::UnknownOperation {
                operation: operation.to_owned(),
            };
        }
        match own(&text) {
            Some(error) => Self::Service(error),
            None => Self::Text(text),
        }
    }
}
