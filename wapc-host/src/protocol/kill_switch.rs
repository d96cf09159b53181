//! Ends a guest from another thread, when its time is over or its call is
//! cancelled.

use std::{
    fmt,
    mem::ManuallyDrop,
    process,
    sync::{
        Arc,
        atomic::{compiler_fence, fence},
    },
    task::{Wake, Waker},
};

use crate::{
    clock::{self, WatchPlace, Watched},
    limits::cancel::{CancelHandle, CancelWaker},
    protocol::state::ModuleState,
    sync::{
        atomic::{AtomicU32, AtomicU64, Ordering},
        hint, thread,
    },
};

/// A guest that another thread can make trap, for a [`KillSwitch`]. No method
/// may panic, and none is called once the switch was dropped.
pub trait Killable: Send + Sync {
    /// Makes the running guest trap soon, and every guest that runs before
    /// [`Killable::revive`]. Returns `false` if that has failed, to be asked again
    /// at the next tick.
    fn kill(&self) -> bool;

    /// Undoes [`Killable::kill`]. Called by the guest's own thread, after it.
    fn revive(&self);

    /// Returns a function that has each running thread of the process pass a memory
    /// barrier, as `membarrier` of Linux does, and returns `false` if it has failed.
    /// With it a function of the guest ends by a plain store, without it (the
    /// default) by a barrier of its own, which takes some nanoseconds. Asked once,
    /// when the switch is made.
    fn barrier(&self) -> Option<fn() -> bool> {
        None
    }
}

impl<K: Killable + ?Sized> Killable for Box<K> {
    fn kill(&self) -> bool {
        (**self).kill()
    }

    fn revive(&self) {
        (**self).revive();
    }

    fn barrier(&self) -> Option<fn() -> bool> {
        (**self).barrier()
    }
}

/// Ends the functions of one guest when their time is over or their call is
/// cancelled, for engines whose guests need not ask
/// [`ModuleState::check`](crate::ModuleState::check).
///
/// The engine arms it before each function of the guest, and disarms it after.
/// In between the process's clock looks at it in each tick of 2 ms, and a cancel
/// handle acts at once. A kill hits the function that it was meant for, or none.
///
/// ```
/// use std::sync::{Arc, atomic::{AtomicBool, Ordering}};
/// use wapc_host::{ModuleState, engine::{Killable, KillSwitch}};
///
/// struct Flag(AtomicBool);
///
/// impl Killable for Flag {
///     fn kill(&self) -> bool {
///         self.0.store(true, Ordering::Relaxed);
///         true
///     }
///     fn revive(&self) {
///         self.0.store(false, Ordering::Relaxed);
///     }
/// }
///
/// let callback = |_: u64, _: &str, _: &str, _: &str, _: &[u8]| Ok(vec![]);
/// let state = ModuleState::new(1, Arc::new(callback));
/// let mut switch = KillSwitch::new(Flag(AtomicBool::new(false)));
/// let armed = switch.arm(&state);
/// // The guest runs here. This one has neither deadline nor cancel handle.
/// assert!(!armed.disarm());
/// ```
pub struct KillSwitch {
    guest: Arc<AnySwitch>,
    /// The number of the function that was armed last.
    number: u64,
    place: Option<WatchPlace>,
}

impl KillSwitch {
    /// Creates a switch that is not armed. The clock looks at it until it is
    /// dropped.
    #[must_use]
    pub fn new(guest: impl Killable + 'static) -> Self {
        let guest: Arc<AnySwitch> = Arc::new(Switch::new(Box::new(guest)));
        Self {
            place: clock::watch(Arc::clone(&guest) as Arc<dyn Watched>),
            guest,
            number: 0,
        }
    }

    /// Arms the switch for a function of the guest, under the time limit and the
    /// cancel handle of the running call, or of the start functions.
    #[inline(always)]
    pub fn arm(&mut self, state: &ModuleState) -> ArmedSwitch<'_> {
        let (expires, cancel) = state.ends();
        self.guest.end_forgotten();
        let mut armed = ArmedSwitch {
            guest: &self.guest,
            number: IDLE,
            cancel: None,
        };
        if expires != u64::MAX || cancel.is_some() {
            // It would take centuries to overflow.
            self.number = self.number.wrapping_add(1);
            armed.number = self.number;
            self.guest.begin(self.number, expires);
            if let Some(cancel) = cancel {
                armed.end_on(cancel);
            }
        }
        armed
    }
}

impl Drop for KillSwitch {
    fn drop(&mut self) {
        if let Some(place) = &self.place {
            clock::unwatch(place);
        }
        self.guest.end_forgotten();
    }
}

