//! A service under load: two threads call as fast as they can, and the guest is replaced
//! in each round. No call fails, and none waits for a compiler.
//!
//! `service [ROUNDS] [MILLISECONDS]`: the number of rounds and their length, by default
//! three of one second.

use std::{
    env,
    sync::atomic::{AtomicBool, Ordering},
    thread,
    time::{Duration, Instant},
};

use provider_wasmtime::WasmtimeEngineProvider;
use wapc_host::{BoxError, WapcHost};

const THREADS: usize = 2;

fn main() -> Result<(), BoxError> {
    let mut arguments = env::args().skip(1);
    let mut number = |default| arguments.next().map_or(Ok(default), |text| text.parse());
    let rounds: u32 = number(3)?;
    let round = Duration::from_millis(number(1000)?.into());

    let provider = WasmtimeEngineProvider::new(guest_fixtures::HELLO_C)?;
    let host = WapcHost::builder(Box::new(provider))
        .max_instances(THREADS)
        .build(|_, _, _, _, _| Err("this host answers nothing".into()))?;

    let over = AtomicBool::new(false);
    thread::scope(|scope| {
        for _ in 0..THREADS {
            scope.spawn(|| {
                let mut response = Vec::new();
                while !over.load(Ordering::Relaxed) {
                    // The host counts failures.
                    _ = host.call_into("hello", b"World", &mut response);
                }
            });
        }
        let releases = [guest_fixtures::HELLO_ZIG, guest_fixtures::HELLO_C];
        let outcome = (0..rounds)
            .zip(releases.iter().cycle())
            .try_for_each(|(_, release)| serve(&host, round, release));
        over.store(true, Ordering::Relaxed);
        outcome
    })?;

    let stats = host.stats();
    println!(
        "{} calls, {} failed, {} swaps",
        stats.calls,
        stats.errors.total(),
        stats.swaps
    );
    Ok(())
}

/// Runs one round, with a swap to `release` in its middle.
fn serve(host: &WapcHost, round: Duration, release: &[u8]) -> Result<(), BoxError> {
    let (began, before) = (Instant::now(), host.stats());
    thread::sleep(round / 2);
    host.replace_module(release)?;
    thread::sleep(round.saturating_sub(began.elapsed()));

    let now = host.stats();
    let calls = (now.calls - before.calls) as f64 / began.elapsed().as_secs_f64();
    println!("{calls:.0} calls per second, generation {}", now.generation);
    Ok(())
}
