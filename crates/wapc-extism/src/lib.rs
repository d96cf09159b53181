//! Extism's API, on [`wapc_host`]: a [`Plugin`] is made of a module or a [`Manifest`], and its exports are
//! called with bytes.
//!
//! ```
//! # #[cfg(feature = "wasmi")] {
//! use wapc_extism::{Engine, PluginBuilder};
//!
//! // A plugin that counts the bytes of its input.
//! let plugin = br#"(module
//!     (import "extism:host/env" "input_length" (func $input_length (result i64)))
//!     (import "extism:host/env" "alloc" (func $alloc (param i64) (result i64)))
//!     (import "extism:host/env" "store_u64" (func $store (param i64 i64)))
//!     (import "extism:host/env" "output_set" (func $output (param i64 i64)))
//!     (func (export "count") (result i32) (local $block i64)
//!         (local.set $block (call $alloc (i64.const 8)))
//!         (call $store (local.get $block) (call $input_length))
//!         (call $output (local.get $block) (i64.const 8))
//!         (i32.const 0)))"#;
//! let mut plugin = PluginBuilder::new(plugin)?.with_engine(Engine::wasmi()).build()?;
//! assert_eq!(plugin.call::<_, u64>("count", "hello")?, 5);
//!
//! // The host below has what Extism has not: here, a swap of the code.
//! plugin.host().replace_module(br#"(module (func (export "count")))"#)?;
//! plugin.call::<_, ()>("count", "hello")?;
//! # }
//! # Ok::<(), wapc_extism::Error>(())
//! ```
//!
//! # Features
//!
//! - `wasmtime` (default), `wasmi`: engines that [`Engine`] has a function for.
//! - `tls`: HTTPS, for plugins and for modules given by URL.
#![forbid(unsafe_code)]

mod answers;
mod builder;
mod call_state;
mod cancel;
mod convert;
mod current_plugin;
mod engine;
mod environment;
mod error;
mod function;
mod manifest;
mod plugin;
mod value;
mod vars;

pub use builder::{CompiledPlugin, PluginBuilder};
pub use cancel::CancelHandle;
pub use convert::{FromBytes, Json, ToBytes};
pub use current_plugin::{AsyncCurrentPlugin, CurrentPlugin};
pub use engine::{Engine, EngineSettings};
pub use environment::LogLevel;
pub use error::{CallError, Error};
pub use function::{EXTISM_USER_MODULE, Function, UserData};
pub use manifest::{HttpRequest, Manifest, ManifestError, MemoryOptions, Module, Wasm, WasmSource};
pub use plugin::Plugin;
pub use value::{PTR, Val, ValType};
pub use vars::VarError;

/// The example in the README compiles.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
