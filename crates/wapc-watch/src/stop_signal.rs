//! A flag that wakes its waiter when it is set.

use std::time::Duration;

use parking_lot::{Condvar, Mutex};

#[derive(Debug, Default)]
pub(crate) struct StopSignal {
    is_set: Mutex<bool>,
    changed: Condvar,
}

impl StopSignal {
    pub(crate) fn set(&self) {
        *self.is_set.lock() = true;
        self.changed.notify_all();
    }

    /// Waits until the signal is set, for at most `timeout`. Returns whether it
    /// is set.
    pub(crate) fn wait_timeout(&self, timeout: Duration) -> bool {
        let mut is_set = self.is_set.lock();
        if !*is_set {
            // A spurious wake-up only makes one poll early.
            self.changed.wait_for(&mut is_set, timeout);
        }
        *is_set
    }
}
