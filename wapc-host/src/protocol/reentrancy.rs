//! Detection of re-entrancy: a thread-local list of the hosts that this thread
//! is in a call of.

use std::{
    cell::{Cell, RefCell},
    marker::PhantomData,
};

/// Marks this thread as running user code on behalf of a call to a host, or as
/// holding an instance of it, until it is dropped. [`is_reentrant`] reads the
/// mark.
///
/// If such code called a host of one instance again, it would deadlock.
#[derive(Debug)]
pub(crate) struct ReentrancyGuard {
    host_id: u64,
    /// The host was the innermost one already, so there is nothing to undo.
    was_innermost: bool,
    /// Not `Send`, since the marks are thread-local.
    _not_send: PhantomData<*const ()>,
}

impl ReentrancyGuard {
    /// Creates a guard for user code that runs within the guard's scope.
    #[inline]
    pub(crate) fn scoped(host_id: u64) -> Self {
        // The common case while the caller holds a checked-out instance.
        if INNERMOST.get() == Some(host_id) {
            return Self {
                host_id,
                was_innermost: true,
                _not_send: PhantomData,
            };
        }
        Self::held(host_id)
    }

    /// Creates a guard that may be dropped in any order with others.
    #[inline]
    pub(crate) fn held(host_id: u64) -> Self {
        let outer = INNERMOST.replace(Some(host_id));
        if let Some(outer) = outer {
            push(outer);
        }
        Self {
            host_id,
            was_innermost: false,
            _not_send: PhantomData,
        }
    }
}

impl Drop for ReentrancyGuard {
    #[inline]
    fn drop(&mut self) {
        if self.was_innermost {
            return;
        }
        if INNERMOST.get() == Some(self.host_id) && DEPTH.get() == 0 {
            INNERMOST.set(None);
        } else {
            leave(self.host_id);
        }
    }
}

/// Returns `true` if a call to the host `host_id` from this thread would be
/// re-entrant.
#[inline]
pub(crate) fn is_reentrant(host_id: u64) -> bool {
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
    /// The innermost host of this thread. There is rarely more than one, so the
    /// fast path does not touch `OUTER`, which has a destructor.
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
        assert!(!is_reentrant(1));
        let outer = ReentrancyGuard::scoped(1);
        let inner = ReentrancyGuard::scoped(2);
        assert!(is_reentrant(1) && is_reentrant(2));
        drop(outer);
        assert!(!is_reentrant(1) && is_reentrant(2));
        let panicked = catch_unwind(|| {
            let _guard = ReentrancyGuard::scoped(3);
            assert!(!is_reentrant(3), "on purpose");
        });
        assert!(panicked.is_err() && !is_reentrant(3));
        drop(inner);
        assert!(!is_reentrant(2));
    }

    #[test]
    fn what_is_held_counts_once_for_each_holder() {
        let (first, second) = (ReentrancyGuard::held(1), ReentrancyGuard::held(1));
        drop(ReentrancyGuard::scoped(1));
        assert!(is_reentrant(1));
        drop(first);
        assert!(is_reentrant(1));
        drop(second);
        assert!(!is_reentrant(1));
    }
}
