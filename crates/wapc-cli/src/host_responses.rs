//! Answers to guests' host calls, from the command line.

use std::{
    collections::{BTreeSet, HashMap},
    sync::Arc,
};

use parking_lot::Mutex;
use thiserror::Error;
use wapc_host::{BoxError, HostCall, HostCallback};

use crate::{arguments::HostResponse, tell};
use wapc_host::error::Printable;

/// Answers host calls with the values of `--host-response`, and records the calls
/// that have none. Clones share the record.
#[derive(Clone, Debug)]
pub(crate) struct HostResponses {
    values: Arc<HashMap<String, String>>,
    unanswered: Arc<Mutex<BTreeSet<String>>>,
}

impl HostResponses {
    /// The last of several responses to one call counts.
    pub(crate) fn new(responses: &[HostResponse]) -> Self {
        Self {
            values: Arc::new(
                responses
                    .iter()
                    .map(|response| (response.call.clone(), response.value.clone()))
                    .collect(),
            ),
            unanswered: Arc::default(),
        }
    }

    /// Returns the answer to a call. If there is none, that is recorded.
    pub(crate) fn answer(&self, call: &str) -> Result<&str, BoxError> {
        if let Some(value) = self.values.get(call) {
            return Ok(value);
        }
        let error = Unanswered::new(call);
        let mut unanswered = self.unanswered.lock();
        if unanswered.len() < REMEMBERED_CALLS {
            unanswered.insert(error.call.clone());
        }
        drop(unanswered);
        Err(error.into())
    }

    /// Prints the calls that had no answer, without those that `shown` contains
    /// already.
    pub(crate) fn show_unanswered(&self, shown: &str) {
        for call in &*self.unanswered.lock() {
            let unanswered = Unanswered::new(call).to_string();
            if !shown.contains(&unanswered) {
                tell(format_args!("note: {unanswered}"));
            }
        }
    }
}

impl HostCallback for HostResponses {
    fn call(&self, call: HostCall<'_>, response: &mut Vec<u8>) -> Result<(), BoxError> {
        let HostCall {
            binding,
            namespace,
            operation,
            ..
        } = call;
        let call = format!("{binding}/{namespace}/{operation}");
        response.extend_from_slice(self.answer(&call)?.as_bytes());
        Ok(())
    }
}

/// The error for the guest and the note for the user.
#[derive(Debug, Error)]
#[error(
    "the guest called `{call}` of its host, which has no answer; give one with --host-response {}",
    quoted(call)
)]
struct Unanswered {
    call: String,
}

impl Unanswered {
    /// Cuts names that are too long to be meant.
    fn new(call: &str) -> Self {
        let mut letters = call.chars();
        let mut call: String = letters.by_ref().take(SHOWN_LETTERS).collect();
        if letters.next().is_some() {
            call.push('…');
        }
        Self {
            call: Printable::line(&call).to_string(),
        }
    }
}

/// Returns the flag's value, quoted if a shell would split it.
fn quoted(call: &str) -> String {
    let plain = |letter: char| letter.is_alphanumeric() || "/._-:@+,".contains(letter);
    match call.chars().all(plain) {
        true => format!("{call}=VALUE"),
        false => format!("'{}=VALUE'", call.replace('\'', r"'\''")),
    }
}

/// Bounds the memory that a guest which calls without end can fill.
const REMEMBERED_CALLS: usize = 16;

/// Longer names are cut.
const SHOWN_LETTERS: usize = 256;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_error_shows_the_missing_flag() {
        assert_eq!(
            Unanswered::new("kv/store/get").to_string(),
            "the guest called `kv/store/get` of its host, which has no answer; \
             give one with --host-response kv/store/get=VALUE"
        );
        assert!(
            Unanswered::new("a b/it's/c")
                .to_string()
                .ends_with(r"--host-response 'a b/it'\''s/c=VALUE'")
        );
        assert!(Unanswered::new(&"x".repeat(1000)).to_string().len() < 1000);
    }
}
