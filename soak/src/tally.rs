//! Counts what is made and dropped, around any provider.

use std::{fmt, sync::Arc, time::Duration};

use parking_lot::{Condvar, Mutex};
use wapc_host::{
    BoxFuture, EngineError, GuestInstance, Interruption, ModuleState, Promotion,
    WebAssemblyEngineProvider,
};

/// How many providers and instances were made and dropped.
#[derive(Debug, Default)]
pub(crate) struct Tally {
    counts: Mutex<Counts>,
    changed: Condvar,
}

/// The numbers of a [`Tally`] at one moment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Counts {
    /// Compiled modules.
    pub(crate) providers_made: u64,
    /// Compiled modules that are gone.
    pub(crate) providers_dropped: u64,
    /// Live guests.
    pub(crate) instances_made: u64,
    /// Live guests that are gone.
    pub(crate) instances_dropped: u64,
    /// How many second tiers are being compiled.
    pub(crate) compiling: u64,
}

impl Counts {
    /// Whether nothing is left, and nothing is on its way.
    pub(crate) const fn all_dropped(&self) -> bool {
        self.providers_made == self.providers_dropped
            && self.instances_made == self.instances_dropped
            && self.compiling == 0
    }
}

impl Tally {
    /// `provider`, counted, with every instance and every provider made of it.
    pub(crate) fn count(
        self: &Arc<Self>,
        provider: Box<dyn WebAssemblyEngineProvider>,
    ) -> Box<dyn WebAssemblyEngineProvider> {
        self.change(|counts| counts.providers_made += 1);
        Box::new(Counted {
            provider,
            dropped: Dropped {
                tally: Arc::clone(self),
                count: |counts| counts.providers_dropped += 1,
            },
        })
    }

    /// What `compile` returns, in [`Counts::compiling`] meanwhile.
    pub(crate) fn compiling<T>(&self, compile: impl FnOnce() -> T) -> T {
        self.change(|counts| counts.compiling += 1);
        let compiled = compile();
        self.change(|counts| counts.compiling -= 1);
        compiled
    }

    /// Waits until [`Counts::all_dropped`], for up to `limit`. Returns the
    /// numbers at the end.
    pub(crate) fn wait_until_all_dropped(&self, limit: Duration) -> Counts {
        let mut counts = self.counts.lock();
        self.changed
            .wait_while_for(&mut counts, |counts| !counts.all_dropped(), limit);
        *counts
    }

    fn change(&self, change: impl FnOnce(&mut Counts)) {
        change(&mut self.counts.lock());
        self.changed.notify_all();
    }
}

/// Counts when it is dropped.
struct Dropped {
    tally: Arc<Tally>,
    count: fn(&mut Counts),
}

impl Drop for Dropped {
    fn drop(&mut self) {
        self.tally.change(self.count);
    }
}

struct Counted {
    provider: Box<dyn WebAssemblyEngineProvider>,
    // The last field: counted when the provider is gone.
    dropped: Dropped,
}

impl Counted {
    fn instance(tally: &Arc<Tally>, instance: Box<dyn GuestInstance>) -> Box<dyn GuestInstance> {
        tally.change(|counts| counts.instances_made += 1);
        Box::new(CountedInstance {
            instance,
            _dropped: Dropped {
                tally: Arc::clone(tally),
                count: |counts| counts.instances_dropped += 1,
            },
        })
    }
}

impl WebAssemblyEngineProvider for Counted {
    fn init(&self, state: ModuleState) -> Result<Box<dyn GuestInstance>, EngineError> {
        let instance = self.provider.init(state)?;
        Ok(Self::instance(&self.dropped.tally, instance))
    }

    fn init_async(
        &self,
        state: ModuleState,
    ) -> BoxFuture<'_, Result<Box<dyn GuestInstance>, EngineError>> {
        let instance = self.provider.init_async(state);
        Box::pin(async move { Ok(Self::instance(&self.dropped.tally, instance.await?)) })
    }

    fn replace(&self, module: &[u8]) -> Result<Box<dyn WebAssemblyEngineProvider>, EngineError> {
        Ok(self.dropped.tally.count(self.provider.replace(module)?))
    }

    fn interruption(&self) -> Interruption {
        self.provider.interruption()
    }

    fn promote(&self, promotion: Promotion) {
        self.provider.promote(promotion);
    }
}

struct CountedInstance {
    instance: Box<dyn GuestInstance>,
    // The last field: counted when the instance is gone.
    _dropped: Dropped,
}

impl GuestInstance for CountedInstance {
    fn call(&mut self, op_length: i32, msg_length: i32) -> Result<i32, EngineError> {
        self.instance.call(op_length, msg_length)
    }

    fn call_async(
        &mut self,
        op_length: i32,
        msg_length: i32,
    ) -> Option<BoxFuture<'_, Result<i32, EngineError>>> {
        self.instance.call_async(op_length, msg_length)
    }

    fn state(&mut self) -> &mut ModuleState {
        self.instance.state()
    }
}

impl fmt::Display for Counts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "providers {}/{}, instances {}/{}",
            self.providers_dropped,
            self.providers_made,
            self.instances_dropped,
            self.instances_made
        )
    }
}
