//! The settings of a provider.

use std::{
    fmt,
    num::NonZeroUsize,
    sync::{Arc, LazyLock},
    thread::available_parallelism,
};

use wapc_host::{
    HostFunctions, Interruption, ModuleLimits, WasiSettings,
    engine::{compile, with_stack},
    error::ModuleError,
    module,
};
use wasmi::{Engine, Module};

use crate::{WasmiEngineProvider, engine::EngineSettings, sharded_module::ShardedModule};

/// The settings of a [`WasmiEngineProvider`].
///
/// ```
/// use provider_wasmi::WasmiEngineProvider;
/// use wapc_host::{Interruption, ModuleLimits, WapcHost};
///
/// let guest = br#"(module
///     (import "wapc" "__guest_response" (func $respond (param i32 i32)))
///     (memory (export "memory") 1)
///     (data (i32.const 0) "hello")
///     (func (export "__guest_call") (param i32 i32) (result i32)
///         (call $respond (i32.const 0) (i32.const 5))
///         (i32.const 1)))"#;
///
/// let provider = WasmiEngineProvider::builder()
///     .interruption(Interruption::TimeAndFuel)
///     .stack_bytes(1 << 20)
///     .module_limits(ModuleLimits::default().max_bytes(100_000))
///     .build(guest)?;
/// let host = WapcHost::new(Box::new(provider), |_, _, _, _, _| Ok(vec![]))?;
/// assert_eq!(host.call("greet", b"")?, b"hello");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Default)]
pub struct Builder {
    engine: Option<Engine>,
    engines: Option<NonZeroUsize>,
    interruption: Option<Interruption>,
    stack_bytes: Option<usize>,
    module_limits: ModuleLimits,
    wasi: Arc<WasiSettings>,
    functions: Arc<HostFunctions>,
}

impl Builder {
    /// Translates on this engine, with its settings. By default each provider has
    /// engines of its own, which accept the WebAssembly features that
    /// [`wapc_host::module`] lists and no others.
    ///
    /// If the engine meters fuel ([`consume_fuel`](wasmi::Config::consume_fuel)),
    /// [`Builder::interruption`] must say how fuel is used. Its functions must
    /// then be translated eagerly, or without fuel
    /// ([`fuel_cost`](wasmi::Config::fuel_cost)), because wasmi cannot resume a
    /// call whose fuel runs out in a translation. Threads that run guests of one
    /// engine contend for a lock in it.
    ///
    /// ```
    /// use provider_wasmi::{
    ///     WasmiEngineProvider,
    ///     wasmi::{CompilationMode, Config, Engine},
    /// };
    /// use wapc_host::{Interruption, WebAssemblyEngineProvider};
    ///
    /// let guest = br#"(module
    ///     (import "wapc" "__guest_response" (func $respond (param i32 i32)))
    ///     (memory (export "memory") 1)
    ///     (func (export "__guest_call") (param i32 i32) (result i32)
    ///         (call $respond (i32.const 0) (i32.const 0))
    ///         (i32.const 1)))"#;
    ///
    /// let mut config = Config::default();
    /// config.consume_fuel(true).compilation_mode(CompilationMode::Eager);
    /// let provider = WasmiEngineProvider::builder()
    ///     .engine(Engine::new(&config))
    ///     .interruption(Interruption::Fuel)
    ///     .build(guest)?;
    /// assert_eq!(provider.interruption(), Interruption::Fuel);
    /// # Ok::<(), wapc_host::error::ModuleError>(())
    /// ```
    #[must_use]
    pub fn engine(mut self, engine: Engine) -> Self {
        self.engine = Some(engine);
        self
    }

    /// Sets the number of engines that the provider makes for itself. By default
    /// one per hardware thread, at most 8.
    ///
    /// Slots of a host, and hosts, are spread over the engines, so that threads
    /// do not contend for the lock in one. Each engine holds its own translation
    /// of the module, made on first use. More than 4,096 are refused with
    /// [`ModuleError::Refused`]. Ignored with [`Builder::engine`] and by
    /// [`Builder::build_compiled`].
    ///
    /// ```
    /// use std::num::NonZeroUsize;
    ///
    /// use provider_wasmi::WasmiEngineProvider;
    ///
    /// let guest = br#"(module
    ///     (import "wapc" "__guest_response" (func $respond (param i32 i32)))
    ///     (memory (export "memory") 1)
    ///     (func (export "__guest_call") (param i32 i32) (result i32)
    ///         (call $respond (i32.const 0) (i32.const 0))
    ///         (i32.const 1)))"#;
    ///
    /// // The least memory: one translation of the module.
    /// let provider = WasmiEngineProvider::builder()
    ///     .engines(NonZeroUsize::MIN)
    ///     .build(guest)?;
    /// # Ok::<(), wapc_host::error::ModuleError>(())
    /// ```
    #[must_use]
    pub const fn engines(mut self, engines: NonZeroUsize) -> Self {
        self.engines = Some(engines);
        self
    }

