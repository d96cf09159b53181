//! One call after the other on an instance that is held.

use std::{
    any::Any,
    fmt,
    panic::{AssertUnwindSafe, catch_unwind, resume_unwind},
    sync::Arc,
    time::{Duration, Instant},
};

use super::inner::{Generation, Inner};
use crate::{
    builder::Reuse,
    callback::Within,
    clock,
    error::{EngineError, Error, ProtocolError, Spent, Stop},
    lent::{Lengths, Loan, Request, Sink},
    limits::Limits,
    module_state::{ModuleState, PanicSlot},
    options::CallOptions,
    pool::{Held, Place},
    provider::{GuestInstance, Interruption},
    returned::Unanswered,
    sync::atomic::{AtomicU64, Ordering},
};

/// The exclusive use of an instance.
pub(crate) struct Turn<'h> {
    pub(crate) host: &'h Inner,
    pub(crate) held: Held<'h>,
    /// What a lost instance is replaced from, if not from the current code.
    pub(crate) code: Option<Arc<Generation>>,
    // Dropped after `held`: a swap that has found the place taken is not
    // missed.
    _leave: RetireOld<'h>,
}

/// Retires what a caller has left if a swap has made it old.
struct RetireOld<'h> {
    host: &'h Inner,
    place: &'h Place,
}

impl Drop for RetireOld<'_> {
    #[inline]
    fn drop(&mut self) {
        // On processors that we know, this load comes after the unlocking. For
        // others the clock looks again; a fence would cost every call.
        let current = self.host.generation.load(Ordering::SeqCst);
        if self.place.holds_before(current) {
            self.host.retire_before(current);
        }
    }
}

impl<'h> Turn<'h> {
    #[inline(always)]
    pub(crate) fn new(host: &'h Inner, held: Held<'h>) -> Self {
        Self {
            host,
            code: None,
            _leave: RetireOld {
                host,
                place: held.place(),
            },
            held,
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
        self.converse(Request::filling(operation, payload, response), options)
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
            // The guest has done nothing wrong: it finishes its call first.
            result = Some(catch_unwind(AssertUnwindSafe(|| {
                let _within = Within::enter(host_id);
                read(bytes)
            })));
        };
        let request = Request {
            operation,
            payload,
            sink: Sink::Read(&mut read),
        };
        let outcome = self.converse(request, options);
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

    /// One call: lends the caller's bytes, runs the guest, and looks at how it
    /// went.
    #[inline(always)]
    fn converse<'c>(
        &mut self,
        mut request: Request<'c>,
        options: Option<&'c CallOptions>,
    ) -> Result<(), Error> {
        let Request {
            operation, payload, ..
        } = request;
        if self.is_lost() {
            self.fill(operation, options)
                .map_err(|error| self.host.counted(error))?;
        }
        let (instance, lengths) = self.begin(operation, payload, options, self.host.timed)?;
        let conversed = Loan::new(instance, &mut request, lengths, options, None).converse();
        self.end(operation, conversed)
    }

    /// Whether the call before this one lost the instance.
    #[inline]
    pub(crate) fn is_lost(&self) -> bool {
        self.held.slot.instance.is_none() || self.held.slot.spoiled
    }

