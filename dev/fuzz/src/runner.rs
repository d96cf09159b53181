//! Runs executions on all processors, and catches their panics.

use std::{
    any::Any,
    collections::BTreeMap,
    fmt, panic, process,
    sync::atomic::{AtomicBool, AtomicU64, Ordering},
    thread,
    time::{Duration, Instant},
};

use parking_lot::Mutex;

use crate::log_lines;

/// One execution: a function of its seed. It counts events in the [`Tally`], and
/// fails with a description of the first difference.
pub type Execute<'e> = dyn Fn(u64, &mut Tally) -> Result<(), String> + Sync + 'e;

/// Counts of events, by name.
pub type Tally = BTreeMap<String, u64>;

/// The executions to run.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct Run {
    /// The seed of the first execution; the others have the next seeds.
    pub seed: u64,
    /// The number of executions.
    pub executions: u64,
    /// The number of threads.
    pub threads: usize,
    /// Prints the progress on standard error from time to time.
    pub progress: bool,
}

impl Run {
    /// Plans this many executions from this seed, on all processors, without output.
    #[must_use]
    pub fn new(seed: u64, executions: u64) -> Self {
        Self {
            seed,
            executions,
            threads: thread::available_parallelism().map_or(1, usize::from),
            progress: false,
        }
    }

    /// Runs the executions. Failures are printed on standard error at once, with
    /// their seeds.
    ///
    /// An execution that does not end within [`LONGEST`] ends the process,
    /// since a thread cannot be stopped: with exit code 1 and its seed.
    ///
    /// # Panics
    ///
    /// If a thread cannot be started.
    #[must_use]
    pub fn run(self, execute: &Execute<'_>) -> Summary {
        log_lines::collect();
        let begun = Instant::now();
        let state = State {
            next: AtomicU64::new(0),
            done: AtomicU64::new(0),
            failures: AtomicU64::new(0),
            over: AtomicBool::new(false),
            summary: Mutex::new(Summary::default()),
        };
        let threads = self.threads.max(1);
        let watches: Vec<_> = (0..threads).map(|_| Mutex::new(None)).collect();
        thread::scope(|scope| {
            let workers: Vec<_> = watches
                .iter()
                .map(|watch| {
                    thread::Builder::new()
                        .stack_size(STACK_BYTES)
                        .spawn_scoped(scope, || self.work(&state, watch, execute))
                        .expect("the system has room for a thread")
                })
                .collect();
            let watcher = scope.spawn(|| self.watch(&state, &watches, begun));
            for worker in workers {
                if let Err(panic) = worker.join() {
                    panic::resume_unwind(panic);
                }
            }
            state.over.store(true, Ordering::Relaxed);
            watcher.thread().unpark();
        });
        let mut summary = state.summary.into_inner();
        summary.elapsed = begun.elapsed();
        summary
    }

    fn work(self, state: &State, watch: &Watch, execute: &Execute<'_>) {
        let mut own = Summary::default();
        loop {
            let index = state.next.fetch_add(1, Ordering::Relaxed);
            if index >= self.executions {
                break;
            }
            let seed = self.seed.wrapping_add(index);
            *watch.lock() = Some((seed, Instant::now()));
            // Unwind-safe: executions share only engines, whose state guests cannot
            // reach.
            let execution = panic::AssertUnwindSafe(|| execute(seed, &mut own.tally));
            let failure = match panic::catch_unwind(execution) {
                Ok(Ok(())) => None,
                Ok(Err(difference)) => {
                    own.differences += 1;
                    Some(format!("seed {seed}: difference: {difference}"))
                }
                Err(panic) => {
                    own.panics += 1;
                    Some(format!("seed {seed}: panic: {}", text(&*panic)))
                }
            };
            own.executions += 1;
            state.done.fetch_add(1, Ordering::Relaxed);
            drop(log_lines::take());
            if let Some(failure) = failure {
                own.failed_seeds.push(seed);
                if state.failures.fetch_add(1, Ordering::Relaxed) < SHOWN_FAILURES {
                    eprintln!("{failure}");
                }
            }
        }
        *watch.lock() = None;
        state.summary.lock().add(own);
    }

