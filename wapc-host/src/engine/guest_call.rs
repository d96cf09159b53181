//! One blocking call of a guest: begun in its state, run by its engine, ended.

use std::fmt;

use crate::{
    engine::outcome::{CallEnd, GuestReturn},
    limits::call::CallOptions,
    protocol::lent::Lending,
    protocol::state::ModuleState,
};

/// One blocking call of a guest, for
/// [`GuestInstance::drive`](crate::engine::GuestInstance::drive).
pub struct GuestCall<'c> {
    pub(super) request: Lending<'c>,
    pub(super) lengths: Lengths,
    pub(super) options: Option<&'c CallOptions>,
}

/// Lengths in the form of the protocol: unsigned 32-bit numbers in an `i32`.
#[derive(Clone, Copy)]
pub(crate) struct Lengths {
    pub(crate) operation: i32,
    pub(crate) payload: i32,
}

impl GuestCall<'_> {
    /// Begins the call in this state, and lends it the request.
    #[inline]
    pub(super) fn begin(&mut self, state: &mut ModuleState) -> Lengths {
        state.begin(self.options, None);
        self.request.lend(state.lent_request());
        self.lengths
    }

    /// Ends the call in the state that it has begun in.
    #[inline]
    pub(super) fn end(&mut self, state: &mut ModuleState, returned: GuestReturn) -> CallEnd {
        self.request.take_back(state.lent_request());
        returned.end(state)
    }
}

impl fmt::Debug for GuestCall<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("GuestCall")
            .field("payload_bytes", &self.lengths.payload.cast_unsigned())
            .finish_non_exhaustive()
    }
}
