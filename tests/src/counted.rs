//! Counts what is made and dropped, around any provider.

use std::{sync::Arc, time::Duration};

use parking_lot::{Condvar, Mutex};
use wapc_host::{
    AsyncCall, BoxFuture, EngineError, GuestInstance, GuestReturn, Interruption, ModuleState,
    WebAssemblyEngineProvider,
};

/// How many providers and instances were made and dropped. Clones count
/// together.
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
    /// Compiled modules.
    pub providers_made: u64,
    /// Compiled modules that are gone.
    pub providers_dropped: u64,
    /// Live guests.
    pub instances_made: u64,
    /// Live guests that are gone.
    pub instances_dropped: u64,
    /// How many calls of [`Counts::compiling`] are running.
    pub compiling: u64,
}

impl Numbers {
    /// Whether nothing is left, and nothing is on its way.
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
    /// `provider`, counted, with every instance and every provider made of it.
    #[must_use]
    pub fn count(
        &self,
        provider: Box<dyn WebAssemblyEngineProvider>,
    ) -> Box<dyn WebAssemblyEngineProvider> {
        self.wrap(provider, true)
    }

    /// The same of an engine that cannot suspend its guests: in async calls they
    /// run on a thread each.
    #[must_use]
    pub fn count_without_suspension(
        &self,
        provider: Box<dyn WebAssemblyEngineProvider>,
    ) -> Box<dyn WebAssemblyEngineProvider> {
        self.wrap(provider, false)
    }

    fn wrap(
        &self,
        provider: Box<dyn WebAssemblyEngineProvider>,
        suspends: bool,
    ) -> Box<dyn WebAssemblyEngineProvider> {
        self.change(|numbers| numbers.providers_made += 1);
        Box::new(Counted {
            provider,
            suspends,
            dropped: Dropped {
                counts: self.clone(),
                count: |numbers| numbers.providers_dropped += 1,
            },
        })
    }

    /// What `compile` returns, in [`Numbers::compiling`] meanwhile.
    pub fn compiling<T>(&self, compile: impl FnOnce() -> T) -> T {
        self.change(|numbers| numbers.compiling += 1);
        let compiled = compile();
        self.change(|numbers| numbers.compiling -= 1);
        compiled
    }

    /// How many instances were made.
    #[must_use]
    pub fn made(&self) -> u64 {
        self.0.numbers.lock().instances_made
    }

    /// How many instances are gone.
    #[must_use]
    pub fn dropped(&self) -> u64 {
        self.0.numbers.lock().instances_dropped
    }

    /// How many instances are there.
    #[must_use]
    pub fn left(&self) -> u64 {
        self.0.numbers.lock().instances_left()
    }

    /// How many instances are there after their host was dropped, once all are
    /// gone or `patience` is over: the clock may hold a host, and a thread its
    /// guest, for a moment longer than their owner.
    #[must_use]
    pub fn left_after(&self, patience: Duration) -> u64 {
        let numbers = self.wait_while(|numbers| numbers.instances_left() > 0, patience);
        numbers.instances_left()
    }

    /// Waits until [`Numbers::all_dropped`], for up to `limit`. Returns the
    /// numbers at the end.
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

/// Counts when it is dropped.
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
    suspends: bool,
    // The last field: counted when the provider is gone.
    dropped: Dropped,
}

impl Counted {
    fn instance(&self, instance: Box<dyn GuestInstance>) -> Box<dyn GuestInstance> {
        let counts = &self.dropped.counts;
        counts.change(|numbers| numbers.instances_made += 1);
        Box::new(CountedInstance {
            instance,
            suspends: self.suspends,
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
        Ok(self.dropped.counts.wrap(provider, self.suspends))
    }

    fn interruption(&self) -> Interruption {
        self.provider.interruption()
    }
}

struct CountedInstance {
    instance: Box<dyn GuestInstance>,
    suspends: bool,
    // The last field: counted when the instance is gone.
    _dropped: Dropped,
}

impl GuestInstance for CountedInstance {
    fn call(&mut self, op_length: i32, msg_length: i32) -> GuestReturn {
        self.instance.call(op_length, msg_length)
    }

    fn call_async(&mut self, op_length: i32, msg_length: i32) -> AsyncCall<'_> {
        match self.suspends {
            true => self.instance.call_async(op_length, msg_length),
            false => AsyncCall::Unsupported,
        }
    }

    fn state(&mut self) -> &mut ModuleState {
        self.instance.state()
    }
}
