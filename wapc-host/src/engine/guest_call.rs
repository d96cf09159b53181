//! One call of a guest: begun in its state, run by its engine, ended.

use std::{fmt, num::NonZeroU64};

use crate::{
    engine::outcome::{CallEnd, Failed, GuestReturn},
    limits::call::CallOptions,
    protocol::lent::Lending,
    protocol::state::ModuleState,
};

/// One call of a guest, on its way through
/// [`GuestInstance::drive`](crate::engine::GuestInstance::drive).
pub struct GuestCall<'c> {
    pub(super) request: Lending<'c>,
    pub(super) lengths: Lengths,
    pub(super) options: Option<&'c CallOptions>,
    /// After how many ticks the guest of an async call yields.
    pub(super) yield_ticks: Option<NonZeroU64>,
}

/// Lengths as they travel: unsigned 32-bit numbers in an `i32`.
#[derive(Clone, Copy)]
pub(crate) struct Lengths {
    pub(crate) operation: i32,
    pub(crate) payload: i32,
}

impl GuestCall<'_> {
    /// Begins the call in this state: what the guest asks there is answered
    /// from the request now.
    #[inline]
    pub(super) fn begin(&mut self, state: &mut ModuleState) -> Lengths {
        state.begin(self.options, self.yield_ticks);
        self.request.lend(state.lent_request());
        self.lengths
    }

    /// Ends the call in the state that it has begun in. `Ok` is the clock's
    /// ticks since then.
    #[inline]
    pub(crate) fn end(&mut self, state: &mut ModuleState, returned: GuestReturn) -> CallEnd {
        match returned.0 {
            Ok(()) if state.has_responded() => {
                self.request.take_back(state.lent_request());
                CallEnd(Ok(state.ticks()))
            }
            Ok(()) => self.end_failed(state, Failed::boxed(Ok(1))),
            Err(failed) => self.end_failed(state, failed),
        }
    }

    #[cold]
    fn end_failed(&mut self, state: &mut ModuleState, mut failed: Box<Failed>) -> CallEnd {
        self.request.take_back(state.lent_request());
        failed.ticks = state.ticks();
        CallEnd(Err(failed))
    }
}

impl fmt::Debug for GuestCall<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("GuestCall")
            .field("payload_bytes", &self.lengths.payload.cast_unsigned())
            .finish_non_exhaustive()
    }
}
