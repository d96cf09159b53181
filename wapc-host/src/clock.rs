//! A coarse clock for calls: one thread of the process counts ticks of 2 ms
//! while guests run, and a call reads the count.
//!
//! Reading the system's clock would take about half the time of a small call;
//! reading the count is one atomic load. Observers are called at each tick, for
//! engines that interrupt guests by epochs. The thread sleeps while no timed
//! call runs. The count does not advance then, so it is not a time of day.
//!
//! The clock's thread runs no foreign code but observers: wakers and the upkeep
//! of hosts are errands of other threads. After a `fork` the child has none of
//! these threads, notices it, and starts its own.

use std::{
    cell::Cell,
    collections::BTreeMap,
    io, mem,
    sync::{
        Arc, LazyLock, OnceLock, Weak,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    task::Waker,
    thread,
    time::{Duration, Instant},
};

use crate::{
    errands::{Errand, Errands, catching},
    fork_safe::{Condvar, Mutex},
};

/// The length of a tick.
pub const TICK: Duration = Duration::from_millis(2);

/// Calls `observer` at each tick from now on, on the clock's thread, until it
/// returns `false` or panics. It must return at once.
///
/// The clock ticks while any host of the process runs a timed call: one with a
/// timeout, a deadline or a cancel handle, or an async one.
pub fn observe(observer: impl Fn() -> bool + Send + Sync + 'static) {
    // A child that cannot have a clock runs no timed calls.
    if let Ok(clock) = Clock::of_process() {
        clock.registry.lock().observers.push(Arc::new(observer));
    }
}

/// Returns the number of ticks up to now.
#[inline]
pub(crate) fn now() -> u64 {
    TICKS.load(Ordering::Relaxed)
}

/// Converts a duration to ticks, rounded up.
pub(crate) fn ticks_in(duration: Duration) -> u64 {
    let ticks = duration.as_nanos().div_ceil(TICK.as_nanos());
    u64::try_from(ticks).unwrap_or(u64::MAX)
}

/// Converts a duration to ticks, rounded down.
pub(crate) fn whole_ticks_in(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos() / TICK.as_nanos()).unwrap_or(u64::MAX)
}

/// Converts ticks to a duration.
pub(crate) fn duration_of(ticks: u64) -> Duration {
    TICK.saturating_mul(u32::try_from(ticks).unwrap_or(u32::MAX))
}

/// Makes sure that the clock ticks. The caller must have marked its client as
/// running before.
///
/// # Errors
///
/// The operating system's error, if it cannot start the thread; or an error of
/// this process, if it was forked in the moment in which the clock could not be
/// taken along.
#[inline]
pub(crate) fn wake() -> io::Result<()> {
    match AWAKE.load(Ordering::SeqCst) {
        // In a model no time passes, and its threads are not those of the system.
        _ if cfg!(shuttle) => Ok(()),
        true if !FIRST.is_of_parent() => Ok(()),
        awake => Clock::of_process()?.start_unless(awake),
    }
}

/// A client of the clock: the clock ticks while a timed call of it runs, and
/// has its periodic maintenance done.
pub(crate) trait ClockClient: Send + Sync {
    /// Returns `true` while a timed call is running.
    fn running(&self) -> bool;

    /// Periodic maintenance, about every [`MAINTENANCE_INTERVAL`], as an errand.
    /// Returns `false` when there is none left to do, so that the clock may
    /// sleep.
    fn maintain(&self) -> bool;
}

/// Registers a client, for as long as its owner keeps the registration.
pub(crate) fn register(client: Weak<dyn ClockClient>) -> Registration {
    let client = Arc::new(Registered {
        client,
        ended: Mutex::default(),
    });
    // A child that cannot have a clock runs no timed calls.
    if let Ok(clock) = Clock::of_process() {
        let mut registry = clock.registry.lock();
        if registry.clients.len() >= registry.sweep_at {
            registry.clients.retain(|client| client.is_alive());
            registry.sweep_at = 2 * registry.clients.len().max(16);
        }
        registry.clients.push(Arc::clone(&client));
    }
    Registration(client)
}

/// A client in the clock's registry.
struct Registered {
    client: Weak<dyn ClockClient>,
    /// Its owner has said that it ends. Locked while the clock or an errand uses the client.
    ended: Mutex<bool>,
}

thread_local! {
    static MAINTAINS: Cell<bool> = const { Cell::new(false) };
}

