//! Lending a blocking call's request to the guest's instance.
//!
//! A `ModuleState` outlives the call, so it cannot hold a plain reference to the
//! caller's [`Request`], and copying that in would copy the payload. So a call
//! puts a raw pointer to it into the state, and takes that out again at its end.
//! Async calls lend nothing: see `owned.rs`.
//!
//! # Safety argument
//!
//! 1. No [`Lending`] outlives the borrow of its request. Only `CallGuard::run`
//!    makes one: in its own frame, which drops it on a return and on an unwind,
//!    and cannot be suspended. The engine gets a `&mut` to it, and has no second
//!    `Lending` of the same lifetime to exchange it for.
//! 2. When a `Lending` is gone, no [`LentRequest`] has its pointer, or the
//!    process has been aborted. It puts the pointer into one state at a time. It
//!    ends by taking it out again, from the state that the engine hands over
//!    then; where that has another pointer or none, it aborts. Where the engine
//!    hands over none, since it panics, the `Lending` is dropped while it is
//!    lent, and aborts.
//! 3. The request is reached only through the [`LentRequest`] that has the
//!    pointer to it: its sink through `&mut`, its bytes as shared slices. All of
//!    it is `Send`, so a state may move to another thread during a call.
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

use crate::protocol::owned::fill;

/// The request of a blocking call, and the place where its response goes.
pub(crate) struct Request<'c> {
    pub(crate) operation: &'c str,
    pub(crate) payload: &'c [u8],
    pub(crate) sink: Sink<'c>,
}

impl<'c> Request<'c> {
    /// A request whose response goes into the caller's buffer.
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

/// The place where a response goes, inside `__guest_response`.
pub(crate) enum Sink<'c> {
    /// The caller's buffer, whose contents are replaced.
    Fill(&'c mut Vec<u8>),
    /// A reader.
    Read(&'c mut (dyn FnMut(&[u8]) + Send + 'c)),
}

impl Sink<'_> {
    #[inline]
    pub(crate) fn take(&mut self, response: &[u8]) {
        match self {
            Self::Fill(buffer) => fill(buffer, response),
            Self::Read(read) => read(response),
        }
    }
}

/// The state's side: the request that a blocking call has lent, if one is
/// running.
#[derive(Default)]
pub(crate) struct LentRequest {
    request: AtomicPtr<Request<'static>>,
}

impl LentRequest {
    /// Returns the operation's name and the payload, or `None` outside a call.
    #[inline]
    pub(super) fn request(&self) -> Option<(&[u8], &[u8])> {
        let request = self.request.load(Ordering::Relaxed);
        // SAFETY: if it is not null, its `Lending` is still there (argument 2),
        // and so is the request (argument 1), which is written to through this
        // `LentRequest` alone (argument 3). The lifetimes are shortened to that
        // of `self`.
        let request: &Request<'_> = unsafe { request.as_ref()? };
        Some((request.operation.as_bytes(), request.payload))
    }

    /// Returns the place where the response goes, or `None` outside a call.
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

/// The caller's side: the pointer to the request, to be put into a
/// [`LentRequest`] and taken out again.
///
/// Dropping one that is still lent aborts the process (argument 2).
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

    /// Lends the request. Does nothing if it is lent already.
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
            // Another state has it, which would read freed memory (argument 2).
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