    /// Ends the process if an execution takes too long.
    fn watch(self, state: &State, watches: &[Watch], begun: Instant) {
        let mut reported = 0;
        while !state.over.load(Ordering::Relaxed) {
            thread::park_timeout(Duration::from_secs(1));
            for watch in watches {
                if let Some((seed, since)) = *watch.lock()
                    && since.elapsed() > LONGEST
                {
                    eprintln!("seed {seed}: does not end within {} s", LONGEST.as_secs());
                    process::exit(1);
                }
            }
            let seconds = begun.elapsed().as_secs();
            if self.progress && seconds >= reported + PROGRESS_SECONDS {
                reported = seconds;
                let done = state.done.load(Ordering::Relaxed);
                eprintln!(
                    "{done} executions in {seconds} s, up to about seed {}",
                    self.seed.wrapping_add(done)
                );
            }
        }
    }
}

/// The time limit of an execution; most take a thousandth of it.
pub const LONGEST: Duration = Duration::from_secs(120);

/// The native stack of each thread. wasmi 2.0.0 leaves a frame on it for each
/// `memory.grow` and `table.grow` (<https://github.com/wasmi-labs/wasmi/pull/1946>),
/// and for each instruction in a build with debug assertions, until the guest
/// returns, so a guest can overflow it. This size suffices for generated guests and
/// their fuel.
const STACK_BYTES: usize = 256 << 20;

const PROGRESS_SECONDS: u64 = 15;

/// The failures that are printed: one defect fails many executions.
const SHOWN_FAILURES: u64 = 20;

/// The seed that a thread runs, and its start time.
type Watch = Mutex<Option<(u64, Instant)>>;

struct State {
    next: AtomicU64,
    done: AtomicU64,
    failures: AtomicU64,
    over: AtomicBool,
    summary: Mutex<Summary>,
}

/// The counts of executions and failures.
///
/// Its `Display` is the last line of a run: `N executions, N differences, N
/// panics`.
#[derive(Debug, Default)]
#[non_exhaustive]
pub struct Summary {
    /// The number of executions.
    pub executions: u64,
    /// The number of executions with a difference.
    pub differences: u64,
    /// The number of executions that panicked.
    pub panics: u64,
    /// The seeds of failed executions, in ascending order.
    pub failed_seeds: Vec<u64>,
    /// The events of all executions.
    pub tally: Tally,
    /// The duration of the run.
    pub elapsed: Duration,
}

impl Summary {
    /// Returns `true` if no execution failed.
    #[must_use]
    pub const fn is_clean(&self) -> bool {
        self.differences == 0 && self.panics == 0
    }

    fn add(&mut self, other: Self) {
        self.executions += other.executions;
        self.differences += other.differences;
        self.panics += other.panics;
        self.failed_seeds.extend(other.failed_seeds);
        self.failed_seeds.sort_unstable();
        for (name, count) in other.tally {
            *self.tally.entry(name).or_default() += count;
        }
    }
}

impl fmt::Display for Summary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} executions, {} differences, {} panics",
            self.executions, self.differences, self.panics
        )
    }
}

/// Returns the message of a panic.
fn text(panic: &(dyn Any + Send)) -> &str {
    panic
        .downcast_ref::<String>()
        .map(String::as_str)
        .or_else(|| panic.downcast_ref::<&str>().copied())
        .unwrap_or("(no text)")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn failures_are_counted_with_their_seeds() {
        let summary = Run::new(10, 20).run(&|seed, tally| {
            *tally.entry("met".to_owned()).or_default() += 1;
            match seed {
                12 => Err("on purpose".to_owned()),
                15 => panic::resume_unwind(Box::new("on purpose")),
                _ => Ok(()),
            }
        });
        assert_eq!(
            summary.to_string(),
            "20 executions, 1 differences, 1 panics"
        );
        assert_eq!(summary.failed_seeds, [12, 15]);
        assert_eq!(summary.tally.get("met"), Some(&20));
        assert!(!summary.is_clean());
    }
}
