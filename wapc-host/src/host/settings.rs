//! The settings of a host, once it is made.

use std::{num::NonZeroU64, time::Duration};

use crate::clock;

#[derive(Clone, Debug)]
pub(crate) struct Settings {
    pub(crate) max_instances: usize,
    pub(crate) min_idle: usize,
    pub(crate) idle_timeout: Option<Duration>,
    pub(crate) wait_limit: Option<Duration>,
    pub(crate) reuse: Reuse,
    pub(crate) yield_interval: Duration,
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

/// For how many calls an instance is used.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Reuse {
    /// For as long as it works: its state lives on from call to call.
    #[default]
    Keep,
    /// For this many calls: what a guest leaks is freed from time to time.
    Recycle(NonZeroU64),
    /// For one call: no call sees what another has left behind.
    Fresh,
}
