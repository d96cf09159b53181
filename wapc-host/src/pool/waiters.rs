//! The queue of waiters for a slot.

use std::{
    collections::VecDeque,
    sync::Arc,
    task::{Wake, Waker},
    time::{Duration, Instant},
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
///
/// A first waiter that does not come within [`GRACE`] after it was woken loses
/// its place: its future is not polled, or was forgotten, and the others do not
/// wait for it.
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
    /// The time of that wake-up.
    woken: Option<Instant>,
}

/// The time in which a waiter that was woken must come.
const GRACE: Duration = Duration::from_millis(10);

impl Entry {
    fn new(ticket: u64, waker: &Waker) -> Self {
        Self {
            ticket,
            waker: Some(waker.clone()),
            woken: None,
        }
    }

    /// Takes the waker to wake it now.
    fn wake(&mut self) -> Option<Waker> {
        let waker = self.waker.take();
        if waker.is_some() {
            self.woken = Some(Instant::now());
        }
        waker
    }

    /// Returns `true` if the waiter was woken and has not come. No time passes
    /// in a model, and too much under Miri.
    fn is_late(&self) -> bool {
        !cfg!(any(miri, shuttle))
            && self.waker.is_none()
            && self.woken.is_some_and(|woken| woken.elapsed() > GRACE)
    }
}

impl Entries {
    fn position(&self, ticket: u64) -> Option<usize> {
        self.queued
            .binary_search_by_key(&ticket, |entry| entry.ticket)
            .ok()
    }

    /// Adds a waiter at the end, and returns its ticket.
    fn push(&mut self, waker: &Waker) -> u64 {
        let ticket = self.next_ticket;
        self.next_ticket += 1;
        self.queued.push_back(Entry::new(ticket, waker));
        ticket
    }

    /// Removes the first waiters that are late. Returns their number, and the
    /// waker of the first one left if there were any.
    fn pass_over_late(&mut self) -> (usize, Option<Waker>) {
        let before = self.queued.len();
        while self.queued.front().is_some_and(Entry::is_late) {
            self.queued.pop_front();
        }
        let late = before - self.queued.len();
        let next = match late {
            0 => None,
            _ => self.queued.front_mut().and_then(Entry::wake),
        };
        (late, next)
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
        let mut entries = self.entries.lock();
        let ticket = entries.push(waker);
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
        let mut entries = self.entries.lock();
        let (late, next) = entries.pass_over_late();
        self.len.fetch_sub(late, Ordering::SeqCst);
        let first = next.or_else(|| entries.queued.front_mut().and_then(Entry::wake));
        drop(entries);
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
    /// Stores `waker` for the next wake-up, and returns the number of waiters
    /// before this one. A waiter that has lost its place joins again at the end.
    pub(super) fn register(&mut self, waker: &Waker) -> usize {
        let mut entries = self.queue.entries.lock();
        if entries.position(self.ticket).is_none() {
            self.ticket = entries.push(waker);
            self.queue.len.fetch_add(1, Ordering::SeqCst);
        } else if entries.position(self.ticket) != Some(0) {
            let (late, next) = entries.pass_over_late();
            self.queue.len.fetch_sub(late, Ordering::SeqCst);
            // This waiter is awake already.
            let other = next.filter(|next| !next.will_wake(waker));
            if let Some(other) = other {
                drop(entries);
                other.wake();
                entries = self.queue.entries.lock();
            }
        }
        let index = entries.position(self.ticket);
        let own = index.and_then(|index| entries.queued.get_mut(index));
        let replaced = own.and_then(|own| {
            own.woken = None;
            match &own.waker {
                Some(known) if known.will_wake(waker) => None,
                _ => own.waker.replace(waker.clone()),
            }
        });
        drop(entries);
        drop(replaced);
        // While the lock was free this waiter may have lost its place again, but
        // not to a waker of its own: it is found at its next try.
        index.unwrap_or(usize::MAX)
    }
}

impl Drop for Waiter<'_> {
    fn drop(&mut self) {
        let mut entries = self.queue.entries.lock();
        let index = entries.position(self.ticket);
        let left = index.and_then(|index| entries.queued.remove(index));
        if left.is_some() {
            self.queue.len.fetch_sub(1, Ordering::SeqCst);
        }
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
