//! Host functions that suspend their guest.

use std::{
    fmt,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::Arc,
    task::{Context, Poll},
};

use super::{FUNCTION, FunctionFuture, HostFunction, Value, call::FunctionGuest, memory::Mailbox};
use crate::{
    error::StopReason, protocol::pending::WaitLimits, protocol::reentrancy::ReentrancyGuard,
    stack::OnGuestStack,
};

/// A host function that has suspended its guest. The engine polls it, and resumes the guest with
/// the results.
///
/// It ends no later than the call's deadline, and when the call is cancelled.
#[must_use = "the guest waits for it"]
pub struct PendingFunction {
    function: Arc<HostFunction>,
    host_id: u64,
    future: FunctionFuture,
    limits: WaitLimits,
    mailbox: Arc<Mailbox>,
}

/// The accesses to memory in a row after which other tasks have their turn.
const MAX_ACCESSES: usize = 64;

impl PendingFunction {
    pub(super) const fn new(
        function: Arc<HostFunction>,
        host_id: u64,
        future: FunctionFuture,
        limits: WaitLimits,
        mailbox: Arc<Mailbox>,
    ) -> Self {
        Self {
            function,
            host_id,
            future,
            limits,
            mailbox,
        }
    }

    /// Polls the function's future, and gives it the accesses to the guest's memory that it asks
    /// for. Returns the function's results.
    ///
    /// # Errors
    ///
    /// The same as of [`HostFunction::call`].
    pub fn poll(
        &mut self,
        context: &mut Context<'_>,
        guest: &mut dyn FunctionGuest,
    ) -> Poll<Result<Vec<Value>, StopReason>> {
        self.mailbox.set_driver(context.waker());
        for _ in 0..MAX_ACCESSES {
            if let Err(stop) = self.limits.check() {
                return Poll::Ready(Err(stop));
            }
            // A future that has panicked is not polled again.
            let polled = catch_unwind(AssertUnwindSafe(|| {
                let _guard = ReentrancyGuard::scoped(self.host_id);
                let _stack = OnGuestStack::enter(true);
                let ended = self.future.as_mut().poll(context);
                ended.map_err(|error| self.function.failed(&error))
            }));
            match polled {
                Ok(Poll::Pending) => {}
                Ok(Poll::Ready(ended)) => {
                    let checked = guest.state().check();
                    return Poll::Ready(ended.and_then(|results| checked.map(|()| results)));
                }
                Err(panic) => {
                    return Poll::Ready(Err(guest.state().foreign_panicked(FUNCTION, panic)));
                }
            }
            if !self.mailbox.serve(guest) {
                return match self.limits.wake_at_end(context) {
                    Ok(()) => Poll::Pending,
                    Err(stop) => Poll::Ready(Err(stop)),
                };
            }
        }
        context.waker().wake_by_ref();
        Poll::Pending
    }
}

impl Drop for PendingFunction {
    fn drop(&mut self) {
        self.mailbox.close();
    }
}

impl fmt::Debug for PendingFunction {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("PendingFunction")
            .field(&self.function)
            .finish()
    }
}
