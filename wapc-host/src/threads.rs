//! Threads for one piece of work.

use std::{
    sync::mpsc::{self, SendError},
    thread::{self, JoinHandle},
};

/// The stack of a thread that compiles.
const STACK_BYTES: usize = 4 << 20;

/// Runs `work` on a thread of its own, which has the stack that compiling needs. Gives the work
/// back if no thread can be started, as in a process that has as many as it may.
pub(crate) fn spawn_or_return<F>(name: &str, work: F) -> Result<JoinHandle<()>, F>
where
    F: FnOnce() + Send + 'static,
{
    // Handed over only once the thread is there: until then the work is still here.
    let (give, given) = mpsc::sync_channel::<F>(1);
    let thread = thread::Builder::new()
        .name(name.to_owned())
        .stack_size(STACK_BYTES)
        .spawn(move || {
            if let Ok(work) = given.recv() {
                work();
            }
        });
    match thread {
        Ok(thread) => match give.send(work) {
            Ok(()) => Ok(thread),
            Err(SendError(work)) => Err(work),
        },
        Err(_) => Err(work),
    }
}
