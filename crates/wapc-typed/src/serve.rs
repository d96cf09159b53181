//! Services, served by their operations.

use thiserror::Error;

use crate::{CallContext, codec::CodecError, error::UNKNOWN};

/// A service: an implementation of a trait with [`service`](crate::service), in its server.
pub trait Serve {
    /// The names of the operations.
    fn operations(&self) -> &'static [&'static str];

    /// Answers a call, by appending to `response`. The methods get the context; where there is none it is
    /// [`CallContext::none`].
    ///
    /// # Errors
    ///
    /// [`ServeError`], whose text is the answer then.
    fn serve(
        &self,
        context: &CallContext<'_>,
        operation: &str,
        payload: &[u8],
        response: &mut Vec<u8>,
    ) -> Result<(), ServeError>;

    /// The names of the operations that are awaited. By default there are none.
    #[cfg(not(target_arch = "wasm32"))]
    fn async_operations(&self) -> &'static [&'static str] {
        &[]
    }

    /// Answers a call like [`Serve::serve`], also of an operation that is awaited. Whoever drops the future
    /// drops the method's.
    #[cfg(not(target_arch = "wasm32"))]
    fn serve_async<'s>(
        &'s self,
        context: &'s CallContext<'s>,
        operation: &'s str,
        payload: &'s [u8],
        response: &'s mut Vec<u8>,
    ) -> impl Future<Output = Result<(), ServeError>> + Send + 's
    where
        Self: Sync,
    {
        async move { self.serve(context, operation, payload, response) }
    }
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

    /// The operation is async, and the guest's call is not.
    #[cfg(not(target_arch = "wasm32"))]
    #[error("the operation `{operation}` is async: call the host by an async call")]
    Awaits {
        /// The operation.
        operation: String,
    },

    /// The operation is async, and its end would have to be awaited in a guest, which cannot wait.
    #[error("the operation `{operation}` was not ready at once, and a guest cannot wait for it")]
    Pending {
        /// The operation.
        operation: String,
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

    #[cfg(not(target_arch = "wasm32"))]
    pub fn awaits(operation: &str) -> Self {
        let operation = operation.to_owned();
        Self::Awaits { operation }
    }

    pub const fn own(text: String) -> Self {
        Self::Own(text)
    }
}
