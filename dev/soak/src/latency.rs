//! The latency of calls while large modules are swapped in.

use std::{
    sync::atomic::{AtomicU64, AtomicUsize, Ordering},
    thread,
    time::{Duration, Instant},
};

use charts::{Axis, Chart, Stroke};
use clap::Args;
use conformance::counted::Counts;
use wapc_host::{BoxError, WapcHost};

use crate::{
    common::{Common, Failures, chain, no_host_calls, wait_for_tier_up},
    engine::{Compilation, Engine},
    guests,
    histogram::Histogram,
    load::{Stop, under_load},
    report::Report,
};

/// The options of `soak latency`.
#[derive(Clone, Debug, Args)]
pub(crate) struct Options {
    #[command(flatten)]
    common: Common,

    /// The number of phases without swaps, each followed by one with swaps
    #[arg(long, default_value_t = 5, value_name = "N")]
    rounds: u64,

    /// The length of a phase
    #[arg(long, default_value_t = 1000, value_name = "MILLISECONDS")]
    phase: u64,

    /// The time from the start of one swap to the start of the next
    #[arg(long, default_value_t = 100, value_name = "MILLISECONDS")]
    every: u64,

    /// The greatest allowed ratio of the median latency with swaps to that without
    #[arg(long, default_value_t = 1.5, value_name = "RATIO")]
    max_ratio: f64,

    /// Measure compilation of low priority beside the usual one
    #[arg(long)]
    low_priority: bool,
}

/// The phase to which calls are counted.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Phase {
    WarmUp,
    Steady,
    Swapping,
}

impl Phase {
    const fn of(number: usize) -> Self {
        match number {
            1 => Self::Steady,
            2 => Self::Swapping,
            _ => Self::WarmUp,
        }
    }
}

/// The number of calls of a thread, on a cache line of its own.
#[repr(align(128))]
#[derive(Default)]
struct Progress(AtomicU64);

/// The observations of one swap.
struct Swapped {
    took: Duration,
    /// The calls of the thread that made the fewest during the swap.
    calls: u64,
}

#[derive(Default)]
struct Measured {
    steady: Histogram,
    swapping: Histogram,
    failures: Failures,
}

pub(crate) fn run(options: &Options) -> Result<Report, BoxError> {
    let threads = options.common.threads();
    let mut report = Report::new(
        format!(
            "Calls while a guest of 400 KB is swapped in every {} ms, {threads} threads",
            options.every
        ),
        &["engine", "phase", "calls", "p50", "p99", "p99.9", "max"],
    );
    let mut chart = Chart::new(
        "Calls by their latency: steady (dashed), and while modules of 400 KB are swapped in",
        Axis::logarithmic(charts::nanos),
        Axis::logarithmic(charts::share),
    );
    for engine in options.common.engines() {
        soak(
            &mut report,
            &mut chart,
            engine,
            Compilation::Normal,
            options,
        )?;
        if options.low_priority && engine != Engine::Wasmi {
            soak(
                &mut report,
                &mut chart,
                engine,
                Compilation::LowPriority,
                options,
            )?;
        }
    }
    report.charts.push(chart);
    Ok(report)
}

