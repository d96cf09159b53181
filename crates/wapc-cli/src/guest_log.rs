//! Shows on standard error what guests write.

use log::{Level, LevelFilter, Log, Metadata, Record};
use wapc_host::Capture;

use crate::{printable::Printable, tell};

/// Shows guests' log lines as they come, and warnings of the engines.
pub(crate) fn start() {
    // Somebody else's logger, where this runs in their process, stays.
    if log::set_logger(&STDERR_LOG).is_ok() {
        log::set_max_level(LevelFilter::Info);
    }
}

/// Shows what the guest wrote to its standard output and standard error.
pub(crate) fn show_output(capture: &Capture) {
    let bytes = capture.take();
    for line in String::from_utf8_lossy(&bytes).lines() {
        tell(format_args!("[guest output] {}", Printable::line(line)));
    }
    let dropped = capture.dropped_bytes();
    if dropped > 0 {
        tell(format_args!(
            "note: {dropped} bytes more of the guest's output are not shown"
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
            tell(Printable::line(&record.args().to_string()));
        }
    }

    fn flush(&self) {}
}

/// What the core marks guests' log lines with.
const GUEST_TARGET: &str = "wapc::guest";