impl Registered {
    fn is_alive(&self) -> bool {
        self.client.strong_count() > 0
    }

    /// Uses the client, which lives on meanwhile. Returns `busy` if somebody else uses it, and
    /// `None` if it has ended.
    fn with(&self, busy: bool, used: impl FnOnce(&dyn ClockClient) -> bool) -> Option<bool> {
        let Some(ended) = self.ended.try_lock() else {
            return Some(busy);
        };
        if *ended {
            return None;
        }
        let client = self.client.upgrade()?;
        // It is dropped before its owner may go on.
        catching(move || used(&*client))
    }
}

/// Keeps a client registered.
///
/// Once this is dropped, nobody but its owner holds the client: the owner drops it, and all that
/// is a user's in it, where and when it says.
pub(crate) struct Registration(Arc<Registered>);

impl Drop for Registration {
    fn drop(&mut self) {
        // Not in what may be this client's own maintenance, nor in a forked process, which has no
        // thread that ends it.
        let may_wait = !MAINTAINS.get() && !FIRST.is_of_parent();
        let ended = match may_wait {
            true => Some(self.0.ended.lock()),
            false => self.0.ended.try_lock(),
        };
        if let Some(mut ended) = ended {
            *ended = true;
        }
    }
}

/// Something that the clock looks at in each tick: a guest that runs.
pub(crate) trait Watched: Send + Sync {
    /// Returns `true` if [`Watched::act`] is to be called in the tick `now`.
    fn is_due(&self, now: u64) -> bool;

    /// Must return soon, and may not panic.
    fn act(&self, now: u64);
}

/// Has the clock look at `watched` until [`unwatch`] is called with the result.
/// `None` in a child that cannot have a clock, and runs no timed calls.
pub(crate) fn watch(watched: Arc<dyn Watched>) -> Option<WatchPlace> {
    let clock = Clock::of_process().ok()?;
    let registry = &mut *clock.registry.lock();
    let place = registry.unwatched.pop();
    let place = place.unwrap_or(registry.watched.len());
    match registry.watched.get_mut(place) {
        Some(free) => *free = Some(watched),
        None => registry.watched.push(Some(watched)),
    }
    Some(WatchPlace(place))
}

/// Ends what [`watch`] has begun. The clock may still be in [`Watched::act`].
pub(crate) fn unwatch(place: &WatchPlace) {
    let Ok(clock) = Clock::of_process() else {
        return;
    };
    let mut registry = clock.registry.lock();
    let watched = registry.watched.get_mut(place.0).and_then(Option::take);
    if watched.is_some() {
        registry.unwatched.push(place.0);
    }
    drop(registry);
    drop(watched);
}

/// A place in the list of what the clock looks at.
#[derive(Debug)]
pub(crate) struct WatchPlace(usize);

/// Returns this process's threads for work that may run foreign code.
///
/// # Errors
///
/// The same as of [`wake`] in a forked process.
pub(crate) fn errands() -> io::Result<&'static Errands> {
    Ok(&Clock::of_process()?.errands)
}

/// A registration of a waker for a tick, until it is dropped.
pub(crate) struct Alarm {
    at: (u64, u64),
}

impl Alarm {
    /// Registers `waker` for `tick`. The clock must be awake until then.
    pub(crate) fn set(tick: u64, waker: Waker) -> Self {
        let Ok(clock) = Clock::of_process() else {
            return Self { at: (tick, 0) };
        };
        let mut alarms = clock.alarms.lock();
        alarms.next += 1;
        let at = (tick, alarms.next);
        alarms.wakers.insert(at, waker);
        Self { at }
    }

    /// Replaces the waker, unless the tick has passed.
    pub(crate) fn set_waker(&self, waker: &Waker) {
        let Ok(clock) = Clock::of_process() else {
            return;
        };
        let mut alarms = clock.alarms.lock();
        let replaced = match alarms.wakers.get_mut(&self.at) {
            Some(old) if !old.will_wake(waker) => Some(mem::replace(old, waker.clone())),
            _ => None,
        };
        // Dropped outside the lock: it may be the last reference to a task that
        // holds alarms.
        drop(alarms);
        drop(replaced);
    }
}

impl Drop for Alarm {
    fn drop(&mut self) {
        if let Ok(clock) = Clock::of_process() {
            let waker = clock.alarms.lock().wakers.remove(&self.at);
            drop(waker);
        }
    }
}

