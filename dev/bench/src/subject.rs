//! What is compared: a [`Subject`] does the same [`Task`]s as every other.

use std::hint::black_box;
use std::ops::{Deref, Range};
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::runtime::{Builder, Runtime};

use crate::guests::{Dialect, Guest};

pub type Result<T> = std::result::Result<T, Box<dyn std::error::Error + Send + Sync>>;

/// One way to host a guest. To add one, implement this and name it in
/// [`subjects::all`](crate::subjects::all).
pub trait Subject: Send + Sync {
    /// How the command line and the tables call it.
    fn name(&self) -> &'static str;

    /// One line: what it is, and what sets it apart from its neighbours.
    fn about(&self) -> &'static str;

    fn kind(&self) -> Kind;

    /// The subject that its ratio is taken to: the least that its engine allows.
    fn floor(&self) -> &'static str;

    /// Makes ready for `task` (compiles, writes artefacts) what is not to be measured.
    /// `None` where the subject has nothing of the sort, or nothing of its own to show.
    fn prepare(&self, task: &Task) -> Result<Option<Maker>>;
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Kind {
    Floor,
    Ours,
    Peer,
}

/// Called once on each thread that is to work: what it makes never leaves that thread.
/// Threads that are to share a host share it through what the closure has captured.
pub type Maker = Box<dyn Fn() -> Result<Box<dyn Work>> + Send + Sync>;

/// What is timed: the same thing `times` over, each answer checked.
pub trait Work {
    fn run(&mut self, times: u64) -> Result<()>;

    /// Runs likewise, and tells how long it took.
    fn time(&mut self, times: u64) -> Result<Duration> {
        let start = Instant::now();
        self.run(times)?;
        Ok(start.elapsed())
    }
}

/// What a subject is asked to do.
#[derive(Clone)]
pub struct Task {
    pub action: Action,
    pub guest: Guest,
    /// What the guest is sent, and has to answer.
    pub payload: Payload,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Action {
    /// Call one host that was there before.
    Call,
    /// From the module's bytes (or its artefact) to the first answer, engine and all.
    ColdStart,
    /// Instantiate a module compiled before, call it once, drop the instance.
    FreshInstance,
    /// Put another module in the place of the one that runs, and call it once.
    Replace,
    /// One more host of the same module, called once and kept.
    FurtherHost,
}

/// The operation of every call.
pub const OPERATION: &str = "echo";

impl Task {
    pub fn new(action: Action, guest: Guest, payload_bytes: usize) -> Self {
        Self {
            action,
            guest,
            payload: Payload::new(payload_bytes),
        }
    }

    /// The guest in waPC's dialect.
    pub fn module(&self) -> Arc<[u8]> {
        self.guest.bytes(Dialect::Wapc)
    }

    /// Two modules that behave alike and differ in a custom section, to be put in each
    /// other's place.
    pub fn modules(&self, dialect: Dialect) -> [Arc<[u8]>; 2] {
        let first = self.guest.bytes(dialect);
        // A custom section: id 0, two bytes long, with a name of one byte.
        let second = [&*first, &[0, 2, 1, b'b']].concat().into();
        [first, second]
    }

