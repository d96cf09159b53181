//! The callbacks that answer guests' host calls.

use std::{future::Future, sync::Arc};

use crate::{
    error::BoxError,
    protocol::host_call::{BoxFuture, HostCall, OwnedHostCall},
};

/// Answers guests' calls to the host.
///
/// The short form is a closure over `(host id, binding, namespace, operation,
/// payload)` that returns the answer; see
/// [`WapcHost::new`](crate::WapcHost::new). A closure over the whole call is
/// [`HostBuilder::build_fn`](crate::HostBuilder::build_fn). A type that implements this trait
/// answers without allocating:
///
/// ```
/// use wapc_host::{BoxError, HostCall, HostCallback, WapcHost, engine::scripted::ScriptedProvider};
///
/// struct Store;
///
/// impl HostCallback for Store {
///     fn call(&self, call: HostCall<'_>, response: &mut Vec<u8>) -> Result<(), BoxError> {
///         match (call.namespace, call.payload) {
///             ("ns", b"colour") => response.extend_from_slice(b"blue"),
///             (_, key) => return Err(format!("no key {}", key.escape_ascii()).into()),
///         }
///         Ok(())
///     }
/// }
///
/// let guest = ScriptedProvider::new(|guest, op_length, msg_length| {
///     let (_, key) = guest.request(op_length, msg_length)?;
///     match guest.ask(&key)? {
///         Ok(value) => guest.respond(&value),
///         Err(error) => guest.fail(&error),
///     }
/// });
/// let host = WapcHost::with_callback(Box::new(guest), Store)?;
/// assert_eq!(host.call("get", b"colour")?, b"blue");
/// assert!(host.call("get", b"size").unwrap_err().to_string().ends_with("no key size"));
/// # Ok::<(), wapc_host::Error>(())
/// ```
///
/// The callback runs on the thread that runs the guest, and several threads may
/// run it at a time.
///
/// An `Err` does not end the guest's call: the guest gets the error's text and
/// decides what to do. A panic ends the guest's call, drops the instance, and is
/// resumed in the caller of [`WapcHost::call`](crate::WapcHost::call). If the
/// callback calls its own host, that call takes another instance; on a host of
/// one instance it fails with [`Error::Reentrant`](crate::Error::Reentrant).
pub trait HostCallback: Send + Sync {
    /// Writes the answer to `call` into `response`, which is empty. The
    /// instance keeps this buffer for its next host calls.
    ///
    /// # Errors
    ///
    /// Any error. The guest gets its text, and `response` is discarded.
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

/// A closure over the whole call.
pub(crate) struct OverCall<F>(pub(crate) F);

impl<F> HostCallback for OverCall<F>
where
    F: Fn(HostCall<'_>) -> Result<Vec<u8>, BoxError> + Send + Sync,
{
    fn call(&self, call: HostCall<'_>, response: &mut Vec<u8>) -> Result<(), BoxError> {
        *response = (self.0)(call)?;
        Ok(())
    }
}

/// Answers guests' calls to the host asynchronously.
///
/// The short form is a closure over an [`OwnedHostCall`] that returns a future:
/// `|call| async move { … }`; see
/// [`HostBuilder::build_async`](crate::HostBuilder::build_async).
///
/// ```
/// use std::sync::Arc;
/// use wapc_host::{AsyncHostCallback, BoxError, BoxFuture, OwnedHostCall, WapcHost};
/// use wapc_host::engine::scripted::ScriptedProvider;
///
/// struct Store {
///     prefix: Arc<str>,
/// }
///
/// impl AsyncHostCallback for Store {
///     fn call(&self, call: OwnedHostCall) -> BoxFuture<'static, Result<Vec<u8>, BoxError>> {
///         // The future is `'static`, so it owns what it needs of `self`.
///         let prefix = Arc::clone(&self.prefix);
///         Box::pin(async move { Ok([prefix.as_bytes(), call.payload()].concat()) })
///     }
/// }
///
/// let guest = ScriptedProvider::new_async(|guest, _, _| {
///     Box::pin(async {
///         let value = guest.ask_async(b"colour").await?.unwrap_or_default();
///         guest.respond(&value)
///     })
/// });
/// let store = Store { prefix: "my ".into() };
/// let host = pollster::block_on(WapcHost::builder(Box::new(guest)).build_async_with(store))?;
/// assert_eq!(pollster::block_on(host.call_async("get", ""))?, b"my colour");
/// # Ok::<(), wapc_host::Error>(())
/// ```
///
/// The future is polled by the task that polls the guest's call. As with
/// [`HostCallback`](crate::HostCallback), the guest gets the text of an `Err`,
/// and a panic is resumed in the caller. If the guest's call ends first, by its
/// deadline, its cancel handle, or because the caller dropped it, the future is
/// dropped.
pub trait AsyncHostCallback: Send + Sync {
    /// Returns a future of the answer to `call`, which owns its data.
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

/// The host's callback, blocking or async.
#[derive(Clone)]
pub(crate) enum Callback {
    Blocking(Arc<dyn HostCallback>),
    Async(Arc<dyn AsyncHostCallback>),
}
