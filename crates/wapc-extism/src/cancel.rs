//! Cancelling calls.

use std::sync::{Arc, Mutex};

use crate::vars::lock;

/// Cancels calls of a [`Plugin`](crate::Plugin). A cancelled call fails with the code 134.
#[derive(Clone, Debug, Default)]
pub struct CancelHandle(Arc<Mutex<wapc_host::CancelHandle>>);

impl CancelHandle {
    /// Cancels the call that runs. Without one, it has no effect: the next call is not cancelled.
    pub fn cancel(&self) {
        lock(&self.0).cancel();
    }

    /// Returns a handle for the next calls.
    pub(crate) fn renew(&self) -> wapc_host::CancelHandle {
        let next = wapc_host::CancelHandle::new();
        lock(&self.0).clone_from(&next);
        next
    }
}
