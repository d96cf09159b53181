//! The time to the first answer and the speed of two tiers, beside one.

use std::{
    thread,
    time::{Duration, Instant},
};

use charts::{Axis, Chart};
use clap::Args;
use conformance::counted::Counts;
use wapc_host::{BoxError, WapcHost};

use crate::{
    common::{Common, Failures, chain, no_host_calls},
    engine::Engine,
    guests,
    load::{Stop, under_load},
    report::Report,
};

/// The options of `soak tiers`.
#[derive(Clone, Debug, Args)]
pub(crate) struct Options {
    #[command(flatten)]
    common: Common,

    /// The length of a run, from the module's bytes on
    #[arg(long, default_value_t = 3000, value_name = "MILLISECONDS")]
    length: u64,

    /// The rounds that the guest computes in each call
    #[arg(long, default_value_t = 10, value_name = "N")]
    rounds: u32,
}

/// The course of one engine's run.
struct Course {
    engine: Engine,
    first_answer: Duration,
    /// The time at which the host moved to the optimized tier.
    moved: Option<Duration>,
    /// The number of calls that ended in each bucket of time.
    buckets: Vec<u64>,
    failures: Failures,
}

/// The length of a bucket.
const BUCKET: Duration = Duration::from_millis(5);

pub(crate) fn run(options: &Options) -> Result<Report, BoxError> {
    let threads = options.common.threads();
    let mut report = Report::new(
        format!("From the bytes of a guest of 400 KB, {threads} threads"),
        &[
            "engine",
            "first answer",
            "tier-up",
            "calls/s after 50 ms",
            "at the end",
            "calls in all",
        ],
    );
    let mut chart = Chart::new(
        "Calls per second, from the bytes of a guest of 400 KB",
        Axis::linear(charts::millis),
        Axis::logarithmic(charts::count),
    );
    let mut courses = Vec::new();
    for engine in options.common.engines() {
        let course = course(engine, options, threads)?;
        let millis = |duration: Duration| format!("{:.1} ms", duration.as_secs_f64() * 1e3);
        report.table.push(vec![
            engine.to_string(),
            millis(course.first_answer),
            course.moved.map_or(String::new(), millis),
            format!("{:.0}", course.rate(EARLY)),
            format!("{:.0}", course.rate_at_the_end()),
            course.buckets.iter().sum::<u64>().to_string(),
        ]);
        chart
            .lines
            .push(engine.line(engine.name(), course.points()));
        courses.push(course);
    }
    report.charts.push(chart);
    judge(&mut report, &courses);
    for course in courses {
        let (engine, words) = (course.engine, course.failures.words);
        let notes = words.into_iter();
        report
            .notes
            .extend(notes.map(|words| format!("{engine}: {words}")));
    }
    Ok(report)
}

fn judge(report: &mut Report, courses: &[Course]) {
    let of = |engine| courses.iter().find(|course| course.engine == engine);
    for course in courses {
        report.judge(course.engine, "answers", course.failures.count == 0);
    }
    let Some(tiered) = of(Engine::Tiered) else {
        return;
    };
    report.judge(Engine::Tiered, "tier-up", tiered.moved.is_some());
    if let Some(wasmtime) = of(Engine::Wasmtime) {
        let sooner = tiered.first_answer < wasmtime.first_answer;
        let as_fast = tiered.rate_at_the_end() > wasmtime.rate_at_the_end() / 2.0;
        report.judge(Engine::Tiered, "first answer before wasmtime's", sooner);
        report.judge(Engine::Tiered, "as fast as wasmtime then", as_fast);
    }
}

/// A time at which the compiler is still running.
const EARLY: Duration = Duration::from_millis(50);

impl Course {
    /// Returns the calls per second in the 50 ms before `end`.
    fn rate(&self, end: Duration) -> f64 {
        const BUCKETS: usize = 10;
        let end = bucket(end).min(self.buckets.len());
        let calls: u64 = self
            .buckets
            .get(end.saturating_sub(BUCKETS)..end)
            .unwrap_or_default()
            .iter()
            .sum();
        calls as f64 / (BUCKET * 10).as_secs_f64()
    }

    fn rate_at_the_end(&self) -> f64 {
        let last: u64 = self.buckets.iter().rev().take(LAST).sum();
        last as f64 / (BUCKET.as_secs_f64() * self.buckets.len().clamp(1, LAST) as f64)
    }

    /// Returns the calls per second in the middle of each bucket with calls.
    fn points(&self) -> Vec<(f64, f64)> {
        let buckets = self.buckets.iter().enumerate();
        let millis = BUCKET.as_secs_f64() * 1e3;
        buckets
            .filter(|(_, calls)| **calls > 0)
            .map(|(nth, calls)| {
                let time = (nth as f64 + 0.5) * millis;
                (time, *calls as f64 / BUCKET.as_secs_f64())
            })
            .collect()
    }
}

/// The number of buckets at the end: half a second.
const LAST: usize = 100;

fn bucket(time: Duration) -> usize {
    usize::try_from(time.as_nanos() / BUCKET.as_nanos()).unwrap_or(usize::MAX)
}

fn course(engine: Engine, options: &Options, threads: usize) -> Result<Course, BoxError> {
    let module = guests::large(1);
    let counts = Counts::default();
    let expected = guests::large_result(options.rounds).to_le_bytes();
    let length = Duration::from_millis(options.length);

    let began = Instant::now();
    let builder = engine.host(&module, threads, &counts)?;
    let host = builder.build(no_host_calls)?;
    let answer = host.call("compute", &options.rounds.to_le_bytes())?;
    let first_answer = began.elapsed();
    let mut failures = Failures::default();
    if answer != expected {
        failures.add(|| format!("answered {answer:?}"));
    }
    let first_generation = 1;
    let (called, moved) = under_load(
        threads,
        |_, stop| calls(&host, stop, began, options.rounds, &expected),
        || {
            let mut moved = None;
            while began.elapsed() < length {
                if moved.is_none() && host.generation() > first_generation {
                    moved = Some(began.elapsed());
                }
                thread::sleep(Duration::from_millis(1));
            }
            moved
        },
    );
    let mut buckets = vec![0; bucket(length)];
    if let Some(calls) = buckets.get_mut(bucket(first_answer)) {
        *calls += 1;
    }
    for (own, failed) in called {
        failures.merge(failed);
        for (sum, calls) in buckets.iter_mut().zip(own) {
            *sum += calls;
        }
    }
    Ok(Course {
        engine,
        first_answer,
        moved,
        buckets,
        failures,
    })
}

fn calls(
    host: &WapcHost,
    stop: &Stop,
    began: Instant,
    rounds: u32,
    expected: &[u8],
) -> (Vec<u64>, Failures) {
    let (mut buckets, mut failures) = (Vec::new(), Failures::default());
    let mut answer = Vec::new();
    while !stop.is_set() {
        match host.call_into("compute", &rounds.to_le_bytes(), &mut answer) {
            Ok(()) if answer == expected => {}
            Ok(()) => failures.add(|| format!("answered {answer:?}")),
            Err(error) => failures.add(|| chain(&error)),
        }
        let bucket = bucket(began.elapsed());
        if buckets.len() <= bucket {
            buckets.resize(bucket + 1, 0);
        }
        if let Some(calls) = buckets.get_mut(bucket) {
            *calls += 1;
        }
    }
    (buckets, failures)
}