fn soak(
    report: &mut Report,
    chart: &mut Chart,
    engine: Engine,
    compilation: Compilation,
    options: &Options,
) -> Result<(), BoxError> {
    let threads = options.common.threads();
    let name = match compilation {
        Compilation::Normal => engine.to_string(),
        Compilation::LowPriority => format!("{engine}, low priority"),
    };
    let counts = Counts::default();
    let [first, second] = [guests::large(1), guests::large(2)];
    let builder = engine.host_compiled(&first, threads, compilation, &counts)?;
    let host = builder.build(no_host_calls)?;
    let phase = AtomicUsize::new(Phase::WarmUp as usize);
    let progress: Vec<Progress> = (0..threads).map(|_| Progress::default()).collect();

    let (measured, swaps) = under_load(
        threads,
        |thread, stop| calls(&host, stop, &phase, progress.get(thread)),
        || -> Result<Vec<Swapped>, BoxError> {
            let length = Duration::from_millis(options.phase);
            let mut swaps = Vec::new();
            thread::sleep(length);
            if engine == Engine::Tiered && host.generation() == 1 {
                wait_for_tier_up(&host, 1);
            }
            for _ in 0..options.rounds {
                phase.store(Phase::Steady as usize, Ordering::Relaxed);
                thread::sleep(length);
                phase.store(Phase::Swapping as usize, Ordering::Relaxed);
                let began = Instant::now();
                let mut next = began;
                while next < began + length {
                    thread::sleep(next.saturating_duration_since(Instant::now()));
                    let module = match swaps.len() % 2 {
                        0 => &second,
                        _ => &first,
                    };
                    swaps.push(swap(&host, module, &progress)?);
                    next += Duration::from_millis(options.every);
                    next = next.max(Instant::now());
                }
                phase.store(Phase::WarmUp as usize, Ordering::Relaxed);
                if engine == Engine::Tiered && !wait_for_tier_up(&host, host.generation()) {
                    return Err("the optimized tier is not ready in time".into());
                }
            }
            Ok(swaps)
        },
    );
    let mut swaps = swaps?;
    let mut all = Measured::default();
    for one in measured {
        all.steady.merge(&one.steady);
        all.swapping.merge(&one.swapping);
        all.failures.merge(one.failures);
    }
    for (phase, histogram) in [("steady", &all.steady), ("swapping", &all.swapping)] {
        let mut row = vec![
            name.clone(),
            phase.to_owned(),
            histogram.count().to_string(),
        ];
        for duration in [
            histogram.quantile(0.5),
            histogram.quantile(0.99),
            histogram.quantile(0.999),
            histogram.max(),
        ] {
            row.push(words(duration));
        }
        report.table.push(row);
    }
    let swapping = engine.line(format!("{name}, swapping"), all.swapping.shares());
    match compilation {
        Compilation::Normal => {
            let steady = engine.line(format!("{name}, steady"), all.steady.shares());
            chart.lines.push(steady.stroke(Stroke::Dashed));
            chart.lines.push(swapping);
        }
        Compilation::LowPriority => chart.lines.push(swapping.stroke(Stroke::Dotted)),
    }

    let [steady, swapping] =
        [&all.steady, &all.swapping].map(|histogram| histogram.quantile(0.5).as_secs_f64());
    let ratio = swapping / steady.max(1e-9);
    swaps.sort_by_key(|swap| swap.took);
    let took = |nth: usize| swaps.get(nth).map_or(Duration::ZERO, |swap| swap.took);
    let mut fewest: Vec<u64> = swaps.iter().map(|swap| swap.calls).collect();
    fewest.sort_unstable();
    report.notes.push(format!(
        "{name}: p50 {ratio:.2} times; {} swaps took {} (median; from {} to {}); in half of them each thread finished at least {} calls",
        swaps.len(),
        words(took(swaps.len() / 2)),
        words(took(0)),
        words(took(swaps.len().saturating_sub(1))),
        fewest.get(fewest.len() / 2).unwrap_or(&0),
    ));
    // A thread whose call waits for a compiler finishes no call meanwhile. Swaps
    // of less than a few time slices prove nothing, and on a busy machine a thread is
    // sometimes descheduled for longer, hence the share of 5 %.
    let long = || swaps.iter().filter(|swap| swap.took >= LONG_SWAP);
    let stalled = long().filter(|swap| swap.calls == 0).count();
    let mut judge = |promise: &str, kept| {
        let of = match compilation {
            Compilation::Normal => "",
            Compilation::LowPriority => "low priority: ",
        };
        report.judge(engine, format!("{of}{promise}"), kept);
    };
    judge("calls", all.failures.count == 0);
    judge("no wait for a compiler", stalled * 20 <= long().count());
    // After a swap the baseline serves until the optimized tier has compiled.
    if engine != Engine::Tiered {
        judge("p50", ratio <= options.max_ratio);
    }
    let notes = all.failures.words.into_iter();
    report
        .notes
        .extend(notes.map(|failure| format!("{name}: {failure}")));
    Ok(())
}

/// Swaps of at least this length give each thread time on a core.
const LONG_SWAP: Duration = Duration::from_millis(50);

fn swap(host: &WapcHost, module: &[u8], progress: &[Progress]) -> Result<Swapped, BoxError> {
    let done = || -> Vec<u64> {
        let each = progress.iter();
        each.map(|done| done.0.load(Ordering::Relaxed)).collect()
    };
    let (before, began) = (done(), Instant::now());
    host.replace_module(module).map_err(|error| chain(&error))?;
    let took = began.elapsed();
    let fewest = done()
        .iter()
        .zip(before)
        .map(|(after, before)| after - before)
        .min();
    Ok(Swapped {
        took,
        calls: fewest.unwrap_or(0),
    })
}

fn calls(
    host: &WapcHost,
    stop: &Stop,
    phase: &AtomicUsize,
    progress: Option<&Progress>,
) -> Measured {
    let mut measured = Measured::default();
    let payload = 1_u32.to_le_bytes();
    let expected = guests::large_result(1).to_le_bytes();
    let mut answer = Vec::new();
    let mut done = 0;
    let mut began = Instant::now();
    while !stop.is_set() {
        let phase_before = Phase::of(phase.load(Ordering::Relaxed));
        let result = host.call_into("compute", &payload, &mut answer);
        let ended = Instant::now();
        match phase_before {
            Phase::WarmUp => {}
            Phase::Steady => measured.steady.record(ended - began),
            Phase::Swapping => measured.swapping.record(ended - began),
        }
        match result {
            Ok(()) if answer == expected => {}
            Ok(()) => measured.failures.add(|| format!("answered {answer:?}")),
            Err(error) => measured.failures.add(|| chain(&error)),
        }
        done += 1;
        if let Some(progress) = progress {
            progress.0.store(done, Ordering::Relaxed);
        }
        began = ended;
    }
    measured
}

/// Formats a duration in milliseconds or microseconds.
fn words(duration: Duration) -> String {
    match duration.as_secs_f64() {
        seconds @ 0.001.. => format!("{:.1} ms", seconds * 1e3),
        seconds => format!("{:.1} µs", seconds * 1e6),
    }
}
