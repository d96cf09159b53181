//! The accuracy of each limit: how far a guest gets past it, on each engine.
//!
//! `cargo run --release -p conformance --example overruns`. Everything is observed from
//! outside: the arguments of the callback and the logger, the guest's report of its
//! memory, the amount spent in the error, and the time until a call returns. Exits
//! with 1 if a limit was exceeded by more than the documents allow, or was not reached.

mod amounts;
mod fuel;
mod guests;
mod times;

use std::{error::Error, process::ExitCode};

use conformance::own_process;

fn main() -> Result<ExitCode, Box<dyn Error>> {
    if !own_process::has_silent_input() {
        // One of the guests reads from a standard input that stays silent.
        let (mut again, _open) = own_process::with_silent_input()?;
        return Ok(match again.status()?.success() {
            true => ExitCode::SUCCESS,
            false => ExitCode::FAILURE,
        });
    }
    let mut verdict = Verdict::default();
    amounts::measure(&mut verdict);
    println!();
    fuel::measure(&mut verdict);
    println!();
    times::measure(&mut verdict);
    println!();
    Ok(verdict.report())
}

/// The violations of what the documents say.
#[derive(Default)]
struct Verdict {
    wrong: Vec<String>,
}

impl Verdict {
    fn expect(&mut self, right: bool, what: impl FnOnce() -> String) {
        if !right {
            self.wrong.push(what());
        }
    }

    fn report(&self) -> ExitCode {
        for wrong in &self.wrong {
            println!("WRONG: {wrong}");
        }
        if self.wrong.is_empty() {
            println!("all limits hold");
            return ExitCode::SUCCESS;
        }
        ExitCode::FAILURE
    }
}
