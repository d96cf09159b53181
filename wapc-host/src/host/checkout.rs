//! Instances that a caller reserves for a sequence of calls.

use super::{
    lease::Lease,
    service::{CallWith, WapcHost},
    shared::HostShared,
};
use crate::{
    engine::call_guard::AsyncRequest, error::Error, limits::call::CallOptions,
    protocol::payload::Payload, protocol::reentrancy::ReentrancyGuard,
};

impl WapcHost {
    /// Reserves an instance for a sequence of calls, which share its state and
    /// cost less than calls through the host.
    ///
    /// Waits until an instance is free. No other caller uses the instance until
    /// the returned value is dropped. On a host of one instance, the thread that
    /// holds it cannot call the host ([`Error::Reentrant`]). After a swap, the
    /// held instance keeps running the old code.
    ///
    /// ```
    /// use wapc_host::{Error, engine::scripted::ScriptedProvider};
    ///
    /// let host = ScriptedProvider::new(|guest, _, _| {
    ///     let calls = guest.calls().to_string();
    ///     guest.respond(calls.as_bytes())
    /// })
    /// .host()?;
    ///
    /// let mut instance = host.check_out()?;
    /// assert_eq!(instance.call("count", b"")?, b"1");
    /// assert_eq!(instance.call("count", b"")?, b"2");
    /// assert!(matches!(host.call("count", b""), Err(Error::Reentrant { .. })));
    ///
    /// drop(instance);
    /// assert_eq!(host.call("count", b"")?, b"3");
    /// # Ok::<(), Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// [`Error::Busy`] if no instance is free within the host's
    /// [`wait_limit`](crate::HostBuilder::wait_limit); [`Error::Reentrant`] if
    /// the caller would wait for itself; [`Error::Init`] if no new instance can
    /// be made.
    ///
    /// # Panics
    ///
    /// Resumes the panic of the host callback, if a start function of a new
    /// instance calls it and it panics.
    pub fn check_out(&self) -> Result<CheckedOut<'_>, Error> {
        self.check_out_with(None)
    }

    fn check_out_with(&self, options: Option<&CallOptions>) -> Result<CheckedOut<'_>, Error> {
        let lease = self.shared.lease(CHECK_OUT, options)?;
        Ok(CheckedOut::new(lease, options.cloned()))
    }

    /// Reserves an instance for a sequence of async calls, which share its
    /// state.
    ///
    /// Waits until an instance is free, without blocking the thread; the future
    /// may be dropped while it waits. A task that holds the only instance and
    /// calls the host deadlocks with itself until the host's
    /// [`wait_limit`](crate::HostBuilder::wait_limit).
    ///
    /// ```
    /// use wapc_host::{Error, engine::scripted::ScriptedProvider};
    ///
    /// let host = ScriptedProvider::new_async(|guest, _, _| {
    ///     Box::pin(async {
    ///         let calls = guest.calls().to_string();
    ///         guest.respond(calls.as_bytes())
    ///     })
    /// })
    /// .host()?;
    ///
    /// pollster::block_on(async {
    ///     let mut instance = host.check_out_async().await?;
    ///     assert_eq!(instance.call_async("count", "").await?, b"1");
    ///     assert_eq!(instance.call_async("count", "").await?, b"2");
    ///     Ok::<(), Error>(())
    /// })?;
    /// # Ok::<(), Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// The same as of [`WapcHost::check_out`].
    ///
    /// # Panics
    ///
    /// Resumes the panic of the host callback, if a start function of a new
    /// instance calls it and it panics.
    pub async fn check_out_async(&self) -> Result<CheckedOutAsync<'_>, Error> {
        let lease = self.shared.check_out_async(None);
        lease.await.map_err(|error| *error)
    }
}

impl<'h> CallWith<'h> {
    /// Reserves an instance like [`WapcHost::check_out`]. The options hold for
    /// each call of the returned value, and for the wait until an instance is
    /// free.
    ///
    /// # Errors
    ///
    /// The same as of [`WapcHost::check_out`]; [`Error::TimedOut`] or
    /// [`Error::Cancelled`] if the deadline or the cancel handle ends the wait.
    ///
    /// # Panics
    ///
    /// Resumes the panic of the host callback, if a start function of a new
    /// instance calls it and it panics.
    pub fn check_out(&self) -> Result<CheckedOut<'h>, Error> {
        self.host().check_out_with(Some(self.options()))
    }

    /// Reserves an instance like [`WapcHost::check_out_async`]. The options hold
    /// for each call of the returned value, and for the wait until an instance
    /// is free.
    ///
    /// # Errors
    ///
    /// The same as of [`WapcHost::check_out`]; [`Error::TimedOut`] or
    /// [`Error::Cancelled`] if the deadline or the cancel handle ends the wait.
    ///
    /// # Panics
    ///
    /// Resumes the panic of the host callback, if a start function of a new
    /// instance calls it and it panics.
    pub async fn check_out_async(&self) -> Result<CheckedOutAsync<'h>, Error> {
        let lease = self.host().shared.check_out_async(Some(self.options()));
        lease.await.map_err(|error| *error)
    }
}

/// An instance that a caller has reserved; see [`WapcHost::check_out`].
///
/// If a call loses the instance, for example by a trap, the next call gets a new
/// one of the host's current code.
#[derive(Debug)]
pub struct CheckedOut<'h> {
    lease: Lease<'h>,
    options: Option<CallOptions>,
    _guard: ReentrancyGuard,
}

impl<'h> CheckedOut<'h> {
    pub(crate) fn new(lease: Lease<'h>, options: Option<CallOptions>) -> Self {
        Self {
            _guard: ReentrancyGuard::held(lease.host.id),
            lease,
            options,
        }
    }

