//! Counters of live providers and instances, around any provider.

use std::{sync::Arc, time::Duration};

use parking_lot::{Condvar, Mutex};
use wapc_host::{
    BoxFuture, Interruption, ModuleState, WebAssemblyEngineProvider,
    engine::{AsyncCall, GuestInstance, GuestReturn},
    error::EngineError,
};

/// Counters of the providers and instances that were made and dropped. Clones share
/// the counters.
#[derive(Clone, Debug, Default)]
pub struct Counts(Arc<Shared>);

#[derive(Debug, Default)]
struct Shared {
    numbers: Mutex<Numbers>,
    changed: Condvar,
}

/// The numbers of [`Counts`] at one moment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Numbers {
    /// Compiled modules that were made.
    pub providers_made: u64,
    /// Compiled modules that were dropped.
    pub providers_dropped: u64,
    /// Instances that were made.
    pub instances_made: u64,
    /// Instances that were dropped.
    pub instances_dropped: u64,
    /// Calls of [`Counts::compiling`] that are running.
    pub compiling: u64,
}

impl Numbers {
    /// Returns `true` if everything was dropped and nothing is being compiled.
    #[must_use]
    pub const fn all_dropped(&self) -> bool {
        self.providers_made == self.providers_dropped
            && self.instances_made == self.instances_dropped
            && self.compiling == 0
    }

    const fn instances_left(&self) -> u64 {
        self.instances_made - self.instances_dropped
    }
}

impl Counts {
    /// Wraps `provider` so that it is counted, with every instance and provider made of
    /// it.
    #[must_use]
    pub fn count(
        &self,
        provider: Box<dyn WebAssemblyEngineProvider>,
    ) -> Box<dyn WebAssemblyEngineProvider> {
        self.change(|numbers| numbers.providers_made += 1);
        Box::new(Counted {
            provider,
            dropped: Dropped {
                counts: self.clone(),
                count: |numbers| numbers.providers_dropped += 1,
            },
        })
    }

    /// Runs `compile`, counted in [`Numbers::compiling`]. Returns its result.
    pub fn compiling<T>(&self, compile: impl FnOnce() -> T) -> T {
        self.change(|numbers| numbers.compiling += 1);
        let compiled = compile();
        self.change(|numbers| numbers.compiling -= 1);
        compiled
    }

    /// Returns the number of instances that were made.
    #[must_use]
    pub fn made(&self) -> u64 {
        self.0.numbers.lock().instances_made
    }

    /// Returns the number of instances that were dropped.
    #[must_use]
    pub fn dropped(&self) -> u64 {
        self.0.numbers.lock().instances_dropped
    }

    /// Returns the number of live instances.
    #[must_use]
    pub fn left(&self) -> u64 {
        self.0.numbers.lock().instances_left()
    }

    /// Waits until all instances are dropped, for at most `patience`. Returns the number
    /// of live instances. The clock may hold a host, and a thread its guest, for a moment
    /// longer than their owner.
    #[must_use]
    pub fn left_after(&self, patience: Duration) -> u64 {
        let numbers = self.wait_while(|numbers| numbers.instances_left() > 0, patience);
        numbers.instances_left()
    }

    /// Waits until [`Numbers::all_dropped`], for at most `limit`. Returns the numbers at
    /// the end.
    #[must_use]
    pub fn wait_until_all_dropped(&self, limit: Duration) -> Numbers {
        self.wait_while(|numbers| !numbers.all_dropped(), limit)
    }

    fn wait_while(&self, condition: impl Fn(&Numbers) -> bool, limit: Duration) -> Numbers {
        let mut numbers = self.0.numbers.lock();
        let changed = &self.0.changed;
        changed.wait_while_for(&mut numbers, |numbers| condition(numbers), limit);
        *numbers
    }

    fn change(&self, change: impl FnOnce(&mut Numbers)) {
        change(&mut self.0.numbers.lock());
        self.0.changed.notify_all();
    }
}

/// Counts its own drop.
struct Dropped {
    counts: Counts,
    count: fn(&mut Numbers),
}

impl Drop for Dropped {
    fn drop(&mut self) {
        self.counts.change(self.count);
    }
}

struct Counted {
    provider: Box<dyn WebAssemblyEngineProvider>,
    // The last field, so that it counts after the provider was dropped.
    dropped: Dropped,
}

impl Counted {
    fn instance(&self, instance: Box<dyn GuestInstance>) -> Box<dyn GuestInstance> {
        let counts = &self.dropped.counts;
        counts.change(|numbers| numbers.instances_made += 1);
        Box::new(CountedInstance {
            instance,
            _dropped: Dropped {
                counts: counts.clone(),
                count: |numbers| numbers.instances_dropped += 1,
            },
        })
    }
}

impl WebAssemblyEngineProvider for Counted {
    fn init(&self, state: ModuleState) -> Result<Box<dyn GuestInstance>, EngineError> {
        Ok(self.instance(self.provider.init(state)?))
    }

    fn init_async(
        &self,
        state: ModuleState,
    ) -> BoxFuture<'_, Result<Box<dyn GuestInstance>, EngineError>> {
        let instance = self.provider.init_async(state);
        Box::pin(async move { Ok(self.instance(instance.await?)) })
    }

    fn replace(&self, module: &[u8]) -> Result<Box<dyn WebAssemblyEngineProvider>, EngineError> {
        let provider = self.provider.replace(module)?;
        Ok(self.dropped.counts.count(provider))
    }

    fn interruption(&self) -> Interruption {
        self.provider.interruption()
    }
}

struct CountedInstance {
    instance: Box<dyn GuestInstance>,
    // The last field, so that it counts after the instance was dropped.
    _dropped: Dropped,
}

impl GuestInstance for CountedInstance {
    fn call(&mut self, op_length: i32, msg_length: i32) -> GuestReturn {
        self.instance.call(op_length, msg_length)
    }

    fn call_async(&mut self, op_length: i32, msg_length: i32) -> AsyncCall<'_> {
        self.instance.call_async(op_length, msg_length)
    }

    fn state(&mut self) -> &mut ModuleState {
        self.instance.state()
    }
}
