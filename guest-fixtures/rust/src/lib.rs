//! The fixture for guests in Rust: the common operations on the official SDK `wapc-guest`.
//!
//! Built twice: for `wasm32-unknown-unknown` (imports nothing but `wapc`) and for `wasm32-wasip1`
//! (imports WASI besides, and prints the message of a panic before it traps).

use std::sync::atomic::{AtomicU32, Ordering};

use wapc_guest::{CallResult, console_log, host_call, register_function};

/// The host calls this once, before the first operation.
#[unsafe(no_mangle)]
pub extern "C" fn wapc_init() {
    register_function("echo", echo);
    register_function("hello", hello);
    register_function("ping_host", ping_host);
    register_function("fail", fail);
    register_function("log", log);
    register_function("panic", panic);
    register_function("count", count);
}

fn echo(payload: &[u8]) -> CallResult {
    Ok(payload.to_vec())
}

fn hello(name: &[u8]) -> CallResult {
    Ok([b"Hello, ", name, b"."].concat())
}

fn ping_host(payload: &[u8]) -> CallResult {
    host_call("bind", "ns", "op", payload)
}

fn fail(message: &[u8]) -> CallResult {
    Err(String::from_utf8_lossy(message).into())
}

fn log(line: &[u8]) -> CallResult {
    console_log(&String::from_utf8_lossy(line));
    Ok(Vec::new())
}

fn panic(message: &[u8]) -> CallResult {
    panic!("{}", String::from_utf8_lossy(message))
}

fn count(_: &[u8]) -> CallResult {
    static COUNT: AtomicU32 = AtomicU32::new(0);
    let count = COUNT.fetch_add(1, Ordering::Relaxed) + 1;
    Ok(count.to_string().into_bytes())
}
