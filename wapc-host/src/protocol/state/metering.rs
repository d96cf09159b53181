//! The meter and the limiter of a guest, for its engine: time, fuel, and the
//! growth of memories and tables.

use std::{num::NonZeroU64, sync::Arc};

use super::ModuleState;
use crate::{
    error::{Spent, StopReason},
    limits::cancel::CancelHandle,
    limits::guest::LimitError,
    protocol::monitor::CallMonitor,
    timer::Pause,
};

impl ModuleState {
    /// Returns `true` if the running call, or the running start functions, have
    /// a time limit, a cancel handle or a yield interval. Then the engine must
    /// call [`ModuleState::check`] every few milliseconds.
    #[inline]
    #[must_use]
    pub const fn is_timed(&self) -> bool {
        self.budget.is_timed()
    }

    /// Checks that the guest may go on. The cost is two loads.
    ///
    /// # Errors
    ///
    /// [`StopReason::TimedOut`] if the time is over, [`StopReason::Cancelled`]
    /// if the call was cancelled. The engine then ends the guest.
    #[inline]
    pub fn check(&self) -> Result<(), StopReason> {
        self.budget.check()
    }

    /// Returns a monitor of the instance's calls, for code that cannot reach this
    /// state. It works as long as the instance lives.
    #[must_use]
    pub fn monitor(&mut self) -> CallMonitor {
        let monitor = CallMonitor::new(self.host_id, Arc::clone(&self.panic));
        self.budget.set_monitor(Arc::clone(monitor.monitored()));
        monitor
    }

    /// Returns `true` in an async call, whose guest can be suspended.
    #[must_use]
    pub const fn may_await(&self) -> bool {
        self.budget.may_await()
    }

    /// Returns the fuel of the running call, or of the running start functions;
    /// `None` is no limit.
    #[inline]
    #[must_use]
    pub const fn fuel(&self) -> Option<u64> {
        self.budget.fuel()
    }

    /// Records the fuel that the call has used, for its error.
    pub fn set_fuel_used(&mut self, fuel: u64) {
        self.scratch.values_mut().fuel_used = Some(fuel);
    }

    /// Returns the error of a guest that has used up [`ModuleState::fuel`].
    #[must_use]
    pub const fn out_of_fuel(&self) -> StopReason {
        StopReason::Limit(LimitError::Fuel {
            limit: match self.budget.fuel() {
                Some(fuel) => fuel,
                None => u64::MAX,
            },
        })
    }

    /// Checks the numbers of memories and tables of a module. Engines call this
    /// before they instantiate it.
    ///
    /// # Errors
    ///
    /// [`LimitError::Memories`] or [`LimitError::Tables`], if the module has
    /// more of them than the limits allow.
    pub fn admit(&self, memories: usize, tables: usize) -> Result<(), StopReason> {
        let limits = &*self.limits;
        if memories > limits.max_memories {
            let limit = limits.max_memories;
            return Err(LimitError::Memories { limit }.into());
        }
        if tables > limits.max_tables {
            let limit = limits.max_tables;
            return Err(LimitError::Tables { limit }.into());
        }
        Ok(())
    }

    /// Returns `true` if a memory may grow from `current` to `desired` bytes, and
    /// counts the growth. A new memory grows from 0.
    ///
    /// A growth beyond `maximum`, the memory's own type, is refused too, but is
    /// not recorded in [`ModuleState::refused`].
    pub fn grow_memory(&mut self, current: usize, desired: usize, maximum: Option<usize>) -> bool {
        within(desired, maximum) && {
            let grown = self.growth.grow_memory(&self.limits, current, desired);
            self.record_growth(grown)
        }
    }

    /// Reverts the last growth that [`ModuleState::grow_memory`] has allowed,
    /// because the engine could not do it.
    pub const fn memory_growth_failed(&mut self) {
        self.growth.memory_failed();
    }

    /// Returns `true` if a table may grow from `current` to `desired` elements,
    /// and counts the growth. A new table grows from 0.
    ///
    /// A growth beyond `maximum`, the table's own type, is refused too, but is
    /// not recorded in [`ModuleState::refused`].
    pub fn grow_table(&mut self, current: usize, desired: usize, maximum: Option<usize>) -> bool {
        within(desired, maximum) && {
            let grown = self.growth.grow_table(&self.limits, current, desired);
            self.record_growth(grown)
        }
    }

    /// Reverts the last growth that [`ModuleState::grow_table`] has allowed,
    /// because the engine could not do it.
    pub const fn table_growth_failed(&mut self) {
        self.growth.table_failed();
    }

    /// Returns `true` if a growth was allowed, and records the reason if not.
    fn record_growth(&mut self, grown: Result<(), LimitError>) -> bool {
        grown
            .map_err(|refused| self.scratch.values_mut().refused = Some(refused))
            .is_ok()
    }

    /// Returns the reason of the last refusal by [`ModuleState::grow_memory`] or
    /// [`ModuleState::grow_table`]. During instantiation, it is the reason why
    /// the instance cannot be made.
    #[must_use]
    pub fn refused(&self) -> Option<&LimitError> {
        self.scratch.values().refused.as_ref()
    }

    /// Returns the pause that the guest must make now for the executor's other
    /// tasks, or `None`. An engine calls this every few milliseconds, and awaits
    /// the pause; there is one per
    /// [`yield_interval`](crate::HostBuilder::yield_interval) of an async call.
    #[must_use]
    pub fn pause(&mut self) -> Option<Pause> {
        self.budget.pause()
    }

    /// Sets the ticks after which the guest's start functions yield.
    pub(crate) fn set_yield_ticks(&mut self, yield_ticks: NonZeroU64) {
        self.budget.set_yield_ticks(yield_ticks);
    }

    pub(crate) fn spent(&self) -> Spent {
        Spent {
            time: self.budget.time_spent(),
            fuel: self.scratch.values().fuel_used,
        }
    }

    /// The tick at which the guest must have ended, and what cancels it.
    #[inline]
    pub(crate) const fn ends(&self) -> (u64, Option<&CancelHandle>) {
        (self.budget.expires(), self.budget.cancel())
    }

    /// The clock's ticks since the call began.
    #[inline]
    pub(crate) fn ticks(&self) -> u64 {
        self.budget.ticks()
    }
}

fn within(desired: usize, maximum: Option<usize>) -> bool {
    maximum.is_none_or(|maximum| desired <= maximum)
}
