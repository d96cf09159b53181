//! The stack that is left on this thread, and another one where that is too little.
//!
//! A guest may use all of its stack and then call its host, whose callback calls
//! another guest, and so on; and programs call guests on small threads. An engine that
//! runs out of stack ends the process, so each entry into a guest looks first.

use std::{
    cell::Cell,
    panic::{AssertUnwindSafe, catch_unwind, resume_unwind},
    pin::Pin,
    task::{Context, Poll},
};

use crate::limits::guest::LimitError;

/// The greatest number of stacks that calls within calls get on one thread.
const MAX_STACKS: u32 = 64;

/// The part of another stack for what comes between two checks.
const SLACK_BYTES: usize = 128 << 10;

/// The stack that an engine's own work takes in an async call: the guest has another
/// one, or none of the thread's.
const POLL_BYTES: usize = 256 << 10;

thread_local! {
    /// The lowest address of the stack that this thread runs on; `usize::MAX` if it is
    /// not known.
    static LOWEST: Cell<usize> = const { Cell::new(usize::MAX) };

    /// This thread runs on the stack of a suspended guest, of whose size nothing is known.
    static ON_GUEST_STACK: Cell<bool> = const { Cell::new(false) };

    /// The number of stacks that this thread has beside its own.
    static STACKS: Cell<u32> = const { Cell::new(0) };
}

/// Returns `true` if at least `bytes` of stack are known to be left.
#[inline(always)]
pub(crate) fn suffices(bytes: usize) -> bool {
    // Miri cannot switch stacks.
    cfg!(miri) || here() > LOWEST.get().saturating_add(bytes)
}

/// Runs `work` on a stack with at least `bytes` left: this one, or another one.
///
/// # Errors
///
/// [`LimitError::Nesting`] if this thread has too many of them.
pub(crate) fn run_with<T>(bytes: usize, work: impl FnOnce() -> T) -> Result<T, LimitError> {
    if suffices(bytes) || learn(bytes) {
        return Ok(work());
    }
    let number = STACKS.get() + 1;
    if number > MAX_STACKS {
        return Err(LimitError::Nesting {
            limit: u64::from(MAX_STACKS),
        });
    }
    let _back = Back::remember();
    STACKS.set(number);
    ON_GUEST_STACK.set(false);
    LOWEST.set(usize::MAX);
    // `grow` panics if there is no memory for a stack.
    let ran = catch_unwind(AssertUnwindSafe(|| {
        stacker::grow(bytes.saturating_add(SLACK_BYTES), || {
            learn(bytes);
            catch_unwind(AssertUnwindSafe(work))
        })
    }));
    match ran {
        Ok(Ok(result)) => Ok(result),
        Ok(Err(panic)) => resume_unwind(panic),
        Err(_) => Err(LimitError::Nesting {
            limit: u64::from(number - 1),
        }),
    }
}

/// Polls a future of an engine on a stack with enough room: it may be polled within a guest's
/// call, or on a small thread. The error is that of [`run_with`].
pub(crate) struct OnEnoughStack<F>(pub(crate) F);

impl<F: Future + Unpin> Future for OnEnoughStack<F> {
    type Output = Result<F::Output, LimitError>;

    #[inline]
    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let future = Pin::new(&mut self.0);
        if suffices(POLL_BYTES) {
            return future.poll(context).map(Ok);
        }
        match run_with(POLL_BYTES, || future.poll(context)) {
            Ok(polled) => polled.map(Ok),
            Err(limit) => Poll::Ready(Err(limit)),
        }
    }
}

/// Notes the end of this stack, if the system tells it. Returns `true` if `bytes` are
/// left.
#[cold]
fn learn(bytes: usize) -> bool {
    if ON_GUEST_STACK.get() {
        return false;
    }
    match stacker::remaining_stack() {
        Some(left) => {
            LOWEST.set(here().saturating_sub(left));
            left > bytes
        }
        None => false,
    }
}

/// An address near the end of the stack that is in use.
#[inline(always)]
fn here() -> usize {
    let local = 0_u8;
    (&raw const local).addr()
}

