//! Lending the caller's bytes to a guest instance for the length of one call.
//!
//! A guest instance owns its [`ModuleState`], which therefore cannot hold a
//! plain reference to the caller's [`Request`]: the instance outlives the call.
//! Copying it in would cost a copy of the payload. So a [`GuestCall`] puts a
//! raw pointer to it into the state and takes that out again at its end, and a
//! [`Loan`] sees to the end on a return and on an unwind alike.
//!
//! # Safety argument
//!
//! 1. The pointer in [`Lent`] is not null only between [`GuestCall::begin`]
//!    and the end of the [`Loan`] that owns the `GuestCall`. The `Loan` borrows
//!    the request for its whole life, and it never leaves this crate, which
//!    never forgets one. The future of an async call, which holds one, may be
//!    forgotten by its owner. Then the place stays locked, if the future has
//!    locked it, or its instance stays spoiled, if a `CheckedOutAsync` has:
//!    the host never calls it again, and dropping it reads no pointer. This
//!    rests on the engine as well: one that has its guests asked for their
//!    request outside of its calls would then read freed memory.
//! 2. An engine, in safe code, decides which state a call begins with and which
//!    one it ends with. It might hand over one and then another, or none. So
//!    the end looks for the pointer, which no other live call shares. If it is
//!    not there, it has escaped, and the process aborts before the borrow can
//!    end. A call that has begun lends nothing to a second state.
//! 3. The request is reached only through the [`Lent`] that has the pointer to
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
    num::NonZeroU64,
    ptr,
    sync::atomic::{AtomicPtr, Ordering},
};

use crate::{
    module_state::ModuleState,
    options::CallOptions,
    provider::{AsyncCall, GuestInstance},
    returned::{Conversed, Returned, Unanswered},
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
pub(crate) struct Lent {
    request: AtomicPtr<Request<'static>>,
}

impl Lent {
    /// The operation's name and the payload, or `None` outside a call.
    #[inline]
    pub(crate) fn request(&self) -> Option<(&[u8], &[u8])> {
        let request = self.request.load(Ordering::Relaxed);
        // SAFETY: if it is not null, its call is still alive (argument 1) and
        // writes to it through this `Lent` alone (argument 3). The lifetimes
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

impl fmt::Debug for Lent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Lent")
            .field(
                "payload_bytes",
                &self.request().map(|(_, payload)| payload.len()),
            )
            .finish_non_exhaustive()
    }
}

/// One call of a guest, on its way through
/// [`GuestInstance::converse`].
pub struct GuestCall<'c> {
    /// To what the caller lends.
    request: AtomicPtr<Request<'static>>,
    /// A state has the pointer.
    is_lent: bool,
    lengths: Lengths,
    options: Option<&'c CallOptions>,
    /// How many ticks the guest of an async call runs between pauses.
    slice: Option<NonZeroU64>,
    borrows: PhantomData<&'c mut Request<'c>>,
}

/// Lengths as they travel: unsigned 32-bit numbers in an `i32`.
#[derive(Clone, Copy)]
pub(crate) struct Lengths {
    pub(crate) operation: i32,
    pub(crate) payload: i32,
}

impl GuestCall<'_> {
    /// Begins the call in this state: what the guest asks there is answered
    /// from the request now.
    #[inline]
    pub(crate) fn begin(&mut self, state: &mut ModuleState) -> Lengths {
        state.begin(self.options, self.slice);
        if !self.is_lent {
            *state.lent_mut().request.get_mut() = *self.request.get_mut();
            self.is_lent = true;
        }
        self.lengths
    }

    /// Ends the call in the state that it has begun in. `Ok` is the clock's
    /// ticks since then.
    #[inline]
    pub(crate) fn end(&mut self, state: &mut ModuleState, returned: Returned) -> Conversed {
        match returned.0 {
            Ok(()) if state.has_responded() => {
                self.take_back(state);
                Conversed(Ok(state.ticks()))
            }
            Ok(()) => self.end_unanswered(state, Unanswered::boxed(Ok(1))),
            Err(unanswered) => self.end_unanswered(state, unanswered),
        }
    }

    #[cold]
    fn end_unanswered(
        &mut self,
        state: &mut ModuleState,
        mut unanswered: Box<Unanswered>,
    ) -> Conversed {
        self.take_back(state);
        unanswered.ticks = state.ticks();
        Conversed(Err(unanswered))
    }

    #[inline]
    fn take_back(&mut self, state: &mut ModuleState) {
        let request = state.lent_mut().request.get_mut();
        if *request != *self.request.get_mut() {
            // It is in a state that can no longer be reached (argument 2):
            // going on would let that read freed memory.
            std::process::abort();
        }
        *request = ptr::null_mut();
        self.is_lent = false;
    }
}

impl fmt::Debug for GuestCall<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("GuestCall")
            .field("payload_bytes", &self.lengths.payload.cast_unsigned())
            .finish_non_exhaustive()
    }
}

/// A call and the instance that it is for.
pub(crate) struct Loan<'i, 'c> {
    instance: &'i mut dyn GuestInstance,
    call: GuestCall<'c>,
}

impl<'i, 'c> Loan<'i, 'c> {
    /// A call that lends `request` to the instance, with a pause after each
    /// `slice` ticks if it is async.
    #[inline(always)]
    pub(crate) fn new(
        instance: &'i mut dyn GuestInstance,
        request: &'c mut Request<'_>,
        lengths: Lengths,
        options: Option<&'c CallOptions>,
        slice: Option<NonZeroU64>,
    ) -> Self {
        Self {
            instance,
            call: GuestCall {
                request: AtomicPtr::new(ptr::from_mut(request).cast()),
                is_lent: false,
                lengths,
                options,
                slice,
                borrows: PhantomData,
            },
        }
    }

    /// Runs the call.
    #[inline(always)]
    pub(crate) fn converse(&mut self) -> Result<u64, Box<Unanswered>> {
        self.instance.converse(&mut self.call).0
    }

    /// Begins the call, to be ended when the engine is done.
    #[inline]
    pub(crate) fn converse_async(&mut self) -> AsyncCall<'_> {
        self.instance.converse_async(&mut self.call)
    }

    /// Ends a call that has begun so.
    #[inline]
    pub(crate) fn end(&mut self, returned: Returned) -> Result<u64, Box<Unanswered>> {
        self.call.end(self.instance.state(), returned).0
    }
}

impl Drop for Loan<'_, '_> {
    /// Takes back what is still lent: the engine has panicked, or its future
    /// was dropped.
    #[inline]
    fn drop(&mut self) {
        if self.call.is_lent {
            self.call.take_back(self.instance.state());
        }
    }
}
