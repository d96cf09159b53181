//! Futures that end at a time, woken by a thread of [`errands`](crate::errands).

use std::{
    cell::Cell,
    fmt,
    future::Future,
    pin::Pin,
    task::{Context, Poll},
    thread::{self, ThreadId},
    time::{Duration, Instant},
};

use crate::{
    clock::{TICK, errands},
    errands::{Errand, Key},
};

/// Ends at its time.
pub(crate) struct Timer {
    time: Instant,
    errand: Option<Key>,
}

impl Timer {
    pub(crate) const fn new(time: Instant) -> Self {
        Self { time, errand: None }
    }
}

impl Future for Timer {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        if Instant::now() >= self.time {
            return Poll::Ready(());
        }
        let waker = context.waker();
        let left = errands().and_then(|errands| match self.errand {
            Some(key) => {
                errands.set_waker(key, waker);
                Ok(key)
            }
            None => errands
                .leave(self.time, Errand::Wake(waker.clone()))
                .map_err(|(_, error)| error),
        });
        match left {
            Ok(key) => self.errand = Some(key),
            // No thread is to be had. The executor asks again and again instead.
            Err(_) => waker.wake_by_ref(),
        }
        Poll::Pending
    }
}

impl Drop for Timer {
    fn drop(&mut self) {
        if let (Some(key), Ok(errands)) = (self.errand, errands()) {
            errands.take_back(key);
        }
    }
}

/// A pause of a guest that computes, or of a host function that works for long, in
/// an async call: [`ModuleState::pause`](crate::ModuleState::pause).
///
/// It is pending for about 0.1 ms, and is woken by another thread. An executor
/// looks at its timers and sockets when it has nothing to run, and a task that
/// wakes itself keeps it from that. Guests that pause on the same thread go on
/// one at a time, with such a gap between them.
///
/// ```
/// use wapc_host::engine::Pause;
///
/// pollster::block_on(Pause::new());
/// ```
#[must_use = "it pauses when it is awaited"]
pub struct Pause {
    timer: Timer,
}

/// The time in which an executor looks at its timers and sockets.
const GAP: Duration = Duration::from_micros(100);

/// The turn of a guest that has paused before.
#[derive(Clone, Copy)]
pub(crate) struct Turn {
    /// The time at which it was to begin.
    begin: Instant,
    /// The length of the pause before it.
    pause: Duration,
    /// The thread on which it was reserved, and its number there.
    thread: ThreadId,
    number: u32,
}

impl Pause {
    /// Begins a pause on this thread.
    pub fn new() -> Self {
        Self::after(None).0
    }

    /// Begins a pause on this thread after `turn`. Returns the next turn too.
    pub(crate) fn after(turn: Option<Turn>) -> (Self, Turn) {
        let next = next_turn(Instant::now(), turn);
        let timer = Timer::new(next.begin);
        (Self { timer }, next)
    }
}

impl Turn {
    /// Returns the time from now until it begins.
    pub(crate) fn begins_in(&self) -> Duration {
        self.begin.saturating_duration_since(Instant::now())
    }
}

impl Default for Pause {
    fn default() -> Self {
        Self::new()
    }
}

impl Future for Pause {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        let polled = Pin::new(&mut self.timer).poll(context);
        if polled.is_ready() {
            WAITED.set(self.timer.time.elapsed());
        }
        polled
    }
}

impl fmt::Debug for Pause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pause").finish_non_exhaustive()
    }
}

thread_local! {
    /// The end of the last turn that was reserved on this thread.
    static FREE: Cell<Option<Instant>> = const { Cell::new(None) };

    /// The number of turns that were reserved on this thread.
    static TURNS: Cell<u32> = const { Cell::new(0) };

    /// The time that the turn which now ends on this thread has begun too late.
    static WAITED: Cell<Duration> = const { Cell::new(Duration::ZERO) };
}

/// The longest pause for the turns of others.
const MAX_PAUSE: Duration = Duration::from_millis(250);

/// Reserves the next turn to compute on this thread, after `previous`.
fn next_turn(now: Instant, previous: Option<Turn>) -> Turn {
    let number = TURNS.get().wrapping_add(1);
    let thread = thread::current().id();
    let previous = previous.filter(|previous| previous.thread == thread);
    let pause = previous.map_or(GAP, |previous| previous.next_pause(number));
    let earliest = now + pause.clamp(GAP, MAX_PAUSE);
    let begin = FREE.get().map_or(earliest, |free| free.max(earliest));
    FREE.set(Some(begin + TICK));
    TURNS.set(number);
    Turn {
        begin,
        pause: begin.saturating_duration_since(now),
        thread,
        number,
    }
}

