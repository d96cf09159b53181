//! The counters of errors, by kind.

use std::{
    fmt,
    sync::atomic::{AtomicU64, Ordering},
};

use super::{Error, ErrorKind};

/// The number of errors of each kind.
#[derive(Clone, PartialEq, Eq)]
pub struct ErrorCounts([u64; ErrorKind::ALL.len()]);

impl ErrorCounts {
    /// Returns the number of errors of this kind.
    #[must_use]
    pub fn of(&self, kind: ErrorKind) -> u64 {
        self.0.get(kind as usize).copied().unwrap_or_default()
    }

    /// Returns the number of errors of all kinds.
    #[must_use]
    pub fn total(&self) -> u64 {
        self.0.iter().sum()
    }
}

impl fmt::Debug for ErrorCounts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let counted = ErrorKind::ALL.iter().zip(self.0);
        f.debug_map()
            .entries(counted.filter(|(_, count)| *count > 0))
            .finish()
    }
}

/// The counters behind [`ErrorCounts`].
#[derive(Default)]
pub(crate) struct ErrorCounters([AtomicU64; ErrorKind::ALL.len()]);

impl ErrorCounters {
    #[cold]
    pub(crate) fn count(&self, error: &Error) {
        if let Some(counter) = self.0.get(error.kind() as usize) {
            counter.fetch_add(1, Ordering::Relaxed);
        }
    }

    pub(crate) fn read(&self) -> ErrorCounts {
        ErrorCounts(
            self.0
                .each_ref()
                .map(|counter| counter.load(Ordering::Relaxed)),
        )
    }
}