    /// What comes before the guest: its instance, the lengths, the options, the
    /// clock if the call is `timed`.
    #[inline(always)]
    pub(crate) fn begin(
        &mut self,
        operation: &str,
        payload: &[u8],
        options: Option<&CallOptions>,
        timed: bool,
    ) -> Result<(&mut dyn GuestInstance, Lengths), Error> {
        let Self { host, held, .. } = self;
        let running = &held.place().running;
        let slot = &mut *held.slot;
        let Some(instance) = &mut slot.instance else {
            return Err(no_instance());
        };
        let lengths = Lengths::of(operation, payload, host.max_request)
            .map_err(|error| host.counted(error))?;
        if let Some(options) = options {
            admit(slot.interruption, operation, options).map_err(|error| host.counted(error))?;
        }
        if timed || options.is_some() {
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
        slot.spoiled = true;
        Ok((&mut **instance, lengths))
    }

    /// What comes after the guest: whether its instance lives on, and what the
    /// caller hears.
    #[inline]
    pub(crate) fn end(
        &mut self,
        operation: &str,
        conversed: Result<u64, Box<Unanswered>>,
    ) -> Result<(), Error> {
        match conversed {
            Ok(ticks) => {
                self.count(ticks);
                self.held.slot.spoiled = false;
                Ok(())
            }
            Err(unanswered) => Err(self.failed(operation, *unanswered)),
        }
    }

    #[inline]
    fn count(&mut self, ticks: u64) {
        let place = self.held.place();
        place.running.store(false, Ordering::Relaxed);
        bump(&place.calls, 1);
        if ticks > 0 {
            bump(&place.ticks, ticks);
        }
    }

    #[cold]
    fn failed(&mut self, operation: &str, unanswered: Unanswered) -> Error {
        self.count(unanswered.ticks);
        let place = self.held.place();
        let slot = &mut *self.held.slot;
        let Some(instance) = &mut slot.instance else {
            return no_instance();
        };
        let failure = Failure::of(operation, unanswered.returned, instance.state());
        if matches!(failure, Failure::Error(Error::Guest { .. })) {
            slot.spoiled = false;
        } else {
            drop(place.vacate(slot));
        }
        match failure {
            Failure::Error(error) => self.host.counted(error),
            Failure::Panic(panic) => resume_unwind(panic),
        }
    }

    /// Puts a new instance into the place, for the next call.
    #[cold]
    pub(crate) fn fill(
        &mut self,
        operation: &str,
        options: Option<&CallOptions>,
    ) -> Result<(), Error> {
        let code = self.code.as_ref();
        self.host.fill(&mut self.held, code, operation, options)
    }

    /// Drops an instance whose call has not ended well.
    #[inline]
    pub(crate) fn discard_spoiled(&mut self) {
        if self.held.slot.spoiled {
            self.discard();
        }
    }

    fn discard(&mut self) {
        self.held.place().running.store(false, Ordering::Relaxed);
        drop(self.held.place().vacate(&mut self.held.slot));
    }
}

impl Drop for Turn<'_> {
    /// Drops an instance that must not be used again.
    #[inline]
    fn drop(&mut self) {
        let slot = &self.held.slot;
        let worn = match self.host.settings.reuse {
            Reuse::Keep => false,
            Reuse::Recycle(calls) => self.held.place().uses(slot) >= calls.get(),
            Reuse::Fresh => self.held.place().uses(slot) > 0,
        };
        match worn {
            true => self.discard(),
            false => self.discard_spoiled(),
        }
    }
}

impl fmt::Debug for Turn<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Turn")
            .field("host", &self.host)
            .finish_non_exhaustive()
    }
}

/// Adds to a counter that only the holder of its place writes.
#[inline]
fn bump(counter: &AtomicU64, by: u64) {
    counter.store(
        counter.load(Ordering::Relaxed).wrapping_add(by),
        Ordering::Relaxed,
    );
}

/// Refuses a call whose options its instance cannot keep, or that is over.
#[cold]
fn admit(interruption: Interruption, operation: &str, options: &CallOptions) -> Result<(), Error> {
    interruptible(
        interruption,
        options.timeout.is_some() || options.deadline.is_some() || options.cancel.is_some(),
        options.fuel.is_some(),
    )?;
    not_begun(operation, options)
}

/// Refuses limits or options that a provider cannot keep: a guest that was
/// thought to be stopped in time must be.
pub(super) fn interruptible(
    interruption: Interruption,
    time: bool,
    fuel: bool,
) -> Result<(), Error> {
    if time && !interruption.by_time() {
        return Err(Error::NotInterruptible { what: "time" });
    }
    if fuel && !interruption.by_fuel() {
        return Err(Error::NotInterruptible { what: "fuel" });
    }
    Ok(())
}

/// Refuses a call that is over before the guest is called.
pub(crate) fn not_begun(operation: &str, options: &CallOptions) -> Result<(), Error> {
    if options.is_cancelled() {
        return Err(Error::Cancelled {
            operation: operation.to_owned(),
            spent: Spent::default(),
        });
    }
    match options.deadline {
        Some(deadline) if deadline <= Instant::now() => Err(Error::TimedOut {
            operation: operation.to_owned(),
            timeout: Duration::ZERO,
            spent: Spent::default(),
        }),
        _ => Ok(()),
    }
}

