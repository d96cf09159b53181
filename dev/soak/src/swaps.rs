//! Calls during swaps.

use std::{
    sync::atomic::{AtomicU64, Ordering},
    time::Instant,
};

use clap::Args;
use conformance::counted::Counts;
use wapc_host::{BoxError, WapcHost};

use crate::{
    common::{Common, Failures, PATIENCE, chain, no_host_calls},
    engine::Engine,
    guests,
    load::{Stop, under_load},
    report::Report,
};

/// The options of `soak swaps`.
#[derive(Clone, Debug, Args)]
pub(crate) struct Options {
    #[command(flatten)]
    common: Common,

    /// The least number of calls
    #[arg(long, default_value_t = 1_000_000, value_name = "N")]
    calls: u64,

    /// The least number of swaps
    #[arg(long, default_value_t = 1_000, value_name = "N")]
    swaps: u64,
}

/// The counts of a run.
#[derive(Debug, Default)]
struct Outcome {
    calls: u64,
    failed: Failures,
    /// Answers that no version gives to the payload.
    wrong: Failures,
    /// Answers of versions that did not serve at any time during the call.
    untimely: Failures,
}

pub(crate) fn run(options: &Options) -> Result<Report, BoxError> {
    let threads = options.common.threads();
    let mut report = Report::new(
        format!("Calls during swaps, {threads} threads"),
        &[
            "engine",
            "calls",
            "swaps",
            "failed",
            "wrong",
            "untimely",
            "providers",
            "instances",
            "seconds",
        ],
    );
    for engine in options.common.engines() {
        soak(&mut report, engine, options, threads)?;
    }
    Ok(report)
}

fn soak(
    report: &mut Report,
    engine: Engine,
    options: &Options,
    threads: usize,
) -> Result<(), BoxError> {
    let counts = Counts::default();
    let builder = engine.host(&guests::version(0), threads, &counts)?;
    let host = builder.build(no_host_calls)?;
    let began = Instant::now();
    let (published, called) = (AtomicU64::new(0), AtomicU64::new(0));
    let (outcomes, swaps) = under_load(
        threads,
        |thread, stop| calls(&host, thread, stop, &published, &called),
        || -> Result<u64, BoxError> {
            let mut number = 0;
            while number < options.swaps || called.load(Ordering::Relaxed) < options.calls {
                number += 1;
                swap(&host, engine, number, &counts)
                    .map_err(|error| format!("swap {number}: {}", chain(&*error)))?;
                published.store(number, Ordering::Release);
            }
            Ok(number)
        },
    );
    let mut outcome = Outcome::default();
    for one in outcomes {
        outcome.calls += one.calls;
        outcome.failed.merge(one.failed);
        outcome.wrong.merge(one.wrong);
        outcome.untimely.merge(one.untimely);
    }
    let seconds = began.elapsed().as_secs_f64();
    drop(host);
    let left = counts.wait_until_all_dropped(PATIENCE);

    let done = match &swaps {
        Ok(done) => *done,
        Err(error) => {
            report.notes.push(format!("{engine}: {error}"));
            published.load(Ordering::Relaxed)
        }
    };
    report.table.push(vec![
        engine.to_string(),
        outcome.calls.to_string(),
        done.to_string(),
        outcome.failed.count.to_string(),
        outcome.wrong.count.to_string(),
        outcome.untimely.count.to_string(),
        format!("{}/{}", left.providers_dropped, left.providers_made),
        format!("{}/{}", left.instances_dropped, left.instances_made),
        format!("{seconds:.1}"),
    ]);
    let enough = outcome.calls >= options.calls && done >= options.swaps;
    report.judge(engine, "size", enough);
    report.judge(engine, "swaps", swaps.is_ok());
    report.judge(engine, "calls", outcome.failed.count == 0);
    report.judge(engine, "answers", outcome.wrong.count == 0);
    report.judge(engine, "versions", outcome.untimely.count == 0);
    report.judge(engine, "drops", left.all_dropped());
    for failures in [outcome.failed, outcome.wrong, outcome.untimely] {
        let notes = failures.words.into_iter();
        report
            .notes
            .extend(notes.map(|words| format!("{engine}: {words}")));
    }
    Ok(())
}

/// Returns the version that serves after this swap. A rollback restores that of the
/// swap before the last.
const fn version_after(swap: u64) -> u64 {
    match swap % 4 {
        3 => swap - 2,
        _ => swap,
    }
}

/// The kinds of swaps in turn: new bytes, a provider of another engine, a rollback, a
/// provider of this engine.
fn swap(host: &WapcHost, engine: Engine, number: u64, counts: &Counts) -> Result<(), BoxError> {
    let module = || guests::version(version_after(number));
    match number % 4 {
        1 => host.replace_module(&module())?,
        2 => engine.other().swap(host, &module(), counts)?,
        3 => host.rollback()?,
        _ => engine.swap(host, &module(), counts)?,
    }
    Ok(())
}

fn calls(
    host: &WapcHost,
    thread: usize,
    stop: &Stop,
    published: &AtomicU64,
    called: &AtomicU64,
) -> Outcome {
    let mut outcome = Outcome::default();
    let mut answer = Vec::new();
    while !stop.is_set() {
        // Payloads are unique, so that the answer to another thread's call is detected.
        let payload = format!("{thread}:{};", outcome.calls);
        let before = published.load(Ordering::Acquire);
        let result = host.call_into("echo", payload.as_bytes(), &mut answer);
        let after = published.load(Ordering::Acquire);
        outcome.calls += 1;
        if outcome.calls % COUNT_EVERY == 0 {
            called.fetch_add(COUNT_EVERY, Ordering::Relaxed);
        }
        if let Err(error) = result {
            outcome.failed.add(|| chain(&error));
            continue;
        }
        // The next swap may have taken effect before it is recorded.
        let mut serving = before..=after + 1;
        match guests::version_of(&answer, payload.as_bytes()) {
            None => outcome
                .wrong
                .add(|| format!("{payload} was answered by {}", answer.escape_ascii())),
            Some(version) if !serving.any(|swap| version_after(swap) == version) => {
                outcome.untimely.add(|| {
                    format!(
                        "version {version} answered between swaps {before} and {}",
                        after + 1
                    )
                });
            }
            Some(_) => {}
        }
    }
    outcome
}

/// The calls after which a thread adds to the shared count, to reduce contention.
const COUNT_EVERY: u64 = 16;
