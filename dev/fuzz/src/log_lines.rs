//! The log lines of guests, by thread: an execution has its thread to itself.

use std::cell::RefCell;

use log::{LevelFilter, Log, Metadata, Record};

struct Collector;

static COLLECTOR: Collector = Collector;

thread_local! {
    static LINES: RefCell<Vec<String>> = const { RefCell::new(vec![]) };
}

impl Log for Collector {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        metadata.target() == "wapc::guest"
    }

    fn log(&self, record: &Record<'_>) {
        if self.enabled(record.metadata()) {
            LINES.with_borrow_mut(|lines| lines.push(record.args().to_string()));
        }
    }

    fn flush(&self) {}
}

/// Starts to collect log lines.
pub(crate) fn collect() {
    // Fails if another run in this process has set the logger already.
    if log::set_logger(&COLLECTOR).is_ok() {
        log::set_max_level(LevelFilter::Info);
    }
}

/// Takes the lines that guests have logged on this thread.
pub(crate) fn take() -> Vec<String> {
    LINES.take()
}
