//! Threads for work that may run foreign code: wakers, and upkeep that drops what users own.
//!
//! An executor may poll in `wake()`, and then a guest runs where its waker is called. On the clock's
//! thread that would end every deadline of the process, so the clock calls no waker. It leaves them
//! here, at a time. A thread that does not come back from an errand is replaced while others are due.

use std::{
    collections::BTreeMap,
    io,
    panic::{AssertUnwindSafe, catch_unwind},
    task::Waker,
    thread,
    time::{Duration, Instant},
};

use crate::fork_safe::{Condvar, Mutex};

/// Runs each errand at its time, on threads of its own.
pub(crate) struct Errands {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    /// By time, and by number where times are the same.
    due: BTreeMap<Key, Errand>,
    next: u64,
    threads: usize,
    /// Threads that wait for errands.
    idle: usize,
}

pub(crate) type Key = (Instant, u64);

/// Something to be done that may run foreign code.
pub(crate) enum Errand {
    Wake(Waker),
    Run(Box<dyn FnOnce() + Send>),
}

/// An errand that is due for this time shows that the threads are stuck.
const STUCK_AFTER: Duration = Duration::from_millis(10);

/// The greatest number of threads, stuck ones included.
const MAX_THREADS: usize = 16;

/// A thread without errands ends after this time.
const IDLE_FOR: Duration = match cfg!(test) {
    true => Duration::from_millis(50),
    false => Duration::from_secs(10),
};

impl Errands {
    pub(crate) const fn new() -> Self {
        Self {
            state: Mutex::new(State {
                due: BTreeMap::new(),
                next: 0,
                threads: 0,
                idle: 0,
            }),
            changed: Condvar::new(),
        }
    }

    /// Runs `errand` at `time`, unless [`Errands::take_back`] is called before.
    ///
    /// # Errors
    ///
    /// The errand and the system's error, if there is no thread and none can be started.
    pub(crate) fn leave(
        &'static self,
        time: Instant,
        errand: Errand,
    ) -> Result<Key, (Errand, io::Error)> {
        let mut state = self.state.lock();
        if state.threads == 0
            && let Err(error) = self.start(&mut state)
        {
            return Err((errand, error));
        }
        let key = (time, state.next);
        state.next += 1;
        state.due.insert(key, errand);
        if state
            .due
            .first_key_value()
            .is_some_and(|(first, _)| *first == key)
        {
            self.changed.notify_one();
        }
        Ok(key)
    }

    /// Exchanges the waker of an errand that has not been run yet.
    pub(crate) fn set_waker(&self, key: Key, waker: &Waker) {
        let mut state = self.state.lock();
        let replaced = match state.due.get_mut(&key) {
            Some(Errand::Wake(known)) if !known.will_wake(waker) => {
                Some(std::mem::replace(known, waker.clone()))
            }
            _ => None,
        };
        // Dropped outside the lock: it may be the last reference to a task that
        // has left errands.
        drop(state);
        drop(replaced);
    }

    /// Removes an errand that has not been run yet.
    pub(crate) fn take_back(&self, key: Key) {
        let errand = self.state.lock().due.remove(&key);
        drop(errand);
    }

    /// Starts another thread if errands wait for threads that are stuck in foreign code.
    pub(crate) fn relieve(&'static self) {
        let mut state = self.state.lock();
        let overdue = state
            .due
            .first_key_value()
            .is_some_and(|((time, _), _)| time.elapsed() > STUCK_AFTER);
        if overdue && state.idle == 0 && state.threads < MAX_THREADS {
            // Without a further thread the errands wait for the stuck ones.
            _ = self.start(&mut state);
        }
    }

    fn start(&'static self, state: &mut State) -> io::Result<()> {
        thread::Builder::new()
            .name("wapc-errands".to_owned())
            .spawn(|| self.run())?;
        state.threads += 1;
        Ok(())
    }

    fn run(&self) {
        let mut state = self.state.lock();
        loop {
            let now = Instant::now();
            let first = state.due.first_key_value().map(|((time, _), _)| *time);
            match first {
                Some(time) if time <= now => {
                    let errand = state.due.pop_first();
                    drop(state);
                    if let Some((_, errand)) = errand {
                        errand.run();
                    }
                    state = self.state.lock();
                    // Another thread has taken over while this one was stuck.
                    if state.idle > 0 {
                        break;
                    }
                }
                Some(time) => {
                    state.idle += 1;
                    state = self.changed.wait_until(state, time);
                    state.idle -= 1;
                }
                None => {
                    state.idle += 1;
                    let timed_out;
                    (state, timed_out) = self.changed.wait_for(state, IDLE_FOR);
                    state.idle -= 1;
                    if timed_out && state.due.is_empty() {
                        break;
                    }
                }
            }
        }
        state.threads -= 1;
    }
}

