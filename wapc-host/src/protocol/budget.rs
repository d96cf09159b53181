//! The budget of one call: its time, its fuel, when it yields.

use std::{any::Any, num::NonZeroU64, sync::Arc, time::Duration};

use parking_lot::Mutex;

use crate::{
    clock, error::StopReason, limits::call::CallOptions, limits::cancel::CancelHandle,
    limits::guest::Limits,
};

/// The budget of one call, or of the start functions of one instance.
pub(crate) struct Budget {
    /// The time of a call without options of its own.
    default_time: Time,
    time: Time,
    /// The next call cannot take the fast path: it must clear per-call options
    /// or update the monitor.
    needs_reset: bool,
    /// The ticks of the clock at which it began and must have ended.
    began: u64,
    expires: u64,
    fuel: Option<u64>,
    cancel: Option<CancelHandle>,
    context: Option<Arc<dyn Any + Send + Sync>>,
    /// After how many ticks the guest of an async call yields, and the tick
    /// at which one did last, perhaps in an earlier call.
    yield_ticks: Option<NonZeroU64>,
    last_yield: u64,
    monitor: Option<CallMonitor>,
}

/// How long something may take, as a duration for people and in ticks.
#[derive(Clone, Copy)]
struct Time {
    duration: Option<Duration>,
    ticks: u64,
}

impl Time {
    fn new(duration: Option<Duration>) -> Self {
        Self {
            duration,
            // One more, since the current tick has begun already.
            ticks: duration.map_or(u64::MAX, |duration| {
                clock::ticks_in(duration).saturating_add(1)
            }),
        }
    }
}

fn shorter(one: Option<Duration>, other: Option<Duration>) -> Option<Duration> {
    one.into_iter().chain(other).min()
}

impl Budget {
    /// The budget of start functions, under `limits` and the `options` of a
    /// call that waits for the instance, if there is one.
    pub(crate) fn for_start(limits: &Limits, options: Option<&CallOptions>) -> Self {
        let until_deadline = options.and_then(CallOptions::until_deadline);
        let time = Time::new(shorter(until_deadline, limits.start_timeout));
        let began = clock::now();
        Self {
            default_time: Time::new(limits.timeout),
            time,
            // The first call has another time than start functions.
            needs_reset: true,
            began,
            expires: began.saturating_add(time.ticks),
            fuel: limits.fuel,
            cancel: options.and_then(|options| options.cancel.clone()),
            context: None,
            yield_ticks: None,
            last_yield: 0,
            monitor: None,
        }
    }

    /// A monitor of this budget, for as long as the instance lives.
    pub(crate) fn monitor(&mut self) -> CallMonitor {
        let monitor = self.monitor.get_or_insert_default().clone();
        self.needs_reset = true;
        self.update_monitor();
        monitor
    }

    fn update_monitor(&self) {
        if let Some(monitor) = &self.monitor {
            *monitor.monitored.lock() = Monitored {
                expires: self.expires,
                timeout: self.timeout(),
                cancel: self.cancel.clone(),
            };
        }
    }

    /// Begins a call.
    #[inline]
    pub(crate) fn begin(
        &mut self,
        limits: &Limits,
        options: Option<&CallOptions>,
        yield_ticks: Option<NonZeroU64>,
    ) {
        if options.is_some() || self.needs_reset {
            return self.begin_reset(limits, options, yield_ticks);
        }
        self.start(yield_ticks);
    }

    #[cold]
    fn begin_reset(
        &mut self,
        limits: &Limits,
        options: Option<&CallOptions>,
        yield_ticks: Option<NonZeroU64>,
    ) {
        self.reset(limits, options);
        self.start(yield_ticks);
        self.update_monitor();
    }

    /// Starts the time.
    #[inline]
    fn start(&mut self, yield_ticks: Option<NonZeroU64>) {
        self.began = clock::now();
        self.expires = self.began.saturating_add(self.time.ticks);
        self.yield_ticks = yield_ticks;
    }

    fn reset(&mut self, limits: &Limits, options: Option<&CallOptions>) {
        self.needs_reset = options.is_some() || self.monitor.is_some();
        let Some(options) = options else {
            self.time = self.default_time;
            self.fuel = limits.fuel;
            self.cancel = None;
            self.context = None;
            return;
        };
        let timeout = options.timeout.or(limits.timeout);
        self.time = Time::new(shorter(options.until_deadline(), timeout));
        self.fuel = options.fuel.or(limits.fuel);
        self.cancel.clone_from(&options.cancel);
        self.context.clone_from(&options.context);
    }

