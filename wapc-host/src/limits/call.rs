//! What one call may have of its own.

use std::{
    any::Any,
    collections::BTreeMap,
    fmt, mem,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    task::Waker,
    time::{Duration, Instant},
};

use parking_lot::Mutex;

/// Settings of a single call, over those of its host.
///
/// ```
/// # use std::time::Duration;
/// use wapc_host::{CallOptions, CancelHandle};
///
/// let cancel = CancelHandle::new();
/// let options = CallOptions::default()
///     .timeout(Duration::from_millis(50))
///     .cancel(&cancel);
/// // host.with(&options).call("resize", &image)?
/// ```
///
/// By default a call has the timeout and fuel of the host's
/// [`Limits`](crate::Limits), and nothing else.
#[derive(Clone, Default)]
#[non_exhaustive]
pub struct CallOptions {
    /// How long the call may take in place of
    /// [`Limits::timeout`](crate::Limits::timeout).
    pub timeout: Option<Duration>,
    /// When the call must have ended, waiting for an instance and the start
    /// functions of a new one included; the earlier of both counts.
    pub deadline: Option<Instant>,
    /// Fuel in place of [`Limits::fuel`](crate::Limits::fuel).
    pub fuel: Option<u64>,
    /// Ends the call when it is cancelled.
    pub cancel: Option<CancelHandle>,
    /// What the host callback sees of this call; see
    /// [`HostCall::context`](crate::HostCall::context).
    pub context: Option<Arc<dyn Any + Send + Sync>>,
}

impl CallOptions {
    /// Sets [`timeout`](Self::timeout).
    #[must_use]
    pub const fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = Some(timeout);
        self
    }

    /// Sets [`deadline`](Self::deadline).
    #[must_use]
    pub const fn deadline(mut self, deadline: Instant) -> Self {
        self.deadline = Some(deadline);
        self
    }

    /// Sets [`fuel`](Self::fuel).
    #[must_use]
    pub const fn fuel(mut self, fuel: u64) -> Self {
        self.fuel = Some(fuel);
        self
    }

    /// Lets `handle` end the call.
    #[must_use]
    pub fn cancel(mut self, handle: &CancelHandle) -> Self {
        self.cancel = Some(handle.clone());
        self
    }

    /// Shows `context` to the host callback for the length of this call.
    #[must_use]
    pub fn context<T: Any + Send + Sync>(mut self, context: Arc<T>) -> Self {
        self.context = Some(context);
        self
    }

    /// The time that is left of [`deadline`](Self::deadline).
    pub(crate) fn until_deadline(&self) -> Option<Duration> {
        let deadline = self.deadline?;
        Some(deadline.saturating_duration_since(Instant::now()))
    }

    pub(crate) fn is_cancelled(&self) -> bool {
        self.cancel.as_ref().is_some_and(CancelHandle::is_cancelled)
    }
}

impl fmt::Debug for CallOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CallOptions")
            .field("timeout", &self.timeout)
            .field("deadline", &self.deadline)
            .field("fuel", &self.fuel)
            .field("cancel", &self.cancel)
            .finish_non_exhaustive()
    }
}

/// Ends calls from any thread: before they begin, while they run (within a few
/// milliseconds), and to no effect afterwards.
///
/// Clones are the same handle. Once cancelled it stays so: a call that is
/// given it later is refused with
/// [`Error::Cancelled`](crate::Error::Cancelled).
#[derive(Clone, Default)]
pub struct CancelHandle {
    shared: Arc<Shared>,
}

#[derive(Default)]
struct Shared {
    cancelled: AtomicBool,
    /// Futures that wait for something else meanwhile.
    wakers: Mutex<Wakers>,
}

#[derive(Default)]
struct Wakers {
    next: u64,
    wakers: BTreeMap<u64, Waker>,
}

impl CancelHandle {
    /// A handle that is not cancelled.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Ends every call that has this handle.
    pub fn cancel(&self) {
        self.shared.cancelled.store(true, Ordering::SeqCst);
        let wakers = mem::take(&mut self.shared.wakers.lock().wakers);
        wakers.into_values().for_each(Waker::wake);
    }

    /// Whether [`CancelHandle::cancel`] was called.
    #[must_use]
    pub fn is_cancelled(&self) -> bool {
        self.shared.cancelled.load(Ordering::SeqCst)
    }

    /// Wakes `waker` on [`CancelHandle::cancel`], until the returned value is
    /// dropped.
    pub(crate) fn wake(&self, waker: Waker) -> CancelWaker {
        let mut wakers = self.shared.wakers.lock();
        let number = wakers.next;
        wakers.next += 1;
        wakers.wakers.insert(number, waker);
        CancelWaker {
            handle: self.clone(),
            number,
        }
    }
}

impl fmt::Debug for CancelHandle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CancelHandle")
            .field("cancelled", &self.is_cancelled())
            .finish()
    }
}

/// A waker in a handle's list.
pub(crate) struct CancelWaker {
    handle: CancelHandle,
    number: u64,
}

impl CancelWaker {
    /// Wakes `waker` instead, unless the handle has been cancelled already.
    pub(crate) fn set_waker(&self, waker: &Waker) {
        let mut wakers = self.handle.shared.wakers.lock();
        let replaced = match wakers.wakers.get_mut(&self.number) {
            Some(old) if !old.will_wake(waker) => Some(mem::replace(old, waker.clone())),
            _ => None,
        };
        drop(wakers);
        drop(replaced);
    }
}

impl Drop for CancelWaker {
    fn drop(&mut self) {
        let waker = self.handle.shared.wakers.lock().wakers.remove(&self.number);
        drop(waker);
    }
}
