//! What a host counts.

use std::{
    fmt,
    sync::atomic::{AtomicU64, Ordering},
    time::Duration,
};

use crate::{
    engine::tier::Tier,
    error::{Error, ErrorKind},
};

/// A host's numbers at one moment; see [`WapcHost::stats`](crate::WapcHost::stats).
///
/// Each is right by itself; they are read one after the other while calls go
/// on.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Stats {
    /// The number of the code that calls run on: 1, and one more for each swap
    /// and rollback.
    pub generation: u64,
    /// Which tier of their provider calls run on, whether another is to come,
    /// and if not, why.
    pub tier: Tier,
    /// How many instances there are.
    pub live: usize,
    /// How many of them no caller holds.
    pub idle: usize,
    /// How many callers wait for an instance.
    pub waiting: usize,
    /// How many calls have reached a guest and ended, well or badly.
    pub calls: u64,
    /// How many swaps and rollbacks have taken effect.
    pub swaps: u64,
    /// How long guests have run in timed calls, host calls included. Counted
    /// in ticks of 2 ms: right in the sum of many calls.
    pub time_in_guest: Duration,
    /// How many calls and swaps failed, by kind.
    pub errors: ErrorCounts,
}

/// How many errors of each kind there were.
#[derive(Clone, PartialEq, Eq)]
pub struct ErrorCounts([u64; ErrorKind::ALL.len()]);

impl ErrorCounts {
    /// How many were of this kind.
    #[must_use]
    pub fn of(&self, kind: ErrorKind) -> u64 {
        self.0.get(kind as usize).copied().unwrap_or_default()
    }

    /// How many there were in all.
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

/// Counts errors as they happen.
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

#[cfg(all(test, not(shuttle)))]
mod tests {
    use std::hint;

    use crate::{clock, engine::scripted::ScriptedProvider};

    #[test]
    fn time_in_guests_is_what_calls_have_taken() {
        let host = ScriptedProvider::new(|guest, op, msg| {
            let (operation, _) = guest.request(op, msg)?;
            let end = clock::now() + 5;
            while operation == "work" && clock::now() < end {
                hint::spin_loop();
            }
            guest.respond(b"")
        })
        .host()
        .unwrap();
        let before = clock::now();
        host.call("rest", b"").unwrap();
        let rested = host.stats().time_in_guest;
        host.call("work", b"").unwrap();
        let worked = host.stats().time_in_guest - rested;
        let passed = clock::duration_of(clock::now() - before);
        assert!(worked >= clock::duration_of(5), "{worked:?}");
        assert!(rested + worked <= passed, "{rested:?}, {worked:?}");
    }
}
