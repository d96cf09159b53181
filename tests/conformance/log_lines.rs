//! The log lines of guests, collected.

use std::sync::{Mutex, PoisonError};

use log::{LevelFilter, Log, Metadata, Record};

struct Collector;

static COLLECTOR: Collector = Collector;
static LINES: Mutex<Vec<String>> = Mutex::new(vec![]);

impl Log for Collector {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        metadata.target() == "wapc::guest"
    }

    fn log(&self, record: &Record<'_>) {
        if self.enabled(record.metadata()) {
            let line = record.args().to_string();
            LINES
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .push(line);
        }
    }

    fn flush(&self) {}
}

/// Starts to collect log lines.
pub(crate) fn collect() {
    log::set_logger(&COLLECTOR).expect("there is no other logger");
    log::set_max_level(LevelFilter::Info);
}

/// Returns `true` if a guest has logged this line.
pub(crate) fn contain(line: &str) -> bool {
    LINES
        .lock()
        .unwrap_or_else(PoisonError::into_inner)
        .iter()
        .any(|logged| logged == line)
}
