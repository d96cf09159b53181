//! An engine whose guests are closures, for tests and examples without
//! WebAssembly. It needs the feature `testing`.
//!
//! ```
//! use wapc_host::{WapcHost, engine::scripted::ScriptedProvider};
//!
//! let provider = ScriptedProvider::new(|guest, op_length, msg_length| {
//!     let (operation, payload) = guest.request(op_length, msg_length)?;
//!     match operation.as_str() {
//!         "reverse" => guest.respond(&payload.iter().rev().copied().collect::<Vec<_>>()),
//!         _ => guest.fail(b"no such operation"),
//!     }
//! });
//! let host = WapcHost::new(Box::new(provider), |_, _, _, _, _| Ok(vec![]))?;
//! assert_eq!(host.call("reverse", b"abc")?, b"cba");
//! # Ok::<(), wapc_host::Error>(())
//! ```
//!
//! A guest that can be suspended, for async calls, has an async script:
//! [`ScriptedProvider::new_async`].

use std::{
    fmt,
    pin::pin,
    sync::Arc,
    task::{Context, Poll, Waker},
};

use crate::{
    engine::outcome::GuestReturn,
    engine::provider::{AsyncCall, GuestInstance, WebAssemblyEngineProvider},
    error::{BoxError, EngineError},
    host::WapcHost,
    limits::interruption::Interruption,
    module::{ModuleError, StartFunction},
    protocol::host_call::BoxFuture,
    protocol::pending::HostCallStart,
    protocol::state::ModuleState,
};

/// The body of a guest's `__guest_call`.
#[derive(Clone)]
enum Script {
    Blocking(Arc<BlockingScript>),
    Async(Arc<AsyncScript>),
}

type BlockingScript =
    dyn Fn(&mut ScriptedGuest, i32, i32) -> Result<i32, EngineError> + Send + Sync;

type AsyncScript =
    dyn for<'g> Fn(&'g mut ScriptedGuest, i32, i32) -> ScriptFuture<'g> + Send + Sync;

/// The future of an async script.
type ScriptFuture<'g> = BoxFuture<'g, Result<i32, EngineError>>;

/// The body of a guest's start functions.
type StartScript = dyn Fn(&mut ScriptedGuest) -> Result<(), EngineError> + Send + Sync;

/// A live guest of a [`ScriptedProvider`], with the functions of a guest's SDK.
pub struct ScriptedGuest {
    pub(crate) state: ModuleState,
    memory: Vec<u8>,
    calls: u64,
    script: Script,
}

impl ScriptedGuest {
    /// Asks the host for the request, and returns its operation and payload.
    ///
    /// # Errors
    ///
    /// [`EngineError::Stopped`] outside a call, and [`EngineError::Other`] if the
    /// lengths split the operation's name within a character.
    pub fn request(&mut self, op: i32, msg: i32) -> Result<(String, Vec<u8>), EngineError> {
        let (op_length, msg_length) = (length(op), length(msg));
        self.reserve(op_length.saturating_add(msg_length));
        self.state.guest_request(&mut self.memory, 0, op)?;
        let request = self.read(op_length.saturating_add(msg_length));
        let (operation, payload) = request.split_at(op_length.min(request.len()));
        let operation = String::from_utf8(operation.to_vec())
            .map_err(|error| EngineError::Other(error.into()))?;
        Ok((operation, payload.to_vec()))
    }

    /// Sets the response, and returns 1, which a script returns for success.
    ///
    /// # Errors
    ///
    /// [`EngineError::Stopped`] if the response is above the limit, or outside a
    /// call.
    pub fn respond(&mut self, response: &[u8]) -> Result<i32, EngineError> {
        let (ptr, len) = self.write(response)?;
        self.state.guest_response(&self.memory, ptr, len)?;
        Ok(1)
    }

    /// Sets the error, and returns 0, which a script returns for failure.
    ///
    /// # Errors
    ///
    /// [`EngineError::Stopped`] if the error is above the limit or not UTF-8.
    pub fn fail(&mut self, error: &[u8]) -> Result<i32, EngineError> {
        let (ptr, len) = self.write(error)?;
        self.state.guest_error(&self.memory, ptr, len)?;
        Ok(0)
    }

    /// Calls the host's operation `op` of the namespace `ns` and the binding
    /// `bind`. Returns the answer, or the text of the host's error.
    ///
    /// # Errors
    ///
    /// [`EngineError::Stopped`] if the host ends the guest: by a limit, a deadline
    /// or a cancel handle.
    pub fn ask(&mut self, payload: &[u8]) -> Result<Result<Vec<u8>, Vec<u8>>, EngineError> {
        let (ptr, len) = self.write(&[b"bindnsop", payload].concat())?;
        let (memory, state) = (&mut self.memory, &mut self.state);
        let answered = state.host_call(memory, ptr, 4, ptr + 4, 2, ptr + 6, 2, ptr + 8, len - 8)?;
        self.answer(answered)
    }

