//! An engine-agnostic host for WebAssembly guests that speak **waPC**
//! (WebAssembly Procedure Calls): host and guest call each other by operation
//! name with opaque bytes, and neither allocates in the other's memory.
//!
//! This crate holds the protocol and the host, and no engine. A provider crate
//! adds one: `provider-wasmtime` compiles guests, `provider-wasmi` interprets
//! them. The examples here use [`engine::scripted`] (feature `testing`), whose
//! guests are closures.
//!
//! # A call
//!
//! A [`WapcHost`] calls one guest module. Its callback answers the guest's own
//! calls to the host.
//!
//! ```
//! use wapc_host::{WapcHost, engine::scripted::ScriptedProvider};
//!
//! // With an engine: `WasmtimeEngineProvider::new(&module_bytes)?`.
//! let provider = ScriptedProvider::new(|guest, _, _| match guest.ask(b"name?")? {
//!     Ok(name) => guest.respond(&[b"hello, ", &name[..]].concat()),
//!     Err(error) => guest.fail(&error),
//! });
//! let host = WapcHost::new(Box::new(provider), |_id, _binding, _namespace, _operation, _payload| {
//!     Ok(b"world".to_vec())
//! })?;
//! assert_eq!(host.call("greet", b"")?, b"hello, world");
//! # Ok::<(), wapc_host::Error>(())
//! ```
//!
//! [`WapcHost::call_into`] reuses the caller's buffer for the response, and
//! [`WapcHost::call_with`] lends the response without a copy. [`HostCallback`]
//! is the callback as a trait.
//!
//! # Errors
//!
//! Each variant of [`Error`] says who failed, and whether the guest's instance
//! is kept. No guest panics or blocks the host: the next call gets an answer.
//!
//! ```
//! use wapc_host::{Error, engine::scripted::ScriptedProvider};
//!
//! let host = ScriptedProvider::new(|guest, _, _| guest.fail(b"out of stock")).host()?;
//! match host.call("order", b"a book") {
//!     Err(Error::Guest { message, .. }) => assert_eq!(message, "out of stock"),
//!     Err(Error::Trapped { trap, .. }) => panic!("the guest crashed: {trap}"),
//!     other => panic!("unexpected: {other:?}"),
//! }
//! # Ok::<(), Error>(())
//! ```
//!
//! # Limits
//!
//! [`Limits`] bound the memory, time, fuel and messages of every guest of a
//! host. [`CallOptions`] set the time of one call, and a [`CancelHandle`] ends
//! it from another thread.
//!
//! ```
//! use std::time::{Duration, Instant};
//! use wapc_host::{CallOptions, Error, Limits, WapcHost, engine::scripted::ScriptedProvider};
//!
//! let host = WapcHost::builder(Box::new(ScriptedProvider::echo()))
//!     .limits(Limits::default().max_inbound_bytes(1024).timeout(Duration::from_secs(1)))
//!     .build(|_, _, _, _, _| Ok(vec![]))?;
//! assert!(matches!(host.call("echo", &[0; 2000]), Err(Error::TooLarge { .. })));
//!
//! let options = CallOptions::default().deadline(Instant::now());
//! assert!(matches!(host.with(&options).call("echo", b""), Err(Error::TimedOut { .. })));
//! # Ok::<(), Error>(())
//! ```
//!
//! # Instances
//!
//! A host has one instance by default, and calls run one after the other. More
//! instances serve concurrent calls. An instance keeps its state from call to
//! call; [`WapcHost::check_out`] reserves one for a sequence of calls.
//!
//! ```
//! use wapc_host::{WapcHost, engine::scripted::ScriptedProvider};
//!
//! let guest = ScriptedProvider::new(|guest, _, _| {
//!     let calls = guest.calls().to_string();
//!     guest.respond(calls.as_bytes())
//! });
//! let host = WapcHost::builder(Box::new(guest))
//!     .max_instances(4)
//!     .build(|_, _, _, _, _| Ok(vec![]))?;
//! let mut instance = host.check_out()?;
//! assert_eq!(instance.call("count", b"")?, b"1");
//! assert_eq!(instance.call("count", b"")?, b"2", "the same instance");
//! # Ok::<(), wapc_host::Error>(())
//! ```
//!
//! # Swapping
//!
//! [`WapcHost::replace_module`] replaces the guest's code while other threads
//! call it. [`Swap`] can probe the new code first, and wait until the old code
//! is no longer in use. A failed swap changes nothing.
//!
//! ```
//! use std::time::Duration;
//! use wapc_host::engine::scripted::ScriptedProvider;
//!
//! let [old, new] = [b"1.0", b"1.1"].map(|version| {
//!     ScriptedProvider::new(move |guest, _, _| guest.respond(version))
//! });
//! let host = old.host()?;
//! host.swap()
//!     .probe(|new| new.call("health", b"").map(drop).map_err(Into::into))
//!     .drain(Duration::from_secs(5))
//!     .provider(Box::new(new))?;
//! assert_eq!(host.call("version", b"")?, b"1.1");
//! # Ok::<(), wapc_host::Error>(())
//! ```
//!
//! [`WapcHost::rollback`] swaps back. [`Tiers`] start on a baseline that
//! compiles fast and swap to an optimized tier by themselves.
//!
//! # Async
//!
//! [`WapcHost::call_async`] suspends the guest while an async callback is
//! pending. Any executor runs it. Dropping the future ends the call.
//!
//! ```
//! use wapc_host::{OwnedHostCall, WapcHost, engine::scripted::ScriptedProvider};
//!
//! let guest = ScriptedProvider::new_async(|guest, _, _| {
//!     Box::pin(async move {
//!         match guest.ask_async(b"name?").await? {
//!             Ok(name) => guest.respond(&name),
//!             Err(error) => guest.fail(&error),
//!         }
//!     })
//! });
//! let callback = |_: OwnedHostCall| async { Ok(b"world".to_vec()) };
//! let host = pollster::block_on(WapcHost::builder(Box::new(guest)).build_async(callback))?;
//! assert_eq!(pollster::block_on(host.call_async("greet", ""))?, b"world");
//! # Ok::<(), wapc_host::Error>(())
//! ```
//!
//! # Engines
//!
//! A [`WebAssemblyEngineProvider`] is a module compiled by some engine. A guest
//! gets the same answers, limits and errors on each engine, and a swap may
//! change the engine.
//!
//! ```
//! use wapc_host::{Error, WapcHost, WebAssemblyEngineProvider, engine::scripted::ScriptedProvider};
//!
//! fn compile(_module: &[u8]) -> Result<Box<dyn WebAssemblyEngineProvider>, Error> {
//!     // With an engine: `WasmiEngineProvider::new(module).map_err(Error::Init)?`.
//!     Ok(Box::new(ScriptedProvider::echo()))
//! }
//!
//! let host = WapcHost::new(compile(b"one")?, |_, _, _, _, _| Ok(vec![]))?;
//! host.swap_provider(compile(b"two")?)?;
//! assert_eq!(host.call("echo", b"hello")?, b"hello");
//! # Ok::<(), Error>(())
//! ```
//!
//! The module [`engine`] is for authors of engines.
//!
//! # Modules
//!
//! The root holds the names that most users need. [`error`] has the parts of an
//! [`Error`], [`wasi`] those of [`WasiSettings`], [`engine`] the contract
//! between host and engine, and [`module`] the check that a module is a guest.
//!
//! # Features
//!
//! - `testing` adds [`engine::scripted`], an engine whose guests are closures,
//!   for tests without WebAssembly.

mod block_on;
mod clock;
pub mod engine;
mod errands;
pub mod error;
mod fork_safe;
mod host;
mod limits;
#[cfg(all(test, shuttle))]
mod model;
pub mod module;
mod pool;
mod protocol;
mod stack;
mod swap;
mod sync;
mod text;
mod threads;
mod timer;
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
    functions::{AsyncFunctionCall, FunctionCall, HostFunctions},
    host_call::{BoxFuture, HostCall, OwnedHostCall},
    payload::Payload,
    state::ModuleState,
};
pub use swap::Swap;
pub use wasi::WasiSettings;

/// The example in the README compiles.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
