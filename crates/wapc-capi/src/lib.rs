//! The C library of [`wapc_host`]: `libwapc`, with the header `include/wapc.h`. waPC guests on any engine, from every
//! language with an FFI.
//!
//! ```c
//! WapcError *error = NULL;
//! WapcHost *host = wapc_host_new(module, module_length, NULL, &error);
//! WapcBuffer response = {0};
//! if (host && wapc_host_call(host, "hello", payload, payload_length, NULL, &response, &error) == WAPC_STATUS_OK)
//!     fwrite(response.data, 1, response.length, stdout);
//! else
//!     fprintf(stderr, "%s\n", wapc_error_message(error));
//! wapc_buffer_free(&response);
//! wapc_error_free(error);
//! wapc_host_free(host);
//! ```
//!
//! For programs in Rust this crate has nothing; they take `wapc-host`. The header documents each function. What holds
//! for all:
//!
//! - **Pointers** that a program passes are used until the function returns, and data behind them is copied. Null, lengths
//!   that nothing can have and text that is not UTF-8 are errors. What the library returns by a pointer is freed by the
//!   function `…_free` of its type, once.
//! - **Threads**: each function may be called on any thread, on the same host too. Options that are being set and a buffer are for one
//!   thread at a time. Callbacks run on the thread of the call
//!   that they serve; several may run at a time.
//! - **Panics** of this library are errors of the kind `WAPC_STATUS_INTERNAL`. A callback must return: it may neither
//!   `longjmp` nor throw through the library.
//! - A host that is freed while calls on it run lives until they have returned.
//!
//! # Features
//!
//! `wasmtime` and `wasmi`, the engines that a program may name; both by default, and the first is the default engine.

#[cfg(not(any(feature = "wasmtime", feature = "wasmi")))]
compile_error!("the library needs an engine: turn on the feature `wasmtime` or `wasmi`");

mod engine;
mod error;
mod ffi;
mod options;

pub use error::{WapcError, WapcStatus};
#[doc(hidden)]
pub use ffi::boundary;
pub use ffi::{callbacks::*, calls::*, errors::*, hosts::*, settings::*};
