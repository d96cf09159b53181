//! The price of interruption: each kind of [`Interruption`], as a ratio to none, on
//! guests that answer at once and on guests that compute.
//!
//! `cargo run --release -p conformance --example interruption`. Each round runs every
//! kind, so that disturbances affect all of them; a figure is the median of the
//! ratios within the rounds.

use std::time::{Duration, Instant};

use conformance::{Capability::AnyModule, Engine, answer, engines, figures::median};
use guest_fixtures::wat;
use wapc_host::{Interruption, Limits, WapcHost};

/// (label, guest, payload).
const TASKS: [(&str, &str, &[u8]); 4] = [
    ("echo of 64 B", "echo", &[7; 64]),
    ("compute_bytes", "compute_bytes", &100_000_u32.to_le_bytes()),
    ("compute_calls", "compute_calls", &20_u32.to_le_bytes()),
    (
        "compute_memory",
        "compute_memory",
        &50_000_u32.to_le_bytes(),
    ),
];

const KINDS: [Interruption; 5] = [
    Interruption::Off,
    Interruption::Kill,
    Interruption::Time,
    Interruption::Fuel,
    Interruption::TimeAndFuel,
];

const ROUNDS: usize = 21;
const TURN: Duration = Duration::from_millis(40);

fn main() {
    println!("| engine | guest | off | kill | time | fuel | time and fuel |");
    println!("|---|---|--:|--:|--:|--:|--:|");
    for engine in engines(&[AnyModule]) {
        for (name, guest, payload) in TASKS {
            let module = wat(guest).expect("a guest of this name").as_bytes();
            let hosts = KINDS.map(|kind| host(engine, module, kind));
            let mut off = vec![];
            let mut ratios: [Vec<f64>; 4] = Default::default();
            for _ in 0..ROUNDS {
                let [first, others @ ..] = hosts
                    .each_ref()
                    .map(|host| host.as_ref().map(|host| nanoseconds(host, payload)));
                let first = first.expect("every engine runs without interruption");
                off.push(first);
                for (ratios, other) in ratios.iter_mut().zip(others) {
                    ratios.extend(other.map(|other| other / first));
                }
            }
            let ratios = ratios.map(|mut ratios| match median(&mut ratios) {
                Some(ratio) => format!("{ratio:.2}"),
                None => "–".to_owned(),
            });
            println!(
                "| {} | {name} | {:.0} ns | {} |",
                engine.name,
                median(&mut off).unwrap_or_default(),
                ratios.join(" | ")
            );
        }
    }
}

/// Starts a host with the limits that this kind can enforce; `None` if the engine does
/// not have the kind.
fn host(engine: &Engine, module: &[u8], kind: Interruption) -> Option<WapcHost> {
    let provider = engine.interruptible(module, kind);
    if provider.interruption() != kind {
        return None;
    }
    let mut limits = Limits::default();
    if !kind.by_time() {
        limits = limits.timeout(None).start_timeout(None);
    }
    if kind.by_fuel() {
        limits = limits.fuel(1 << 60);
    }
    let host = WapcHost::builder(provider).limits(limits).build(answer);
    Some(host.expect("the guest starts"))
}

/// Returns the time of a call, averaged over about a [`TURN`].
fn nanoseconds(host: &WapcHost, payload: &[u8]) -> f64 {
    let mut response = vec![];
    let (mut calls, mut batch) = (0_u32, 1_u32);
    let begun = Instant::now();
    loop {
        for _ in 0..batch {
            host.call_into("any", payload, &mut response)
                .expect("an answer");
            calls += 1;
        }
        let took = begun.elapsed();
        if took >= TURN {
            return took.as_secs_f64() * 1e9 / f64::from(calls);
        }
        // Amortises the reading of the clock.
        if took < TURN / 8 {
            batch *= 2;
        }
    }
}