impl Errand {
    /// Runs it here. A panic of foreign code ends there.
    pub(crate) fn run(self) {
        catching(|| match self {
            Self::Wake(waker) => waker.wake(),
            Self::Run(work) => work(),
        });
    }
}

/// Runs code that may be foreign, on a thread that must not end by its panic.
/// Returns `None` after a panic, which the panic hook has reported.
pub(crate) fn catching<T>(foreign: impl FnOnce() -> T) -> Option<T> {
    catch_unwind(AssertUnwindSafe(foreign))
        .map_err(drop_quietly)
        .ok()
}

/// Drops the payload of a panic, whose own `drop` may panic as well.
fn drop_quietly(payload: Box<dyn std::any::Any + Send>) {
    if let Err(another) = catch_unwind(AssertUnwindSafe(|| drop(payload))) {
        #[expect(
            clippy::mem_forget,
            reason = "its drop may panic again, and so on for ever"
        )]
        std::mem::forget(another);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{
        Arc, Barrier,
        atomic::{AtomicUsize, Ordering},
        mpsc,
    };

    use super::*;

    fn errands() -> &'static Errands {
        Box::leak(Box::new(Errands::new()))
    }

    fn run(errands: &'static Errands, time: Instant, work: impl FnOnce() + Send + 'static) -> Key {
        errands
            .leave(time, Errand::Run(Box::new(work)))
            .map_err(|(_, error)| error)
            .unwrap()
    }

    #[test]
    #[cfg_attr(miri, ignore = "waits for real time")]
    fn errands_are_run_in_the_order_of_their_times() {
        let errands = errands();
        let (tell, told) = mpsc::channel();
        let now = Instant::now();
        for (number, after) in [(2, 40), (1, 20), (3, 60)] {
            let tell = tell.clone();
            run(errands, now + Duration::from_millis(after), move || {
                tell.send(number).unwrap();
            });
        }
        assert_eq!(told.iter().take(3).collect::<Vec<_>>(), [1, 2, 3]);
    }

    #[test]
    #[cfg_attr(miri, ignore = "waits for real time")]
    fn an_errand_can_be_taken_back() {
        let errands = errands();
        let (tell, told) = mpsc::channel();
        let later = Instant::now() + Duration::from_millis(50);
        let second = tell.clone();
        let key = run(errands, later, move || tell.send(1).unwrap());
        run(errands, later, move || second.send(2).unwrap());
        errands.take_back(key);
        assert_eq!(told.iter().collect::<Vec<_>>(), [2]);
    }

    #[test]
    fn a_panic_ends_no_thread() {
        struct PanicsAgain;
        impl Drop for PanicsAgain {
            fn drop(&mut self) {
                panic!("on purpose, in the payload's drop");
            }
        }

        let errands = errands();
        let (tell, told) = mpsc::channel();
        let now = Instant::now();
        run(errands, now, || panic!("on purpose"));
        run(errands, now, || std::panic::panic_any(PanicsAgain));
        run(errands, now, move || tell.send(()).unwrap());
        told.recv_timeout(Duration::from_secs(30)).unwrap();
        assert_eq!(errands.state.lock().threads, 1);
    }

    #[test]
    #[cfg_attr(miri, ignore = "waits for real time")]
    fn stuck_threads_are_replaced_and_end_later() {
        const STUCK: usize = 3;

        let errands = errands();
        let stuck = Arc::new(Barrier::new(STUCK + 1));
        let count = Arc::new(AtomicUsize::new(0));
        let now = Instant::now();
        for _ in 0..STUCK {
            let (stuck, count) = (Arc::clone(&stuck), Arc::clone(&count));
            run(errands, now, move || {
                count.fetch_add(1, Ordering::SeqCst);
                stuck.wait();
            });
        }
        let (tell, told) = mpsc::channel();
        run(errands, now, move || tell.send(()).unwrap());
        while told.try_recv().is_err() {
            errands.relieve();
            thread::yield_now();
        }
        // Each of them takes a thread, and the last errand may have overtaken one.
        while count.load(Ordering::SeqCst) < STUCK {
            errands.relieve();
            thread::yield_now();
        }
        stuck.wait();
        while errands.state.lock().threads > 1 {
            thread::yield_now();
        }
    }

    #[test]
    #[cfg_attr(miri, ignore = "waits for real time")]
    fn there_is_a_greatest_number_of_threads() {
        let errands = errands();
        let end = Arc::new(Barrier::new(MAX_THREADS + 1));
        let now = Instant::now();
        for _ in 0..MAX_THREADS {
            let end = Arc::clone(&end);
            run(errands, now, move || {
                end.wait();
            });
        }
        while errands.state.lock().threads < MAX_THREADS {
            errands.relieve();
            thread::yield_now();
        }
        run(errands, now, || {});
        thread::sleep(2 * STUCK_AFTER);
        errands.relieve();
        assert_eq!(errands.state.lock().threads, MAX_THREADS);
        end.wait();
    }
}
