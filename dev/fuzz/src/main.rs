//! The command `fuzz`. The library of this crate implements it.

#![forbid(unsafe_code)]

use std::{path::PathBuf, process::ExitCode};

use clap::{Parser, ValueEnum};
use fuzz::{
    bombs, conversations,
    guests::Guests,
    inspect,
    runner::{Execute, Run},
    typed,
};

/// Seeded fuzzing of the waPC host.
#[derive(Debug, Parser)]
#[command(name = "fuzz")]
struct Arguments {
    /// The target
    #[arg(value_enum)]
    target: Target,

    /// The number of executions
    #[arg(long, value_name = "N")]
    executions: u64,

    /// The seed of the first execution; the others have the next seeds
    #[arg(long, default_value_t = 0)]
    seed: u64,

    /// The folder for the files of failed executions
    #[arg(long, value_name = "DIR", default_value = "target/fuzz")]
    out: PathBuf,

    /// Write the modules of `guests` to that folder without running them
    #[arg(long)]
    write: bool,

    /// Measure only those `bombs` that the default limits accept
    #[arg(long)]
    limited: bool,

    /// Compile the module in the file that `--out` names with this engine, and print what it cost
    #[arg(long, hide = true)]
    compile: Option<String>,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Target {
    /// The host under a scripted engine, against a model
    Conversations,
    /// Generated guests, compared between the engines
    Guests,
    /// Arbitrary bytes, through the reports of `wapc inspect`
    Inspect,
    /// Bad payloads, errors and descriptors of typed calls
    Typed,
    /// Modules that cost a compiler much: prints what each family costs
    Bombs,
}

fn bombs(arguments: &Arguments) -> ExitCode {
    let done = match &arguments.compile {
        Some(engine) => bombs::compile(engine, &arguments.out),
        None => bombs::search(arguments.limited),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let execute: Box<Execute<'_>> = match arguments.target {
        Target::Conversations => Box::new(conversations::execute),
        Target::Guests => {
            let guests = Guests::new(&arguments.out);
            let write = arguments.write;
            Box::new(move |seed, tally| match write {
                true => guests.write(seed),
                false => guests.execute(seed, tally),
            })
        }
        Target::Inspect => Box::new(|seed, tally| inspect::execute(&arguments.out, seed, tally)),
        Target::Typed => Box::new(typed::execute),
        Target::Bombs => return bombs(&arguments),
    };
    let mut run = Run::new(arguments.seed, arguments.executions);
    run.progress = true;
    let summary = run.run(&execute);
    for (met, count) in &summary.tally {
        println!("{count:>12} {met}");
    }
    let seconds = summary.elapsed.as_secs_f64();
    println!(
        "{:.0} executions/s in {seconds:.1} s",
        summary.executions as f64 / seconds
    );
    println!("{summary}");
    match summary.is_clean() {
        true => ExitCode::SUCCESS,
        false => ExitCode::FAILURE,
    }
}
