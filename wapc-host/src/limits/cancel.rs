//! Cancelling calls from any thread.

use std::{
    collections::BTreeMap,
    fmt, mem,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    task::Waker,
};

use parking_lot::Mutex;

/// Ends calls from any thread.
///
/// A call that has not begun is refused, a running one ends within a few
/// milliseconds, at once with [`Interruption::Kill`](crate::Interruption::Kill), and one that has ended is not affected. Both errors are
/// [`Error::Cancelled`](crate::Error::Cancelled).
///
/// Clones share one state. A handle stays cancelled for ever, so use a new one
/// for the next calls.
///
/// ```
/// use wapc_host::{CallOptions, CancelHandle, Error, WapcHost, engine::scripted::ScriptedProvider};
///
/// let cancel = CancelHandle::new();
/// let options = CallOptions::default().cancel(&cancel);
/// let guest = ScriptedProvider::new(|guest, _, _| {
///     _ = guest.ask(b"a host call")?;
///     guest.respond(b"not reached")
/// });
/// // Here the callback cancels; in a program it is any thread.
/// let host = WapcHost::new(Box::new(guest), move |_, _, _, _, _| {
///     cancel.cancel();
///     Ok(vec![])
/// })?;
///
/// let ended = host.with(&options).call("work", b"");
/// assert!(matches!(ended, Err(Error::Cancelled { .. })));
/// # Ok::<(), Error>(())
/// ```
#[derive(Clone, Default)]
pub struct CancelHandle {
    shared: Arc<Shared>,
}

#[derive(Default)]
struct Shared {
    cancelled: AtomicBool,
    /// The wakers of futures that this handle ends.
    wakers: Mutex<Wakers>,
}

#[derive(Default)]
struct Wakers {
    next: u64,
    wakers: BTreeMap<u64, Waker>,
}

impl CancelHandle {
    /// Creates a handle that is not cancelled.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Ends every call that has this handle or a clone of it.
    pub fn cancel(&self) {
        self.shared.cancelled.store(true, Ordering::SeqCst);
        let wakers = mem::take(&mut self.shared.wakers.lock().wakers);
        wakers.into_values().for_each(Waker::wake);
    }

    /// Returns `true` once [`CancelHandle::cancel`] was called.
    #[must_use]
    pub fn is_cancelled(&self) -> bool {
        self.shared.cancelled.load(Ordering::SeqCst)
    }

    /// Registers `waker` for [`CancelHandle::cancel`] until the returned value
    /// is dropped.
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

/// The registration of a waker with a handle.
pub(crate) struct CancelWaker {
    handle: CancelHandle,
    number: u64,
}

impl CancelWaker {
    /// Replaces the waker, unless the handle has been cancelled.
    pub(crate) fn set_waker(&self, waker: &Waker) {
        let mut wakers = self.handle.shared.wakers.lock();
        let replaced = match wakers.wakers.get_mut(&self.number) {
            Some(old) if !old.will_wake(waker) => Some(mem::replace(old, waker.clone())),
            _ => None,
        };
        // Dropped outside the lock: it may be the last reference to a task that
        // holds registrations with this handle.
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
