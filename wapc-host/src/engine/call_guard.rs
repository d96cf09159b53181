//! Ends a call in its instance, on a return and on an unwind alike.

use std::num::NonZeroU64;

use crate::{
    engine::guest_call::{GuestCall, Lengths},
    engine::outcome::{Failed, GuestReturn},
    engine::provider::{AsyncCall, GuestInstance},
    limits::call::CallOptions,
    protocol::lent::{Lending, Request},
};

/// A call and the instance that it is for.
pub(crate) struct CallGuard<'i, 'c> {
    instance: &'i mut dyn GuestInstance,
    call: GuestCall<'c>,
}

impl<'i, 'c> CallGuard<'i, 'c> {
    /// A call that lends `request` to the instance, yielding after each
    /// `yield_ticks` if it is async.
    #[inline(always)]
    pub(crate) fn new(
        instance: &'i mut dyn GuestInstance,
        request: &'c mut Request<'_>,
        lengths: Lengths,
        options: Option<&'c CallOptions>,
        yield_ticks: Option<NonZeroU64>,
    ) -> Self {
        Self {
            instance,
            call: GuestCall {
                request: Lending::new(request),
                lengths,
                options,
                yield_ticks,
            },
        }
    }

    /// Runs the call.
    #[inline(always)]
    pub(crate) fn drive(&mut self) -> Result<u64, Box<Failed>> {
        self.instance.drive(&mut self.call).0
    }

    /// Begins the call, to be ended when the engine is done.
    #[inline]
    pub(crate) fn drive_async(&mut self) -> AsyncCall<'_> {
        self.instance.drive_async(&mut self.call)
    }

    /// Ends a call that has begun so.
    #[inline]
    pub(crate) fn end(&mut self, returned: GuestReturn) -> Result<u64, Box<Failed>> {
        self.call.end(self.instance.state(), returned).0
    }
}

impl Drop for CallGuard<'_, '_> {
    /// Takes back what is still lent: the engine has panicked, or its future
    /// was dropped.
    #[inline]
    fn drop(&mut self) {
        if self.call.request.is_lent() {
            let lent = self.instance.state().lent_request();
            self.call.request.take_back(lent);
        }
    }
}
