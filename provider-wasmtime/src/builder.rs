//! The settings of a provider.

use std::{fmt, sync::Arc};

use wapc_host::{
    HostFunctions, Interruption, ModuleLimits, WasiSettings,
    engine::{compile, with_stack},
    error::ModuleError,
    module,
};
use wasmtime::{Engine, Module};

#[cfg(feature = "wasmtime-wasi")]
use wapc_host::BoxError;
#[cfg(feature = "wasmtime-wasi")]
use wasmtime_wasi::p1::WasiP1Ctx;

#[cfg(feature = "cache")]
use crate::CompileCache;
#[cfg(feature = "wasmtime-wasi")]
use crate::wasi_context::WasiContexts;
use crate::{
    Pooling, Proposal, WasmtimeEngineProvider, compile_threads,
    engine::{self, EngineSettings},
    instance::Template,
};

/// The settings of a [`WasmtimeEngineProvider`].
///
/// ```
/// use provider_wasmtime::WasmtimeEngineProvider;
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
/// let provider = WasmtimeEngineProvider::builder()
///     .interruption(Interruption::TimeAndFuel)
///     .stack_bytes(256 << 10)
///     .module_limits(ModuleLimits::default().max_bytes(100_000))
///     .build(guest)?;
/// let host = WapcHost::new(Box::new(provider), |_, _, _, _, _| Ok(vec![]))?;
/// assert_eq!(host.call("greet", b"")?, b"hello");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Default)]
pub struct Builder {
    engine: Option<EngineSource>,
    interruption: Option<Interruption>,
    engine_settings: EngineSettings,
    module_limits: ModuleLimits,
    low_priority: bool,
    wasi: Arc<WasiSettings>,
    functions: Arc<HostFunctions>,
    #[cfg(feature = "wasmtime-wasi")]
    wasi_contexts: Option<WasiContexts>,
}

/// The stack on which modules are checked and linked. They are compiled on threads of their own.
const COMPILE_STACK_BYTES: usize = 1 << 20;

/// The origin of a builder's engine.
#[derive(Clone)]
enum EngineSource {
    /// The program has passed it.
    User(Engine),
    /// It was made from the builder's settings.
    Settings(Engine),
}

impl Builder {
    /// Compiles on this engine, with its settings. By default all providers in
    /// the process with the same kind of interruption share one engine, which
    /// accepts the WebAssembly features that [`wapc_host::module`] lists and no
    /// others.
    ///
    /// Guests can be interrupted in the ways that its `Config` enables: by time
    /// with `epoch_interruption`, by fuel with `consume_fuel`. With neither, the
    /// host's [`Limits`](wapc_host::Limits) must not have timeouts.
    ///
    /// While timed calls run, the provider increments the engine's epoch every
    /// 2 ms ([`wapc_host::engine::clock::TICK`]). If the program counts epochs itself for
    /// other stores, set [`Builder::interruption`] to [`Interruption::Off`] or
    /// [`Interruption::Fuel`], which prevents that.
    ///
    /// Each memory reserves 4 GiB of address space and guard pages, so that
    /// bounds need no check at each access. Where address space is scarce,
    /// `memory_reservation`, `memory_guard_size` and `signals_based_traps` of a
    /// `Config` trade speed for space.
    ///
    /// ```
    /// use provider_wasmtime::{
    ///     WasmtimeEngineProvider,
    ///     wasmtime::{Config, Engine},
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
    /// let mut config = Config::new();
    /// config.consume_fuel(true).memory_reservation(64 << 20);
    /// let provider = WasmtimeEngineProvider::builder()
    ///     .engine(Engine::new(&config)?)
    ///     .build(guest)?;
    /// assert_eq!(provider.interruption(), Interruption::Fuel);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[must_use]
    pub fn engine(mut self, engine: Engine) -> Self {
        self.engine = Some(EngineSource::User(engine));
        self
    }