    /// Sets the options of the next calls.
    pub fn set_options(&mut self, options: CallOptions) {
        self.options = Some(options);
    }

    /// Calls this instance's `operation` with `payload` and returns its
    /// response, like [`WapcHost::call`].
    ///
    /// # Errors
    ///
    /// The same as of [`WapcHost::call`], but never [`Error::Reentrant`] or
    /// [`Error::Busy`].
    ///
    /// # Panics
    ///
    /// Resumes the panic of the host callback, if that panics.
    pub fn call(&mut self, operation: &str, payload: &[u8]) -> Result<Vec<u8>, Error> {
        self.lease.call(operation, payload, self.options.as_ref())
    }

    /// Calls this instance and writes its response to `response`, like
    /// [`WapcHost::call_into`].
    ///
    /// # Errors
    ///
    /// The same as of [`CheckedOut::call`].
    ///
    /// # Panics
    ///
    /// Resumes the panic of the host callback, if that panics.
    pub fn call_into(
        &mut self,
        operation: &str,
        payload: &[u8],
        response: &mut Vec<u8>,
    ) -> Result<(), Error> {
        self.lease
            .call_into(operation, payload, response, self.options.as_ref())
    }

    /// Calls this instance and lets `read` borrow its response, like
    /// [`WapcHost::call_with`].
    ///
    /// # Errors
    ///
    /// The same as of [`CheckedOut::call`]. `read` may have run before the
    /// error.
    ///
    /// # Panics
    ///
    /// Resumes the panic of the host callback or of `read`, if one panics.
    pub fn call_with<R: Send>(
        &mut self,
        operation: &str,
        payload: &[u8],
        read: impl FnMut(&[u8]) -> R + Send,
    ) -> Result<R, Error> {
        self.lease
            .call_with(operation, payload, read, self.options.as_ref())
    }

    /// Lends the guest's memory, the export `memory`, as the last call has left it: for debuggers, and for
    /// what a guest writes into memory that its host has agreed on. `None` if a call has lost the
    /// instance, or if the engine lends none.
    pub fn memory(&mut self) -> Option<&[u8]> {
        self.lease.memory()
    }

    /// Returns the custom section in which the guest describes its operations, for `Descriptor::parse` of
    /// `wapc-typed`. `None` without any, if the code was compiled ahead of time, and if a call
    /// has lost the instance. A guest may claim anything there.
    pub fn service_section(&mut self) -> Option<&[u8]> {
        self.lease.service_section()
    }
}

/// An instance that a caller has reserved for async calls; see
/// [`WapcHost::check_out_async`].
///
/// If a call loses the instance, or its future is dropped, the next call gets a
/// new instance of the host's current code.
#[derive(Debug)]
pub struct CheckedOutAsync<'h> {
    lease: Lease<'h>,
    options: Option<CallOptions>,
}

impl<'h> CheckedOutAsync<'h> {
    pub(crate) const fn new(lease: Lease<'h>, options: Option<CallOptions>) -> Self {
        Self { lease, options }
    }

    /// Lends the guest's memory, like [`CheckedOut::memory`].
    pub fn memory(&mut self) -> Option<&[u8]> {
        self.lease.memory()
    }

    /// Returns what the guest says of its operations, like [`CheckedOut::service_section`].
    pub fn service_section(&mut self) -> Option<&[u8]> {
        self.lease.service_section()
    }
}

impl CheckedOutAsync<'_> {
    /// Sets the options of the next calls.
    pub fn set_options(&mut self, options: CallOptions) {
        self.options = Some(options);
    }

    /// Calls like [`WapcHost::call_async`], on this instance.
    ///
    /// # Errors
    ///
    /// The same as of [`WapcHost::call_async`], but never [`Error::Reentrant`]
    /// and [`Error::Busy`].
    ///
    /// # Panics
    ///
    /// If the host callback panics, with its panic. The host stays usable.
    pub fn call_async<'c>(
        &'c mut self,
        operation: &'c str,
        payload: impl Into<Payload<'c>>,
    ) -> impl Future<Output = Result<Vec<u8>, Error>> {
        let payload = payload.into();
        async move {
            let mut response = Vec::new();
            let called = self.call_into_async(operation, payload, &mut response);
            called.await.map(|()| response)
        }
    }

    /// Calls like [`WapcHost::call_into_async`], on this instance.
    ///
    /// # Errors
    ///
    /// The same as of [`CheckedOutAsync::call_async`].
    ///
    /// # Panics
    ///
    /// If the host callback panics, with its panic. The host stays usable.
    pub fn call_into_async<'c>(
        &'c mut self,
        operation: &'c str,
        payload: impl Into<Payload<'c>>,
        response: &'c mut Vec<u8>,
    ) -> impl Future<Output = Result<(), Error>> {
        let mut request = AsyncRequest {
            operation,
            payload: payload.into(),
            response,
        };
        async move {
            let call = Unfinished(&mut self.lease);
            let called = call.0.drive_async(&mut request, self.options.as_ref());
            called.await.map_err(|error| *error)
        }
    }
}

/// Discards the instance of a call whose future is dropped before it ends.
struct Unfinished<'t, 'h>(&'t mut Lease<'h>);

impl Drop for Unfinished<'_, '_> {
    fn drop(&mut self) {
        self.0.discard_poisoned();
    }
}

impl HostShared {
    async fn check_out_async(
        &self,
        options: Option<&CallOptions>,
    ) -> Result<CheckedOutAsync<'_>, Box<Error>> {
        Ok(CheckedOutAsync {
            lease: self
                .lease_async(self.pool.try_take(), CHECK_OUT, options)
                .await?,
            options: options.cloned(),
        })
    }
}

/// The name of a check-out in errors.
pub(super) const CHECK_OUT: &str = "(check-out)";
