//! The settings of a built host.

use std::{num::NonZeroU64, time::Duration};

use crate::clock;

#[derive(Clone, Debug)]
pub(super) struct Settings {
    pub(super) max_instances: usize,
    pub(super) min_idle: usize,
    pub(super) idle_timeout: Option<Duration>,
    pub(super) wait_limit: Option<Duration>,
    pub(super) reuse: Reuse,
    pub(super) yield_interval: Duration,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            max_instances: 1,
            min_idle: 1,
            idle_timeout: Some(Duration::from_secs(60)),
            wait_limit: Some(Duration::from_secs(30)),
            reuse: Reuse::Keep,
            yield_interval: clock::TICK,
        }
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
