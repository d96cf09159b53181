//! The conversation between host and guest, by the rules of waPC.

use std::{fmt, num::NonZeroU64, sync::Arc};

use crate::{
    limits::call::CallOptions,
    limits::growth::Growth,
    limits::guest::Limits,
    protocol::budget::Budget,
    protocol::callback::{Callback, HostCallback},
    protocol::lent::LentRequest,
    protocol::owned::OwnedRequest,
    protocol::panic_slot::PanicSlot,
    protocol::scratch::{CallScratch, Utf8Cache},
};

pub use self::imports::{LogLevel, for_each_env_import, for_each_import};

mod host_calls;
mod imports;
mod metering;

/// The state of the conversation between a host and one instance of a guest.
///
/// An engine keeps it with the instance. It has one method for each function
/// that the host exports to guests in the module `wapc`. Each method takes the
/// guest's memory as a slice and the guest's numbers unchanged, and checks
/// bounds, UTF-8, the order of the protocol and the limits.
///
/// Pointers and lengths are unsigned 32-bit numbers in an `i32`. With a length
/// of 0, the pointer is not checked: some guests pass `0xffffffff` for an empty
/// buffer.
///
/// ```
/// use std::sync::Arc;
/// use wapc_host::{BoxError, ModuleState};
///
/// let callback = |_: u64, _: &str, _: &str, _: &str, payload: &[u8]| -> Result<Vec<u8>, BoxError> {
///     Ok(payload.to_ascii_uppercase())
/// };
/// let mut state = ModuleState::new(1, Arc::new(callback));
///
/// // A guest has these names and its payload in memory, and calls its host.
/// let mut memory = *b"bindnsophi";
/// assert_eq!(state.host_call(&memory, 0, 4, 4, 2, 6, 2, 8, 2)?, 1);
/// assert_eq!(state.host_response_len()?, 2);
/// state.host_response(&mut memory, 0)?;
/// assert_eq!(&memory[..2], b"HI");
/// # Ok::<(), wapc_host::error::StopReason>(())
/// ```
pub struct ModuleState {
    host_id: u64,
    generation: u64,
    slot: usize,
    suspends: bool,
    waits_on_thread: bool,
    stack_bytes: usize,
    callback: Callback,
    limits: Arc<Limits>,
    budget: Budget,
    growth: Growth,
    /// The request of a blocking call. At most one of `lent` and `owned` has a
    /// request.
    lent: LentRequest,
    /// The request of an async call.
    owned: OwnedRequest,
    responded: bool,
    scratch: CallScratch,
    names: Utf8Cache,
    panic: Arc<PanicSlot>,
    service: Option<Arc<[u8]>>,
}

impl ModuleState {
    /// Creates a state without limits, for a guest of the host `host_id` whose
    /// host calls `callback` answers.
    #[must_use]
    pub fn new(host_id: u64, callback: Arc<dyn HostCallback>) -> Self {
        let callback = Callback::Blocking(callback);
        let limits = Arc::new(Limits::unlimited());
        Self::for_generation(0, host_id, 0, callback, limits, None, false)
    }

    /// Creates the state of a guest of the code `generation` in the host's slot
    /// `slot`. The time of its start functions begins, under the `options` of a
    /// call that waits for the instance, if there is one.
    pub(crate) fn for_generation(
        generation: u64,
        host_id: u64,
        slot: usize,
        callback: Callback,
        limits: Arc<Limits>,
        options: Option<&CallOptions>,
        suspends: bool,
    ) -> Self {
        Self {
            host_id,
            suspends,
            waits_on_thread: false,
            stack_bytes: DEFAULT_STACK_BYTES,
            generation,
            slot,
            callback,
            budget: Budget::for_start(&limits, options),
            limits,
            growth: Growth::default(),
            lent: LentRequest::default(),
            owned: OwnedRequest::default(),
            responded: false,
            scratch: CallScratch::default(),
            names: Utf8Cache::default(),
            panic: Arc::default(),
            service: None,
        }
    }

    /// Returns the id of the guest's [`WapcHost`](crate::WapcHost).
    #[must_use]
    pub const fn host_id(&self) -> u64 {
        self.host_id
    }

    /// Returns a sharding hint: instances that tend to run concurrently have
    /// different values.
    #[must_use]
    pub fn shard_hint(&self) -> usize {
        let host = usize::try_from(self.host_id).unwrap_or_default();
        self.slot.wrapping_add(host)
    }

    /// Returns `true` if the guest has to be suspended in host functions: the
    /// host's callback is async, or the host has async callers. An engine that has
    /// to know beforehand then links functions that can suspend.
    #[must_use]
    pub const fn suspends(&self) -> bool {
        self.suspends || self.has_async_callback()
    }

    /// Tells the host that this instance waits on its thread in functions of WASI, since
    /// [`ModuleState::suspends`] was `false` when it was made. If the first call is async,
    /// the host makes another one.
    pub const fn set_waits_on_thread(&mut self) {
        self.waits_on_thread = true;
    }

    pub(crate) const fn waits_on_thread(&self) -> bool {
        self.waits_on_thread
    }

    /// Sets what the guest says of its operations: its module's
    /// [`service_section`](crate::module::service_section), for
    /// [`CheckedOut::service_section`](crate::CheckedOut::service_section).
    pub fn set_service_section(&mut self, section: Option<Arc<[u8]>>) {
        self.service = section;
    }

    pub(crate) fn service_section(&self) -> Option<&[u8]> {
        self.service.as_deref()
    }

    /// Sets the bytes of the calling thread's stack that a blocking call may take: those
    /// of the guest, the host functions and the callback. The default is 256 KiB. A call
    /// on a thread that has less left runs on another stack.
    pub const fn set_stack_bytes(&mut self, bytes: usize) {
        self.stack_bytes = bytes;
    }

    #[inline(always)]
    pub(crate) const fn stack_bytes(&self) -> usize {
        self.stack_bytes
    }

    /// Returns the limits of the guest.
    #[must_use]
    pub fn limits(&self) -> &Limits {
        &self.limits
    }

    /// Clears the results of the previous call and starts the time of the next
    /// one. An async call yields after each `yield_ticks`.
    #[inline]
    pub(crate) fn begin(&mut self, options: Option<&CallOptions>, yield_ticks: Option<NonZeroU64>) {
        self.budget.begin(&self.limits, options, yield_ticks);
        self.responded = false;
        self.scratch.reset();
    }

    pub(crate) const fn lent_request(&mut self) -> &mut LentRequest {
        &mut self.lent
    }

    pub(crate) const fn owned_request(&mut self) -> &mut OwnedRequest {
        &mut self.owned
    }

    /// Returns `true` if the guest has set a response.
    #[inline]
    pub(crate) const fn has_responded(&self) -> bool {
        self.responded
    }

    pub(crate) fn take_guest_error(&mut self) -> Option<String> {
        self.scratch.values_mut().guest_error.take()
    }

    pub(crate) const fn panic_slot(&self) -> &Arc<PanicSlot> {
        &self.panic
    }
}

/// Enough for an interpreter without optimisations, whose guests have a stack of their own.
const DEFAULT_STACK_BYTES: usize = 256 << 10;

impl fmt::Debug for ModuleState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ModuleState")
            .field("host_id", &self.host_id)
            .field("generation", &self.generation)
            .field("lent", &self.lent)
            .field("owned", &self.owned)
            .field("responded", &self.responded)
            .field("guest_error", &self.scratch.values().guest_error)
            .field(
                "host_response_bytes",
                &self.scratch.values().host_response.len(),
            )
            .field("host_error", &self.scratch.values().host_error)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
