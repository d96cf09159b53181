//! The running call, as code sees it that cannot reach the instance's state.

use std::{
    future::{Future, poll_fn},
    panic::{AssertUnwindSafe, catch_unwind},
    pin::pin,
    sync::Arc,
    task::Poll,
    time::{Duration, Instant},
};

use parking_lot::Mutex;

use crate::{
    error::{ProtocolError, StopReason},
    protocol::budget::{Budget, Monitored},
    protocol::panic_slot::PanicSlot,
    protocol::pending::WaitLimits,
    protocol::reentrancy::ReentrancyGuard,
    stack::OnGuestStack,
    timer::Timer,
};

/// The running call of an instance, for work that an engine does on behalf of its
/// guest, such as a sleep:
/// [`ModuleState::monitor`](crate::ModuleState::monitor).
#[derive(Clone)]
pub struct CallMonitor {
    host_id: u64,
    monitored: Arc<Mutex<Monitored>>,
    panic: Arc<PanicSlot>,
}

impl CallMonitor {
    pub(super) fn new(host_id: u64, panic: Arc<PanicSlot>) -> Self {
        let monitored = Monitored {
            expires: u64::MAX,
            timeout: Duration::ZERO,
            cancel: None,
            may_await: false,
        };
        Self {
            host_id,
            monitored: Arc::new(Mutex::new(monitored)),
            panic,
        }
    }

    /// The part that the budget of the calls keeps up to date.
    pub(super) const fn monitored(&self) -> &Arc<Mutex<Monitored>> {
        &self.monitored
    }

    /// Checks whether the guest may go on, with the result of
    /// [`ModuleState::check`](crate::ModuleState::check).
    ///
    /// # Errors
    ///
    /// [`StopReason::TimedOut`], [`StopReason::Cancelled`].
    pub fn check(&self) -> Result<(), StopReason> {
        let monitored = self.monitored.lock();
        Budget::check_against(
            monitored.expires,
            || monitored.timeout,
            monitored.cancel.as_ref(),
        )
    }

    /// Returns `true` in an async call, whose guest can be suspended.
    #[must_use]
    pub fn may_await(&self) -> bool {
        self.monitored.lock().may_await
    }

    /// Runs a host function that may call code of the program's. `import` is its
    /// name.
    ///
    /// # Errors
    ///
    /// The same as of [`CallMonitor::check`], before it runs;
    /// [`ProtocolError::CallbackPanicked`] if it panics. The panic is resumed in
    /// the caller of the guest.
    pub fn run<T>(
        &self,
        import: &'static str,
        function: impl FnOnce() -> T,
    ) -> Result<T, StopReason> {
        self.check()?;
        self.catch(import, function)
    }

    /// Runs an async host function like [`CallMonitor::run`], until the call must
    /// end: its deadline has come, or it was cancelled.
    ///
    /// # Errors
    ///
    /// The same as of [`CallMonitor::run`].
    pub async fn run_async<T>(
        &self,
        import: &'static str,
        function: impl Future<Output = T>,
    ) -> Result<T, StopReason> {
        let mut limits = {
            let monitored = self.monitored.lock();
            WaitLimits::new(
                monitored.expires,
                monitored.timeout,
                monitored.cancel.clone(),
            )
        };
        let mut function = pin!(function);
        poll_fn(|context| {
            if let Err(stop) = limits.check() {
                return Poll::Ready(Err(stop));
            }
            match self.catch(import, || function.as_mut().poll(context)) {
                Ok(Poll::Ready(result)) => Poll::Ready(Ok(result)),
                Err(stop) => Poll::Ready(Err(stop)),
                Ok(Poll::Pending) => match limits.wake_at_end(context) {
                    Ok(()) => Poll::Pending,
                    Err(stop) => Poll::Ready(Err(stop)),
                },
            }
        })
        .await
    }

    fn catch<T>(
        &self,
        import: &'static str,
        function: impl FnOnce() -> T,
    ) -> Result<T, StopReason> {
        // Unwind safety: after a panic the instance is dropped.
        catch_unwind(AssertUnwindSafe(|| {
            let _guard = ReentrancyGuard::scoped(self.host_id);
            let _stack = OnGuestStack::enter(self.may_await());
            function()
        }))
        .map_err(|panic| {
            self.panic.put(panic);
            ProtocolError::CallbackPanicked { import }.into()
        })
    }
}

/// Sleeps until `time`, without holding a thread.
///
/// ```
/// use std::time::{Duration, Instant};
/// use wapc_host::engine::sleep_until;
///
/// let time = Instant::now() + Duration::from_millis(2);
/// pollster::block_on(sleep_until(time));
/// assert!(Instant::now() >= time);
/// ```
pub fn sleep_until(time: Instant) -> impl Future<Output = ()> + Send + Unpin {
    Timer::new(time)
}

impl std::fmt::Debug for CallMonitor {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("CallMonitor")
            .field("host_id", &self.host_id)
            .field("monitored", &*self.monitored.lock())
            .finish_non_exhaustive()
    }
}
