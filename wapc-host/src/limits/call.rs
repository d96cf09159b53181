//! The options of one call.

use std::{
    any::Any,
    fmt,
    sync::Arc,
    time::{Duration, Instant},
};

use super::cancel::CancelHandle;

/// Settings of a single call, which take precedence over those of its host.
///
/// By default a call has the timeout and fuel of the host's
/// [`Limits`](crate::Limits), and neither deadline, cancel handle nor context.
///
/// ```
/// use std::time::{Duration, Instant};
/// use wapc_host::{CallOptions, Error, engine::scripted::ScriptedProvider};
///
/// let host = ScriptedProvider::echo().host()?;
/// let options = CallOptions::default().timeout(Duration::from_secs(1));
/// assert_eq!(host.with(&options).call("echo", b"in time")?, b"in time");
///
/// let options = CallOptions::default().deadline(Instant::now());
/// let late = host.with(&options).call("echo", b"too late");
/// assert!(matches!(late, Err(Error::TimedOut { .. })));
/// # Ok::<(), Error>(())
/// ```
#[derive(Clone, Default)]
#[non_exhaustive]
pub struct CallOptions {
    /// The time that the call may take. It replaces
    /// [`Limits::timeout`](crate::Limits::timeout).
    pub timeout: Option<Duration>,
    /// The timeout, that of the call or else of the host, includes the wait for
    /// an instance. By default it is the guest's alone, and
    /// [`wait_limit`](crate::HostBuilder::wait_limit) bounds the wait.
    pub timeout_includes_wait: bool,
    /// The moment at which the call must have ended. It includes the wait for
    /// an instance and the start functions of a new one. Of timeout and
    /// deadline, the earlier one counts.
    pub deadline: Option<Instant>,
    /// The fuel of the call. It replaces
    /// [`Limits::fuel`](crate::Limits::fuel).
    pub fuel: Option<u64>,
    /// Ends the call when it is cancelled.
    pub cancel: Option<CancelHandle>,
    /// A value for the host callback, which reads it by
    /// [`HostCall::context`](crate::HostCall::context).
    pub context: Option<Arc<dyn Any + Send + Sync>>,
    /// The caller's place in a trace, such as a `traceparent` of W3C's, for the host callback, which
    /// reads it by [`HostCall::trace`](crate::HostCall::trace).
    pub trace: Option<Arc<str>>,
}

