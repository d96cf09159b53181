//! What Extism's users know, on [`wapc-host`](https://docs.rs/wapc-host): a [`Manifest`] says which modules
//! make a plugin, and what it may use.
//!
//! ```
//! use wapc_extism::{Manifest, Wasm};
//!
//! let manifest = Manifest::parse(br#"{ "wasm": [{ "path": "plugin.wasm" }], "timeout_ms": 500 }"#)?;
//! let the_same = Manifest::new([Wasm::file("plugin.wasm")]).with_timeout(std::time::Duration::from_millis(500));
//! assert_eq!(manifest, the_same);
//! # Ok::<(), wapc_extism::ManifestError>(())
//! ```
#![forbid(unsafe_code)]

mod manifest;

pub use manifest::{HttpRequest, Manifest, ManifestError, MemoryOptions, Module, Wasm, WasmSource};
