//! Dropping instances of old code, and idle ones.

use std::{sync::Arc, time::Instant};

use super::shared::{HostShared, Idle};
use crate::{
    clock,
    pool::{Slot, SlotGuard},
    sync::atomic::{Ordering, fence},
};

impl HostShared {
    /// Drops, on this thread, the idle instances of code older than
    /// `generation`, and installs prepared ones in their slots. Busy ones are
    /// dropped when their caller releases them.
    #[cold]
    pub(super) fn retire_before(&self, mut generation: u64) {
        loop {
            // After this fence, any holder whose slot we see locked observes the
            // new generation when it releases it (`RetireOld::drop`).
            fence(Ordering::SeqCst);
            self.pool
                .for_each_free(|guard| self.refresh(guard, generation));
            fence(Ordering::SeqCst);
            // A concurrent swap may have seen one of our slots locked and
            // skipped it, so retire again if there is a newer generation.
            match self.generation() {
                newer if newer > generation => generation = newer,
                _ => break,
            }
        }
    }

    /// Retires old code whose caller has released it without observing the
    /// swap. Returns `true` if there may be more.
    fn retire_missed(&self) -> bool {
        let current = self.generation();
        let may_hold_old = |slot: &Slot| slot.may_hold_before(current);
        if self.pool.slots().any(may_hold_old) {
            self.retire_before(current);
        }
        self.pool.slots().any(may_hold_old)
    }

    /// Retires code older than `generation`: idle instances now, busy ones when
    /// they are released.
    pub(super) fn retire_all_before(&self, generation: u64) {
        self.retire_before(generation);
        if self.retire_missed() {
            // The clock retries every `MAINTENANCE_INTERVAL`. If it cannot
            // start, callers retire old code on release.
            _ = clock::wake();
        }
    }

    /// Drops the instance of a free slot if it is of code older than
    /// `generation`, and installs a prepared one in its slot.
    pub(crate) fn refresh(&self, mut guard: SlotGuard<'_>, generation: u64) {
        if guard.state.generation >= generation {
            return;
        }
        let old = guard.slot().take(&mut guard.state);
        let code = Arc::clone(&self.published().current);
        if let Some(instance) = code.ready() {
            self.install(&mut guard, &code, instance);
        }
        drop(guard);
        drop(old);
    }

    /// Drops instances that have been idle for `idle_timeout`, but keeps
    /// `min_idle` instances. Returns `true` if there may be more to drop later.
    fn retire_idle(&self) -> bool {
        let Some(after) = self.settings.idle_timeout else {
            return false;
        };
        let now = Instant::now();
        let mut idle = self.idle.lock();
        let slots: Vec<_> = self.pool.slots().collect();
        idle.resize(
            slots.len(),
            Idle {
                calls: 0,
                since: now,
            },
        );
        let mut live = slots
            .iter()
            .filter(|slot| slot.live.load(Ordering::Relaxed))
            .count();
        // The last slots first, since callers search from the first ones.
        for (slot, idle) in slots.iter().zip(idle.iter_mut()).rev() {
            let calls = slot.calls.load(Ordering::Relaxed);
            if calls != idle.calls {
                *idle = Idle { calls, since: now };
            } else if live > self.settings.min_idle
                && slot.live.load(Ordering::Relaxed)
                && now.duration_since(idle.since) >= after
                && let Some(mut guard) = slot.wait(now)
            {
                let old = guard.slot().take(&mut guard.state);
                drop(guard);
                drop(old);
                live -= 1;
            }
        }
        live > self.settings.min_idle
    }
}

impl clock::ClockClient for HostShared {
    fn running(&self) -> bool {
        self.working.load(Ordering::SeqCst) > 0
            || self
                .pool
                .slots()
                .any(|slot| slot.running.load(Ordering::SeqCst))
    }

    fn maintain(&self) -> bool {
        self.retire_missed() | self.retire_idle()
    }
}
