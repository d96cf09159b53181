//! A short run of each target. Long runs are started by hand.

use std::path::Path;

use fuzz::{
    conversations,
    guests::Guests,
    inspect,
    runner::{Execute, Run},
    typed,
};

#[test]
fn conversations_match_the_model() {
    is_clean(5000, &conversations::execute);
}

#[test]
fn generated_guests_behave_the_same_on_each_engine() {
    let guests = Guests::new(Path::new(OUT));
    is_clean(100, &|seed, tally| guests.execute(seed, tally));
}

#[test]
fn arbitrary_bytes_have_a_report_or_are_refused() {
    is_clean(500, &|seed, tally| {
        inspect::execute(Path::new(OUT), seed, tally)
    });
}

#[test]
fn bad_payloads_and_descriptors_are_refused() {
    is_clean(5000, &typed::execute);
}

const OUT: &str = env!("CARGO_TARGET_TMPDIR");

fn is_clean(executions: u64, execute: &Execute<'_>) {
    let summary = Run::new(1, executions).run(execute);
    assert!(
        summary.is_clean(),
        "{summary}; seeds {:?}",
        summary.failed_seeds
    );
    assert_eq!(summary.executions, executions);
}
