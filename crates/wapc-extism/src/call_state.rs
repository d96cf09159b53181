//! The state of one call, beside its input.

use std::{
    any::Any,
    sync::{Arc, Mutex, MutexGuard, PoisonError, atomic::AtomicI32},
};

/// The state of one call, beside its input. A plugin has one, because it has one call at a time.
#[derive(Default)]
pub(crate) struct CallState {
    /// The number that the plugin has returned or exited with.
    pub(crate) code: AtomicI32,
    pub(crate) host_context: Mutex<Option<Arc<dyn Any + Send + Sync>>>,
}

impl CallState {
    pub(crate) fn host_context(&self) -> Option<Arc<dyn Any + Send + Sync>> {
        lock(&self.host_context).clone()
    }
}

/// A panic elsewhere is no reason to panic here: the values are whole at any time.
pub(crate) fn lock<T: ?Sized>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
