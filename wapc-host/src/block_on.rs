//! A minimal executor: blocks a thread on one future.

use std::{
    future::Future,
    mem,
    pin::pin,
    sync::Arc,
    task::{Context, Poll, Wake, Waker},
};

use crate::fork_safe::{Condvar, Mutex};

/// Runs `future` to its end on this thread, which sleeps while it is pending.
pub(crate) fn block_on<T>(future: impl Future<Output = T>) -> T {
    let woken = Arc::new(Woken::default());
    let waker = Waker::from(Arc::clone(&woken));
    let mut context = Context::from_waker(&waker);
    let mut future = pin!(future);
    loop {
        match future.as_mut().poll(&mut context) {
            Poll::Ready(result) => return result,
            Poll::Pending => woken.wait(),
        }
    }
}

/// A flag that the future's waker sets. Not `thread::park`, whose token may be
/// consumed by code that parks this thread during the poll.
#[derive(Default)]
struct Woken {
    woken: Mutex<bool>,
    told: Condvar,
}

impl Woken {
    fn wait(&self) {
        let mut woken = self.woken.lock();
        while !mem::take(&mut *woken) {
            woken = self.told.wait(woken);
        }
    }
}

impl Wake for Woken {
    fn wake(self: Arc<Self>) {
        *self.woken.lock() = true;
        self.told.notify_one();
    }
}

#[cfg(test)]
mod tests {
    use std::{future::poll_fn, sync::mpsc, thread, time::Duration};

    use super::*;

    #[test]
    fn blocking_on_a_future_that_parks_its_thread_ends_all_the_same() {
        let (tell, told) = mpsc::channel();
        thread::spawn(move || {
            let mut polled = false;
            block_on(poll_fn(|context| {
                if mem::replace(&mut polled, true) {
                    return Poll::Ready(());
                }
                context.waker().wake_by_ref();
                // What waits within the poll uses up what wakes the thread.
                thread::park_timeout(Duration::from_millis(1));
                Poll::Pending
            }));
            tell.send(()).unwrap();
        });
        told.recv_timeout(Duration::from_secs(30)).unwrap();
    }
}
