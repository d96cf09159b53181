//! Threads that call while other work is done.

use std::{
    sync::{
        Barrier,
        atomic::{AtomicBool, Ordering},
    },
    thread,
};

/// Tells the calling threads to stop.
#[derive(Debug, Default)]
pub(crate) struct Stop(AtomicBool);

impl Stop {
    /// Returns `true` once the threads must stop.
    pub(crate) fn is_set(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}

/// Stops the threads on a panic too, without which the scope would wait for ever.
struct StopAtEnd<'s>(&'s Stop);

impl Drop for StopAtEnd<'_> {
    fn drop(&mut self) {
        self.0.0.store(true, Ordering::Relaxed);
    }
}

/// Runs `call` on `threads` threads, with the thread's number, and `control` beside
/// them once all have started. When `control` has returned, sets [`Stop`] and waits for
/// the threads. Returns the results.
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
