//! The move of one module from its baseline to its optimized tier.

use std::{error::Error as StdError, mem, sync::Arc};

use super::{Tier, Tiers};
use crate::{
    engine::provider::WebAssemblyEngineProvider,
    errands::catching,
    error::{EngineError, Report},
    limits::interruption::Interruption,
    sync::Mutex,
};

pub(in crate::host) struct TierUp {
    pub(super) tiers: Arc<Tiers>,
    /// The interruption of the baseline, which the host's limits may need.
    required: Interruption,
    progress: Mutex<Progress>,
}

enum Progress {
    Outstanding(Arc<[u8]>),
    Compiled(Arc<dyn WebAssemblyEngineProvider>),
    Failed(Arc<dyn StdError + Send + Sync>),
}

impl TierUp {
    pub(super) fn new(module: &[u8], required: Interruption, tiers: Arc<Tiers>) -> Self {
        Self {
            tiers,
            required,
            progress: Mutex::new(Progress::Outstanding(module.into())),
        }
    }

    pub(in crate::host) fn tiers(&self) -> &Arc<Tiers> {
        &self.tiers
    }

    pub(super) fn report(&self) -> Tier {
        match &*self.progress.lock() {
            Progress::Outstanding(_) | Progress::Compiled(_) => Tier::Baseline,
            Progress::Failed(reason) => Tier::BaselineOnly(Arc::clone(reason)),
        }
    }

    pub(super) fn compiled(&self) -> Option<Arc<dyn WebAssemblyEngineProvider>> {
        match &*self.progress.lock() {
            Progress::Compiled(provider) => Some(Arc::clone(provider)),
            Progress::Outstanding(_) | Progress::Failed(_) => None,
        }
    }

    pub(super) fn has_failed(&self) -> bool {
        matches!(&*self.progress.lock(), Progress::Failed(_))
    }

    /// Compiles the module unless it is compiled. Returns `None` after a
    /// failure. Only one thread may call this at a time.
    pub(super) fn compile(&self) -> Option<Arc<dyn WebAssemblyEngineProvider>> {
        let module = match &*self.progress.lock() {
            Progress::Outstanding(module) => Arc::clone(module),
            Progress::Compiled(provider) => return Some(Arc::clone(provider)),
            Progress::Failed(_) => return None,
        };
        let compiled = (self.tiers.optimized)(&module)
            .and_then(|provider| ensure_interruptible(provider, self.required));
        match compiled {
            Ok(provider) => {
                catching(|| (self.tiers.observer)(Ok(())));
                let provider: Arc<dyn WebAssemblyEngineProvider> = provider.into();
                self.set(Progress::Compiled(Arc::clone(&provider)));
                Some(provider)
            }
            Err(error) => {
                catching(|| (self.tiers.observer)(Err(&error)));
                self.fail(error);
                None
            }
        }
    }

    /// Keeps the module on its baseline for this reason.
    pub(super) fn fail(&self, error: impl StdError + Send + Sync + 'static) {
        let error = Arc::new(error);
        self.set(Progress::Failed(Arc::clone(&error) as _));
        // The program's logger may panic, on the thread of all tiers.
        catching(|| {
            let error = Report::new(&*error);
            log::warn!("there is no optimized tier, the baseline serves on: {error}");
        });
    }

    fn set(&self, progress: Progress) {
        let old = mem::replace(&mut *self.progress.lock(), progress);
        // Outside the lock: it may be the last owner of a provider.
        drop(old);
    }
}

/// Refuses an optimized tier that cannot enforce the limits that the baseline
/// enforces.
fn ensure_interruptible(
    provider: Box<dyn WebAssemblyEngineProvider>,
    required: Interruption,
) -> Result<Box<dyn WebAssemblyEngineProvider>, EngineError> {
    let can = provider.interruption();
    if required.by_time() && !can.by_time() || required.by_fuel() && !can.by_fuel() {
        let reason = format!(
            "the baseline can be interrupted by {required:?}, the optimized tier by {can:?}"
        );
        return Err(EngineError::Other(reason.into()));
    }
    Ok(provider)
}
