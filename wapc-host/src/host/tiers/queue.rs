//! The thread of a host that compiles optimized tiers.

use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{Arc, Weak},
};

use super::TierUp;
use crate::{
    engine::provider::WebAssemblyEngineProvider,
    error::{EngineError, Error},
    sync::{Mutex, thread},
};

/// The queue of optimized tiers that a host has to compile. A single thread
/// works on it while it is not empty: modules that arrive faster than they
/// compile must not take a thread each.
#[derive(Default)]
pub(crate) struct TierQueue {
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    /// The newest is the last. Weak, so that a job ends with the last generation
    /// of its code.
    jobs: Vec<Weak<TierUp>>,
    is_running: bool,
    /// `None` before the host is built.
    host: Option<Weak<dyn TieredHost>>,
}

/// A host as its queue sees it.
pub(in crate::host) trait TieredHost: Send + Sync {
    /// Returns `true` if calls run on the baseline of this module.
    fn serves(&self, tier_up: &Arc<TierUp>) -> bool;

    /// Moves over to instances of `optimized`, if calls still run on the
    /// baseline of this module.
    fn rebuild_instances(
        &self,
        tier_up: &Arc<TierUp>,
        optimized: Arc<dyn WebAssemblyEngineProvider>,
    ) -> Result<(), Error>;
}

#[derive(Debug, thiserror::Error)]
#[error("the optimized tier panicked")]
pub(super) struct Panicked;

impl TierQueue {
    /// Sets the host that moves over. Before that, modules are only compiled.
    pub(in crate::host) fn set_host(&self, host: Weak<dyn TieredHost>) {
        self.state.lock().host = Some(host);
    }

    /// Queues the optimized tier of a module before all others.
    pub(in crate::host) fn push(self: &Arc<Self>, tier_up: &Arc<TierUp>) {
        if tier_up.has_failed() {
            return;
        }
        let job = Arc::downgrade(tier_up);
        let mut state = self.state.lock();
        state
            .jobs
            .retain(|other| other.strong_count() > 0 && !other.ptr_eq(&job));
        state.jobs.push(job);
        if state.is_running {
            return;
        }
        let queue = Arc::clone(self);
        let spawned = thread::Builder::new()
            .name("wapc-tier".to_owned())
            .spawn(move || queue.work());
        match spawned {
            Ok(_) => state.is_running = true,
            Err(error) => {
                state.jobs.clear();
                drop(state);
                tier_up.fail(EngineError::Other(error.into()));
            }
        }
    }

    #[cfg(test)]
    pub(crate) fn is_idle(&self) -> bool {
        !self.state.lock().is_running
    }

    fn work(&self) {
        while let Some(job) = self.next() {
            let Some(tier_up) = job.upgrade() else {
                continue;
            };
            // A panic must not keep other modules from their tier.
            let done = catch_unwind(AssertUnwindSafe(|| self.tier_up(&tier_up)));
            if done.is_err() {
                tier_up.fail(EngineError::Other(Panicked.into()));
            }
        }
    }

    fn next(&self) -> Option<Weak<TierUp>> {
        let mut state = self.state.lock();
        let job = state.jobs.pop();
        state.is_running = job.is_some();
        job
    }

    fn tier_up(&self, tier_up: &Arc<TierUp>) {
        let is_wanted = match self.host() {
            Some(host) => host.upgrade().is_some_and(|host| host.serves(tier_up)),
            None => true,
        };
        if !is_wanted {
            return;
        }
        let Some(optimized) = tier_up.compile() else {
            return;
        };
        // Looked up again: the host may have been built or dropped meanwhile.
        let Some(host) = self.host().and_then(|host| host.upgrade()) else {
            return;
        };
        if let Err(error) = host.rebuild_instances(tier_up, optimized) {
            tier_up.fail(error);
        }
    }

    fn host(&self) -> Option<Weak<dyn TieredHost>> {
        self.state.lock().host.clone()
    }
}
