//! A `libextism` on [`wapc_host`]: the 33 functions of Extism's C API 1.41, for its clients in other languages. The header
//! is `include/extism.h`.
//!
//! Programs in Rust take `wapc-extism`. What differs from the original:
//!
//! - `WAPC_ENGINE` in the environment chooses the engine, `wasmtime` or `wasmi`, for plugins that are made afterwards. The
//!   default is the first that is built in. Of the original's variables, `EXTISM_ENABLE_WASI_OUTPUT` counts.
//! - Compiled code is kept only if `WAPC_CACHE` names a directory for it, which nobody else may write to.
//! - Null, text that is not UTF-8, types that functions cannot have, calls of a plugin within its own callback, and panics
//!   are answered: by null, -1 or a text. None ends the process.
//! - A plugin that is freed while it is called lives until the call has returned.
//! - Errors and outputs are valid until the next call of the plugin, also if its instance is gone.
//! - `extism_current_plugin_memory` is valid until the function returns; on wasmi until it next makes a block.
//!
//! # Features
//!
//! - `wasmtime`, `wasmi`: the engines, both by default.
//! - `tls`: HTTPS, by default.

#[cfg(not(any(feature = "wasmtime", feature = "wasmi")))]
compile_error!("the library needs an engine: turn on the feature `wasmtime` or `wasmi`");

mod engine;
mod ffi;
mod log_lines;
mod plugin;

pub use ffi::*;
