//! Versions of a guest's code, and the right to publish another one.

use std::{
    future::{Future, poll_fn},
    pin::pin,
    sync::Arc,
    time::Instant,
};

use super::tiers::{Code, CodeTier};
use crate::{
    engine::provider::{GuestInstance, WebAssemblyEngineProvider},
    sync::{Mutex, MutexGuard, ThreadId, thread},
};

/// The code that new instances are made of, and the previous code.
pub(crate) struct Published {
    pub(crate) current: Arc<Generation>,
    pub(super) previous: Option<Arc<Generation>>,
}

/// One version of the guest's code.
pub(crate) struct Generation {
    pub(crate) number: u64,
    pub(super) provider: Arc<dyn WebAssemblyEngineProvider>,
    pub(super) tier: CodeTier,
    /// Instances that were made before the generation was published.
    pub(crate) ready: Mutex<Vec<Box<dyn GuestInstance>>>,
}

impl Generation {
    pub(super) fn first(code: Code) -> Arc<Self> {
        Self::new(FIRST_GENERATION, code)
    }

    /// The generation that follows this one.
    pub(crate) fn next(&self, code: Code) -> Arc<Self> {
        Self::new(self.number + 1, code)
    }

    fn new(number: u64, code: Code) -> Arc<Self> {
        Arc::new(Self {
            number,
            provider: code.provider,
            tier: code.tier,
            ready: Mutex::default(),
        })
    }

    pub(crate) fn code(&self) -> Code {
        Code {
            provider: Arc::clone(&self.provider),
            tier: self.tier.clone(),
        }
    }

    /// Takes one of the instances that were made before publishing.
    pub(crate) fn ready(&self) -> Option<Box<dyn GuestInstance>> {
        self.ready.lock().pop()
    }
}

/// The right to swap a host's code. One thread has it at a time.
#[derive(Default)]
pub(super) struct SwapRight {
    one_at_a_time: Mutex<()>,
    swapper: Mutex<Option<ThreadId>>,
}

pub(crate) struct Swapping<'s> {
    swapper: &'s Mutex<Option<ThreadId>>,
    _one_at_a_time: MutexGuard<'s, ()>,
}

impl SwapRight {
    /// Returns `true` if this thread has the right already: it is its probe, or a
    /// callback that a new instance has called from a start function.
    pub(super) fn is_own(&self) -> bool {
        *self.swapper.lock() == Some(thread::current().id())
    }

    /// Waits for the right, at most until `deadline`.
    pub(super) fn begin(&self, deadline: Option<Instant>) -> Option<Swapping<'_>> {
        let one_at_a_time = match deadline {
            Some(deadline) if !cfg!(shuttle) => self.one_at_a_time.try_lock_until(deadline)?,
            _ => self.one_at_a_time.lock(),
        };
        Some(self.begun(one_at_a_time, Some(thread::current().id())))
    }

    /// Takes the right if nobody has it, for a swap that belongs to no thread.
    pub(super) fn try_begin(&self) -> Option<Swapping<'_>> {
        Some(self.begun(self.one_at_a_time.try_lock()?, None))
    }

    fn begun<'s>(
        &'s self,
        one_at_a_time: MutexGuard<'s, ()>,
        swapper: Option<ThreadId>,
    ) -> Swapping<'s> {
        *self.swapper.lock() = swapper;
        Swapping {
            swapper: &self.swapper,
            _one_at_a_time: one_at_a_time,
        }
    }
}

impl Swapping<'_> {
    /// Runs a part of a swap that belongs to no thread. While it is polled, the polling thread
    /// has the right, so that a swap within is noticed.
    pub(crate) async fn run<T>(&self, part: impl Future<Output = T>) -> T {
        let mut part = pin!(part);
        poll_fn(move |context| {
            *self.swapper.lock() = Some(thread::current().id());
            let _between_polls = NoSwapper(self.swapper);
            part.as_mut().poll(context)
        })
        .await
    }
}

/// Lets no thread have the right once it is dropped.
struct NoSwapper<'s>(&'s Mutex<Option<ThreadId>>);

impl Drop for NoSwapper<'_> {
    fn drop(&mut self) {
        *self.0.lock() = None;
    }
}

impl Drop for Swapping<'_> {
    fn drop(&mut self) {
        *self.swapper.lock() = None;
    }
}

pub(super) const FIRST_GENERATION: u64 = 1;
