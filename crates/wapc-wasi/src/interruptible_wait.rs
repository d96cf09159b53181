//! Waits that end when their call must end, and that await in async calls.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use wapc_host::{
    engine::{Pause, sleep_until},
    error::StopReason,
};
use wasi_common::Error;
use wiggle::anyhow;

/// Returns an error if the guest's call must end. Most often it is
/// [`CallMonitor::check`](wapc_host::engine::CallMonitor::check).
///
/// It is called at least every 5 ms while a guest waits, so it should be quick.
pub type InterruptCheck = Arc<dyn Fn() -> Result<(), StopReason> + Send + Sync>;

/// The longest time between two checks.
const MAX_STEP: Duration = Duration::from_millis(5);

/// Waits for a guest: on its thread in steps, with a check between them, or in a
/// future that [`CallMonitor::run_async`](wapc_host::engine::CallMonitor::run_async)
/// ends in time.
#[derive(Clone)]
pub(crate) struct InterruptibleWait {
    interrupt_check: Option<InterruptCheck>,
    /// The running function is a future that may be pending.
    awaits: Arc<AtomicBool>,
}

impl InterruptibleWait {
    pub(crate) fn new(interrupt_check: Option<InterruptCheck>) -> Self {
        Self {
            interrupt_check,
            awaits: Arc::default(),
        }
    }

    /// Sets whether the functions that run next may be pending.
    pub(crate) fn set_awaits(&self, awaits: bool) {
        self.awaits.store(awaits, Ordering::Relaxed);
    }

    pub(crate) fn awaits(&self) -> bool {
        self.awaits.load(Ordering::Relaxed)
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

    /// Sleeps for one step, or awaits the whole wait.
    pub(crate) async fn sleep(&self, left: Option<Duration>) {
        if self.awaits() {
            let now = Instant::now();
            let end = left.and_then(|left| now.checked_add(left));
            sleep_until(end.unwrap_or(now + LONG)).await;
        } else {
            thread::sleep(self.step(left));
        }
    }

    /// Ends a piece of work that takes long: fails if the call must end, and lets the
    /// executor's other tasks run.
    pub(crate) async fn end_piece(&self) -> Result<(), Error> {
        if self.awaits() {
            Pause::new().await;
        }
        self.check()
    }
}

/// A wait that has no end is as good as one of a day: its call ends it.
const LONG: Duration = Duration::from_secs(24 * 3600);
