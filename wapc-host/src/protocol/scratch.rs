//! Scratch space of an instance: the results of a call beside its response, and
//! the names of the last host call.

use std::{
    mem,
    str::{Utf8Error, from_utf8},
};

use crate::{
    error::StopReason,
    limits::guest::{LimitError, Limits},
};

/// The scratch space of the running call.
///
/// Writing sets a dirty flag, so resetting after a call that wrote nothing
/// costs one branch.
#[derive(Default)]
pub(super) struct CallScratch {
    dirty: bool,
    values: ScratchValues,
}

#[derive(Default)]
pub(super) struct ScratchValues {
    /// The text of the guest's error.
    pub(super) guest_error: Option<String>,
    /// The answer to the guest's last host call.
    pub(super) host_response: Vec<u8>,
    /// The error of the guest's last host call.
    pub(super) host_error: String,
    /// The last growth of a memory or table that was refused.
    pub(super) refused: Option<LimitError>,
    pub(super) fuel_used: Option<u64>,
    host_calls: u64,
    log_bytes: u64,
}

impl CallScratch {
    #[inline]
    pub(super) const fn values(&self) -> &ScratchValues {
        &self.values
    }

    /// Returns the values for writing, and sets the dirty flag.
    #[inline]
    pub(super) const fn values_mut(&mut self) -> &mut ScratchValues {
        self.dirty = true;
        &mut self.values
    }

    /// Clears the values of the previous call.
    #[inline]
    pub(super) fn reset(&mut self) {
        if self.dirty {
            self.dirty = false;
            self.values.reset();
        }
    }
}

impl ScratchValues {
    fn reset(&mut self) {
        let mut host_response = mem::take(&mut self.host_response);
        if host_response.capacity() > MAX_KEPT_RESPONSE_BYTES {
            host_response = Vec::new();
        }
        host_response.clear();
        *self = Self {
            host_response,
            ..Self::default()
        };
    }

    /// Counts a host call, and returns an empty buffer for its answer.
    #[inline]
    pub(super) fn begin_host_call(&mut self, limits: &Limits) -> Result<&mut Vec<u8>, StopReason> {
        self.count_host_call(limits)?;
        self.host_error.clear();
        self.host_response.clear();
        Ok(&mut self.host_response)
    }

    /// Counts a call of the guest to its host.
    #[inline]
    pub(super) fn count_host_call(&mut self, limits: &Limits) -> Result<(), StopReason> {
        self.host_calls += 1;
        if self.host_calls > limits.max_host_calls {
            return Err(StopReason::Limit(LimitError::HostCalls {
                limit: limits.max_host_calls,
            }));
        }
        Ok(())
    }

    /// Counts a log line of `bytes` and its line break.
    pub(super) fn count_log_line(
        &mut self,
        limits: &Limits,
        bytes: usize,
    ) -> Result<(), StopReason> {
        let bytes = u64::try_from(bytes).unwrap_or(u64::MAX);
        self.log_bytes = self.log_bytes.saturating_add(bytes).saturating_add(1);
        if self.log_bytes > limits.max_log_bytes {
            return Err(StopReason::Limit(LimitError::LogBytes {
                limit: limits.max_log_bytes,
            }));
        }
        Ok(())
    }
}

/// The largest buffer for answers that an instance keeps between calls.
pub(super) const MAX_KEPT_RESPONSE_BYTES: usize = 64 * 1024;

/// The names of a guest's last host call, validated as UTF-8.
#[derive(Default)]
pub(super) struct Utf8Cache {
    pub(super) binding: CachedName,
    pub(super) namespace: CachedName,
    pub(crate) operation: CachedName,
}

/// A name that is validated as UTF-8. The next name is usually the same, and
/// comparing is cheaper than validating.
#[derive(Default)]
pub(super) struct CachedName(String);

impl CachedName {
    /// Returns `bytes` as text.
    #[inline]
    pub(super) fn text<'n>(&'n mut self, bytes: &'n [u8]) -> Result<&'n str, Utf8Error> {
        if self.0.as_bytes() == bytes {
            return Ok(&self.0);
        }
        self.validate(bytes)
    }

    #[inline(never)]
    fn validate<'n>(&mut self, bytes: &'n [u8]) -> Result<&'n str, Utf8Error> {
        let text = from_utf8(bytes)?;
        if text.len() <= MAX_CACHED_NAME_BYTES {
            self.0.clear();
            self.0.push_str(text);
        }
        Ok(text)
    }
}

/// The greatest length of a name that is cached.
const MAX_CACHED_NAME_BYTES: usize = 64;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_what_the_guest_says_each_time() {
        let mut name = CachedName::default();
        let long = "a".repeat(MAX_CACHED_NAME_BYTES + 1);
        for text in ["", "a", "a", "b", "ab", "a", &long, &long, "é", ""] {
            assert_eq!(name.text(text.as_bytes()), Ok(text));
            assert!(name.text(b"\xff").is_err());
        }
    }
}
