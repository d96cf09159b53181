//! Engines: their settings, sharing and epochs.

use std::sync::{Mutex, OnceLock, PoisonError};

use wapc_host::{Interruption, engine::clock};
use wasmtime::{Config, Engine, EngineWeak, Error, Module};

#[cfg(feature = "cache")]
use crate::CompileCache;
use crate::{
    Pooling,
    page_checks::{self, PAGE, START},
};

/// Returns the engine that all providers of the process with default settings
/// and this kind of interruption share.
fn shared(interruption: Interruption) -> Engine {
    static OFF: OnceLock<Engine> = OnceLock::new();
    static TIME: OnceLock<Engine> = OnceLock::new();
    static FUEL: OnceLock<Engine> = OnceLock::new();
    static TIME_AND_FUEL: OnceLock<Engine> = OnceLock::new();
    static KILL: OnceLock<Engine> = OnceLock::new();

    let engine = match (interruption.by_time(), interruption.by_fuel()) {
        (true, false) if interruption == Interruption::Kill => &KILL,
        (false, false) => &OFF,
        (true, false) => &TIME,
        (false, true) => &FUEL,
        (true, true) => &TIME_AND_FUEL,
    };
    let new = || {
        Engine::new(&config(interruption))
            .expect("these settings go together on every platform that wasmtime compiles for")
    };
    engine.get_or_init(new).clone()
}

/// The settings of an engine that a provider makes for itself.
#[derive(Clone, Debug)]
pub(crate) struct EngineSettings {
    /// The stack that a guest may use.
    pub(crate) stack_bytes: usize,
    pub(crate) pooling: Option<Pooling>,
    pub(crate) canonical_nans: bool,
    pub(crate) proposals: Vec<Proposal>,
    #[cfg(feature = "winch")]
    pub(crate) winch: bool,
    #[cfg(feature = "cache")]
    pub(crate) compile_cache: Option<CompileCache>,
}

impl Default for EngineSettings {
    fn default() -> Self {
        Self {
            stack_bytes: DEFAULT_STACK_BYTES,
            pooling: None,
            canonical_nans: false,
            proposals: vec![],
            #[cfg(feature = "winch")]
            winch: false,
            #[cfg(feature = "cache")]
            compile_cache: None,
        }
    }
}

/// A proposal to extend WebAssembly that wasmtime implements, beyond what every engine has:
/// [`Builder::proposals`](crate::Builder::proposals).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Proposal {
    /// Exceptions with `exnref`.
    Exceptions,
    /// References to functions of a type. [`Proposal::Gc`] and [`Proposal::Exceptions`] include it.
    FunctionReferences,
    /// Structures and arrays that are collected when nothing refers to them.
    Gc,
    /// Vector instructions whose results depend on the processor.
    RelaxedSimd,
    /// Arithmetic with 128 bits.
    WideArithmetic,
}

impl Proposal {
    fn enable(self, config: &mut Config) {
        match self {
            Self::Exceptions => config.wasm_function_references(true).wasm_exceptions(true),
            Self::FunctionReferences => config.wasm_function_references(true),
            Self::Gc => config.wasm_function_references(true).wasm_gc(true),
            Self::RelaxedSimd => config.wasm_relaxed_simd(true),
            Self::WideArithmetic => config.wasm_wide_arithmetic(true),
        };
    }
}

/// wasmtime's default.
const DEFAULT_STACK_BYTES: usize = 512 << 10;

/// The stack that host functions may use in an async call, beyond the guest's.
const HOST_STACK_BYTES: usize = 512 << 10;

impl EngineSettings {
    /// Returns whether guests can be killed by taking a page away: wasmtime handles the
    /// fault, and the compiler knows the load.
    const fn allow_kill(&self) -> bool {
        #[cfg(feature = "winch")]
        if self.winch && cfg!(not(target_arch = "x86_64")) {
            return false;
        }
        cfg!(all(
            target_os = "linux",
            any(target_arch = "x86_64", target_arch = "aarch64")
        ))
    }

    /// Returns whether the process's shared engine has these settings.
    fn are_default(&self) -> bool {
        #[cfg(feature = "winch")]
        if self.winch {
            return false;
        }
        #[cfg(feature = "cache")]
        if self.compile_cache.is_some() {
            return false;
        }
        self.stack_bytes == DEFAULT_STACK_BYTES
            && self.pooling.is_none()
            && !self.canonical_nans
            && self.proposals.is_empty()
    }
}

