//! The settings of a provider.

use std::{
    fmt,
    num::NonZeroUsize,
    sync::{Arc, LazyLock},
    thread::available_parallelism,
};

use wapc_host::{Interruption, ModuleError, ModuleLimits, WasiSettings, module};
use wasmi::{Engine, Module};

use crate::{WasmiEngineProvider, engine::EngineSettings, sharded_module::ShardedModule};

/// The settings of a [`WasmiEngineProvider`].
#[derive(Clone, Default)]
pub struct Builder {
    engine: Option<Engine>,
    engines: Option<NonZeroUsize>,
    interruption: Option<Interruption>,
    stack_bytes: Option<usize>,
    module_limits: ModuleLimits,
    wasi: Arc<WasiSettings>,
}

impl Builder {
    /// Translates for this engine of yours, with its settings. By default each
    /// provider has engines of its own, which take the WebAssembly features
    /// that [`wapc_host::module`] lists and no others.
    ///
    /// If its `Config` has [`consume_fuel`](wasmi::Config::consume_fuel) on, say
    /// by [`Builder::interruption`] what it is to be used for. Then its
    /// functions must be translated eagerly, or without fuel
    /// ([`fuel_cost`](wasmi::Config::fuel_cost)), since a call cannot go on
    /// whose fuel runs out in a translation. Threads that run guests of one
    /// engine at the same time wait for a lock in it.
    #[must_use]
    pub fn engine(mut self, engine: Engine) -> Self {
        self.engine = Some(engine);
        self
    }

    /// How many engines of its own the provider deals its instances out to:
    /// different ones to the places of a host, and to hosts.
    ///
    /// Each holds its own translation of the module, made when it is first
    /// needed, and threads whose guests are on different engines do not wait
    /// for each other. By default as many as the machine runs threads at once,
    /// up to 8. Without effect beside [`Builder::engine`] and for
    /// [`Builder::build_compiled`].
    #[must_use]
    pub const fn engines(mut self, engines: NonZeroUsize) -> Self {
        self.engines = Some(engines);
        self
    }

    /// How guests can be interrupted. By default by time
    /// ([`Interruption::Time`]); on an engine of yours ([`Builder::engine`],
    /// [`Builder::build_compiled`]) not at all ([`Interruption::Off`]).
    ///
    /// Each way but `Off` needs an engine that meters fuel, which makes guests
    /// that compute slower. By time, a guest runs in slices
    /// of fuel, and each is followed by a look at the clock and the cancel
    /// handle; a single instruction that fills, copies or grows a memory or
    /// table is not interrupted. By fuel, a unit is about one instruction, or
    /// 64 bytes of such a bulk operation.
    #[must_use]
    pub const fn interruption(mut self, interruption: Interruption) -> Self {
        self.interruption = Some(interruption);
        self
    }

    /// How much stack the calls of a guest may take together, in bytes. By
    /// default 512 KiB. A guest that needs more traps
    /// ([`TrapCode::StackOverflow`](wapc_host::TrapCode::StackOverflow)).
    ///
    /// It is the interpreter's stack, on the heap: a call takes 8 bytes for
    /// each of its parameters, locals and operands (16 for a vector), and
    /// counts for 64 bytes at least. That makes 8,192 calls by default, as
    /// compiled code could do about as many with such a stack, though not to
    /// the call. Without effect beside [`Builder::engine`] and for
    /// [`Builder::build_compiled`].
    #[must_use]
    pub const fn stack_bytes(mut self, bytes: usize) -> Self {
        self.stack_bytes = Some(bytes);
        self
    }

    /// What a module may cost to translate. By default
    /// [`ModuleLimits::default`]. Without effect for
    /// [`Builder::build_compiled`].
    #[must_use]
    pub const fn module_limits(mut self, limits: ModuleLimits) -> Self {
        self.module_limits = limits;
        self
    }

    /// What guests get of the outside world. By default nothing.
    #[must_use]
    pub fn wasi(mut self, wasi: WasiSettings) -> Self {
        self.wasi = Arc::new(wasi);
        self
    }

    /// Translates `module`, binary or text.
    ///
    /// # Errors
    ///
    /// [`ModuleError`]: the bytes are no module, or the module is no guest.
    /// [`ModuleError::Refused`] if the engine is one of yours and cannot
    /// interrupt guests as [`Builder::interruption`] says.
    pub fn build(self, module: &[u8]) -> Result<WasmiEngineProvider, ModuleError> {
        let binary = module::binary(module)?;
        self.module_limits.check(&binary)?;
        let interruption = self.interruption_of_engine();
        let module = match &self.engine {
            Some(engine) => ShardedModule::on_engine(engine, &binary, interruption)?,
            None => ShardedModule::on_own_engines(
                &binary,
                self.engines.unwrap_or_else(default_engines),
                EngineSettings {
                    interruption,
                    stack_bytes: self.stack_bytes.unwrap_or(DEFAULT_STACK_BYTES),
                },
            )?,
        };
        Ok(self.provider(module))
    }

    /// Takes a module that you have translated; its own engine is used.
    ///
    /// What is left of wasmi's own manners then: a start section is not
    /// interrupted by time, but gets as much fuel as a guest uses up in about
    /// the time that it may take; and a guest that is interrupted in
    /// `table.grow` cannot go on, and fails with [`EngineError::Other`](wapc_host::EngineError::Other).
    ///
    /// # Errors
    ///
    /// [`ModuleError`]: the module is no guest. [`ModuleError::Refused`] if its
    /// engine cannot interrupt guests as [`Builder::interruption`] says.
    pub fn build_compiled(mut self, module: Module) -> Result<WasmiEngineProvider, ModuleError> {
        self.engine = Some(module.engine().clone());
        let interruption = self.interruption_of_engine();
        Ok(self.provider(ShardedModule::from_translated(module, interruption)?))
    }

    pub(crate) fn wasi_settings(&self) -> &WasiSettings {
        &self.wasi
    }

    pub(crate) fn interruption_of_engine(&self) -> Interruption {
        self.interruption.unwrap_or(match self.engine {
            Some(_) => Interruption::Off,
            None => Interruption::Time,
        })
    }

    fn provider(self, module: ShardedModule) -> WasmiEngineProvider {
        WasmiEngineProvider {
            module: Arc::new(module),
            builder: self,
        }
    }
}

impl fmt::Debug for Builder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Builder")
            .field("engines", &self.engines)
            .field("interruption", &self.interruption_of_engine())
            .field("stack_bytes", &self.stack_bytes)
            .field("wasi", &self.wasi)
            .finish_non_exhaustive()
    }
}

/// Enough for guests that recurse as programs do, and little enough for many
/// instances; the same on each engine.
const DEFAULT_STACK_BYTES: usize = 512 << 10;

/// As many as there are threads to keep apart, within reason: each costs a
/// translation of the module in memory.
fn default_engines() -> NonZeroUsize {
    const MOST: NonZeroUsize = NonZeroUsize::new(8).expect("not zero");
    // Asking takes longer than translating a small module.
    static ENGINES: LazyLock<NonZeroUsize> = LazyLock::new(|| {
        available_parallelism().map_or(NonZeroUsize::MIN, |threads| threads.min(MOST))
    });
    *ENGINES
}
