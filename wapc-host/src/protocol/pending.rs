//! Host calls of async callbacks: the answer to a guest as a future.

use std::{
    any::Any,
    fmt,
    future::Future,
    panic::{AssertUnwindSafe, catch_unwind},
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};

use crate::{
    clock::Alarm,
    error::{BoxError, StopReason},
    limits::cancel::{CancelHandle, CancelWaker},
    protocol::budget::Budget,
    protocol::host_call::BoxFuture,
    protocol::reentrancy::ReentrancyGuard,
    stack::OnGuestStack,
};

/// The future of a host call. An engine suspends the guest, awaits this, and
/// hands the [`HostCallResult`] to
/// [`ModuleState::finish_host_call`](crate::ModuleState::finish_host_call).
///
/// It ends no later than the call's deadline, and when the call is cancelled.
#[must_use = "the guest waits for it"]
pub struct PendingHostCall {
    host_id: u64,
    future: BoxFuture<'static, Result<Vec<u8>, BoxError>>,
    limits: WaitLimits,
}

/// The result of a [`PendingHostCall`].
#[must_use = "the guest waits for it"]
pub struct HostCallResult(pub(crate) HostCallOutcome);

pub(crate) enum HostCallOutcome {
    Ended(Result<Vec<u8>, String>),
    Panicked(Box<dyn Any + Send>),
    Stopped(StopReason),
}

/// The start of a host call: [`ModuleState::start_host_call`](crate::ModuleState::start_host_call).
#[must_use = "the guest waits for it"]
#[derive(Debug)]
#[expect(
    clippy::exhaustive_enums,
    reason = "an engine must know what to do next"
)]
pub enum HostCallStart {
    /// The host call is over, and `__host_call` returns this number.
    Ready(i32),
    /// The host's callback is running.
    Pending(PendingHostCall),
}

impl PendingHostCall {
    pub(super) fn new(
        host_id: u64,
        future: BoxFuture<'static, Result<Vec<u8>, BoxError>>,
        limits: WaitLimits,
    ) -> Self {
        Self {
            host_id,
            future,
            limits,
        }
    }
}

impl Future for PendingHostCall {
    type Output = HostCallResult;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<HostCallResult> {
        let this = self.get_mut();
        if let Err(stop) = this.limits.check() {
            return Poll::Ready(HostCallResult(HostCallOutcome::Stopped(stop)));
        }
        // A future that has panicked is not polled again.
        let polled = catch_unwind(AssertUnwindSafe(|| {
            let _guard = ReentrancyGuard::scoped(this.host_id);
            let _stack = OnGuestStack::enter(true);
            let answer = this.future.as_mut().poll(context);
            answer.map_err(|error| error.to_string())
        }));
        match polled {
            Ok(Poll::Ready(answer)) => Poll::Ready(HostCallResult(HostCallOutcome::Ended(answer))),
            Err(panic) => Poll::Ready(HostCallResult(HostCallOutcome::Panicked(panic))),
            Ok(Poll::Pending) => match this.limits.wake_at_end(context) {
                Ok(()) => Poll::Pending,
                Err(stop) => Poll::Ready(HostCallResult(HostCallOutcome::Stopped(stop))),
            },
        }
    }
}

impl fmt::Debug for PendingHostCall {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PendingHostCall")
            .field("host_id", &self.host_id)
            .finish_non_exhaustive()
    }
}

impl fmt::Debug for HostCallResult {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.0 {
            HostCallOutcome::Ended(Ok(_)) => "HostCallResult(given)",
            HostCallOutcome::Ended(Err(_)) => "HostCallResult(failed)",
            HostCallOutcome::Panicked(_) => "HostCallResult(panicked)",
            HostCallOutcome::Stopped(_) => "HostCallResult(stopped)",
        })
    }
}

/// The deadline and the cancel handle of a waiting future, and the registrations
/// that wake it then.
#[derive(Default)]
pub(crate) struct WaitLimits {
    /// The tick of the deadline, or `u64::MAX` for none.
    pub(super) expires: u64,
    pub(super) timeout: Duration,
    pub(super) cancel: Option<CancelHandle>,
    alarm: Option<Alarm>,
    cancel_waker: Option<CancelWaker>,
}

impl WaitLimits {
    pub(crate) fn new(expires: u64, timeout: Duration, cancel: Option<CancelHandle>) -> Self {
        Self {
            expires,
            timeout,
            cancel,
            alarm: None,
            cancel_waker: None,
        }
    }

    pub(crate) fn check(&self) -> Result<(), StopReason> {
        Budget::check_against(self.expires, || self.timeout, self.cancel.as_ref())
    }

    /// Registers `context` to be woken when [`WaitLimits::check`] starts to
    /// fail.
    pub(crate) fn wake_at_end(&mut self, context: &Context<'_>) -> Result<(), StopReason> {
        let waker = context.waker();
        match &self.alarm {
            Some(alarm) => alarm.set_waker(waker),
            None if self.expires == u64::MAX => {}
            None => self.alarm = Some(Alarm::set(self.expires, waker.clone())),
        }
        match (&self.cancel_waker, &self.cancel) {
            (Some(cancel_waker), _) => cancel_waker.set_waker(waker),
            (None, Some(cancel)) => self.cancel_waker = Some(cancel.wake(waker.clone())),
            (None, None) => {}
        }
        // The end may have come before the registration.
        self.check()
    }
}