/// What the caller hears of an instance that could not be made: its start
/// functions may have been stopped by what ends the call.
pub(crate) fn over_or(
    error: Error,
    operation: &str,
    options: Option<&CallOptions>,
    limits: &Limits,
) -> Error {
    let Error::Init(cause) = &error else {
        return error;
    };
    let cause = match cause {
        EngineError::Start { cause, .. } => cause,
        cause => cause,
    };
    let operation = operation.to_owned();
    let spent = Spent::default();
    match cause {
        EngineError::Stopped(Stop::Cancelled) => Error::Cancelled { operation, spent },
        EngineError::Stopped(Stop::TimedOut { timeout })
            if options.is_some_and(|options| options.deadline.is_some())
                && limits.start_timeout != Some(*timeout) =>
        {
            Error::TimedOut {
                operation,
                timeout: *timeout,
                spent,
            }
        }
        _ => error,
    }
}

impl Lengths {
    #[inline]
    fn of(operation: &str, payload: &[u8], limit: usize) -> Result<Self, Error> {
        // Neither is above `isize::MAX`.
        let bytes = operation.len() + payload.len();
        if bytes > limit {
            return Err(Error::TooLarge { bytes, limit });
        }
        Ok(Self {
            operation: as_travels(operation.len()),
            payload: as_travels(payload.len()),
        })
    }
}

/// A length of at most [`MAX_REQUEST_BYTES`].
#[expect(
    clippy::cast_possible_truncation,
    reason = "a request's limit is at most as large, and has been asked"
)]
const fn as_travels(length: usize) -> i32 {
    (length as u32).cast_signed()
}

/// What fits the address space of a guest.
pub(super) const MAX_REQUEST_BYTES: usize = u32::MAX as usize;

/// How a call went that has no response to show.
enum Failure {
    Error(Error),
    Panic(Box<dyn Any + Send>),
}

impl Failure {
    #[cold]
    fn of(operation: &str, returned: Result<i32, EngineError>, state: &mut ModuleState) -> Self {
        if let Some(panic) = state.panic_slot().take() {
            return Self::Panic(panic);
        }
        let operation = operation.to_owned();
        let spent = state.spent();
        let guest_error = state.take_guest_error();
        let protocol = |operation, source| Error::Protocol {
            operation,
            source,
            spent,
        };
        Self::Error(match (returned, guest_error) {
            (Ok(0 | 1), Some(message)) => Error::Guest { operation, message },
            (Ok(0), None) => protocol(operation, ProtocolError::NoError),
            (Ok(1), None) => protocol(operation, ProtocolError::NoResponse),
            (Ok(other), _) => protocol(operation, ProtocolError::Returned(other)),
            (Err(EngineError::Trap(trap)), guest_error) => Error::Trapped {
                operation,
                trap,
                guest_error,
                refused: state.refused().cloned().map(Box::new),
                spent,
            },
            (Err(EngineError::Exit(code)), _) => Error::Exited {
                operation,
                code,
                spent,
            },
            (Err(EngineError::Stopped(stop)), _) => match stop {
                Stop::Protocol(source) => protocol(operation, source),
                Stop::Limit(source) => Error::Limit {
                    operation,
                    source,
                    spent,
                },
                Stop::TimedOut { timeout } => Error::TimedOut {
                    operation,
                    timeout,
                    spent,
                },
                Stop::Cancelled => Error::Cancelled { operation, spent },
            },
            (Err(source), _) => Error::Engine {
                operation,
                source: Box::new(source),
                spent,
            },
        })
    }
}

/// Why an instance could not be made; or the panic of the callback that its
/// start functions called, which goes on.
pub(crate) fn not_made(error: EngineError, panic: &PanicSlot) -> Error {
    match panic.take() {
        Some(panic) => resume_unwind(panic),
        None => Error::Init(error),
    }
}

/// A place that was filled a moment ago is empty: never seen.
#[cold]
pub(crate) fn no_instance() -> Error {
    Error::Init(EngineError::Other("the instance is gone".into()))
}
