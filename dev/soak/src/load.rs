//! Threads that call while something else is done.

use std::{
    sync::{
        Barrier,
        atomic::{AtomicBool, Ordering},
    },
    thread,
};

/// Tells the calling threads to come to an end.
#[derive(Debug, Default)]
pub(crate) struct Stop(AtomicBool);

impl Stop {
    /// Whether to come to an end.
    pub(crate) fn is_set(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}

/// Sets it on a panic too, or else the scope would wait for its threads.
struct StopAtEnd<'s>(&'s Stop);

impl Drop for StopAtEnd<'_> {
    fn drop(&mut self) {
        self.0.0.store(true, Ordering::Relaxed);
    }
}

/// Runs `call` on `threads` threads, with a number for each, while `control`
/// runs, which begins when all of them have. It ends when `control` has returned and each `call` has seen the
/// [`Stop`]. Returns what they returned.
pub(crate) fn under_load<R: Send, C>(
    threads: usize,
    call: impl Fn(usize, &Stop) -> R + Sync,
    control: impl FnOnce() -> C,
) -> (Vec<R>, C) {
    let (stop, begin) = (Stop::default(), Barrier::new(threads + 1));
    thread::scope(|scope| {
        let (call, stop, begin) = (&call, &stop, &begin);
        let callers: Vec<_> = (0..threads)
            .map(|number| {
                scope.spawn(move || {
                    begin.wait();
                    call(number, stop)
                })
            })
            .collect();
        let at_end = StopAtEnd(stop);
        begin.wait();
        let controlled = control();
        drop(at_end);
        let called = callers
            .into_iter()
            .map(|caller| {
                caller
                    .join()
                    .unwrap_or_else(|panic| std::panic::resume_unwind(panic))
            })
            .collect();
        (called, controlled)
    })
}
