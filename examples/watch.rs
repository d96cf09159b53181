//! Watches a file, and swaps the code whenever the file has new contents. Contents that
//! are no guest change nothing.

use std::{
    fs,
    sync::{Arc, mpsc},
    time::Duration,
};

use provider_wasmtime::WasmtimeEngineProvider;
use wapc_host::{BoxError, Error, WapcHost};
use wapc_watch::{ModuleWatcher, WatchEvent};

fn main() -> Result<(), BoxError> {
    let directory = tempfile::tempdir()?;
    let path = directory.path().join("guest.wat");
    fs::write(&path, guest("release_1")?)?;

    let provider = WasmtimeEngineProvider::new(&fs::read(&path)?)?;
    let host = WapcHost::new(Box::new(provider), |_, _, _, _, _| {
        Err("this host answers nothing".into())
    })?;
    let host = Arc::new(host);

    let (seen, wait) = mpsc::channel();
    let _guard = ModuleWatcher::new(&path)
        .interval(Duration::from_millis(20))
        .observer(move |event| {
            match event {
                WatchEvent::Swapped => println!("swapped"),
                WatchEvent::Refused(Error::Init(cause)) => println!("refused: {cause}"),
                event => println!("{event:?}"),
            }
            _ = seen.send(());
        })
        .start(&host)?;
    say_who_serves(&host)?;

    for contents in ["no guest", guest("release_2")?] {
        fs::write(&path, contents)?;
        wait.recv_timeout(Duration::from_secs(60))?;
        say_who_serves(&host)?;
    }
    Ok(())
}

fn say_who_serves(host: &WapcHost) -> Result<(), BoxError> {
    let answer = String::from_utf8(host.call("version", b"")?)?;
    println!("generation {}: {answer}", host.generation());
    Ok(())
}

fn guest(name: &str) -> Result<&'static str, BoxError> {
    Ok(guest_fixtures::wat(name).ok_or("no such guest")?)
}