    /// Calls the host like [`ScriptedGuest::ask`], and is suspended while the
    /// host's callback is pending.
    ///
    /// # Errors
    ///
    /// [`EngineError::Stopped`] if the host ends the guest: by a limit, a deadline
    /// or a cancel handle.
    pub async fn ask_async(
        &mut self,
        payload: &[u8],
    ) -> Result<Result<Vec<u8>, Vec<u8>>, EngineError> {
        let (ptr, len) = self.write(&[b"bindnsop", payload].concat())?;
        let numbers = [ptr, 4, ptr + 4, 2, ptr + 6, 2, ptr + 8, len - 8];
        let answered = match self.state.start_host_call(&self.memory, numbers)? {
            HostCallStart::Ready(answered) => answered,
            HostCallStart::Pending(call) => self.state.finish_host_call(call.await)?,
        };
        self.answer(answered)
    }

    /// Reads the answer of a host call, or the text of its error.
    fn answer(&mut self, answered: i32) -> Result<Result<Vec<u8>, Vec<u8>>, EngineError> {
        let state = &self.state;
        let answer_length = match answered {
            1 => state.host_response_len()?,
            _ => state.host_error_len()?,
        };
        self.reserve(length(answer_length));
        let (memory, state) = (&mut self.memory, &mut self.state);
        if answered == 1 {
            state.host_response(memory, 0)?;
        } else {
            state.host_error(memory, 0)?;
        }
        let answer = self.read(length(answer_length)).to_vec();
        Ok(if answered == 1 {
            Ok(answer)
        } else {
            Err(answer)
        })
    }

    /// Writes a line to the host's log.
    ///
    /// # Errors
    ///
    /// [`EngineError::Stopped`] if the call's log is above the limit.
    pub fn log(&mut self, line: &str) -> Result<(), EngineError> {
        let (ptr, len) = self.write(line.as_bytes())?;
        Ok(self.state.console_log(&self.memory, ptr, len)?)
    }

    /// Asks whether the guest may go on, as an engine asks for a guest that
    /// computes. A script that takes long calls it now and then.
    ///
    /// # Errors
    ///
    /// [`EngineError::Stopped`] if the time of the call is over, or it is
    /// cancelled.
    pub fn check(&self) -> Result<(), EngineError> {
        Ok(self.state.check()?)
    }

    /// Returns the number of calls of this instance, the current one included.
    #[must_use]
    pub const fn calls(&self) -> u64 {
        self.calls
    }

    fn reserve(&mut self, bytes: usize) {
        self.memory.resize(bytes.max(self.memory.len()), 0);
    }

    fn read(&self, bytes: usize) -> &[u8] {
        self.memory.get(..bytes).unwrap_or_default()
    }

    /// Puts `bytes` at the start of the guest's memory.
    fn write(&mut self, bytes: &[u8]) -> Result<(i32, i32), EngineError> {
        let len = i32::try_from(bytes.len()).map_err(|error| EngineError::Other(error.into()))?;
        self.reserve(bytes.len());
        if let Some(start) = self.memory.get_mut(..bytes.len()) {
            start.copy_from_slice(bytes);
        }
        Ok((0, len))
    }
}

/// Lengths travel as `i32` and are unsigned.
fn length(number: i32) -> usize {
    usize::try_from(number.cast_unsigned()).unwrap_or(usize::MAX)
}

impl GuestInstance for ScriptedGuest {
    fn call(&mut self, op_length: i32, msg_length: i32) -> GuestReturn {
        self.calls += 1;
        match self.script.clone() {
            Script::Blocking(script) => script(self, op_length, msg_length).into(),
            // The state has refused to call a callback that may be pending.
            Script::Async(script) => {
                let mut context = Context::from_waker(Waker::noop());
                match pin!(script(self, op_length, msg_length)).poll(&mut context) {
                    Poll::Ready(returned) => returned.into(),
                    Poll::Pending => {
                        Err(EngineError::Other("a blocking call has awaited".into())).into()
                    }
                }
            }
        }
    }

    fn call_async(&mut self, op_length: i32, msg_length: i32) -> AsyncCall<'_> {
        let Script::Async(script) = self.script.clone() else {
            return AsyncCall::Unsupported;
        };
        self.calls += 1;
        AsyncCall::Running(Box::pin(async move {
            script(self, op_length, msg_length).await.into()
        }))
    }

    fn state(&mut self) -> &mut ModuleState {
        &mut self.state
    }
}

impl fmt::Debug for ScriptedGuest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ScriptedGuest")
            .field("calls", &self.calls)
            .finish_non_exhaustive()
    }
}

/// A module of scripted guests.
///
/// [`replace`](WebAssemblyEngineProvider::replace) takes the bytes `echo`, whose
/// guests echo, and refuses all others.
#[derive(Clone)]
pub struct ScriptedProvider {
    script: Script,
    start: Arc<StartScript>,
}

