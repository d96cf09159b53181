//! Waits that can be interrupted when their call must end.

use std::{sync::Arc, thread, time::Duration};

use wapc_host::error::StopReason;
use wasi_common::Error;
use wiggle::anyhow;

/// Returns an error if the guest's call must end. Most often it is
/// [`CallMonitor::check`](wapc_host::engine::CallMonitor::check).
///
/// It is called at least every 5 ms while a guest waits, so it should be quick.
pub type InterruptCheck = Arc<dyn Fn() -> Result<(), StopReason> + Send + Sync>;

/// The longest time between two checks.
const MAX_STEP: Duration = Duration::from_millis(5);

/// Splits a wait into steps, and checks between them whether the call must end.
#[derive(Clone)]
pub(crate) struct InterruptibleWait {
    interrupt_check: Option<InterruptCheck>,
}

impl InterruptibleWait {
    pub(crate) fn new(interrupt_check: Option<InterruptCheck>) -> Self {
        Self { interrupt_check }
    }

    /// Fails if the call must end.
    pub(crate) fn check(&self) -> Result<(), Error> {
        match &self.interrupt_check {
            Some(check) => check().map_err(|stop| Error::trap(anyhow::Error::new(stop))),
            None => Ok(()),
        }
    }

    /// Returns the length of the next step of a wait that ends in `left`, or
    /// never.
    pub(crate) fn step(&self, left: Option<Duration>) -> Duration {
        match (&self.interrupt_check, left) {
            (Some(_), left) => left.map_or(MAX_STEP, |left| left.min(MAX_STEP)),
            (None, left) => left.unwrap_or(Duration::MAX),
        }
    }

    /// Sleeps for one step.
    pub(crate) fn sleep(&self, left: Option<Duration>) {
        thread::sleep(self.step(left));
    }
}