    /// The whole answer is compared: for the first call, and where a call is rare.
    pub fn check(&self, answer: &[u8]) -> Result<()> {
        if *answer == *self.payload {
            Ok(())
        } else {
            Err(format!("wrong answer: {} bytes", answer.len()).into())
        }
    }
}

/// Bytes that begin in the middle of a page, in every run and for every subject.
///
/// How fast some processors copy depends on where source and target lie in their pages
/// (by a factor of ten, where `rep movsb` sees them a few bytes apart). The target lies
/// near the beginning of a page; without this, an accident of the heap would decide.
#[derive(Clone)]
pub struct Payload {
    buffer: Arc<[u8]>,
    range: Range<usize>,
}

impl Payload {
    fn new(bytes: usize) -> Self {
        let mut buffer: Arc<[u8]> = vec![0; bytes + 2 * PAGE].into();
        let past_page = buffer.as_ptr().addr() % PAGE;
        let start = PAGE - past_page + PAGE / 2;
        let range = start..start + bytes;
        let contents = Arc::get_mut(&mut buffer).expect("nobody else has it yet");
        for (nth, byte) in contents[range.clone()].iter_mut().enumerate() {
            *byte = (nth % 251) as u8;
        }
        Self { buffer, range }
    }
}

impl Deref for Payload {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.buffer[self.range.clone()]
    }
}

const PAGE: usize = 4096;

/// Compares lengths only, so that the check costs each call the same nothing.
#[inline]
pub fn check_length(expected: usize, actual: usize) -> Result<()> {
    if expected == actual {
        Ok(())
    } else {
        Err(format!("an answer of {actual} bytes instead of {expected}").into())
    }
}

/// Work from a closure that does the thing once. The loop is compiled together with the
/// closure: no dynamic call stands between one turn and the next.
pub fn repeat(once: impl FnMut() -> Result<()> + 'static) -> Result<Box<dyn Work>> {
    struct Repeat<F>(F);
    impl<F: FnMut() -> Result<()>> Work for Repeat<F> {
        fn run(&mut self, times: u64) -> Result<()> {
            for _ in 0..times {
                (self.0)()?;
            }
            Ok(())
        }
    }
    Ok(Box::new(Repeat(once)))
}

/// [`Action::ColdStart`] from a closure that gives what it has started, once that has
/// answered. To take it down again is not timed.
pub fn repeat_start<T>(once: impl FnMut() -> Result<T> + 'static) -> Result<Box<dyn Work>> {
    struct Start<F>(F);
    impl<T, F: FnMut() -> Result<T>> Work for Start<F> {
        fn run(&mut self, times: u64) -> Result<()> {
            self.time(times).map(|_| ())
        }

        fn time(&mut self, times: u64) -> Result<Duration> {
            let mut taken = Duration::ZERO;
            for _ in 0..times {
                let start = Instant::now();
                let started = (self.0)()?;
                taken += start.elapsed();
                drop(started);
            }
            Ok(taken)
        }
    }
    Ok(Box::new(Start(once)))
}

/// [`Action::Call`] from a closure that calls once and gives the answer's length.
pub fn repeat_call(
    task: &Task,
    mut call: impl FnMut(&str, &[u8]) -> Result<usize> + 'static,
) -> Result<Box<dyn Work>> {
    let payload = task.payload.clone();
    repeat(move || {
        let length = call(black_box(OPERATION), black_box(&payload))?;
        check_length(payload.len(), length)
    })
}

/// What `future` comes to, on a runtime of its own.
pub fn awaited<T, E>(future: impl Future<Output = std::result::Result<T, E>>) -> Result<T>
where
    E: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    runtime()?.block_on(future).map_err(Into::into)
}

/// As [`repeat_call`] for a call that is awaited. One runtime for many calls: what a service
/// has, whose tasks await their calls.
pub fn repeat_awaited(
    task: &Task,
    call: impl AsyncFnMut(&str, &[u8]) -> Result<usize> + 'static,
) -> Result<Box<dyn Work>> {
    struct Awaited<F> {
        runtime: Runtime,
        payload: Payload,
        call: F,
    }
    impl<F: AsyncFnMut(&str, &[u8]) -> Result<usize>> Work for Awaited<F> {
        fn run(&mut self, times: u64) -> Result<()> {
            let Self {
                runtime,
                payload,
                call,
            } = self;
            runtime.block_on(async {
                for _ in 0..times {
                    let length = call(black_box(OPERATION), black_box(payload)).await?;
                    check_length(payload.len(), length)?;
                }
                Ok(())
            })
        }
    }
    Ok(Box::new(Awaited {
        runtime: runtime()?,
        payload: task.payload.clone(),
        call,
    }))
}

/// tokio's, on the thread that polls.
fn runtime() -> Result<Runtime> {
    Ok(Builder::new_current_thread().build()?)
}

pub fn maker(
    make: impl Fn() -> Result<Box<dyn Work>> + Send + Sync + 'static,
) -> Result<Option<Maker>> {
    Ok(Some(Box::new(make)))
}
