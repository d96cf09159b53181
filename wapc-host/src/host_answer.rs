//! Host callbacks that await: the answer to a guest as a future.

use std::{
    any::Any,
    fmt,
    future::Future,
    ops::Range,
    panic::{AssertUnwindSafe, catch_unwind},
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use crate::{
    budget::Budget,
    callback::{BoxError, HostCall, Within},
    clock::Alarm,
    error::Stop,
    options::{CancelHandle, CancelWaker},
};

/// A future in a box that may move between threads.
pub type BoxFuture<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// Answers guests' calls to the host, and may await while it does.
///
/// The short way in is a closure over an [`OwnedHostCall`] that returns a
/// future: `|call| async move { … }`; see
/// [`HostBuilder::build_async`](crate::HostBuilder::build_async).
///
/// What holds for [`HostCallback`](crate::HostCallback) holds here: an `Err`
/// reaches the guest, a panic the caller. The future is dropped when the
/// guest's call ends before it: by its deadline, its cancel handle, or because
/// the caller dropped the call.
pub trait AsyncHostCallback: Send + Sync {
    /// Begins to answer `call`.
    fn call(&self, call: OwnedHostCall) -> BoxFuture<'static, Result<Vec<u8>, BoxError>>;
}

impl<F, R> AsyncHostCallback for F
where
    F: Fn(OwnedHostCall) -> R + Send + Sync,
    R: Future<Output = Result<Vec<u8>, BoxError>> + Send + 'static,
{
    fn call(&self, call: OwnedHostCall) -> BoxFuture<'static, Result<Vec<u8>, BoxError>> {
        Box::pin(self(call))
    }
}

/// One call from a guest to its host that owns what it holds, so that a future
/// can keep it: the guest's memory cannot be borrowed while others await.
pub struct OwnedHostCall {
    host_id: u64,
    generation: u64,
    /// The payload and then the three names: one allocation.
    bytes: Vec<u8>,
    payload_end: usize,
    binding_end: usize,
    namespace_end: usize,
    expires: u64,
    cancel: Option<CancelHandle>,
    context: Option<Arc<dyn Any + Send + Sync>>,
}

impl OwnedHostCall {
    pub(crate) fn new(call: HostCall<'_>) -> Self {
        let mut bytes = Vec::with_capacity(call.bytes());
        bytes.extend_from_slice(call.payload);
        let payload_end = bytes.len();
        bytes.extend_from_slice(call.binding.as_bytes());
        let binding_end = bytes.len();
        bytes.extend_from_slice(call.namespace.as_bytes());
        let namespace_end = bytes.len();
        bytes.extend_from_slice(call.operation.as_bytes());
        Self {
            host_id: call.host_id,
            generation: call.generation,
            bytes,
            payload_end,
            binding_end,
            namespace_end,
            expires: call.budget.expires(),
            cancel: call.budget.cancel().cloned(),
            context: call.budget.shared_context(),
        }
    }

    /// The id of the [`WapcHost`](crate::WapcHost) whose guest is calling.
    #[must_use]
    pub const fn host_id(&self) -> u64 {
        self.host_id
    }

    /// The number of the guest's code.
    #[must_use]
    pub const fn generation(&self) -> u64 {
        self.generation
    }

    /// The first of the three names that say what is called.
    #[must_use]
    pub fn binding(&self) -> &str {
        self.name(self.payload_end..self.binding_end)
    }

    /// The second name.
    #[must_use]
    pub fn namespace(&self) -> &str {
        self.name(self.binding_end..self.namespace_end)
    }

    /// The third name.
    #[must_use]
    pub fn operation(&self) -> &str {
        self.name(self.namespace_end..self.bytes.len())
    }

    fn name(&self, range: Range<usize>) -> &str {
        let name = self.bytes.get(range).unwrap_or_default();
        // The guest's names were checked before they were copied.
        str::from_utf8(name).unwrap_or_default()
    }

    /// The guest's bytes.
    #[must_use]
    pub fn payload(&self) -> &[u8] {
        self.bytes.get(..self.payload_end).unwrap_or_default()
    }

    /// The guest's bytes, to keep.
    #[must_use]
    pub fn into_payload(mut self) -> Vec<u8> {
        self.bytes.truncate(self.payload_end);
        self.bytes
    }

    /// As [`HostCall::context`].
    #[must_use]
    pub fn context<T: Any>(&self) -> Option<&T> {
        self.context.as_deref()?.downcast_ref()
    }

    /// As [`HostCall::time_left`].
    #[must_use]
    pub fn time_left(&self) -> Option<Duration> {
        Budget::time_until(self.expires)
    }

    /// As [`HostCall::is_cancelled`].
    #[must_use]
    pub fn is_cancelled(&self) -> bool {
        self.cancel.as_ref().is_some_and(CancelHandle::is_cancelled)
    }
}

