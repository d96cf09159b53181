//! Sleeps and polls: on the guest's thread, or awaited in async calls.

use std::{
    thread,
    time::{Duration, Instant},
};

use wasi_common::{
    Error, Poll, WasiFile, WasiSched,
    sched::subscription::{RwEventFlags, RwSubscription, Subscription},
};
use wiggle::async_trait;

use crate::{input::Input, interruptible_wait::InterruptibleWait};

pub(crate) struct Sched {
    wait: InterruptibleWait,
}

impl Sched {
    pub(crate) const fn new(wait: InterruptibleWait) -> Self {
        Self { wait }
    }
}

#[async_trait]
impl WasiSched for Sched {
    /// Waits for timers and for the program's standard input. Files and outputs
    /// are always ready.
    async fn poll_oneoff<'a>(&self, poll: &mut Poll<'a>) -> Result<(), Error> {
        loop {
            self.wait.check()?;
            let mut ready = false;
            let mut silent = None;
            for subscription in poll.rw_subscriptions() {
                match subscription {
                    Subscription::Read(read) => match silent_input(read) {
                        Some(input) => silent = Some(input),
                        None => {
                            let bytes = read.file.num_ready_bytes().unwrap_or_default();
                            read.complete(bytes, RwEventFlags::empty());
                            ready = true;
                        }
                    },
                    Subscription::Write(write) => {
                        write.complete(0, RwEventFlags::empty());
                        ready = true;
                    }
                    Subscription::MonotonicClock(_) => {}
                }
            }
            let left = poll
                .earliest_clock_deadline()
                .map(|clock| clock.duration_until().unwrap_or_default());
            if ready || left == Some(Duration::ZERO) {
                return Ok(());
            }
            match silent {
                Some(input) => input.wait(&self.wait, left).await,
                None => self.wait.sleep(left).await,
            }
        }
    }

    async fn sched_yield(&self) -> Result<(), Error> {
        if !self.wait.awaits() {
            thread::yield_now();
        }
        self.wait.end_piece().await
    }

    async fn sleep(&self, duration: Duration) -> Result<(), Error> {
        // `None` if the end is not representable: the sleep is endless.
        let end = Instant::now().checked_add(duration);
        loop {
            self.wait.check()?;
            let left = end.map(|end| end.saturating_duration_since(Instant::now()));
            if left == Some(Duration::ZERO) {
                return Ok(());
            }
            self.wait.sleep(left).await;
        }
    }
}

/// Returns the input of a subscription, if a read from it would wait.
fn silent_input<'a>(read: &RwSubscription<'a>) -> Option<&'a Input> {
    let file: &'a dyn WasiFile = read.file;
    file.as_any()
        .downcast_ref::<Input>()
        .filter(|input| !input.is_ready())
}
