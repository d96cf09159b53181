//! Futures that end at a time, woken by a thread of [`errands`](crate::errands).

use std::{
    cell::Cell,
    fmt,
    future::Future,
    pin::Pin,
    task::{Context, Poll},
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

/// Returns the pause that a computing guest makes in an async call when
/// [`ModuleState::should_yield`](crate::ModuleState::should_yield) returns
/// `true`. The engine awaits it and then lets the guest go on.
///
/// The future is pending for about 0.1 ms, and is woken by another thread. An
/// executor looks at its timers and sockets when it has nothing to run; a task
/// that wakes itself would keep it from that. Guests that pause on the same
/// thread go on one at a time, with such a gap between them.
///
/// ```
/// use wapc_host::engine::pause;
///
/// pollster::block_on(pause());
/// ```
#[must_use = "it pauses when it is awaited"]
pub const fn pause() -> Pause {
    Pause { timer: None }
}

/// The future of [`pause`].
#[must_use = "it pauses when it is awaited"]
pub struct Pause {
    timer: Option<Timer>,
}

/// The time in which an executor looks at its timers and sockets.
const GAP: Duration = Duration::from_micros(100);

impl Future for Pause {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        let timer = self.timer.get_or_insert_with(|| Timer::new(next_turn()));
        Pin::new(timer).poll(context)
    }
}

impl fmt::Debug for Pause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pause").finish_non_exhaustive()
    }
}

/// Reserves the next turn to compute on this thread, and returns its begin.
fn next_turn() -> Instant {
    thread_local! {
        /// The begin of the turn after the last one that was reserved.
        static FREE: Cell<Option<Instant>> = const { Cell::new(None) };
    }
    let earliest = Instant::now() + GAP;
    let turn = FREE.get().map_or(earliest, |free| free.max(earliest));
    FREE.set(Some(turn + TICK));
    turn
}

#[cfg(test)]
mod tests {
    use std::{future::poll_fn, pin::pin, sync::mpsc, thread};

    use super::*;
    use crate::block_on::block_on;

    #[test]
    fn a_timer_ends_at_its_time() {
        let began = Instant::now();
        block_on(Timer::new(began + Duration::from_millis(20)));
        assert!(began.elapsed() >= Duration::from_millis(20));
        block_on(Timer::new(began));
    }

    #[test]
    fn a_pause_is_pending_until_another_thread_wakes_it() {
        let mut polls = 0;
        let mut pause = pin!(pause());
        block_on(poll_fn(|context| {
            polls += 1;
            pause.as_mut().poll(context)
        }));
        assert!(polls >= 2);
    }

    #[test]
    fn guests_of_one_thread_go_on_one_at_a_time() {
        let turns: Vec<_> = (0..4).map(|_| next_turn()).collect();
        for pair in turns.windows(2) {
            assert!(pair[1] - pair[0] >= TICK);
        }
        let (tell, told) = mpsc::channel();
        thread::spawn(move || tell.send(next_turn()).unwrap());
        let other = told.recv_timeout(Duration::from_secs(30)).unwrap();
        assert!(other < turns[3] || other > Instant::now());
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
