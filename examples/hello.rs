//! Calls a guest, which calls its host, and replaces its code.

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

    // From Rust to AssemblyScript. Other threads may call meanwhile.
    host.replace_module(guest_fixtures::HELLO_AS)?;
    println!("{}", String::from_utf8(host.call("hello", b"new World")?)?);
    Ok(())
}
