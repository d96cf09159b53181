//! A probe calls each release before it serves, and refuses a bad one. A rollback undoes
//! a release whose fault the probe has missed.

use std::{error::Error, time::Duration};

use provider_wasmtime::WasmtimeEngineProvider;
use wapc_host::{BoxError, WapcHost};

fn main() -> Result<(), BoxError> {
    let provider = WasmtimeEngineProvider::new(guest("release_1")?)?;
    let host = WapcHost::new(Box::new(provider), |_, _, _, _, _| {
        Err("this host answers nothing".into())
    })?;
    say_who_serves(&host)?;

    for name in ["empty_response", "release_2"] {
        let swapped = host
            .swap()
            .probe(
                |candidate| match candidate.call("version", b"")?.as_slice() {
                    b"" => Err("it says nothing".into()),
                    _ => Ok(()),
                },
            )
            .drain(Duration::from_secs(5))
            .module(guest(name)?);
        match swapped {
            Ok(()) => println!("`{name}` is taken"),
            Err(error) => match error.source() {
                Some(cause) => println!("`{name}`: {error}: {cause}"),
                None => println!("`{name}`: {error}"),
            },
        }
        say_who_serves(&host)?;
    }

    host.rollback()?;
    println!("rolled back");
    say_who_serves(&host)
}

fn say_who_serves(host: &WapcHost) -> Result<(), BoxError> {
    let answer = String::from_utf8(host.call("version", b"")?)?;
    println!("generation {}: {answer}", host.generation());
    Ok(())
}

fn guest(name: &str) -> Result<&'static [u8], BoxError> {
    Ok(guest_fixtures::wat(name).ok_or("no such guest")?.as_bytes())
}
