//! Things that can be called: hosts, and the host of a guest.

#[cfg(not(target_arch = "wasm32"))]
use std::sync::Arc;

#[cfg(not(target_arch = "wasm32"))]
use wapc_host::{CallWith, Error, WapcHost};

/// Something that can be called by operation with bytes: a host, a host with options, or in a guest
/// its own host.
pub trait Call {
    /// Calls an operation, and lets `read` look at the response.
    ///
    /// # Errors
    ///
    /// [`Failure`] if there is no response.
    fn call_bytes<R: Send>(
        &self,
        operation: &str,
        payload: &[u8],
        read: impl FnMut(&[u8]) -> R + Send,
    ) -> Result<R, Failure>;
}

/// The end of a call without a response.
#[derive(Debug)]
#[non_exhaustive]
pub enum Failure {
    /// The other side has said so in its own words.
    Text(String),
    /// The call has ended otherwise.
    #[cfg(not(target_arch = "wasm32"))]
    Host(Error),
}

impl<T: Call + ?Sized> Call for &T {
    fn call_bytes<R: Send>(
        &self,
        operation: &str,
        payload: &[u8],
        read: impl FnMut(&[u8]) -> R + Send,
    ) -> Result<R, Failure> {
        (**self).call_bytes(operation, payload, read)
    }
}

#[cfg(not(target_arch = "wasm32"))]
impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        match error {
            Error::Guest { message, .. } => Self::Text(message),
            other => Self::Host(other),
        }
    }
}

#[cfg(not(target_arch = "wasm32"))]
impl Call for WapcHost {
    fn call_bytes<R: Send>(
        &self,
        operation: &str,
        payload: &[u8],
        read: impl FnMut(&[u8]) -> R + Send,
    ) -> Result<R, Failure> {
        Ok(self.call_with(operation, payload, read)?)
    }
}

#[cfg(not(target_arch = "wasm32"))]
impl Call for CallWith<'_> {
    fn call_bytes<R: Send>(
        &self,
        operation: &str,
        payload: &[u8],
        read: impl FnMut(&[u8]) -> R + Send,
    ) -> Result<R, Failure> {
        Ok(self.call_with(operation, payload, read)?)
    }
}

#[cfg(not(target_arch = "wasm32"))]
impl<T: Call + ?Sized> Call for Arc<T> {
    fn call_bytes<R: Send>(
        &self,
        operation: &str,
        payload: &[u8],
        read: impl FnMut(&[u8]) -> R + Send,
    ) -> Result<R, Failure> {
        (**self).call_bytes(operation, payload, read)
    }
}

/// Something that can be called and awaited: a host, or a host with options.
#[cfg(not(target_arch = "wasm32"))]
pub trait CallAsync {
    /// Calls an operation. The response is owned, since nothing is lent across an await.
    fn call_bytes_async(
        &self,
        operation: &str,
        payload: Vec<u8>,
    ) -> impl Future<Output = Result<Vec<u8>, Failure>> + Send;
}

#[cfg(not(target_arch = "wasm32"))]
impl CallAsync for WapcHost {
    async fn call_bytes_async(
        &self,
        operation: &str,
        payload: Vec<u8>,
    ) -> Result<Vec<u8>, Failure> {
        Ok(self.call_async(operation, payload).await?)
    }
}

#[cfg(not(target_arch = "wasm32"))]
impl CallAsync for CallWith<'_> {
    async fn call_bytes_async(
        &self,
        operation: &str,
        payload: Vec<u8>,
    ) -> Result<Vec<u8>, Failure> {
        Ok(self.call_async(operation, payload).await?)
    }
}

#[cfg(not(target_arch = "wasm32"))]
impl<T: CallAsync + Sync + ?Sized> CallAsync for &T {
    async fn call_bytes_async(
        &self,
        operation: &str,
        payload: Vec<u8>,
    ) -> Result<Vec<u8>, Failure> {
        (**self).call_bytes_async(operation, payload).await
    }
}

#[cfg(not(target_arch = "wasm32"))]
impl<T: CallAsync + Send + Sync + ?Sized> CallAsync for Arc<T> {
    async fn call_bytes_async(
        &self,
        operation: &str,
        payload: Vec<u8>,
    ) -> Result<Vec<u8>, Failure> {
        (**self).call_bytes_async(operation, payload).await
    }
}
