//! Our waPC host beside hand-written floors and its peers, in one run. See the README.

mod allocations;
mod args;
mod guests;
mod interruption;
mod measure;
mod plot;
mod results;
mod scenarios;
mod subject;
mod subjects;
mod table;

use std::process::ExitCode;

use args::{Args, Command, means};
use results::{Machine, Report};
use scenarios::{SCENARIOS, Scenario};
use subject::{Result, Subject};

#[global_allocator]
static ALLOCATOR: allocations::Counting = allocations::Counting;

fn main() -> ExitCode {
    match Args::parse(std::env::args().skip(1)).and_then(|args| run(&args)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("wapc-bench: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run(args: &Args) -> Result<()> {
    let all = subjects::all();
    let subjects: Vec<&dyn Subject> = all
        .iter()
        .map(|subject| &**subject)
        .filter(|subject| selected(&args.subjects, subject.name()))
        .collect();
    let scenarios: Vec<&Scenario> = SCENARIOS
        .iter()
        .filter(|scenario| selected(&args.scenarios, scenario.name))
        .collect();
    match args.command {
        Command::Run => compare(args, &subjects, &scenarios)?,
        Command::List => list(&subjects, &scenarios),
        Command::Repeat => {
            let (subject, scenario) = one_of_each(&all, args)?;
            measure::plain(subject, scenario, args.times)?;
        }
        Command::Resident => {
            let (subject, scenario) = one_of_each(&all, args)?;
            let kib = measure::resident(subject, scenario, args.times)?;
            println!("{}", kib.ok_or("the subject has no part in this scenario")?);
        }
        Command::Interruption => interruption::measure(args.effort.rounds, COMPILES)?,
        Command::Help => print!("{}", args::USAGE),
    }
    Ok(())
}

/// The times that `interruption` compiles a module.
const COMPILES: usize = 9;

fn compare(args: &Args, subjects: &[&dyn Subject], scenarios: &[&Scenario]) -> Result<()> {
    let mut outcomes = Vec::new();
    for scenario in scenarios {
        eprintln!("{}", scenario.name);
        let samples = measure::scenario(scenario, subjects, args.effort);
        outcomes.extend(results::outcomes(scenario, &samples));
    }
    let report = Report {
        machine: Machine::here(),
        rounds: args.effort.rounds,
        results: outcomes,
    };
    println!(
        "{}, {} threads, {}; {} rounds.\n",
        report.machine.processor, report.machine.threads, report.machine.os, report.rounds
    );
    print!("{}", table::all(subjects, &report.results));
    if let Some(path) = &args.json {
        std::fs::write(path, serde_json::to_string_pretty(&report)?)?;
    }
    if let Some(path) = &args.svg {
        std::fs::write(path, plot::echo(subjects, &report.results)?)?;
    }
    Ok(())
}

fn list(subjects: &[&dyn Subject], scenarios: &[&Scenario]) {
    for scenario in scenarios {
        println!("{:22} {}", scenario.name, scenario.group.title());
    }
    println!();
    for subject in subjects {
        println!("{:28} {}", subject.name(), subject.about());
    }
}

/// Finds by full name, for commands on one subject in one scenario.
fn one_of_each<'a>(
    subjects: &'a [Box<dyn Subject>],
    args: &Args,
) -> Result<(&'a dyn Subject, &'static Scenario)> {
    let subject = subjects
        .iter()
        .find(|subject| args.subjects == [subject.name()])
        .ok_or("name one subject with --subjects")?;
    let scenario = SCENARIOS
        .iter()
        .find(|scenario| args.scenarios == [scenario.name])
        .ok_or("name one scenario with --scenario")?;
    Ok((&**subject, scenario))
}

fn selected(filters: &[String], name: &str) -> bool {
    filters.is_empty() || filters.iter().any(|filter| means(filter, name))
}
