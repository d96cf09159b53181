//! The budget of one call: its time, its fuel, its yield interval.

use std::{any::Any, num::NonZeroU64, sync::Arc, time::Duration};

use parking_lot::Mutex;

use crate::{
    clock,
    error::StopReason,
    limits::call::CallOptions,
    limits::cancel::CancelHandle,
    limits::guest::Limits,
    timer::{Pause, Turn},
};

/// The budget of one call, or of the start functions of one instance.
pub(super) struct Budget {
    /// The time of a call without options.
    default_time: Time,
    time: Time,
    /// The next call cannot take the fast path: it must clear per-call options
    /// or update the monitor.
    needs_reset: bool,
    /// The tick at which the call has begun.
    began: u64,
    /// The tick at which the call must have ended; `u64::MAX` for never.
    expires: u64,
    fuel: Option<u64>,
    cancel: Option<CancelHandle>,
    context: Option<Arc<dyn Any + Send + Sync>>,
    trace: Option<Arc<str>>,
    /// The ticks after which the guest of an async call yields.
    yield_ticks: Option<NonZeroU64>,
    /// The tick at which the last pause ended, maybe of an earlier call.
    turn_began: u64,
    /// The turn after it.
    turn: Option<Turn>,
    monitor: Option<Arc<Mutex<Monitored>>>,
}

/// The part of a budget that a [`CallMonitor`](crate::engine::CallMonitor) sees.
#[derive(Debug)]
pub(super) struct Monitored {
    pub(super) expires: u64,
    pub(super) timeout: Duration,
    pub(super) cancel: Option<CancelHandle>,
    pub(super) may_await: bool,
}

/// A time limit as a duration, for errors, and in ticks.
#[derive(Clone, Copy)]
struct Time {
    duration: Option<Duration>,
    ticks: u64,
}

impl Time {
    fn new(duration: Option<Duration>) -> Self {
        Self {
            duration,
            // One more, since the current tick is partly over.
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
    pub(super) fn for_start(limits: &Limits, options: Option<&CallOptions>) -> Self {
        let until_deadline = options.and_then(CallOptions::until_deadline);
        let time = Time::new(shorter(until_deadline, limits.start_timeout));
        let began = clock::now();
        Self {
            default_time: Time::new(limits.timeout),
            time,
            // The first call has another time limit than the start functions.
            needs_reset: true,
            began,
            expires: began.saturating_add(time.ticks),
            fuel: limits.fuel,
            cancel: options.and_then(|options| options.cancel.clone()),
            context: None,
            trace: None,
            yield_ticks: None,
            turn_began: 0,
            turn: None,
            monitor: None,
        }
    }

    /// Keeps `monitor` up to date from now on.
    pub(super) fn set_monitor(&mut self, monitor: Arc<Mutex<Monitored>>) {
        self.monitor = Some(monitor);
        self.needs_reset = true;
        self.update_monitor();
    }

    fn update_monitor(&self) {
        if let Some(monitor) = &self.monitor {
            *monitor.lock() = Monitored {
                expires: self.expires,
                timeout: self.timeout(),
                cancel: self.cancel.clone(),
                may_await: self.may_await(),
            };
        }
    }

    /// Begins a call.
    #[inline]
    pub(super) fn begin(
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
            self.trace = None;
            return;
        };
        let timeout = options.timeout.or(limits.timeout);
        self.time = Time::new(shorter(options.until_deadline(), timeout));
        self.fuel = options.fuel.or(limits.fuel);
        self.cancel.clone_from(&options.cancel);
        self.context.clone_from(&options.context);
        self.trace.clone_from(&options.trace);
    }

    /// Returns `true` if the call has a time limit, a cancel handle or a yield
    /// interval.
    #[inline]
    pub(super) const fn is_timed(&self) -> bool {
        self.expires != u64::MAX || self.cancel.is_some() || self.yield_ticks.is_some()
    }

    /// Returns an error if the time is over or the call is cancelled.
    #[inline]
    pub(super) fn check(&self) -> Result<(), StopReason> {
        Self::check_against(self.expires, || self.timeout(), self.cancel.as_ref())
    }

    #[inline]
    pub(super) fn check_against(
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

    /// Returns a pause if `yield_ticks` have passed since the last one.
    pub(super) fn pause(&mut self) -> Option<Pause> {
        let yield_ticks = self.yield_ticks?;
        let now = clock::now();
        let due = self.turn_began.max(self.began);
        if now < due.saturating_add(yield_ticks.get()) {
            return None;
        }
        let of_this_call = self.turn_began >= self.began;
        let (pause, turn) = Pause::after(self.turn.filter(|_| of_this_call));
        self.turn_began = now.saturating_add(clock::whole_ticks_in(turn.begins_in()));
        self.turn = Some(turn);
        Some(pause)
    }

    /// Sets the ticks after which the guest yields.
    pub(super) fn set_yield_ticks(&mut self, yield_ticks: NonZeroU64) {
        self.yield_ticks = Some(yield_ticks);
        self.update_monitor();
    }

    /// Returns `true` if the call is async.
    pub(super) const fn may_await(&self) -> bool {
        self.yield_ticks.is_some()
    }

    pub(super) const fn expires(&self) -> u64 {
        self.expires
    }

    pub(super) fn timeout(&self) -> Duration {
        self.time.duration.unwrap_or_default()
    }

    pub(super) const fn cancel(&self) -> Option<&CancelHandle> {
        self.cancel.as_ref()
    }

    pub(super) fn is_cancelled(&self) -> bool {
        self.cancel.as_ref().is_some_and(CancelHandle::is_cancelled)
    }

    /// Returns the time left, in whole ticks; `None` if there is no limit.
    pub(super) fn time_left(&self) -> Option<Duration> {
        Self::time_until(self.expires)
    }

    /// Returns the time until the tick `expires`; `None` for `u64::MAX`.
    pub(super) fn time_until(expires: u64) -> Option<Duration> {
        let ticks = expires.saturating_sub(clock::now()).saturating_sub(1);
        (expires != u64::MAX).then(|| clock::duration_of(ticks))
    }

    pub(super) const fn fuel(&self) -> Option<u64> {
        self.fuel
    }

    pub(super) fn context(&self) -> Option<&(dyn Any + Send + Sync)> {
        self.context.as_deref()
    }

    pub(super) fn shared_context(&self) -> Option<Arc<dyn Any + Send + Sync>> {
        self.context.clone()
    }

    pub(super) fn trace(&self) -> Option<&Arc<str>> {
        self.trace.as_ref()
    }

    /// Returns the ticks since the call began.
    #[inline]
    pub(crate) fn ticks(&self) -> u64 {
        // No underflow: the count is monotonic.
        clock::now().wrapping_sub(self.began)
    }

    /// Returns the time since the call began; `None` if the call is not timed,
    /// since the clock may sleep then.
    pub(super) fn time_spent(&self) -> Option<Duration> {
        self.is_timed().then(|| clock::duration_of(self.ticks()))
    }
}
