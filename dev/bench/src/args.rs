//! The command line.

use std::path::PathBuf;
use std::time::Duration;

use crate::measure::Effort;
use crate::subject::Result;

pub const USAGE: &str = "\
usage: wapc-bench [run] [OPTIONS]        measure, and write tables to stdout
       wapc-bench list                   name the scenarios and subjects
       wapc-bench repeat   --subjects S --scenario C --times N
                                         do the work N times, for an instrument around it
       wapc-bench interruption           the price of each way to interrupt guests that compute
       wapc-bench resident --subjects S --scenario C --times N
                                         KiB that each of N further hosts takes

  --scenario A,B    only these, by name or by the first words of it (echo, cold-large)
  --subjects A,B    only these, by name or by the first words of it (floor-wasmtime)
  --quick           5 short rounds: to see that all works, not to compare
  --rounds N        instead of 31
  --json FILE       write everything, each round's figure included
  --svg FILE        draw the echo scenarios
";

pub struct Args {
    pub command: Command,
    pub scenarios: Vec<String>,
    pub subjects: Vec<String>,
    pub json: Option<PathBuf>,
    pub svg: Option<PathBuf>,
    pub effort: Effort,
    /// The repetitions of `repeat`, and the hosts of `resident`.
    pub times: u64,
}

#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Command {
    Run,
    List,
    Repeat,
    Resident,
    Interruption,
    Help,
}

impl Args {
    pub fn parse(args: impl IntoIterator<Item = String>) -> Result<Self> {
        let mut parsed = Self {
            command: Command::Run,
            scenarios: Vec::new(),
            subjects: Vec::new(),
            json: None,
            svg: None,
            effort: FULL,
            times: 1,
        };
        let mut rounds = None;
        let mut args = args.into_iter();
        while let Some(arg) = args.next() {
            let mut value = || args.next().ok_or_else(|| format!("{arg} takes a value"));
            match arg.as_str() {
                "run" => parsed.command = Command::Run,
                "list" => parsed.command = Command::List,
                "repeat" => parsed.command = Command::Repeat,
                "interruption" => parsed.command = Command::Interruption,
                "resident" => parsed.command = Command::Resident,
                "help" | "--help" | "-h" => parsed.command = Command::Help,
                "--scenario" => parsed.scenarios.extend(names(&value()?)),
                "--subjects" => parsed.subjects.extend(names(&value()?)),
                "--quick" => parsed.effort = QUICK,
                "--rounds" => rounds = Some(value()?.parse()?),
                "--times" => parsed.times = value()?.parse()?,
                "--json" => parsed.json = Some(value()?.into()),
                "--svg" => parsed.svg = Some(value()?.into()),
                _ => return Err(format!("{arg}: not known here\n\n{USAGE}").into()),
            }
        }
        if let Some(rounds) = rounds {
            parsed.effort.rounds = rounds;
        }
        Ok(parsed)
    }
}

/// Returns `true` if a filter of the command line matches `name`, whole or by its first
/// words.
pub fn means(filter: &str, name: &str) -> bool {
    let rest = name.strip_prefix(filter);
    rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('-'))
}

const FULL: Effort = Effort {
    rounds: 31,
    slice: Duration::from_millis(20),
    hosts: 1000,
};

const QUICK: Effort = Effort {
    rounds: 5,
    slice: Duration::from_millis(2),
    hosts: 100,
};

fn names(list: &str) -> Vec<String> {
    list.split(',').map(str::to_owned).collect()
}
