//! Two tiers: the interpreter answers at once while the compiler runs in the background,
//! then compiled code takes over.

use std::time::Instant;

use provider_wasmi::WasmiEngineProvider;
use provider_wasmtime::WasmtimeEngineProvider;
use wapc_host::{BoxError, Tier, Tiers, WapcHost};

fn main() -> Result<(), BoxError> {
    let start = Instant::now();
    let tiers = Tiers::new(
        |module| Ok(Box::new(WasmiEngineProvider::new(module)?)),
        |module| Ok(Box::new(WasmtimeEngineProvider::new(module)?)),
    );
    let host = WapcHost::tiered(guest_fixtures::HELLO_RUST, tiers)?
        .build(|_, _, _, _, _| Err("this host answers nothing".into()))?;

    let answer = |engine| -> Result<(), BoxError> {
        let answer = String::from_utf8(host.call("hello", b"World")?)?;
        println!("{} ms, {engine}: {answer}", start.elapsed().as_millis());
        Ok(())
    };

    answer("wasmi")?;
    // No call waits for the compiler.
    while matches!(host.stats().tier, Tier::Baseline) {
        host.call("hello", b"World")?;
    }
    match host.stats().tier {
        Tier::BaselineOnly(why) => println!("wasmi serves on: {why}"),
        _ => answer("wasmtime")?,
    }
    Ok(())
}