impl fmt::Debug for KillSwitch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KillSwitch")
            .field("number", &self.number)
            .finish_non_exhaustive()
    }
}

/// An armed [`KillSwitch`]. Dropping it disarms it.
#[must_use = "the guest cannot be killed once this is dropped"]
pub struct ArmedSwitch<'s> {
    guest: &'s Arc<AnySwitch>,
    /// [`IDLE`] if the function has all the time.
    number: u64,
    cancel: Option<CancelWaker>,
}

impl ArmedSwitch<'_> {
    /// Disarms the switch. Returns `true` if the guest was killed, however it has
    /// ended: [`ModuleState::check`](crate::ModuleState::check) has the reason.
    #[inline(always)]
    pub fn disarm(self) -> bool {
        ManuallyDrop::new(self).end()
    }

    #[inline(always)]
    fn end(&mut self) -> bool {
        let is_killed = self.number != IDLE && self.guest.end(self.number);
        drop(self.cancel.take());
        is_killed
    }

    /// Has `cancel` kill the guest, at once if it was cancelled before.
    #[cold]
    fn end_on(&mut self, cancel: &CancelHandle) {
        let on_wake = KillOnWake {
            guest: Arc::clone(self.guest),
            number: self.number,
        };
        self.cancel = Some(cancel.wake(Waker::from(Arc::new(on_wake))));
        if cancel.is_cancelled() {
            self.guest.kill(self.number);
        }
    }
}

impl Drop for ArmedSwitch<'_> {
    #[inline]
    fn drop(&mut self) {
        self.end();
    }
}

impl fmt::Debug for ArmedSwitch<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ArmedSwitch")
            .field("number", &self.number)
            .finish_non_exhaustive()
    }
}

/// Kills the guest in one of its functions.
struct KillOnWake {
    guest: Arc<AnySwitch>,
    number: u64,
}

impl Wake for KillOnWake {
    fn wake(self: Arc<Self>) {
        self.guest.kill(self.number);
    }
}

/// The state that the guest's thread, the clock and cancel handles share.
///
/// The guest's thread writes `running`: `n` at the beginning of a function, `IDLE` at
/// its end, after which it looks at `kill`. A thread that kills writes `KILLING(n)`
/// there, then looks whether `n` is running, and writes `KILLED(n)` once the guest
/// will trap, or `ALIVE` again. One of the two sees what the other one has written,
/// since there is a barrier between each one's store and its look. So the guest's
/// thread waits in `KILLING` before it goes on, and it alone leaves `KILLED`: once a
/// function has ended nobody is about to kill, and the guest may be dropped.
///
/// The barrier of the guest's thread would be most of what a function costs. Where
/// [`Killable::barrier`] makes it pass one, it only has to keep the order of the code.
struct Switch<K> {
    /// The number of the running function, or [`IDLE`].
    running: AtomicU64,
    /// [`ALIVE`], or a number and a tag.
    kill: AtomicU64,
    /// The tick at which the running function must have ended.
    expires: AtomicU64,
    /// The number of a function whose kill has failed.
    failed: AtomicU64,
    /// The process of the thread that has begun a kill.
    killer: AtomicU32,
    barrier: Option<fn() -> bool>,
    guest: K,
}

/// The switch of any guest. Of one size, so that its state has one place.
type AnySwitch = Switch<Box<dyn Killable>>;

const IDLE: u64 = 0;
const ALIVE: u64 = 0;
const KILLING: u64 = 1;
const KILLED: u64 = 2;
const TAG_BITS: u32 = 2;
const TAG: u64 = (1 << TAG_BITS) - 1;

const fn with_tag(number: u64, tag: u64) -> u64 {
    number << TAG_BITS | tag
}

impl<K: Killable> Switch<K> {
    fn new(guest: K) -> Self {
        Self {
            running: AtomicU64::new(IDLE),
            kill: AtomicU64::new(ALIVE),
            expires: AtomicU64::new(u64::MAX),
            failed: AtomicU64::new(IDLE),
            killer: AtomicU32::new(0),
            barrier: guest.barrier(),
            guest,
        }
    }

    /// Begins the function `number`, on the guest's thread.
    #[inline(always)]
    fn begin(&self, number: u64, expires: u64) {
        self.expires.store(expires, Ordering::Release);
        // Release: who reads this number reads its `expires`, or a later one.
        self.running.store(number, Ordering::Release);
    }