impl CallOptions {
    /// Sets [`timeout`](Self::timeout).
    #[must_use]
    pub const fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = Some(timeout);
        self
    }

    /// Sets [`timeout_includes_wait`](Self::timeout_includes_wait).
    ///
    /// ```
    /// use std::time::Duration;
    /// use wapc_host::{CallOptions, Error, WapcHost, engine::scripted::ScriptedProvider};
    ///
    /// let host = WapcHost::builder(Box::new(ScriptedProvider::echo()))
    ///     .max_instances(1)
    ///     .build(|_, _, _, _, _| Ok(vec![]))?;
    /// let options = CallOptions::default()
    ///     .timeout(Duration::from_millis(20))
    ///     .timeout_includes_wait(true);
    /// let held = host.check_out()?;
    /// let waited = std::thread::scope(|scope| {
    ///     let call = scope.spawn(|| host.with(&options).call("echo", b""));
    ///     call.join().unwrap()
    /// });
    /// assert!(matches!(waited, Err(Error::TimedOut { began: false, .. })));
    /// drop(held);
    /// # Ok::<(), Error>(())
    /// ```
    #[must_use]
    pub const fn timeout_includes_wait(mut self, includes: bool) -> Self {
        self.timeout_includes_wait = includes;
        self
    }

    /// Sets [`deadline`](Self::deadline).
    #[must_use]
    pub const fn deadline(mut self, deadline: Instant) -> Self {
        self.deadline = Some(deadline);
        self
    }

    /// Sets [`fuel`](Self::fuel).
    #[must_use]
    pub const fn fuel(mut self, fuel: u64) -> Self {
        self.fuel = Some(fuel);
        self
    }

    /// Sets [`cancel`](Self::cancel) to a clone of `handle`.
    #[must_use]
    pub fn cancel(mut self, handle: &CancelHandle) -> Self {
        self.cancel = Some(handle.clone());
        self
    }

    /// Sets [`context`](Self::context).
    ///
    /// ```
    /// use std::sync::Arc;
    /// use wapc_host::{CallOptions, HostCall, WapcHost, engine::scripted::ScriptedProvider};
    ///
    /// struct User(&'static str);
    ///
    /// struct Greeter;
    /// impl wapc_host::HostCallback for Greeter {
    ///     fn call(&self, call: HostCall<'_>, answer: &mut Vec<u8>) -> Result<(), wapc_host::BoxError> {
    ///         let user: &User = call.context().ok_or("nobody is logged in")?;
    ///         answer.extend_from_slice(user.0.as_bytes());
    ///         Ok(())
    ///     }
    /// }
    ///
    /// let guest = ScriptedProvider::new(|guest, _, _| match guest.ask(b"who?")? {
    ///     Ok(name) => guest.respond(&name),
    ///     Err(error) => guest.fail(&error),
    /// });
    /// let host = WapcHost::with_callback(Box::new(guest), Greeter)?;
    /// let options = CallOptions::default().context(Arc::new(User("Ada")));
    /// assert_eq!(host.with(&options).call("greet", b"")?, b"Ada");
    /// # Ok::<(), wapc_host::Error>(())
    /// ```
    #[must_use]
    pub fn context<T: Any + Send + Sync>(mut self, context: Arc<T>) -> Self {
        self.context = Some(context);
        self
    }

    /// Sets [`trace`](Self::trace).
    ///
    /// ```
    /// use wapc_host::{CallOptions, Error, HostCall, WapcHost, engine::scripted::ScriptedProvider};
    ///
    /// let guest = ScriptedProvider::new(|guest, _, _| match guest.ask(b"")? {
    ///     Ok(answer) => guest.respond(&answer),
    ///     Err(error) => guest.fail(&error),
    /// });
    /// let host = WapcHost::builder(Box::new(guest)).build_fn(|call: HostCall<'_>| {
    ///     Ok(call.trace().unwrap_or("none").into())
    /// })?;
    /// let trace = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
    /// let options = CallOptions::default().trace(trace);
    /// assert_eq!(host.with(&options).call("any", b"")?, trace.as_bytes());
    /// assert_eq!(host.call("any", b"")?, b"none");
    /// # Ok::<(), Error>(())
    /// ```
    #[must_use]
    pub fn trace(mut self, trace: impl Into<Arc<str>>) -> Self {
        self.trace = Some(trace.into());
        self
    }

    /// The time until [`deadline`](Self::deadline); zero if it has passed.
    pub(crate) fn until_deadline(&self) -> Option<Duration> {
        let deadline = self.deadline?;
        Some(deadline.saturating_duration_since(Instant::now()))
    }

    /// The time that the caller may wait for an instance, of a host with the timeout `default`.
    pub(crate) fn longest_wait(&self, default: Option<Duration>) -> Option<Duration> {
        let timeout = self.timeout.or(default);
        let timeout = timeout.filter(|_| self.timeout_includes_wait);
        self.until_deadline().into_iter().chain(timeout).min()
    }

    /// The options of a call that has waited: its timeout is shorter, if that includes
    /// the wait.
    pub(crate) fn after_wait(&self, waited: Duration, default: Option<Duration>) -> Option<Self> {
        if !self.timeout_includes_wait {
            return None;
        }
        let left = self.timeout.or(default)?.saturating_sub(waited);
        Some(self.clone().timeout(left))
    }

    pub(crate) fn is_cancelled(&self) -> bool {
        self.cancel.as_ref().is_some_and(CancelHandle::is_cancelled)
    }
}

impl fmt::Debug for CallOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CallOptions")
            .field("timeout", &self.timeout)
            .field("timeout_includes_wait", &self.timeout_includes_wait)
            .field("deadline", &self.deadline)
            .field("fuel", &self.fuel)
            .field("cancel", &self.cancel)
            .field("trace", &self.trace)
            .finish_non_exhaustive()
    }
}
