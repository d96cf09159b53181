//! The places for a host's instances: who may use which, and who is next.

use std::{
    cell::Cell,
    collections::VecDeque,
    fmt,
    sync::Arc,
    task::{Wake, Waker},
    time::{Duration, Instant},
};

use crate::{
    engine::provider::{GuestInstance, Interruption},
    error::Error,
    sync::{
        Mutex, MutexGuard, StaticUsize, Thread,
        atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering, fence},
        hint, thread,
    },
};

/// A fixed number of places, and the line of those who wait for one.
///
/// A place is taken by locking it and left by unlocking it, so that threads
/// that each have an instance of their own share nothing that they write to.
pub(crate) struct Pool {
    places: Box<[Place]>,
    line: Arc<Line>,
}

/// A place for one instance, on cache lines of its own.
#[repr(align(128))]
pub(crate) struct Place {
    /// Its number in the pool.
    pub(crate) number: usize,
    /// Those who wait for any of the pool's places.
    line: Arc<Line>,
    /// A timed call is running.
    pub(crate) running: AtomicBool,
    /// There is an instance. Written under the lock.
    pub(crate) live: AtomicBool,
    /// The number of its code, also while it is made. Written under the lock.
    generation: AtomicU64,
    /// How many calls have ended. Written under the lock.
    pub(crate) calls: AtomicU64,
    /// How many ticks of the clock they took. Written under the lock.
    pub(crate) ticks: AtomicU64,
    slot: Mutex<Slot>,
}

/// What a place holds.
#[derive(Default)]
pub(crate) struct Slot {
    /// The instance; none at first, after a failure and in a pool that is not
    /// full.
    pub(crate) instance: Option<Box<dyn GuestInstance>>,
    /// The number of its code.
    pub(crate) generation: u64,
    /// How it can be interrupted.
    pub(crate) interruption: Interruption,
    /// How many calls the place had seen when it came.
    calls_before: u64,
    /// A call has begun and not ended well: the instance must not be used
    /// again.
    pub(crate) spoiled: bool,
}

impl Place {
    fn new(number: usize, line: Arc<Line>) -> Self {
        Self {
            number,
            line,
            running: AtomicBool::default(),
            live: AtomicBool::default(),
            generation: AtomicU64::default(),
            calls: AtomicU64::default(),
            ticks: AtomicU64::default(),
            slot: Mutex::default(),
        }
    }

    /// The right to it, by `deadline`, past the line.
    pub(crate) fn wait(&self, deadline: Instant) -> Option<Held<'_>> {
        Some(Held {
            slot: self.slot.try_lock_until(deadline)?,
            leave: Leave(self),
        })
    }

    /// The right to it, if nobody has that.
    #[inline(always)]
    fn try_hold(&self) -> Option<Held<'_>> {
        Some(Held {
            slot: self.slot.try_lock()?,
            leave: Leave(self),
        })
    }

    pub(crate) fn is_taken(&self) -> bool {
        self.slot.is_locked()
    }

    /// Whether there is an instance of code before `generation`.
    pub(crate) fn holds_before(&self, generation: u64) -> bool {
        self.live.load(Ordering::Acquire) && self.generation.load(Ordering::Relaxed) < generation
    }

    /// Whether what it holds, or is about to hold, is code from `generation`
    /// on.
    pub(crate) fn has_reached(&self, generation: u64) -> bool {
        self.generation.load(Ordering::Acquire) >= generation
    }

    /// Whether there is an instance of code before `generation`, or may be soon.
    pub(crate) fn may_hold_before(&self, generation: u64) -> bool {
        self.holds_before(generation) || (self.is_taken() && !self.has_reached(generation))
    }

    /// Says what code an instance is about to be made of. Called under the lock.
    pub(crate) fn expect(&self, generation: u64) {
        self.generation.store(generation, Ordering::Release);
    }

    /// How many calls the instance has had.
    #[inline]
    pub(crate) fn uses(&self, slot: &Slot) -> u64 {
        self.calls.load(Ordering::Relaxed) - slot.calls_before
    }

    /// Takes the instance out, for the caller to drop when the lock is gone.
    pub(crate) fn vacate(&self, slot: &mut Slot) -> Option<Box<dyn GuestInstance>> {
        self.live.store(false, Ordering::Relaxed);
        slot.instance.take()
    }

    pub(crate) fn occupy(&self, slot: &mut Slot, tenant: Tenant) {
        self.generation.store(tenant.generation, Ordering::Relaxed);
        self.live.store(true, Ordering::Release);
        *slot = Slot {
            instance: Some(tenant.instance),
            generation: tenant.generation,
            interruption: tenant.interruption,
            calls_before: self.calls.load(Ordering::Relaxed),
            spoiled: false,
        };
    }
}

/// A new instance on its way into a place.
pub(crate) struct Tenant {
    pub(crate) instance: Box<dyn GuestInstance>,
    pub(crate) generation: u64,
    pub(crate) interruption: Interruption,
}

