//! Runs one scenario: all subjects in turn, round after round, so that disturbances of
//! the machine affect all of them.

use std::process::Command;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Barrier};
use std::thread;
use std::time::{Duration, Instant};

use crate::allocations;
use crate::scenarios::{Measure, Scenario};
use crate::subject::{Maker, Result, Subject, Work};

/// The length and the number of rounds.
#[derive(Clone, Copy)]
pub struct Effort {
    pub rounds: usize,
    /// The time of one subject in one round.
    pub slice: Duration,
    /// The hosts that are made to measure the memory of each.
    pub hosts: u64,
}

/// One figure for each round, in the order of the rounds.
pub struct Samples<'a> {
    pub subject: &'a dyn Subject,
    pub values: Vec<f64>,
}

/// Returns the samples of each subject that takes part. A subject that fails is reported
/// on stderr and left out.
pub fn scenario<'a>(
    scenario: &Scenario,
    subjects: &[&'a dyn Subject],
    effort: Effort,
) -> Vec<Samples<'a>> {
    let rounds = match scenario.measure {
        Measure::Time | Measure::Rate { .. } => effort.rounds,
        // Neither depends much on other load of the machine.
        Measure::Resident => effort.rounds.min(3),
        Measure::Allocations => 1,
    };
    let mut contestants: Vec<Contestant<'a>> = subjects
        .iter()
        .filter_map(|subject| {
            report(
                *subject,
                scenario,
                Contestant::new(*subject, scenario, effort),
            )
            .flatten()
        })
        .collect();
    for round in 0..rounds {
        // Each round begins with another subject, so that predecessors vary.
        let count = contestants.len().max(1);
        for turn in 0..contestants.len() {
            let contestant = &mut contestants[(round + turn) % count];
            if contestant.failed {
                continue;
            }
            let sample = contestant.gauge.sample();
            match report(contestant.samples.subject, scenario, sample) {
                Some(value) => contestant.samples.values.push(value),
                None => contestant.failed = true,
            }
        }
    }
    contestants
        .into_iter()
        .filter(|contestant| !contestant.failed)
        .map(|contestant| contestant.samples)
        .collect()
}

/// Makes `hosts` hosts in this process, and returns the KiB that each takes.
pub fn resident(subject: &dyn Subject, scenario: &Scenario, hosts: u64) -> Result<Option<f64>> {
    let Some(make) = subject.prepare(&scenario.task())? else {
        return Ok(None);
    };
    let mut work = make()?;
    // The first few also allocate what all share.
    work.run(8)?;
    let before = resident_kib()?;
    work.run(hosts)?;
    Ok(Some((resident_kib()? - before) / hosts as f64))
}

/// Repeats a scenario's work and does nothing else, for use under a profiler.
pub fn plain(subject: &dyn Subject, scenario: &Scenario, times: u64) -> Result<()> {
    let make = subject.prepare(&scenario.task())?;
    make.ok_or("the subject has no part in this scenario")?()?.run(times)
}

fn report<T>(subject: &dyn Subject, scenario: &Scenario, outcome: Result<T>) -> Option<T> {
    outcome
        .inspect_err(|error| eprintln!("{} left {}: {error}", subject.name(), scenario.name))
        .ok()
}

struct Contestant<'a> {
    samples: Samples<'a>,
    gauge: Box<dyn Gauge + 'a>,
    failed: bool,
}

impl<'a> Contestant<'a> {
    fn new(subject: &'a dyn Subject, scenario: &Scenario, effort: Effort) -> Result<Option<Self>> {
        let Some(make) = subject.prepare(&scenario.task())? else {
            return Ok(None);
        };
        let gauge: Box<dyn Gauge> = match scenario.measure {
            Measure::Time => Box::new(Stopwatch::new(make()?, effort.slice)?),
            // Longer, so that the scheduling of new threads has little weight.
            Measure::Rate { threads } => Box::new(Crew::new(make, threads, 5 * effort.slice)?),
            Measure::Allocations => Box::new(Counter(make()?)),
            Measure::Resident => Box::new(Child {
                subject: subject.name(),
                scenario: scenario.name,
                hosts: effort.hosts,
            }),
        };
        Ok(Some(Self {
            samples: Samples {
                subject,
                values: Vec::new(),
            },
            gauge,
            failed: false,
        }))
    }
}

trait Gauge {
    fn sample(&mut self) -> Result<f64>;
}

/// Measures the nanoseconds of each repetition, on this thread.
struct Stopwatch {
    work: Box<dyn Work>,
    times: u64,
}

impl Stopwatch {
    fn new(mut work: Box<dyn Work>, slice: Duration) -> Result<Self> {
        work.run(1)?;
        let times = turns_within(&mut *work, slice)?;
        Ok(Self { work, times })
    }
}

impl Gauge for Stopwatch {
    fn sample(&mut self) -> Result<f64> {
        let taken = self.work.time(self.times)?;
        Ok(taken.as_nanos() as f64 / self.times as f64)
    }
}

