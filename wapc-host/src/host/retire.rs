//! Dropping instances of old code, and idle ones.

use std::{sync::Arc, time::Instant};

use super::inner::{Idle, Inner};
use crate::{
    clock,
    pool::{Held, Place},
    sync::atomic::{Ordering, fence},
};

impl Inner {
    /// Drops, in this thread, the idle instances of code older than
    /// `generation`, and puts those that are ready into their places. Busy ones
    /// go when their caller leaves them.
    #[cold]
    pub(crate) fn retire_before(&self, mut generation: u64) {
        loop {
            // Whoever leaves a place that is seen taken from here on sees that
            // its code is old.
            fence(Ordering::SeqCst);
            self.pool.for_each_free(|held| self.renew(held, generation));
            fence(Ordering::SeqCst);
            // What was ready may be old by now, in a place that the next swap
            // has seen taken.
            match self.generation() {
                newer if newer > generation => generation = newer,
                _ => break,
            }
        }
    }

    /// Retires old code that a swap has found busy, and that its caller has
    /// left without seeing the swap. Returns whether there may be more.
    fn retire_left(&self) -> bool {
        let current = self.generation();
        let may_hold_old = |place: &Place| place.may_hold_before(current);
        if self.pool.places().iter().any(may_hold_old) {
            self.retire_before(current);
        }
        self.pool.places().iter().any(may_hold_old)
    }

    /// Retires what is older than `generation`, now and as callers leave it.
    pub(crate) fn retire_all_before(&self, generation: u64) {
        self.retire_before(generation);
        if self.retire_left() {
            // It looks again. If it cannot start, callers do as a rule.
            _ = clock::wake();
        }
    }

    /// Drops the instance of a free place if it is of code older than
    /// `generation`; one that is ready takes its place.
    pub(crate) fn renew(&self, mut held: Held<'_>, generation: u64) {
        if held.slot.generation >= generation {
            return;
        }
        let old = held.place().vacate(&mut held.slot);
        let code = Arc::clone(&self.published().current);
        if let Some(instance) = code.ready() {
            self.occupy(&mut held, &code, instance);
        }
        drop(held);
        drop(old);
    }

    /// Drops instances that have been idle for too long, but for as many as
    /// are to be kept. Returns whether there may be more to drop later.
    fn retire_idle(&self) -> bool {
        let Some(after) = self.settings.idle_timeout else {
            return false;
        };
        let now = Instant::now();
        let mut idle = self.idle.lock();
        let places = self.pool.places();
        idle.resize(
            places.len(),
            Idle {
                calls: 0,
                since: now,
            },
        );
        let mut live = places
            .iter()
            .filter(|place| place.live.load(Ordering::Relaxed))
            .count();
        // The last places first: callers begin their search with the first.
        for (place, idle) in places.iter().zip(idle.iter_mut()).rev() {
            let calls = place.calls.load(Ordering::Relaxed);
            if calls != idle.calls {
                *idle = Idle { calls, since: now };
            } else if live > self.settings.min_idle
                && place.live.load(Ordering::Relaxed)
                && now.duration_since(idle.since) >= after
                && let Some(mut held) = place.wait(now)
            {
                let old = held.place().vacate(&mut held.slot);
                drop(held);
                drop(old);
                live -= 1;
            }
        }
        live > self.settings.min_idle
    }
}

impl clock::Clocked for Inner {
    fn running(&self) -> bool {
        self.working.load(Ordering::SeqCst) > 0
            || self
                .pool
                .places()
                .iter()
                .any(|place| place.running.load(Ordering::SeqCst))
    }

    fn tend(&self) -> bool {
        self.retire_left() | self.retire_idle()
    }
}
