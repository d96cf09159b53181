//! Engines of the provider's own, and translation on any engine.

use std::panic::{AssertUnwindSafe, catch_unwind};

use wapc_host::{Interruption, error::ModuleError};
use wasmi::{CompilationMode, Config, CustomFuelCosts, Engine, Module, Store};

/// Translates a binary, all functions at once.
///
/// A panic of the translator becomes an error: no guest may panic its host.
pub(crate) fn translate(
    engine: &Engine,
    binary: &[u8],
) -> Result<Result<Module, wasmi::Error>, ModuleError> {
    catch_unwind(AssertUnwindSafe(|| Module::new(engine, binary)))
        .map_err(|_| ModuleError::Refused("wasmi has panicked while it translated it".into()))
}

/// The settings of the engines that a provider makes for itself.
#[derive(Clone, Copy)]
pub(crate) struct EngineSettings {
    pub(crate) interruption: Interruption,
    pub(crate) stack_bytes: usize,
}

impl EngineSettings {
    pub(crate) fn engine(self) -> Engine {
        let mut config = Config::default();
        config.wasm_simd(true).wasm_relaxed_simd(false);
        // Lazy translation could panic or run out of fuel in a guest's call.
        config.compilation_mode(CompilationMode::Eager);
        config
            .set_min_stack_height(INITIAL_STACK_BYTES.min(self.stack_bytes))
            .set_max_stack_height(self.stack_bytes)
            .set_max_recursion_depth(self.stack_bytes / BYTES_PER_CALL);
        if self.interruption != Interruption::Off {
            config.consume_fuel(true).fuel_cost(FUEL_COSTS);
        }
        Engine::new(&config)
    }
}

/// wasmi's default, which few guests outgrow.
const INITIAL_STACK_BYTES: usize = 1_000;

/// The stack that a call counts for at least, so that recursion without operands
/// ends as well. Compiled code takes about as much.
const BYTES_PER_CALL: usize = 64;

/// Translation costs no fuel: it would make the first call of a function dearer
/// than the next, and wasmi cannot resume a guest whose fuel runs out in it.
const FUEL_COSTS: CustomFuelCosts = CustomFuelCosts {
    bytes_copied_per_fuel: 64,
    fuel_per_bytes_translated: 0,
    fuel_per_bytes_validated: 0,
};

/// Refuses an engine of the user's whose fuel metering contradicts
/// `interruption`.
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
