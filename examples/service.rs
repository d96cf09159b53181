//! A service under load: two threads call as fast as they can, and in each
//! round the guest is replaced. No call fails, and none waits for a compiler.
//!
//! `service [ROUNDS] [MILLISECONDS]`: how many rounds there are, and how long
//! each is. By default three of a second.

use std::{
    env, thread,
    time::{Duration, Instant},
};

use provider_wasmtime::WasmtimeEngineProvider;
use wapc_host::{BoxError, Limits, WapcHost};

const THREADS: usize = 2;

fn main() -> Result<(), BoxError> {
    let mut arguments = env::args().skip(1);
    let mut number = |default| arguments.next().map_or(Ok(default), |text| text.parse());
    let rounds: u32 = number(3)?;
    let round = Duration::from_millis(number(1000)?.into());

    let provider = WasmtimeEngineProvider::new(guest_fixtures::HELLO_C)?;
    let host = WapcHost::builder(Box::new(provider))
        .max_instances(THREADS)
        .limits(Limits::unlimited())
        .build(|_, _, _, _, _| Err("this host answers nothing".into()))?;

    let end = Instant::now() + rounds * round;
    thread::scope(|scope| {
        for _ in 0..THREADS {
            scope.spawn(|| {
                let mut response = Vec::new();
                while Instant::now() < end {
                    // The host counts errors: see below.
                    let _ = host.call_into("hello", b"World", &mut response);
                }
            });
        }

        let releases = [guest_fixtures::HELLO_ZIG, guest_fixtures::HELLO_C];
        for (number, release) in (1..=rounds).zip(releases.into_iter().cycle()) {
            let (began, before) = (Instant::now(), host.stats());
            thread::sleep(round / 2);
            host.replace_module(release)?;
            thread::sleep(
                (end - (rounds - number) * round).saturating_duration_since(Instant::now()),
            );

            let now = host.stats();
            let calls = (now.calls - before.calls) as f64 / began.elapsed().as_secs_f64();
            println!(
                "{calls:.0} calls per second on {} instances, now of generation {}",
                now.live, now.generation
            );
        }
        Ok::<_, BoxError>(())
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
