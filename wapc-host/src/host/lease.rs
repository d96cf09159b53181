//! Leasing an instance: exclusive use of it, for one call or several.

use std::{
    fmt,
    panic::{AssertUnwindSafe, catch_unwind, resume_unwind},
    sync::Arc,
    time::Duration,
};

use super::{
    admission::{admit, no_time},
    failure::{Failure, missing_instance},
    generation::Generation,
    settings::Reuse,
    shared::HostShared,
};
use crate::{
    clock,
    engine::call_guard::CallGuard,
    engine::guest_call::Lengths,
    engine::outcome::Failed,
    engine::provider::GuestInstance,
    error::{EngineError, Error, ProtocolError, Spent},
    limits::call::CallOptions,
    pool::{Slot, SlotGuard},
    protocol::lent::{Request, Sink},
    protocol::reentrancy::ReentrancyGuard,
    sync::atomic::{AtomicU64, Ordering},
};

/// Exclusive use of one instance.
pub(crate) struct Lease<'h> {
    pub(super) host: &'h HostShared,
    pub(super) guard: SlotGuard<'h>,
    /// The code of the next instance, if not the current one.
    pub(crate) code: Option<Arc<Generation>>,
    /// The caller's wait for the slot, unless that was free.
    wait: Option<Wait>,
    // Dropped after `guard`: a swap that has seen the slot locked is seen after
    // the unlock.
    _leave: RetireOld<'h>,
}

/// The wait of a caller for its slot. It belongs to the first call of the lease.
#[derive(Clone, Copy)]
pub(super) struct Wait {
    time: Duration,
    /// The slot's number of calls at the end of the wait.
    calls_before: u64,
}

impl Wait {
    pub(super) fn new(guard: &SlotGuard<'_>, time: Duration) -> Self {
        Self {
            time,
            calls_before: guard.slot().calls.load(Ordering::Relaxed),
        }
    }
}

/// Retires the instance in a released slot if a swap has made it old.
struct RetireOld<'h> {
    host: &'h HostShared,
    slot: &'h Slot,
}

impl Drop for RetireOld<'_> {
    #[inline]
    fn drop(&mut self) {
        // On x86-64 and AArch64 the unlock is ordered before this load.
        // Elsewhere the clock's maintenance retries within 250 ms; a fence here
        // would cost every call.
        let current = self.host.generation.load(Ordering::SeqCst);
        if self.slot.holds_before(current) {
            self.host.retire_before(current);
        }
    }
}

impl HostShared {
    /// Waits for a slot and makes sure that it has an instance of the current
    /// code.
    // Inlined: returning the value through memory costs a store-forwarding
    // stall, more than taking the slot.
    #[inline(always)]
    pub(super) fn lease(
        &self,
        operation: &str,
        options: Option<&CallOptions>,
    ) -> Result<Lease<'_>, Error> {
        let mut wait = None;
        let mut guard = match self.pool.try_take() {
            Some(guard) => guard,
            None => self.wait(operation, options, &mut wait)?,
        };
        if self.is_stale(&guard) {
            guard = self.ensure_current(guard, operation, options)?;
        }
        let mut lease = Lease::new(self, guard);
        lease.wait = wait;
        Ok(lease)
    }
}

impl<'h> Lease<'h> {
    #[inline(always)]
    pub(crate) fn new(host: &'h HostShared, guard: SlotGuard<'h>) -> Self {
        Self {
            host,
            code: None,
            wait: None,
            _leave: RetireOld {
                host,
                slot: guard.slot(),
            },
            guard,
        }
    }

    #[inline]
    pub(super) fn call(
        &mut self,
        operation: &str,
        payload: &[u8],
        options: Option<&CallOptions>,
    ) -> Result<Vec<u8>, Error> {
        let mut response = Vec::new();
        self.call_into(operation, payload, &mut response, options)?;
        Ok(response)
    }

    #[inline]
    pub(super) fn call_into(
        &mut self,
        operation: &str,
        payload: &[u8],
        response: &mut Vec<u8>,
        options: Option<&CallOptions>,
    ) -> Result<(), Error> {
        self.drive(Request::filling(operation, payload, response), options)
    }