impl ScriptedProvider {
    /// Creates a module whose `__guest_call` is `script`. The two numbers are the
    /// lengths that [`ScriptedGuest::request`] takes.
    pub fn new(
        script: impl Fn(&mut ScriptedGuest, i32, i32) -> Result<i32, EngineError>
        + Send
        + Sync
        + 'static,
    ) -> Self {
        Self {
            script: Script::Blocking(Arc::new(script)),
            start: Arc::new(|_| Ok(())),
        }
    }

    /// Creates a module whose `__guest_call` is an async `script`, so that its
    /// guests can be suspended. The two numbers are the lengths that
    /// [`ScriptedGuest::request`] takes.
    ///
    /// ```
    /// use wapc_host::{OwnedHostCall, WapcHost, engine::scripted::ScriptedProvider};
    ///
    /// let guest = ScriptedProvider::new_async(|guest, op_length, msg_length| {
    ///     Box::pin(async move {
    ///         let (_, payload) = guest.request(op_length, msg_length)?;
    ///         match guest.ask_async(&payload).await? {
    ///             Ok(answer) => guest.respond(&answer),
    ///             Err(error) => guest.fail(&error),
    ///         }
    ///     })
    /// });
    /// let answer = |call: OwnedHostCall| async move { Ok(call.into_payload()) };
    /// let host = pollster::block_on(WapcHost::builder(Box::new(guest)).build_async(answer))?;
    /// assert_eq!(pollster::block_on(host.call_async("ask", "abc"))?, b"abc");
    /// # Ok::<(), wapc_host::Error>(())
    /// ```
    pub fn new_async(
        script: impl for<'g> Fn(
            &'g mut ScriptedGuest,
            i32,
            i32,
        ) -> BoxFuture<'g, Result<i32, EngineError>>
        + Send
        + Sync
        + 'static,
    ) -> Self {
        Self {
            script: Script::Async(Arc::new(script)),
            start: Arc::new(|_| Ok(())),
        }
    }

    /// Creates a module whose guests respond with the payload.
    #[must_use]
    pub fn echo() -> Self {
        Self::new(|guest, op, msg| {
            let (_, payload) = guest.request(op, msg)?;
            guest.respond(&payload)
        })
    }

    /// Sets the start function of the guests.
    #[must_use]
    pub fn with_start(
        mut self,
        start: impl Fn(&mut ScriptedGuest) -> Result<(), EngineError> + Send + Sync + 'static,
    ) -> Self {
        self.start = Arc::new(start);
        self
    }

    /// Creates a host of this module with the callback [`answer`].
    ///
    /// # Errors
    ///
    /// [`Error::Init`](crate::Error::Init) if the start function fails.
    pub fn host(self) -> Result<WapcHost, crate::error::Error> {
        WapcHost::new(Box::new(self), answer)
    }
}

/// The callback of [`ScriptedProvider::host`]: answers with
/// `binding/namespace/operation:payload`.
///
/// # Errors
///
/// An error with the text `the host said no` for the payload `fail`.
///
/// # Panics
///
/// Panics on the payload `panic`.
pub fn answer(
    _id: u64,
    binding: &str,
    namespace: &str,
    operation: &str,
    payload: &[u8],
) -> Result<Vec<u8>, BoxError> {
    match payload {
        b"fail" => Err("the host said no".into()),
        b"panic" => panic!("the callback panicked"),
        payload => Ok([
            format!("{binding}/{namespace}/{operation}:").as_bytes(),
            payload,
        ]
        .concat()),
    }
}

impl WebAssemblyEngineProvider for ScriptedProvider {
    fn init(&self, state: ModuleState) -> Result<Box<dyn GuestInstance>, EngineError> {
        let mut guest = ScriptedGuest {
            state,
            memory: vec![0; 64],
            calls: 0,
            script: self.script.clone(),
        };
        let started = (self.start)(&mut guest);
        StartFunction::Wapc.outcome(started)?;
        Ok(Box::new(guest))
    }

    fn replace(&self, module: &[u8]) -> Result<Box<dyn WebAssemblyEngineProvider>, EngineError> {
        match module {
            b"echo" => Ok(Box::new(Self::echo())),
            b"" => Err(ModuleError::Empty.into()),
            other => Err(ModuleError::NotWasm {
                start: other.iter().take(8).copied().collect(),
            }
            .into()),
        }
    }

    /// By time, as far as scripts ask: in each host function and by
    /// [`ScriptedGuest::check`]. Fuel limits are accepted, and nothing is counted.
    fn interruption(&self) -> Interruption {
        Interruption::TimeAndFuel
    }
}

impl fmt::Debug for ScriptedProvider {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ScriptedProvider").finish_non_exhaustive()
    }
}
