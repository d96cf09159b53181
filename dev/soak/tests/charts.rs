//! Charts of a short run. In a process of its own, since other work of the process would
//! show in its memory.

use clap::Parser;
use soak::Arguments;

#[test]
fn charts_are_written() {
    let path = std::env::temp_dir().join(format!("soak-{}.svg", std::process::id()));
    let arguments = "memory --engine wasmi --threads 1 --swaps 50 --svg";
    let line = format!("soak {arguments} {}", path.display());
    let report = soak::run(&Arguments::parse_from(line.split(' '))).unwrap();
    assert!(report.all_kept(), "{report}");
    let svg = std::fs::read_to_string(&path).unwrap();
    std::fs::remove_file(&path).unwrap();
    assert_eq!(svg.matches("<polyline").count(), 2, "{svg}");
}
