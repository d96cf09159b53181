//! Publishing new code, after its instances are made.

use std::{
    mem,
    sync::Arc,
    time::{Duration, Instant},
};

use super::{
    generation::{Generation, Swapping},
    shared::HostShared,
    tiers::{Code, TierUp, TieredHost},
};
use crate::{
    engine::provider::WebAssemblyEngineProvider, error::Error, sync::atomic::Ordering, timer::Timer,
};

/// The name of a swap in errors.
const SWAP: &str = "(swap)";

impl HostShared {
    /// Waits for the right to swap, at most for the wait limit: two hosts whose start
    /// functions swap each other would wait for ever.
    pub(crate) fn begin_swap(&self) -> Result<Swapping<'_>, Error> {
        self.begin_swap_within(self.settings.wait_limit)
    }

    fn begin_swap_within(&self, limit: Option<Duration>) -> Result<Swapping<'_>, Error> {
        self.reject_swap_in_swap()?;
        let began = Instant::now();
        let deadline = limit.and_then(|limit| began.checked_add(limit));
        self.swaps.begin(deadline).ok_or_else(|| Error::Busy {
            operation: SWAP.to_owned(),
            waited: began.elapsed(),
        })
    }

    /// Refuses to wait for a swap that runs the caller: its probe, or a callback that a new
    /// instance has called from a start function.
    fn reject_swap_in_swap(&self) -> Result<(), Error> {
        if self.swaps.is_own() {
            return Err(Error::Reentrant {
                operation: SWAP.to_owned(),
                host_id: self.id,
            });
        }
        Ok(())
    }

    /// Waits for the right to swap like [`HostShared::begin_swap`], without blocking the
    /// thread.
    pub(crate) async fn begin_swap_async(&self) -> Result<Swapping<'_>, Error> {
        const AGAIN: Duration = Duration::from_millis(5);

        self.reject_swap_in_swap()?;
        let began = Instant::now();
        loop {
            if let Some(swapping) = self.swaps.try_begin() {
                return Ok(swapping);
            }
            let waited = began.elapsed();
            if self
                .settings
                .wait_limit
                .is_some_and(|limit| waited >= limit)
            {
                return Err(Error::Busy {
                    operation: SWAP.to_owned(),
                    waited,
                });
            }
            Timer::new(Instant::now() + AGAIN).await;
        }
    }

    pub(crate) fn current_and_previous(&self) -> (Arc<Generation>, Option<Arc<Generation>>) {
        let published = self.published();
        (Arc::clone(&published.current), published.previous.clone())
    }

    /// Makes as many instances of `candidate` as the host has, then publishes
    /// it, with `previous` for a rollback. Returns its number.
    ///
    /// After a failure nothing has changed. The caller holds the right to swap.
    pub(crate) fn publish(
        &self,
        candidate: Arc<Generation>,
        previous: Option<Arc<Generation>>,
    ) -> Result<u64, Error> {
        let instances = self.stats().live.max(1);
        for slot in 0..instances {
            let instance = self.instance(&candidate, slot, None)?;
            candidate.ready.lock().push(instance);
        }
        Ok(self.publish_ready(candidate, previous))
    }

    /// Publishes like [`HostShared::publish`], without blocking the thread.
    pub(crate) async fn publish_async(
        &self,
        candidate: Arc<Generation>,
        previous: Option<Arc<Generation>>,
    ) -> Result<u64, Error> {
        let instances = self.stats().live.max(1);
        for slot in 0..instances {
            let instance = self.instance_async(&candidate, slot, None).await?;
            candidate.ready.lock().push(instance);
        }
        Ok(self.publish_ready(candidate, previous))
    }

    /// Publishes `candidate`, whose instances are ready.
    fn publish_ready(&self, candidate: Arc<Generation>, previous: Option<Arc<Generation>>) -> u64 {
        let number = candidate.number;
        let tier_up = candidate.tier.tier_up().cloned();
        self.set_published(candidate, previous);
        if let Some(tier_up) = tier_up {
            self.tier_queue.push(&tier_up);
        }
        self.retire_all_before(number);
        number
    }

    /// Publishes `generation` for new calls, and `previous` for a rollback.
    fn set_published(&self, generation: Arc<Generation>, previous: Option<Arc<Generation>>) {
        let number = generation.number;
        let mut published = self.published();
        let old = mem::replace(&mut published.current, generation);
        let older = mem::replace(&mut published.previous, previous);
        self.generation.store(number, Ordering::SeqCst);
        // Dropped outside the lock: dropping code and instances may take long.
        drop(published);
        let unused = mem::take(&mut *old.ready.lock());
        drop((old, older, unused));
    }
}

impl TieredHost for HostShared {
    fn serves(&self, tier_up: &Arc<TierUp>) -> bool {
        is_baseline_of(&self.published().current, tier_up)
    }

    /// Keeps the previous generation: a rollback undoes the last swap, not the
    /// tier-up.
    fn rebuild_instances(
        &self,
        tier_up: &Arc<TierUp>,
        optimized: Arc<dyn WebAssemblyEngineProvider>,
    ) -> Result<(), Error> {
        let rebuild = || {
            // Without limit: nobody waits for this thread, and it does not try again.
            let _swapping = self.begin_swap_within(None)?;
            let (current, previous) = self.current_and_previous();
            if is_baseline_of(&current, tier_up) {
                let code = Code::optimized(optimized, Arc::clone(tier_up.tiers()));
                self.publish(current.next(code), previous)?;
            }
            Ok(())
        };
        rebuild().map_err(|error| self.count_error(error))
    }
}

fn is_baseline_of(generation: &Generation, tier_up: &Arc<TierUp>) -> bool {
    let own = generation.tier.tier_up();
    own.is_some_and(|own| Arc::ptr_eq(own, tier_up))
}
