//! What the pool and the host are synchronised by: `parking_lot` and `std`.
//!
//! In tests with `--cfg shuttle`, it is what the checker `shuttle` has for
//! them, so that `model.rs` can try the interleavings of threads. Time does not
//! pass there: what waits with a limit waits until it is woken, and a wake-up
//! that is lost is a deadlock, which shuttle reports. All memory orders are
//! sequentially consistent.

/// For statics, since those of a model do not outlive it.
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

        /// Fails at once where the real one waits for a while: callers must
        /// do with both.
        pub(crate) fn try_lock_until(&self, _: Instant) -> Option<MutexGuard<'_, T>> {
            let guard = self.try_lock();
            if guard.is_none() {
                thread::yield_now();
            }
            guard
        }

        /// Shuttle's lock does not say. It may be, at any time.
        pub(crate) const fn is_locked(&self) -> bool {
            true
        }
    }
}
