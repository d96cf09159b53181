//! A flag that wakes its waiter when it is set.

use std::{
    sync::{Condvar, Mutex, PoisonError},
    time::Duration,
};

/// Of the standard library, so that a forked process can drop a guard whose thread slept in it.
#[derive(Debug, Default)]
pub(crate) struct StopSignal {
    is_set: Mutex<bool>,
    changed: Condvar,
}

impl StopSignal {
    pub(crate) fn set(&self) {
        *self.is_set.lock().unwrap_or_else(PoisonError::into_inner) = true;
        self.changed.notify_all();
    }

    /// Waits until the signal is set, for at most `timeout`. Returns whether it
    /// is set.
    pub(crate) fn wait_timeout(&self, timeout: Duration) -> bool {
        let is_set = self.is_set.lock().unwrap_or_else(PoisonError::into_inner);
        if *is_set {
            return true;
        }
        // A spurious wake-up only makes one poll early.
        let waited = self.changed.wait_timeout(is_set, timeout);
        *waited.unwrap_or_else(PoisonError::into_inner).0
    }
}
