//! How what waits for a guest is told to stop.

use std::{error, fmt, sync::Arc, thread, time::Duration};

use wasi_common::Error;
use wiggle::anyhow;

/// Whether the guest's call has to end, because its time is up for example.
///
/// It is asked often while a guest waits, so it should be quick.
pub type Interrupted = Arc<dyn Fn() -> bool + Send + Sync>;

/// The longest time for which nobody asks whether the call has to end.
const SLICE: Duration = Duration::from_millis(5);

/// Cuts what would wait long into slices, and asks between them.
#[derive(Clone)]
pub(crate) struct Waits {
    interrupted: Option<Interrupted>,
}

impl Waits {
    pub(crate) fn new(interrupted: Option<Interrupted>) -> Self {
        Self { interrupted }
    }

    /// Fails if the call has to end.
    pub(crate) fn check(&self) -> Result<(), Error> {
        match &self.interrupted {
            Some(interrupted) if interrupted() => Err(Error::trap(anyhow::Error::new(Interrupt))),
            _ => Ok(()),
        }
    }

    /// How long to wait until the next [`Waits::check`] if the wait could end
    /// in `left`, or never.
    pub(crate) fn slice(&self, left: Option<Duration>) -> Duration {
        match (&self.interrupted, left) {
            (Some(_), left) => left.map_or(SLICE, |left| left.min(SLICE)),
            (None, left) => left.unwrap_or(Duration::MAX),
        }
    }

    /// Sleeps for a slice.
    pub(crate) fn sleep(&self, left: Option<Duration>) {
        thread::sleep(self.slice(left));
    }
}

/// A wait that was cut short, on its way through `wasi_common`.
#[derive(Debug)]
pub(crate) struct Interrupt;

impl fmt::Display for Interrupt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("interrupted")
    }
}

impl error::Error for Interrupt {}
