//! The command `soak`. The library of this crate implements it.

#![forbid(unsafe_code)]

use std::process::ExitCode;

use clap::Parser;
use soak::Arguments;

fn main() -> ExitCode {
    match soak::run(&Arguments::parse()) {
        Ok(report) => {
            print!("{report}");
            match report.all_kept() {
                true => ExitCode::SUCCESS,
                false => ExitCode::FAILURE,
            }
        }
        Err(error) => {
            eprintln!("soak: {error}");
            ExitCode::from(2)
        }
    }
}
