//! Memory over short runs. In a process of its own, and one after the other, since
//! other work of the process would show in its memory.

use clap::Parser;
use soak::Arguments;

#[test]
fn memory_stays_flat() {
    for arguments in [
        "memory --threads 2 --swaps 1000",
        "traps --threads 2 --traps 2000 --expired 100",
    ] {
        let words = ["soak"].into_iter().chain(arguments.split(' '));
        let report = soak::run(&Arguments::parse_from(words)).unwrap();
        assert!(report.all_kept(), "{report}");
    }
}
