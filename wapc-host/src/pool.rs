//! The pool of a host's instances: slots, and a fair wait queue.

use std::{
    cell::Cell,
    sync::{Arc, OnceLock},
    task::Waker,
    time::{Duration, Instant},
};

use self::waiters::{Unpark, WaitQueue};
pub(crate) use self::{
    slot::{NewInstance, Slot, SlotGuard},
    waiters::Waiter,
};
use crate::sync::{StaticUsize, atomic::Ordering, hint, thread};

mod slot;
mod waiters;

/// Slots up to a number, and the queue of their waiters.
///
/// A slot is taken by locking it and released by unlocking it. Threads that use
/// different slots write to no shared cache line. The first [`FIRST_SLOTS`] are made with
/// the pool, and more when all are taken, in segments each as large as all before.
pub(crate) struct Pool {
    first: Box<[Slot]>,
    more: [OnceLock<Box<[Slot]>>; SEGMENTS],
    max: usize,
    queue: Arc<WaitQueue>,
}

/// The slots that a pool begins with, if it may have as many.
const FIRST_SLOTS: usize = 64;

/// The greatest number of slots of a pool.
pub(crate) const MAX_SLOTS: usize = FIRST_SLOTS << SEGMENTS;

const SEGMENTS: usize = 18;

impl Pool {
    /// Creates a pool of up to `max` empty slots; 0 counts as 1.
    pub(crate) fn new(max: usize) -> Self {
        let max = max.clamp(1, MAX_SLOTS);
        let queue = Arc::<WaitQueue>::default();
        Self {
            first: make_slots(0, max.min(FIRST_SLOTS), &queue),
            more: [const { OnceLock::new() }; SEGMENTS],
            max,
            queue,
        }
    }

    /// The slots that have been made.
    pub(crate) fn slots(&self) -> impl Iterator<Item = &Slot> {
        let more = self.more.iter().map_while(OnceLock::get);
        self.first.iter().chain(more.flatten())
    }

    /// The greatest number of slots.
    pub(crate) const fn max(&self) -> usize {
        self.max
    }

