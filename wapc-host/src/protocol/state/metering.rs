//! The meter and the limiter of a guest: its time, its fuel, and the growth of
//! its memories and tables. Engines ask here.

use std::num::NonZeroU64;

use super::ModuleState;
use crate::{
    error::{Spent, StopReason},
    limits::guest::LimitError,
    protocol::budget::CallMonitor,
};

impl ModuleState {
    /// Whether the running call, or the running start functions, may be ended
    /// from outside, so that [`ModuleState::check`] must be called.
    #[inline]
    #[must_use]
    pub const fn is_timed(&self) -> bool {
        self.budget.is_timed()
    }

    /// Whether the guest may go on. Costs two loads.
    ///
    /// # Errors
    ///
    /// [`StopReason::TimedOut`], [`StopReason::Cancelled`].
    #[inline]
    pub fn check(&self) -> Result<(), StopReason> {
        self.budget.check()
    }

    /// A monitor with the results of [`ModuleState::check`], for use outside of
    /// the state and for as long as the instance lives.
    #[must_use]
    pub fn monitor(&mut self) -> CallMonitor {
        self.budget.monitor()
    }

    /// The fuel of the running call, or of the running start functions; `None`
    /// if it is without end.
    #[inline]
    #[must_use]
    pub const fn fuel(&self) -> Option<u64> {
        self.budget.fuel()
    }

    /// Notes how much fuel the call has used until now, for its error.
    pub fn set_fuel_used(&mut self, fuel: u64) {
        self.scratch.values_mut().fuel_used = Some(fuel);
    }

    /// The end of a guest that has used up [`ModuleState::fuel`].
    #[must_use]
    pub const fn out_of_fuel(&self) -> StopReason {
        StopReason::Limit(LimitError::Fuel {
            limit: match self.budget.fuel() {
                Some(fuel) => fuel,
                None => u64::MAX,
            },
        })
    }

    /// Whether a module with so many memories and tables may become an
    /// instance. To be asked before it does.
    ///
    /// # Errors
    ///
    /// [`LimitError::Memories`], [`LimitError::Tables`].
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

    /// Whether a memory may grow from `current` to `desired` bytes; a new one
    /// grows from 0. What is allowed is counted as done. Beyond the `maximum`
    /// of its own type it may not, and that is not a limit's doing.
    pub fn grow_memory(&mut self, current: usize, desired: usize, maximum: Option<usize>) -> bool {
        within(desired, maximum) && {
            let grown = self.growth.grow_memory(&self.limits, current, desired);
            self.record_growth(grown)
        }
    }

    /// Takes back the growth that [`ModuleState::grow_memory`] allowed last:
    /// the engine could not do it.
    pub const fn memory_growth_failed(&mut self) {
        self.growth.memory_failed();
    }

    /// Whether a table may grow from `current` to `desired` elements; a new
    /// one grows from 0. What is allowed is counted as done. Beyond the
    /// `maximum` of its own type it may not, and that is not a limit's doing.
    pub fn grow_table(&mut self, current: usize, desired: usize, maximum: Option<usize>) -> bool {
        within(desired, maximum) && {
            let grown = self.growth.grow_table(&self.limits, current, desired);
            self.record_growth(grown)
        }
    }

    /// Takes back the growth that [`ModuleState::grow_table`] allowed last:
    /// the engine could not do it.
    pub const fn table_growth_failed(&mut self) {
        self.growth.table_failed();
    }

    /// Returns whether a growth was allowed, and keeps the reason if not.
    fn record_growth(&mut self, grown: Result<(), LimitError>) -> bool {
        grown
            .map_err(|refused| self.scratch.values_mut().refused = Some(refused))
            .is_ok()
    }

    /// What the guest was refused last by [`ModuleState::grow_memory`] or
    /// [`ModuleState::grow_table`]: the reason why an instance cannot be made.
    #[must_use]
    pub fn refused(&self) -> Option<&LimitError> {
        self.scratch.values().refused.as_ref()
    }

    /// Whether the guest should yield to other tasks now. HostCallStart every few
    /// milliseconds, it is true once for each
    /// [`yield_interval`](crate::HostBuilder::yield_interval) of an async call.
    #[must_use]
    pub fn should_yield(&mut self) -> bool {
        self.budget.should_yield()
    }

    /// Lets the guest yield after each `yield_ticks` of its start functions.
    pub(crate) fn set_yield_ticks(&mut self, yield_ticks: NonZeroU64) {
        self.budget.set_yield_ticks(yield_ticks);
    }

    pub(crate) fn spent(&self) -> Spent {
        Spent {
            time: self.budget.time_spent(),
            fuel: self.scratch.values().fuel_used,
        }
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
