//! Guests' log lines and output, on standard error.

use log::{Level, LevelFilter, Log, Metadata, Record};
use wapc_host::{error::Printable, wasi::Capture};

use crate::tell;

/// Starts to print guests' log lines and the engines' warnings.
pub(crate) fn start() {
    // Fails if the process has a logger already, which then stays.
    if log::set_logger(&STDERR_LOG).is_ok() {
        log::set_max_level(LevelFilter::Info);
    }
}

/// Prints the guest's standard output and standard error.
pub(crate) fn show_output(capture: &Capture) {
    let bytes = capture.take();
    for line in String::from_utf8_lossy(&bytes).lines() {
        tell(format_args!("[guest output] {}", Printable::line(line)));
    }
    let dropped = capture.dropped_bytes();
    if dropped > 0 {
        tell(format_args!(
            "note: {dropped} more bytes of the guest's output are not shown"
        ));
    }
}

static STDERR_LOG: StderrLog = StderrLog;

struct StderrLog;

impl Log for StderrLog {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        metadata.target() == GUEST_TARGET || metadata.level() <= Level::Warn
    }

    fn log(&self, record: &Record<'_>) {
        if self.enabled(record.metadata()) {
            // The host has escaped what guests say, but an engine's warning may quote a module.
            tell(Printable::line(&record.args().to_string()));
        }
    }

    fn flush(&self) {}
}

/// The target of guests' log lines, set by `wapc-host`.
const GUEST_TARGET: &str = "wapc::guest";
