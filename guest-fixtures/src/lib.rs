//! Guest modules for tests, by name: waPC guests built from several languages, and guests written
//! in the WebAssembly text format.
//!
//! ```
//! let guest = guest_fixtures::wasm("hello_rust").expect("a fixture of this name");
//! assert_eq!(guest, guest_fixtures::HELLO_RUST);
//! ```
//!
//! The operations that the built guests offer, and how they differ, stand in `README.md` beside
//! this crate; `build.sh` rebuilds them from their sources.

#![forbid(unsafe_code)]

#[cfg(feature = "generate")]
pub mod generate;

/// A guest in Rust on the official SDK, which imports nothing but `wapc`.
pub const HELLO_RUST: &[u8] = include_bytes!("../wasm/hello_rust.wasm");

/// The guest of [`HELLO_RUST`] for WASI: it takes random numbers, the environment and standard
/// error, and exports neither `_start` nor `_initialize`.
pub const HELLO_RUST_WASI: &[u8] = include_bytes!("../wasm/hello_rust_wasi.wasm");

/// A guest in AssemblyScript on the official SDK: it has a start section, and an abort sets the
/// guest error before it traps.
pub const HELLO_AS: &[u8] = include_bytes!("../wasm/hello_as.wasm");

/// A guest in freestanding C, without any start function and in WebAssembly 1.0.
pub const HELLO_C: &[u8] = include_bytes!("../wasm/hello_c.wasm");

/// A guest in freestanding Zig, whose empty buffers lie at `0xffffffff`.
pub const HELLO_ZIG: &[u8] = include_bytes!("../wasm/hello_zig.wasm");

/// A WASI reactor in C: exports `_initialize`, and offers operations that use what WASI grants.
pub const REACTOR_C: &[u8] = include_bytes!("../wasm/reactor_c.wasm");

/// A WASI command in C: exports `_start`, whose `main` returns 0, and answers calls after it.
pub const COMMAND_C: &[u8] = include_bytes!("../wasm/command_c.wasm");

/// Every built guest by its name (the file's, without `.wasm`), in alphabetical order.
pub const WASM: &[(&str, &[u8])] = &[
    ("command_c", COMMAND_C),
    ("hello_as", HELLO_AS),
    ("hello_c", HELLO_C),
    ("hello_rust", HELLO_RUST),
    ("hello_rust_wasi", HELLO_RUST_WASI),
    ("hello_zig", HELLO_ZIG),
    ("reactor_c", REACTOR_C),
];

/// Every guest in text form by its name, in alphabetical order. The name is the file's path below
/// `wat/` without `.wat`, as in `hostile/guest_response_ends_past`.
pub const WAT: &[(&str, &str)] = include!(concat!(env!("OUT_DIR"), "/wat.rs"));

/// The built guest of this name, or `None` where [`WASM`] has none.
pub fn wasm(name: &str) -> Option<&'static [u8]> {
    WASM.iter()
        .find(|(its_name, _)| *its_name == name)
        .map(|(_, bytes)| *bytes)
}

/// The guest in text form of this name, or `None` where [`WAT`] has none.
pub fn wat(name: &str) -> Option<&'static str> {
    WAT.iter()
        .find(|(its_name, _)| *its_name == name)
        .map(|(_, text)| *text)
}
