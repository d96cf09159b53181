//! Answers a guest's calls to its host from the command line.

use std::{
    collections::{BTreeSet, HashMap},
    sync::Arc,
};

use parking_lot::Mutex;
use thiserror::Error;
use wapc_host::{BoxError, HostCall, HostCallback};

use crate::{arguments::HostResponse, printable::Printable, tell};

/// Answers with the values of `--host-response`, and remembers what no value
/// was given for. Clones share what they remember.
#[derive(Clone, Debug)]
pub(crate) struct HostResponses {
    values: Arc<HashMap<String, String>>,
    unanswered: Arc<Mutex<BTreeSet<String>>>,
}

impl HostResponses {
    /// Of several responses to one call the last one counts.
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

    /// Tells the user which calls had no answer, but those that `told` names.
    pub(crate) fn show_unanswered(&self, told: &str) {
        for call in &*self.unanswered.lock() {
            let unanswered = Unanswered::of(call).to_string();
            if !told.contains(&unanswered) {
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
        if let Some(value) = self.values.get(&call) {
            response.extend_from_slice(value.as_bytes());
            return Ok(());
        }
        let error = Unanswered::of(&call);
        let mut unanswered = self.unanswered.lock();
        if unanswered.len() < REMEMBERED_CALLS {
            unanswered.insert(error.call.clone());
        }
        drop(unanswered);
        Err(error.into())
    }
}

/// What the guest is told, and the user reads.
#[derive(Debug, Error)]
#[error(
    "the guest asked its host for `{call}`, which has no answer here; give it one with --host-response {}",
    quoted(call)
)]
struct Unanswered {
    call: String,
}

impl Unanswered {
    /// A call of these names, shortened where no user could have meant them.
    fn of(call: &str) -> Self {
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

/// The flag's value, in quotes where a shell might take it apart.
fn quoted(call: &str) -> String {
    let plain = |letter: char| letter.is_alphanumeric() || "/._-:@+,".contains(letter);
    match call.chars().all(plain) {
        true => format!("{call}=VALUE"),
        false => format!("'{}=VALUE'", call.replace('\'', r"'\''")),
    }
}

/// A guest that asks for ever must not fill our memory.
const REMEMBERED_CALLS: usize = 16;

/// Longer names than these are cut.
const SHOWN_LETTERS: usize = 256;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_error_shows_the_flag_that_would_have_helped() {
        assert_eq!(
            Unanswered::of("kv/store/get").to_string(),
            "the guest asked its host for `kv/store/get`, which has no answer here; \
             give it one with --host-response kv/store/get=VALUE"
        );
        assert!(
            Unanswered::of("a b/it's/c")
                .to_string()
                .ends_with(r"--host-response 'a b/it'\''s/c=VALUE'")
        );
        assert!(Unanswered::of(&"x".repeat(1000)).to_string().len() < 1000);
    }
}
