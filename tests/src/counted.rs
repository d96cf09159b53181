//! Counts instances, around any provider.

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
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
        Box::new(Counted {
            provider,
            counts: self.clone(),
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
}

struct Counted {
    provider: Box<dyn WebAssemblyEngineProvider>,
    counts: Counts,
}

impl WebAssemblyEngineProvider for Counted {
    fn init(&self, state: ModuleState) -> Result<Box<dyn GuestInstance>, EngineError> {
        Ok(CountedInstance::of(
            self.provider.init(state)?,
            &self.counts,
        ))
    }

    fn init_async(
        &self,
        state: ModuleState,
    ) -> BoxFuture<'_, Result<Box<dyn GuestInstance>, EngineError>> {
        let instance = self.provider.init_async(state);
        Box::pin(async move { Ok(CountedInstance::of(instance.await?, &self.counts)) })
    }

    fn replace(&self, module: &[u8]) -> Result<Box<dyn WebAssemblyEngineProvider>, EngineError> {
        Ok(self.counts.count(self.provider.replace(module)?))
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

impl CountedInstance {
    fn of(instance: Box<dyn GuestInstance>, counts: &Counts) -> Box<dyn GuestInstance> {
        counts.0.made.fetch_add(1, Ordering::SeqCst);
        Box::new(Self {
            instance,
            _dropped: Dropped(counts.clone()),
        })
    }
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

struct Dropped(Counts);

impl Drop for Dropped {
    fn drop(&mut self) {
        self.0.0.dropped.fetch_add(1, Ordering::SeqCst);
    }
}