impl Turn {
    /// Returns the length of the pause after this turn, before the thread's turn `number`.
    fn next_pause(&self, number: u32) -> Duration {
        let waited = WAITED.take();
        if waited > 2 * GAP {
            // The thread had still to run others when the turn should have begun. With pauses of
            // that length it would never have nothing to run.
            return self.pause.saturating_add(waited + GAP);
        }
        match number.wrapping_sub(self.number) - 1 {
            0 => GAP,
            others => ((TICK + GAP).saturating_mul(others) + GAP).max(self.pause / 8 * 7),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{future::poll_fn, pin::pin};

    use super::*;
    use crate::block_on::block_on;

    #[test]
    #[cfg_attr(miri, ignore = "waits for real time")]
    fn a_timer_ends_at_its_time() {
        let began = Instant::now();
        block_on(Timer::new(began + Duration::from_millis(20)));
        assert!(began.elapsed() >= Duration::from_millis(20));
        block_on(Timer::new(began));
    }

    #[test]
    #[cfg_attr(miri, ignore = "waits for real time")]
    fn a_pause_is_pending_until_another_thread_wakes_it() {
        let polls = || {
            let mut polls = 0;
            let mut pause = pin!(Pause::new());
            block_on(poll_fn(|context| {
                polls += 1;
                pause.as_mut().poll(context)
            }));
            polls
        };
        // On a busy machine a pause may be over before it is polled.
        assert!((0..1000).any(|_| polls() >= 2));
    }

    #[test]
    fn guests_of_one_thread_go_on_one_at_a_time() {
        let now = Instant::now();
        let turns: Vec<_> = (0..4).map(|_| next_turn(now, None).begin).collect();
        for pair in turns.windows(2) {
            assert_eq!(pair[1] - pair[0], TICK);
        }
        let other = thread::spawn(move || next_turn(now, None).begin).join();
        assert_eq!(other.unwrap(), turns[0]);
    }

    /// Runs guests in the order of their wake-ups, as an executor of one thread does. Returns
    /// how many turns of the second half found nothing else to run, and the part of the time
    /// in which guests ran.
    fn simulate(guests: usize, slice: Duration) -> (usize, f64) {
        const TURNS: usize = 400;

        let start = Instant::now();
        let mut now = start;
        let mut idle = Duration::ZERO;
        let mut gaps = 0;
        let mut ready: Vec<(Instant, Option<Turn>)> = vec![(now, None); guests];
        for number in 0..TURNS {
            ready.sort_by_key(|(woken, _)| *woken);
            let (woken, previous) = ready.remove(0);
            if woken > now {
                idle += woken - now;
                now = woken;
                gaps += usize::from(number >= TURNS / 2);
            }
            WAITED.set(now - woken);
            now += slice;
            let next = next_turn(now, previous);
            ready.push((next.begin, Some(next)));
        }
        (gaps, 1.0 - idle.as_secs_f64() / (now - start).as_secs_f64())
    }

    #[test]
    #[cfg_attr(miri, ignore = "takes Miri minutes")]
    fn a_thread_of_many_guests_has_often_nothing_to_run_and_is_busy_all_the_same() {
        let slices = [500, 1_800, 2_100, 2_500].map(Duration::from_micros);
        let mut cases: Vec<_> = [1, 2, 4, 8, 32]
            .iter()
            .flat_map(|guests| slices.map(|slice| (*guests, slice)))
            .collect();
        cases.extend([(1, 10 * TICK), (4, 10 * TICK)]);
        for (guests, slice) in cases {
            let simulated = thread::spawn(move || simulate(guests, slice));
            let (gaps, busy) = simulated.join().unwrap();
            assert!(
                gaps * guests >= 50,
                "{guests} guests, {slice:?}: {gaps} gaps"
            );
            let short = slice < TICK / 2;
            assert!(
                busy > 0.7 || short,
                "{guests} guests, {slice:?}: busy {busy}"
            );
        }
    }

    #[test]
    fn a_dropped_timer_leaves_no_errand() {
        let mut timer = Box::pin(Timer::new(Instant::now() + Duration::from_secs(3600)));
        let mut context = Context::from_waker(std::task::Waker::noop());
        assert!(timer.as_mut().poll(&mut context).is_pending());
        assert!(timer.as_mut().poll(&mut context).is_pending());
        drop(timer);
    }
}