/// Wakers by tick, and by number where ticks are the same.
#[derive(Default)]
struct Alarms {
    next: u64,
    wakers: BTreeMap<(u64, u64), Waker>,
}

/// The interval at which the clock has [`ClockClient::maintain`] called.
pub(crate) const MAINTENANCE_INTERVAL: Duration = Duration::from_millis(250);

/// The time without timed calls after which the clock stops.
const IDLE_GRACE: Duration = Duration::from_millis(100);

/// The count goes on in a forked process.
static TICKS: AtomicU64 = AtomicU64::new(0);

/// The clock of this process, or of the one that has forked it, is ticking.
static AWAKE: AtomicBool = AtomicBool::new(false);

/// The clock of the first process that has called a guest.
static FIRST: LazyLock<Clock> = LazyLock::new(|| Clock::new(Registry::default()));

/// The clock of one process.
struct Clock {
    fork_guard: Option<fork::Guard>,
    /// The clock of the process that was forked from this clock's.
    of_child: OnceLock<Option<Box<Self>>>,
    registry: Mutex<Registry>,
    /// The thread runs. Written under the lock of `registry`.
    started: AtomicBool,
    alarms: Mutex<Alarms>,
    called: Condvar,
    errands: Errands,
    /// The maintenance of the clients is under way or due.
    maintaining: AtomicBool,
    /// The last maintenance has left something to do.
    maintain_again: AtomicBool,
}

/// Tells whether this process was forked from the one in which a guard was made.
mod fork {
    #[cfg(not(any(miri, shuttle)))]
    pub(super) use forkguard::Guard;
    /// Miri and the model know no `fork`.
    #[cfg(any(miri, shuttle))]
    pub(super) use forkguard::noop::Guard;
}

#[derive(Default)]
struct Registry {
    observers: Vec<Arc<dyn Fn() -> bool + Send + Sync>>,
    clients: Vec<Arc<Registered>>,
    /// The length of `clients` at which dropped ones are removed.
    sweep_at: usize,
    watched: Vec<Option<Arc<dyn Watched>>>,
    /// The free places in `watched`.
    unwatched: Vec<usize>,
}

impl Clock {
    fn new(registry: Registry) -> Self {
        Self {
            fork_guard: fork::Guard::try_new().ok(),
            of_child: OnceLock::new(),
            registry: Mutex::new(registry),
            started: AtomicBool::new(false),
            alarms: Mutex::default(),
            called: Condvar::new(),
            errands: Errands::new(),
            maintaining: AtomicBool::new(false),
            maintain_again: AtomicBool::new(false),
        }
    }

