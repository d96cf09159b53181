//! Runs waPC guests on [wasmi](https://docs.rs/wasmi), an interpreter: an
//! engine for [`wapc_host`] that generates no machine code, starts at once and
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
//!
//! # Interruption
//!
//! A guest can be stopped by time, by default, or by fuel
//! ([`Builder::interruption`]). Either needs an engine that meters fuel: a call
//! runs in slices of fuel, and the host checks time and cancellation between
//! them.
//!
//! # Several engines
//!
//! Threads that run guests of the same [`wasmi::Engine`] contend for a lock in
//! it. A provider therefore spreads its instances over several engines
//! ([`Builder::engines`]).
//!
//! # Rewritten modules
//!
//! A module is rewritten before translation where wasmi 2.0 could not interrupt
//! it or would miscompile it. The rewritten module behaves in the same way; only
//! [`WasmiEngineProvider::module`] shows the difference. A module that the
//! program has translated itself ([`Builder::build_compiled`]) is not rewritten.
//!
//! # Features
//!
//! - `portable-dispatch` (default): the interpreter is a loop. Without it, wasmi
//!   dispatches by tail calls, which is faster where the compiler optimises all of
//!   them; where it does not (debug assertions, several codegen units), a guest
//!   that loops overflows the stack of its thread and aborts the process.
//!
//! # Types of wasmi
//!
//! [`wasmi`] is re-exported: [`wasmi::Engine`] and [`wasmi::Module`] are part of
//! this crate's API, and programs should take them from here to get the same
//! version.

#![forbid(unsafe_code)]

mod builder;
mod engine;
mod errors;
mod functions;
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
    BoxFuture, Interruption, ModuleState, WebAssemblyEngineProvider,
    engine::{GuestInstance, with_stack},
    error::{EngineError, ModuleError},
};
use wasmi::{Engine, Module};

pub use wasmi;

pub use crate::builder::Builder;
use crate::{instance::WasmiInstance, sharded_module::ShardedModule};

/// A guest module, translated by wasmi, from which a
/// [`WapcHost`](wapc_host::WapcHost) makes its instances.
///
/// Clones share the translated code.
#[derive(Clone)]
pub struct WasmiEngineProvider {
    module: Arc<ShardedModule>,
    /// The settings that `replace` builds with.
    builder: Builder,
    /// What the guest says of its operations.
    service: Option<Arc<[u8]>>,
}

impl WasmiEngineProvider {
    /// Translates `module` (binary or text) with default settings: engines of
    /// its own ([`Builder::engines`]), interruption by time, and a WASI that
    /// grants nothing.
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

    /// Returns the engine that the module was translated on, the first of
    /// several.
    #[must_use]
    pub fn engine(&self) -> &Engine {
        self.module().engine()
    }

    /// Returns the translated module on the first of several engines.
    ///
    /// If the provider has translated it, a start section is an export, since
    /// wasmi cannot interrupt start sections.
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

/// The stack for translating another shard, and for start functions with their host functions.
const START_STACK_BYTES: usize = 1 << 20;

impl WasmiEngineProvider {
    fn init_here(&self, state: ModuleState) -> Result<Box<dyn GuestInstance>, EngineError> {
        let template = self.module.template(state.shard_hint());
        let (mut made, meter) = WasmiInstance::new(template, self.builder.wasi_settings(), state)?;
        match pin!(made.start(template, meter)).poll(&mut Context::from_waker(Waker::noop())) {
            Poll::Ready(started) => started?,
            Poll::Pending => return Err(EngineError::Other("a blocking start has awaited".into())),
        }
        Ok(made)
    }
}

impl WebAssemblyEngineProvider for WasmiEngineProvider {
    fn init(&self, mut state: ModuleState) -> Result<Box<dyn GuestInstance>, EngineError> {
        state.set_service_section(self.service.clone());
        with_stack(START_STACK_BYTES, || self.init_here(state))?
    }

    fn init_async(
        &self,
        mut state: ModuleState,
    ) -> BoxFuture<'_, Result<Box<dyn GuestInstance>, EngineError>> {
        state.set_service_section(self.service.clone());
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
