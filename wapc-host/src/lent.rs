//! Lending the caller's bytes to a guest instance for the length of one call.
//!
//! A guest instance owns its [`ModuleState`](crate::ModuleState), which therefore cannot hold a
//! plain reference to the caller's operation name, payload and response sink:
//! the instance outlives the call. Copying them in would cost a copy of the
//! payload. So a [`Loan`] puts raw pointers into the state and takes them out
//! again when it is dropped, on a return and on an unwind alike.
//!
//! # Safety argument
//!
//! 1. The pointer to the sink in [`Lent`] is not null only between
//!    [`Loan::new`] and the end of that `Loan`; the others are read only then,
//!    and are set before it is. The `Loan` borrows what the pointers point to for
//!    its whole life (`'a`), and it never leaves this crate, which never
//!    forgets one. The future of an async call, which holds one, may be
//!    forgotten by its owner. Then the lock on the instance's place, which the
//!    future holds as well, is never released: nobody reaches the state again,
//!    and dropping it reads no pointer.
//! 2. The state is reached through [`GuestInstance::state`], which an engine
//!    writes, in safe code: it might hand over one state when the loan begins
//!    and another when it ends. So the end compares the address of the loan's
//!    own [`Sink`] slot, which no other live loan shares. If it is not there,
//!    lent pointers have escaped, and the process aborts before the borrows
//!    can end.
//! 3. The sink is reached only through `&mut Lent`, and the bytes only
//!    through `&Lent` as shared slices. Everything lent is `Send` or shared
//!    and `Sync`, so an instance may move to another thread during a call.
//!    `AtomicPtr` states just this to the compiler; exclusive access needs no
//!    atomic operation.
#![expect(
    unsafe_code,
    reason = "the caller's bytes are lent to the instance without copying them"
)]

use std::{
    fmt,
    marker::PhantomData,
    ptr, slice,
    sync::atomic::{AtomicPtr, Ordering},
};

use crate::{module_state::Conversed, options::CallOptions, provider::GuestInstance};

/// Where a response goes, called inside `__guest_response`.
pub(crate) type Sink<'a> = dyn FnMut(&[u8]) + Send + 'a;

/// What the caller has lent to the state: nothing, outside a call.
#[derive(Default)]
pub(crate) struct Lent {
    operation: LentBytes,
    payload: LentBytes,
    /// Points to a `&mut Sink` on the stack of the call: a thin pointer.
    sink: AtomicPtr<&'static mut Sink<'static>>,
}

#[derive(Default)]
struct LentBytes {
    pointer: AtomicPtr<u8>,
    length: usize,
}

impl LentBytes {
    #[inline]
    fn set(&mut self, bytes: &[u8]) {
        *self.pointer.get_mut() = bytes.as_ptr().cast_mut();
        self.length = bytes.len();
    }

    /// # Safety
    ///
    /// The loan of these bytes is still alive.
    #[inline]
    unsafe fn get(&self) -> &[u8] {
        let pointer = self.pointer.load(Ordering::Relaxed);
        // SAFETY: `length` bytes have been lent here, the loan is still alive,
        // and nobody writes to them: they are borrowed shared.
        unsafe { slice::from_raw_parts(pointer, self.length) }
    }
}

impl Lent {
    /// The operation's name and the payload, or `None` outside a call.
    #[inline]
    pub(crate) fn request(&self) -> Option<(&[u8], &[u8])> {
        if self.sink.load(Ordering::Relaxed).is_null() {
            return None;
        }
        // SAFETY: the sink is lent, so the bytes are as well (argument 1).
        Some(unsafe { (self.operation.get(), self.payload.get()) })
    }

    /// Where the response goes, or `None` outside a call.
    pub(crate) fn sink(&mut self) -> Option<&mut Sink<'_>> {
        let sink = *self.sink.get_mut();
        // SAFETY: if it is not null, the loan of this exclusive borrow is still
        // alive (argument 1), and `&mut self` makes this the only use of it.
        // The lifetimes are shortened to that of `self`.
        let sink: &mut &mut Sink<'_> = unsafe { sink.cast::<&mut Sink<'_>>().as_mut()? };
        Some(&mut **sink)
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

/// Lends a call's bytes to an instance until it is dropped.
pub(crate) struct Loan<'a> {
    instance: &'a mut dyn GuestInstance,
    /// The address of the sink's slot, 0 once the loan has ended. Only ever
    /// compared: the loan may move to another thread.
    sink: usize,
    borrows: PhantomData<&'a mut [u8]>,
}

impl<'a> Loan<'a> {
    /// Lends `operation`, `payload` and `sink` to the instance's state, for a
    /// call with `options`.
    #[inline]
    pub(crate) fn new<'s, 't>(
        instance: &'a mut dyn GuestInstance,
        operation: &'a str,
        payload: &'a [u8],
        sink: &'a mut &'s mut Sink<'t>,
        options: Option<&CallOptions>,
    ) -> Self {
        let sink: *mut &'static mut Sink<'static> = ptr::from_mut(sink).cast();
        let state = instance.state();
        state.begin(options);
        let lent = state.lent_mut();
        lent.operation.set(operation.as_bytes());
        lent.payload.set(payload);
        *lent.sink.get_mut() = sink;
        Self {
            instance,
            sink: sink.addr(),
            borrows: PhantomData,
        }
    }

    /// The instance, to be called while the loan lasts.
    #[inline]
    pub(crate) fn instance(&mut self) -> &mut dyn GuestInstance {
        self.instance
    }

    /// Ends the loan, and tells how the call went for the state that it was
    /// lent to.
    #[inline]
    pub(crate) fn end(&mut self) -> Conversed {
        let state = self.instance.state();
        let lent = state.lent_mut();
        let sink = lent.sink.get_mut();
        if sink.addr() != self.sink {
            // The pointers are in a state that can no longer be reached
            // (argument 2): going on would let it read freed memory.
            std::process::abort();
        }
        *sink = ptr::null_mut();
        self.sink = 0;
        state.conversed()
    }
}

impl Drop for Loan<'_> {
    /// Ends the loan on an unwind.
    #[inline]
    fn drop(&mut self) {
        if self.sink != 0 {
            self.end();
        }
    }
}
