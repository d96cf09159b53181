//! Sleeps and polls, on the thread that runs the guest.

use std::{
    thread,
    time::{Duration, Instant},
};

use wasi_common::{
    Error, Poll, WasiFile, WasiSched,
    sched::subscription::{RwEventFlags, RwSubscription, Subscription},
};
use wiggle::async_trait;

use crate::{input::Input, waits::Waits};

pub(crate) struct Sched {
    waits: Waits,
}

impl Sched {
    pub(crate) const fn new(waits: Waits) -> Self {
        Self { waits }
    }
}

#[async_trait]
impl WasiSched for Sched {
    /// Only the program's standard input keeps a guest waiting: files are
    /// always ready, and what a guest writes is taken at once.
    async fn poll_oneoff<'a>(&self, poll: &mut Poll<'a>) -> Result<(), Error> {
        loop {
            self.waits.check()?;
            let mut ready = false;
            let mut silent = None;
            for subscription in poll.rw_subscriptions() {
                match subscription {
                    Subscription::Read(read) => match awaited(read) {
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
                Some(input) => input.wait(self.waits.slice(left)),
                None => self.waits.sleep(left),
            }
        }
    }

    async fn sched_yield(&self) -> Result<(), Error> {
        thread::yield_now();
        self.waits.check()
    }

    async fn sleep(&self, duration: Duration) -> Result<(), Error> {
        // `None`: past the end of time.
        let end = Instant::now().checked_add(duration);
        loop {
            self.waits.check()?;
            let left = end.map(|end| end.saturating_duration_since(Instant::now()));
            if left == Some(Duration::ZERO) {
                return Ok(());
            }
            self.waits.sleep(left);
        }
    }
}

/// The input of a subscription, if the guest has to wait for it.
fn awaited<'a>(read: &RwSubscription<'a>) -> Option<&'a Input> {
    let file: &'a dyn WasiFile = read.file;
    file.as_any()
        .downcast_ref::<Input>()
        .filter(|input| !input.is_ready())
}
