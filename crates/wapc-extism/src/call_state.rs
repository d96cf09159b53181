//! The state of one call, beside its input.

use std::{
    any::Any,
    sync::{Arc, Mutex, atomic::AtomicI32},
};

use crate::{environment::Environment, vars::lock};

/// The state of one call, beside its input. A plugin has one, because it has one call at a time.
pub(crate) struct CallState {
    pub(crate) environment: Arc<Environment>,
    /// The number that the plugin has returned or exited with.
    pub(crate) code: AtomicI32,
    pub(crate) host_context: Mutex<Option<Arc<dyn Any + Send + Sync>>>,
}

impl CallState {
    pub(crate) fn new(environment: Arc<Environment>) -> Self {
        Self {
            environment,
            code: AtomicI32::new(0),
            host_context: Mutex::default(),
        }
    }

    pub(crate) fn host_context(&self) -> Option<Arc<dyn Any + Send + Sync>> {
        lock(&self.host_context).clone()
    }
}
