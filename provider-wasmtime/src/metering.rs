//! Time and fuel: how a running guest is interrupted.

use wapc_host::{EngineError, Interruption};
use wasmtime::{Error, Store, UpdateDeadline};

use crate::linker::Data;

/// How the guest in a store can be interrupted.
pub(crate) struct Meter {
    interruption: Interruption,
}

impl Meter {
    /// Puts a new store under its limits, before anything runs in it.
    pub(crate) fn install(
        store: &mut Store<Data>,
        interruption: Interruption,
    ) -> Result<Self, EngineError> {
        store.limiter(|data| data);
        // An engine may have been made for more than the provider uses. Its
        // guests would then end at once.
        if store.engine().get_epoch_interruption() {
            // A guest asks at each tick, in calls that are not timed too: then
            // it is told to go on, and no call needs to ask for the epoch.
            let ticks = if interruption.by_time() { 1 } else { FAR };
            store.set_epoch_deadline(ticks);
            store.epoch_deadline_callback(|mut store| {
                let state = &mut store.data_mut().state;
                state.check()?;
                #[cfg(feature = "async")]
                if state.should_yield() {
                    return Ok(UpdateDeadline::Yield(1));
                }
                Ok(UpdateDeadline::Continue(1))
            });
        }
        if store.engine().get_consume_fuel() {
            store.set_fuel(u64::MAX).map_err(other)?;
        }
        let meter = Self { interruption };
        meter.give_fuel(store)?;
        Ok(meter)
    }

    /// Gives the call that begins the fuel that it may use, or the start
    /// functions.
    #[inline]
    pub(crate) fn give_fuel(&self, store: &mut Store<Data>) -> Result<(), EngineError> {
        if self.interruption.by_fuel() {
            let fuel = store.data().state.fuel().unwrap_or(u64::MAX);
            store.set_fuel(fuel).map_err(other)?;
        }
        Ok(())
    }

    /// Tells the state what is used up of that.
    #[inline]
    pub(crate) fn count_fuel(&self, store: &mut Store<Data>) {
        if self.interruption.by_fuel()
            && let Ok(left) = store.get_fuel()
        {
            let state = &mut store.data_mut().state;
            let had = state.fuel().unwrap_or(u64::MAX);
            state.set_fuel_used(had.saturating_sub(left));
        }
    }
}

/// An epoch that does not come: the engine adds the present one to it.
const FAR: u64 = u64::MAX / 2;

fn other(error: Error) -> EngineError {
    EngineError::Other(error.into())
}
