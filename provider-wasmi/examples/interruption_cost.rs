//! Measures the cost of each kind of interruption: the best of many short
//! alternated rounds, which a busy machine disturbs least.
//!
//! `cargo run --release -p provider-wasmi --example interruption_cost`

use std::time::Instant;

use provider_wasmi::WasmiEngineProvider;
use wapc_host::{Interruption, Limits, WapcHost};

const ROUNDS: usize = 301;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let number = |n: u32| n.to_le_bytes().to_vec();
    for (name, guest, payload, calls) in [
        ("echo of 64 B", ECHO, vec![1; 64], 500),
        ("compute_bytes", BYTES, number(20_000), 2),
        ("compute_calls", CALLS, number(18), 2),
        ("compute_memory", MEMORY, number(10_000), 2),
    ] {
        let ways = [
            (Interruption::Off, Limits::unlimited()),
            (Interruption::Time, Limits::default()),
            (Interruption::TimeAndFuel, Limits::default().fuel(1 << 60)),
        ];
        let mut hosts = Vec::new();
        for (interruption, limits) in ways {
            let provider = WasmiEngineProvider::builder()
                .interruption(interruption)
                .build(guest.as_bytes())?;
            let host = WapcHost::builder(Box::new(provider)).limits(limits);
            hosts.push((
                interruption,
                host.build(|_, _, _, _, _| Ok(vec![]))?,
                vec![],
            ));
        }
        let mut response = Vec::new();
        for _ in 0..ROUNDS {
            for (_, host, times) in &mut hosts {
                let began = Instant::now();
                for _ in 0..calls {
                    host.call_into("echo", &payload, &mut response)?;
                }
                times.push(began.elapsed().as_secs_f64() / f64::from(calls));
            }
        }
        let mut off = None;
        for (interruption, _, times) in &mut hosts {
            times.sort_by(f64::total_cmp);
            let best = times.first().copied().unwrap_or_default();
            let ratio = best / *off.get_or_insert(best);
            println!(
                "{name:15} {interruption:12?} {:12.0} ns {ratio:6.3}",
                best * 1e9
            );
        }
    }
    Ok(())
}

const ECHO: &str = include_str!("../../guest-fixtures/wat/echo.wat");
const BYTES: &str = include_str!("../../guest-fixtures/wat/compute_bytes.wat");
const CALLS: &str = include_str!("../../guest-fixtures/wat/compute_calls.wat");
const MEMORY: &str = include_str!("../../guest-fixtures/wat/compute_memory.wat");