/// Marks this thread as running on the stack of a guest that can be suspended, until it
/// is dropped: a host function of an async call.
#[must_use = "it ends when it is dropped"]
pub(crate) struct OnGuestStack {
    _back: Back,
}

impl OnGuestStack {
    /// Marks the thread if the call is async.
    pub(crate) fn enter(is_async: bool) -> Option<Self> {
        is_async.then(|| {
            let back = Back::remember();
            ON_GUEST_STACK.set(true);
            LOWEST.set(usize::MAX);
            Self { _back: back }
        })
    }
}

/// Restores what is known of the stack.
struct Back {
    lowest: usize,
    on_guest_stack: bool,
    stacks: u32,
}

impl Back {
    fn remember() -> Self {
        Self {
            lowest: LOWEST.get(),
            on_guest_stack: ON_GUEST_STACK.get(),
            stacks: STACKS.get(),
        }
    }
}

impl Drop for Back {
    fn drop(&mut self) {
        LOWEST.set(self.lowest);
        ON_GUEST_STACK.set(self.on_guest_stack);
        STACKS.set(self.stacks);
    }
}

#[cfg(all(test, not(miri)))]
mod tests {
    use std::{hint::black_box, thread};

    use super::*;

    const KIB: usize = 1 << 10;

    fn on_thread_of<T: Send + 'static>(
        bytes: usize,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> T {
        let thread = thread::Builder::new().stack_size(bytes).spawn(work);
        thread.expect("a thread").join().expect("no panic")
    }

    /// Uses about `bytes` of stack.
    fn use_stack(bytes: usize) {
        use_stack_from(here(), bytes);
    }

    fn use_stack_from(start: usize, bytes: usize) {
        let block = [0_u8; KIB];
        black_box(&block);
        if start - here() < bytes {
            use_stack_from(start, bytes);
        }
        black_box(&block);
    }

    #[test]
    fn a_small_thread_gets_another_stack() {
        on_thread_of(128 * KIB, || {
            assert!(!suffices(1024 * KIB));
            run_with(1024 * KIB, || use_stack(1000 * KIB)).unwrap();
            assert!(suffices(16 * KIB), "the thread knows its own stack again");
        });
    }

    #[test]
    fn a_large_thread_keeps_its_own() {
        on_thread_of(4096 * KIB, || {
            let own = here();
            let inside = run_with(1024 * KIB, here).unwrap();
            assert!(own.abs_diff(inside) < 64 * KIB);
            assert!(suffices(1024 * KIB));
        });
    }

    fn nest(depth: u32) -> u32 {
        let deeper = run_with(512 * KIB, || {
            use_stack(400 * KIB);
            nest(depth + 1)
        });
        deeper.unwrap_or(depth)
    }

    #[test]
    fn nesting_has_an_end_that_is_no_crash() {
        let depth = on_thread_of(256 * KIB, || nest(0));
        assert!(depth >= MAX_STACKS, "{depth}");
        assert_eq!(on_thread_of(256 * KIB, || (nest(0), STACKS.get()).1), 0);
    }

    #[test]
    fn on_a_guests_stack_nothing_is_known() {
        on_thread_of(4096 * KIB, || {
            assert!(run_with(KIB, || ()).is_ok() && suffices(KIB));
            {
                let _on = OnGuestStack::enter(true);
                assert!(!suffices(KIB));
                let outer = here();
                let inner = run_with(256 * KIB, || {
                    use_stack(200 * KIB);
                    here()
                });
                assert!(outer.abs_diff(inner.unwrap()) > 256 * KIB);
            }
            assert!(suffices(KIB));
        });
    }

    #[test]
    fn a_panic_passes_through() {
        on_thread_of(128 * KIB, || {
            let ran = catch_unwind(|| run_with(1024 * KIB, || -> () { panic!("on purpose") }));
            let panic = ran.unwrap_err();
            assert_eq!(panic.downcast_ref::<&str>(), Some(&"on purpose"));
            assert_eq!(STACKS.get(), 0);
        });
    }
}
