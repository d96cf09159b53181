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

#![forbid(unsafe_code)]

mod builder;
mod engine;
mod errors;
mod instance;
mod limiter;
mod linker;
mod low_priority;
mod metering;
mod pooling;
mod precompiled;

use std::{fmt, sync::Arc};

#[cfg(feature = "async")]
use wapc_host::BoxFuture;
use wapc_host::{
    EngineError, GuestInstance, Interruption, ModuleError, ModuleState, WebAssemblyEngineProvider,
};
use wasmtime::{Engine, Module};

use crate::instance::{Template, WasmtimeInstance};
pub use crate::{
    builder::Builder,
    pooling::{PoolError, Pooling},
    precompiled::{Precompiled, PrecompiledError},
};

/// A guest module, compiled by wasmtime: the source of instances for a
/// [`WapcHost`](wapc_host::WapcHost).
///
/// A clone shares the compiled code.
#[derive(Clone)]
pub struct WasmtimeEngineProvider {
    template: Arc<Template>,
    /// What `replace` builds with.
    builder: Builder,
}

impl WasmtimeEngineProvider {
    /// Compiles `module` (binary or text) with default settings: an engine that
    /// the process shares, interruption by time, and a WASI that grants
    /// nothing.
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
            .field("interruption", &self.template.interruption())
            .field("wasi", self.builder.wasi_settings())
            .finish_non_exhaustive()
    }
}

impl WebAssemblyEngineProvider for WasmtimeEngineProvider {
    fn init(&self, state: ModuleState) -> Result<Box<dyn GuestInstance>, EngineError> {
        let instance = WasmtimeInstance::new(&self.template, state)?;
        Ok(Box::new(instance))
    }

    #[cfg(feature = "async")]
    fn init_async(
        &self,
        state: ModuleState,
    ) -> BoxFuture<'_, Result<Box<dyn GuestInstance>, EngineError>> {
        Box::pin(async {
            let instance = WasmtimeInstance::new_async(&self.template, state).await?;
            Ok(Box::new(instance) as Box<dyn GuestInstance>)
        })
    }

    fn replace(&self, module: &[u8]) -> Result<Box<dyn WebAssemblyEngineProvider>, EngineError> {
        Ok(Box::new(self.builder.clone().build(module)?))
    }

    fn interruption(&self) -> Interruption {
        self.template.interruption()
    }
}

/// The example in the README compiles.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
