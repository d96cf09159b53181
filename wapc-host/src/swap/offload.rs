//! Work that blocks, awaited by the swap that needs its result.

use std::{
    future::poll_fn,
    panic::{AssertUnwindSafe, catch_unwind, resume_unwind},
    sync::Arc,
    task::{Poll, Waker},
    thread,
};

use crate::{fork_safe::Mutex, protocol::host_call::BoxFuture, threads::spawn_or_return};

struct Done<T> {
    result: Option<thread::Result<T>>,
    waker: Option<Waker>,
}

/// Runs `work` on a thread of its own, or here if there is none. The future is ready when it is
/// done, and resumes its panic.
pub(super) fn offload<T: Send + 'static>(
    work: impl FnOnce() -> T + Send + 'static,
) -> BoxFuture<'static, T> {
    let done = Arc::new(Mutex::new(Done {
        result: None,
        waker: None,
    }));
    let tell = Arc::clone(&done);
    let work = move || {
        let result = catch_unwind(AssertUnwindSafe(work));
        let mut done = tell.lock();
        done.result = Some(result);
        let waker = done.waker.take();
        drop(done);
        if let Some(waker) = waker {
            waker.wake();
        }
    };
    if let Err(work) = spawn_or_return("wapc-swap", work) {
        work();
    }
    Box::pin(poll_fn(move |context| {
        let mut done = done.lock();
        match done.result.take() {
            Some(Ok(result)) => Poll::Ready(result),
            Some(Err(panic)) => {
                drop(done);
                resume_unwind(panic)
            }
            None => {
                let before = done.waker.replace(context.waker().clone());
                drop(done);
                drop(before);
                Poll::Pending
            }
        }
    }))
}
