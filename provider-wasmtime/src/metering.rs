//! Epochs and fuel: the interruption of guests by time and by a budget.

use wapc_host::{Interruption, error::EngineError};
use wasmtime::{AsContextMut, Error, Store, UpdateDeadline};

use crate::linker::Data;

/// The interruption of the guest in one store.
pub(crate) struct Meter {
    interruption: Interruption,
}

impl Meter {
    /// Configures a new store, before anything runs in it.
    pub(crate) fn install(
        store: &mut Store<Data>,
        interruption: Interruption,
    ) -> Result<Self, EngineError> {
        store.limiter(|data| data);
        // The engine may support more than the provider uses. The defaults of
        // wasmtime, epoch 0 and no fuel, would end its guests at once.
        if store.engine().get_epoch_interruption() {
            // The guest calls back at each tick, in untimed calls too, so that no
            // call has to set the epoch's deadline.
            let ticks = if interruption.by_time() { 1 } else { FAR };
            store.set_epoch_deadline(ticks);
            store.epoch_deadline_callback(|mut store| {
                let state = &mut store.data_mut().state;
                state.check()?;
                #[cfg(feature = "async")]
                if let Some(pause) = state.pause() {
                    return Ok(UpdateDeadline::YieldCustom(1, Box::pin(pause)));
                }
                Ok(UpdateDeadline::Continue(1))
            });
        }
        if store.engine().get_consume_fuel() {
            store.set_fuel(u64::MAX).map_err(other)?;
        }
        let meter = Self { interruption };
        meter.refuel(&mut *store)?;
        Ok(meter)
    }

    /// Gives the store the fuel of the call, or of the start functions, that is
    /// about to begin.
    #[inline]
    pub(crate) fn refuel(
        &self,
        mut store: impl AsContextMut<Data = Data>,
    ) -> Result<(), EngineError> {
        if self.interruption.by_fuel() {
            let mut store = store.as_context_mut();
            let fuel = store.data().state.fuel().unwrap_or(u64::MAX);
            store.set_fuel(fuel).map_err(other)?;
        }
        Ok(())
    }

    /// Ends the metering of a call: tells the state how much fuel was used.
    #[inline]
    pub(crate) fn settle(&self, mut store: impl AsContextMut<Data = Data>) {
        if self.interruption.by_fuel()
            && let mut store = store.as_context_mut()
            && let Ok(left) = store.get_fuel()
        {
            let state = &mut store.data_mut().state;
            let had = state.fuel().unwrap_or(u64::MAX);
            state.set_fuel_used(had.saturating_sub(left));
        }
    }
}

/// An epoch that is never reached. wasmtime adds the current epoch to it.
const FAR: u64 = u64::MAX / 2;

fn other(error: Error) -> EngineError {
    EngineError::Other(error.into())
}
