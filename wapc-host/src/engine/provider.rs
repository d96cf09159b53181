//! The contract between the host and an engine.

use std::{fmt, future::ready};

use crate::{
    engine::guest_call::GuestCall,
    engine::outcome::{CallEnd, GuestReturn},
    error::{EngineError, StopReason},
    limits::interruption::Interruption,
    protocol::host_call::BoxFuture,
    protocol::state::ModuleState,
    stack,
};

/// A module compiled by some engine, from which instances are made.
///
/// An engine implements this trait and [`GuestInstance`]. It links one function
/// for each method of [`ModuleState`] that [`for_each_import`](crate::engine::for_each_import)
/// lists, and translates its own errors to [`EngineError`]. The module
/// [`engine`](crate::engine) has a complete example.
pub trait WebAssemblyEngineProvider: Send + Sync {
    /// Makes an instance and runs its start functions, in the order of
    /// [`StartFunction::ALL`](crate::error::StartFunction::ALL).
    ///
    /// The instance owns `state`, and returns it from [`GuestInstance::state`].
    ///
    /// # Errors
    ///
    /// [`EngineError::Start`] if a start function fails; any other variant if
    /// the engine cannot make the instance.
    fn init(&self, state: ModuleState) -> Result<Box<dyn GuestInstance>, EngineError>;

    /// Compiles and links another module (binary or text) on the same engine
    /// with the same settings. No guest code runs, and `self` does not change.
    ///
    /// # Errors
    ///
    /// [`EngineError::Module`] if `module` is not a guest that this engine
    /// can run.
    fn replace(&self, module: &[u8]) -> Result<Box<dyn WebAssemblyEngineProvider>, EngineError>;

    /// Returns the ways to interrupt this provider's instances. Default:
    /// [`Interruption::Off`].
    ///
    /// With interruption by time, an instance calls [`ModuleState::check`] every
    /// few milliseconds while its guest runs, if [`ModuleState::is_timed`], or has a
    /// [`KillSwitch`](crate::engine::KillSwitch). With interruption by fuel, it ends
    /// the guest when [`ModuleState::fuel`] is used up.
    fn interruption(&self) -> Interruption {
        Interruption::Off
    }

    /// Makes an instance like [`WebAssemblyEngineProvider::init`], and suspends
    /// its start functions while an async callback is pending
    /// ([`ModuleState::start_host_call`]). The default calls `init`.
    ///
    /// # Errors
    ///
    /// The same as of [`WebAssemblyEngineProvider::init`].
    fn init_async(
        &self,
        state: ModuleState,
    ) -> BoxFuture<'_, Result<Box<dyn GuestInstance>, EngineError>> {
        Box::pin(ready(self.init(state)))
    }
}

/// The state of an async call after [`GuestInstance::call_async`].
#[non_exhaustive]
pub enum AsyncCall<'i> {
    /// This engine cannot suspend its guests. Nothing has run, and the caller
    /// gets [`Error::AsyncUnsupported`](crate::Error::AsyncUnsupported).
    Unsupported,
    /// The guest's `__guest_call` has ended without awaiting anything.
    Ended(GuestReturn),
    /// The guest's `__guest_call` ends in this future. Dropping it ends the
    /// call, and the host drops the instance then.
    Running(BoxFuture<'i, GuestReturn>),
}

impl fmt::Debug for AsyncCall<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Unsupported => "Unsupported",
            Self::Ended(_) => "Ended",
            Self::Running(_) => "Running",
        })
    }
}

/// A live guest with its own memory, which runs one call at a time.
pub trait GuestInstance: Send {
    /// Runs the guest's `__guest_call` with these two numbers.
    ///
    /// After an error ([`GuestReturn`]) the instance is dropped.
    fn call(&mut self, op_length: i32, msg_length: i32) -> GuestReturn;

    /// Returns the state that [`WebAssemblyEngineProvider::init`] has received,
    /// always the same one.
    ///
    /// The process aborts if the state is exchanged for another one during a
    /// blocking call, since it holds a pointer to the caller's request.
    fn state(&mut self) -> &mut ModuleState;

    /// Runs the guest's `__guest_call`, and suspends it while an async callback
    /// is pending ([`ModuleState::start_host_call`]) and when
    /// [`ModuleState::pause`] returns a pause. The default returns
    /// [`AsyncCall::Unsupported`].
    fn call_async(&mut self, op_length: i32, msg_length: i32) -> AsyncCall<'_> {
        _ = (op_length, msg_length);
        AsyncCall::Unsupported
    }

    /// Returns the guest's memory, the export `memory`, for programs that look into a guest which they
    /// hold. The default is `None`.
    fn memory(&mut self) -> Option<&[u8]> {
        None
    }

    /// Runs a whole blocking call. Do not implement.
    // A trait method only so that a call costs one virtual call instead of
    // three: the engine's `call` and `state` are inlined here. It saves 18 of
    // the 275 instructions that a held call of 64 bytes takes without those of
    // its guest.
    #[doc(hidden)]
    fn drive(&mut self, call: &mut GuestCall<'_>) -> CallEnd {
        let stack_bytes = self.state().stack_bytes();
        match stack::suffices(stack_bytes) {
            true => drive_here(self, call),
            false => drive_elsewhere(self, call, stack_bytes),
        }
    }
}

#[inline(always)]
fn drive_here(guest: &mut (impl GuestInstance + ?Sized), call: &mut GuestCall<'_>) -> CallEnd {
    let lengths = call.begin(guest.state());
    let returned = guest.call(lengths.operation, lengths.payload);
    call.end(guest.state(), returned)
}

/// Runs a call where the thread has too little stack left, or of unknown size.
#[cold]
fn drive_elsewhere(
    guest: &mut (impl GuestInstance + ?Sized),
    call: &mut GuestCall<'_>,
    stack_bytes: usize,
) -> CallEnd {
    match stack::run_with(stack_bytes, || drive_here(guest, call)) {
        Ok(end) => end,
        Err(limit) => {
            call.begin(guest.state());
            let refused = EngineError::Stopped(StopReason::Limit(limit));
            call.end(guest.state(), Err(refused).into())
        }
    }
}

/// Runs `work`, which runs a guest, on a stack with at least `bytes` left: this one, or a new one.
/// Engines call it for start functions, and for compiling on small threads;
/// [`ModuleState::set_stack_bytes`] does it for blocking calls.
///
/// ```
/// use wapc_host::engine::with_stack;
///
/// let deep = std::thread::Builder::new().stack_size(64 << 10).spawn(|| {
///     with_stack(1 << 20, || {
///         let large = std::hint::black_box([1_u8; 512 << 10]);
///         large.len()
///     })
/// });
/// assert_eq!(deep?.join().unwrap()?, 512 << 10);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// # Errors
///
/// [`LimitError::Nesting`](crate::error::LimitError::Nesting) if this thread has too many stacks, or
/// there is no memory for one.
pub fn with_stack<T>(bytes: usize, work: impl FnOnce() -> T) -> Result<T, StopReason> {
    stack::run_with(bytes, work).map_err(StopReason::Limit)
}
