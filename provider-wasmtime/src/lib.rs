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
//!
//! # Interruption
//!
//! A guest can be stopped by time, by default, or by fuel
//! ([`Builder::interruption`]). By time, compiled code checks an epoch counter at
//! each function and loop, which the host's clock increments every 2 ms. Guests of
//! [`Interruption::Kill`] load from a page instead,
//! which is taken away when their time is over. That costs guests least, and cannot
//! pause them for other tasks of an executor.
//!
//! # Time to the first answer
//!
//! Compiling takes milliseconds to seconds. Code can be compiled ahead of time
//! ([`Builder::precompile`]), by a baseline compiler ([`Builder::winch`], feature
//! `winch`), or on a thread of low priority while calls run
//! ([`Builder::low_priority_compilation`]). A directory can keep compiled code for the next process
//! (`Builder::compile_cache`, feature `cache`). Instances of short-lived guests can
//! come from a pool ([`Builder::pooling`]).
//!
//! # Features
//!
//! - `async` (default): guests are suspended in async calls. Without it, async
//!   calls are a typed error.
//! - `cache`: compiled code is kept in a directory.
//! - `wasmtime-wasi`: a WASI context of the program's own, by the crate `wasmtime_wasi`.
//! - `winch`: the baseline compiler.
//!
//! # Types of wasmtime
//!
//! [`wasmtime`] is re-exported: [`wasmtime::Engine`] and [`wasmtime::Module`] are
//! part of this crate's API, and programs should take them from here to get the
//! same version.

mod builder;
#[cfg(feature = "cache")]
mod compile_cache;
mod compile_threads;
mod engine;
mod errors;
mod functions;
mod instance;
mod killable_store;
mod limiter;
mod linker;
mod metering;
mod page_checks;
mod pooling;
mod precompiled;
#[cfg(feature = "wasmtime-wasi")]
mod wasi_context;

use std::{fmt, sync::Arc};

#[cfg(feature = "async")]
use wapc_host::BoxFuture;
use wapc_host::{
    Interruption, ModuleState, WebAssemblyEngineProvider,
    engine::{GuestInstance, with_stack},
    error::{EngineError, ModuleError},
};
pub use wasmtime;
use wasmtime::{Engine, Module};
#[cfg(feature = "wasmtime-wasi")]
pub use wasmtime_wasi;

#[cfg(feature = "cache")]
pub use crate::compile_cache::{CacheEntry, CacheError, CompileCache};
use crate::instance::{Template, WasmtimeInstance};
pub use crate::{
    builder::Builder,
    engine::Proposal,
    pooling::{PoolError, Pooling},
    precompiled::{Precompiled, PrecompiledError},
};

/// A guest module, compiled by wasmtime, from which a
/// [`WapcHost`](wapc_host::WapcHost) makes its instances.
///
/// Clones share the compiled code.
#[derive(Clone)]
pub struct WasmtimeEngineProvider {
    template: Arc<Template>,
    /// The settings that `replace` builds with.
    builder: Builder,
    /// What the guest says of its operations.
    service: Option<Arc<[u8]>>,
}

impl WasmtimeEngineProvider {
    /// Compiles `module` (binary or text) with default settings: an engine that
    /// the process shares, interruption by time, and a WASI that grants
    /// nothing.
    ///
    /// # Errors
    ///
    /// [`ModuleError`] if the bytes are not a module or the module is not a
    /// guest.
    pub fn new(module: &[u8]) -> Result<Self, ModuleError> {
        Self::builder().build(module)
    }

    /// Returns the default settings, to be changed before a module is built.
    #[must_use]
    pub fn builder() -> Builder {
        Builder::default()
    }

    /// Returns the engine that the module was compiled on.
    #[must_use]
    pub fn engine(&self) -> &Engine {
        self.module().engine()
    }

    /// Returns whether the code has the checks of `page_checks.rs`.
    pub(crate) fn has_checks(&self) -> bool {
        self.template.interruption() == Interruption::Kill
    }

    /// Returns the compiled module.
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
    fn init(&self, mut state: ModuleState) -> Result<Box<dyn GuestInstance>, EngineError> {
        state.set_service_section(self.service.clone());
        let made = || WasmtimeInstance::new(&self.template, state);
        let instance = with_stack(self.template.stack_bytes(), made)??;
        Ok(Box::new(instance))
    }

    #[cfg(feature = "async")]
    fn init_async(
        &self,
        mut state: ModuleState,
    ) -> BoxFuture<'_, Result<Box<dyn GuestInstance>, EngineError>> {
        state.set_service_section(self.service.clone());
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