    /// Sets how guests can be interrupted. The default is
    /// [`Interruption::Time`]; for an engine of the program's own it is every way
    /// that the engine was configured for.
    ///
    /// If the engine was not configured for an interruption that is set here, it
    /// is used without: a host whose limits need it is refused with
    /// [`Error::NotInterruptible`](wapc_host::Error::NotInterruptible).
    ///
    /// By time, a guest checks a counter at each function entry and loop
    /// iteration. With [`Interruption::Kill`] it loads from a page there, which is
    /// taken away when its time is over: on Linux on x86-64 and AArch64, and elsewhere it
    /// is [`Interruption::Time`], as with [`Builder::engine`]. The page is a memory of
    /// its own for each instance, which limits do not count; it makes new instances
    /// slower by some microseconds.
    ///
    /// By fuel, a guest also counts its instructions, and the same call of the same
    /// guest always uses the same fuel. A single bulk instruction such as
    /// `memory.fill` is not interrupted.
    ///
    /// ```
    /// use provider_wasmtime::WasmtimeEngineProvider;
    /// use wapc_host::{Error, Interruption, Limits, WapcHost};
    ///
    /// let guest = br#"(module
    ///     (memory (export "memory") 1)
    ///     (func (export "__guest_call") (param i32 i32) (result i32)
    ///         (loop $forever (br $forever))
    ///         (unreachable)))"#;
    ///
    /// let provider = WasmtimeEngineProvider::builder()
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
        self.interruption = Some(interruption);
        self
    }

    /// Sets how many bytes of stack a guest may use. By default 512 KiB.
    ///
    /// A guest that recurses deeper traps with
    /// [`TrapCode::StackOverflow`](wapc_host::error::TrapCode::StackOverflow). The depth
    /// depends on the frames of its functions. A blocking call takes that much of the
    /// calling thread's stack, and 256 KiB for the host's functions and the callback. Where
    /// less is left, on a small thread or in a call within calls, it runs on another stack,
    /// which is mapped for its length; the 65th of one thread is refused with
    /// [`LimitError::Nesting`](wapc_host::error::LimitError::Nesting).
    ///
    /// In an async call (feature `async`) the guest, the host's functions and the
    /// callback run on a separate stack, with a blocking callback too. It is
    /// 512 KiB larger than the guest's limit and at least 2 MiB, so that the host
    /// has 1.5 MiB by default. It takes address space from the first async call
    /// until the instance is dropped, and memory as far as it was used.
    ///
    /// Any value but the default makes an engine for this provider alone. With
    /// [`Builder::engine`] and [`Builder::build_compiled`] it is the engine's own
    /// `max_wasm_stack`, which this crate cannot ask for. With 0,
    /// [`Builder::build`] fails with [`ModuleError::Refused`].
    ///
    /// ```
    /// use provider_wasmtime::WasmtimeEngineProvider;
    /// use wapc_host::{Error, WapcHost, error::TrapCode};
    ///
    /// let guest = br#"(module
    ///     (memory (export "memory") 1)
    ///     (func $call (export "__guest_call") (param i32 i32) (result i32)
    ///         (i32.add (i32.const 1) (call $call (local.get 0) (local.get 1)))))"#;
    ///
    /// let provider = WasmtimeEngineProvider::builder()
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
        self.engine_settings.stack_bytes = bytes;
        self
    }

    /// Takes instances from preallocated slots, for guests that live briefly. By
    /// default memory is mapped for each instance. [`Pooling`] has an example.
    ///
    /// It makes an engine for this provider and its successors in a swap. If the
    /// slots do not fit the address space, [`Builder::build`] fails with
    /// [`ModuleError::Refused`]. Ignored with [`Builder::engine`], whose `Config`
    /// has such a setting of its own, and by [`Builder::build_compiled`].
    #[must_use]
    pub const fn pooling(mut self, pooling: Pooling) -> Self {
        self.engine_settings.pooling = Some(pooling);
        self
    }

    /// Gives every NaN that an instruction makes the same bits. By default they are the
    /// processor's, so that a guest that looks at them may see others on another engine or
    /// processor; nothing else differs between engines. It makes floating-point code slower, by a
    /// few per cent mostly.
    ///
    /// It makes an engine for this provider and its successors in a swap. Ignored with
    /// [`Builder::engine`] and by [`Builder::build_compiled`].
    #[must_use]
    pub const fn canonical_nans(mut self, canonical: bool) -> Self {
        self.engine_settings.canonical_nans = canonical;
        self
    }

    /// Accepts modules that use these proposals to extend WebAssembly. By default none, so that
    /// every engine accepts what this one does.
    ///
    /// It makes an engine for this provider and its successors in a swap. Ignored with
    /// [`Builder::engine`] and by [`Builder::build_compiled`].
    ///
    /// ```
    /// use provider_wasmtime::{Proposal, WasmtimeEngineProvider};
    ///
    /// let guest = br#"(module
    ///     (type $point (struct (field i32) (field i32)))
    ///     (memory (export "memory") 1)
    ///     (func (export "__guest_call") (param i32 i32) (result i32)
    ///         (struct.get $point 0 (struct.new $point (i32.const 1) (i32.const 2)))))"#;
    ///
    /// let builder = WasmtimeEngineProvider::builder();
    /// assert!(builder.clone().build(guest).is_err());
    /// assert!(builder.proposals([Proposal::Gc]).build(guest).is_ok());
    /// ```
    #[must_use]
    pub fn proposals(mut self, proposals: impl IntoIterator<Item = Proposal>) -> Self {
        self.engine_settings.proposals = proposals.into_iter().collect();
        self
    }

    /// Compiles with Winch, wasmtime's baseline compiler, instead of Cranelift.
    /// It compiles five times as fast, to code that takes about twice the time.
    ///
    /// It makes an engine for this provider and its successors in a swap. Winch
    /// exists for x86-64 (with AVX, if the guest uses SIMD) and AArch64. It
    /// supports neither tail calls nor `externref`: modules with them fail with
    /// [`ModuleError::Refused`]. All limits apply as with Cranelift. Ignored with
    /// [`Builder::engine`] and by [`Builder::build_compiled`].
    ///
    /// ```
    /// use provider_wasmtime::WasmtimeEngineProvider;
    ///
    /// let guest = br#"(module
    ///     (import "wapc" "__guest_response" (func $respond (param i32 i32)))
    ///     (memory (export "memory") 1)
    ///     (func (export "__guest_call") (param i32 i32) (result i32)
    ///         (call $respond (i32.const 0) (i32.const 0))
    ///         (i32.const 1)))"#;
    ///
    /// let provider = WasmtimeEngineProvider::builder().winch().build(guest)?;
    /// # Ok::<(), wapc_host::error::ModuleError>(())
    /// ```
    #[cfg(feature = "winch")]
    #[must_use]
    pub const fn winch(mut self) -> Self {
        self.engine_settings.winch = true;
        self
    }

    /// Bounds the cost of compiling a module. By default
    /// [`ModuleLimits::default`]. Ignored by [`Builder::build_compiled`].
    #[must_use]
    pub const fn module_limits(mut self, limits: ModuleLimits) -> Self {
        self.module_limits = limits;
        self
    }

    /// Compiles on one thread of low priority, so that calls keep their latency
    /// while a module is swapped in. By default compiling uses all cores, which is
    /// ready soonest.
    ///
    /// All providers of the process share the thread. Its priority is low on
    /// Linux, where threads have priorities of their own. Compiling takes as many
    /// times longer as there are cores, and about ten times longer again while
    /// calls keep all cores busy. Replacements
    /// ([`WapcHost::replace_module`](wapc_host::WapcHost::replace_module)) are
    /// compiled in the same way. Ignored by [`Builder::build_compiled`].
    ///
    /// For another bound, call [`Builder::build`] or swap inside a `rayon` pool:
    /// wasmtime compiles on the threads of the current pool.
    ///
    /// ```
    /// use provider_wasmtime::WasmtimeEngineProvider;
    /// use wapc_host::WapcHost;
    ///
    /// let guest = br#"(module
    ///     (import "wapc" "__guest_response" (func $respond (param i32 i32)))
    ///     (memory (export "memory") 1)
    ///     (func (export "__guest_call") (param i32 i32) (result i32)
    ///         (call $respond (i32.const 0) (i32.const 0))
    ///         (i32.const 1)))"#;
    ///
    /// let provider = WasmtimeEngineProvider::builder()
    ///     .low_priority_compilation(true)
    ///     .build(guest)?;
    /// let host = WapcHost::new(Box::new(provider), |_, _, _, _, _| Ok(vec![]))?;
    /// host.replace_module(guest)?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[must_use]
    pub const fn low_priority_compilation(mut self, low_priority: bool) -> Self {
        self.low_priority = low_priority;
        self
    }

    /// Looks for compiled code in `cache`, and keeps there what is compiled: modules that are built, and
    /// replacements in swaps. By default nothing is kept. [`CompileCache`] has an example.
    ///
    /// Ignored with [`Builder::engine`] and [`Builder::build_compiled`]: an engine of the program's own
    /// has the cache of its `Config`.
    #[cfg(feature = "cache")]
    #[must_use]
    pub fn compile_cache(mut self, cache: CompileCache) -> Self {
        self.engine_settings.compile_cache = Some(cache);
        self
    }

    /// Sets the files, streams, arguments and environment that guests get through
    /// WASI. By default none.
    ///
    /// ```
    /// use provider_wasmtime::WasmtimeEngineProvider;
    /// use wapc_host::{WasiSettings, wasi::{DirAccess, Stdout}};
    ///
    /// let guest = br#"(module
    ///     (import "wapc" "__guest_response" (func $respond (param i32 i32)))
    ///     (memory (export "memory") 1)
    ///     (func (export "__guest_call") (param i32 i32) (result i32)
    ///         (call $respond (i32.const 0) (i32.const 0))
    ///         (i32.const 1)))"#;
    ///
    /// let provider = WasmtimeEngineProvider::builder()
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

    /// Gives each instance a WASI context of the program's own, made by `make`, in place of what
    /// [`Builder::wasi`] grants: sockets, streams and virtual files as `wasmtime_wasi` has them. It serves
    /// imports from `wasi_snapshot_preview1`; a guest that imports from `wasi_unstable` is refused.
    ///
    /// Of the host's limits, [`max_open_files`](wapc_host::Limits::max_open_files) and the quota of
    /// [`WasiSettings::disk_quota`] do not hold in this WASI. In a blocking call a function that waits, for
    /// input or a time, is not ended by timeout or cancel handle: the call ends when it returns. Blocking
    /// calls must not be made within an async task of `tokio`, which panics. In an async call, which must
    /// run within `tokio`, waiting suspends the guest, and ends with the call.
    ///
    /// The guest may see other answers than on another engine. The feature makes wasmtime's
    /// component model a part of the program, which takes a minute to compile.
    ///
    /// ```
    /// use provider_wasmtime::{
    ///     WasmtimeEngineProvider,
    ///     wasmtime_wasi::{WasiCtxBuilder, p2::pipe::MemoryOutputPipe},
    /// };
    /// use wapc_host::WapcHost;
    ///
    /// let guest = br#"(module
    ///     (import "wapc" "__guest_response" (func $respond (param i32 i32)))
    ///     (import "wasi_snapshot_preview1" "fd_write"
    ///         (func $write (param i32 i32 i32 i32) (result i32)))
    ///     (memory (export "memory") 1)
    ///     (data (i32.const 0) "\08\00\00\00\05\00\00\00hello")
    ///     (func (export "__guest_call") (param i32 i32) (result i32)
    ///         (drop (call $write (i32.const 1) (i32.const 0) (i32.const 1) (i32.const 16)))
    ///         (call $respond (i32.const 0) (i32.const 0))
    ///         (i32.const 1)))"#;
    ///
    /// let output = MemoryOutputPipe::new(1 << 20);
    /// let stdout = output.clone();
    /// let provider = WasmtimeEngineProvider::builder()
    ///     .wasi_context(move || Ok(WasiCtxBuilder::new().stdout(stdout.clone()).build_p1()))
    ///     .build(guest)?;
    /// let host = WapcHost::new(Box::new(provider), |_, _, _, _, _| Ok(vec![]))?;
    /// host.call("greet", b"")?;
    /// assert_eq!(output.contents(), &b"hello"[..]);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[cfg(feature = "wasmtime-wasi")]
    #[must_use]
    pub fn wasi_context(
        mut self,
        make: impl Fn() -> Result<WasiP1Ctx, BoxError> + Send + Sync + 'static,
    ) -> Self {
        self.wasi_contexts = Some(WasiContexts::new(make));
        self
    }

    /// Sets the host functions of the program's own that guests may import. By default none.
    ///
    /// ```
    /// use provider_wasmtime::WasmtimeEngineProvider;
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
    /// let provider = WasmtimeEngineProvider::builder()
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

    /// Compiles `module`, in binary or text format.
    ///
    /// On a thread of a rayon pool of the program, it is compiled by that pool, and
    /// [`ModuleLimits::compile_timeout`](wapc_host::ModuleLimits::compile_timeout)
    /// does not hold.
    ///
    /// # Errors
    ///
    /// [`ModuleError`] if the bytes are not a module or the module is not a
    /// guest.
    pub fn build(self, module: &[u8]) -> Result<WasmtimeEngineProvider, ModuleError> {
        with_stack(COMPILE_STACK_BYTES, || self.build_here(module))
            .map_err(|stop| ModuleError::Refused(stop.into()))?
    }

    fn build_here(self, module: &[u8]) -> Result<WasmtimeEngineProvider, ModuleError> {
        let binary = module::binary(module)?.into_owned();
        let service = module::service_section(&binary);
        let low_priority = self.low_priority;
        let (builder, engine) = self
            .with_engine()
            .map_err(|error| ModuleError::Refused(error.into()))?;
        let mut limits = builder.module_limits.clone();
        if compile_threads::is_in_pool_of_program() {
            // It stays on the threads of that pool, which are the program's to wait for.
            limits.compile_timeout = None;
        }
        let kills = builder.kills(&engine);
        let settings = builder.engine_settings.clone();
        let compiled = compile(&limits, binary, move |binary| {
            let compile = || match kills {
                true => engine::compile_killable(&engine, &settings, binary),
                false => engine::compile(&engine, &settings, binary),
            };
            compile_threads::run(low_priority, compile)
                .map_err(|error| module::refusal(binary, error))
        })?;
        let provider = builder.link(compiled)?;
        Ok(WasmtimeEngineProvider {
            service,
            ..provider
        })
    }

    /// Takes a module that the program has compiled, and uses its engine, as
    /// [`Builder::engine`] describes.
    ///
    /// ```
    /// use provider_wasmtime::{
    ///     WasmtimeEngineProvider,
    ///     wasmtime::{Engine, Module},
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
    /// let provider = WasmtimeEngineProvider::builder().build_compiled(module)?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    ///
    /// [`ModuleError`] if the module is not a guest.
    pub fn build_compiled(self, module: Module) -> Result<WasmtimeEngineProvider, ModuleError> {
        let engine = module.engine().clone();
        self.engine(engine).link(module)
    }

    /// Returns the engine, and the builder with that engine fixed.
    pub(crate) fn with_engine(mut self) -> wasmtime::Result<(Self, Engine)> {
        let engine = match &self.engine {
            Some(EngineSource::User(engine) | EngineSource::Settings(engine)) => engine.clone(),
            None => {
                let engine =
                    engine::engine(self.interruption.unwrap_or_default(), &self.engine_settings)?;
                self.engine = Some(EngineSource::Settings(engine.clone()));
                engine
            }
        };
        Ok((self, engine))
    }

    /// Returns whether modules get checks for the sake of [`Interruption::Kill`] on this
    /// engine.
    pub(crate) fn kills(&self, engine: &Engine) -> bool {
        self.interruption == Some(Interruption::Kill)
            && matches!(self.engine, Some(EngineSource::Settings(_)))
            && !engine.get_epoch_interruption()
    }

    pub(crate) fn wasi_settings(&self) -> &WasiSettings {
        &self.wasi
    }

    /// Returns the provider of a module on the builder's engine.
    pub(crate) fn link(mut self, module: Module) -> Result<WasmtimeEngineProvider, ModuleError> {
        let kills = self.kills(module.engine()) && engine::has_page(&module);
        let interruption = match kills {
            true => Interruption::Kill,
            false => engine::interruption(module.engine(), self.interruption),
        };
        if self.interruption != Some(Interruption::Kill) {
            self.interruption = Some(interruption);
        }
        if module.engine().get_epoch_interruption() && interruption.by_time() {
            engine::tick(module.engine());
        }
        let pooling = match self.engine {
            Some(EngineSource::Settings(_)) => self.engine_settings.pooling.clone(),
            Some(EngineSource::User(_)) | None => None,
        };
        let template = Template::new(
            module,
            interruption,
            self.engine_settings.stack_bytes,
            pooling,
            Arc::clone(&self.wasi),
            Arc::clone(&self.functions),
            #[cfg(feature = "wasmtime-wasi")]
            self.wasi_contexts.clone(),
        )?;
        Ok(WasmtimeEngineProvider {
            template: Arc::new(template),
            builder: self,
            service: None,
        })
    }
}

impl fmt::Debug for Builder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Builder")
            .field("interruption", &self.interruption)
            .field("engine_settings", &self.engine_settings)
            .field("low_priority", &self.low_priority)
            .field("wasi", &self.wasi)
            .field("functions", &self.functions)
            .finish_non_exhaustive()
    }
}
