//! Runs waPC guests on [wasmtime](https://docs.rs/wasmtime), which compiles
//! them to machine code: an engine for [`wapc_host`].
//!
//! ```
//! use provider_wasmtime::WasmtimeEngineProvider;
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
//! let provider = WasmtimeEngineProvider::new(module)?;
//! let host = WapcHost::new(Box::new(provider), |_, _, _, _, _| Ok(vec![]))?;
//! assert_eq!(host.call("greet", b"")?, b"hello");
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod errors;
mod imports;
mod instance;

use std::{
    fmt,
    sync::{Arc, LazyLock},
};

use wapc_host::{
    EngineError, GuestInstance, ModuleError, ModuleState, WasiSettings, WebAssemblyEngineProvider,
    module,
};
use wasmtime::{Config, Engine, Module};

use crate::instance::{Template, WasmtimeInstance};

/// A guest module, compiled by wasmtime: the source of instances for a
/// [`WapcHost`](wapc_host::WapcHost).
///
/// A clone shares the compiled code.
#[derive(Clone)]
pub struct WasmtimeEngineProvider {
    template: Arc<Template>,
    wasi: Arc<WasiSettings>,
}

impl WasmtimeEngineProvider {
    /// Compiles `module` (binary or text) with default settings: the process's
    /// shared engine, and a WASI that grants nothing.
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

    /// The engine that the module was compiled on.
    #[must_use]
    pub fn engine(&self) -> &Engine {
        self.module().engine()
    }

    /// The compiled module.
    #[must_use]
    pub fn module(&self) -> &Module {
        self.template.module()
    }
}

impl fmt::Debug for WasmtimeEngineProvider {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WasmtimeEngineProvider")
            .field("wasi", &self.wasi)
            .finish_non_exhaustive()
    }
}

impl WebAssemblyEngineProvider for WasmtimeEngineProvider {
    fn init(&self, state: ModuleState) -> Result<Box<dyn GuestInstance>, EngineError> {
        let instance = WasmtimeInstance::new(&self.template, &self.wasi, state)?;
        Ok(Box::new(instance))
    }

    fn replace(&self, module: &[u8]) -> Result<Box<dyn WebAssemblyEngineProvider>, EngineError> {
        let builder = Builder {
            engine: Some(self.engine().clone()),
            wasi: Arc::clone(&self.wasi),
        };
        Ok(Box::new(builder.build(module)?))
    }
}

/// The settings of a [`WasmtimeEngineProvider`].
#[derive(Clone, Default)]
pub struct Builder {
    engine: Option<Engine>,
    wasi: Arc<WasiSettings>,
}

impl Builder {
    /// Compiles on this engine of yours, with its settings. By default all
    /// providers in the process share one engine, which takes the WebAssembly
    /// features that [`wapc_host::module`] lists and no others.
    ///
    /// Calls need neither fuel nor epochs; leave both off in its `Config`.
    #[must_use]
    pub fn engine(mut self, engine: Engine) -> Self {
        self.engine = Some(engine);
        self
    }

    /// What guests get of the outside world. By default nothing.
    #[must_use]
    pub fn wasi(mut self, wasi: WasiSettings) -> Self {
        self.wasi = Arc::new(wasi);
        self
    }

    /// Compiles `module`, binary or text.
    ///
    /// # Errors
    ///
    /// [`ModuleError`]: the bytes are no module, or the module is no guest.
    pub fn build(self, module: &[u8]) -> Result<WasmtimeEngineProvider, ModuleError> {
        let engine = self.engine.as_ref().unwrap_or(&SHARED_ENGINE);
        let binary = module::binary(module)?;
        let compiled = Module::from_binary(engine, &binary)
            .map_err(|error| module::refusal(&binary, error))?;
        self.build_compiled(compiled)
    }

    /// Takes a module that you have compiled; its own engine is used.
    ///
    /// # Errors
    ///
    /// [`ModuleError`]: the module is no guest.
    pub fn build_compiled(self, module: Module) -> Result<WasmtimeEngineProvider, ModuleError> {
        Ok(WasmtimeEngineProvider {
            template: Arc::new(Template::new(module)?),
            wasi: self.wasi,
        })
    }
}

impl fmt::Debug for Builder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Builder")
            .field("wasi", &self.wasi)
            .finish_non_exhaustive()
    }
}

/// One engine for all providers that bring none of their own: code and
/// settings are then in the process once.
static SHARED_ENGINE: LazyLock<Engine> = LazyLock::new(|| {
    let mut config = Config::new();
    config
        .wasm_exceptions(false)
        .wasm_function_references(false)
        .wasm_gc(false)
        .wasm_memory64(false)
        .wasm_relaxed_simd(false)
        .wasm_wide_arithmetic(false)
        .wasm_custom_page_sizes(false);
    Engine::new(&config)
        .expect("these settings go together on every platform that wasmtime compiles for")
});