/// Estimates the repetitions that fill `slice`; at least one.
fn turns_within(work: &mut dyn Work, slice: Duration) -> Result<u64> {
    let mut times = 1;
    loop {
        let start = Instant::now();
        work.run(times)?;
        let taken = start.elapsed();
        if taken >= slice / 8 {
            let each = taken.as_secs_f64() / times as f64;
            return Ok((slice.as_secs_f64() / each).max(1.0) as u64);
        }
        times *= 2;
    }
}

/// Measures the repetitions per second of threads that start together, each with its own
/// work.
struct Crew {
    workers: Vec<Worker>,
}

struct Worker {
    /// Ends the thread when it is dropped.
    orders: Sender<()>,
    shifts: Receiver<Result<Shift>>,
}

/// The work of one thread in one round.
struct Shift {
    turns: u64,
    began: Instant,
    ended: Instant,
}

impl Crew {
    fn new(make: Maker, threads: usize, slice: Duration) -> Result<Self> {
        let make = Arc::new(make);
        let start = Arc::new(Barrier::new(threads));
        let workers: Vec<Worker> = (0..threads)
            .map(|_| {
                let (orders, ordered) = channel();
                let (answer, shifts) = channel();
                let (make, start) = (make.clone(), start.clone());
                thread::spawn(move || worker(&**make, &ordered, &answer, &start, slice));
                Worker { orders, shifts }
            })
            .collect();
        let crew = Self { workers };
        // Each thread does one shift first, to signal that it is ready.
        crew.shifts()?;
        Ok(crew)
    }

    fn shifts(&self) -> Result<Vec<Shift>> {
        let shifts = self.workers.iter().map(|worker| worker.shifts.recv()?);
        shifts.collect()
    }
}

impl Gauge for Crew {
    /// Spans the first thread's start to the last thread's end, so that threads that did
    /// not run in parallel do not count as if they had.
    fn sample(&mut self) -> Result<f64> {
        for worker in &self.workers {
            worker.orders.send(())?;
        }
        let shifts = self.shifts()?;
        let turns: u64 = shifts.iter().map(|shift| shift.turns).sum();
        let began = shifts.iter().map(|shift| shift.began).min();
        let ended = shifts.iter().map(|shift| shift.ended).max();
        let (began, ended) = began.zip(ended).ok_or("nobody worked")?;
        Ok(turns as f64 / (ended - began).as_secs_f64())
    }
}

fn worker(
    make: &(dyn Fn() -> Result<Box<dyn Work>> + Send + Sync),
    orders: &Receiver<()>,
    answer: &Sender<Result<Shift>>,
    start: &Barrier,
    slice: Duration,
) {
    let ready = make().and_then(|mut work| {
        let batch = turns_within(&mut *work, slice / 64)?;
        let first = shift(&mut *work, batch, slice)?;
        Ok((work, batch, first))
    });
    let (mut work, batch) = match ready {
        Ok((work, batch, first)) => {
            let _ = answer.send(Ok(first));
            (work, batch)
        }
        Err(error) => {
            let _ = answer.send(Err(error));
            return;
        }
    };
    while orders.recv().is_ok() {
        start.wait();
        if answer.send(shift(&mut *work, batch, slice)).is_err() {
            return;
        }
    }
}

/// Works in batches until `slice` has passed.
fn shift(work: &mut dyn Work, batch: u64, slice: Duration) -> Result<Shift> {
    let began = Instant::now();
    let mut turns = 0;
    loop {
        work.run(batch)?;
        turns += batch;
        let ended = Instant::now();
        if ended - began >= slice {
            return Ok(Shift {
                turns,
                began,
                ended,
            });
        }
    }
}

/// Counts the allocations of each repetition.
struct Counter(Box<dyn Work>);

impl Gauge for Counter {
    fn sample(&mut self) -> Result<f64> {
        // Reused buffers have their final size after the first repetitions.
        self.0.run(100)?;
        let (outcome, counted) = allocations::during(|| self.0.run(COUNTED_TURNS));
        outcome?;
        Ok(counted as f64 / COUNTED_TURNS as f64)
    }
}

const COUNTED_TURNS: u64 = 1000;

/// Measures resident memory in a new process of this program, with an unused heap.
struct Child {
    subject: &'static str,
    scenario: &'static str,
    hosts: u64,
}

impl Gauge for Child {
    fn sample(&mut self) -> Result<f64> {
        let output = Command::new(std::env::current_exe()?)
            .args(["resident", "--subjects", self.subject])
            .args(["--scenario", self.scenario])
            .args(["--times", &self.hosts.to_string()])
            .output()?;
        if !output.status.success() {
            return Err(String::from_utf8_lossy(&output.stderr).into());
        }
        Ok(String::from_utf8(output.stdout)?.trim().parse()?)
    }
}

fn resident_kib() -> Result<f64> {
    let statm = std::fs::read_to_string("/proc/self/statm")?;
    let pages: f64 = statm
        .split(' ')
        .nth(1)
        .ok_or("an unknown form of /proc/self/statm")?
        .parse()?;
    // The page size on the supported machines, which is the unit of statm.
    Ok(pages * 4.0)
}
