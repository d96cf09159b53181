//! The command `wapc`. The library of this crate implements it.

#![forbid(unsafe_code)]

use std::process::ExitCode;

use clap::Parser;
use wapc_cli::{Arguments, run};

fn main() -> ExitCode {
    match run(Arguments::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            error.show();
            error.status().into()
        }
    }
}
