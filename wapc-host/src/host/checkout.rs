//! An instance, held for a sequence of calls.
#![expect(
    clippy::manual_async_fn,
    reason = "an `async` block uses its arguments where they are; an `async fn` moves them first"
)]

use super::{
    lease::Lease,
    service::{CallWith, WapcHost},
    shared::HostShared,
};
use crate::{
    error::Error, limits::call::CallOptions, protocol::lent::Request,
    protocol::reentrancy::ReentrancyGuard,
};

impl WapcHost {
    /// An instance, for as many calls as one likes without other callers in
    /// between: they share its state, and cost less than through the host.
    ///
    /// Waits until an instance is free. Until the returned value is dropped, no
    /// other caller uses the instance; on a host of one instance, a call from
    /// the thread that holds it is refused ([`Error::Reentrant`]). A swap
    /// meanwhile takes effect for the next check-out.
    ///
    /// # Errors
    ///
    /// [`Error::Init`], [`Error::Reentrant`], [`Error::Busy`].
    ///
    /// # Panics
    ///
    /// If a new instance must be made, its start functions call the host, and
    /// the callback panics.
    pub fn check_out(&self) -> Result<CheckedOut<'_>, Error> {
        self.check_out_with(None)
    }

    fn check_out_with(&self, options: Option<&CallOptions>) -> Result<CheckedOut<'_>, Error> {
        let lease = self.shared.lease(CHECK_OUT, options)?;
        Ok(CheckedOut::new(lease, options.cloned()))
    }

    /// As [`WapcHost::check_out`], for async calls: an instance, for as many of
    /// them as one likes without other callers in between.
    ///
    /// Waits for a free instance as [`WapcHost::call_async`] does, and may be
    /// dropped while it waits. Whoever holds the only instance of a host and
    /// calls that host waits for themselves, until
    /// [`wait_limit`](crate::HostBuilder::wait_limit) is over.
    ///
    /// # Errors
    ///
    /// As [`WapcHost::check_out`].
    ///
    /// # Panics
    ///
    /// As [`WapcHost::check_out`].
    pub async fn check_out_async(&self) -> Result<CheckedOutAsync<'_>, Error> {
        let lease = self.shared.check_out_async(None);
        lease.await.map_err(|error| *error)
    }
}

impl<'h> CallWith<'h> {
    /// As [`WapcHost::check_out`]; the options hold for each call of the
    /// returned value.
    ///
    /// # Errors
    ///
    /// As [`WapcHost::check_out`].
    ///
    /// # Panics
    ///
    /// As [`WapcHost::check_out`].
    pub fn check_out(&self) -> Result<CheckedOut<'h>, Error> {
        self.host().check_out_with(Some(self.options()))
    }

    /// As [`WapcHost::check_out_async`]; the options hold for each call of the
    /// returned value, and for the time until an instance is free.
    ///
    /// # Errors
    ///
    /// As [`WapcHost::check_out`]; [`Error::TimedOut`] and
    /// [`Error::Cancelled`] if no instance was free by then.
    ///
    /// # Panics
    ///
    /// As [`WapcHost::check_out`].
    pub async fn check_out_async(&self) -> Result<CheckedOutAsync<'h>, Error> {
        let lease = self.host().shared.check_out_async(Some(self.options()));
        lease.await.map_err(|error| *error)
    }
}

/// An instance, held for a sequence of calls; see [`WapcHost::check_out`].
///
/// After a call that lost the instance, the next one gets a new one, of the
/// host's current code.
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

    /// The options of the calls from now on.
    pub fn set_options(&mut self, options: CallOptions) {
        self.options = Some(options);
    }

    /// As [`WapcHost::call`].
    ///
    /// # Errors
    ///
    /// As [`WapcHost::call`], but never [`Error::Reentrant`] and
    /// [`Error::Busy`].
    ///
    /// # Panics
    ///
    /// As [`WapcHost::call`].
    pub fn call(&mut self, operation: &str, payload: &[u8]) -> Result<Vec<u8>, Error> {
        self.lease.call(operation, payload, self.options.as_ref())
    }

    /// As [`WapcHost::call_into`].
    ///
    /// # Errors
    ///
    /// As [`CheckedOut::call`].
    ///
    /// # Panics
    ///
    /// As [`WapcHost::call`].
    pub fn call_into(
        &mut self,
        operation: &str,
        payload: &[u8],
        response: &mut Vec<u8>,
    ) -> Result<(), Error> {
        self.lease
            .call_into(operation, payload, response, self.options.as_ref())
    }

    /// As [`WapcHost::call_with`].
    ///
    /// # Errors
    ///
    /// As [`CheckedOut::call`]. `read` may have run all the same.
    ///
    /// # Panics
    ///
    /// As [`WapcHost::call_with`].
    pub fn call_with<R: Send>(
        &mut self,
        operation: &str,
        payload: &[u8],
        read: impl FnMut(&[u8]) -> R + Send,
    ) -> Result<R, Error> {
        self.lease
            .call_with(operation, payload, read, self.options.as_ref())
    }
}

/// An instance, held for a sequence of async calls; see
/// [`WapcHost::check_out_async`].
///
/// After a call that lost the instance, or whose future was dropped, the next
/// one gets a new instance, of the host's current code.
#[derive(Debug)]
pub struct CheckedOutAsync<'h> {
    lease: Lease<'h>,
    options: Option<CallOptions>,
}

impl CheckedOutAsync<'_> {
    /// The options of the calls from now on.
    pub fn set_options(&mut self, options: CallOptions) {
        self.options = Some(options);
    }

    /// As [`WapcHost::call_async`].
    ///
    /// # Errors
    ///
    /// As [`WapcHost::call`], but never [`Error::Reentrant`] and
    /// [`Error::Busy`].
    ///
    /// # Panics
    ///
    /// As [`WapcHost::call`].
    pub fn call_async(
        &mut self,
        operation: &str,
        payload: &[u8],
    ) -> impl Future<Output = Result<Vec<u8>, Error>> {
        async move {
            let mut response = Vec::new();
            let called = self.call_into_async(operation, payload, &mut response);
            called.await.map(|()| response)
        }
    }

    /// As [`WapcHost::call_into_async`].
    ///
    /// # Errors
    ///
    /// As [`CheckedOutAsync::call_async`].
    ///
    /// # Panics
    ///
    /// As [`WapcHost::call`].
    pub fn call_into_async<'c>(
        &'c mut self,
        operation: &'c str,
        payload: &'c [u8],
        response: &'c mut Vec<u8>,
    ) -> impl Future<Output = Result<(), Error>> {
        let mut request = Request::filling(operation, payload, response);
        async move {
            let call = Unfinished(&mut self.lease);
            let called = call.0.drive_async(&mut request, self.options.as_ref());
            called.await.map_err(|error| *error)
        }
    }
}

/// A call whose future may be dropped before it ends.
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

/// What a check-out is called in errors.
pub(super) const CHECK_OUT: &str = "(check-out)";
