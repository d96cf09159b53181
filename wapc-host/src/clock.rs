//! A coarse clock for calls: one thread of the process counts ticks of 2 ms
//! while guests run, and a call reads the count.
//!
//! Reading the system's clock would take about half the time of a small call;
//! reading the count is one atomic load. Observers are called at each tick, for
//! engines that interrupt guests by epochs. The thread sleeps while no timed
//! call runs. The count does not advance then, so it is not a time of day.

use std::{
    collections::BTreeMap,
    io, mem,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{
        Weak,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    task::Waker,
    thread,
    time::{Duration, Instant},
};

use parking_lot::{Condvar, Mutex};

/// The length of a tick.
pub const TICK: Duration = Duration::from_millis(2);

/// Calls `observer` at each tick from now on, on the clock's thread, until it
/// returns `false` or panics.
///
/// The clock ticks while any host of the process runs a timed call: one with a
/// timeout, a deadline or a cancel handle, or an async one.
pub fn observe(observer: impl FnMut() -> bool + Send + 'static) {
    CLOCK.registry.lock().observers.push(Box::new(observer));
}

/// Returns the number of ticks up to now.
#[inline]
pub(crate) fn now() -> u64 {
    CLOCK.ticks.load(Ordering::Relaxed)
}

/// Converts a duration to ticks, rounded up.
pub(crate) fn ticks_in(duration: Duration) -> u64 {
    let ticks = duration.as_nanos().div_ceil(TICK.as_nanos());
    u64::try_from(ticks).unwrap_or(u64::MAX)
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
/// The operating system's error, if it cannot start the thread.
#[inline]
pub(crate) fn wake() -> io::Result<()> {
    match CLOCK.awake.load(Ordering::SeqCst) {
        // In a model no time passes, and its threads are not those of the system.
        _ if cfg!(shuttle) => Ok(()),
        true => Ok(()),
        false => CLOCK.start(),
    }
}

/// A client of the clock: the clock ticks while a timed call of it runs, and
/// calls its periodic maintenance.
pub(crate) trait ClockClient: Send + Sync {
    /// Returns `true` while a timed call is running.
    fn running(&self) -> bool;

    /// Periodic maintenance, about every [`MAINTENANCE_INTERVAL`]. Returns
    /// `false` when there is none left to do, so that the clock may sleep.
    fn maintain(&self) -> bool;
}

/// Registers a client until its owner drops it.
pub(crate) fn register(client: Weak<dyn ClockClient>) {
    let mut registry = CLOCK.registry.lock();
    if registry.clients.len() >= registry.sweep_at {
        registry.clients.retain(|client| client.strong_count() > 0);
        registry.sweep_at = 2 * registry.clients.len().max(16);
    }
    registry.clients.push(client);
}

/// A registration of a waker for a tick, until it is dropped.
pub(crate) struct Alarm {
    at: (u64, u64),
}

impl Alarm {
    /// Registers `waker` for `tick`. The clock must be awake until then.
    pub(crate) fn set(tick: u64, waker: Waker) -> Self {
        let mut alarms = CLOCK.alarms.lock();
        let number = alarms.next;
        alarms.next += 1;
        alarms.wakers.insert((tick, number), waker);
        Self { at: (tick, number) }
    }

    /// Replaces the waker, unless the tick has passed.
    pub(crate) fn set_waker(&self, waker: &Waker) {
        let mut alarms = CLOCK.alarms.lock();
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
        let waker = CLOCK.alarms.lock().wakers.remove(&self.at);
        drop(waker);
    }
}

/// Wakers by tick, and by number where ticks are the same.
struct Alarms {
    next: u64,
    wakers: BTreeMap<(u64, u64), Waker>,
}

/// The interval at which the clock calls [`ClockClient::maintain`].
pub(crate) const MAINTENANCE_INTERVAL: Duration = Duration::from_millis(250);

/// The time without timed calls after which the clock stops.
const IDLE_GRACE: Duration = Duration::from_millis(100);

static CLOCK: Clock = Clock {
    ticks: AtomicU64::new(0),
    awake: AtomicBool::new(false),
    registry: Mutex::new(Registry {
        started: false,
        observers: Vec::new(),
        clients: Vec::new(),
        sweep_at: 16,
    }),
    alarms: Mutex::new(Alarms {
        next: 0,
        wakers: BTreeMap::new(),
    }),
    called: Condvar::new(),
};

struct Clock {
    ticks: AtomicU64,
    awake: AtomicBool,
    registry: Mutex<Registry>,
    alarms: Mutex<Alarms>,
    called: Condvar,
}

struct Registry {
    started: bool,
    observers: Vec<Box<dyn FnMut() -> bool + Send>>,
    clients: Vec<Weak<dyn ClockClient>>,
    /// The length of `clients` at which dropped ones are removed.
    sweep_at: usize,
}

impl Clock {
    #[cold]
    fn start(&'static self) -> io::Result<()> {
        let mut registry = self.registry.lock();
        if !registry.started {
            thread::Builder::new()
                .name("wapc-clock".to_owned())
                .spawn(|| self.run())?;
            registry.started = true;
        }
        self.awake.store(true, Ordering::SeqCst);
        self.called.notify_one();
        Ok(())
    }

    fn run(&self) {
        let mut maintained = Instant::now();
        loop {
            self.tick_while_anyone_runs(&mut maintained);
            let mut registry = self.registry.lock();
            while !self.awake.load(Ordering::SeqCst) {
                drop(registry);
                let again = self.maintain(&mut maintained);
                registry = self.registry.lock();
                if self.awake.load(Ordering::SeqCst) {
                    break;
                }
                if again {
                    self.called.wait_for(&mut registry, MAINTENANCE_INTERVAL);
                } else {
                    self.called.wait(&mut registry);
                }
            }
        }
    }

    fn tick_while_anyone_runs(&self, maintained: &mut Instant) {
        let mut last = Instant::now();
        let mut quiet = Duration::ZERO;
        loop {
            thread::sleep(TICK);
            let elapsed = last.elapsed();
            let ticks = elapsed.as_nanos() / TICK.as_nanos();
            let ticks = u32::try_from(ticks).unwrap_or(u32::MAX);
            last += TICK * ticks;
            self.ticks.fetch_add(ticks.into(), Ordering::Relaxed);
            let mut observers = mem::take(&mut self.registry.lock().observers);
            observers.retain_mut(|observer| catching(observer).unwrap_or(false));
            let mut registry = self.registry.lock();
            observers.append(&mut registry.observers);
            registry.observers = observers;
            drop(registry);
            self.sound_alarms();

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
                self.awake.store(false, Ordering::SeqCst);
                thread::sleep(TICK);
                if !self.anyone_running() {
                    return;
                }
                self.awake.store(true, Ordering::SeqCst);
                last = Instant::now();
            }
        }
    }

    fn sound_alarms(&self) {
        let due = {
            let mut alarms = self.alarms.lock();
            let later = alarms.wakers.split_off(&(now() + 1, 0));
            mem::replace(&mut alarms.wakers, later)
        };
        for waker in due.into_values() {
            catching(|| waker.wake());
        }
    }

    fn anyone_running(&self) -> bool {
        let clients = self.registry.lock().clients.clone();
        clients
            .iter()
            .any(|client| with_client(client, |client| client.running()))
    }

    /// Calls `maintain` of all clients once per [`MAINTENANCE_INTERVAL`].
    /// Returns `true` if any client needs more.
    fn maintain(&self, maintained: &mut Instant) -> bool {
        if maintained.elapsed() < MAINTENANCE_INTERVAL {
            return true;
        }
        *maintained = Instant::now();
        let clients = self.registry.lock().clients.clone();
        clients.iter().fold(false, |again, client| {
            with_client(client, |client| client.maintain()) | again
        })
    }
}

/// Calls `ask` with `client`, if it still exists. The client is dropped here if
/// its owner drops it during the call.
fn with_client(client: &Weak<dyn ClockClient>, ask: fn(&dyn ClockClient) -> bool) -> bool {
    catching(|| client.upgrade().is_some_and(|client| ask(&*client))).unwrap_or(false)
}

/// Runs code that may call user code, and catches its panic: without the
/// clock's thread, no deadline in the process would be enforced.
fn catching<T>(work: impl FnOnce() -> T) -> Option<T> {
    catch_unwind(AssertUnwindSafe(work)).ok()
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    struct Running(AtomicBool);

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
            register(Arc::downgrade(&client));
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
        register(Arc::downgrade(&client));
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
