//! The settings of a built host.

use std::{fmt, num::NonZeroU64, sync::Arc, time::Duration};

use crate::{clock, protocol::host_call::BoxFuture};

#[derive(Clone)]
pub(super) struct Settings {
    pub(super) max_instances: usize,
    pub(super) min_idle: usize,
    pub(super) idle_timeout: Option<Duration>,
    pub(super) wait_limit: Option<Duration>,
    pub(super) reuse: Reuse,
    pub(super) yield_interval: Duration,
    pub(super) spawner: Option<Arc<Spawner>>,
}

/// Runs a future as a task of the program's executor.
pub(super) type Spawner = dyn Fn(BoxFuture<'static, ()>) + Send + Sync;

impl Default for Settings {
    fn default() -> Self {
        Self {
            max_instances: 1,
            min_idle: 1,
            idle_timeout: Some(Duration::from_secs(60)),
            wait_limit: Some(Duration::from_secs(30)),
            reuse: Reuse::Keep,
            yield_interval: clock::TICK,
            spawner: None,
        }
    }
}

impl fmt::Debug for Settings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Settings")
            .field("max_instances", &self.max_instances)
            .field("min_idle", &self.min_idle)
            .field("idle_timeout", &self.idle_timeout)
            .field("wait_limit", &self.wait_limit)
            .field("reuse", &self.reuse)
            .field("yield_interval", &self.yield_interval)
            .field("spawner", &self.spawner.is_some())
            .finish()
    }
}

/// The number of calls after which an instance is replaced.
///
/// ```
/// use wapc_host::{Reuse, WapcHost, engine::scripted::ScriptedProvider};
///
/// let guest = ScriptedProvider::new(|guest, _, _| {
///     let calls = guest.calls().to_string();
///     guest.respond(calls.as_bytes())
/// });
/// let host = WapcHost::builder(Box::new(guest))
///     .reuse(Reuse::Fresh)
///     .build(|_, _, _, _, _| Ok(vec![]))?;
/// assert_eq!(host.call("count", b"")?, b"1");
/// assert_eq!(host.call("count", b"")?, b"1", "another instance");
/// # Ok::<(), wapc_host::Error>(())
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Reuse {
    /// An instance is kept while it works, with its state.
    #[default]
    Keep,
    /// An instance is dropped after this many calls, which bounds the memory
    /// that a guest leaks.
    Recycle(NonZeroU64),
    /// An instance is dropped after each call, so that calls share no state.
    Fresh,
}
