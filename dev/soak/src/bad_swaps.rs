//! Swaps to modules that cannot serve.

use std::{
    sync::atomic::{AtomicU64, Ordering},
    time::Duration,
};

use clap::Args;
use conformance::counted::Counts;
use wapc_host::{
    BoxError, Error, Limits, WapcHost,
    error::{EngineError, ModuleError, StopReason},
};

use crate::{
    common::{Common, Failures, chain, no_host_calls, wait_for_tier_up},
    engine::Engine,
    guests,
    load::{Stop, under_load},
    report::Report,
};

/// The options of `soak bad-swaps`.
#[derive(Clone, Debug, Args)]
pub(crate) struct Options {
    #[command(flatten)]
    common: Common,

    /// The least number of swaps to each bad module
    #[arg(long, default_value_t = 100, value_name = "N")]
    rounds: u64,
}

/// A swap that must fail.
struct Bad {
    name: &'static str,
    module: Vec<u8>,
    /// `true` if a probe refuses the module.
    probe: bool,
    /// Returns `true` for the error that the swap must give.
    expected: fn(&Error) -> bool,
}

fn all_bad() -> [Bad; 5] {
    let bad = |name, module, expected| Bad {
        name,
        module,
        probe: false,
        expected,
    };
    [
        bad("garbage", b"neither binary nor text".to_vec(), |error| {
            matches!(
                error,
                Error::Init(EngineError::Module(ModuleError::NotWasm { .. }))
            )
        }),
        bad("an unknown import", guests::lacking_an_import(), |error| {
            matches!(
                error,
                Error::Init(EngineError::Module(ModuleError::UnknownImport { .. }))
            )
        }),
        bad(
            "a trap at start",
            guests::starting_with("(unreachable)"),
            |error| is_start(error, |cause| matches!(cause, EngineError::Trap(_))),
        ),
        Bad {
            probe: true,
            ..bad("a probe that fails", guests::version(1), |error| {
                matches!(error, Error::Probe(_))
            })
        },
        bad(
            "a start function that loops",
            guests::starting_with("(loop $again (br $again))"),
            |error| {
                is_start(error, |cause| {
                    matches!(cause, EngineError::Stopped(StopReason::TimedOut { .. }))
                })
            },
        ),
    ]
}

fn is_start(error: &Error, is_cause: impl FnOnce(&EngineError) -> bool) -> bool {
    match error {
        Error::Init(EngineError::Start { cause, .. }) => is_cause(cause),
        _ => false,
    }
}

pub(crate) fn run(options: &Options) -> Result<Report, BoxError> {
    let threads = options.common.threads();
    let mut report = Report::new(
        format!("Swaps that must fail, {threads} threads"),
        &[
            "engine",
            "swap to",
            "swaps",
            "refused",
            "for the right reason",
            "calls meanwhile",
        ],
    );
    for engine in options.common.engines() {
        soak(&mut report, engine, options.rounds, threads)?;
    }
    Ok(report)
}

fn soak(report: &mut Report, engine: Engine, rounds: u64, threads: usize) -> Result<(), BoxError> {
    let counts = Counts::default();
    let host = engine
        .host(&guests::version(0), threads, &counts)?
        .limits(Limits::default().start_timeout(START_TIMEOUT))
        .build(no_host_calls)?;
    if engine == Engine::Tiered && !wait_for_tier_up(&host, 1) {
        return Err("the optimized tier is not ready in time".into());
    }
    let generation = host.generation();

    let mut failures = Failures::default();
    let (mut reasons, mut serves) = (true, true);
    for bad in all_bad() {
        let mut row = vec![engine.to_string(), bad.name.to_owned()];
        let called = AtomicU64::new(0);
        let (failed, (swaps, refused, right)) = under_load(
            threads,
            |thread, stop| calls(&host, thread, stop, &called),
            || {
                let (mut swaps, mut refused, mut right) = (0, 0, 0);
                while swaps < rounds || called.load(Ordering::Relaxed) < CALLS {
                    swaps += 1;
                    if let Err(error) = swap(&host, &bad) {
                        refused += 1;
                        match (bad.expected)(&error) {
                            true => right += 1,
                            false => report.notes.push(format!(
                                "{engine}: {}: {}",
                                bad.name,
                                chain(&error)
                            )),
                        }
                    }
                }
                (swaps, refused, right)
            },
        );
        for failed in failed {
            failures.merge(failed);
        }
        reasons &= right == swaps;
        serves &= host.generation() == generation;
        for number in [swaps, refused, right, called.into_inner()] {
            row.push(number.to_string());
        }
        report.table.push(row);
    }
    report.judge(engine, "refused", reasons);
    report.judge(engine, "calls", failures.count == 0);
    report.judge(engine, "old version serves", serves);
    let notes = failures.words.into_iter();
    report
        .notes
        .extend(notes.map(|words| format!("{engine}: {words}")));
    Ok(())
}

/// The time for start functions. Those that trap must have run by then on a busy
/// machine.
const START_TIMEOUT: Duration = Duration::from_millis(200);

fn swap(host: &WapcHost, bad: &Bad) -> Result<(), Box<Error>> {
    let swap = match bad.probe {
        true => host.swap().probe(|candidate| {
            candidate.call("echo", b"")?;
            Err("not wanted".into())
        }),
        false => host.swap(),
    };
    swap.module(&bad.module).map_err(Box::new)
}

/// Calls until `stop` is set, and returns the failures.
fn calls(host: &WapcHost, thread: usize, stop: &Stop, called: &AtomicU64) -> Failures {
    let mut failures = Failures::default();
    while !stop.is_set() {
        let payload = format!("{thread}:{};", called.fetch_add(1, Ordering::Relaxed));
        match host.call("echo", payload.as_bytes()) {
            Ok(answer) if guests::version_of(&answer, payload.as_bytes()) == Some(0) => {}
            Ok(answer) => {
                failures.add(|| format!("{payload} was answered by {}", answer.escape_ascii()));
            }
            Err(error) => failures.add(|| chain(&error)),
        }
    }
    failures
}

/// The calls during each kind of swap, without which there is no load.
const CALLS: u64 = 1000;