    /// Makes the next segment of slots, unless there are all. Returns a slot of it.
    #[cold]
    fn grow(&self) -> Option<SlotGuard<'_>> {
        let mut made = self.first.len();
        for segment in &self.more {
            if made >= self.max {
                return None;
            }
            let number = made.min(self.max - made);
            let mut is_new = false;
            let slots = segment.get_or_init(|| {
                is_new = true;
                make_slots(made, number, &self.queue)
            });
            if is_new {
                return slots.iter().find_map(Slot::try_hold);
            }
            made += number;
        }
        None
    }

    /// The number of waiters.
    pub(crate) fn waiting(&self) -> usize {
        self.queue.len()
    }

    /// Takes a free slot, unless a waiter has the first claim to it.
    #[inline(always)]
    pub(crate) fn try_take(&self) -> Option<SlotGuard<'_>> {
        match self.queue.barging_allowed() {
            true => self.scan(),
            false => None,
        }
    }

    /// Blocks until a slot is free, in the order of arrival. Returns `None`
    /// after `limit`.
    ///
    /// # Errors
    ///
    /// Any error of `give_up`, which is called every few milliseconds.
    #[cold]
    pub(crate) fn take_queued<E>(
        &self,
        limit: Option<Duration>,
        give_up: impl Fn() -> Result<(), E>,
    ) -> Result<Option<SlotGuard<'_>>, E> {
        let began = Instant::now();
        let waker = Waker::from(Arc::new(Unpark(thread::current())));
        let mut waiter = self.join(&waker);
        loop {
            if let Ok(guard) = self.try_take_as(&mut waiter, &waker, SPINS) {
                return Ok(Some(guard));
            }
            give_up()?;
            let left = limit.map_or(RESCAN, |limit| limit.saturating_sub(began.elapsed()));
            if left.is_zero() {
                return Ok(None);
            }
            thread::park_timeout(left.min(RESCAN));
        }
    }

    /// Takes a slot if `waiter` is first in the queue and a scan of at most
    /// `tries` finds a free one.
    ///
    /// # Errors
    ///
    /// The number of waiters before this one. `waker` is woken when to try
    /// again.
    pub(crate) fn try_take_as(
        &self,
        waiter: &mut Waiter<'_>,
        waker: &Waker,
        tries: usize,
    ) -> Result<SlotGuard<'_>, usize> {
        let before = waiter.register(waker);
        if before > 0 {
            return Err(before);
        }
        // Spin first: most calls end before a thread could sleep and be woken.
        for _ in 0..tries {
            if let Some(guard) = self.scan() {
                self.queue.allow_barging();
                return Ok(guard);
            }
            self.queue.forbid_barging();
            hint::spin_loop();
        }
        Err(0)
    }

    /// Takes a free slot: first this thread's usual one, whose cache lines it is
    /// likely to have; then one with an instance; then an empty one.
    #[inline(always)]
    fn scan(&self) -> Option<SlotGuard<'_>> {
        let own = match self.first.len() {
            1 => 0,
            slots => thread_number() % slots,
        };
        let guard = self.first.get(own).and_then(Slot::try_hold);
        match guard {
            Some(guard) if guard.state.instance.is_some() || self.first.len() == 1 => Some(guard),
            guard if self.first.len() > 1 => self.scan_others(own, guard),
            _ => None,
        }
    }

    #[cold]
    fn scan_others<'p>(
        &'p self,
        own: usize,
        empty: Option<SlotGuard<'p>>,
    ) -> Option<SlotGuard<'p>> {
        let others = || {
            let (before, after) = self.first.split_at(own);
            let first = after.iter().skip(1).chain(before);
            first.chain(self.more.iter().map_while(OnceLock::get).flatten())
        };
        others()
            .filter(|slot| slot.live.load(Ordering::Relaxed))
            .find_map(Slot::try_hold)
            .or(empty)
            .or_else(|| others().find_map(Slot::try_hold))
            .or_else(|| self.grow())
    }

    /// Joins the queue. `waker` is woken when this waiter is first and a slot
    /// may be free.
    pub(crate) fn join(&self, waker: &Waker) -> Waiter<'_> {
        self.queue.join(waker)
    }

    /// Takes each slot that is free at the moment, and calls `visit` with it.
    pub(crate) fn for_each_free(&self, mut visit: impl FnMut(SlotGuard<'_>)) {
        for guard in self.slots().filter_map(Slot::try_hold) {
            visit(guard);
        }
    }
}

fn make_slots(from: usize, number: usize, queue: &Arc<WaitQueue>) -> Box<[Slot]> {
    let slot = |number| Slot::new(number, Arc::clone(queue));
    (from..from + number).map(slot).collect()
}

/// The interval at which waiting threads and the first waiters scan without being
/// woken. The release of a slot wakes the first waiter. The timed scan is for
/// cancellation, for processors that may reorder the release after the check for
/// waiters, and for waiters behind one that is not polled.
pub(crate) const RESCAN: Duration = Duration::from_millis(5);

/// The number of scans of the first waiter before it sleeps: some microseconds.
const SPINS: usize = if cfg!(shuttle) { 2 } else { 200 };

/// Returns a number of this thread, so that threads start their scans at
/// different slots.
fn thread_number() -> usize {
    static NEXT: StaticUsize = StaticUsize::new(0);
    thread_local! {
        static NUMBER: Cell<usize> = const { Cell::new(usize::MAX) };
    }
    match NUMBER.get() {
        usize::MAX => {
            let number = NEXT.fetch_add(1, Ordering::Relaxed);
            NUMBER.set(number);
            number
        }
        number => number,
    }
}

#[cfg(test)]
mod tests {
    use std::{sync::mpsc, task::Wake};

    use super::*;

    /// Uses the pool both when it is woken and when it is dropped: an executor
    /// may poll futures in `wake`, and dropping a waker may drop a task.
    struct Busy(Arc<Pool>);

