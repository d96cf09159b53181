//! A third engine for [`wapc_host`], as small as an engine can be: it interprets
//! guests that compute with integers of 32 bits. `docs/third-engine.md` walks
//! through it.
//!
//! ```
//! use toy_engine::ToyEngineProvider;
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
//! let provider = ToyEngineProvider::new(module)?;
//! let host = WapcHost::new(Box::new(provider), |_, _, _, _, _| Ok(vec![]))?;
//! assert_eq!(host.call("greet", b"")?, b"hello");
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! It has no WASI, no tables, no floats and no integers of 64 bits: a module that
//! needs one of them is refused. It can stop a guest by time and by fuel, and does
//! not suspend guests.

#![forbid(unsafe_code)]

mod instance;
mod interpreter;
mod limiter;
mod linker;
mod metering;

use std::{fmt, sync::Arc};

use wapc_host::{
    HostFunctions, Interruption, ModuleLimits, ModuleState, WebAssemblyEngineProvider,
    engine::GuestInstance,
    error::{EngineError, ModuleError},
};

use crate::{instance::ToyInstance, interpreter::compile::Code};

/// A guest module, compiled for the interpreter. Clones share the code.
#[derive(Clone)]
pub struct ToyEngineProvider {
    code: Arc<Code>,
    /// The settings that `replace` compiles with.
    settings: Settings,
}

/// The settings of a [`ToyEngineProvider`].
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct Settings {
    /// The ways to stop a guest. Default: by time.
    pub interruption: Interruption,
    /// The limits on modules.
    pub module_limits: ModuleLimits,
    /// The program's own functions that guests may import. Default: none.
    pub functions: HostFunctions,
}

impl ToyEngineProvider {
    /// Compiles `module` (binary or text) with default settings.
    ///
    /// # Errors
    ///
    /// [`ModuleError`] if the bytes are not a module, the module is not a guest,
    /// or it needs an instruction that this engine does not have.
    pub fn new(module: &[u8]) -> Result<Self, ModuleError> {
        Self::with_settings(module, Settings::default())
    }

    /// Compiles `module` (binary or text) with these settings.
    ///
    /// # Errors
    ///
    /// The same as of [`ToyEngineProvider::new`].
    pub fn with_settings(module: &[u8], settings: Settings) -> Result<Self, ModuleError> {
        let code = Arc::new(Code::compile(
            module,
            &settings.module_limits,
            &settings.functions,
        )?);
        Ok(Self { code, settings })
    }
}

impl WebAssemblyEngineProvider for ToyEngineProvider {
    fn init(&self, state: ModuleState) -> Result<Box<dyn GuestInstance>, EngineError> {
        let code = Arc::clone(&self.code);
        let instance = ToyInstance::new(code, self.settings.interruption, state)?;
        Ok(Box::new(instance))
    }

    fn replace(&self, module: &[u8]) -> Result<Box<dyn WebAssemblyEngineProvider>, EngineError> {
        let settings = self.settings.clone();
        Ok(Box::new(Self::with_settings(module, settings)?))
    }

    fn interruption(&self) -> Interruption {
        match self.settings.interruption {
            Interruption::Kill => Interruption::Time,
            interruption => interruption,
        }
    }
}

impl fmt::Debug for ToyEngineProvider {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ToyEngineProvider")
            .field("settings", &self.settings)
            .finish_non_exhaustive()
    }
}
