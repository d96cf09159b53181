//! An async call of a guest that its engine cannot suspend: it runs on a
//! thread of its own, and its host calls are awaited where the call is.

use std::{
    fmt,
    future::Future,
    io,
    panic::{AssertUnwindSafe, catch_unwind, resume_unwind},
    pin::Pin,
    sync::{Arc, Weak},
    task::{Context, Poll, Waker},
    thread,
};

use parking_lot::{Condvar, Mutex};

use crate::{
    clock,
    engine::call_guard::CallGuard,
    engine::guest_call::Lengths,
    engine::outcome::Failed,
    engine::provider::GuestInstance,
    error::StopReason,
    limits::call::CallOptions,
    protocol::lent::Request,
    protocol::pending::{HostCallOutcome, HostCallResult, PendingHostCall, WaitForAnswer},
};

/// The call, as its caller sees it.
pub(crate) struct OnThread {
    door: Arc<Door>,
    /// The host call that the guest waits for.
    asked: Option<PendingHostCall>,
}

/// How the call went.
pub(crate) struct Done {
    pub(crate) instance: Box<dyn GuestInstance>,
    pub(crate) end: Result<u64, Box<Failed>>,
    pub(crate) response: Vec<u8>,
}

/// What the guest's thread and the caller hand each other.
#[derive(Default)]
pub(super) struct Door {
    passing: Mutex<Passing>,
    answered: Condvar,
}

#[derive(Default)]
struct Passing {
    question: Option<PendingHostCall>,
    answer: Option<HostCallResult>,
    done: Option<thread::Result<Done>>,
    caller: Option<Waker>,
    /// The caller has dropped the call.
    abandoned: bool,
    /// The guest has ended.
    over: bool,
}

impl OnThread {
    /// Starts the call, with copies of what the caller lends.
    pub(crate) fn start(
        mut instance: Box<dyn GuestInstance>,
        operation: &str,
        payload: &[u8],
        options: Option<CallOptions>,
        lengths: Lengths,
    ) -> io::Result<Self> {
        let door = Arc::new(Door::default());
        let outside = Arc::clone(&door);
        let (operation, payload) = (operation.to_owned(), payload.to_owned());
        thread::Builder::new()
            .name("wapc-call".to_owned())
            .spawn(move || {
                let waiter: Arc<Door> = Arc::clone(&door);
                instance.state().set_waiter(Some(waiter));
                let done = catch_unwind(AssertUnwindSafe(|| {
                    let mut done = call(instance, &operation, &payload, options, lengths);
                    done.instance.state().set_waiter(None);
                    done
                }));
                door.finish(done);
            })?;
        Ok(Self {
            door: outside,
            asked: None,
        })
    }
}

fn call(
    mut instance: Box<dyn GuestInstance>,
    operation: &str,
    payload: &[u8],
    options: Option<CallOptions>,
    lengths: Lengths,
) -> Done {
    let mut response = Vec::new();
    let mut request = Request::filling(operation, payload, &mut response);
    let options = options.as_ref();
    let end = CallGuard::new(&mut *instance, &mut request, lengths, options, None).drive();
    Done {
        instance,
        end,
        response,
    }
}

impl Future for OnThread {
    type Output = Done;

    /// # Panics
    ///
    /// If the engine panicked, with its panic.
    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Done> {
        let this = self.get_mut();
        loop {
            let mut passing = this.door.passing.lock();
            let replaced = match &passing.caller {
                Some(known) if known.will_wake(context.waker()) => None,
                _ => passing.caller.replace(context.waker().clone()),
            };
            if let Some(done) = passing.done.take() {
                return Poll::Ready(done.unwrap_or_else(|panic| resume_unwind(panic)));
            }
            if let Some(question) = passing.question.take() {
                this.asked = Some(question);
            }
            drop(passing);
            drop(replaced);
            let Some(asked) = &mut this.asked else {
                return Poll::Pending;
            };
            let Poll::Ready(answer) = Pin::new(asked).poll(context) else {
                return Poll::Pending;
            };
            this.asked = None;
            this.door.passing.lock().answer = Some(answer);
            this.door.answered.notify_one();
        }
    }
}

impl Drop for OnThread {
    /// Lets the guest end at its next host call.
    fn drop(&mut self) {
        let mut passing = self.door.passing.lock();
        passing.abandoned = true;
        let left = (passing.done.take(), passing.question.take());
        let over = passing.over;
        drop(passing);
        self.door.answered.notify_one();
        drop(left);
        if !over {
            // Its place is about to be free, and the guest still has a deadline.
            let clocked: Weak<Door> = Arc::downgrade(&self.door);
            clock::register(clocked);
            // It ticks as it is; if it cannot, the guest ends when it asks.
            _ = clock::wake();
        }
    }
}

impl WaitForAnswer for Door {
    /// Waits, on the guest's thread, for the answer to a host call.
    fn wait_for(&self, question: PendingHostCall) -> HostCallResult {
        let mut passing = self.passing.lock();
        let caller = passing.caller.clone();
        if passing.abandoned {
            drop(passing);
            drop(question);
            return HostCallResult(HostCallOutcome::Stopped(StopReason::Cancelled));
        }
        passing.question = Some(question);
        drop(passing);
        // Without the lock: an executor may poll in it.
        if let Some(caller) = caller {
            caller.wake();
        }
        let mut passing = self.passing.lock();
        loop {
            if passing.abandoned {
                return HostCallResult(HostCallOutcome::Stopped(StopReason::Cancelled));
            }
            if let Some(answer) = passing.answer.take() {
                return answer;
            }
            self.answered.wait(&mut passing);
        }
    }
}

impl Door {
    fn finish(&self, done: thread::Result<Done>) {
        let mut passing = self.passing.lock();
        passing.over = true;
        if passing.abandoned {
            drop(passing);
            drop(done);
            return;
        }
        passing.done = Some(done);
        let caller = passing.caller.take();
        drop(passing);
        if let Some(caller) = caller {
            caller.wake();
        }
    }
}

/// For a guest that has outlived its caller.
impl clock::ClockClient for Door {
    fn running(&self) -> bool {
        !self.passing.lock().over
    }

    fn maintain(&self) -> bool {
        false
    }
}

impl fmt::Debug for Door {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Door").finish_non_exhaustive()
    }
}