    /// Ends the function `number`, on the guest's thread. Returns `true` if it was
    /// killed.
    #[inline(always)]
    fn end(&self, number: u64) -> bool {
        self.running.store(IDLE, Ordering::Release);
        match self.barrier {
            Some(_) => compiler_fence(Ordering::SeqCst),
            None => fence(Ordering::SeqCst),
        }
        match self.kill.load(Ordering::Acquire) {
            ALIVE => false,
            state => self.end_killed(number, state),
        }
    }

    /// Ends the running function, if its [`ArmedSwitch`] was forgotten.
    #[inline(always)]
    fn end_forgotten(&self) {
        let number = self.running.load(Ordering::Relaxed);
        if number != IDLE {
            self.end(number);
        }
    }

    #[cold]
    fn end_killed(&self, number: u64, mut state: u64) -> bool {
        let mut looks = 0_u32;
        while state & TAG == KILLING {
            looks = looks.saturating_add(1);
            match looks {
                0..SPINS => hint::spin_loop(),
                // A forked process does not have the thread that kills.
                _ if self.killer.load(Ordering::Relaxed) != process::id() => break,
                _ => thread::yield_now(),
            }
            state = self.kill.load(Ordering::Acquire);
        }
        if state == ALIVE {
            return false;
        }
        let is_killed = state >> TAG_BITS == number;
        if is_killed {
            self.guest.revive();
        }
        self.kill.store(ALIVE, Ordering::Release);
        is_killed
    }

    /// Returns the number of the running function if it must have ended by `now`.
    fn due(&self, now: u64) -> Option<u64> {
        let number = self.running.load(Ordering::Acquire);
        let is_due = self.expires.load(Ordering::Acquire) <= now
            || self.failed.load(Ordering::Acquire) == number;
        (number != IDLE && is_due).then_some(number)
    }

    /// Kills the guest if it is in the function `number`. Returns once it will trap
    /// or another thread has taken care of it, or leaves it to the clock's next tick.
    fn kill(&self, number: u64) {
        if !self.begin_kill(number) {
            return;
        }
        let has_barrier = match self.barrier {
            Some(barrier) => barrier(),
            None => {
                fence(Ordering::SeqCst);
                true
            }
        };
        let is_running = self.running.load(Ordering::Acquire) == number;
        let next = if has_barrier && is_running && self.guest.kill() {
            with_tag(number, KILLED)
        } else {
            self.leave_to_clock(number);
            ALIVE
        };
        self.kill.store(next, Ordering::Release);
    }

    /// Returns `true` if this thread is to kill the guest.
    fn begin_kill(&self, number: u64) -> bool {
        let killer = self.killer.swap(process::id(), Ordering::Relaxed);
        let mut looks = 0_u32;
        while self.running.load(Ordering::Acquire) == number {
            let begun = self.kill.compare_exchange(
                ALIVE,
                with_tag(number, KILLING),
                Ordering::AcqRel,
                Ordering::Acquire,
            );
            match begun {
                Ok(_) => return true,
                Err(state) if state >> TAG_BITS == number => return false,
                // A thread that comes too late for a function before is about to see so.
                Err(_) => looks = looks.saturating_add(1),
            }
            match looks {
                0..SPINS => hint::spin_loop(),
                // A forked process may not have that thread.
                _ if killer != process::id() => {
                    self.leave_to_clock(number);
                    return false;
                }
                _ => thread::yield_now(),
            }
        }
        false
    }

    /// Has the clock try to kill the function `number` in each tick.
    fn leave_to_clock(&self, number: u64) {
        self.failed.fetch_max(number, Ordering::AcqRel);
    }
}

/// A kill takes microseconds, unless its thread is not running.
const SPINS: u32 = 1_000;

impl<K: Killable> Watched for Switch<K> {
    fn is_due(&self, now: u64) -> bool {
        self.due(now).is_some()
    }

    fn act(&self, now: u64) {
        if let Some(number) = self.due(now) {
            self.kill(number);
        }
    }
}

#[cfg(all(test, not(shuttle)))]
mod tests {
    use std::{cell::Cell, mem, sync::atomic::AtomicBool, time::Duration};

    use super::*;
    use crate::CallOptions;

    #[derive(Clone, Default)]
    struct Page(Arc<AtomicBool>);

    impl Page {
        fn is_gone(&self) -> bool {
            self.0.load(Ordering::SeqCst)
        }
    }

    impl Killable for Page {
        fn kill(&self) -> bool {
            self.0.store(true, Ordering::SeqCst);
            true
        }

        fn revive(&self) {
            self.0.store(false, Ordering::SeqCst);
        }
    }

