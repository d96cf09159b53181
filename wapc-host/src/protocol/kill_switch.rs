//! Ends a guest from another thread, when its time is over or its call is
//! cancelled.

use std::{
    fmt, process,
    sync::Arc,
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

/// A guest that another thread can make trap, for a [`KillSwitch`]. Neither method
/// may panic, and neither is called once the switch was dropped.
pub trait Killable: Send + Sync {
    /// Makes the running guest trap soon, and every guest that runs before
    /// [`Killable::revive`]. Returns `false` if that has failed, to be asked again
    /// at the next tick.
    fn kill(&self) -> bool;

    /// Undoes [`Killable::kill`]. Called by the guest's own thread, after it.
    fn revive(&self);
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
    guest: Arc<Switch<dyn Killable>>,
    /// The number of the function that was armed last.
    number: u64,
    place: Option<WatchPlace>,
}

impl KillSwitch {
    /// Creates a switch that is not armed. The clock looks at it until it is
    /// dropped.
    #[must_use]
    pub fn new(guest: impl Killable + 'static) -> Self {
        let guest = Arc::new(Switch::new(guest));
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
        self.guest.end_forgotten(self.number);
        let mut armed = ArmedSwitch {
            guest: &self.guest,
            number: None,
            cancel: None,
        };
        if expires != u64::MAX || cancel.is_some() {
            // It would take centuries to overflow.
            self.number = self.number.wrapping_add(1);
            armed.number = Some(self.number);
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
        self.guest.end_forgotten(self.number);
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
    guest: &'s Arc<Switch<dyn Killable>>,
    /// `None` if the function has all the time.
    number: Option<u64>,
    cancel: Option<CancelWaker>,
}

impl ArmedSwitch<'_> {
    /// Disarms the switch. Returns `true` if the guest was killed, however it has
    /// ended: [`ModuleState::check`](crate::ModuleState::check) has the reason.
    #[inline(always)]
    pub fn disarm(mut self) -> bool {
        self.end()
    }

    #[inline(always)]
    fn end(&mut self) -> bool {
        let Some(number) = self.number.take() else {
            return false;
        };
        self.guest.end(number)
    }

    /// Has `cancel` kill the guest, at once if it was cancelled before.
    #[cold]
    fn end_on(&mut self, cancel: &CancelHandle) {
        let Some(number) = self.number else {
            return;
        };
        let guest = Arc::clone(self.guest);
        let waker = Waker::from(Arc::new(KillOnWake { guest, number }));
        self.cancel = Some(cancel.wake(waker));
        if cancel.is_cancelled() {
            self.guest.kill(number);
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
    guest: Arc<Switch<dyn Killable>>,
    number: u64,
}

impl Wake for KillOnWake {
    fn wake(self: Arc<Self>) {
        self.guest.kill(self.number);
    }
}

/// The state that the guest's thread, the clock and cancel handles share.
///
/// `IDLE → RUNNING(n) → IDLE` is the guest's thread. Another thread may change
/// `RUNNING(n)` to `KILLING(n)`, and then to `KILLED(n)` once the guest will trap.
/// Only the guest's thread leaves `KILLED(n)`, and it waits in `KILLING(n)`: from
/// `IDLE` on nobody is about to kill, and the guest may be dropped.
struct Switch<K: ?Sized> {
    /// A number and a tag.
    state: AtomicU64,
    /// The tick at which the running function must have ended.
    expires: AtomicU64,
    /// The process of the thread that has begun a kill.
    killer: AtomicU32,
    guest: K,
}

const IDLE: u64 = 0;
const RUNNING: u64 = 1;
const KILLING: u64 = 2;
const KILLED: u64 = 3;
const TAG_BITS: u32 = 2;
const TAG: u64 = (1 << TAG_BITS) - 1;

const fn with_tag(number: u64, tag: u64) -> u64 {
    number << TAG_BITS | tag
}

impl<K> Switch<K> {
    fn new(guest: K) -> Self {
        Self {
            state: AtomicU64::new(IDLE),
            expires: AtomicU64::new(u64::MAX),
            killer: AtomicU32::new(0),
            guest,
        }
    }
}

impl<K: Killable + ?Sized> Switch<K> {
    /// Begins the function `number`, on the guest's thread.
    #[inline(always)]
    fn begin(&self, number: u64, expires: u64) {
        // Release: a thread that reads this and then finds the function before in
        // `state` must fail to change it.
        self.expires.store(expires, Ordering::Release);
        self.state
            .store(with_tag(number, RUNNING), Ordering::Release);
    }

    /// Ends the function `number`, on the guest's thread. Returns `true` if it was
    /// killed.
    #[inline(always)]
    fn end(&self, number: u64) -> bool {
        let running = with_tag(number, RUNNING);
        let ended = self
            .state
            .compare_exchange(running, IDLE, Ordering::AcqRel, Ordering::Acquire);
        match ended {
            Ok(_) => false,
            Err(state) => self.end_killed(state),
        }
    }

    /// Ends the function `number`, if its [`ArmedSwitch`] was forgotten.
    #[inline]
    fn end_forgotten(&self, number: u64) {
        if self.state.load(Ordering::Relaxed) != IDLE {
            self.end(number);
        }
    }

    #[cold]
    fn end_killed(&self, mut state: u64) -> bool {
        let mut looks = 0_u32;
        while state & TAG == KILLING {
            looks = looks.saturating_add(1);
            match looks {
                0..SPINS => hint::spin_loop(),
                // A forked process does not have the thread that kills.
                _ if self.killer.load(Ordering::Relaxed) != process::id() => break,
                _ => thread::yield_now(),
            }
            state = self.state.load(Ordering::Acquire);
        }
        match state & TAG {
            IDLE => return false,
            // The kill has failed meanwhile.
            RUNNING => return self.end_again(state >> TAG_BITS),
            _ => self.guest.revive(),
        }
        self.state.store(IDLE, Ordering::Release);
        true
    }

    /// Returns the number of the running function if it must have ended by `now`.
    fn due(&self, now: u64) -> Option<u64> {
        let state = self.state.load(Ordering::Acquire);
        let is_due = state & TAG == RUNNING && self.expires.load(Ordering::Acquire) <= now;
        is_due.then_some(state >> TAG_BITS)
    }

    #[cold]
    fn end_again(&self, number: u64) -> bool {
        self.end(number)
    }

    /// Kills the guest if it is in the function `number`. Returns once it will trap
    /// or another thread has taken care of it.
    fn kill(&self, number: u64) {
        let running = with_tag(number, RUNNING);
        let killing = with_tag(number, KILLING);
        self.killer.store(process::id(), Ordering::Relaxed);
        let begun =
            self.state
                .compare_exchange(running, killing, Ordering::AcqRel, Ordering::Relaxed);
        if begun.is_ok() {
            let next = match self.guest.kill() {
                true => KILLED,
                false => {
                    // Due at the next tick. No other function can begin before this one ends.
                    self.expires.store(0, Ordering::Release);
                    RUNNING
                }
            };
            self.state.store(with_tag(number, next), Ordering::Release);
        }
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
    use std::{mem, sync::atomic::AtomicBool, time::Duration};

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
