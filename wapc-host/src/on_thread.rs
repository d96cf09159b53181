//! An async call of a guest that its engine cannot suspend: it runs on a
//! thread of its own, and its host calls are awaited where the call is.

use std::{
    fmt,
    future::Future,
    io, mem,
    panic::{AssertUnwindSafe, catch_unwind, resume_unwind},
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, Waker},
    thread,
};

use parking_lot::{Condvar, Mutex};

use crate::{
    error::{EngineError, Stop},
    host_answer::{Answer, AnswerKind, HostAnswer},
    lent::{Loan, Sink},
    options::CallOptions,
    provider::GuestInstance,
};

/// The call, as its caller sees it.
pub(crate) struct OnThread {
    door: Arc<Door>,
    /// The host call that the guest waits for.
    asked: Option<HostAnswer>,
}

/// How the call went.
pub(crate) struct Done {
    pub(crate) instance: Box<dyn GuestInstance>,
    pub(crate) returned: Result<i32, EngineError>,
    pub(crate) responded: bool,
    pub(crate) response: Vec<u8>,
}

/// What the guest's thread and the caller hand each other.
#[derive(Default)]
pub(crate) struct Door {
    passing: Mutex<Passing>,
    answered: Condvar,
}

#[derive(Default)]
struct Passing {
    question: Option<HostAnswer>,
    answer: Option<Answer>,
    done: Option<thread::Result<Done>>,
    caller: Option<Waker>,
    /// The caller has dropped the call.
    abandoned: bool,
}

impl OnThread {
    /// Starts the call, with copies of what the caller lends.
    pub(crate) fn start(
        mut instance: Box<dyn GuestInstance>,
        operation: &str,
        payload: &[u8],
        options: Option<CallOptions>,
        lengths: (i32, i32),
    ) -> io::Result<Self> {
        let door = Arc::new(Door::default());
        let outside = Arc::clone(&door);
        let (operation, payload) = (operation.to_owned(), payload.to_owned());
        thread::Builder::new()
            .name("wapc-call".to_owned())
            .spawn(move || {
                instance.state().set_door(Some(Arc::clone(&door)));
                let done = catch_unwind(AssertUnwindSafe(|| {
                    let mut done = call(instance, &operation, &payload, options, lengths);
                    done.instance.state().set_door(None);
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
    (op_length, msg_length): (i32, i32),
) -> Done {
    let mut response = Vec::new();
    let mut sink: &mut Sink<'_> = &mut |bytes: &[u8]| {
        response.clear();
        response.extend_from_slice(bytes);
    };
    let mut loan = Loan::new(
        &mut *instance,
        operation,
        payload,
        &mut sink,
        options.as_ref(),
    );
    let returned = loan.instance().call(op_length, msg_length);
    let responded = loan.end().responded();
    drop(loan);
    Done {
        instance,
        returned,
        responded,
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
            passing.caller = Some(context.waker().clone());
            if let Some(done) = passing.done.take() {
                return Poll::Ready(done.unwrap_or_else(|panic| resume_unwind(panic)));
            }
            if let Some(question) = passing.question.take() {
                this.asked = Some(question);
            }
            drop(passing);
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
        let left = mem::take(&mut passing.done);
        drop(passing);
        self.door.answered.notify_one();
        drop(left);
    }
}

impl Door {
    /// Waits, on the guest's thread, for the answer to a host call.
    pub(crate) fn ask(&self, question: HostAnswer) -> Answer {
        let mut passing = self.passing.lock();
        passing.question = Some(question);
        if let Some(caller) = &passing.caller {
            caller.wake_by_ref();
        }
        loop {
            if passing.abandoned {
                passing.question = None;
                return Answer(AnswerKind::Stopped(Stop::Cancelled));
            }
            if let Some(answer) = passing.answer.take() {
                return answer;
            }
            self.answered.wait(&mut passing);
        }
    }

    fn finish(&self, done: thread::Result<Done>) {
        let mut passing = self.passing.lock();
        if passing.abandoned {
            drop(passing);
            drop(done);
            return;
        }
        passing.done = Some(done);
        if let Some(caller) = passing.caller.take() {
            caller.wake();
        }
    }
}

impl fmt::Debug for Door {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Door").finish_non_exhaustive()
    }
}
