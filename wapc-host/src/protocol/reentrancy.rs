//! Which hosts this thread is within.

use std::{
    cell::{Cell, RefCell},
    marker::PhantomData,
};

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
