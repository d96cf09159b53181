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
mod mapped_dir;
mod wasi;

use std::{fmt, sync::Arc};

use wapc_host::{
    EngineError, GuestInstance, ModuleError, ModuleState, WasiSettings, WebAssemblyEngineProvider,
    module,
};
use wasmi::{Config, Engine, Module};

use crate::instance::{Template, WasmiInstance};

/// A guest module, translated for wasmi: the source of instances for a
/// [`WapcHost`](wapc_host::WapcHost).
///
/// A clone shares the translated code.
#[derive(Clone)]
pub struct WasmiEngineProvider {
    template: Arc<Template>,
    wasi: Arc<WasiSettings>,
}

impl WasmiEngineProvider {
    /// Translates `module` (binary or text) with default settings: an engine
    /// of its own, and a WASI that grants nothing.
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

    /// The engine that the module was translated for.
    #[must_use]
    pub fn engine(&self) -> &Engine {
        self.module().engine()
    }

    /// The translated module.
    #[must_use]
    pub fn module(&self) -> &Module {
        self.template.module()
    }
}

impl fmt::Debug for WasmiEngineProvider {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WasmiEngineProvider")
            .field("wasi", &self.wasi)
            .finish_non_exhaustive()
    }
}

impl WebAssemblyEngineProvider for WasmiEngineProvider {
    fn init(&self, state: ModuleState) -> Result<Box<dyn GuestInstance>, EngineError> {
        let instance = WasmiInstance::new(&self.template, &self.wasi, state)?;
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

/// The settings of a [`WasmiEngineProvider`].
#[derive(Clone, Default)]
pub struct Builder {
    engine: Option<Engine>,
    wasi: Arc<WasiSettings>,
}

impl Builder {
    /// Translates for this engine of yours, with its settings. By default each
    /// provider has an engine of its own, which takes the WebAssembly features
    /// that [`wapc_host::module`] lists and no others.
    ///
    /// Calls need no fuel; leave it off in its `Config`. Threads that run
    /// guests of one engine at the same time contend for a lock in it.
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

    /// A provider of `module`: bytes (binary or text) to translate, or a
    /// [`Module`] of yours, whose own engine is used then.
    ///
    /// # Errors
    ///
    /// [`ModuleError`]: the bytes are no module, or the module is no guest.
    pub fn build<'m>(
        self,
        module: impl Into<ModuleSource<'m>>,
    ) -> Result<WasmiEngineProvider, ModuleError> {
        let module = match module.into() {
            ModuleSource::Compiled(module) => module,
            ModuleSource::Bytes(bytes) => {
                let engine = self.engine.unwrap_or_else(default_engine);
                let binary = module::binary(bytes)?;
                Module::new(&engine, &binary).map_err(|error| module::refusal(&binary, error))?
            }
        };
        Ok(WasmiEngineProvider {
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

/// What a provider is made of.
#[derive(Clone)]
#[non_exhaustive]
pub enum ModuleSource<'m> {
    /// A binary or text, to be translated.
    Bytes(&'m [u8]),
    /// A module that is translated already.
    Compiled(Module),
}

impl<'m> From<&'m [u8]> for ModuleSource<'m> {
    fn from(bytes: &'m [u8]) -> Self {
        Self::Bytes(bytes)
    }
}

impl<'m, const N: usize> From<&'m [u8; N]> for ModuleSource<'m> {
    fn from(bytes: &'m [u8; N]) -> Self {
        Self::Bytes(bytes)
    }
}

impl<'m> From<&'m Vec<u8>> for ModuleSource<'m> {
    fn from(bytes: &'m Vec<u8>) -> Self {
        Self::Bytes(bytes)
    }
}

impl From<Module> for ModuleSource<'_> {
    fn from(module: Module) -> Self {
        Self::Compiled(module)
    }
}

impl fmt::Debug for ModuleSource<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Bytes(bytes) => write!(f, "Bytes({} bytes)", bytes.len()),
            Self::Compiled(_) => f.write_str("Compiled"),
        }
    }
}

fn default_engine() -> Engine {
    let mut config = Config::default();
    config.wasm_simd(true).wasm_relaxed_simd(false);
    Engine::new(&config)
}