    /// Sets how guests can be interrupted. The default is
    /// [`Interruption::Time`]; for an engine of the program's own
    /// ([`Builder::engine`], [`Builder::build_compiled`]) it is
    /// [`Interruption::Off`].
    ///
    /// All but `Off` need an engine that meters fuel, which slows down guests
    /// that compute. By time, a guest runs in slices of fuel; after each, the host
    /// checks the clock and the cancel handle. A single instruction that fills,
    /// copies or grows a memory or table is not interrupted. By fuel, a unit is
    /// about one instruction, or 64 bytes of such a bulk operation.
    ///
    /// ```
    /// use provider_wasmi::WasmiEngineProvider;
    /// use wapc_host::{Error, Interruption, Limits, WapcHost};
    ///
    /// let guest = br#"(module
    ///     (memory (export "memory") 1)
    ///     (func (export "__guest_call") (param i32 i32) (result i32)
    ///         (loop $forever (br $forever))
    ///         (unreachable)))"#;
    ///
    /// let provider = WasmiEngineProvider::builder()
    ///     .interruption(Interruption::Fuel)
    ///     .build(guest)?;
    /// let host = WapcHost::builder(Box::new(provider))
    ///     .limits(Limits::unlimited().fuel(100_000))
    ///     .build(|_, _, _, _, _| Ok(vec![]))?;
    /// assert!(matches!(host.call("loop", b""), Err(Error::Limit { .. })));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[must_use]
    pub const fn interruption(mut self, interruption: Interruption) -> Self {
        self.interruption = Some(match interruption {
            // An interpreter asks for the time between instructions.
            Interruption::Kill => Interruption::Time,
            interruption => interruption,
        });
        self
    }

    /// Sets the stack that the nested calls of a guest may use, in bytes. By
    /// default 512 KiB. A guest that needs more traps with
    /// [`TrapCode::StackOverflow`](wapc_host::error::TrapCode::StackOverflow).
    ///
    /// This is the interpreter's stack, on the heap. A call takes 8 bytes for
    /// each parameter, local and operand (16 for a vector), and counts for at
    /// least 64 bytes. By default that allows 8,192 calls, about as many as
    /// compiled code with such a stack. Ignored with [`Builder::engine`] and by
    /// [`Builder::build_compiled`].
    ///
    /// ```
    /// use provider_wasmi::WasmiEngineProvider;
    /// use wapc_host::{Error, WapcHost, error::TrapCode};
    ///
    /// let guest = br#"(module
    ///     (memory (export "memory") 1)
    ///     (func $call (export "__guest_call") (param i32 i32) (result i32)
    ///         (call $call (local.get 0) (local.get 1))))"#;
    ///
    /// let provider = WasmiEngineProvider::builder()
    ///     .stack_bytes(64 << 10)
    ///     .build(guest)?;
    /// let host = WapcHost::new(Box::new(provider), |_, _, _, _, _| Ok(vec![]))?;
    /// match host.call("recurse", b"") {
    ///     Err(Error::Trapped { trap, .. }) => assert_eq!(trap.code, TrapCode::StackOverflow),
    ///     other => panic!("{other:?}"),
    /// }
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[must_use]
    pub const fn stack_bytes(mut self, bytes: usize) -> Self {
        self.stack_bytes = Some(bytes);
        self
    }

    /// Bounds the cost of translating a module. By default
    /// [`ModuleLimits::default`]. Ignored by [`Builder::build_compiled`].
    #[must_use]
    pub const fn module_limits(mut self, limits: ModuleLimits) -> Self {
        self.module_limits = limits;
        self
    }

    /// Sets the files, streams, arguments and environment that guests get through
    /// WASI. By default none.
    ///
    /// ```
    /// use provider_wasmi::WasmiEngineProvider;
    /// use wapc_host::{WasiSettings, wasi::{DirAccess, Stdout}};
    ///
    /// let guest = br#"(module
    ///     (import "wapc" "__guest_response" (func $respond (param i32 i32)))
    ///     (memory (export "memory") 1)
    ///     (func (export "__guest_call") (param i32 i32) (result i32)
    ///         (call $respond (i32.const 0) (i32.const 0))
    ///         (i32.const 1)))"#;
    ///
    /// let provider = WasmiEngineProvider::builder()
    ///     .wasi(
    ///         WasiSettings::new()
    ///             .arg("guest")
    ///             .env("LANG", "C")
    ///             .dir("/tmp", "/data", DirAccess::ReadOnly)
    ///             .stdout(Stdout::Inherited),
    ///     )
    ///     .build(guest)?;
    /// # Ok::<(), wapc_host::error::ModuleError>(())
    /// ```
    #[must_use]
    pub fn wasi(mut self, wasi: WasiSettings) -> Self {
        self.wasi = Arc::new(wasi);
        self
    }