/// A place and the right to it. Whoever is next hears of it when it ends.
///
/// It is two pointers long, so that it is handed on in registers.
pub(crate) struct Held<'p> {
    // Dropped before `leave`: the place is free when the next one is called.
    pub(crate) slot: MutexGuard<'p, Slot>,
    leave: Leave<'p>,
}

impl<'p> Held<'p> {
    #[inline]
    pub(crate) const fn place(&self) -> &'p Place {
        self.leave.0
    }
}

struct Leave<'p>(&'p Place);

impl Drop for Leave<'_> {
    #[inline]
    fn drop(&mut self) {
        self.0.line.call_next();
    }
}

impl Pool {
    pub(crate) fn new(places: usize) -> Self {
        let line = Arc::<Line>::default();
        let place = |number| Place::new(number, Arc::clone(&line));
        Self {
            places: (0..places.max(1)).map(place).collect(),
            line,
        }
    }

    pub(crate) fn places(&self) -> &[Place] {
        &self.places
    }

    pub(crate) fn waiting(&self) -> usize {
        self.line.waiting.load(Ordering::Relaxed)
    }

    /// A free place, if there is one and nobody has waited for it too long.
    #[inline(always)]
    pub(crate) fn try_take(&self) -> Option<Held<'_>> {
        match self.line.is_strict() {
            false => self.scan(),
            true => None,
        }
    }

    /// Waits for a place: first come, first served.
    ///
    /// # Errors
    ///
    /// [`Error::Busy`] after `limit`; whatever `give_up` returns, which is
    /// asked every few milliseconds.
    #[cold]
    pub(crate) fn take_in_turn(
        &self,
        operation: &str,
        limit: Option<Duration>,
        give_up: impl Fn() -> Result<(), Error>,
    ) -> Result<Held<'_>, Error> {
        let began = Instant::now();
        let waker = Waker::from(Arc::new(Unpark(thread::current())));
        let ticket = self.join(&waker);
        loop {
            if let Some(held) = self.take_as(&ticket, &waker, SPINS) {
                return Ok(held);
            }
            give_up()?;
            let waited = began.elapsed();
            let left = limit.map_or(RESCAN, |limit| limit.saturating_sub(waited));
            if left.is_zero() {
                return Err(Error::Busy {
                    operation: operation.to_owned(),
                    waited,
                });
            }
            thread::park_timeout(left.min(RESCAN));
        }
    }

    /// A place for the holder of `ticket`, if it is their turn and one is free
    /// or about to be. If not, `waker` is woken when it may be.
    pub(crate) fn take_as(
        &self,
        ticket: &Ticket<'_>,
        waker: &Waker,
        tries: usize,
    ) -> Option<Held<'_>> {
        if !ticket.look(waker) {
            return None;
        }
        // Calls are short: a place may well be free sooner than a thread
        // falls asleep and is woken.
        for _ in 0..tries {
            if let Some(held) = self.scan() {
                self.line.strict.store(false, Ordering::Relaxed);
                return Some(held);
            }
            self.line.strict.store(true, Ordering::Relaxed);
            hint::spin_loop();
        }
        None
    }

    /// A free place: with an instance if possible, and the one that this
    /// thread had last if possible.
    #[inline(always)]
    fn scan(&self) -> Option<Held<'_>> {
        let own = match self.places.len() {
            1 => 0,
            places => thread_number() % places,
        };
        let held = self.try_place(own);
        match held {
            Some(held) if held.slot.instance.is_some() || self.places.len() == 1 => Some(held),
            held if self.places.len() > 1 => self.scan_further(own, held),
            _ => None,
        }
    }

    #[cold]
    fn scan_further<'p>(&'p self, own: usize, empty: Option<Held<'p>>) -> Option<Held<'p>> {
        let others = || (own + 1..self.places.len()).chain(0..own);
        others()
            .filter(|number| {
                let place = self.places.get(*number);
                place.is_some_and(|place| place.live.load(Ordering::Relaxed))
            })
            .find_map(|number| self.try_place(number))
            .or(empty)
            .or_else(|| others().find_map(|number| self.try_place(number)))
    }

    #[inline(always)]
    fn try_place(&self, number: usize) -> Option<Held<'_>> {
        self.places.get(number)?.try_hold()
    }

    /// Joins the line; `waker` is woken when it may be this one's turn.
    pub(crate) fn join(&self, waker: &Waker) -> Ticket<'_> {
        self.line.join(waker)
    }

    /// Calls `visit` with each place that is free at the moment.
    pub(crate) fn for_each_free(&self, mut visit: impl FnMut(Held<'_>)) {
        for held in self.places.iter().filter_map(Place::try_hold) {
            visit(held);
        }
    }
}

