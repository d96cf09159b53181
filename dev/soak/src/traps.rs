//! Memory over many calls that trap or run out of time.

use std::{
    sync::atomic::{AtomicU64, Ordering},
    time::{Duration, Instant},
};

use charts::Chart;
use clap::Args;
use conformance::counted::Counts;
use wapc_host::{BoxError, CallOptions, WapcHost, error::ErrorKind};

use crate::{
    common::{Common, Failures, PATIENCE, chain, no_host_calls},
    engine::Engine,
    guests,
    load::under_load,
    memory::{HEAD, SAMPLES, charts, judge},
    process::Course,
    report::Report,
};

/// The options of `soak traps`.
#[derive(Clone, Debug, Args)]
pub(crate) struct Options {
    #[command(flatten)]
    common: Common,

    /// The number of calls that trap
    #[arg(long, default_value_t = 100_000, value_name = "N")]
    traps: u64,

    /// The number of calls that run out of time
    #[arg(long, default_value_t = 10_000, value_name = "N")]
    expired: u64,
}

/// The end of a run's calls.
#[derive(Clone, Copy)]
struct End {
    name: &'static str,
    operation: &'static str,
    kind: ErrorKind,
    timeout: Option<Duration>,
}

const TRAPS: End = End {
    name: "traps",
    operation: "trap",
    kind: ErrorKind::Trapped,
    timeout: None,
};

const EXPIRED: End = End {
    name: "expired calls",
    operation: "spin",
    kind: ErrorKind::TimedOut,
    timeout: Some(Duration::from_millis(1)),
};

pub(crate) fn run(options: &Options) -> Result<Report, BoxError> {
    let threads = options.common.threads();
    let mut report = Report::new(
        format!("Memory over calls that trap or run out of time, {threads} threads"),
        HEAD,
    );
    let mut of_traps = charts("traps");
    let mut of_expired = charts("calls that run out of time");
    for engine in options.common.engines() {
        let counts = Counts::default();
        let builder = engine.host(&guests::unruly(), threads, &counts)?;
        let host = builder.build(no_host_calls)?;
        let mut soak = |charts: &mut [Chart; 2], end: End, calls| {
            soak(&mut report, charts, engine, (&host, threads), end, calls)
        };
        soak(&mut of_traps, TRAPS, options.traps);
        soak(&mut of_expired, EXPIRED, options.expired);
        drop(host);
        let left = counts.wait_until_all_dropped(PATIENCE);
        report.judge(engine, "drops", left.all_dropped());
    }
    report.charts.extend(of_traps);
    report.charts.extend(of_expired);
    Ok(report)
}

fn soak(
    report: &mut Report,
    charts: &mut [Chart; 2],
    engine: Engine,
    (host, threads): (&WapcHost, usize),
    end: End,
    calls: u64,
) {
    let began = Instant::now();
    let next = AtomicU64::new(0);
    let sample_every = calls.div_ceil(SAMPLES);
    // The threads end when all calls are done.
    let (done, ()) = under_load(
        threads,
        |_, _| {
            let (mut course, mut failures) = (Course::default(), Failures::default());
            loop {
                let number = next.fetch_add(1, Ordering::Relaxed);
                if number >= calls {
                    return (course, failures);
                }
                if let Err(words) = end_badly(host, end) {
                    failures.add(|| words);
                }
                if number.is_multiple_of(sample_every) {
                    course.sample(number);
                    if host.call("echo", b"alive").ok().as_deref() != Some(b"alive") {
                        failures.add(|| "the next call was not answered".to_owned());
                    }
                }
            }
        },
        || (),
    );
    let (mut course, mut failures) = (Course::default(), Failures::default());
    for (own, failed) in done {
        course.samples.extend(own.samples);
        failures.merge(failed);
    }
    course.samples.sort_by_key(|sample| sample.0);
    judge(
        report,
        charts,
        engine,
        end.name,
        &course,
        began.elapsed().as_secs_f64(),
    );
    report.judge(engine, end.name, failures.count == 0);
    let notes = failures.words.into_iter();
    report
        .notes
        .extend(notes.map(|words| format!("{engine}: {words}")));
}

/// Makes a call that must have this end.
fn end_badly(host: &WapcHost, end: End) -> Result<(), String> {
    let ended = match end.timeout {
        Some(timeout) => {
            let options = CallOptions::default().timeout(timeout);
            host.with(&options).call(end.operation, b"")
        }
        None => host.call(end.operation, b""),
    };
    match ended {
        Err(error) if error.kind() == end.kind => Ok(()),
        Err(error) => Err(chain(&error)),
        Ok(_) => Err(format!("`{}` was answered", end.operation)),
    }
}
