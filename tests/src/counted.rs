//! Counts instances, around any provider.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use wapc_host::{
    BoxFuture, EngineError, GuestInstance, Interruption, ModuleState, Promotion,
    WebAssemblyEngineProvider,
};

/// How many instances were made and dropped.
#[derive(Clone, Debug, Default)]
pub struct Counts(Arc<Numbers>);

#[derive(Debug, Default)]
struct Numbers {
    made: AtomicU64,
    dropped: AtomicU64,
}

impl Counts {
    /// `provider`, whose instances are counted, also those of its replacements.
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
        Box::new(Counted {
            provider,
            counts: self.clone(),
            suspends,
        })
    }

    /// How many were made.
    #[must_use]
    pub fn made(&self) -> u64 {
        self.0.made.load(Ordering::SeqCst)
    }

    /// How many of them are gone.
    #[must_use]
    pub fn dropped(&self) -> u64 {
        self.0.dropped.load(Ordering::SeqCst)
    }

    /// How many are there.
    #[must_use]
    pub fn left(&self) -> u64 {
        // In this order: what is made in between is not missed.
        let dropped = self.dropped();
        self.made() - dropped
    }

    /// How many are there after their host was dropped, once all are gone or
    /// `patience` is over: the clock may hold a host, and a thread its guest,
    /// for a moment longer than their owner.
    #[must_use]
    pub fn left_after(&self, patience: Duration) -> u64 {
        let begun = Instant::now();
        while self.left() > 0 && begun.elapsed() < patience {
            thread::yield_now();
        }
        self.left()
    }
}

struct Counted {
    provider: Box<dyn WebAssemblyEngineProvider>,
    counts: Counts,
    suspends: bool,
}

impl Counted {
    fn instance(&self, instance: Box<dyn GuestInstance>) -> Box<dyn GuestInstance> {
        self.counts.0.made.fetch_add(1, Ordering::SeqCst);
        Box::new(CountedInstance {
            instance,
            suspends: self.suspends,
            _dropped: Dropped(self.counts.clone()),
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
        Ok(self
            .counts
            .wrap(self.provider.replace(module)?, self.suspends))
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
    suspends: bool,
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
        match self.suspends {
            true => self.instance.call_async(op_length, msg_length),
            false => None,
        }
    }

    fn state(&mut self) -> &mut ModuleState {
        self.instance.state()
    }
}

struct Dropped(Counts);

impl Drop for Dropped {
    fn drop(&mut self) {
        self.0.0.dropped.fetch_add(1, Ordering::SeqCst);
    }
}