/// How often a waiting thread, and the next in line in any case, looks by
/// itself. It is called when a place is left; this is for what it is not called
/// for: cancelling, and memory orders weaker than those of the processors that
/// we know.
pub(crate) const RESCAN: Duration = Duration::from_millis(5);

/// How often the next in line tries before it sleeps again: some microseconds.
const SPINS: usize = if cfg!(shuttle) { 2 } else { 200 };

/// Those who wait, in the order in which they came.
///
/// Waking a thread takes tens of microseconds, in which a thread that is awake
/// does a hundred calls. So those may overtake, until the next in line is
/// awake and has found all places taken: from then on the line is strict.
#[derive(Default)]
struct Line {
    waiting: AtomicUsize,
    strict: AtomicBool,
    queue: Mutex<Queue>,
}

#[derive(Default)]
struct Queue {
    next_ticket: u64,
    waiting: VecDeque<Waiting>,
}

struct Waiting {
    ticket: u64,
    /// None when it was called and has not looked yet.
    ///
    /// Wakers are woken and dropped without the lock: an executor may poll in
    /// the one, and drop a task in the other, whose futures wait here too.
    waker: Option<Waker>,
}

impl Queue {
    /// Tickets are in order.
    fn position(&self, ticket: u64) -> Option<usize> {
        self.waiting
            .binary_search_by_key(&ticket, |waiting| waiting.ticket)
            .ok()
    }
}

impl Line {
    fn is_strict(&self) -> bool {
        // Sequentially consistent, like the store in `join`: whoever leaves a
        // place after a ticket was drawn sees it (see `RESCAN`).
        self.waiting.load(Ordering::SeqCst) > 0 && self.strict.load(Ordering::Relaxed)
    }

    fn join(&self, waker: &Waker) -> Ticket<'_> {
        let waker = Some(waker.clone());
        let mut queue = self.queue.lock();
        let ticket = queue.next_ticket;
        queue.next_ticket += 1;
        queue.waiting.push_back(Waiting { ticket, waker });
        self.waiting.fetch_add(1, Ordering::SeqCst);
        drop(queue);
        // Whoever holds a place that is seen taken from here on sees the
        // ticket when they leave it.
        fence(Ordering::SeqCst);
        Ticket { line: self, ticket }
    }

    #[inline]
    fn call_next(&self) {
        if self.waiting.load(Ordering::SeqCst) > 0 {
            self.call_next_of_queue();
        }
    }

    #[cold]
    fn call_next_of_queue(&self) {
        let next = self
            .queue
            .lock()
            .waiting
            .front_mut()
            .and_then(|next| next.waker.take());
        if let Some(waker) = next {
            waker.wake();
        }
    }
}

/// A place in the line, left when it is dropped.
pub(crate) struct Ticket<'l> {
    line: &'l Line,
    ticket: u64,
}

impl Ticket<'_> {
    /// Whether it is this one's turn. A call from now on is a new one, and
    /// wakes `waker`.
    fn look(&self, waker: &Waker) -> bool {
        let mut queue = self.line.queue.lock();
        let index = queue.position(self.ticket);
        let own = index.and_then(|index| queue.waiting.get_mut(index));
        let replaced = match own.map(|own| &mut own.waker) {
            Some(Some(known)) if known.will_wake(waker) => None,
            Some(known) => known.replace(waker.clone()),
            None => None,
        };
        drop(queue);
        drop(replaced);
        index == Some(0)
    }

    pub(crate) fn is_next(&self) -> bool {
        self.line.queue.lock().position(self.ticket) == Some(0)
    }
}

impl Drop for Ticket<'_> {
    fn drop(&mut self) {
        let mut queue = self.line.queue.lock();
        let index = queue.position(self.ticket);
        let left = index.and_then(|index| queue.waiting.remove(index));
        self.line.waiting.fetch_sub(1, Ordering::SeqCst);
        if queue.waiting.is_empty() {
            self.line.strict.store(false, Ordering::Relaxed);
        }
        drop(queue);
        drop(left);
        // There may be another free place.
        self.line.call_next();
    }
}

/// Unparks a thread.
struct Unpark(Thread);

impl Wake for Unpark {
    fn wake(self: Arc<Self>) {
        self.0.unpark();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        self.0.unpark();
    }
}

/// A number for each thread, so that each begins its search at another place.
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

impl fmt::Debug for Held<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Held")
            .field("number", &self.place().number)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use super::*;

    /// A waker that uses the pool, when it is woken and when it is dropped: an
    /// executor may poll in the one, and drop a task in the other.
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
            let held = pool.try_take().unwrap();
            let ticket = pool.join(&waker());
            assert!(pool.take_as(&ticket, &waker(), 1).is_none());
            drop(held);
            assert!(pool.take_as(&ticket, &waker(), 1).is_some());
            drop(ticket);
            tell.send(()).unwrap();
        });
        told.recv_timeout(Duration::from_secs(30)).unwrap();
    }
}
