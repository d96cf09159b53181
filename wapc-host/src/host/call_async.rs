//! The async way in: the same host, the same conversation, driven by a future.
#![expect(
    clippy::manual_async_fn,
    reason = "an `async` block uses its arguments where they are; an `async fn` moves them first"
)]

use super::{
    failure::map_start_error,
    lease::Lease,
    service::{CallWith, WapcHost},
    shared::HostShared,
};
use crate::{
    engine::call_guard::{AsyncCallGuard, AsyncRequest},
    engine::provider::AsyncCall,
    error::Error,
    limits::call::CallOptions,
    pool::SlotGuard,
    protocol::payload::Payload,
    sync::atomic::Ordering,
};

impl WapcHost {
    /// Calls the guest's `operation` with `payload` without blocking the thread,
    /// and returns its response.
    ///
    /// Others run while the call waits for an instance and while an async
    /// callback is pending. A guest that computes yields to them after each
    /// [`yield_interval`](crate::HostBuilder::yield_interval). Any executor will
    /// do: the host watches the time itself.
    ///
    /// The call owns what it sends: an owned payload moves into it, and a
    /// borrowed one is copied once ([`Payload`]). Dropping the future ends the
    /// call where it stands, drops the instance, and lets the next caller in.
    /// Limits, deadlines, cancel handles and swaps mean what they do in blocking
    /// calls.
    ///
    /// A future that waits for an instance keeps its position in the queue: poll
    /// it when it is woken, or drop it, since later callers wait for it.
    ///
    /// # Errors
    ///
    /// Any variant of [`Error`]; [`Error::AsyncUnsupported`] if the engine
    /// cannot suspend its guests.
    ///
    /// # Panics
    ///
    /// If the host callback panics, with its panic. The host stays usable.
    pub fn call_async<'c>(
        &'c self,
        operation: &'c str,
        payload: impl Into<Payload<'c>>,
    ) -> impl Future<Output = Result<Vec<u8>, Error>> {
        self.shared.call_async(operation, payload.into(), None)
    }

    /// Calls like [`WapcHost::call_async`], and puts the response in `response`,
    /// in place of what is in it.
    ///
    /// The call takes the buffer and gives it back at its end. After an error,
    /// or if the future is dropped, its contents are unspecified; if the future
    /// is forgotten, it is empty.
    ///
    /// # Errors
    ///
    /// The same as of [`WapcHost::call_async`].
    ///
    /// # Panics
    ///
    /// If the host callback panics, with its panic. The host stays usable.
    pub fn call_into_async<'c>(
        &'c self,
        operation: &'c str,
        payload: impl Into<Payload<'c>>,
        response: &'c mut Vec<u8>,
    ) -> impl Future<Output = Result<(), Error>> {
        self.shared
            .call_into_async(operation, payload.into(), response, None)
    }
}

impl CallWith<'_> {
    /// Calls like [`WapcHost::call_async`], with the options.
    ///
    /// # Errors
    ///
    /// The same as of [`WapcHost::call_async`].
    ///
    /// # Panics
    ///
    /// If the host callback panics, with its panic. The host stays usable.
    pub fn call_async<'c>(
        &'c self,
        operation: &'c str,
        payload: impl Into<Payload<'c>>,
    ) -> impl Future<Output = Result<Vec<u8>, Error>> {
        let host = &self.host().shared;
        host.call_async(operation, payload.into(), Some(self.options()))
    }

    /// Calls like [`WapcHost::call_into_async`], with the options.
    ///
    /// # Errors
    ///
    /// The same as of [`WapcHost::call_async`].
    ///
    /// # Panics
    ///
    /// If the host callback panics, with its panic. The host stays usable.
    pub fn call_into_async<'c>(
        &'c self,
        operation: &'c str,
        payload: impl Into<Payload<'c>>,
        response: &'c mut Vec<u8>,
    ) -> impl Future<Output = Result<(), Error>> {
        let host = &self.host().shared;
        host.call_into_async(operation, payload.into(), response, Some(self.options()))
    }
}

