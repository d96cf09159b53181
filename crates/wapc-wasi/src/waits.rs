//! How what waits for a guest is told to stop.

use std::{sync::Arc, thread, time::Duration};

use wapc_host::StopReason;
use wasi_common::Error;
use wiggle::anyhow;

/// Checks whether the guest may go on: in general by
/// [`CallMonitor::check`](wapc_host::CallMonitor::check).
///
/// It is asked often while a guest waits, so it should be quick.
pub type MayGoOn = Arc<dyn Fn() -> Result<(), StopReason> + Send + Sync>;

/// The longest time for which nobody asks whether the call has to end.
const SLICE: Duration = Duration::from_millis(5);

/// Cuts what would wait long into slices, and asks between them.
#[derive(Clone)]
pub(crate) struct Waits {
    may_go_on: Option<MayGoOn>,
}

impl Waits {
    pub(crate) fn new(may_go_on: Option<MayGoOn>) -> Self {
        Self { may_go_on }
    }

    /// Fails if the call has to end.
    pub(crate) fn check(&self) -> Result<(), Error> {
        match &self.may_go_on {
            Some(may_go_on) => may_go_on().map_err(|stop| Error::trap(anyhow::Error::new(stop))),
            None => Ok(()),
        }
    }

    /// How long to wait until the next [`Waits::check`] if the wait could end
    /// in `left`, or never.
    pub(crate) fn slice(&self, left: Option<Duration>) -> Duration {
        match (&self.may_go_on, left) {
            (Some(_), left) => left.map_or(SLICE, |left| left.min(SLICE)),
            (None, left) => left.unwrap_or(Duration::MAX),
        }
    }

    /// Sleeps for a slice.
    pub(crate) fn sleep(&self, left: Option<Duration>) {
        thread::sleep(self.slice(left));
    }
}