    fn state(options: &CallOptions) -> ModuleState {
        let callback = |_: u64, _: &str, _: &str, _: &str, _: &[u8]| Ok(vec![]);
        let mut state = ModuleState::new(1, Arc::new(callback));
        state.begin(Some(options), None);
        state
    }

    #[test]
    fn a_cancel_kills_at_once_and_only_the_function_that_runs() {
        let page = Page::default();
        let mut switch = KillSwitch::new(page.clone());
        let cancel = CancelHandle::new();
        let state = state(&CallOptions::default().cancel(&cancel));
        assert!(!switch.arm(&state).disarm());

        let armed = switch.arm(&state);
        cancel.cancel();
        assert!(page.is_gone());
        assert!(armed.disarm());
        assert!(!page.is_gone());

        // A function that begins afterwards is killed as it begins.
        let armed = switch.arm(&state);
        assert!(page.is_gone());
        drop(armed);
        assert!(!page.is_gone());
    }

    #[test]
    fn a_forgotten_armed_switch_is_disarmed_by_the_next_and_by_the_drop() {
        let page = Page::default();
        let mut switch = KillSwitch::new(page.clone());
        for _ in 0..2 {
            let cancel = CancelHandle::new();
            let options = CallOptions::default().cancel(&cancel);
            #[expect(clippy::mem_forget, reason = "its memory is small, in a test")]
            mem::forget(switch.arm(&state(&options)));
            cancel.cancel();
            assert!(page.is_gone());
        }
        assert!(!switch.arm(&state(&CallOptions::default())).disarm());
        assert!(!page.is_gone());

        let cancel = CancelHandle::new();
        let options = CallOptions::default().cancel(&cancel);
        #[expect(clippy::mem_forget, reason = "its memory is small, in a test")]
        mem::forget(switch.arm(&state(&options)));
        cancel.cancel();
        drop(switch);
        assert!(!page.is_gone());
    }

    thread_local! {
        static HAS_BARRIER: Cell<bool> = const { Cell::new(false) };
    }

    /// A guest with a barrier that fails at first.
    struct Fenced(Page);

    impl Killable for Fenced {
        fn kill(&self) -> bool {
            self.0.kill()
        }

        fn revive(&self) {
            self.0.revive();
        }

        fn barrier(&self) -> Option<fn() -> bool> {
            Some(|| HAS_BARRIER.replace(true))
        }
    }

    #[test]
    fn a_kill_without_its_barrier_is_left_to_the_clock() {
        let page = Page::default();
        let switch = Switch::new(Fenced(page.clone()));
        switch.begin(1, u64::MAX);
        switch.kill(1);
        assert!(!page.is_gone());
        assert!(switch.is_due(0));
        switch.act(0);
        assert!(page.is_gone());
        assert!(switch.end(1));
        switch.begin(2, u64::MAX);
        assert!(!switch.is_due(0), "it is another function");
        assert!(!switch.end(2));
    }

    #[test]
    fn a_tick_kills_what_is_due() {
        let switch = Switch::new(Page::default());
        let options = CallOptions::default().timeout(Duration::from_secs(1));
        let (expires, _) = state(&options).ends();
        switch.begin(1, expires);
        assert!(!switch.is_due(expires - 1));
        switch.act(expires - 1);
        assert!(!switch.guest.is_gone());
        assert!(switch.is_due(expires));
        switch.act(expires);
        assert!(switch.guest.is_gone());
        assert!(switch.end(1));
        assert!(!switch.is_due(expires));
    }
}

#[cfg(all(test, shuttle))]
mod model {
    //! Interleavings of a guest's thread, the clock and a cancel handle, for
    //! `crate::model`'s command.

    use std::sync::Arc;

    use shuttle::{
        sync::atomic::{AtomicBool, AtomicUsize, Ordering},
        thread,
    };

    use super::{Killable, Switch, Watched};

    /// A page that is there or not. The first kill may fail.
    #[derive(Default)]
    struct Page {
        gone: AtomicBool,
        fails: AtomicBool,
        kills: AtomicUsize,
    }

    impl Killable for Page {
        fn kill(&self) -> bool {
            if self.fails.swap(false, Ordering::SeqCst) {
                return false;
            }
            assert!(!self.gone.swap(true, Ordering::SeqCst), "killed twice");
            self.kills.fetch_add(1, Ordering::SeqCst);
            true
        }

        fn revive(&self) {
            self.gone.store(false, Ordering::SeqCst);
        }
    }

