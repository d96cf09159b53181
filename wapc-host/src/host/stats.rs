//! A host's numbers at one moment.

use std::{sync::Arc, time::Duration};

use super::{generation::FIRST_GENERATION, shared::HostShared, tiers::Tier};
use crate::{
    clock,
    error::counts::ErrorCounts,
    pool::Slot,
    sync::atomic::{AtomicU64, Ordering},
};

/// A host's numbers at one moment; see [`WapcHost::stats`](crate::WapcHost::stats).
///
/// Each is right by itself; they are read one after the other while calls go
/// on.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Stats {
    /// The number of the code that calls run on: 1, and one more for each swap,
    /// rollback and move to an optimized tier.
    pub generation: u64,
    /// The tier that calls run on. On the baseline of
    /// [`Tiers`](crate::Tiers) it says whether the optimized tier is still to
    /// come, and if not, why.
    pub tier: Tier,
    /// How many instances there are.
    pub live: usize,
    /// How many of them no caller holds.
    pub idle: usize,
    /// How many callers wait for an instance.
    pub waiting: usize,
    /// How many calls have reached a guest and ended, well or badly.
    pub calls: u64,
    /// How many swaps, rollbacks and moves to an optimized tier have taken
    /// effect.
    pub swaps: u64,
    /// How long guests have run in timed calls, host calls included. Counted
    /// in ticks of 2 ms: right in the sum of many calls.
    pub time_in_guest: Duration,
    /// How many calls and swaps failed, by kind.
    pub errors: ErrorCounts,
}

impl HostShared {
    pub(crate) fn stats(&self) -> Stats {
        let generation = self.generation();
        let slots = self.pool.slots();
        let live = slots
            .iter()
            .filter(|slot| slot.live.load(Ordering::Relaxed))
            .count();
        let sum = |of: fn(&Slot) -> &AtomicU64| {
            slots
                .iter()
                .map(|slot| of(slot).load(Ordering::Relaxed))
                .fold(0, u64::wrapping_add)
        };
        let mut idle = 0;
        for slot in slots {
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
