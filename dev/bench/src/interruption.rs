//! The price of each way to interrupt guests of wasmtime, on ordinary code.

use std::hint::black_box;
use std::time::{Duration, Instant};

use guest_fixtures::generate::{Entry, large_guest};
use provider_wasmtime::WasmtimeEngineProvider;
use wapc_host::{Interruption, Limits, WapcHost};

use crate::subject::Result;

/// The first is what the others are compared with.
const KINDS: [(&str, Interruption); 4] = [
    ("off", Interruption::Off),
    ("kill", Interruption::Kill),
    ("time", Interruption::Time),
    ("fuel", Interruption::Fuel),
];

/// The workloads of `guest-fixtures/rust/workloads`.
const WORKLOADS: [&str; 9] = [
    "sort", "hash-map", "b-tree", "format", "vowels", "crc-32", "matrix", "sha-256", "byte-sum",
];

const WORST_LOOP: &str = include_str!("../guests/worst_loop.wat");

/// The processor time of one call.
const CALL: Duration = Duration::from_millis(20);

/// Measures, and writes tables to standard output. `compiles` is the number of times that
/// each module is compiled.
pub fn measure(rounds: usize, compiles: usize) -> Result<()> {
    let hosts = hosts(guest_fixtures::WORKLOADS)?;
    println!("Processor time against none, the median and the best of {rounds} rounds:\n");
    println!("| workload | ms | kill | time | fuel |\n|---|--:|--:|--:|--:|");
    let mut products = [1.0; KINDS.len()];
    for workload in WORKLOADS {
        let ratios = row(&hosts, workload, rounds)?;
        for (product, ratio) in products.iter_mut().zip(ratios) {
            *product *= ratio;
        }
    }
    print!("| **geometric mean** | |");
    for product in products.iter().skip(1) {
        print!(
            " **{}** |",
            percent(product.powf(1.0 / WORKLOADS.len() as f64))
        );
    }
    println!();
    row(&hosts_of_text(WORST_LOOP)?, "worst loop", rounds)?;

    println!("\nCompiling, the best of {compiles}; and the bytes of machine code:\n");
    println!("| module | off | kill | time | fuel |\n|---|--:|--:|--:|--:|");
    let large = large_guest(Entry::Compute, 1);
    compiling("workloads", guest_fixtures::WORKLOADS, compiles)?;
    compiling("large", &large, compiles)
}

type Hosts = [WapcHost; KINDS.len()];

fn hosts_of_text(text: &str) -> Result<Hosts> {
    hosts(&wat::parse_str(text)?)
}

fn hosts(module: &[u8]) -> Result<Hosts> {
    let mut hosts = Vec::new();
    for (name, interruption) in KINDS {
        let provider = provider(module, interruption)?;
        let limits = match (interruption.by_time(), interruption.by_fuel()) {
            (true, _) => Limits::unlimited().timeout(Duration::from_secs(1000)),
            (_, true) => Limits::unlimited().fuel(u64::MAX / 2),
            _ => Limits::unlimited(),
        };
        let host = WapcHost::builder(Box::new(provider))
            .limits(limits)
            .build(|_, _, _, _, _| Ok(vec![]));
        hosts.push(host.map_err(|error| format!("{name}: {error}"))?);
    }
    hosts.try_into().map_err(|_| "a host for each kind".into())
}

fn provider(module: &[u8], interruption: Interruption) -> Result<WasmtimeEngineProvider> {
    let builder = WasmtimeEngineProvider::builder().interruption(interruption);
    Ok(builder.build(module)?)
}

/// Prints the row of a workload. Returns the median ratios.
fn row(hosts: &Hosts, workload: &str, rounds: usize) -> Result<[f64; KINDS.len()]> {
    let turns = turns(&hosts[0], workload)?;
    let mut times: [Vec<f64>; KINDS.len()] = Default::default();
    let expected = hosts[0].call(workload, &turns.to_le_bytes())?;
    for round in 0..rounds {
        for kind in 0..KINDS.len() {
            // Each round begins with another one.
            let kind = (kind + round) % KINDS.len();
            let (time, answer) = timed(&hosts[kind], workload, turns)?;
            assert_eq!(answer, expected, "{workload}");
            times[kind].push(time);
        }
    }
    let [off, ..] = times.clone();
    let best = |times: &[f64]| times.iter().copied().fold(f64::INFINITY, f64::min);
    print!("| {workload} | {:.1} |", best(&off) * 1e3);
    let mut medians = [1.0; KINDS.len()];
    for (kind, own) in times.iter().enumerate().skip(1) {
        let mut ratios: Vec<f64> = own.iter().zip(&off).map(|(own, off)| own / off).collect();
        ratios.sort_by(f64::total_cmp);
        medians[kind] = ratios[ratios.len() / 2];
        let best = best(own) / best(&off);
        print!(" {}, {} |", percent(medians[kind]), percent(best));
    }
    println!();
    Ok(medians)
}

/// Returns the rounds of a workload that take about [`CALL`].
fn turns(host: &WapcHost, workload: &str) -> Result<u32> {
    let mut turns = 1;
    loop {
        let (time, _) = timed(host, workload, turns)?;
        if time >= CALL.as_secs_f64() / 2.0 {
            return Ok(turns);
        }
        turns *= 2;
    }
}

fn timed(host: &WapcHost, workload: &str, turns: u32) -> Result<(f64, Vec<u8>)> {
    let begun = processor_time();
    let answer = host.call(workload, &turns.to_le_bytes())?;
    Ok((processor_time() - begun, answer))
}

/// Returns the seconds for which this thread has had a processor. What `/proc` tells is
/// right to a tick of the scheduler only.
fn processor_time() -> f64 {
    let mut time = libc::timespec {
        tv_sec: 0,
        tv_nsec: 0,
    };
    // SAFETY: it writes to a value of the type that it expects.
    let failed = unsafe { libc::clock_gettime(libc::CLOCK_THREAD_CPUTIME_ID, &raw mut time) };
    assert_eq!(failed, 0, "there is such a clock");
    time.tv_sec as f64 + time.tv_nsec as f64 / 1e9
}

fn compiling(name: &str, module: &[u8], compiles: usize) -> Result<()> {
    let mut best = [f64::INFINITY; KINDS.len()];
    let mut bytes = [0; KINDS.len()];
    for round in 0..compiles {
        for kind in 0..KINDS.len() {
            let kind = (kind + round) % KINDS.len();
            let begun = Instant::now();
            let provider = black_box(provider(module, KINDS[kind].1)?);
            best[kind] = best[kind].min(begun.elapsed().as_secs_f64());
            bytes[kind] = provider.module().text().len();
        }
    }
    print!("| {name} of {} KB |", module.len() / 1000);
    for kind in 0..KINDS.len() {
        let (time, of_off) = (best[kind], best[kind] / best[0]);
        let code = bytes[kind] as f64 / bytes[0] as f64;
        match kind {
            0 => print!(" {:.1} ms, {} B |", time * 1e3, bytes[0]),
            _ => print!(" {}, code {} |", percent(of_off), percent(code)),
        }
    }
    println!();
    Ok(())
}

fn percent(ratio: f64) -> String {
    format!("{:+.1} %", 100.0 * (ratio - 1.0))
}
