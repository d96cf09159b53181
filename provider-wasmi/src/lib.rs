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

mod errors;
mod imports;
mod instance;
mod templates;

use std::{
    fmt,
    num::NonZeroUsize,
    sync::{Arc, LazyLock},
    thread::available_parallelism,
};

use wapc_host::{
    EngineError, GuestInstance, ModuleError, ModuleState, WasiSettings, WebAssemblyEngineProvider,
    module,
};
use wasmi::{Engine, Module};

use crate::{instance::WasmiInstance, templates::Templates};

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
    /// its own ([`Builder::engines`]), and a WASI that grants nothing.
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
        let instance = WasmiInstance::new(self.templates.next(), &self.builder.wasi, state)?;
        Ok(Box::new(instance))
    }

    fn replace(&self, module: &[u8]) -> Result<Box<dyn WebAssemblyEngineProvider>, EngineError> {
        Ok(Box::new(self.builder.clone().build(module)?))
    }
}

/// The settings of a [`WasmiEngineProvider`].
#[derive(Clone, Default)]
pub struct Builder {
    engine: Option<Engine>,
    engines: Option<NonZeroUsize>,
    wasi: Arc<WasiSettings>,
}

impl Builder {
    /// Translates for this engine of yours, with its settings. By default each
    /// provider has engines of its own, which take the WebAssembly features
    /// that [`wapc_host::module`] lists and no others.
    ///
    /// Calls need no fuel; leave it off in its `Config`. Threads that run
    /// guests of one engine at the same time wait for a lock in it.
    #[must_use]
    pub fn engine(mut self, engine: Engine) -> Self {
        self.engine = Some(engine);
        self
    }

    /// How many engines of its own the provider deals its instances out to.
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
    pub fn build(self, module: &[u8]) -> Result<WasmiEngineProvider, ModuleError> {
        let binary = module::binary(module)?;
        let templates = match &self.engine {
            Some(engine) => Templates::on(engine, &binary)?,
            None => Templates::spread(&binary, self.engines.unwrap_or_else(default_engines))?,
        };
        Ok(self.provider(templates))
    }

    /// Takes a module that you have translated; its own engine is used.
    ///
    /// # Errors
    ///
    /// [`ModuleError`]: the module is no guest.
    pub fn build_compiled(mut self, module: Module) -> Result<WasmiEngineProvider, ModuleError> {
        self.engine = Some(module.engine().clone());
        Ok(self.provider(Templates::single(module)?))
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
            .field("wasi", &self.wasi)
            .finish_non_exhaustive()
    }
}

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