impl fmt::Debug for OwnedHostCall {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("OwnedHostCall")
            .field("host_id", &self.host_id)
            .field("generation", &self.generation)
            .field("binding", &self.binding())
            .field("namespace", &self.namespace())
            .field("operation", &self.operation())
            .field("payload_bytes", &self.payload_end)
            .finish_non_exhaustive()
    }
}

/// The host's answer to a guest, once it is there. For engines, which await it
/// and hand the [`Answer`] to
/// [`ModuleState::host_answered`](crate::ModuleState::host_answered).
///
/// It ends with the call's deadline and its cancel handle, if that is sooner.
#[must_use = "the guest waits for it"]
pub struct HostAnswer {
    host_id: u64,
    future: BoxFuture<'static, Result<Vec<u8>, BoxError>>,
    limits: WaitLimits,
}

/// What a host's answer turned out to be.
#[must_use = "the guest waits for it"]
pub struct Answer(pub(crate) AnswerKind);

pub(crate) enum AnswerKind {
    Given(Result<Vec<u8>, String>),
    Panicked(Box<dyn Any + Send>),
    Stopped(Stop),
}

/// What a guest's `__host_call` has come to. For engines.
#[must_use = "the guest waits for it"]
#[derive(Debug)]
#[expect(
    clippy::exhaustive_enums,
    reason = "an engine must know what to do next"
)]
pub enum Asked {
    /// The callback does not await: this is what the import returns.
    Answered(i32),
    /// The callback has begun to answer.
    Waiting(HostAnswer),
}

impl HostAnswer {
    pub(crate) fn new(
        host_id: u64,
        future: BoxFuture<'static, Result<Vec<u8>, BoxError>>,
        limits: WaitLimits,
    ) -> Self {
        Self {
            host_id,
            future,
            limits,
        }
    }
}

impl Future for HostAnswer {
    type Output = Answer;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Answer> {
        let this = self.get_mut();
        if let Err(stop) = this.limits.check() {
            return Poll::Ready(Answer(AnswerKind::Stopped(stop)));
        }
        // A future that has panicked is not polled again.
        let polled = catch_unwind(AssertUnwindSafe(|| {
            let _within = Within::enter(this.host_id);
            let answer = this.future.as_mut().poll(context);
            answer.map_err(|error| error.to_string())
        }));
        match polled {
            Ok(Poll::Ready(answer)) => Poll::Ready(Answer(AnswerKind::Given(answer))),
            Err(panic) => Poll::Ready(Answer(AnswerKind::Panicked(panic))),
            Ok(Poll::Pending) => match this.limits.wake_at_end(context) {
                Ok(()) => Poll::Pending,
                Err(stop) => Poll::Ready(Answer(AnswerKind::Stopped(stop))),
            },
        }
    }
}

impl fmt::Debug for HostAnswer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HostAnswer")
            .field("host_id", &self.host_id)
            .finish_non_exhaustive()
    }
}

impl fmt::Debug for Answer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.0 {
            AnswerKind::Given(Ok(_)) => "Answer(given)",
            AnswerKind::Given(Err(_)) => "Answer(failed)",
            AnswerKind::Panicked(_) => "Answer(panicked)",
            AnswerKind::Stopped(_) => "Answer(stopped)",
        })
    }
}

/// Until when a future may wait, and what wakes it then.
#[derive(Default)]
pub(crate) struct WaitLimits {
    /// The tick of the clock, or `u64::MAX`.
    pub(crate) expires: u64,
    pub(crate) timeout: Duration,
    pub(crate) cancel: Option<CancelHandle>,
    alarm: Option<Alarm>,
    cancel_waker: Option<CancelWaker>,
}

impl WaitLimits {
    pub(crate) fn new(expires: u64, timeout: Duration, cancel: Option<CancelHandle>) -> Self {
        Self {
            expires,
            timeout,
            cancel,
            alarm: None,
            cancel_waker: None,
        }
    }

    pub(crate) fn check(&self) -> Result<(), Stop> {
        Budget::check_against(self.expires, || self.timeout, self.cancel.as_ref())
    }

    /// Sees to it that `context` is woken when [`WaitLimits::check`] begins to
    /// fail.
    pub(crate) fn wake_at_end(&mut self, context: &Context<'_>) -> Result<(), Stop> {
        let waker = context.waker();
        match &self.alarm {
            Some(alarm) => alarm.set_waker(waker),
            None if self.expires == u64::MAX => {}
            None => self.alarm = Some(Alarm::set(self.expires, waker.clone())),
        }
        match (&self.cancel_waker, &self.cancel) {
            (Some(cancel_waker), _) => cancel_waker.set_waker(waker),
            (None, Some(cancel)) => self.cancel_waker = Some(cancel.wake(waker.clone())),
            (None, None) => {}
        }
        // It may have ended in between.
        self.check()
    }
}
