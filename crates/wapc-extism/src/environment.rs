//! The state that the calls of a plugin share with its host.

use std::{
    collections::{BTreeMap, HashMap},
    sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, RwLock, Weak, atomic::AtomicBool},
};

use uuid::Uuid;
use wapc_net::HttpClient;

use crate::{
    cancel::CancelHandle,
    vars::{Vars, lock},
};

/// The level of a log line.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
#[expect(clippy::exhaustive_enums, reason = "Extism's levels")]
pub enum LogLevel {
    /// 0.
    Trace,
    /// 1.
    Debug,
    /// 2.
    Info,
    /// 3.
    Warn,
    /// 4.
    Error,
}

pub(crate) type LogSink = dyn Fn(LogLevel, &str) + Send + Sync;

/// The state that the calls of one plugin share with its host.
pub(crate) struct Environment {
    pub(crate) id: Uuid,
    pub(crate) cancel: OnceLock<CancelHandle>,
    pub(crate) environments: Arc<Environments>,
    /// Of the host below, from its first instance on.
    pub(crate) host_id: OnceLock<u64>,
    pub(crate) config: RwLock<BTreeMap<String, String>>,
    pub(crate) vars: Mutex<Vars>,
    pub(crate) http: HttpClient,
    pub(crate) max_http_response_bytes: usize,
    pub(crate) allows_headers: AtomicBool,
    pub(crate) log: Arc<LogSink>,
}

/// The environments of all plugins of one compiled plugin, by the ids of their hosts: functions are one for all.
#[derive(Default)]
pub(crate) struct Environments(Mutex<HashMap<u64, Weak<Environment>>>);

impl Environments {
    pub(crate) fn add(&self, host_id: u64, environment: &Arc<Environment>) {
        if environment.host_id.set(host_id).is_ok() {
            lock(&self.0).insert(host_id, Arc::downgrade(environment));
        }
    }

    pub(crate) fn get(&self, host_id: u64) -> Option<Arc<Environment>> {
        lock(&self.0).get(&host_id)?.upgrade()
    }
}

impl Drop for Environment {
    fn drop(&mut self) {
        if let Some(host_id) = self.host_id.get() {
            lock(&self.environments.0).remove(host_id);
        }
    }
}

impl Environment {
    pub(crate) fn config(&self, key: &str) -> Option<String> {
        let config = self.config.read().unwrap_or_else(PoisonError::into_inner);
        config.get(key).cloned()
    }

    pub(crate) fn vars(&self) -> MutexGuard<'_, Vars> {
        lock(&self.vars)
    }
}