/// Returns the shared engine for default settings, or else a new one.
pub(crate) fn engine(
    interruption: Interruption,
    settings: &EngineSettings,
) -> Result<Engine, Error> {
    let interruption = match interruption {
        Interruption::Kill if !settings.allow_kill() => Interruption::Time,
        interruption => interruption,
    };
    if settings.are_default() {
        return Ok(shared(interruption));
    }
    let mut config = config(interruption);
    config
        .max_wasm_stack(settings.stack_bytes)
        // wasmtime requires async stacks to be larger than the guest's.
        .async_stack_size(
            settings
                .stack_bytes
                .saturating_add(HOST_STACK_BYTES)
                .max(2 << 20),
        );
    config.cranelift_nan_canonicalization(settings.canonical_nans);
    for proposal in &settings.proposals {
        proposal.enable(&mut config);
    }
    #[cfg(feature = "winch")]
    if settings.winch {
        config.strategy(wasmtime::Strategy::Winch);
    }
    #[cfg(feature = "cache")]
    if let Some(cache) = &settings.compile_cache {
        config.cache(Some(cache.cache().clone()));
    }
    if let Some(pooling) = &settings.pooling {
        pooling.configure(&mut config, interruption == Interruption::Kill);
    }
    Engine::new(&config)
}

fn config(interruption: Interruption) -> Config {
    let kills = interruption == Interruption::Kill;
    let mut config = Config::new();
    config
        .epoch_interruption(interruption.by_time() && !kills)
        .consume_fuel(interruption.by_fuel())
        .wasm_exceptions(false)
        .wasm_function_references(false)
        .wasm_gc(false)
        .wasm_memory64(false)
        .wasm_relaxed_simd(false)
        // For the checks that `page_checks.rs` inserts. Guests get no threads with either.
        .wasm_threads(kills)
        .wasm_wide_arithmetic(false)
        .wasm_custom_page_sizes(false);
    config
}

/// Returns the subset of `wanted` that the configuration of `engine` supports.
pub(crate) fn interruption(engine: &Engine, wanted: Option<Interruption>) -> Interruption {
    let wanted = wanted.unwrap_or(Interruption::TimeAndFuel);
    match (
        wanted.by_time() && engine.get_epoch_interruption(),
        wanted.by_fuel() && engine.get_consume_fuel(),
    ) {
        (false, false) => Interruption::Off,
        (true, false) => Interruption::Time,
        (false, true) => Interruption::Fuel,
        (true, true) => Interruption::TimeAndFuel,
    }
}

/// Compiles a module, or finds its code in the settings' cache.
pub(crate) fn compile(
    engine: &Engine,
    settings: &EngineSettings,
    binary: &[u8],
) -> Result<Module, Error> {
    let module = Module::from_binary(engine, binary)?;
    #[cfg(feature = "cache")]
    if let Some(cache) = &settings.compile_cache {
        cache.note(engine, binary, &module);
    }
    #[cfg(not(feature = "cache"))]
    let _ = settings;
    Ok(module)
}

/// Compiles a module whose guests can be killed, on `engine`, or on one with epochs if
/// that is not possible.
pub(crate) fn compile_killable(
    engine: &Engine,
    settings: &EngineSettings,
    binary: &[u8],
) -> Result<Module, Error> {
    if let Some(checked) = page_checks::insert(binary)
        && let Ok(module) = compile(engine, settings, &checked)
        && has_page(&module)
    {
        return Ok(module);
    }
    let epochs = self::engine(Interruption::Time, settings)?;
    compile(&epochs, settings, binary)
}

/// Returns whether the module has the exports of `page_checks.rs`.
pub(crate) fn has_page(module: &Module) -> bool {
    let page = module.get_export(PAGE);
    let start = module.get_export(START);
    page.is_some_and(|page| page.memory().is_some())
        && start.is_none_or(|start| {
            start
                .func()
                .is_some_and(|start| start.params().len() == 0 && start.results().len() == 0)
        })
}

/// Increments the epoch of `engine` at each tick of the host's clock, as long as
/// the engine lives.
pub(crate) fn tick(engine: &Engine) {
    static TICKING: Mutex<Vec<EngineWeak>> = Mutex::new(Vec::new());

    let mut ticking = TICKING.lock().unwrap_or_else(PoisonError::into_inner);
    let mut known = false;
    ticking.retain(|other| match other.upgrade() {
        Some(other) => {
            known |= Engine::same(&other, engine);
            true
        }
        None => false,
    });
    if known {
        return;
    }
    ticking.push(engine.weak());
    drop(ticking);
    let weak = engine.weak();
    clock::observe(move || match weak.upgrade() {
        Some(engine) => {
            engine.increment_epoch();
            true
        }
        None => false,
    });
}