// Errors are boxed in here, and the futures of what few calls come to: a future
// is moved with all that it may hold, and its result once for each future in
// between. A request stays in the outermost one.
impl HostShared {
    fn call_async<'c>(
        &'c self,
        operation: &'c str,
        payload: Payload<'c>,
        options: Option<&'c CallOptions>,
    ) -> impl Future<Output = Result<Vec<u8>, Error>> + use<'c> {
        async move {
            let mut response = Vec::new();
            let mut request = AsyncRequest {
                operation,
                payload,
                response: &mut response,
            };
            match self.drive_async(&mut request, options).await {
                Ok(()) => Ok(response),
                Err(error) => Err(*error),
            }
        }
    }

    fn call_into_async<'c>(
        &'c self,
        operation: &'c str,
        payload: Payload<'c>,
        response: &'c mut Vec<u8>,
        options: Option<&'c CallOptions>,
    ) -> impl Future<Output = Result<(), Error>> + use<'c> {
        let mut request = AsyncRequest {
            operation,
            payload,
            response,
        };
        async move {
            let called = self.drive_async(&mut request, options);
            called.await.map_err(|error| *error)
        }
    }

    fn drive_async(
        &self,
        request: &mut AsyncRequest<'_>,
        options: Option<&CallOptions>,
    ) -> impl Future<Output = Result<(), Box<Error>>> {
        async move {
            let mut lease = match self.pool.try_take() {
                Some(guard) if !self.is_stale(&guard) => Lease::new(self, guard),
                guard => Box::pin(self.lease_async(guard, request.operation, options)).await?,
            };
            lease.drive_async(request, options).await
        }
    }

    /// As `HostShared::lease`, in a slot that is held already if one was free.
    pub(super) async fn lease_async<'h>(
        &'h self,
        guard: Option<SlotGuard<'h>>,
        operation: &str,
        options: Option<&CallOptions>,
    ) -> Result<Lease<'h>, Error> {
        let guard = match guard {
            Some(guard) => guard,
            None => self
                .wait_async(operation, options)
                .await
                .map_err(|error| self.count_error(error))?,
        };
        let is_stale = self.is_stale(&guard);
        let mut lease = Lease::new(self, guard);
        if is_stale {
            lease.fill_async(operation, options).await?;
        }
        Ok(lease)
    }
}

impl Lease<'_> {
    /// Makes one async call, as `Lease::drive` makes a blocking one.
    pub(super) fn drive_async(
        &mut self,
        request: &mut AsyncRequest<'_>,
        options: Option<&CallOptions>,
    ) -> impl Future<Output = Result<(), Box<Error>>> {
        async move {
            let operation = request.operation;
            if self.is_lost() {
                Box::pin(self.fill_async(operation, options)).await?;
            }
            let yield_ticks = self.host.yield_ticks;
            let payload = request.payload.as_ref();
            let (instance, lengths) = self.begin(operation, payload, options, true)?;
            let end = {
                let mut guard = AsyncCallGuard::new(instance, request, options, yield_ticks);
                let returned = match guard.call(lengths) {
                    AsyncCall::Ended(returned) => Some(returned),
                    AsyncCall::Running(call) => Some(call.await),
                    AsyncCall::Unsupported => None,
                };
                returned.map(|returned| guard.end(returned))
            };
            match end {
                Some(end) => self.end(operation, end).map_err(Box::new),
                None => Err(Box::new(self.unsupported(operation))),
            }
        }
    }

    /// Keeps an instance that has not been called: its engine cannot suspend it.
    #[cold]
    fn unsupported(&mut self, operation: &str) -> Error {
        self.guard.slot().running.store(false, Ordering::Relaxed);
        self.guard.state.poisoned = false;
        self.host.count_error(Error::AsyncUnsupported {
            operation: operation.to_owned(),
        })
    }

    async fn fill_async(
        &mut self,
        operation: &str,
        options: Option<&CallOptions>,
    ) -> Result<(), Error> {
        let code = self.host.evict(&mut self.guard, self.code.as_ref());
        let ready = code.ready();
        let instance = match ready {
            Some(instance) => instance,
            None => self
                .host
                .instance_async(&code, self.guard.slot().number, options)
                .await
                .map_err(|error| {
                    let limits = &self.host.limits;
                    self.host
                        .count_error(map_start_error(error, operation, options, limits))
                })?,
        };
        self.host.install(&mut self.guard, &code, instance);
        Ok(())
    }
}
