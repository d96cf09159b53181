//! The contract between the host and an engine.

pub(crate) mod call_guard;
pub(crate) mod guest_call;
pub(crate) mod outcome;
pub(crate) mod provider;
#[cfg(any(test, feature = "testing"))]
pub mod scripted;
pub(crate) mod threaded;