    /// Whether [`Budget::check`] may ever refuse to go on, or to yield be due.
    #[inline]
    pub(crate) const fn is_timed(&self) -> bool {
        self.expires != u64::MAX || self.cancel.is_some() || self.yield_ticks.is_some()
    }

    /// Refuses to go on if time is over or the call is cancelled.
    #[inline]
    pub(crate) fn check(&self) -> Result<(), StopReason> {
        Self::check_against(self.expires, || self.timeout(), self.cancel.as_ref())
    }

    #[inline]
    pub(crate) fn check_against(
        expires: u64,
        timeout: impl FnOnce() -> Duration,
        cancel: Option<&CancelHandle>,
    ) -> Result<(), StopReason> {
        if cancel.is_some_and(CancelHandle::is_cancelled) {
            return Err(StopReason::Cancelled);
        }
        if clock::now() >= expires {
            let timeout = timeout();
            return Err(StopReason::TimedOut { timeout });
        }
        Ok(())
    }

    /// Whether it is time for the guest to let others run; if so, the next
    /// time is `yield_ticks` away.
    pub(crate) fn should_yield(&mut self) -> bool {
        let Some(yield_ticks) = self.yield_ticks else {
            return false;
        };
        let now = clock::now();
        let due = now
            >= self
                .last_yield
                .max(self.began)
                .saturating_add(yield_ticks.get());
        if due {
            self.last_yield = now;
        }
        due
    }

    /// Lets the guest yield after each `yield_ticks`, from now on.
    pub(crate) fn set_yield_ticks(&mut self, yield_ticks: NonZeroU64) {
        self.yield_ticks = Some(yield_ticks);
    }

    /// Whether the call may await.
    pub(crate) const fn may_await(&self) -> bool {
        self.yield_ticks.is_some()
    }

    pub(crate) const fn expires(&self) -> u64 {
        self.expires
    }

    pub(crate) fn timeout(&self) -> Duration {
        self.time.duration.unwrap_or_default()
    }

    pub(crate) const fn cancel(&self) -> Option<&CancelHandle> {
        self.cancel.as_ref()
    }

    pub(crate) fn is_cancelled(&self) -> bool {
        self.cancel.as_ref().is_some_and(CancelHandle::is_cancelled)
    }

    /// The time until [`Budget::check`] refuses, to the tick.
    pub(crate) fn time_left(&self) -> Option<Duration> {
        Self::time_until(self.expires)
    }

    /// The time until the tick `expires`; `None` if that never comes.
    pub(crate) fn time_until(expires: u64) -> Option<Duration> {
        let ticks = expires.saturating_sub(clock::now()).saturating_sub(1);
        (expires != u64::MAX).then(|| clock::duration_of(ticks))
    }

    pub(crate) const fn fuel(&self) -> Option<u64> {
        self.fuel
    }

    pub(crate) fn context(&self) -> Option<&(dyn Any + Send + Sync)> {
        self.context.as_deref()
    }

    pub(crate) fn shared_context(&self) -> Option<Arc<dyn Any + Send + Sync>> {
        self.context.clone()
    }

    /// The ticks that have gone by since the call began.
    #[inline]
    pub(crate) fn ticks(&self) -> u64 {
        // The count never goes back.
        clock::now().wrapping_sub(self.began)
    }

    /// How long the call has taken, if the clock has counted.
    pub(crate) fn time_spent(&self) -> Option<Duration> {
        self.is_timed().then(|| clock::duration_of(self.ticks()))
    }
}

/// Tells code outside of an instance's state whether the running call may go
/// on. For what engines do on behalf of a guest, like a sleep.
#[derive(Clone, Debug, Default)]
pub struct CallMonitor {
    monitored: Arc<Mutex<Monitored>>,
}

#[derive(Debug)]
struct Monitored {
    expires: u64,
    timeout: Duration,
    cancel: Option<CancelHandle>,
}

impl Default for Monitored {
    fn default() -> Self {
        Self {
            expires: u64::MAX,
            timeout: Duration::ZERO,
            cancel: None,
        }
    }
}

impl CallMonitor {
    /// Checks whether the guest may go on, with the result of
    /// [`ModuleState::check`](crate::ModuleState::check).
    ///
    /// # Errors
    ///
    /// [`StopReason::TimedOut`], [`StopReason::Cancelled`].
    pub fn check(&self) -> Result<(), StopReason> {
        let monitored = self.monitored.lock();
        Budget::check_against(
            monitored.expires,
            || monitored.timeout,
            monitored.cancel.as_ref(),
        )
    }
}
