//! Memory over many swaps.

use std::time::Instant;

use charts::{Axis, Chart};
use clap::Args;
use conformance::counted::Counts;
use wapc_host::BoxError;

use crate::{
    common::{Common, Failures, PATIENCE, chain, no_host_calls},
    engine::Engine,
    guests,
    load::under_load,
    process::{ADDRESS_SLACK, Course, Memory, RESIDENT_SLACK, is_flat},
    report::Report,
};

/// The options of `soak memory`.
#[derive(Clone, Debug, Args)]
pub(crate) struct Options {
    #[command(flatten)]
    common: Common,

    /// The number of swaps
    #[arg(long, default_value_t = 100_000, value_name = "N")]
    swaps: u64,
}

pub(crate) fn run(options: &Options) -> Result<Report, BoxError> {
    let threads = options.common.threads();
    let mut report = Report::new(
        format!("Memory over {} swaps, {threads} threads", options.swaps),
        HEAD,
    );
    let mut charts = charts("swaps");
    for engine in options.common.engines() {
        soak(&mut report, &mut charts, engine, options, threads)?;
    }
    report.charts.extend(charts);
    Ok(report)
}

fn soak(
    report: &mut Report,
    charts: &mut [Chart; 2],
    engine: Engine,
    options: &Options,
    threads: usize,
) -> Result<(), BoxError> {
    let modules: Vec<Vec<u8>> = (0..16).map(guests::version).collect();
    let module = |number: u64| {
        let nth = usize::try_from(number).unwrap_or_default() % modules.len();
        modules.get(nth).map_or(&[][..], Vec::as_slice)
    };
    let counts = Counts::default();
    let builder = engine.host(module(0), threads, &counts)?;
    let host = builder.build(no_host_calls)?;
    let swap = median(|number| host.replace_module(module(number)))?;
    let compile = median(|number| engine.host(module(number), threads, &counts))?;
    report.notes.push(format!(
        "{engine}: without load a swap takes {swap:.0} µs; making the provider alone takes {compile:.0} µs",
    ));
    let began = Instant::now();
    let (failures, course) = under_load(
        threads,
        |_, stop| {
            let mut failures = Failures::default();
            let mut answer = Vec::new();
            while !stop.is_set() {
                match host.call_into("echo", b"payload", &mut answer) {
                    Ok(()) if guests::version_of(&answer, b"payload").is_some() => {}
                    Ok(()) => failures.add(|| format!("answered {}", answer.escape_ascii())),
                    Err(error) => failures.add(|| chain(&error)),
                }
            }
            failures
        },
        || -> Result<Course, BoxError> {
            let mut course = Course::default();
            for number in 1..=options.swaps {
                host.replace_module(module(number))
                    .map_err(|error| chain(&error))?;
                if number % options.swaps.div_ceil(SAMPLES) == 0 {
                    course.sample(number);
                }
            }
            Ok(course)
        },
    );
    let seconds = began.elapsed().as_secs_f64();
    drop(host);
    let dropped = counts.wait_until_all_dropped(PATIENCE);
    let failures = failures
        .into_iter()
        .fold(Failures::default(), |mut all, one| {
            all.merge(one);
            all
        });
    judge(report, charts, engine, "swaps", &course?, seconds);
    report.judge(engine, "calls", failures.count == 0);
    report.judge(engine, "drops", dropped.all_dropped());
    let notes = failures.words.into_iter();
    report
        .notes
        .extend(notes.map(|words| format!("{engine}: {words}")));
    Ok(())
}

/// Returns the median of the microseconds that `work` takes.
fn median<T, E: Into<BoxError>>(work: impl Fn(u64) -> Result<T, E>) -> Result<f64, BoxError> {
    const ROUNDS: u64 = 101;
    let mut took = Vec::new();
    for number in 0..ROUNDS {
        let began = Instant::now();
        work(number).map_err(Into::into)?;
        took.push(began.elapsed());
    }
    took.sort_unstable();
    let median = took.get(took.len() / 2).copied().unwrap_or_default();
    Ok(median.as_secs_f64() * 1e6)
}

/// The number of memory samples in a run.
pub(crate) const SAMPLES: u64 = 400;

/// The columns that [`judge`] fills in a report's table.
pub(crate) const HEAD: &[&str] = &[
    "engine",
    "over",
    "resident, 2nd tenth",
    "last tenth",
    "address space, 2nd tenth",
    "last tenth",
    "seconds",
];

/// Creates the charts that [`judge`] fills: resident memory and address space.
pub(crate) fn charts(over: &str) -> [Chart; 2] {
    ["Resident memory", "Address space"].map(|what| {
        Chart::new(
            format!("{what} over {over}"),
            Axis::linear(charts::count),
            Axis::linear(charts::kibibytes),
        )
    })
}

/// Adds the verdict on memory to the report: it must not grow.
pub(crate) fn judge(
    report: &mut Report,
    charts: &mut [Chart; 2],
    engine: Engine,
    over: &'static str,
    course: &Course,
    seconds: f64,
) {
    let resident = |memory: &Memory| memory.resident;
    let address_space = |memory: &Memory| memory.address_space;
    let mut row = vec![engine.to_string(), over.to_owned()];
    match (course.tenths(resident), course.tenths(address_space)) {
        (Some(in_ram), Some(reserved)) => {
            for kibibytes in [in_ram.0, in_ram.1, reserved.0, reserved.1] {
                row.push(format!("{:.1} MiB", kibibytes as f64 / 1024.0));
            }
            report.judge(
                engine,
                format!("resident over {over}"),
                is_flat(in_ram, RESIDENT_SLACK),
            );
            report.judge(
                engine,
                format!("address space over {over}"),
                is_flat(reserved, ADDRESS_SLACK),
            );
        }
        _ => {
            row.extend(["", "", "", ""].map(str::to_owned));
            report.notes.push(
                "memory is unknown: this system has no /proc, or the run was too short".to_owned(),
            );
        }
    }
    row.push(format!("{seconds:.1}"));
    report.table.push(row);
    let [ram, space] = charts;
    let line = |points| engine.line(engine.name(), points);
    ram.lines.push(line(course.points(resident)));
    space.lines.push(line(course.points(address_space)));
}
