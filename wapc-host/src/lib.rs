//! An engine-agnostic host for WebAssembly guests that speak **waPC**
//! (WebAssembly Procedure Calls): host and guest call each other by operation
//! name with opaque bytes, and neither allocates in the other's memory.
//!
//! This crate holds the protocol and the host, and no engine. An engine joins
//! as a [`WebAssemblyEngineProvider`]; `provider-wasmtime` and
//! `provider-wasmi` are two.
//!
//! ```
//! # use wapc_host::{ModuleState, WapcHost, WebAssemblyEngineProvider};
//! # use wapc_host::{engine::{GuestInstance, GuestReturn}, error::EngineError};
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
//! The crate's root holds the names that users need:
//!
//! - [`WapcHost`] is the service object: call it from any thread. Its
//!   [`HostBuilder`] sets the number of instances, limits and times.
//! - [`HostCallback`] and [`AsyncHostCallback`] answer the guest's calls to the
//!   host.
//! - [`Limits`] bound a guest, and [`CallOptions`] one call: a deadline, fuel,
//!   a [`CancelHandle`].
//! - [`Swap`] replaces the guest's code while it is called.
//! - [`WasiSettings`] grant a guest access to the outside world. By default
//!   they grant nothing.
//! - [`Error`] is the error of calls and swaps.
//! - [`WebAssemblyEngineProvider`] is a compiled module on some engine, and
//!   [`ModuleState`] the conversation with one of its instances: one method for
//!   each function that the host exports to guests.
//!
//! The modules hold the rest: [`error`] all that an [`Error`] may contain,
//! [`wasi`] the parts of [`WasiSettings`], [`engine`] the contract for authors
//! of engines, and [`module`] the check, the same for every engine, whether a
//! module is a guest.

mod block_on;
mod clock;
pub mod engine;
pub mod error;
mod host;
mod limits;
#[cfg(all(test, shuttle))]
mod model;
pub mod module;
mod pool;
mod protocol;
mod swap;
mod sync;
pub mod wasi;

pub use engine::provider::WebAssemblyEngineProvider;
pub use error::{BoxError, Error};
pub use host::{
    CallWith, CheckedOut, CheckedOutAsync, CompileTier, HostBuilder, Reuse, Stats, Tier, Tiers,
    WapcHost,
};
pub use limits::{
    call::CallOptions, cancel::CancelHandle, guest::Limits, interruption::Interruption,
    module::ModuleLimits,
};
pub use protocol::{
    callback::{AsyncHostCallback, HostCallback},
    host_call::{BoxFuture, HostCall, OwnedHostCall},
    state::ModuleState,
};
pub use swap::Swap;
pub use wasi::WasiSettings;

/// The example in the README compiles.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
