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

mod builder;
mod engine;
mod errors;
mod instance;
mod limiter;
mod linker;
mod metering;
mod rewrite;
mod run;
mod sharded_module;

use std::{
    fmt,
    pin::pin,
    sync::Arc,
    task::{Context, Poll, Waker},
};

use wapc_host::{
    BoxFuture, EngineError, GuestInstance, Interruption, ModuleError, ModuleState,
    WebAssemblyEngineProvider,
};
use wasmi::{Engine, Module};

pub use crate::builder::Builder;
use crate::{instance::WasmiInstance, sharded_module::ShardedModule};

/// A guest module, translated for wasmi: the source of instances for a
/// [`WapcHost`](wapc_host::WapcHost).
///
/// A clone shares the translated code.
#[derive(Clone)]
pub struct WasmiEngineProvider {
    module: Arc<ShardedModule>,
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
        self.module.first_shard().module()
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
        let template = self.module.template(state.shard_hint());
        let (mut made, meter) = WasmiInstance::new(template, self.builder.wasi_settings(), state)?;
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
            let template = self.module.template(state.shard_hint());
            let (mut made, meter) =
                WasmiInstance::new(template, self.builder.wasi_settings(), state)?;
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

/// The example in the README compiles.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