    /// Sets the host functions of the program's own that guests may import. By default none.
    ///
    /// ```
    /// use provider_wasmi::WasmiEngineProvider;
    /// use wapc_host::{HostFunctions, WapcHost};
    ///
    /// let guest = br#"(module
    ///     (import "env" "add" (func $add (param i32 i32) (result i32)))
    ///     (import "wapc" "__guest_response" (func $respond (param i32 i32)))
    ///     (memory (export "memory") 1)
    ///     (func (export "__guest_call") (param i32 i32) (result i32)
    ///         (i32.store8 (i32.const 0) (call $add (i32.const 40) (i32.const 2)))
    ///         (call $respond (i32.const 0) (i32.const 1))
    ///         (i32.const 1)))"#;
    ///
    /// let functions = HostFunctions::new()
    ///     .function("env", "add", |_, (a, b): (i32, i32)| Ok(a.wrapping_add(b)));
    /// let provider = WasmiEngineProvider::builder()
    ///     .functions(functions)
    ///     .build(guest)?;
    /// let host = WapcHost::new(Box::new(provider), |_, _, _, _, _| Ok(vec![]))?;
    /// assert_eq!(host.call("sum", b"")?, [42]);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[must_use]
    pub fn functions(mut self, functions: HostFunctions) -> Self {
        self.functions = Arc::new(functions);
        self
    }

    /// Translates `module`, in binary or text format.
    ///
    /// # Errors
    ///
    /// [`ModuleError`] if the bytes are not a module or the module is not a
    /// guest, and [`ModuleError::Refused`] if an engine of the program's own
    /// cannot interrupt guests as [`Builder::interruption`] says.
    pub fn build(self, module: &[u8]) -> Result<WasmiEngineProvider, ModuleError> {
        with_stack(TRANSLATION_STACK_BYTES, || self.build_here(module))
            .map_err(|stop| ModuleError::Refused(stop.into()))?
    }

    fn build_here(self, module: &[u8]) -> Result<WasmiEngineProvider, ModuleError> {
        let engines = self.engines.unwrap_or_else(default_engines);
        if engines.get() > MAX_ENGINES {
            let reason = format!("{engines} engines are too many: at most {MAX_ENGINES}");
            return Err(ModuleError::Refused(reason.into()));
        }
        let binary = module::binary(module)?.into_owned();
        let service = module::service_section(&binary);
        let interruption = self.interruption_of_engine();
        let (engine, functions) = (self.engine.clone(), Arc::clone(&self.functions));
        let settings = EngineSettings {
            interruption,
            stack_bytes: self.stack_bytes.unwrap_or(DEFAULT_STACK_BYTES),
        };
        let module = compile(&self.module_limits, binary, move |binary| match &engine {
            Some(engine) => ShardedModule::on_engine(engine, binary, interruption, &functions),
            None => ShardedModule::on_own_engines(binary, engines, settings, &functions),
        })?;
        Ok(WasmiEngineProvider {
            service,
            ..self.provider(module)
        })
    }

    /// Takes a module that the program has translated, and uses its engine.
    ///
    /// Such a module is not rewritten. Its start section cannot be interrupted
    /// by time; it gets the fuel that a guest uses in about that time. A guest
    /// that is interrupted in `table.grow` cannot be resumed, and fails with
    /// [`EngineError::Other`](wapc_host::error::EngineError::Other). Instructions that
    /// wasmi 2.0 miscompiles stay as they are, and one of them takes a guest out
    /// of its sandbox: use this for trusted modules only.
    ///
    /// ```
    /// use provider_wasmi::{
    ///     WasmiEngineProvider,
    ///     wasmi::{Engine, Module},
    /// };
    ///
    /// let guest = br#"(module
    ///     (import "wapc" "__guest_response" (func $respond (param i32 i32)))
    ///     (memory (export "memory") 1)
    ///     (func (export "__guest_call") (param i32 i32) (result i32)
    ///         (call $respond (i32.const 0) (i32.const 0))
    ///         (i32.const 1)))"#;
    ///
    /// let binary = wapc_host::module::binary(guest)?;
    /// let module = Module::new(&Engine::default(), &binary)?;
    /// let provider = WasmiEngineProvider::builder().build_compiled(module)?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    ///
    /// [`ModuleError`] if the module is not a guest, and
    /// [`ModuleError::Refused`] if its engine cannot interrupt guests as
    /// [`Builder::interruption`] says.
    pub fn build_compiled(mut self, module: Module) -> Result<WasmiEngineProvider, ModuleError> {
        self.engine = Some(module.engine().clone());
        let interruption = self.interruption_of_engine();
        let module = ShardedModule::from_translated(module, interruption, &self.functions)?;
        Ok(self.provider(module))
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
            service: None,
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
            .field("functions", &self.functions)
            .finish_non_exhaustive()
    }
}

/// The same default as in `provider-wasmtime`.
const DEFAULT_STACK_BYTES: usize = 512 << 10;

/// The stack on which modules are translated.
const TRANSLATION_STACK_BYTES: usize = 1 << 20;

/// More engines than any machine has threads.
const MAX_ENGINES: usize = 4096;

/// One engine per hardware thread, bounded because each holds a translation of
/// the module.
fn default_engines() -> NonZeroUsize {
    const MAX: NonZeroUsize = NonZeroUsize::new(8).expect("not zero");
    // Cached: the query takes longer than translating a small module.
    static ENGINES: LazyLock<NonZeroUsize> = LazyLock::new(|| {
        available_parallelism().map_or(NonZeroUsize::MIN, |threads| threads.min(MAX))
    });
    *ENGINES
}
