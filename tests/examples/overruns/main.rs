//! How exact each limit is: how far past it a guest gets that goes as far as it
//! can, on each engine.
//!
//! `cargo run --release -p conformance --example overruns`. Everything is seen
//! from outside: what the callback and the logger get, what the guest says of
//! its memory, what an error says was spent, and the time until a call returns.
//! Exits with 1 if a limit was passed by more than the documents say, or was
//! not reached at all.

mod amounts;
mod fuel;
mod guests;
mod times;

use std::{error::Error, process::ExitCode};

use conformance::own_process;

fn main() -> Result<ExitCode, Box<dyn Error>> {
    if !own_process::has_silent_input() {
        // One of the guests reads from a standard input on which nothing comes.
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
    Ok(verdict.told())
}

/// What is not as the documents say.
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

    fn told(&self) -> ExitCode {
        for wrong in &self.wrong {
            println!("WRONG: {wrong}");
        }
        if self.wrong.is_empty() {
            println!("Every limit is kept.");
            return ExitCode::SUCCESS;
        }
        ExitCode::FAILURE
    }
}
