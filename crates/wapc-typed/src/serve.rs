//! Services, served by their operations.

use thiserror::Error;

use crate::{codec::CodecError, error::UNKNOWN};

/// A service: an implementation of a trait with [`service`](crate::service), in its server.
pub trait Serve {
    /// The names of the operations.
    fn operations(&self) -> &'static [&'static str];

    /// Answers a call, by appending to `response`.
    ///
    /// # Errors
    ///
    /// [`ServeError`], whose text is the answer then.
    fn serve(
        &self,
        operation: &str,
        payload: &[u8],
        response: &mut Vec<u8>,
    ) -> Result<(), ServeError>;
}

/// The reason why a service has no result. The other side gets its text.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum ServeError {
    /// There is no such operation.
    #[error("{UNKNOWN}{operation}")]
    UnknownOperation {
        /// The operation.
        operation: String,
    },

    /// The arguments cannot be decoded: the caller has another contract.
    #[error("the arguments of `{operation}` cannot be decoded: {source}")]
    Decode {
        /// The operation.
        operation: String,
        /// The reason. It quotes nothing of the arguments.
        source: CodecError,
    },

    /// The result cannot be encoded.
    #[error("the result of `{operation}` cannot be encoded: {source}")]
    Encode {
        /// The operation.
        operation: String,
        /// The reason.
        source: CodecError,
    },

    /// The service's own error.
    #[error("{0}")]
    Own(String),
}

/// For the macro's code.
#[doc(hidden)]
impl ServeError {
    pub fn unknown(operation: &str) -> Self {
        let operation = operation.to_owned();
        Self::UnknownOperation { operation }
    }

    pub fn decode(operation: &str, source: CodecError) -> Self {
        let operation = operation.to_owned();
        Self::Decode { operation, source }
    }

    pub fn encode(operation: &str, source: CodecError) -> Self {
        let operation = operation.to_owned();
        Self::Encode { operation, source }
    }

    pub const fn own(text: String) -> Self {
        Self::Own(text)
    }
}