    /// Returns the clock of this process.
    ///
    /// # Errors
    ///
    /// The process was forked in a moment in which a thread of its parent was
    /// changing the list of hosts, and cannot have it.
    fn of_process() -> io::Result<&'static Self> {
        let mut clock: &'static Self = &FIRST;
        while clock.is_of_parent() {
            let of_child = clock.of_child.get_or_init(|| clock.inherit().map(Box::new));
            clock = of_child.as_deref().ok_or_else(|| {
                io::Error::other(
                    "this process was forked in the middle of a change of its list of hosts: \
                     fork before the first host is made, or while no other thread makes one",
                )
            })?;
        }
        Ok(clock)
    }

    /// Returns `true` in a process that was forked from this clock's.
    #[inline]
    fn is_of_parent(&self) -> bool {
        let mut guard = self.fork_guard.clone();
        guard.as_mut().is_some_and(fork::Guard::detected_fork)
    }

    /// Returns a clock for a forked process, with the hosts and engines of its
    /// parent. `None` if a thread that the child does not have holds the lock.
    fn inherit(&self) -> Option<Self> {
        let registry = self.registry.try_lock()?;
        Some(Self::new(Registry {
            observers: registry.observers.clone(),
            clients: registry.clients.clone(),
            sweep_at: registry.sweep_at,
            watched: registry.watched.clone(),
            unwatched: registry.unwatched.clone(),
        }))
    }

    /// Starts the clock, unless it is `awake` in this process and not only in
    /// its parent.
    #[cold]
    fn start_unless(&'static self, awake: bool) -> io::Result<()> {
        if awake && self.started.load(Ordering::Acquire) {
            return Ok(());
        }
        let _registry = self.registry.lock();
        if !self.started.load(Ordering::Relaxed) {
            thread::Builder::new()
                .name("wapc-clock".to_owned())
                .spawn(|| self.run())?;
            self.started.store(true, Ordering::Release);
        }
        AWAKE.store(true, Ordering::SeqCst);
        self.called.notify_one();
        Ok(())
    }

    fn run(&'static self) {
        let mut maintained = Instant::now();
        loop {
            self.tick_while_anyone_runs(&mut maintained);
            let mut registry = self.registry.lock();
            while !AWAKE.load(Ordering::SeqCst) {
                drop(registry);
                let again = self.maintain(&mut maintained);
                registry = self.registry.lock();
                if AWAKE.load(Ordering::SeqCst) {
                    break;
                }
                if again {
                    registry = self.called.wait_for(registry, MAINTENANCE_INTERVAL).0;
                } else {
                    registry = self.called.wait(registry);
                }
            }
        }
    }

    fn tick_while_anyone_runs(&'static self, maintained: &mut Instant) {
        let mut last = Instant::now();
        let mut quiet = Duration::ZERO;
        loop {
            thread::sleep(TICK);
            let elapsed = last.elapsed();
            let ticks = elapsed.as_nanos() / TICK.as_nanos();
            let ticks = u32::try_from(ticks).unwrap_or(u32::MAX);
            last += TICK * ticks;
            TICKS.fetch_add(ticks.into(), Ordering::Relaxed);
            self.call_observers();
            self.act_on_watched();
            self.sound_alarms();
            self.errands.relieve();

            self.maintain(maintained);
            quiet += elapsed;
            if quiet >= IDLE_GRACE {
                quiet = Duration::ZERO;
                if self.anyone_running() {
                    continue;
                }
                // A call marks itself as running (store), and then checks that
                // the clock is awake (load). Its mark may still be in a store
                // buffer when we look for it, so look again after a pause that
                // is a thousand times longer than a store takes to become
                // visible.
                AWAKE.store(false, Ordering::SeqCst);
                thread::sleep(TICK);
                if !self.anyone_running() {
                    return;
                }
                AWAKE.store(true, Ordering::SeqCst);
                last = Instant::now();
            }
        }
    }

    /// Calls the observers, which stay in the registry meanwhile: a forked
    /// process finds them there.
    fn call_observers(&self) {
        let observers = self.registry.lock().observers.clone();
        for observer in observers {
            if !catching(|| observer()).unwrap_or(false) {
                let mut registry = self.registry.lock();
                registry
                    .observers
                    .retain(|other| !Arc::ptr_eq(other, &observer));
            }
        }
    }

    fn act_on_watched(&self) {
        let now = now();
        let due: Vec<_> = {
            let registry = self.registry.lock();
            let watched = registry.watched.iter().flatten();
            watched.filter(|it| it.is_due(now)).cloned().collect()
        };
        due.into_iter().for_each(|it| it.act(now));
    }

    fn sound_alarms(&'static self) {
        let due = {
            let mut alarms = self.alarms.lock();
            let later = alarms.wakers.split_off(&(now() + 1, 0));
            mem::replace(&mut alarms.wakers, later)
        };
        let now = Instant::now();
        for waker in due.into_values() {
            self.do_elsewhere(now, Errand::Wake(waker));
        }
    }

    /// Leaves an errand. Without a thread for it, it is run here.
    fn do_elsewhere(&'static self, time: Instant, errand: Errand) {
        if let Err((errand, _)) = self.errands.leave(time, errand) {
            errand.run();
        }
    }

    fn clients(&self) -> Vec<Arc<Registered>> {
        self.registry.lock().clients.clone()
    }

    fn anyone_running(&self) -> bool {
        self.clients()
            .iter()
            .any(|client| client.with(true, |client| client.running()) == Some(true))
    }

    /// Has `maintain` of all clients called once per [`MAINTENANCE_INTERVAL`],
    /// elsewhere. Returns `true` if any client needs more.
    fn maintain(&'static self, maintained: &mut Instant) -> bool {
        if maintained.elapsed() < MAINTENANCE_INTERVAL {
            return true;
        }
        // A client that is stuck does not pile up errands.
        if !self.maintaining.swap(true, Ordering::AcqRel) {
            *maintained = Instant::now();
            let work = || {
                MAINTAINS.set(true);
                let mut again = false;
                for client in self.clients() {
                    again |= client.with(true, |client| client.maintain()) == Some(true);
                }
                MAINTAINS.set(false);
                self.maintain_again.store(again, Ordering::Release);
                self.maintaining.store(false, Ordering::Release);
            };
            self.do_elsewhere(Instant::now(), Errand::Run(Box::new(work)));
        }
        self.maintaining.load(Ordering::Acquire) || self.maintain_again.load(Ordering::Acquire)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    struct Running(AtomicBool);

    /// Its maintenance takes as long as the test likes.
    struct Maintained(std::sync::Barrier);

    impl ClockClient for Maintained {
        fn running(&self) -> bool {
            false
        }

        fn maintain(&self) -> bool {
            self.0.wait();
            self.0.wait();
            false
        }
    }

    #[test]
    fn the_owner_of_a_client_is_the_last_to_hold_it() {
        let client = Arc::new(Maintained(std::sync::Barrier::new(2)));
        let clocked: Weak<Maintained> = Arc::downgrade(&client);
        let registration = register(clocked);
        let registered = Arc::clone(&registration.0);
        thread::scope(|scope| {
            scope.spawn(|| registered.with(true, |client| client.maintain()));
            client.0.wait();
            let ended = scope.spawn(|| drop(registration));
            for _ in 0..100 {
                thread::yield_now();
            }
            assert!(!ended.is_finished());
            client.0.wait();
            ended.join().unwrap();
            assert_eq!(Arc::strong_count(&client), 1);
        });
        assert_eq!(registered.with(true, |_| true), None, "it has ended");
    }

    impl ClockClient for Running {
        fn running(&self) -> bool {
            self.0.load(Ordering::SeqCst)
        }

        fn maintain(&self) -> bool {
            false
        }
    }

    #[test]
    #[cfg_attr(miri, ignore = "waits for real time")]
    fn it_ticks_for_whoever_runs_and_again_after_a_sleep() {
        for _ in 0..3 {
            let running = Arc::new(Running(AtomicBool::new(true)));
            let client: Arc<dyn ClockClient> = running.clone();
            let _registered = register(Arc::downgrade(&client));
            wake().unwrap();
            let start = now();
            while now() < start + 3 {
                thread::yield_now();
            }
            running.0.store(false, Ordering::SeqCst);
        }
    }

    #[test]
    fn durations_are_rounded_up_to_ticks() {
        assert_eq!(ticks_in(Duration::ZERO), 0);
        assert_eq!(ticks_in(Duration::from_nanos(1)), 1);
        assert_eq!(ticks_in(TICK), 1);
        assert_eq!(ticks_in(Duration::MAX), u64::MAX);
        assert_eq!(duration_of(u64::MAX), TICK * u32::MAX);
    }

    /// Says that it was woken, and then panics if it is to.
    struct Told {
        woken: AtomicBool,
        panics: bool,
    }

    impl std::task::Wake for Told {
        fn wake(self: Arc<Self>) {
            self.woken.store(true, Ordering::SeqCst);
            assert!(!self.panics, "on purpose");
        }
    }

    #[test]
    #[cfg_attr(miri, ignore = "waits for real time")]
    fn it_goes_on_ticking_when_what_it_calls_panics() {
        let running = Arc::new(Running(AtomicBool::new(true)));
        let client: Arc<dyn ClockClient> = running.clone();
        let _registered = register(Arc::downgrade(&client));
        let told = [true, false].map(|panics| {
            let woken = AtomicBool::new(false);
            Arc::new(Told { woken, panics })
        });
        let observed = Arc::new(AtomicU64::new(0));
        let count = Arc::clone(&observed);
        observe(|| panic!("on purpose"));
        observe(move || count.fetch_add(1, Ordering::SeqCst) < 3);
        let start = now();
        let _alarms = told
            .each_ref()
            .map(|told| Alarm::set(start + 1, Waker::from(Arc::clone(told))));
        wake().unwrap();
        let began = Instant::now();
        while now() < start + 10
            || observed.load(Ordering::SeqCst) < 4
            || !told.iter().all(|told| told.woken.load(Ordering::SeqCst))
        {
            assert!(began.elapsed() < Duration::from_secs(30), "it has stopped");
            thread::yield_now();
        }
        running.0.store(false, Ordering::SeqCst);
    }
}
