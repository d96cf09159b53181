//! The built command, as a user runs it.

#![expect(
    clippy::unwrap_used,
    reason = "clippy sees no tests in the functions that tests share"
)]

mod adapt;
#[cfg(all(feature = "wasmtime", unix))]
mod cache;
mod call;
mod inspect;
mod plugin;
mod support;
