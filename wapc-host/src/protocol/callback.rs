//! Answering what guests ask of the host.

use std::{future::Future, sync::Arc};

use crate::{
    error::BoxError,
    protocol::host_call::{BoxFuture, HostCall, OwnedHostCall},
};

/// Answers guests' calls to the host.
///
/// The short way in is a closure over `(host id, binding, namespace,
/// operation, payload)` that returns the answer; see
/// [`WapcHost::new`](crate::WapcHost::new). A type that implements this trait
/// answers without allocating. Several threads may be in it at once.
///
/// An `Err` is not the end of the guest's call: the guest is told the error's
/// text, and decides. A panic ends the guest's call at once, drops the
/// instance, and goes on in the caller of [`WapcHost::call`](crate::WapcHost::call).
/// Calling the same host from here takes another of its instances, like any
/// call; a host of one instance answers with
/// [`Error::Reentrant`](crate::Error::Reentrant).
pub trait HostCallback: Send + Sync {
    /// Puts the answer to `call` into `response`, which is empty, and which
    /// the guest's instance uses again for its next host call.
    ///
    /// # Errors
    ///
    /// Anything; its text reaches the guest, and `response` is dropped.
    fn call(&self, call: HostCall<'_>, response: &mut Vec<u8>) -> Result<(), BoxError>;
}

impl<F> HostCallback for F
where
    F: Fn(u64, &str, &str, &str, &[u8]) -> Result<Vec<u8>, BoxError> + Send + Sync,
{
    fn call(&self, call: HostCall<'_>, response: &mut Vec<u8>) -> Result<(), BoxError> {
        *response = self(
            call.host_id,
            call.binding,
            call.namespace,
            call.operation,
            call.payload,
        )?;
        Ok(())
    }
}

/// Answers guests' calls to the host, and may await while it does.
///
/// The short way in is a closure over an [`OwnedHostCall`] that returns a
/// future: `|call| async move { … }`; see
/// [`HostBuilder::build_async`](crate::HostBuilder::build_async).
///
/// What holds for [`HostCallback`](crate::HostCallback) holds here: an `Err`
/// reaches the guest, a panic the caller. The future is dropped when the
/// guest's call ends before it: by its deadline, its cancel handle, or because
/// the caller dropped the call.
pub trait AsyncHostCallback: Send + Sync {
    /// Begins to answer `call`.
    fn call(&self, call: OwnedHostCall) -> BoxFuture<'static, Result<Vec<u8>, BoxError>>;
}

impl<F, R> AsyncHostCallback for F
where
    F: Fn(OwnedHostCall) -> R + Send + Sync,
    R: Future<Output = Result<Vec<u8>, BoxError>> + Send + 'static,
{
    fn call(&self, call: OwnedHostCall) -> BoxFuture<'static, Result<Vec<u8>, BoxError>> {
        Box::pin(self(call))
    }
}

/// The host's callback, in either form.
#[derive(Clone)]
pub(crate) enum Callback {
    Blocking(Arc<dyn HostCallback>),
    Async(Arc<dyn AsyncHostCallback>),
}
