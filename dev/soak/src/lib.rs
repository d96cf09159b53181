//! Tests of the host's promises under load: each subcommand of `soak` drives hosts
//! on each engine from many threads, and gives a verdict on each promise.
//!
//! ```
//! use clap::Parser;
//! use soak::Arguments;
//!
//! let arguments = Arguments::parse_from(["soak", "swaps", "--engine", "wasmi", "--calls", "100", "--swaps", "10"]);
//! let report = soak::run(&arguments)?;
//! println!("{report}");
//! assert!(report.all_kept());
//! # Ok::<(), wapc_host::BoxError>(())
//! ```

#![forbid(unsafe_code)]

mod bad_swaps;
mod common;
mod engine;
mod guests;
mod histogram;
mod kills;
mod latency;
mod load;
mod memory;
mod process;
mod report;
mod swaps;
mod tiers;
mod traps;

use std::{fs, path::PathBuf};

use clap::{Parser, Subcommand};
use wapc_host::BoxError;

pub use engine::Engine;
pub use report::{Report, Verdict};

/// The command line.
#[derive(Clone, Debug, Parser)]
#[command(name = "soak", about = "Tests the host's promises under load")]
pub struct Arguments {
    #[command(subcommand)]
    command: Command,

    /// Draw the measurements into this file
    #[arg(long, global = true, value_name = "PATH")]
    svg: Option<PathBuf>,
}

#[derive(Clone, Debug, Subcommand)]
enum Command {
    /// Calls during swaps: none fails, none is answered by old code
    Swaps(swaps::Options),
    /// Swaps to modules that are refused: the old code stays in service
    BadSwaps(bad_swaps::Options),
    /// Calls that are cancelled or out of time as they end: each has its own end
    Kills(kills::Options),
    /// Latency of calls while large modules are swapped in
    Latency(latency::Options),
    /// Memory over many swaps
    Memory(memory::Options),
    /// Time to the first answer and calls per second of two tiers, beside one
    Tiers(tiers::Options),
    /// Memory over many calls that trap or run out of time
    Traps(traps::Options),
}

/// Runs the subcommand.
///
/// # Errors
///
/// If a host cannot be made or a file cannot be written. A broken promise is no
/// error: see [`Report::all_kept`].
pub fn run(arguments: &Arguments) -> Result<Report, BoxError> {
    let report = match &arguments.command {
        Command::Swaps(options) => swaps::run(options),
        Command::BadSwaps(options) => bad_swaps::run(options),
        Command::Kills(options) => kills::run(options),
        Command::Latency(options) => latency::run(options),
        Command::Memory(options) => memory::run(options),
        Command::Tiers(options) => tiers::run(options),
        Command::Traps(options) => traps::run(options),
    }?;
    if let Some(path) = &arguments.svg {
        if report.charts.is_empty() {
            return Err("this subcommand has no charts".into());
        }
        fs::write(path, charts::svg(&report.charts))
            .map_err(|error| format!("{}: {error}", path.display()))?;
    }
    Ok(report)
}
