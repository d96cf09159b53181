//! The subjects of the comparison: all do the same [`Task`]s.

use std::hint::black_box;
use std::ops::{Deref, Range};
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::runtime::{Builder, Runtime};

use crate::guests::{Dialect, Guest};

pub type Result<T> = std::result::Result<T, Box<dyn std::error::Error + Send + Sync>>;

/// One way to host a guest. A new one implements this trait and is listed in
/// [`subjects::all`](crate::subjects::all).
pub trait Subject: Send + Sync {
    /// The name on the command line and in the tables.
    fn name(&self) -> &'static str;

    /// A description in one line.
    fn about(&self) -> &'static str;

    fn kind(&self) -> Kind;

    /// The floor: the subject with the least work on the same engine.
    fn floor(&self) -> &'static str;

    /// Does the work for `task` that is not measured: compiles, writes artefacts. `None`
    /// if the subject does not do the task, or does it like another subject.
    fn prepare(&self, task: &Task) -> Result<Option<Maker>>;
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Kind {
    Floor,
    Ours,
    Peer,
}

/// Called once on each working thread: its result never leaves that thread. Threads
/// share a host through the captures of the closure.
pub type Maker = Box<dyn Fn() -> Result<Box<dyn Work>> + Send + Sync>;

/// The measured work: the same action repeated `times` times, each answer checked.
pub trait Work {
    fn run(&mut self, times: u64) -> Result<()>;

    /// Does the same work, and returns the time it took.
    fn time(&mut self, times: u64) -> Result<Duration> {
        let start = Instant::now();
        self.run(times)?;
        Ok(start.elapsed())
    }
}

/// The work of a subject.
#[derive(Clone)]
pub struct Task {
    pub action: Action,
    pub guest: Guest,
    /// The payload, which is also the expected answer.
    pub payload: Payload,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Action {
    /// Call an existing host.
    Call,
    /// From the module's bytes (or its artefact) to the first answer, with a new engine.
    ColdStart,
    /// Instantiate a compiled module, call it once, drop the instance.
    FreshInstance,
    /// Replace the module of a host, and call it once.
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

    /// Two modules for swaps, which differ in a custom section only.
    pub fn modules(&self, dialect: Dialect) -> [Arc<[u8]>; 2] {
        let first = self.guest.bytes(dialect);
        // A custom section: id 0, two bytes long, with a name of one byte.
        let second = [&*first, &[0, 2, 1, b'b']].concat().into();
        [first, second]
    }

    /// Compares the whole answer, for the first call and for rare calls.
    pub fn check(&self, answer: &[u8]) -> Result<()> {
        if *answer == *self.payload {
            Ok(())
        } else {
            Err(format!("wrong answer: {} bytes", answer.len()).into())
        }
    }
}

/// Bytes that start in the middle of a page, in every run and for every subject.
///
/// On some processors the speed of a copy depends on the offsets of source and target in
/// their pages (by a factor of ten for `rep movsb` with offsets that differ by a few
/// bytes). The target lies near the start of a page; without this, the heap's layout
/// would decide.
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

/// Compares lengths only, so that the check costs next to nothing in every call.
#[inline]
pub fn check_length(expected: usize, actual: usize) -> Result<()> {
    if expected == actual {
        Ok(())
    } else {
        Err(format!("an answer of {actual} bytes instead of {expected}").into())
    }
}

/// Makes work from a closure that does the action once. The loop is monomorphised with
/// the closure, so there is no dynamic call between repetitions.
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

/// Makes an [`Action::ColdStart`] from a closure that returns the host after its first
/// answer. The drop of the host is not timed.
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

/// Makes an [`Action::Call`] from a closure that calls once and returns the length of the
/// answer.
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

/// Runs `future` on a runtime of its own.
pub fn awaited<T, E>(future: impl Future<Output = std::result::Result<T, E>>) -> Result<T>
where
    E: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    runtime()?.block_on(future).map_err(Into::into)
}

/// The async form of [`repeat_call`]. One runtime for many calls, as in a service whose
/// tasks await their calls.
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

/// A runtime of tokio on the polling thread.
fn runtime() -> Result<Runtime> {
    Ok(Builder::new_current_thread().build()?)
}

pub fn maker(
    make: impl Fn() -> Result<Box<dyn Work>> + Send + Sync + 'static,
) -> Result<Option<Maker>> {
    Ok(Some(Box::new(make)))
}
