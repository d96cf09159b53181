//! The contract between the host and an engine, for authors of engines.
//!
//! An engine implements [`WebAssemblyEngineProvider`](crate::WebAssemblyEngineProvider)
//! for a compiled module and [`GuestInstance`] for an instance. The instance
//! owns a [`ModuleState`](crate::ModuleState), whose methods are the functions
//! that a guest imports. This engine has one module, whose guest echoes:
//!
//! ```
//! use wapc_host::{Interruption, ModuleState, WapcHost, WebAssemblyEngineProvider};
//! use wapc_host::{engine::{GuestInstance, GuestReturn}, error::EngineError};
//!
//! struct Echo;
//!
//! impl WebAssemblyEngineProvider for Echo {
//!     fn init(&self, state: ModuleState) -> Result<Box<dyn GuestInstance>, EngineError> {
//!         Ok(Box::new(EchoGuest { state, memory: vec![0; 64] }))
//!     }
//!
//!     fn replace(&self, _module: &[u8]) -> Result<Box<dyn WebAssemblyEngineProvider>, EngineError> {
//!         Ok(Box::new(Self))
//!     }
//!
//!     fn interruption(&self) -> Interruption {
//!         Interruption::Time // The guest never runs for long.
//!     }
//! }
//!
//! struct EchoGuest {
//!     state: ModuleState,
//!     memory: Vec<u8>,
//! }
//!
//! impl GuestInstance for EchoGuest {
//!     fn call(&mut self, op_length: i32, msg_length: i32) -> GuestReturn {
//!         // With WebAssembly, the guest makes these calls through its imports.
//!         let mut guest_call = || -> Result<i32, EngineError> {
//!             self.state.guest_request(&mut self.memory, 0, op_length)?;
//!             self.state.guest_response(&self.memory, op_length, msg_length)?;
//!             Ok(1)
//!         };
//!         guest_call().into()
//!     }
//!
//!     fn state(&mut self) -> &mut ModuleState {
//!         &mut self.state
//!     }
//! }
//!
//! let host = WapcHost::new(Box::new(Echo), |_, _, _, _, _| Ok(vec![]))?;
//! assert_eq!(host.call("echo", b"hello")?, b"hello");
//! # Ok::<(), wapc_host::Error>(())
//! ```

pub use self::{
    compile::compile,
    guest_call::GuestCall,
    outcome::{CallEnd, GuestReturn},
    provider::{AsyncCall, GuestInstance, with_stack},
};
pub use crate::protocol::{
    functions::{FunctionGuest, HostFunction, PendingFunction, Value, Values},
    kill_switch::{ArmedSwitch, KillSwitch, Killable},
    monitor::{CallMonitor, sleep_until},
    pending::{HostCallResult, HostCallStart, PendingHostCall},
};
pub use crate::timer::Pause;
// Inlined, since the macro itself is hidden at the root.
#[doc(inline)]
pub use crate::protocol::state::{LogLevel, for_each_env_import, for_each_import};

/// The modules from which guests import waPC's functions: its own name, and that of
/// wasmCloud's actors.
pub const IMPORT_MODULES: [&str; 2] = ["wapc", "wasmbus"];

pub(crate) mod call_guard;
mod compile;
pub(crate) mod guest_call;
pub(crate) mod outcome;
pub(crate) mod provider;
#[cfg(any(test, feature = "testing"))]
pub mod scripted;

/// The clock of timed calls.
pub mod clock {
    pub use crate::clock::{TICK, observe};
}
