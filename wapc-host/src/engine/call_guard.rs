//! Guards that end a call in its instance, on a return and on an unwind alike.

use std::num::NonZeroU64;

use crate::{
    engine::guest_call::{GuestCall, Lengths},
    engine::outcome::{Failed, GuestReturn},
    engine::provider::{AsyncCall, GuestInstance},
    limits::call::CallOptions,
    protocol::lent::{Lending, Request},
    protocol::payload::Payload,
};

/// A blocking call and its instance.
pub(crate) struct CallGuard<'i, 'c> {
    instance: &'i mut dyn GuestInstance,
    call: GuestCall<'c>,
}

impl<'i, 'c> CallGuard<'i, 'c> {
    /// Runs a call that lends `request` to the instance.
    // Consumes the guard where it is made: no caller can forget one.
    #[inline(always)]
    pub(crate) fn run(
        instance: &'i mut dyn GuestInstance,
        request: &'c mut Request<'_>,
        lengths: Lengths,
        options: Option<&'c CallOptions>,
    ) -> Result<u64, Box<Failed>> {
        let mut guard = Self {
            instance,
            call: GuestCall {
                request: Lending::new(request),
                lengths,
                options,
            },
        };
        guard.instance.drive(&mut guard.call).0
    }
}

impl Drop for CallGuard<'_, '_> {
    /// Takes back what is still lent: the engine has panicked.
    #[inline]
    fn drop(&mut self) {
        if self.call.request.is_lent() {
            let lent = self.instance.state().lent_request();
            self.call.request.take_back(lent);
        }
    }
}

/// An async call and its instance. It may be forgotten: its request and its
/// response are the instance's own.
pub(crate) struct AsyncCallGuard<'i, 'c> {
    instance: &'i mut dyn GuestInstance,
    /// Empty until the call ends.
    response: &'c mut Vec<u8>,
    has_ended: bool,
}

/// An async call that has not begun.
pub(crate) struct AsyncRequest<'c> {
    pub(crate) operation: &'c str,
    pub(crate) payload: Payload<'c>,
    pub(crate) response: &'c mut Vec<u8>,
}

impl<'i, 'c> AsyncCallGuard<'i, 'c> {
    /// Moves the request and the response's buffer into the instance. The guest
    /// yields after each `yield_ticks`.
    #[inline]
    pub(crate) fn new(
        instance: &'i mut dyn GuestInstance,
        request: &'c mut AsyncRequest<'_>,
        options: Option<&CallOptions>,
        yield_ticks: NonZeroU64,
    ) -> Self {
        let AsyncRequest {
            operation,
            payload,
            response,
        } = request;
        let state = instance.state();
        state.begin(options, Some(yield_ticks));
        state.owned_request().begin(operation, payload, response);
        Self {
            instance,
            response,
            has_ended: false,
        }
    }

    /// Begins the call.
    #[inline]
    pub(crate) fn call(&mut self, lengths: Lengths) -> AsyncCall<'_> {
        let Lengths { operation, payload } = lengths;
        self.instance.call_async(operation, payload)
    }

    /// Ends the call, and gives the response to the caller.
    #[inline]
    pub(crate) fn end(&mut self, returned: GuestReturn) -> Result<u64, Box<Failed>> {
        let state = self.instance.state();
        state.owned_request().end(self.response);
        self.has_ended = true;
        returned.end(state).0
    }
}

impl Drop for AsyncCallGuard<'_, '_> {
    /// Ends a call whose engine has panicked, or whose future was dropped.
    #[inline]
    fn drop(&mut self) {
        if !self.has_ended {
            let state = self.instance.state();
            state.owned_request().end(self.response);
        }
    }
}