    #[inline]
    pub(super) fn call_with<R: Send>(
        &mut self,
        operation: &str,
        payload: &[u8],
        mut read: impl FnMut(&[u8]) -> R + Send,
        options: Option<&CallOptions>,
    ) -> Result<R, Error> {
        let host_id = self.host.id;
        let mut result = None;
        let mut read = |bytes: &[u8]| {
            // The panic is resumed after the guest has finished its call, so
            // that the instance can be kept.
            result = Some(catch_unwind(AssertUnwindSafe(|| {
                let _guard = ReentrancyGuard::scoped(host_id);
                read(bytes)
            })));
        };
        let request = Request {
            operation,
            payload,
            sink: Sink::Read(&mut read),
        };
        let outcome = self.drive(request, options);
        match (outcome, result) {
            (_, Some(Err(panic))) => resume_unwind(panic),
            (Err(error), _) => Err(error),
            (Ok(()), Some(Ok(result))) => Ok(result),
            (Ok(()), None) => Err(Error::Protocol {
                operation: operation.to_owned(),
                source: ProtocolError::NoResponse,
                spent: Spent::default(),
            }),
        }
    }

    /// Runs one call: lends the caller's bytes, runs the guest, and classifies
    /// the outcome.
    #[inline(always)]
    fn drive<'c>(
        &mut self,
        mut request: Request<'c>,
        options: Option<&'c CallOptions>,
    ) -> Result<(), Error> {
        let Request {
            operation, payload, ..
        } = request;
        if self.is_lost() {
            self.fill(operation, options)
                .map_err(|error| self.host.count_error(error))?;
        }
        let (instance, lengths) = self.begin(operation, payload, options, self.host.timed)?;
        let end = CallGuard::run(instance, &mut request, lengths, options);
        self.end(operation, end)
    }

    /// Notes the caller's wait for the slot.
    pub(super) const fn set_wait(&mut self, wait: Option<Wait>) {
        self.wait = wait;
    }

    /// Returns the time that the caller has waited for the instance, if this is the first call
    /// since.
    pub(super) fn waited(&self) -> Option<Duration> {
        let wait = self.wait?;
        let is_first = self.guard.slot().calls.load(Ordering::Relaxed) == wait.calls_before;
        is_first.then_some(wait.time)
    }

    /// Returns the options of a call whose timeout includes the wait, with the time that is left.
    pub(super) fn after_wait(&self, options: &CallOptions) -> Option<CallOptions> {
        options.after_wait(self.waited()?, self.host.limits.timeout)
    }

    /// Counts an error of a call that did not begin.
    #[cold]
    fn refuse(&self, mut error: Error) -> Error {
        if let Some(waited) = self.waited() {
            error.set_waited(waited);
        }
        self.host.count_error(error)
    }

    /// Returns the memory of the instance, if the previous call has not lost it.
    pub(super) fn memory(&mut self) -> Option<&[u8]> {
        match self.is_lost() {
            true => None,
            false => self.guard.state.instance.as_mut()?.memory(),
        }
    }

    /// Returns what the guest says of its operations, if the previous call has not lost
    /// the instance.
    pub(super) fn service_section(&mut self) -> Option<&[u8]> {
        match self.is_lost() {
            true => None,
            false => self
                .guard
                .state
                .instance
                .as_mut()?
                .state()
                .service_section(),
        }
    }

    /// Returns `true` if the previous call has lost the instance.
    #[inline]
    pub(super) fn is_lost(&self) -> bool {
        self.guard.state.instance.is_none() || self.guard.state.poisoned
    }

    /// Prepares a call: checks lengths and options, wakes the clock if the call
    /// is `timed`, and poisons the instance until the call ends.
    #[inline(always)]
    pub(super) fn begin(
        &mut self,
        operation: &str,
        payload: &[u8],
        options: Option<&CallOptions>,
        timed: bool,
    ) -> Result<(&mut dyn GuestInstance, Lengths), Error> {
        let host = self.host;
        let lengths = Lengths::new(operation, payload, host.max_request)
            .map_err(|error| host.count_error(error))?;
        if let Some(options) = options {
            admit(self.guard.state.interruption, operation, options)
                .map_err(|error| self.refuse(error))?;
        }
        let timed = timed || options.is_some();
        if timed && host.has_no_time && options.is_none_or(|options| options.timeout.is_none()) {
            return Err(self.refuse(no_time(operation)));
        }
        let running = &self.guard.slot().running;
        let state = &mut *self.guard.state;
        let Some(instance) = &mut state.instance else {
            return Err(missing_instance());
        };
        if timed {
            running.store(true, Ordering::Relaxed);
            clock::wake().map_err(|error| {
                running.store(false, Ordering::Relaxed);
                Error::Engine {
                    operation: operation.to_owned(),
                    source: Box::new(EngineError::Other(error.into())),
                    spent: Spent::default(),
                }
            })?;
        }
        state.poisoned = true;
        Ok((&mut **instance, lengths))
    }

    /// Finishes a call: keeps or drops the instance, and returns the caller's
    /// result.
    #[inline]
    pub(crate) fn end(
        &mut self,
        operation: &str,
        end: Result<u64, Box<Failed>>,
    ) -> Result<(), Error> {
        match end {
            Ok(ticks) => {
                self.count(ticks);
                self.guard.state.poisoned = false;
                Ok(())
            }
            Err(failed) => self.fail(operation, *failed),
        }
    }

    #[inline]
    fn count(&mut self, ticks: u64) {
        let slot = self.guard.slot();
        slot.running.store(false, Ordering::Relaxed);
        bump(&slot.calls, 1);
        if ticks > 0 {
            bump(&slot.ticks, ticks);
        }
    }

    /// Finishes a call that has not returned with a response. `Ok` for a guest that has
    /// responded and then left.
    #[cold]
    fn fail(&mut self, operation: &str, failed: Failed) -> Result<(), Error> {
        let waited = self.waited();
        self.count(failed.ticks);
        let slot = self.guard.slot();
        let state = &mut *self.guard.state;
        let Some(instance) = &mut state.instance else {
            return Err(missing_instance());
        };
        let has_returned = failed.returned.is_ok();
        let failure = Failure::classify(operation, failed.returned, instance.state());
        if has_returned && matches!(failure, Some(Failure::Error(Error::Guest { .. }))) {
            state.poisoned = false;
        } else {
            drop(slot.take(state));
        }
        match failure {
            None => Ok(()),
            Some(Failure::Error(mut error)) => {
                if let Some(waited) = waited {
                    error.set_waited(waited);
                }
                Err(self.host.count_error(error))
            }
            Some(Failure::Panic(panic)) => resume_unwind(panic),
        }
    }

    /// Puts a new instance into the slot.
    #[cold]
    pub(crate) fn fill(
        &mut self,
        operation: &str,
        options: Option<&CallOptions>,
    ) -> Result<(), Error> {
        let code = self.code.as_ref();
        self.host.fill(&mut self.guard, code, operation, options)
    }

    /// Drops an instance whose call failed or was abandoned.
    #[inline]
    pub(super) fn discard_poisoned(&mut self) {
        if self.guard.state.poisoned {
            self.discard();
        }
    }

    fn discard(&mut self) {
        self.guard.slot().running.store(false, Ordering::Relaxed);
        drop(self.guard.slot().take(&mut self.guard.state));
    }
}

impl Drop for Lease<'_> {
    /// Drops the instance if it is poisoned or has had its number of calls.
    #[inline]
    fn drop(&mut self) {
        let state = &self.guard.state;
        let worn = match self.host.settings.reuse {
            Reuse::Keep => false,
            Reuse::Recycle(calls) => self.guard.slot().uses(state) >= calls.get(),
            Reuse::Fresh => self.guard.slot().uses(state) > 0,
        };
        match worn {
            true => self.discard(),
            false => self.discard_poisoned(),
        }
    }
}

impl fmt::Debug for Lease<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Lease")
            .field("host", &self.host)
            .finish_non_exhaustive()
    }
}

/// Adds to a counter. A load and a store suffice, since only the holder of the
/// slot writes it.
#[inline]
fn bump(counter: &AtomicU64, by: u64) {
    counter.store(
        counter.load(Ordering::Relaxed).wrapping_add(by),
        Ordering::Relaxed,
    );
}
