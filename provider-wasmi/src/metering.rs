//! Fuel: the interruption of guests by time and by a budget.

use std::mem;

use wapc_host::{
    Interruption, ModuleState,
    error::{EngineError, StopReason},
};
use wasmi::Store;

use crate::{errors::engine_error, linker::Data};

/// The fuel of one call, or of all start functions of one instance.
pub(crate) struct Meter {
    interruption: Interruption,
    /// The largest amount that the store gets at once.
    slice: u64,
    /// The budget of the call.
    total: u64,
    /// The unused part of the budget that is not in the store.
    reserve: u64,
}

impl Meter {
    /// Creates the meter of the call, or of the start functions, that `state`
    /// is about to begin.
    #[inline]
    pub(crate) fn new(interruption: Interruption, state: &ModuleState) -> Self {
        let timed = interruption.by_time() && state.is_timed();
        let total = match interruption.by_fuel() {
            true => state.fuel().unwrap_or(u64::MAX),
            false => u64::MAX,
        };
        Self {
            interruption,
            slice: if timed { FUEL_SLICE } else { u64::MAX },
            total,
            reserve: total,
        }
    }

    /// Returns whether guests run without fuel metering.
    #[inline(always)]
    pub(crate) fn is_off(&self) -> bool {
        self.interruption == Interruption::Off
    }

    /// Moves one slice from the reserve into the store, or `needed` units if
    /// that is more.
    #[inline]
    pub(crate) fn refuel(
        &mut self,
        store: &mut Store<Data>,
        needed: u64,
    ) -> Result<(), EngineError> {
        if self.is_off() {
            return Ok(());
        }
        let slice = self.slice.max(needed).min(self.reserve);
        self.reserve -= slice;
        let metered = store.set_fuel(slice);
        metered.map_err(|error| engine_error(&error))
    }

    /// Refuels for a start section, which wasmi runs without returning control.
    ///
    /// A time limit is approximated: the section gets the fuel that a guest uses
    /// in that time.
    pub(crate) fn refuel_for_section(
        &mut self,
        store: &mut Store<Data>,
    ) -> Result<(), EngineError> {
        if self.is_off() {
            return Ok(());
        }
        let slice = match store.data().state.limits().start_timeout {
            Some(timeout) if self.interruption.by_time() => u64::try_from(timeout.as_millis())
                .unwrap_or(u64::MAX)
                .saturating_mul(FUEL_PER_MILLISECOND),
            _ => u64::MAX,
        };
        let usual = mem::replace(&mut self.slice, slice);
        let refuelled = self.refuel(store, 0);
        self.slice = usual;
        refuelled
    }

    /// Returns the error of a start section that ran out of fuel.
    pub(crate) fn section_out_of_fuel(&self, state: &ModuleState) -> EngineError {
        EngineError::Stopped(match state.limits().start_timeout {
            Some(timeout) if self.reserve > 0 => StopReason::TimedOut { timeout },
            _ => state.out_of_fuel(),
        })
    }

    /// Ends the metering of a call: reclaims the fuel left in the store, and
    /// tells the state how much was used.
    #[inline]
    pub(crate) fn settle(&mut self, store: &mut Store<Data>) {
        if self.interruption.by_fuel() {
            self.reclaim(store);
            let used = self.total - self.reserve;
            store.data_mut().state.set_fuel_used(used);
        } else {
            self.reserve = self.total;
        }
    }

    /// Moves the fuel left in the store back into the reserve.
    ///
    /// Invariant: `reserve <= total`, even if the store was refuelled by others.
    fn reclaim(&mut self, store: &mut Store<Data>) {
        let left = store.get_fuel().unwrap_or_default();
        self.reserve = self.reserve.saturating_add(left).min(self.total);
        let _ = store.set_fuel(0);
    }

    /// Gives another slice to a guest that has used up the last one, unless it
    /// must stop. Its next operation takes `needed` units.
    #[cold]
    pub(crate) fn next_slice(
        &mut self,
        store: &mut Store<Data>,
        needed: u64,
    ) -> Result<(), EngineError> {
        let data = store.data_mut();
        data.state.check().map_err(EngineError::Stopped)?;
        let in_table_growth = mem::take(&mut data.out_of_fuel_in_table_growth);
        self.reclaim(store);
        if in_table_growth && !store.data().resumes_table_growth {
            return Err(self.stuck_without_fuel(store.data()));
        }
        if needed > self.reserve {
            return Err(EngineError::Stopped(store.data().state.out_of_fuel()));
        }
        self.refuel(store, needed)
    }

    /// Returns the error of a guest that ran out of fuel at a point from which
    /// wasmi cannot resume it.
    #[cold]
    pub(crate) fn stuck_without_fuel(&self, data: &Data) -> EngineError {
        if self.reserve == 0 {
            return EngineError::Stopped(data.state.out_of_fuel());
        }
        EngineError::Other(STUCK.into())
    }
}

/// Cannot happen to a module that the provider has translated for engines of its
/// own.
const STUCK: &str = "wasmi cannot resume a guest whose slice of fuel ends in the translation of a \
                     function, or in `table.grow` in a module that the provider did not translate";

/// The slice of fuel after which the host checks whether a timed guest may
/// continue.
///
/// A unit is about one instruction, or 64 bytes of a bulk operation. A slice
/// takes 0.1 ms or less, and resuming costs a few parts in a thousand of that.
/// It is not larger because of operations that wasmi undercounts: a call that
/// clears 30,000 locals takes a thousand times as long as others of its price
/// (<https://github.com/wasmi-labs/wasmi/issues/2038>), and a slice of nothing
/// else takes some tens of milliseconds.
const FUEL_SLICE: u64 = 20_000;

/// The fuel that a guest uses in a millisecond, roughly.
const FUEL_PER_MILLISECOND: u64 = 500_000;
