//! Lending the caller's bytes to a guest instance for the length of one call.
//!
//! A guest instance owns its `ModuleState`, which therefore cannot hold a
//! plain reference to the caller's [`Request`]: the instance outlives the call.
//! Copying it in would cost a copy of the payload. So a `GuestCall` puts a
//! raw pointer to it into the state and takes that out again at its end, and a
//! `CallGuard` sees to the end on a return and on an unwind alike.
//!
//! # Safety argument
//!
//! 1. The pointer in [`LentRequest`] is not null only between `GuestCall::begin`
//!    and the end of the `CallGuard` that owns the `GuestCall`. The `CallGuard` borrows
//!    the request for its whole life, and it never leaves this crate, which
//!    never forgets one. The future of an async call, which holds one, may be
//!    forgotten by its owner. Then the slot stays locked, if the future has
//!    locked it, or its instance stays poisoned, if a `CheckedOutAsync` has:
//!    the host never calls it again, and dropping it reads no pointer. This
//!    rests on the engine as well: one that has its guests asked for their
//!    request outside of its calls would then read freed memory.
//! 2. An engine, in safe code, decides which state a call begins with and which
//!    one it ends with. It might hand over one and then another, or none. So
//!    the end looks for the pointer, which no other live call shares. If it is
//!    not there, it has escaped, and the process aborts before the borrow can
//!    end. A call that has begun lends nothing to a second state.
//! 3. The request is reached only through the [`LentRequest`] that has the pointer to
//!    it: its sink through `&mut`, its bytes as shared slices. All of it is
//!    `Send`, so an instance may move to another thread during a call.
//!    `AtomicPtr` states just this to the compiler; exclusive access needs no
//!    atomic operation.
#![expect(
    unsafe_code,
    reason = "the caller's bytes are lent to the instance without copying them"
)]

use std::{
    fmt,
    marker::PhantomData,
    ptr,
    sync::atomic::{AtomicPtr, Ordering},
};

/// What a caller lends: the two things that the guest is given, and where its
/// response goes.
pub(crate) struct Request<'c> {
    pub(crate) operation: &'c str,
    pub(crate) payload: &'c [u8],
    pub(crate) sink: Sink<'c>,
}

impl<'c> Request<'c> {
    /// One whose response goes into the caller's buffer.
    #[inline]
    pub(crate) const fn filling(
        operation: &'c str,
        payload: &'c [u8],
        response: &'c mut Vec<u8>,
    ) -> Self {
        Self {
            operation,
            payload,
            sink: Sink::Fill(response),
        }
    }
}

/// Where a response goes, inside `__guest_response`.
pub(crate) enum Sink<'c> {
    /// Into the caller's buffer, in place of what is in it.
    Fill(&'c mut Vec<u8>),
    /// To a reader.
    Read(&'c mut (dyn FnMut(&[u8]) + Send + 'c)),
}

impl Sink<'_> {
    #[inline]
    pub(crate) fn take(&mut self, response: &[u8]) {
        match self {
            // A new buffer is allocated at once, and no larger than it must be.
            Self::Fill(buffer) if buffer.capacity() == 0 => **buffer = response.to_vec(),
            Self::Fill(buffer) => {
                buffer.clear();
                buffer.extend_from_slice(response);
            }
            Self::Read(read) => read(response),
        }
    }
}

/// What the caller has lent to the state: nothing, outside a call.
#[derive(Default)]
pub(crate) struct LentRequest {
    request: AtomicPtr<Request<'static>>,
}

impl LentRequest {
    /// The operation's name and the payload, or `None` outside a call.
    #[inline]
    pub(super) fn request(&self) -> Option<(&[u8], &[u8])> {
        let request = self.request.load(Ordering::Relaxed);
        // SAFETY: if it is not null, its call is still alive (argument 1) and
        // writes to it through this `LentRequest` alone (argument 3). The lifetimes
        // are shortened to that of `self`.
        let request: &Request<'_> = unsafe { request.as_ref()? };
        Some((request.operation.as_bytes(), request.payload))
    }

    /// Where the response goes, or `None` outside a call.
    #[inline]
    pub(crate) fn sink(&mut self) -> Option<&mut Sink<'_>> {
        let request = (*self.request.get_mut()).cast::<Request<'_>>();
        // SAFETY: as above, and `&mut self` makes this the only use of it.
        let request: &mut Request<'_> = unsafe { request.as_mut()? };
        Some(&mut request.sink)
    }
}

impl fmt::Debug for LentRequest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LentRequest")
            .field(
                "payload_bytes",
                &self.request().map(|(_, payload)| payload.len()),
            )
            .finish_non_exhaustive()
    }
}

/// The caller's side of a loan: the pointer to the request, on its way into a
/// [`LentRequest`] and out again.
///
/// The process aborts where one is dropped that is still lent.
pub(crate) struct Lending<'c> {
    request: AtomicPtr<Request<'static>>,
    /// A `LentRequest` has the pointer.
    is_lent: bool,
    borrows: PhantomData<&'c mut Request<'c>>,
}

impl<'c> Lending<'c> {
    #[inline(always)]
    pub(crate) fn new(request: &'c mut Request<'_>) -> Self {
        Self {
            request: AtomicPtr::new(ptr::from_mut(request).cast()),
            is_lent: false,
            borrows: PhantomData,
        }
    }

    #[inline]
    pub(crate) const fn is_lent(&self) -> bool {
        self.is_lent
    }

    /// Lends the request; to a second `LentRequest` it lends nothing.
    #[inline]
    pub(crate) fn lend(&mut self, lent: &mut LentRequest) {
        if !self.is_lent {
            *lent.request.get_mut() = *self.request.get_mut();
            self.is_lent = true;
        }
    }

    #[inline]
    pub(crate) fn take_back(&mut self, lent: &mut LentRequest) {
        let request = lent.request.get_mut();
        if *request != *self.request.get_mut() {
            // It is in a state that can no longer be reached (argument 2):
            // going on would let that read freed memory.
            std::process::abort();
        }
        *request = ptr::null_mut();
        self.is_lent = false;
    }
}

impl Drop for Lending<'_> {
    #[inline]
    fn drop(&mut self) {
        if self.is_lent {
            std::process::abort();
        }
    }
}
