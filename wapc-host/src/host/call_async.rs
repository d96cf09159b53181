//! The async way in: the same host, the same conversation, driven by a future.
#![expect(
    clippy::manual_async_fn,
    reason = "an `async` block uses its arguments where they are; an `async fn` moves them first"
)]

use std::pin::pin;

use super::{
    failure::{map_start_error, missing_instance},
    lease::Lease,
    service::{CallWith, WapcHost},
    shared::HostShared,
};
use crate::{
    engine::call_guard::CallGuard,
    engine::provider::AsyncCall,
    engine::threaded::OnThread,
    error::{EngineError, Error},
    limits::call::CallOptions,
    pool::SlotGuard,
    protocol::lent::Request,
};

impl WapcHost {
    /// As [`WapcHost::call`], without blocking the thread: while an instance is
    /// waited for and while an async callback awaits, others run, and a guest
    /// that computes yields to them after each
    /// [`yield_interval`](crate::HostBuilder::yield_interval).
    ///
    /// Dropping the future ends the call where it stands, drops the instance,
    /// and lets the next caller in. Limits, deadlines, cancel handles and swaps
    /// mean what they do in blocking calls. Any executor will do: what takes
    /// time is watched by the host itself. An engine that cannot suspend its
    /// guests runs them on a thread of their own; dropping the future lets such
    /// a guest run on to its next host call or the end of its time.
    ///
    /// A future that waits for an instance keeps its position in the queue: poll
    /// it when it is woken, or drop it, since later callers wait for it.
    ///
    /// # Errors
    ///
    /// As [`WapcHost::call`].
    ///
    /// # Panics
    ///
    /// As [`WapcHost::call`].
    pub fn call_async(
        &self,
        operation: &str,
        payload: &[u8],
    ) -> impl Future<Output = Result<Vec<u8>, Error>> {
        self.shared.call_async(operation, payload, None)
    }

    /// As [`WapcHost::call_async`], with the response in `response`, as
    /// [`WapcHost::call_into`] has it. If the future is dropped, the contents
    /// of `response` are unspecified.
    ///
    /// # Errors
    ///
    /// As [`WapcHost::call`].
    ///
    /// # Panics
    ///
    /// As [`WapcHost::call`].
    pub fn call_into_async<'c>(
        &'c self,
        operation: &'c str,
        payload: &'c [u8],
        response: &'c mut Vec<u8>,
    ) -> impl Future<Output = Result<(), Error>> {
        self.shared
            .call_into_async(operation, payload, response, None)
    }
}

impl CallWith<'_> {
    /// As [`WapcHost::call_async`].
    ///
    /// # Errors
    ///
    /// As [`WapcHost::call`].
    ///
    /// # Panics
    ///
    /// As [`WapcHost::call`].
    pub fn call_async(
        &self,
        operation: &str,
        payload: &[u8],
    ) -> impl Future<Output = Result<Vec<u8>, Error>> {
        let host = &self.host().shared;
        host.call_async(operation, payload, Some(self.options()))
    }

    /// As [`WapcHost::call_into_async`].
    ///
    /// # Errors
    ///
    /// As [`WapcHost::call`].
    ///
    /// # Panics
    ///
    /// As [`WapcHost::call`].
    pub fn call_into_async<'c>(
        &'c self,
        operation: &'c str,
        payload: &'c [u8],
        response: &'c mut Vec<u8>,
    ) -> impl Future<Output = Result<(), Error>> {
        let host = &self.host().shared;
        host.call_into_async(operation, payload, response, Some(self.options()))
    }
}

// Errors are boxed in here, and the futures of what few calls come to: a future
// is moved with all that it may hold, and its result once for each future in
// between. A request stays in the outermost one.
impl HostShared {
    fn call_async(
        &self,
        operation: &str,
        payload: &[u8],
        options: Option<&CallOptions>,
    ) -> impl Future<Output = Result<Vec<u8>, Error>> {
        async move {
            let mut response = Vec::new();
            let mut request = Request::filling(operation, payload, &mut response);
            match self.drive_async(&mut request, options).await {
                Ok(()) => Ok(response),
                Err(error) => Err(*error),
            }
        }
    }

    fn call_into_async<'c>(
        &'c self,
        operation: &'c str,
        payload: &'c [u8],
        response: &'c mut Vec<u8>,
        options: Option<&'c CallOptions>,
    ) -> impl Future<Output = Result<(), Error>> {
        let mut request = Request::filling(operation, payload, response);
        async move {
            let called = self.drive_async(&mut request, options);
            called.await.map_err(|error| *error)
        }
    }

    fn drive_async(
        &self,
        request: &mut Request<'_>,
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
    /// As `Lease::drive`, around a future.
    pub(super) fn drive_async(
        &mut self,
        request: &mut Request<'_>,
        options: Option<&CallOptions>,
    ) -> impl Future<Output = Result<(), Box<Error>>> {
        async move {
            if self.is_lost() {
                Box::pin(self.fill_async(request.operation, options)).await?;
            }
            let yield_ticks = Some(self.host.yield_ticks);
            let (instance, lengths) =
                self.begin(request.operation, request.payload, options, true)?;
            let end = {
                let mut guard = CallGuard::new(instance, request, lengths, options, yield_ticks);
                let returned = match guard.drive_async() {
                    AsyncCall::Ended(returned) => Some(returned),
                    AsyncCall::Running(call) => Some(call.await),
                    AsyncCall::Unsupported => None,
                };
                let Some(returned) = returned else {
                    drop(guard);
                    let call = self.call_on_thread(request.operation, request.payload, options);
                    request.sink.take(&Box::pin(call).await?);
                    return Ok(());
                };
                guard.end(returned)
            };
            self.end(request.operation, end).map_err(Box::new)
        }
    }

    /// As `Lease::drive_async` for an engine that cannot suspend.
    async fn call_on_thread(
        &mut self,
        operation: &str,
        payload: &[u8],
        options: Option<&CallOptions>,
    ) -> Result<Vec<u8>, Error> {
        let (_, lengths) = self.begin(operation, payload, options, true)?;
        let Some(instance) = self.guard.state.instance.take() else {
            return Err(missing_instance());
        };
        let job = OnThread::start(instance, operation, payload, options.cloned(), lengths)
            .map_err(|error| Error::Init(EngineError::Other(error.into())))?;
        let done = pin!(job).await;
        self.guard.state.instance = Some(done.instance);
        self.end(operation, done.end)?;
        Ok(done.response)
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