    /// Runs three functions, of which the second expires at tick 5, between a
    /// clock in ticks 4 to 6 and a handle that cancels the third.
    fn three_functions(kill_fails: bool) {
        let page = Page::default();
        page.fails.store(kill_fails, Ordering::SeqCst);
        let switch = Arc::new(Switch::new(page));
        let clock = Arc::clone(&switch);
        let clock = thread::spawn(move || {
            for now in 4..7 {
                if clock.is_due(now) {
                    clock.act(now);
                }
            }
        });
        let cancel = Arc::clone(&switch);
        let cancel = thread::spawn(move || cancel.kill(3));

        let mut killed = 0;
        for (number, expires) in [(1, u64::MAX), (2, 5), (3, u64::MAX)] {
            assert!(
                !switch.guest.gone.load(Ordering::SeqCst),
                "gone at the start"
            );
            switch.begin(number, expires);
            for _ in 0..2 {
                // The guest's own check.
                if switch.guest.gone.load(Ordering::SeqCst) {
                    assert_ne!(number, 1, "the kill of another function");
                    break;
                }
                thread::yield_now();
            }
            let was_killed = switch.end(number);
            assert!(!was_killed || number != 1, "nobody may kill the first");
            killed += usize::from(was_killed);
        }
        clock.join().expect("the clock ends");
        cancel.join().expect("the handle ends");
        assert!(!switch.guest.gone.load(Ordering::SeqCst), "left protected");
        assert_eq!(
            switch.guest.kills.load(Ordering::SeqCst),
            killed,
            "each kill is told of"
        );
    }

    #[test]
    fn a_kill_hits_its_function_or_none_and_nothing_is_left_killed() {
        crate::model::check(|| three_functions(false));
    }

    #[test]
    fn a_kill_that_fails_is_tried_again() {
        crate::model::check(|| three_functions(true));
    }

    /// A kill that comes too late for its function holds up no other one.
    #[test]
    fn a_late_kill_costs_no_other() {
        crate::model::check(|| {
            let switch = Arc::new(Switch::new(Page::default()));
            switch.begin(1, u64::MAX);
            let late = Arc::clone(&switch);
            let late = thread::spawn(move || late.kill(1));
            let is_killed = switch.end(1);
            assert!(!switch.guest.gone.load(Ordering::SeqCst), "gone at the end");

            switch.begin(2, u64::MAX);
            let cancel = Arc::clone(&switch);
            let cancel = thread::spawn(move || cancel.kill(2));
            while !switch.guest.gone.load(Ordering::SeqCst) {
                thread::yield_now();
            }
            assert!(switch.end(2));
            late.join().expect("the late thread ends");
            cancel.join().expect("the handle ends");
            assert!(!switch.guest.gone.load(Ordering::SeqCst), "left protected");
            let kills = switch.guest.kills.load(Ordering::SeqCst);
            assert_eq!(kills, 1 + usize::from(is_killed), "each kill is told of");
        });
    }

    /// The clock makes up for a cancel that has failed.
    #[test]
    fn a_cancel_that_fails_is_left_to_the_clock() {
        crate::model::check(|| {
            let page = Page::default();
            page.fails.store(true, Ordering::SeqCst);
            let switch = Arc::new(Switch::new(page));
            switch.begin(1, u64::MAX);
            let cancel = Arc::clone(&switch);
            let cancel = thread::spawn(move || cancel.kill(1));
            let clock = Arc::clone(&switch);
            let clock = thread::spawn(move || {
                while !clock.guest.gone.load(Ordering::SeqCst) {
                    clock.act(1);
                    thread::yield_now();
                }
            });
            cancel.join().expect("the handle ends");
            clock.join().expect("the clock ends");
            assert!(switch.end(1));
        });
    }

    /// A guest that never ends by itself is killed, by whoever comes first.
    #[test]
    fn no_kill_is_lost() {
        crate::model::check(|| {
            let switch = Arc::new(Switch::new(Page::default()));
            switch.begin(1, 5);
            let killers: Vec<_> = [true, false]
                .into_iter()
                .map(|by_clock| {
                    let switch = Arc::clone(&switch);
                    thread::spawn(move || match by_clock {
                        true => switch.act(5),
                        false => switch.kill(1),
                    })
                })
                .collect();
            while !switch.guest.gone.load(Ordering::SeqCst) {
                thread::yield_now();
            }
            assert!(switch.end(1));
            killers
                .into_iter()
                .for_each(|it| it.join().expect("it ends"));
            assert!(!switch.guest.gone.load(Ordering::SeqCst));
        });
    }
}
