//! What a guest asks of its host, lent or owned.

use std::{any::Any, fmt, future::Future, ops::Range, pin::Pin, sync::Arc, time::Duration};

use crate::{limits::cancel::CancelHandle, protocol::budget::Budget};

/// A future in a box that may move between threads.
pub type BoxFuture<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// One call from a guest to its host.
#[derive(Clone, Copy)]
#[non_exhaustive]
pub struct HostCall<'a> {
    /// The id of the [`WapcHost`](crate::WapcHost) whose guest is calling.
    pub host_id: u64,
    /// The number of the guest's code; see
    /// [`WapcHost::generation`](crate::WapcHost::generation).
    pub generation: u64,
    /// The first of the three names that say what is called.
    pub binding: &'a str,
    /// The second name.
    pub namespace: &'a str,
    /// The third name.
    pub operation: &'a str,
    /// The guest's bytes, read in place in its memory.
    pub payload: &'a [u8],
    pub(crate) budget: &'a Budget,
}

impl<'a> HostCall<'a> {
    /// The [`CallOptions::context`](crate::CallOptions::context) of the call
    /// that has led here, if it has one of this type.
    #[must_use]
    pub fn context<T: Any>(&self) -> Option<&'a T> {
        self.budget.context()?.downcast_ref()
    }

    /// How long the guest's call may still take, to 2 ms; `None` if it may go
    /// on for ever. When nothing is left, the call ends as soon as the callback
    /// returns.
    #[must_use]
    pub fn time_left(&self) -> Option<Duration> {
        self.budget.time_left()
    }

    /// The length of all its parts.
    #[inline]
    pub(crate) const fn bytes(&self) -> usize {
        self.binding.len() + self.namespace.len() + self.operation.len() + self.payload.len()
    }

    /// Whether the guest's call has been cancelled: it ends as soon as the
    /// callback returns.
    #[must_use]
    pub fn is_cancelled(&self) -> bool {
        self.budget.is_cancelled()
    }
}

impl fmt::Debug for HostCall<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HostCall")
            .field("host_id", &self.host_id)
            .field("generation", &self.generation)
            .field("binding", &self.binding)
            .field("namespace", &self.namespace)
            .field("operation", &self.operation)
            .field("payload_bytes", &self.payload.len())
            .finish_non_exhaustive()
    }
}

/// One call from a guest to its host that owns what it holds, so that a future
/// can keep it: the guest's memory cannot be borrowed while others await.
pub struct OwnedHostCall {
    host_id: u64,
    generation: u64,
    /// The payload and then the three names: one allocation.
    bytes: Vec<u8>,
    payload_end: usize,
    binding_end: usize,
    namespace_end: usize,
    expires: u64,
    cancel: Option<CancelHandle>,
    context: Option<Arc<dyn Any + Send + Sync>>,
}

impl OwnedHostCall {
    pub(crate) fn new(call: HostCall<'_>) -> Self {
        let mut bytes = Vec::with_capacity(call.bytes());
        bytes.extend_from_slice(call.payload);
        let payload_end = bytes.len();
        bytes.extend_from_slice(call.binding.as_bytes());
        let binding_end = bytes.len();
        bytes.extend_from_slice(call.namespace.as_bytes());
        let namespace_end = bytes.len();
        bytes.extend_from_slice(call.operation.as_bytes());
        Self {
            host_id: call.host_id,
            generation: call.generation,
            bytes,
            payload_end,
            binding_end,
            namespace_end,
            expires: call.budget.expires(),
            cancel: call.budget.cancel().cloned(),
            context: call.budget.shared_context(),
        }
    }

    /// The id of the [`WapcHost`](crate::WapcHost) whose guest is calling.
    #[must_use]
    pub const fn host_id(&self) -> u64 {
        self.host_id
    }

    /// The number of the guest's code.
    #[must_use]
    pub const fn generation(&self) -> u64 {
        self.generation
    }

    /// The first of the three names that say what is called.
    #[must_use]
    pub fn binding(&self) -> &str {
        self.name(self.payload_end..self.binding_end)
    }

    /// The second name.
    #[must_use]
    pub fn namespace(&self) -> &str {
        self.name(self.binding_end..self.namespace_end)
    }

    /// The third name.
    #[must_use]
    pub fn operation(&self) -> &str {
        self.name(self.namespace_end..self.bytes.len())
    }

    fn name(&self, range: Range<usize>) -> &str {
        let name = self.bytes.get(range).unwrap_or_default();
        // The guest's names were checked before they were copied.
        str::from_utf8(name).unwrap_or_default()
    }

    /// The guest's bytes.
    #[must_use]
    pub fn payload(&self) -> &[u8] {
        self.bytes.get(..self.payload_end).unwrap_or_default()
    }

    /// The guest's bytes, to keep.
    #[must_use]
    pub fn into_payload(mut self) -> Vec<u8> {
        self.bytes.truncate(self.payload_end);
        self.bytes
    }

    /// As [`HostCall::context`].
    #[must_use]
    pub fn context<T: Any>(&self) -> Option<&T> {
        self.context.as_deref()?.downcast_ref()
    }

    /// As [`HostCall::time_left`].
    #[must_use]
    pub fn time_left(&self) -> Option<Duration> {
        Budget::time_until(self.expires)
    }

    /// As [`HostCall::is_cancelled`].
    #[must_use]
    pub fn is_cancelled(&self) -> bool {
        self.cancel.as_ref().is_some_and(CancelHandle::is_cancelled)
    }
}

impl fmt::Debug for OwnedHostCall {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("OwnedHostCall")
            .field("host_id", &self.host_id)
            .field("generation", &self.generation)
            .field("binding", &self.binding())
            .field("namespace", &self.namespace())
            .field("operation", &self.operation())
            .field("payload_bytes", &self.payload_end)
            .finish_non_exhaustive()
    }
}
