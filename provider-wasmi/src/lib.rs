//! Runs waPC guests on [wasmi](https://docs.rs/wasmi), an interpreter: an
//! engine for [`wapc_host`] that needs no code generation, starts at once and
//! builds in seconds.
//!
//! ```
//! use provider_wasmi::WasmiEngineProvider;
//! use wapc_host::WapcHost;
//!
//! let module = br#"(module
//!     (import "wapc" "__guest_response" (func $respond (param i32 i32)))
//!     (memory (export "memory") 1)
//!     (data (i32.const 0) "hello")
//!     (func (export "__guest_call") (param i32 i32) (result i32)
//!         (call $respond (i32.const 0) (i32.const 5))
//!         (i32.const 1)))"#;
//!
//! let provider = WasmiEngineProvider::new(module)?;
//! let host = WapcHost::new(Box::new(provider), |_, _, _, _, _| Ok(vec![]))?;
//! assert_eq!(host.call("greet", b"")?, b"hello");
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

#![forbid(unsafe_code)]

mod edit;
mod errors;
mod imports;
mod instance;
mod limiter;
mod mend;
mod rewrite;
mod run;
mod templates;

use std::{
    fmt,
    num::NonZeroUsize,
    pin::pin,
    sync::{Arc, LazyLock},
    task::{Context, Poll, Waker},
    thread::available_parallelism,
};

use wapc_host::{
    BoxFuture, EngineError, GuestInstance, Interruption, ModuleError, ModuleLimits, ModuleState,
    WasiSettings, WebAssemblyEngineProvider, module,
};
use wasmi::{Engine, Module};

use crate::{
    instance::WasmiInstance,
    templates::{EngineSettings, Templates},
};

/// A guest module, translated for wasmi: the source of instances for a
/// [`WapcHost`](wapc_host::WapcHost).
///
/// A clone shares the translated code.
#[derive(Clone)]
pub struct WasmiEngineProvider {
    templates: Arc<Templates>,
    /// What `replace` builds with.
    builder: Builder,
}

impl WasmiEngineProvider {
    /// Translates `module` (binary or text) with default settings: engines of
    /// its own ([`Builder::engines`]), guests that can be interrupted by time,
    /// and a WASI that grants nothing.
    ///
    /// # Errors
    ///
    /// [`ModuleError`], as [`Builder::build`].
    pub fn new(module: &[u8]) -> Result<Self, ModuleError> {
        Self::builder().build(module)
    }

    /// Settings other than the default.
    #[must_use]
    pub fn builder() -> Builder {
        Builder::default()
    }

    /// The engine that the module was translated for; the first of several.
    #[must_use]
    pub fn engine(&self) -> &Engine {
        self.module().engine()
    }

    /// The translated module; that of the first of several engines.
    ///
    /// Where the provider translated it, the function of a start section is an
    /// export like the other start functions, since wasmi could not interrupt
    /// it otherwise.
    #[must_use]
    pub fn module(&self) -> &Module {
        self.templates.first().module()
    }
}

impl fmt::Debug for WasmiEngineProvider {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WasmiEngineProvider")
            .field("builder", &self.builder)
            .finish_non_exhaustive()
    }
}

impl WebAssemblyEngineProvider for WasmiEngineProvider {
    fn init(&self, state: ModuleState) -> Result<Box<dyn GuestInstance>, EngineError> {
        let template = self.templates.of(state.spread());
        let (mut made, meter) = WasmiInstance::new(template, &self.builder.wasi, state)?;
        match pin!(made.start(template, meter)).poll(&mut Context::from_waker(Waker::noop())) {
            Poll::Ready(started) => started?,
            Poll::Pending => return Err(EngineError::Other("a blocking start has awaited".into())),
        }
        Ok(made)
    }

    fn init_async(
        &self,
        state: ModuleState,
    ) -> BoxFuture<'_, Result<Box<dyn GuestInstance>, EngineError>> {
        Box::pin(async move {
            let template = self.templates.of(state.spread());
            let (mut made, meter) = WasmiInstance::new(template, &self.builder.wasi, state)?;
            made.start(template, meter).await?;
            Ok(made as Box<dyn GuestInstance>)
        })
    }

    fn replace(&self, module: &[u8]) -> Result<Box<dyn WebAssemblyEngineProvider>, EngineError> {
        Ok(Box::new(self.builder.clone().build(module)?))
    }

    fn interruption(&self) -> Interruption {
        self.builder.interruption_of_engine()
    }
}

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
        let templates = match &self.engine {
            Some(engine) => Templates::on(engine, &binary, interruption)?,
            None => Templates::spread(
                &binary,
                self.engines.unwrap_or_else(default_engines),
                EngineSettings {
                    interruption,
                    stack_bytes: self.stack_bytes.unwrap_or(DEFAULT_STACK_BYTES),
                },
            )?,
        };
        Ok(self.provider(templates))
    }

    /// Takes a module that you have translated; its own engine is used.
    ///
    /// What is left of wasmi's own manners then: a start section is not
    /// interrupted by time, but gets as much fuel as a guest uses up in about
    /// the time that it may take; and a guest that is interrupted in
    /// `table.grow` cannot go on, and fails with [`EngineError::Other`].
    ///
    /// # Errors
    ///
    /// [`ModuleError`]: the module is no guest. [`ModuleError::Refused`] if its
    /// engine cannot interrupt guests as [`Builder::interruption`] says.
    pub fn build_compiled(mut self, module: Module) -> Result<WasmiEngineProvider, ModuleError> {
        self.engine = Some(module.engine().clone());
        let interruption = self.interruption_of_engine();
        Ok(self.provider(Templates::single(module, interruption)?))
    }

    fn interruption_of_engine(&self) -> Interruption {
        self.interruption.unwrap_or(match self.engine {
            Some(_) => Interruption::Off,
            None => Interruption::Time,
        })
    }

    fn provider(self, templates: Templates) -> WasmiEngineProvider {
        WasmiEngineProvider {
            templates: Arc::new(templates),
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

/// The example in the README compiles.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
