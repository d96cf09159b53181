//! What a guest's call leaves in its state, beside its response.

use std::{
    mem,
    ops::{Deref, DerefMut},
};

use crate::{
    error::Stop,
    limits::guest::{LimitError, Limits},
};

/// The traces of the running call: the next one finds nothing of them.
///
/// Whoever changes them marks them by that. Most calls leave none, and cost
/// the next one a look at the mark.
#[derive(Default)]
pub(crate) struct Traces {
    any: bool,
    left: Left,
}

/// What there may be.
#[derive(Default)]
pub(crate) struct Left {
    /// The guest's reason for failing.
    pub(crate) guest_error: Option<String>,
    /// The answer to the guest's last host call, and why it failed.
    pub(crate) host_response: Vec<u8>,
    pub(crate) host_error: String,
    /// The memory or table that the guest was refused last.
    pub(crate) refused: Option<LimitError>,
    pub(crate) fuel_used: Option<u64>,
    host_calls: u64,
    log_bytes: u64,
}

impl Traces {
    /// Begins a new call.
    #[inline]
    pub(crate) fn forget(&mut self) {
        if self.any {
            self.any = false;
            self.left.forget();
        }
    }
}

impl Deref for Traces {
    type Target = Left;

    #[inline]
    fn deref(&self) -> &Left {
        &self.left
    }
}

impl DerefMut for Traces {
    #[inline]
    fn deref_mut(&mut self) -> &mut Left {
        self.any = true;
        &mut self.left
    }
}

impl Left {
    fn forget(&mut self) {
        let mut host_response = mem::take(&mut self.host_response);
        if host_response.capacity() > KEPT_BYTES {
            host_response = Vec::new();
        }
        host_response.clear();
        *self = Self {
            host_response,
            ..Self::default()
        };
    }

    /// Counts a host call, and returns the place for its answer, empty.
    #[inline]
    pub(crate) fn begin_host_call(&mut self, limits: &Limits) -> Result<&mut Vec<u8>, Stop> {
        self.host_calls += 1;
        if self.host_calls > limits.max_host_calls {
            return Err(Stop::Limit(LimitError::HostCalls {
                limit: limits.max_host_calls,
            }));
        }
        self.host_error.clear();
        self.host_response.clear();
        Ok(&mut self.host_response)
    }

    /// Counts a log line of `bytes` with its end.
    pub(crate) fn count_log_line(&mut self, limits: &Limits, bytes: usize) -> Result<(), Stop> {
        let bytes = u64::try_from(bytes).unwrap_or(u64::MAX);
        self.log_bytes = self.log_bytes.saturating_add(bytes).saturating_add(1);
        if self.log_bytes > limits.max_log_bytes {
            return Err(Stop::Limit(LimitError::LogBytes {
                limit: limits.max_log_bytes,
            }));
        }
        Ok(())
    }
}

/// How large a buffer for the host's answers an instance keeps from one call
/// to the next.
pub(crate) const KEPT_BYTES: usize = 64 * 1024;
