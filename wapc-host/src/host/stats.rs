//! A host's counters at one moment.

use std::{sync::Arc, time::Duration};

use super::{generation::FIRST_GENERATION, shared::HostShared, tiers::Tier};
use crate::{
    clock,
    error::counts::ErrorCounts,
    pool::Slot,
    sync::atomic::{AtomicU64, Ordering},
};

/// A host's counters at one moment; see [`WapcHost::stats`](crate::WapcHost::stats).
///
/// They are read one after the other while calls go on, so they need not add
/// up.
///
/// ```
/// use wapc_host::{engine::scripted::ScriptedProvider, error::ErrorKind};
///
/// let host = ScriptedProvider::new(|guest, op_length, msg_length| {
///     match guest.request(op_length, msg_length)? {
///         (operation, _) if operation == "ok" => guest.respond(b""),
///         _ => guest.fail(b"no such operation"),
///     }
/// })
/// .host()?;
/// host.call("ok", b"")?;
/// host.call("unknown", b"").unwrap_err();
///
/// let stats = host.stats();
/// assert_eq!((stats.calls, stats.live, stats.idle, stats.waiting), (2, 1, 1, 0));
/// assert_eq!(stats.errors.of(ErrorKind::Guest), 1);
/// # Ok::<(), wapc_host::Error>(())
/// ```
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Stats {
    /// The number of the code that new calls run: 1 at first, and one more
    /// after each swap, rollback and tier-up.
    pub generation: u64,
    /// The tier that calls run on. For a host on the baseline of
    /// [`Tiers`](crate::Tiers), the variant tells if the optimized tier is
    /// still expected or has failed.
    pub tier: Tier,
    /// The number of instances.
    pub live: usize,
    /// The number of instances that no caller holds.
    pub idle: usize,
    /// The number of callers that wait for an instance.
    pub waiting: usize,
    /// The number of calls that have reached a guest and ended, with or
    /// without an error.
    pub calls: u64,
    /// The number of swaps, rollbacks and tier-ups that have taken effect.
    pub swaps: u64,
    /// The time that guests have run in timed calls, host calls included. Each
    /// call is measured in ticks of 2 ms, so only the sum of many calls is
    /// meaningful.
    pub time_in_guest: Duration,
    /// The number of failed calls and swaps, by kind.
    pub errors: ErrorCounts,
}

impl HostShared {
    pub(super) fn stats(&self) -> Stats {
        let generation = self.generation();
        let live = self
            .pool
            .slots()
            .filter(|slot| slot.live.load(Ordering::Relaxed))
            .count();
        let sum = |of: fn(&Slot) -> &AtomicU64| {
            self.pool
                .slots()
                .map(|slot| of(slot).load(Ordering::Relaxed))
                .fold(0, u64::wrapping_add)
        };
        let mut idle = 0;
        for slot in self.pool.slots() {
            if slot.live.load(Ordering::Relaxed) && !slot.is_taken() {
                idle += 1;
            }
        }
        let current = Arc::clone(&self.published().current);
        Stats {
            generation,
            tier: current.tier.report(),
            live,
            idle,
            waiting: self.pool.waiting(),
            calls: sum(|slot| &slot.calls),
            swaps: generation - FIRST_GENERATION,
            time_in_guest: clock::duration_of(sum(|slot| &slot.ticks)),
            errors: self.errors.read(),
        }
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
