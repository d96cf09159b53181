//! A guest is called, calls back, and is replaced.

use provider_wasmtime::WasmtimeEngineProvider;
use wapc_host::{BoxError, WapcHost};

fn main() -> Result<(), BoxError> {
    let provider = WasmtimeEngineProvider::new(guest_fixtures::HELLO_RUST)?;
    let host = WapcHost::new(
        Box::new(provider),
        |_id, binding, namespace, operation, _payload| {
            Ok(format!("You called {binding}/{namespace}/{operation}.").into_bytes())
        },
    )?;

    println!("{}", String::from_utf8(host.call("hello", b"World")?)?);
    println!("{}", String::from_utf8(host.call("ping_host", b"")?)?);

    // From Rust to AssemblyScript, while other threads could be calling.
    host.replace_module(guest_fixtures::HELLO_AS)?;
    println!("{}", String::from_utf8(host.call("hello", b"new World")?)?);
    Ok(())
}