    impl Busy {
        fn use_pool(&self) {
            drop(self.0.join(Waker::noop()));
        }
    }

    impl Wake for Busy {
        fn wake(self: Arc<Self>) {
            self.use_pool();
        }
    }

    impl Drop for Busy {
        fn drop(&mut self) {
            self.use_pool();
        }
    }

    #[test]
    fn wakers_may_use_the_pool() {
        let (tell, told) = mpsc::channel();
        thread::spawn(move || {
            let pool = Arc::new(Pool::new(1));
            let waker = || Waker::from(Arc::new(Busy(Arc::clone(&pool))));
            let guard = pool.try_take().unwrap();
            let mut waiter = pool.join(&waker());
            assert!(pool.try_take_as(&mut waiter, &waker(), 1).is_err());
            drop(guard);
            assert!(pool.try_take_as(&mut waiter, &waker(), 1).is_ok());
            drop(waiter);
            tell.send(()).unwrap();
        });
        told.recv_timeout(Duration::from_secs(30)).unwrap();
    }

    /// A waker that tells how often it was woken.
    #[derive(Default)]
    struct Counted(std::sync::atomic::AtomicUsize);

    impl Wake for Counted {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::SeqCst);
        }
    }

    #[test]
    #[cfg_attr(any(miri, shuttle), ignore = "waits for real time")]
    fn a_waiter_that_does_not_come_is_passed_over() {
        let pool = Pool::new(1);
        let guard = pool.try_take().unwrap();
        let forgotten = pool.join(Waker::noop());
        let also_forgotten = pool.join(Waker::noop());
        let counted = Arc::new(Counted::default());
        let waker = Waker::from(Arc::clone(&counted));
        let mut second = pool.join(&waker);
        #[expect(clippy::mem_forget, reason = "it is what the test is about")]
        std::mem::forget((forgotten, also_forgotten));

        // The release wakes the first one, who does not come.
        drop(guard);
        let taken = loop {
            match pool.try_take_as(&mut second, &waker, 1) {
                Ok(guard) => break guard,
                Err(before) => assert!(before <= 2),
            }
            thread::yield_now();
        };
        drop(second);
        assert_eq!(pool.waiting(), 0);
        drop(taken);
        assert!(pool.try_take().is_some());
    }

    #[test]
    #[cfg_attr(any(miri, shuttle), ignore = "waits for real time")]
    fn a_waiter_that_comes_late_joins_again() {
        let pool = Pool::new(1);
        let guard = pool.try_take().unwrap();
        let mut late = pool.join(Waker::noop());
        let mut punctual = pool.join(Waker::noop());
        drop(guard);
        let guard = loop {
            if let Ok(guard) = pool.try_take_as(&mut punctual, Waker::noop(), 1) {
                break guard;
            }
            thread::yield_now();
        };
        drop(punctual);
        assert_eq!(pool.waiting(), 0);
        assert!(pool.try_take_as(&mut late, Waker::noop(), 1).is_err());
        assert_eq!(pool.waiting(), 1);
        drop(guard);
        assert!(pool.try_take_as(&mut late, Waker::noop(), 1).is_ok());
    }

    #[test]
    #[cfg_attr(any(miri, shuttle), ignore = "it is about memory, not about threads")]
    fn slots_are_made_when_they_are_needed() {
        for max in [0, 1, 2, FIRST_SLOTS, FIRST_SLOTS + 1, 3 * FIRST_SLOTS, 1000] {
            let pool = Pool::new(max);
            assert!(pool.slots().count() <= FIRST_SLOTS);
            let mut guards = vec![];
            while let Some(guard) = pool.try_take() {
                guards.push(guard);
            }
            assert_eq!(guards.len(), max.max(1));
            assert_eq!(pool.slots().count(), max.max(1));
            let mut numbers: Vec<_> = guards.iter().map(|guard| guard.slot().number).collect();
            numbers.sort_unstable();
            assert!(numbers.into_iter().eq(0..max.max(1)));
        }
        assert_eq!(Pool::new(usize::MAX).max(), MAX_SLOTS);
    }
}
