//! A short run of each kind, on each engine.

use clap::Parser;
use soak::{Arguments, Report};

fn run(arguments: &str) -> Report {
    let words = ["soak"].into_iter().chain(arguments.split(' '));
    let report = soak::run(&Arguments::parse_from(words)).expect("the soak runs");
    assert!(report.all_kept(), "{report}");
    report
}

#[test]
fn no_call_fails_during_swaps() {
    run("swaps --threads 3 --calls 20000 --swaps 100");
}

#[test]
fn refused_swaps_leave_the_old_version_in_service() {
    run("bad-swaps --threads 2 --rounds 5");
}

#[test]
fn a_kill_ends_its_own_call() {
    run("kills --threads 2 --calls 40000");
}

#[test]
fn two_tiers_answer_sooner_than_the_compiler_and_become_as_fast() {
    run("tiers --threads 1 --length 4000");
}
