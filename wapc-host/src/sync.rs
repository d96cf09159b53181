//! The synchronisation primitives of the pool and the host, from `parking_lot`
//! and `std`.
//!
//! In tests with `--cfg shuttle` they come from the checker `shuttle`, so that
//! `model.rs` can explore the interleavings of threads. No time passes there: a
//! timed wait ends only by a wake-up, so a lost wake-up is a deadlock, which
//! shuttle reports. All memory orders are sequentially consistent.

/// Atomics for statics, which outlive a model.
pub(crate) use std::sync::atomic::{AtomicU64 as StaticU64, AtomicUsize as StaticUsize};

#[cfg(not(all(test, shuttle)))]
pub(crate) use {
    parking_lot::{Mutex, MutexGuard},
    std::{
        hint,
        sync::atomic,
        thread::{self, Thread, ThreadId},
    },
};

#[cfg(all(test, shuttle))]
pub(crate) use {
    model::Mutex,
    shuttle::{
        hint,
        sync::{MutexGuard, atomic},
        thread::{self, Thread, ThreadId},
    },
};

#[cfg(all(test, shuttle))]
mod model {
    use std::time::Instant;

    use shuttle::{
        sync::{self, MutexGuard, PoisonError, TryLockError},
        thread,
    };

    /// Shuttle's lock with the methods of `parking_lot`'s.
    #[derive(Default)]
    pub(crate) struct Mutex<T>(sync::Mutex<T>);

    impl<T> Mutex<T> {
        pub(crate) const fn new(value: T) -> Self {
            Self(sync::Mutex::new(value))
        }

        pub(crate) fn lock(&self) -> MutexGuard<'_, T> {
            self.0.lock().unwrap_or_else(PoisonError::into_inner)
        }

        pub(crate) fn try_lock(&self) -> Option<MutexGuard<'_, T>> {
            match self.0.try_lock() {
                Ok(guard) => Some(guard),
                Err(TryLockError::Poisoned(poisoned)) => Some(poisoned.into_inner()),
                Err(TryLockError::WouldBlock) => None,
            }
        }

        /// Fails at once where the real lock waits: callers must tolerate both.
        pub(crate) fn try_lock_until(&self, _: Instant) -> Option<MutexGuard<'_, T>> {
            let guard = self.try_lock();
            if guard.is_none() {
                thread::yield_now();
            }
            guard
        }

        /// Shuttle's lock cannot tell, so the answer is the pessimistic one.
        pub(crate) const fn is_locked(&self) -> bool {
            true
        }
    }
}
