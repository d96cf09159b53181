//! A guest's call to its host, borrowed or owned.

use std::{any::Any, fmt, future::Future, ops::Range, pin::Pin, sync::Arc, time::Duration};

use crate::{limits::cancel::CancelHandle, protocol::budget::Budget};

/// A future in a box that may move between threads.
pub type BoxFuture<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// One call from a guest to its host, borrowed for a [`HostCallback`](crate::HostCallback).
#[derive(Clone, Copy)]
#[non_exhaustive]
pub struct HostCall<'a> {
    /// The id of the [`WapcHost`](crate::WapcHost) whose guest is calling.
    pub host_id: u64,
    /// The number of the guest's code; see
    /// [`WapcHost::generation`](crate::WapcHost::generation).
    pub generation: u64,
    /// The binding: the first of the three names of a host call.
    pub binding: &'a str,
    /// The namespace: the second name.
    pub namespace: &'a str,
    /// The operation: the third name.
    pub operation: &'a str,
    /// The payload, borrowed from the guest's memory.
    pub payload: &'a [u8],
    pub(super) budget: &'a Budget,
}

impl<'a> HostCall<'a> {
    /// Returns the [`CallOptions::context`](crate::CallOptions::context) of the
    /// guest's call, if it has one of type `T`.
    #[must_use]
    pub fn context<T: Any>(&self) -> Option<&'a T> {
        self.budget.context()?.downcast_ref()
    }

    /// Returns the [`CallOptions::trace`](crate::CallOptions::trace) of the guest's call.
    #[must_use]
    pub fn trace(&self) -> Option<&'a str> {
        self.budget.trace().map(|trace| &**trace)
    }

    /// Returns the time left for the guest's call, in multiples of 2 ms; `None`
    /// if it has no limit. With no time left, the call ends when the callback
    /// returns.
    #[must_use]
    pub fn time_left(&self) -> Option<Duration> {
        self.budget.time_left()
    }

    /// Returns the length of the names and the payload together.
    #[inline]
    pub(super) const fn bytes(&self) -> usize {
        self.binding.len() + self.namespace.len() + self.operation.len() + self.payload.len()
    }

    /// Returns `true` if the guest's call has been cancelled. The call ends when
    /// the callback returns.
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

/// One call from a guest to its host that owns its data, for an
/// [`AsyncHostCallback`](crate::AsyncHostCallback).
///
/// A future cannot borrow the guest's memory while it is suspended.
pub struct OwnedHostCall {
    host_id: u64,
    generation: u64,
    /// The payload and then the three names, in one allocation.
    bytes: Vec<u8>,
    payload_end: usize,
    binding_end: usize,
    namespace_end: usize,
    expires: u64,
    cancel: Option<CancelHandle>,
    context: Option<Arc<dyn Any + Send + Sync>>,
    trace: Option<Arc<str>>,
}

impl OwnedHostCall {
    pub(super) fn new(call: HostCall<'_>) -> Self {
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
            trace: call.budget.trace().cloned(),
        }
    }

    /// Returns the id of the [`WapcHost`](crate::WapcHost) whose guest is
    /// calling.
    #[must_use]
    pub const fn host_id(&self) -> u64 {
        self.host_id
    }

    /// Returns the number of the guest's code; see
    /// [`WapcHost::generation`](crate::WapcHost::generation).
    #[must_use]
    pub const fn generation(&self) -> u64 {
        self.generation
    }

    /// Returns the binding: the first of the three names of a host call.
    #[must_use]
    pub fn binding(&self) -> &str {
        self.name(self.payload_end..self.binding_end)
    }

    /// Returns the namespace: the second name.
    #[must_use]
    pub fn namespace(&self) -> &str {
        self.name(self.binding_end..self.namespace_end)
    }

    /// Returns the operation: the third name.
    #[must_use]
    pub fn operation(&self) -> &str {
        self.name(self.namespace_end..self.bytes.len())
    }

    fn name(&self, range: Range<usize>) -> &str {
        let name = self.bytes.get(range).unwrap_or_default();
        // The names were validated as UTF-8 before they were copied.
        str::from_utf8(name).unwrap_or_default()
    }

    /// Returns the payload.
    #[must_use]
    pub fn payload(&self) -> &[u8] {
        self.bytes.get(..self.payload_end).unwrap_or_default()
    }

    /// Converts this call to its payload, without a copy.
    #[must_use]
    pub fn into_payload(mut self) -> Vec<u8> {
        self.bytes.truncate(self.payload_end);
        self.bytes
    }

    /// Returns the [`CallOptions::context`](crate::CallOptions::context) of the
    /// guest's call, if it has one of type `T`.
    #[must_use]
    pub fn context<T: Any>(&self) -> Option<&T> {
        self.context.as_deref()?.downcast_ref()
    }

    /// Returns the [`CallOptions::trace`](crate::CallOptions::trace) of the guest's call.
    #[must_use]
    pub fn trace(&self) -> Option<&str> {
        self.trace.as_deref()
    }

    /// Returns the time left for the guest's call, in multiples of 2 ms; `None`
    /// if it has no limit.
    #[must_use]
    pub fn time_left(&self) -> Option<Duration> {
        Budget::time_until(self.expires)
    }

    /// Returns `true` if the guest's call has been cancelled.
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
