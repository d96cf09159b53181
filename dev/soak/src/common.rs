//! The options and helpers that all subcommands share.

use std::{
    error::Error,
    num::NonZeroUsize,
    thread,
    time::{Duration, Instant},
};

use clap::Args;
use wapc_host::{BoxError, WapcHost};

use crate::engine::Engine;

/// Options that all subcommands have.
#[derive(Clone, Debug, Args)]
pub(crate) struct Common {
    /// The engine: wasmtime, wasmi, tiered or all
    #[arg(long, default_value = "all", value_name = "NAME", value_parser = engines)]
    engine: Engines,

    /// The number of calling threads [default: one for each processor]
    #[arg(long, value_name = "N")]
    threads: Option<NonZeroUsize>,
}

#[derive(Clone, Debug)]
struct Engines(Vec<Engine>);

fn engines(name: &str) -> Result<Engines, String> {
    let named: Vec<Engine> = Engine::ALL
        .into_iter()
        .filter(|engine| name == "all" || name == engine.name())
        .collect();
    match named.is_empty() {
        true => Err("an engine is one of wasmtime, wasmi, tiered, all".to_owned()),
        false => Ok(Engines(named)),
    }
}

impl Common {
    pub(crate) fn engines(&self) -> impl Iterator<Item = Engine> {
        self.engine.0.iter().copied()
    }

    pub(crate) fn threads(&self) -> usize {
        let threads = self
            .threads
            .or_else(|| thread::available_parallelism().ok());
        threads.map_or(1, NonZeroUsize::get)
    }
}

/// The callback of hosts whose guests make no host calls.
pub(crate) fn no_host_calls(
    _id: u64,
    _binding: &str,
    _namespace: &str,
    _operation: &str,
    _payload: &[u8],
) -> Result<Vec<u8>, BoxError> {
    Err("no guest of this run calls its host".into())
}

/// Formats an error and its sources on one line.
pub(crate) fn chain(error: &dyn Error) -> String {
    let mut words = error.to_string();
    let mut source = error.source();
    while let Some(error) = source {
        words = format!("{words}: {error}");
        source = error.source();
    }
    words
}

/// Waits until a tiered host runs the optimized tier. Returns `false` if that takes
/// longer than [`PATIENCE`].
pub(crate) fn wait_for_tier_up(host: &WapcHost, from: u64) -> bool {
    let deadline = Instant::now() + PATIENCE;
    while host.generation() == from {
        if Instant::now() > deadline {
            return false;
        }
        thread::sleep(Duration::from_millis(1));
    }
    true
}

/// The time limit for events that must happen.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

/// The number of failures of all threads, and descriptions of the first ones.
#[derive(Debug, Default)]
pub(crate) struct Failures {
    pub(crate) count: u64,
    pub(crate) words: Vec<String>,
}

impl Failures {
    pub(crate) fn add(&mut self, words: impl FnOnce() -> String) {
        self.count += 1;
        if self.words.len() < TOLD {
            self.words.push(words());
        }
    }

    pub(crate) fn merge(&mut self, mut other: Self) {
        self.count += other.count;
        self.words.append(&mut other.words);
        self.words.truncate(TOLD);
    }
}

/// The number of failures that are described.
const TOLD: usize = 3;
