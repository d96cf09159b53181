//! The options of one call.

use std::{
    any::Any,
    fmt,
    sync::Arc,
    time::{Duration, Instant},
};

use super::cancel::CancelHandle;

/// Settings of a single call, over those of its host.
///
/// ```
/// # use std::time::Duration;
/// use wapc_host::{CallOptions, CancelHandle};
///
/// let cancel = CancelHandle::new();
/// let options = CallOptions::default()
///     .timeout(Duration::from_millis(50))
///     .cancel(&cancel);
/// // host.with(&options).call("resize", &image)?
/// ```
///
/// By default a call has the timeout and fuel of the host's
/// [`Limits`](crate::Limits), and nothing else.
#[derive(Clone, Default)]
#[non_exhaustive]
pub struct CallOptions {
    /// How long the call may take in place of
    /// [`Limits::timeout`](crate::Limits::timeout).
    pub timeout: Option<Duration>,
    /// When the call must have ended, waiting for an instance and the start
    /// functions of a new one included; the earlier of both counts.
    pub deadline: Option<Instant>,
    /// Fuel in place of [`Limits::fuel`](crate::Limits::fuel).
    pub fuel: Option<u64>,
    /// Ends the call when it is cancelled.
    pub cancel: Option<CancelHandle>,
    /// What the host callback sees of this call; see
    /// [`HostCall::context`](crate::HostCall::context).
    pub context: Option<Arc<dyn Any + Send + Sync>>,
}

impl CallOptions {
    /// Sets [`timeout`](Self::timeout).
    #[must_use]
    pub const fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = Some(timeout);
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

    /// Lets `handle` end the call.
    #[must_use]
    pub fn cancel(mut self, handle: &CancelHandle) -> Self {
        self.cancel = Some(handle.clone());
        self
    }

    /// Shows `context` to the host callback for the length of this call.
    #[must_use]
    pub fn context<T: Any + Send + Sync>(mut self, context: Arc<T>) -> Self {
        self.context = Some(context);
        self
    }

    /// The time that is left of [`deadline`](Self::deadline).
    pub(crate) fn until_deadline(&self) -> Option<Duration> {
        let deadline = self.deadline?;
        Some(deadline.saturating_duration_since(Instant::now()))
    }

    pub(crate) fn is_cancelled(&self) -> bool {
        self.cancel.as_ref().is_some_and(CancelHandle::is_cancelled)
    }
}

impl fmt::Debug for CallOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CallOptions")
            .field("timeout", &self.timeout)
            .field("deadline", &self.deadline)
            .field("fuel", &self.fuel)
            .field("cancel", &self.cancel)
            .finish_non_exhaustive()
    }
}
