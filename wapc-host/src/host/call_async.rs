//! Async calls: the same host and the same conversation, driven by a future.
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
    engine::outcome::GuestReturn,
    engine::provider::AsyncCall,
    error::{EngineError, Error, LimitError, StopReason},
    limits::call::CallOptions,
    pool::SlotGuard,
    protocol::payload::Payload,
    stack::OnEnoughStack,
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
    /// ```
    /// use wapc_host::{OwnedHostCall, WapcHost, engine::scripted::ScriptedProvider};
    ///
    /// let guest = ScriptedProvider::new_async(|guest, op_length, msg_length| {
    ///     Box::pin(async move {
    ///         let (_, key) = guest.request(op_length, msg_length)?;
    ///         match guest.ask_async(&key).await? {
    ///             Ok(value) => guest.respond(&value),
    ///             Err(error) => guest.fail(&error),
    ///         }
    ///     })
    /// });
    /// // In a program, the callback awaits a database, a socket, a timer.
    /// let look_up = |call: OwnedHostCall| async move { Ok(call.payload().to_ascii_uppercase()) };
    /// let host = pollster::block_on(WapcHost::builder(Box::new(guest)).build_async(look_up))?;
    /// assert_eq!(pollster::block_on(host.call_async("get", "key"))?, b"KEY");
    /// # Ok::<(), wapc_host::Error>(())
    /// ```
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
    /// Resumes the panic of the host callback, if that panics.
    pub fn call_async<'c>(
        &'c self,
        operation: &'c str,
        payload: impl Into<Payload<'c>>,
    ) -> impl Future<Output = Result<Vec<u8>, Error>> {
        self.shared.call_async(operation, payload.into(), None)
    }

    /// Calls the guest like [`WapcHost::call_async`], and writes its response to
    /// `response`, which is cleared first and grows as needed.
    ///
    /// The call takes the buffer and gives it back when it ends. After an error,
    /// or if the future is dropped, the contents are unspecified. If the future
    /// is forgotten, the buffer is empty.
    ///
    /// ```
    /// use wapc_host::engine::scripted::ScriptedProvider;
    ///
    /// let host = ScriptedProvider::new_async(|guest, op_length, msg_length| {
    ///     Box::pin(async move {
    ///         let (_, payload) = guest.request(op_length, msg_length)?;
    ///         guest.respond(&payload)
    ///     })
    /// })
    /// .host()?;
    ///
    /// let mut response = Vec::with_capacity(1024);
    /// // An owned payload moves into the call; a borrowed one is copied once.
    /// pollster::block_on(host.call_into_async("echo", vec![7; 100], &mut response))?;
    /// assert_eq!(response, [7; 100]);
    /// # Ok::<(), wapc_host::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// The same as of [`WapcHost::call_async`].
    ///
    /// # Panics
    ///
    /// Resumes the panic of the host callback, if that panics.
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
    /// Calls the guest like [`WapcHost::call_async`], with these options.
    ///
    /// # Errors
    ///
    /// The same as of [`WapcHost::call_async`].
    ///
    /// # Panics
    ///
    /// Resumes the panic of the host callback, if that panics.
    pub fn call_async<'c>(
        &'c self,
        operation: &'c str,
        payload: impl Into<Payload<'c>>,
    ) -> impl Future<Output = Result<Vec<u8>, Error>> {
        let host = &self.host().shared;
        host.call_async(operation, payload.into(), Some(self.options()))
    }

    /// Calls the guest and writes its response to `response` like
    /// [`WapcHost::call_into_async`], with these options.
    ///
    /// # Errors
    ///
    /// The same as of [`WapcHost::call_async`].
    ///
    /// # Panics
    ///
    /// Resumes the panic of the host callback, if that panics.
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

// Errors and the futures of rare paths are boxed here: a future is moved with
// the space for all that it may hold, and its result is moved once per nested
// future. The request stays in the outermost future.
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
            let shorter = options.and_then(|options| lease.after_wait(options));
            lease
                .drive_async(request, shorter.as_ref().or(options))
                .await
        }
    }

    /// Waits for a slot like `HostShared::lease`, unless `guard` is one, and makes
    /// sure that it has an instance of the current code.
    pub(super) async fn lease_async<'h>(
        &'h self,
        guard: Option<SlotGuard<'h>>,
        operation: &str,
        options: Option<&CallOptions>,
    ) -> Result<Lease<'h>, Error> {
        let (guard, wait) = match guard {
            Some(guard) => (guard, None),
            None => {
                let waited = self.wait_async(operation, options).await;
                let (guard, wait) = waited.map_err(|error| self.count_error(error))?;
                (guard, Some(wait))
            }
        };
        let is_stale = self.is_stale(&guard);
        let mut lease = Lease::new(self, guard);
        lease.set_wait(wait);
        if is_stale {
            lease.fill_async(operation, options).await?;
        }
        Ok(lease)
    }
}

/// The end of a call for which there was no stack.
#[cold]
fn refused(limit: LimitError) -> GuestReturn {
    Err(EngineError::Stopped(StopReason::Limit(limit))).into()
}

impl Lease<'_> {
    /// Runs one async call; `Lease::drive` runs a blocking one.
    pub(super) fn drive_async(
        &mut self,
        request: &mut AsyncRequest<'_>,
        options: Option<&CallOptions>,
    ) -> impl Future<Output = Result<(), Box<Error>>> {
        async move {
            let operation = request.operation;
            if self.guard.state.waits_on_thread {
                self.make_room_for_suspending();
            }
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
                    AsyncCall::Running(call) => {
                        Some(OnEnoughStack(call).await.unwrap_or_else(refused))
                    }
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

    /// Drops an instance from before the first async call that was not called yet: a
    /// new one can be suspended in every host function. One that was called may have
    /// state, and is kept.
    #[cold]
    fn make_room_for_suspending(&mut self) {
        self.host.has_async_callers.store(true, Ordering::Relaxed);
        if self.guard.slot().uses(&self.guard.state) == 0 {
            drop(self.guard.slot().take(&mut self.guard.state));
        }
    }

    /// Keeps the instance of an engine that cannot suspend it, since it was not
    /// called, and returns the error.
    #[cold]
    fn unsupported(&mut self, operation: &str) -> Error {
        self.guard.slot().running.store(false, Ordering::Relaxed);
        self.guard.state.poisoned = false;
        self.host.count_error(Error::AsyncUnsupported {
            operation: operation.to_owned(),
        })
    }

    pub(crate) async fn fill_async(
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
