//! Stops a guest that loops for ever: by a timeout, by fuel, by a cancel handle.

use std::{error::Error, thread, time::Duration};

use provider_wasmi::WasmiEngineProvider;
use provider_wasmtime::WasmtimeEngineProvider;
use wapc_host::{
    BoxError, CallOptions, CancelHandle, Interruption, Limits, WapcHost, WebAssemblyEngineProvider,
};

fn main() -> Result<(), BoxError> {
    // By default guests are interrupted by time only, since counting fuel makes
    // computing guests slower.
    let by = Interruption::TimeAndFuel;
    let guest = guest_fixtures::wat("hostile/loop").ok_or("no such guest")?;

    println!("wasmtime");
    let provider = WasmtimeEngineProvider::builder().interruption(by);
    stop(Box::new(provider.build(guest.as_bytes())?))?;
    println!("wasmi");
    let provider = WasmiEngineProvider::builder().interruption(by);
    stop(Box::new(provider.build(guest.as_bytes())?))
}

fn stop(provider: Box<dyn WebAssemblyEngineProvider>) -> Result<(), BoxError> {
    let limits = Limits::default().timeout(Duration::from_millis(50));
    let host = WapcHost::builder(provider)
        .limits(limits)
        .build(|_, _, _, _, _| Err("this host answers nothing".into()))?;

    say("by the host's timeout", host.call("endless", b""));

    let options = CallOptions::default().fuel(1_000_000);
    say("by fuel", host.with(&options).call("endless", b""));

    let cancel = CancelHandle::new();
    let options = CallOptions::default()
        .timeout(Duration::from_secs(3600))
        .cancel(&cancel);
    thread::scope(|scope| {
        scope.spawn(|| {
            thread::sleep(Duration::from_millis(10));
            cancel.cancel();
        });
        say("by cancelling it", host.with(&options).call("endless", b""));
    });

    say("and the next call is answered", host.call("good", b""));
    Ok(())
}

fn say(what: &str, result: Result<Vec<u8>, wapc_host::Error>) {
    match result {
        Ok(answer) => println!("  {what}: {}", String::from_utf8_lossy(&answer)),
        Err(error) => match error.source() {
            Some(cause) => println!("  {what}: {error}: {cause}"),
            None => println!("  {what}: {error}"),
        },
    }
}
