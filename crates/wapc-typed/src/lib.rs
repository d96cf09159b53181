//! Typed waPC calls: one trait is the contract of host and guest.
//!
//! [`service`] turns a trait into its client, which is over anything that can be called, and its
//! server, which is an implementation of the trait. Both sides share the crate with the trait; a
//! guest's build has no host in it.
//!
//! ```
//! use serde::{Deserialize, Serialize};
//! use wapc_host::engine::scripted::ScriptedProvider;
//! use wapc_typed::{CallContext, Serve, service};
//!
//! #[derive(Serialize, Deserialize, Debug, PartialEq)]
//! pub struct Greeting {
//!     text: String,
//! }
//!
//! #[service(namespace = "greeting.v1")]
//! pub trait Greeter {
//!     /// Greets somebody.
//!     fn hello(&self, name: String) -> Result<Greeting, String>;
//! }
//!
//! // In the guest (here a closure plays one):
//! struct Polite;
//! impl Greeter for Polite {
//!     fn hello(&self, name: String) -> Result<Greeting, String> {
//!         match name.as_str() {
//!             "" => Err("nobody is there".to_owned()),
//!             name => Ok(Greeting { text: format!("Hello, {name}.") }),
//!         }
//!     }
//! }
//! let guest = ScriptedProvider::new(|guest, op_length, msg_length| {
//!     let (operation, payload) = guest.request(op_length, msg_length)?;
//!     let mut response = vec![];
//!     let context = CallContext::none();
//!     match GreeterServer::new(Polite).serve(&context, &operation, &payload, &mut response) {
//!         Ok(()) => guest.respond(&response),
//!         Err(error) => guest.fail(error.to_string().as_bytes()),
//!     }
//! });
//!
//! // In the host:
//! let host = guest.host()?;
//! let greeter = GreeterClient::over(&host);
//! assert_eq!(greeter.hello("World".to_owned())?.text, "Hello, World.");
//! let error = greeter.hello(String::new()).unwrap_err();
//! assert_eq!(error.to_string(), "nobody is there");
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! [`export!`] makes a guest of a server, and writes its [`Descriptor`] into it: a host checks by
//! `GreeterClient::check` that a new module has what it calls before it swaps to it.
//!
//! The client is the trait too, so what is written over `&impl Greeter` is tested with a mock. A method may
//! be an `async fn`, and may have a [`CallContext`], which tells of the call that it answers.
//!
//! Without a trait there are [functions by name](Function) and [payloads by their type](CallAs).

#![forbid(unsafe_code)]

mod borrowed;
#[cfg(any(feature = "cbor", feature = "postcard"))]
mod bounded;
mod call;
#[cfg(feature = "cbor")]
mod cbor;
mod codec;
#[cfg(not(target_arch = "wasm32"))]
mod compare;
mod context;
mod describe;
#[cfg(not(target_arch = "wasm32"))]
mod descriptor;
mod error;
mod export;
mod function;
#[cfg(target_arch = "wasm32")]
pub mod guest;
mod msgpack;
mod payload;
#[cfg(feature = "postcard")]
mod postcard;
#[cfg(not(target_arch = "wasm32"))]
mod router;
#[cfg(not(target_arch = "wasm32"))]
mod routes;
#[cfg(not(target_arch = "wasm32"))]
pub mod schema;
mod serve;
#[cfg(not(target_arch = "wasm32"))]
mod value;

#[doc(hidden)]
pub use serde;
pub use wapc_macros::{Describe, service};

#[cfg(not(target_arch = "wasm32"))]
pub use self::{
    call::CallAsync,
    compare::CheckError,
    descriptor::{Descriptor, DescriptorError, Operation},
    router::{AsyncRouter, OperationTaken, RoutedCall, Router},
    value::ValueError,
};
pub use self::{
    call::{Call, Failure},
    codec::{Codec, CodecError, JsonCodec},
    context::CallContext,
    describe::Describe,
    error::CallError,
    function::Function,
    msgpack::MsgPackCodec,
    payload::{CallAs, FromPayload, Json, MsgPack, Raw, ToPayload},
    serve::{Serve, ServeError},
};

#[cfg(feature = "cbor")]
pub use self::{cbor::CborCodec, payload::Cbor};
#[cfg(feature = "postcard")]
pub use self::{payload::Postcard, postcard::PostcardCodec};

#[doc(hidden)]
pub mod rt;

/// The example in the README compiles.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
