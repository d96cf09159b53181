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
