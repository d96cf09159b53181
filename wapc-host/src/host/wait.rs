//! Waiting for a slot of the pool, blocking and async, under one deadline.

use std::{
    future::poll_fn,
    task::Poll,
    time::{Duration, Instant},
};

use super::{admission::reject_if_over, lease::Wait, shared::HostShared};
use crate::{
    clock::{self, Alarm},
    error::{Error, Spent},
    limits::call::CallOptions,
    pool::{RESCAN, SlotGuard},
    protocol::pending::WaitLimits,
    protocol::reentrancy::is_reentrant,
};

impl HostShared {
    /// Waits for a slot, in the order of arrival. Counts the error.
    ///
    /// # Errors
    ///
    /// [`Error::Reentrant`], [`Error::Busy`], [`Error::TimedOut`],
    /// [`Error::Cancelled`].
    #[cold]
    pub(super) fn wait(
        &self,
        operation: &str,
        options: Option<&CallOptions>,
        wait: &mut Option<Wait>,
    ) -> Result<SlotGuard<'_>, Error> {
        let mut take = || {
            self.reject_reentrant(operation)?;
            let deadline = self.wait_deadline(options);
            let guard = self
                .pool
                .take_queued(deadline.limit, || deadline.reject_if_over(operation))?;
            let guard = guard.ok_or_else(|| deadline.error(operation))?;
            *wait = Some(Wait::new(&guard, deadline.began.elapsed()));
            Ok(guard)
        };
        take().map_err(|error| self.count_error(error))
    }

    /// Like [`HostShared::wait`], without blocking the thread and without
    /// counting the error.
    pub(super) async fn wait_async(
        &self,
        operation: &str,
        options: Option<&CallOptions>,
    ) -> Result<(SlotGuard<'_>, Wait), Error> {
        self.reject_reentrant(operation)?;
        // The clock must tick for the deadline to be noticed.
        let _working = self.working(true)?;
        let deadline = self.wait_deadline(options);
        let mut limits = deadline.in_ticks();
        let (mut waiter, mut _rescan) = (None, None);
        poll_fn(move |context| {
            let waker = context.waker();
            let waiter = waiter.get_or_insert_with(|| self.pool.join(waker));
            let before = match self.pool.try_take_as(waiter, waker, 1) {
                Ok(guard) => {
                    let wait = Wait::new(&guard, deadline.began.elapsed());
                    return Poll::Ready(Ok((guard, wait)));
                }
                Err(before) => before,
            };
            // The further back, the less often, so that many waiters cost no more than a few.
            let rescan = RESCAN
                .saturating_mul(u32::try_from(before).map_or(u32::MAX, |n| n.saturating_add(1)));
            let ticks = clock::ticks_in(rescan.min(MAX_RESCAN));
            _rescan = Some(Alarm::set(
                clock::now().saturating_add(ticks),
                waker.clone(),
            ));
            match limits.check().and_then(|()| limits.wake_at_end(context)) {
                Ok(()) => Poll::Pending,
                Err(_) => Poll::Ready(Err(deadline.error(operation))),
            }
        })
        .await
    }

    fn wait_deadline<'o>(&self, options: Option<&'o CallOptions>) -> WaitDeadline<'o> {
        WaitDeadline::new(self.settings.wait_limit, options, self.limits.timeout)
    }

    /// Refuses a caller that would wait for itself: there is one slot, and a
    /// call that led to this code holds it.
    fn reject_reentrant(&self, operation: &str) -> Result<(), Error> {
        if self.pool.max() == 1 && is_reentrant(self.id) {
            return Err(Error::Reentrant {
                operation: operation.to_owned(),
                host_id: self.id,
            });
        }
        Ok(())
    }
}

/// The longest interval at which an async waiter looks by itself.
const MAX_RESCAN: Duration = Duration::from_millis(250);

/// The time at which a caller stops waiting: at the host's wait limit or at the
/// call's own deadline, whichever is first.
struct WaitDeadline<'o> {
    began: Instant,
    /// `None` if the caller waits for ever.
    limit: Option<Duration>,
    /// `limit` is the call's own deadline.
    by_deadline: bool,
    options: Option<&'o CallOptions>,
}

impl<'o> WaitDeadline<'o> {
    fn new(
        wait_limit: Option<Duration>,
        options: Option<&'o CallOptions>,
        timeout: Option<Duration>,
    ) -> Self {
        let until_deadline = options.and_then(|options| options.longest_wait(timeout));
        let limit = wait_limit.into_iter().chain(until_deadline).min();
        Self {
            began: Instant::now(),
            limit,
            by_deadline: limit.is_some() && limit == until_deadline,
            options,
        }
    }

    /// Converts the limit to ticks of the clock, and adds the cancel handle.
    fn in_ticks(&self) -> WaitLimits {
        let expires = self.limit.map_or(u64::MAX, |limit| {
            let ticks = match clock::ticks_in(limit) {
                0 => 0,
                // One more, since the current tick has begun already.
                ticks => ticks.saturating_add(1),
            };
            clock::now().saturating_add(ticks)
        });
        let cancel = self.options.and_then(|options| options.cancel.clone());
        WaitLimits::new(expires, self.limit.unwrap_or_default(), cancel)
    }

    /// Refuses a caller that is cancelled or whose deadline has come.
    fn reject_if_over(&self, operation: &str) -> Result<(), Error> {
        let Some(options) = self.options else {
            return Ok(());
        };
        reject_if_over(operation, options).map_err(|error| match error {
            Error::TimedOut { .. } => self.timed_out(operation),
            error => error,
        })
    }

    fn timed_out(&self, operation: &str) -> Error {
        Error::TimedOut {
            operation: operation.to_owned(),
            timeout: self.limit.unwrap_or_default(),
            began: false,
            waited: self.began.elapsed(),
            spent: Spent::default(),
        }
    }

    /// Returns the error of a caller whose wait is over.
    fn error(&self, operation: &str) -> Error {
        match self.reject_if_over(operation) {
            Err(error) => error,
            // The clock's ticks may be slightly ahead of `Instant`.
            Ok(()) if self.by_deadline => self.timed_out(operation),
            Ok(()) => Error::Busy {
                operation: operation.to_owned(),
                waited: self.began.elapsed(),
            },
        }
    }
}
