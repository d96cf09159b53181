//! Locks that a forked process can use after threads of its parent have slept in them.
//!
//! `parking_lot` keeps sleeping threads in one table of the process. In a forked process, which has none
//! of these threads, that table is broken. The locks of the standard library keep nothing elsewhere.

use std::{
    sync::{self, MutexGuard, PoisonError, TryLockError},
    time::{Duration, Instant},
};

/// A lock without poisoning.
#[derive(Debug, Default)]
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
}

/// A condition to wait for under a [`Mutex`].
#[derive(Debug, Default)]
pub(crate) struct Condvar(sync::Condvar);

impl Condvar {
    pub(crate) const fn new() -> Self {
        Self(sync::Condvar::new())
    }

    pub(crate) fn notify_one(&self) {
        self.0.notify_one();
    }

    pub(crate) fn wait<'g, T>(&self, guard: MutexGuard<'g, T>) -> MutexGuard<'g, T> {
        self.0.wait(guard).unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits at most for `time`. Returns whether that has passed.
    pub(crate) fn wait_for<'g, T>(
        &self,
        guard: MutexGuard<'g, T>,
        time: Duration,
    ) -> (MutexGuard<'g, T>, bool) {
        let waited = self.0.wait_timeout(guard, time);
        let (guard, result) = waited.unwrap_or_else(PoisonError::into_inner);
        (guard, result.timed_out())
    }

    pub(crate) fn wait_until<'g, T>(
        &self,
        guard: MutexGuard<'g, T>,
        time: Instant,
    ) -> MutexGuard<'g, T> {
        let left = time.saturating_duration_since(Instant::now());
        self.wait_for(guard, left).0
    }
}
