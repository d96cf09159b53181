//! Engines that modules are translated on.

use std::panic::{AssertUnwindSafe, catch_unwind};

use wapc_host::{Interruption, ModuleError};
use wasmi::{CompilationMode, Config, CustomFuelCosts, Engine, Module, Store};

/// Translates a binary, all of it at once.
///
/// A translator that panics refuses the module by it: a guest must not make its
/// host panic.
pub(crate) fn translate(
    engine: &Engine,
    binary: &[u8],
) -> Result<Result<Module, wasmi::Error>, ModuleError> {
    catch_unwind(AssertUnwindSafe(|| Module::new(engine, binary)))
        .map_err(|_| ModuleError::Refused("wasmi has panicked at its translation".into()))
}

/// What engines of the provider's own are made with.
#[derive(Clone, Copy)]
pub(crate) struct EngineSettings {
    pub(crate) interruption: Interruption,
    pub(crate) stack_bytes: usize,
}

impl EngineSettings {
    pub(crate) fn engine(self) -> Engine {
        let mut config = Config::default();
        config.wasm_simd(true).wasm_relaxed_simd(false);
        // Not when a function is first called: see `translate`.
        config.compilation_mode(CompilationMode::Eager);
        config
            .set_min_stack_height(FIRST_STACK_BYTES.min(self.stack_bytes))
            .set_max_stack_height(self.stack_bytes)
            .set_max_recursion_depth(self.stack_bytes / BYTES_IN_A_CALL);
        if self.interruption != Interruption::Off {
            config.consume_fuel(true).fuel_cost(FUEL_COSTS);
        }
        Engine::new(&config)
    }
}

/// wasmi's own default, which it would have to grow for few guests.
const FIRST_STACK_BYTES: usize = 1_000;

/// What the shallowest call counts for, so that calls without operands have an
/// end too. Compiled code takes about as much.
pub(crate) const BYTES_IN_A_CALL: usize = 64;

/// Translation at first use is free: it would make the first call dearer than
/// the next, and wasmi cannot go on when fuel runs out in it.
const FUEL_COSTS: CustomFuelCosts = CustomFuelCosts {
    bytes_copied_per_fuel: 64,
    fuel_per_bytes_translated: 0,
    fuel_per_bytes_validated: 0,
};

/// Refuses an engine of the user's that is not what the user says it is.
pub(crate) fn check_metering(
    engine: &Engine,
    interruption: Interruption,
) -> Result<(), ModuleError> {
    let metered = Store::new(engine, ()).get_fuel().is_ok();
    let error = match interruption {
        Interruption::Off if metered => {
            "its engine meters fuel (`Config::consume_fuel`), and `Builder::interruption` is `Off`"
        }
        Interruption::Time | Interruption::Fuel | Interruption::TimeAndFuel if !metered => {
            "its engine does not meter fuel (`Config::consume_fuel`), so that \
             `Builder::interruption` must be `Off`"
        }
        _ => return Ok(()),
    };
    Err(ModuleError::Refused(error.into()))
}
