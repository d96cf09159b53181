//! Fuel: what a call has, gets in slices, and has used.

use std::mem;

use wapc_host::{EngineError, Interruption, ModuleState, Stop};
use wasmi::Store;

use crate::{errors::engine_error, linker::Data};

/// The fuel of one call, or of all start functions of one instance.
pub(crate) struct Meter {
    interruption: Interruption,
    /// The most that the store gets at once.
    slice: u64,
    total: u64,
    /// The part of what is left that is not in the store.
    reserve: u64,
}

impl Meter {
    /// That of the call, or of the start functions, that `state` says is
    /// about to begin.
    #[inline]
    pub(crate) fn new(interruption: Interruption, state: &ModuleState) -> Self {
        let timed = interruption.by_time() && state.is_timed();
        let total = match interruption.by_fuel() {
            true => state.fuel().unwrap_or(u64::MAX),
            false => u64::MAX,
        };
        Self {
            interruption,
            slice: if timed { SLICE } else { u64::MAX },
            total,
            reserve: total,
        }
    }

    /// Whether guests run without a meter.
    #[inline(always)]
    pub(crate) fn is_off(&self) -> bool {
        self.interruption == Interruption::Off
    }

    /// Puts a slice into the store, and more if the next operation needs more.
    #[inline]
    pub(crate) fn fill(&mut self, store: &mut Store<Data>, needed: u64) -> Result<(), EngineError> {
        if self.interruption == Interruption::Off {
            return Ok(());
        }
        let slice = self.slice.max(needed).min(self.reserve);
        self.reserve -= slice;
        let metered = store.set_fuel(slice);
        metered.map_err(|error| engine_error(&error))
    }

    /// Lets a start section run that wasmi runs to its end: by time, it gets
    /// what a guest uses up in about the time that it may take.
    pub(crate) fn fill_for_section(&mut self, store: &mut Store<Data>) -> Result<(), EngineError> {
        if self.interruption == Interruption::Off {
            return Ok(());
        }
        let slice = match store.data().state.limits().start_timeout {
            Some(timeout) if self.interruption.by_time() => u64::try_from(timeout.as_millis())
                .unwrap_or(u64::MAX)
                .saturating_mul(FUEL_IN_A_MILLISECOND),
            _ => u64::MAX,
        };
        let usual = mem::replace(&mut self.slice, slice);
        let filled = self.fill(store, 0);
        self.slice = usual;
        filled
    }

    /// Why such a start section was out of fuel.
    pub(crate) fn section_out_of_fuel(&self, state: &ModuleState) -> EngineError {
        EngineError::Stopped(match state.limits().start_timeout {
            Some(timeout) if self.reserve > 0 => Stop::TimedOut { timeout },
            _ => state.out_of_fuel(),
        })
    }

    /// Takes back what is left in the store, and notes what was used.
    #[inline]
    pub(crate) fn empty(&mut self, store: &mut Store<Data>) {
        if self.interruption.by_fuel() {
            self.take_back(store);
            let used = self.total - self.reserve;
            store.data_mut().state.set_fuel_used(used);
        } else {
            self.reserve = self.total;
        }
    }

    /// `reserve` never comes to more than `total`, whoever fills the store.
    fn take_back(&mut self, store: &mut Store<Data>) {
        let left = store.get_fuel().unwrap_or_default();
        self.reserve = self.reserve.saturating_add(left).min(self.total);
        let _ = store.set_fuel(0);
    }

    /// Decides about a guest that has used up its slice, and whose next
    /// operation needs so much fuel.
    #[cold]
    pub(crate) fn go_on(
        &mut self,
        store: &mut Store<Data>,
        needed: u64,
    ) -> Result<(), EngineError> {
        let data = store.data_mut();
        data.state.check().map_err(EngineError::Stopped)?;
        let in_table_growth = mem::take(&mut data.table_starved);
        self.take_back(store);
        if in_table_growth && !store.data().resumes_table_growth {
            return Err(self.starved(store.data()));
        }
        if needed > self.reserve {
            return Err(EngineError::Stopped(store.data().state.out_of_fuel()));
        }
        self.fill(store, needed)
    }

    /// Why a guest cannot go on that has run out of fuel in the middle of
    /// something.
    #[cold]
    pub(crate) fn starved(&self, data: &Data) -> EngineError {
        if self.reserve == 0 {
            return EngineError::Stopped(data.state.out_of_fuel());
        }
        EngineError::Other(STARVED.into())
    }
}

/// Neither happens to a module that the provider has translated for engines of
/// its own.
const STARVED: &str = "wasmi cannot go on after a slice of fuel has run out in the translation of \
                       a function, or in `table.grow` in a module that was translated elsewhere";

/// The fuel after which a timed guest is asked whether it may go on.
///
/// A unit is about one instruction, or 64 bytes of a bulk operation: a slice
/// takes a tenth of a millisecond or less, and going on costs it a few parts in
/// a thousand. It is not larger because of what wasmi does not count: a call
/// that clears 30,000 locals takes a thousand times as long as others of its
/// price (<https://github.com/wasmi-labs/wasmi/issues/2038>), and a slice of
/// nothing else some tens of milliseconds.
const SLICE: u64 = 20_000;

/// What a guest uses up in a millisecond, roughly.
const FUEL_IN_A_MILLISECOND: u64 = 500_000;
