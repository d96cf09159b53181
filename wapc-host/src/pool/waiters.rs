//! The queue of waiters for a slot.

use std::{
    collections::VecDeque,
    sync::Arc,
    task::{Wake, Waker},
};

use crate::sync::{
    Mutex, Thread,
    atomic::{AtomicBool, AtomicUsize, Ordering, fence},
};

/// A queue of waiters in the order of arrival, with barging.
///
/// Waking a thread takes tens of microseconds, in which a running thread makes a
/// hundred calls. So newcomers may take a free slot before the waiters
/// (barging), until the first waiter is awake and has found all slots taken.
/// From then on the queue is fair: the first waiter gets the next free slot.
#[derive(Default)]
pub(super) struct WaitQueue {
    len: AtomicUsize,
    fair: AtomicBool,
    entries: Mutex<Entries>,
}

#[derive(Default)]
struct Entries {
    next_ticket: u64,
    /// Sorted by ticket.
    queued: VecDeque<Entry>,
}

struct Entry {
    ticket: u64,
    /// `None` after a wake-up, until the waiter registers again.
    ///
    /// Wakers are woken and dropped outside the lock: `wake` may poll other
    /// futures that wait here, and dropping a waker may drop such a future.
    waker: Option<Waker>,
}

impl Entries {
    fn position(&self, ticket: u64) -> Option<usize> {
        self.queued
            .binary_search_by_key(&ticket, |entry| entry.ticket)
            .ok()
    }
}

impl WaitQueue {
    /// The number of waiters.
    pub(super) fn len(&self) -> usize {
        self.len.load(Ordering::Relaxed)
    }

    /// Returns `true` if a newcomer may take a free slot before the waiters.
    #[inline]
    pub(super) fn barging_allowed(&self) -> bool {
        // Sequentially consistent, like the increment in `join`: a holder that
        // releases its slot after a waiter joined sees the waiter (see
        // `RESCAN`).
        self.len.load(Ordering::SeqCst) == 0 || !self.fair.load(Ordering::Relaxed)
    }

    pub(super) fn allow_barging(&self) {
        self.fair.store(false, Ordering::Relaxed);
    }

    pub(super) fn forbid_barging(&self) {
        self.fair.store(true, Ordering::Relaxed);
    }

    pub(super) fn join(&self, waker: &Waker) -> Waiter<'_> {
        let waker = Some(waker.clone());
        let mut entries = self.entries.lock();
        let ticket = entries.next_ticket;
        entries.next_ticket += 1;
        entries.queued.push_back(Entry { ticket, waker });
        self.len.fetch_add(1, Ordering::SeqCst);
        drop(entries);
        // Pairs with the load in `wake_next`: a holder that we observe after
        // this fence observes our entry when it releases the slot.
        fence(Ordering::SeqCst);
        Waiter {
            queue: self,
            ticket,
        }
    }

    /// Wakes the first waiter, if there is one.
    #[inline]
    pub(super) fn wake_next(&self) {
        if self.len.load(Ordering::SeqCst) > 0 {
            self.wake_first();
        }
    }

    #[cold]
    fn wake_first(&self) {
        let first = self
            .entries
            .lock()
            .queued
            .front_mut()
            .and_then(|first| first.waker.take());
        if let Some(waker) = first {
            waker.wake();
        }
    }
}

/// A position in the queue. Dropping it leaves the queue and wakes the next
/// waiter.
pub(crate) struct Waiter<'q> {
    queue: &'q WaitQueue,
    ticket: u64,
}

impl Waiter<'_> {
    /// Stores `waker` for the next wake-up. Returns `true` if this waiter is the
    /// first one.
    pub(super) fn register(&self, waker: &Waker) -> bool {
        let mut entries = self.queue.entries.lock();
        let index = entries.position(self.ticket);
        let own = index.and_then(|index| entries.queued.get_mut(index));
        let replaced = match own.map(|own| &mut own.waker) {
            Some(Some(known)) if known.will_wake(waker) => None,
            Some(known) => known.replace(waker.clone()),
            None => None,
        };
        drop(entries);
        drop(replaced);
        index == Some(0)
    }

    pub(crate) fn is_first(&self) -> bool {
        self.queue.entries.lock().position(self.ticket) == Some(0)
    }
}

impl Drop for Waiter<'_> {
    fn drop(&mut self) {
        let mut entries = self.queue.entries.lock();
        let index = entries.position(self.ticket);
        let left = index.and_then(|index| entries.queued.remove(index));
        self.queue.len.fetch_sub(1, Ordering::SeqCst);
        if entries.queued.is_empty() {
            self.queue.allow_barging();
        }
        drop(entries);
        drop(left);
        // This waiter may have consumed a wake-up: pass it on.
        self.queue.wake_next();
    }
}

/// A waker that unparks a thread.
pub(super) struct Unpark(pub(super) Thread);

impl Wake for Unpark {
    fn wake(self: Arc<Self>) {
        self.0.unpark();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        self.0.unpark();
    }
}
