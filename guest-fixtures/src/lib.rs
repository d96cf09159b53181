//! Guest modules for tests, by name: waPC guests built from several languages, and guests written
//! in the WebAssembly text format.
//!
//! ```
//! let guest = guest_fixtures::wasm("hello_rust").expect("a fixture of this name");
//! assert_eq!(guest, guest_fixtures::HELLO_RUST);
//!
//! let echo = guest_fixtures::wat("echo").expect("a fixture of this name");
//! assert!(echo.contains("__guest_call"));
//! ```
//!
//! `README.md` beside this crate lists the operations of the built guests. `build.sh` rebuilds
//! them from their sources. With the feature `generate`, the module `generate` makes guests that
//! are too large to be files.

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

/// A guest in freestanding C: WebAssembly 1.0, without start functions.
pub const HELLO_C: &[u8] = include_bytes!("../wasm/hello_c.wasm");

/// A guest in freestanding Zig, whose empty buffers have the address `0xffffffff`.
pub const HELLO_ZIG: &[u8] = include_bytes!("../wasm/hello_zig.wasm");

/// A WASI reactor in C: it exports `_initialize`, and its operations use files, streams and the
/// environment.
pub const REACTOR_C: &[u8] = include_bytes!("../wasm/reactor_c.wasm");

/// A WASI command in C: it exports `_start`, whose `main` returns 0, and answers calls after it.
pub const COMMAND_C: &[u8] = include_bytes!("../wasm/command_c.wasm");

/// A guest in Rust that computes: its operations are the workloads on which the price of
/// interruption is measured. It has none of the operations of the others, and is not in [`WASM`].
pub const WORKLOADS: &[u8] = include_bytes!("../rust/workloads/workloads.wasm");

/// A guest in Rust on `wapc-typed`, with a descriptor: it serves two traits and calls another. It has none
/// of the operations of the others, and is not in [`WASM`].
pub const TYPED: &[u8] = include_bytes!("../rust/typed/typed.wasm");

/// Modules of other dialects, built from Rust, by their names, in alphabetical order: a WASI command, a
/// plugin that packs buffers into numbers, and a Typst plugin. Each has the operations `echo`, `fail`, `trap`
/// and `loop`.
pub const PLUGINS: &[(&str, &[u8])] = &[
    (
        "command_rust",
        include_bytes!("../rust/plugins/command_rust.wasm"),
    ),
    (
        "packed_buffer_rust",
        include_bytes!("../rust/plugins/packed_buffer_rust.wasm"),
    ),
    (
        "typst_rust",
        include_bytes!("../rust/plugins/typst_rust.wasm"),
    ),
];

/// Returns the module of another dialect of this name, or `None` if [`PLUGINS`] has none.
pub fn plugin(name: &str) -> Option<&'static [u8]> {
    let mut plugins = PLUGINS.iter();
    let found = plugins.find(|(its_name, _)| *its_name == name);
    found.map(|(_, bytes)| *bytes)
}

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

/// Returns the built guest of this name, or `None` if [`WASM`] has none.
///
/// ```
/// assert!(guest_fixtures::wasm("reactor_c").is_some_and(|guest| guest.starts_with(b"\0asm")));
/// assert_eq!(guest_fixtures::wasm("none"), None);
/// ```
pub fn wasm(name: &str) -> Option<&'static [u8]> {
    WASM.iter()
        .find(|(its_name, _)| *its_name == name)
        .map(|(_, bytes)| *bytes)
}

/// Returns the guest in text form of this name, or `None` if [`WAT`] has none.
///
/// ```
/// let guest = guest_fixtures::wat("hostile/loop").expect("a fixture of this name");
/// assert!(guest.starts_with(";; Loops for ever in a call."));
/// ```
pub fn wat(name: &str) -> Option<&'static str> {
    WAT.iter()
        .find(|(its_name, _)| *its_name == name)
        .map(|(_, text)| *text)
}
