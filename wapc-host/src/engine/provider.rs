//! The contract between the host and an engine.

use std::{fmt, future::ready};

use crate::{
    engine::guest_call::GuestCall,
    engine::outcome::{CallEnd, GuestReturn},
    engine::tier::{Promotion, Tier},
    error::EngineError,
    limits::interruption::Interruption,
    protocol::host_call::BoxFuture,
    protocol::state::ModuleState,
};

/// A compiled module on some engine: cheap to share, the source of instances.
///
/// A third engine joins by implementing this trait and [`GuestInstance`]; it
/// links one function for each method of [`ModuleState`] and translates its
/// own errors to [`EngineError`].
pub trait WebAssemblyEngineProvider: Send + Sync {
    /// A new instance whose start functions have run, in the order of
    /// [`StartFunction::ALL`](crate::StartFunction::ALL).
    ///
    /// The engine keeps `state` beside the guest's memory, and hands it out
    /// through [`GuestInstance::state`] for as long as the instance lives.
    ///
    /// # Errors
    ///
    /// [`EngineError::Start`] if a start function ends badly, or any other
    /// variant if the engine cannot make the instance. Nothing is left behind.
    fn init(&self, state: ModuleState) -> Result<Box<dyn GuestInstance>, EngineError>;

    /// The same engine and settings over other bytes (binary or text):
    /// compiled and linked, not yet running.
    ///
    /// # Errors
    ///
    /// [`EngineError::Module`] if `module` is not a guest that this engine
    /// can run. `self` is as it was in any case.
    fn replace(&self, module: &[u8]) -> Result<Box<dyn WebAssemblyEngineProvider>, EngineError>;

    /// How this provider's instances can be interrupted. By default they
    /// cannot.
    ///
    /// An instance of a provider that can by time calls
    /// [`ModuleState::check`] every few milliseconds while its guest runs, if
    /// [`ModuleState::is_timed`]; one that can by fuel ends the guest when
    /// [`ModuleState::fuel`] is used up.
    fn interruption(&self) -> Interruption {
        Interruption::Off
    }

    /// As [`WebAssemblyEngineProvider::init`] in an async call, where start
    /// functions may await the host. By default it does not await.
    ///
    /// # Errors
    ///
    /// As [`WebAssemblyEngineProvider::init`].
    fn init_async(
        &self,
        state: ModuleState,
    ) -> BoxFuture<'_, Result<Box<dyn GuestInstance>, EngineError>> {
        Box::pin(ready(self.init(state)))
    }

    /// Hears that a host is about to run this provider's code, and may move it
    /// over to new instances when it makes better ones. By default it never
    /// does. To be returned from at once: a swap waits for it.
    fn promote(&self, promotion: Promotion) {
        drop(promotion);
    }

    /// Which of its tiers this provider is on: by default it has one only.
    /// HostCallStart whenever somebody asks the host for its numbers.
    fn tier(&self) -> Tier {
        Tier::Only
    }
}

/// How far an engine has come with an async call.
#[non_exhaustive]
pub enum AsyncCall<'i> {
    /// This engine cannot suspend its guests: [`GuestInstance::call`] is to run
    /// on a thread of its own. Nothing has run yet.
    Unsupported,
    /// The guest's `__guest_call` has returned, or has failed to, and there was
    /// nothing to await.
    Ended(GuestReturn),
    /// It ends in this future. To drop that ends the call; the host drops the
    /// instance then.
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

/// One live guest with its own memory: one call at a time, by exclusive
/// borrow.
pub trait GuestInstance: Send {
    /// Runs the guest's `__guest_call` with these two numbers and returns what
    /// it returned.
    ///
    /// # Errors
    ///
    /// Why the guest did not return. The host drops the instance then.
    fn call(&mut self, op_length: i32, msg_length: i32) -> Result<i32, EngineError>;

    /// As [`GuestInstance::call`], with an outcome that fits two registers: what
    /// the host asks for. By default by that. An engine whose calls take
    /// nanoseconds writes this one, and `call` by it and
    /// [`GuestReturn::into_result`].
    fn run(&mut self, op_length: i32, msg_length: i32) -> GuestReturn {
        self.call(op_length, msg_length).into()
    }

    /// As [`GuestInstance::call`], suspended while the host's callback awaits
    /// ([`ModuleState::start_host_call`]), and for a moment whenever
    /// [`ModuleState::should_yield`]. By default [`AsyncCall::Unsupported`].
    fn call_async(&mut self, op_length: i32, msg_length: i32) -> AsyncCall<'_> {
        _ = (op_length, msg_length);
        AsyncCall::Unsupported
    }

    /// The state that [`WebAssemblyEngineProvider::init`] was given: the same
    /// one each time. The process is aborted if it is exchanged during a call,
    /// since it holds what the caller has lent for that call only.
    fn state(&mut self) -> &mut ModuleState;

    /// One call as a whole, for the host: begins it in the state, runs it by
    /// [`GuestInstance::run`], and ends it. There is nothing to do better here;
    /// it is a method so that the host asks each instance once for each call.
    fn drive(&mut self, call: &mut GuestCall<'_>) -> CallEnd {
        let lengths = call.begin(self.state());
        let returned = self.run(lengths.operation, lengths.payload);
        call.end(self.state(), returned)
    }

    /// As [`GuestInstance::drive`], by [`GuestInstance::call_async`]. The
    /// host ends the call when that has.
    fn drive_async(&mut self, call: &mut GuestCall<'_>) -> AsyncCall<'_> {
        let lengths = call.begin(self.state());
        self.call_async(lengths.operation, lengths.payload)
    }
}
