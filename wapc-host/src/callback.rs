//! Answering what guests ask of the host.

use std::{
    any::Any,
    cell::{Cell, RefCell},
    error::Error as StdError,
    fmt,
    marker::PhantomData,
    sync::Arc,
    time::Duration,
};

use crate::{budget::Budget, host_answer::AsyncHostCallback};

/// Any error that a callback may end in; its text reaches the guest through
/// `__host_error`.
pub type BoxError = Box<dyn StdError + Send + Sync>;

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

/// Answers guests' calls to the host.
///
/// The short way in is a closure over `(host id, binding, namespace,
/// operation, payload)` that returns the answer; see
/// [`WapcHost::new`](crate::WapcHost::new). A type that implements this trait
/// answers without allocating. Several threads may be in it at once.
///
/// An `Err` is not the end of the guest's call: the guest is told the error's
/// text, and decides. A panic ends the guest's call at once, drops the
/// instance, and goes on in the caller of [`WapcHost::call`](crate::WapcHost::call).
/// Calling the same host from here takes another of its instances, like any
/// call; a host of one instance answers with
/// [`Error::Reentrant`](crate::Error::Reentrant).
pub trait HostCallback: Send + Sync {
    /// Puts the answer to `call` into `response`, which is empty, and which
    /// the guest's instance uses again for its next host call.
    ///
    /// # Errors
    ///
    /// Anything; its text reaches the guest, and `response` is dropped.
    fn call(&self, call: HostCall<'_>, response: &mut Vec<u8>) -> Result<(), BoxError>;
}

impl<F> HostCallback for F
where
    F: Fn(u64, &str, &str, &str, &[u8]) -> Result<Vec<u8>, BoxError> + Send + Sync,
{
    fn call(&self, call: HostCall<'_>, response: &mut Vec<u8>) -> Result<(), BoxError> {
        *response = self(
            call.host_id,
            call.binding,
            call.namespace,
            call.operation,
            call.payload,
        )?;
        Ok(())
    }
}

/// The host's callback, in either form.
#[derive(Clone)]
pub(crate) enum Callback {
    Blocking(Arc<dyn HostCallback>),
    Async(Arc<dyn AsyncHostCallback>),
}

/// While it lives, this thread runs user code that a call to a host has led
/// to, or holds the host's instance, and [`is_within`] knows of it.
///
/// A host of one instance would wait for itself for ever if such code called
/// it again.
#[derive(Debug)]
pub(crate) struct Within {
    host_id: u64,
    /// This thread was within the host before, and innermost so.
    was_within: bool,
    /// It belongs to the thread that made it.
    _not_send: PhantomData<*const ()>,
}

impl Within {
    /// For user code that runs until the end of the value's scope.
    #[inline]
    pub(crate) fn enter(host_id: u64) -> Self {
        // So it is while the caller holds an instance.
        if INNERMOST.get() == Some(host_id) {
            return Self {
                host_id,
                was_within: true,
                _not_send: PhantomData,
            };
        }
        Self::hold(host_id)
    }

    /// For a value that is dropped in any order with others.
    #[inline]
    pub(crate) fn hold(host_id: u64) -> Self {
        let outer = INNERMOST.replace(Some(host_id));
        if let Some(outer) = outer {
            push(outer);
        }
        Self {
            host_id,
            was_within: false,
            _not_send: PhantomData,
        }
    }
}

impl Drop for Within {
    #[inline]
    fn drop(&mut self) {
        if self.was_within {
            return;
        }
        if INNERMOST.get() == Some(self.host_id) && DEPTH.get() == 0 {
            INNERMOST.set(None);
        } else {
            leave(self.host_id);
        }
    }
}

/// Whether this thread is within the host `host_id`.
#[inline]
pub(crate) fn is_within(host_id: u64) -> bool {
    match INNERMOST.get() {
        None => false,
        Some(innermost) => {
            innermost == host_id || OUTER.with_borrow(|outer| outer.contains(&host_id))
        }
    }
}

#[cold]
fn push(host_id: u64) {
    OUTER.with_borrow_mut(|outer| {
        outer.push(host_id);
        DEPTH.set(outer.len());
    });
}

#[cold]
fn leave(host_id: u64) {
    OUTER.with_borrow_mut(|outer| {
        if INNERMOST.get() == Some(host_id) {
            INNERMOST.set(outer.pop());
        } else if let Some(index) = outer.iter().rposition(|id| *id == host_id) {
            outer.remove(index);
        }
        DEPTH.set(outer.len());
    });
}

thread_local! {
    /// The host that this thread is within. As a rule there is one at the
    /// most, so that `OUTER`, which is slower to reach, stays empty.
    static INNERMOST: Cell<Option<u64>> = const { Cell::new(None) };
    /// The hosts around `INNERMOST`, outermost first.
    static OUTER: RefCell<Vec<u64>> = const { RefCell::new(Vec::new()) };
    /// `OUTER.len()`.
    static DEPTH: Cell<usize> = const { Cell::new(0) };
}

#[cfg(test)]
mod tests {
    use std::panic::catch_unwind;

    use super::*;

    #[test]
    fn nesting_is_known_and_ends_with_the_scope_even_by_a_panic() {
        assert!(!is_within(1));
        let outer = Within::enter(1);
        let inner = Within::enter(2);
        assert!(is_within(1) && is_within(2));
        drop(outer);
        assert!(!is_within(1) && is_within(2));
        let panicked = catch_unwind(|| {
            let _within = Within::enter(3);
            assert!(!is_within(3), "on purpose");
        });
        assert!(panicked.is_err() && !is_within(3));
        drop(inner);
        assert!(!is_within(2));
    }

    #[test]
    fn what_is_held_counts_once_for_each_holder() {
        let (first, second) = (Within::hold(1), Within::hold(1));
        drop(Within::enter(1));
        assert!(is_within(1));
        drop(first);
        assert!(is_within(1));
        drop(second);
        assert!(!is_within(1));
    }
}
