//! An engine-agnostic host for WebAssembly guests that speak **waPC**
//! (WebAssembly Procedure Calls): host and guest call each other by operation
//! name with opaque bytes, and neither allocates in the other's memory.
//!
//! This crate holds the protocol and the host, and no engine. An engine joins
//! as a [`WebAssemblyEngineProvider`]; `provider-wasmtime` and
//! `provider-wasmi` are two.
//!
//! ```
//! # use wapc_host::{GuestInstance, GuestReturn, ModuleState, EngineError, WapcHost, WebAssemblyEngineProvider};
//! # struct Echo(ModuleState);
//! # #[derive(Clone)] struct EchoProvider;
//! # impl WebAssemblyEngineProvider for EchoProvider {
//! #     fn init(&self, state: ModuleState) -> Result<Box<dyn GuestInstance>, EngineError> {
//! #         Ok(Box::new(Echo(state)))
//! #     }
//! #     fn replace(&self, _: &[u8]) -> Result<Box<dyn WebAssemblyEngineProvider>, EngineError> {
//! #         Ok(Box::new(Self))
//! #     }
//! #     fn interruption(&self) -> wapc_host::Interruption { wapc_host::Interruption::Time }
//! # }
//! # impl GuestInstance for Echo {
//! #     fn call(&mut self, op: i32, msg: i32) -> GuestReturn {
//! #         let mut memory = [0; 64];
//! #         let requested = self.0.guest_request(&mut memory, 0, op);
//! #         let responded = requested.and_then(|()| self.0.guest_response(&memory, op, msg));
//! #         responded.map(|()| 1).map_err(EngineError::from).into()
//! #     }
//! #     fn state(&mut self) -> &mut ModuleState { &mut self.0 }
//! # }
//! # let provider = EchoProvider;
//! let host = WapcHost::new(Box::new(provider), |_id, _binding, _namespace, _operation, _payload| {
//!     Ok(b"the host's answer".to_vec())
//! })?;
//! assert_eq!(host.call("echo", b"hello")?, b"hello");
//! # Ok::<(), wapc_host::Error>(())
//! ```
//!
//! The parts:
//!
//! - [`WapcHost`] is the service object: call it from any thread.
//! - [`HostCallback`] answers what guests ask of the host.
//! - [`ModuleState`] is the conversation: one method for each function that
//!   the host exports to guests. Engines call it; users never see it.
//! - [`module`] decides, for every engine alike, which modules are guests.
//! - [`Limits`] says what a guest may use up, and [`CallOptions`] what one
//!   call may: a deadline, fuel, a [`CancelHandle`].
//! - [`Swap`] replaces the guest's code while it is called.
//! - [`WasiSettings`] says what a guest gets of the outside world: nothing,
//!   unless asked for.
//! - [`Error`] is what a call can end in, [`EngineError`] what an engine
//!   reports.

mod block_on;
pub mod clock;
pub mod engine;
mod error;
mod host;
mod limits;
#[cfg(all(test, shuttle))]
mod model;
pub mod module;
mod pool;
mod protocol;
mod swap;
mod sync;
mod wasi;

pub use engine::guest_call::GuestCall;
pub use engine::outcome::{CallEnd, GuestReturn};
pub use engine::provider::{AsyncCall, GuestInstance, WebAssemblyEngineProvider};
pub use error::{
    BoxError, EngineError, Error, ErrorKind, Frame, ProtocolError, Spent, StopReason, Trap,
    TrapCode,
};
pub use host::{
    CallWith, CheckedOut, CheckedOutAsync, CompileTier, ErrorCounts, HostBuilder, Reuse, Stats,
    Tier, Tiers, WapcHost,
};
pub use limits::call::CallOptions;
pub use limits::cancel::CancelHandle;
pub use limits::guest::{LimitError, Limits};
pub use limits::interruption::Interruption;
pub use limits::module::{ModuleLimitError, ModuleLimits};
pub use module::{ModuleError, StartFunction};
pub use protocol::budget::CallMonitor;
pub use protocol::callback::{AsyncHostCallback, HostCallback};
pub use protocol::host_call::{BoxFuture, HostCall, OwnedHostCall};
pub use protocol::pending::{HostCallResult, HostCallStart, PendingHostCall};
pub use protocol::state::ModuleState;
pub use swap::Swap;
pub use wasi::{Capture, DirAccess, MappedDir, Stdin, Stdout, WasiSettings};

/// The example in the README compiles.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
