//! The conversation between host and guest: the rules of waPC, written once.

use std::{any::Any, fmt, num::NonZeroU64, sync::Arc};

use parking_lot::Mutex;

use crate::{
    limits::call::CallOptions,
    limits::growth::Growth,
    limits::guest::Limits,
    protocol::budget::Budget,
    protocol::callback::{Callback, HostCallback},
    protocol::lent::LentRequest,
    protocol::pending::WaitForAnswer,
    protocol::scratch::{CallScratch, Utf8Cache},
};

pub use self::imports::for_each_import;

mod host_calls;
mod imports;
mod metering;

/// One guest's side of the conversation: what it was asked, what it answered,
/// and what the host answered to it.
///
/// It lives with the guest's instance, in the engine's store. It has one
/// method for each function that the host exports to guests in the module
/// `wapc`; each takes the guest's memory as a slice, and the guest's numbers
/// as they come. All bounds, UTF-8, protocol order and limits are checked
/// here.
///
/// Pointers and lengths are unsigned 32-bit numbers that travel as `i32`. A
/// length of 0 touches no memory, whatever the pointer: some guests pass
/// `0xffffffff` for an empty buffer.
pub struct ModuleState {
    host_id: u64,
    generation: u64,
    slot: usize,
    callback: Callback,
    limits: Arc<Limits>,
    budget: Budget,
    growth: Growth,
    lent: LentRequest,
    responded: bool,
    scratch: CallScratch,
    names: Utf8Cache,
    panic: Arc<PanicSlot>,
    waiter: Option<Arc<dyn WaitForAnswer>>,
}

impl ModuleState {
    /// The state of a guest of the host `host_id`, whose calls `callback`
    /// answers, without limits.
    #[must_use]
    pub fn new(host_id: u64, callback: Arc<dyn HostCallback>) -> Self {
        let callback = Callback::Blocking(callback);
        let limits = Arc::new(Limits::unlimited());
        Self::for_generation(0, host_id, 0, callback, limits, None)
    }

    /// The state of a guest of the code `generation` in the host's slot `slot`.
    /// Its start functions are about to run, within the `options` of a call
    /// that waits for it, if there is one.
    pub(crate) fn for_generation(
        generation: u64,
        host_id: u64,
        slot: usize,
        callback: Callback,
        limits: Arc<Limits>,
        options: Option<&CallOptions>,
    ) -> Self {
        Self {
            host_id,
            generation,
            slot,
            callback,
            budget: Budget::for_start(&limits, options),
            limits,
            growth: Growth::default(),
            lent: LentRequest::default(),
            responded: false,
            scratch: CallScratch::default(),
            names: Utf8Cache::default(),
            panic: Arc::default(),
            waiter: None,
        }
    }

    /// The id of the [`WapcHost`](crate::WapcHost) that the guest belongs to.
    #[must_use]
    pub const fn host_id(&self) -> u64 {
        self.host_id
    }

    /// A sharding hint: instances that tend to run concurrently get different
    /// values.
    #[must_use]
    pub fn shard_hint(&self) -> usize {
        let host = usize::try_from(self.host_id).unwrap_or_default();
        self.slot.wrapping_add(host)
    }

    /// What the guest may use.
    #[must_use]
    pub fn limits(&self) -> &Limits {
        &self.limits
    }

    /// Forgets the last call, so that the next one finds nothing of it. An
    /// async one yields after each `yield_ticks`.
    #[inline]
    pub(crate) fn begin(&mut self, options: Option<&CallOptions>, yield_ticks: Option<NonZeroU64>) {
        self.budget.begin(&self.limits, options, yield_ticks);
        self.responded = false;
        self.scratch.reset();
    }

    pub(crate) const fn lent_request(&mut self) -> &mut LentRequest {
        &mut self.lent
    }

    /// Whether the guest has set a response.
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

/// Where a callback's panic waits until the engine has unwound the guest.
///
/// Shared with the host, since a start function's failure takes the state
/// with it.
#[derive(Default)]
pub(crate) struct PanicSlot(Mutex<Option<Box<dyn Any + Send>>>);

impl PanicSlot {
    fn put(&self, panic: Box<dyn Any + Send>) {
        *self.0.lock() = Some(panic);
    }

    pub(crate) fn take(&self) -> Option<Box<dyn Any + Send>> {
        self.0.lock().take()
    }
}

impl fmt::Debug for ModuleState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ModuleState")
            .field("host_id", &self.host_id)
            .field("generation", &self.generation)
            .field("lent", &self.lent)
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
