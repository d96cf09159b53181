//! One call of a host function: the guest that has called it, and the call that the guest serves.

use std::{
    any::Any,
    fmt,
    panic::{AssertUnwindSafe, catch_unwind, resume_unwind},
    sync::Arc,
    time::Duration,
};

use super::memory::{Mailbox, range};
use crate::{
    error::MemoryError, limits::cancel::CancelHandle, protocol::budget::Budget,
    protocol::reentrancy::ReentrancyGuard, protocol::state::ModuleState, stack::OnGuestStack,
};

/// The guest that has called a host function, as its engine lends it.
///
/// The memory is the export `memory`, also where waPC's functions use another; unless the functions
/// ask for that one ([`HostFunctions::uses_wapc_memory`](crate::HostFunctions::uses_wapc_memory)).
pub trait FunctionGuest {
    /// Returns the state of the guest's conversation.
    fn state(&mut self) -> &mut ModuleState;

    /// Returns the guest's memory.
    fn memory(&mut self) -> &mut [u8];

    /// Grows the memory by `pages` of 64 KiB, within the host's limits, as the guest's own
    /// `memory.grow` does. Returns the number of pages before, or `None` if it cannot grow.
    fn grow_memory(&mut self, pages: u32) -> Option<u32>;

    /// Returns the address of the memory's first byte, as the engine itself has it: slices that are
    /// lent afterwards do not invalidate it.
    #[doc(hidden)]
    fn memory_base(&mut self) -> *mut u8 {
        self.memory().as_mut_ptr()
    }
}

/// What a host function may know of the call that its guest serves.
#[derive(Clone)]
pub(crate) struct CallDetails {
    pub(crate) host_id: u64,
    pub(crate) generation: u64,
    pub(crate) expires: u64,
    pub(crate) cancel: Option<CancelHandle>,
    pub(crate) context: Option<Arc<dyn Any + Send + Sync>>,
    pub(crate) trace: Option<Arc<str>>,
}

macro_rules! details {
    () => {
        /// Returns the id of the [`WapcHost`](crate::WapcHost) whose guest is calling.
        #[must_use]
        pub fn host_id(&self) -> u64 {
            self.details.host_id
        }

        /// Returns the number of the guest's code; see
        /// [`WapcHost::generation`](crate::WapcHost::generation).
        #[must_use]
        pub fn generation(&self) -> u64 {
            self.details.generation
        }

        /// Returns the [`CallOptions::context`](crate::CallOptions::context) of the guest's call,
        /// if it has one of type `T`.
        #[must_use]
        pub fn context<T: Any + Send + Sync>(&self) -> Option<Arc<T>> {
            self.details.context.clone()?.downcast().ok()
        }

        /// Returns the [`CallOptions::trace`](crate::CallOptions::trace) of the guest's call.
        #[must_use]
        pub fn trace(&self) -> Option<&str> {
            self.details.trace.as_deref()
        }

        /// Returns the time left for the guest's call, in multiples of 2 ms; `None` if it has no
        /// limit.
        #[must_use]
        pub fn time_left(&self) -> Option<Duration> {
            Budget::time_until(self.details.expires)
        }

        /// Returns `true` if the guest's call has been cancelled.
        #[must_use]
        pub fn is_cancelled(&self) -> bool {
            let cancel = self.details.cancel.as_ref();
            cancel.is_some_and(CancelHandle::is_cancelled)
        }
    };
}

/// A call of a host function, with the memory of the guest that has made it.
///
/// The memory is the guest's export `memory`, unless
/// [`HostFunctions::with_wapc_memory`](crate::HostFunctions::with_wapc_memory) is set. Pointers are
/// offsets in it.
pub struct FunctionCall<'g> {
    details: CallDetails,
    guest: &'g mut dyn FunctionGuest,
}

impl<'g> FunctionCall<'g> {
    pub(super) const fn new(details: CallDetails, guest: &'g mut dyn FunctionGuest) -> Self {
        Self { details, guest }
    }

    details!();

    /// Returns the whole memory of the guest.
    #[must_use]
    pub fn memory(&mut self) -> &mut [u8] {
        self.guest.memory()
    }

    /// Returns the address of the memory's first byte, for functions in C. It holds until the function
    /// returns, on wasmi until the memory grows.
    #[doc(hidden)]
    pub fn memory_base(&mut self) -> *mut u8 {
        self.guest.memory_base()
    }

    /// Returns `length` bytes of the guest's memory.
    ///
    /// # Errors
    ///
    /// [`MemoryError::OutOfBounds`] if they are not within the memory. A function that returns it
    /// ends the guest with
    /// [`FunctionError::OutOfBounds`](crate::error::FunctionError::OutOfBounds).
    pub fn read(&mut self, pointer: u32, length: u32) -> Result<&[u8], MemoryError> {
        self.read_mut(pointer, length).map(|bytes| &*bytes)
    }

