//! The end of a guest by time or by fuel.

use wapc_host::{Interruption, ModuleState, error::StopReason};

/// Counts the fuel of one call, or of all start functions of an instance: one unit
/// for each instruction, and more for those that touch many bytes.
pub(crate) struct Meter {
    is_timed: bool,
    counts_fuel: bool,
    budget: u64,
    left: u64,
    since_check: u64,
}

impl Meter {
    pub(crate) fn new(interruption: Interruption, state: &ModuleState) -> Self {
        let counts_fuel = interruption.by_fuel();
        let budget = match counts_fuel {
            true => state.fuel().unwrap_or(u64::MAX),
            false => u64::MAX,
        };
        Self {
            is_timed: interruption.by_time() && state.is_timed(),
            counts_fuel,
            budget,
            left: budget,
            since_check: 0,
        }
    }

    /// Takes `fuel` for the next instruction, and checks the time now and then.
    pub(crate) fn charge(&mut self, fuel: u64, state: &ModuleState) -> Result<(), StopReason> {
        let left = self.left.checked_sub(fuel);
        self.left = left.ok_or_else(|| state.out_of_fuel())?;
        self.since_check = self.since_check.saturating_add(fuel);
        if self.since_check >= CHECK_INTERVAL {
            self.since_check = 0;
            if self.is_timed {
                state.check()?;
            }
        }
        Ok(())
    }

    /// Tells the host how much fuel was used.
    pub(crate) fn settle(&self, state: &mut ModuleState) {
        if self.counts_fuel {
            state.set_fuel_used(self.budget - self.left);
        }
    }
}

/// The fuel between two checks of the time: about a tenth of a millisecond.
const CHECK_INTERVAL: u64 = 10_000;