    /// Returns `length` bytes of the guest's memory, to be changed.
    ///
    /// # Errors
    ///
    /// The same as of [`FunctionCall::read`].
    pub fn read_mut(&mut self, pointer: u32, length: u32) -> Result<&mut [u8], MemoryError> {
        range(self.guest.memory(), pointer, length as usize)
    }

    /// Writes `bytes` to the guest's memory.
    ///
    /// # Errors
    ///
    /// The same as of [`FunctionCall::read`]. Nothing is written then.
    pub fn write(&mut self, pointer: u32, bytes: &[u8]) -> Result<(), MemoryError> {
        range(self.guest.memory(), pointer, bytes.len())?.copy_from_slice(bytes);
        Ok(())
    }

    /// Grows the guest's memory by `pages` of 64 KiB, within the host's limits. Returns the number
    /// of pages before, or `None` if it cannot grow.
    pub fn grow_memory(&mut self, pages: u32) -> Option<u32> {
        self.guest.grow_memory(pages)
    }
}

/// A call of an async host function, with a handle to the memory of the suspended guest.
///
/// Each access is awaited, and lends nothing across another: the guest's memory is read and
/// written where the guest's call is polled. Clones may be moved to other tasks. When the
/// function has ended, or its guest is gone, an access fails with [`MemoryError::Gone`].
#[derive(Clone)]
pub struct AsyncFunctionCall {
    details: Arc<CallDetails>,
    mailbox: Arc<Mailbox>,
}

impl AsyncFunctionCall {
    pub(super) fn new(details: CallDetails, mailbox: Arc<Mailbox>) -> Self {
        let details = Arc::new(details);
        Self { details, mailbox }
    }

    details!();

    /// Returns a copy of `length` bytes of the guest's memory.
    ///
    /// # Errors
    ///
    /// [`MemoryError::OutOfBounds`] if they are not within the memory, and [`MemoryError::Gone`]
    /// if the function has ended.
    pub async fn read(&self, pointer: u32, length: u32) -> Result<Vec<u8>, MemoryError> {
        let read = move |guest: &mut dyn FunctionGuest| {
            range(guest.memory(), pointer, length as usize).map(|bytes| bytes.to_vec())
        };
        self.mailbox.access(read).await?
    }

    /// Writes `bytes` to the guest's memory.
    ///
    /// # Errors
    ///
    /// The same as of [`AsyncFunctionCall::read`]. Nothing is written then.
    pub async fn write(&self, pointer: u32, bytes: impl Into<Vec<u8>>) -> Result<(), MemoryError> {
        let bytes: Vec<u8> = bytes.into();
        let write = move |guest: &mut dyn FunctionGuest| {
            range(guest.memory(), pointer, bytes.len())?.copy_from_slice(&bytes);
            Ok(())
        };
        self.mailbox.access(write).await?
    }

    /// Runs `access` with the suspended guest, as a blocking function sees it, and returns its result.
    /// It runs where the guest's call is polled, and so must not wait.
    ///
    /// # Errors
    ///
    /// [`MemoryError::Gone`] if the function has ended.
    pub async fn with<T: Send + 'static>(
        &self,
        access: impl FnOnce(&mut FunctionCall<'_>) -> T + Send + 'static,
    ) -> Result<T, MemoryError> {
        let details = CallDetails::clone(&self.details);
        let accessed = self.mailbox.access(move |guest| {
            let _guard = ReentrancyGuard::scoped(details.host_id);
            let _stack = OnGuestStack::enter(true);
            let mut call = FunctionCall::new(details, guest);
            catch_unwind(AssertUnwindSafe(|| access(&mut call)))
        });
        // A panic is the function's, and not that of who polls it.
        Ok(accessed.await?.unwrap_or_else(|panic| resume_unwind(panic)))
    }

    /// Grows the guest's memory by `pages` of 64 KiB, within the host's limits. Returns the number
    /// of pages before, or `None` if it cannot grow.
    ///
    /// # Errors
    ///
    /// [`MemoryError::Gone`] if the function has ended.
    pub async fn grow_memory(&self, pages: u32) -> Result<Option<u32>, MemoryError> {
        let grow = move |guest: &mut dyn FunctionGuest| guest.grow_memory(pages);
        self.mailbox.access(grow).await
    }
}

impl fmt::Debug for FunctionCall<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FunctionCall")
            .field("host_id", &self.host_id())
            .field("generation", &self.generation())
            .finish_non_exhaustive()
    }
}

impl fmt::Debug for AsyncFunctionCall {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AsyncFunctionCall")
            .field("host_id", &self.host_id())
            .field("generation", &self.generation())
            .finish_non_exhaustive()
    }
}
