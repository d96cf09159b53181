//! What a call can end in, and what an engine reports.

use std::{error::Error as StdError, fmt, path::PathBuf, time::Duration};

use thiserror::Error as ThisError;

use crate::{
    limits::guest::LimitError,
    module::{ModuleError, Start},
};

/// Any error that a callback may end in; its text reaches the guest through
/// `__host_error`.
pub type BoxError = Box<dyn StdError + Send + Sync>;

/// Why a [`WapcHost`](crate::WapcHost) did not do what it was asked to.
///
/// The same guest gets the same variant, with the same words, on every engine.
/// After any of them the host answers the next call; what happened to the
/// guest's own state stands with each variant.
#[derive(Debug, ThisError)]
#[non_exhaustive]
pub enum Error {
    /// The guest reported an error. It lives on, with its state.
    #[error("the guest's operation `{operation}` failed: {message}")]
    Guest {
        /// The operation that was called.
        operation: String,
        /// What the guest said, to the letter.
        message: String,
    },

    /// The guest trapped. Its instance is gone; the next call gets a new one.
    #[error("the guest trapped in operation `{operation}`{}{}", guest_said(.guest_error), was_refused(.refused))]
    Trapped {
        /// The operation that was called.
        operation: String,
        /// Why, and where in the guest.
        #[source]
        trap: Trap,
        /// What the guest reported before it trapped, if anything:
        /// AssemblyScript guests report an exception so.
        guest_error: Option<String>,
        /// The memory or table that it was refused before, if any: a guest
        /// that gets no memory mostly traps.
        refused: Option<Box<LimitError>>,
        /// What the call took until then.
        spent: Spent,
    },

    /// The guest left the program through WASI's `proc_exit` in the middle of
    /// a call. Its instance is gone; the next call gets a new one.
    #[error("the guest exited with code {code} in operation `{operation}`")]
    Exited {
        /// The operation that was called.
        operation: String,
        /// The exit code.
        code: i32,
        /// What the call took until then.
        spent: Spent,
    },

    /// The guest broke the protocol. Its instance is gone; the next call gets
    /// a new one.
    #[error("the guest broke the protocol in operation `{operation}`")]
    Protocol {
        /// The operation that was called.
        operation: String,
        /// Which rule it broke.
        source: ProtocolError,
        /// What the call took until then.
        spent: Spent,
    },

    /// The guest met one of the host's [`Limits`](crate::Limits). Its instance
    /// is gone; the next call gets a new one.
    #[error("the guest met a limit in operation `{operation}`")]
    Limit {
        /// The operation that was called.
        operation: String,
        /// Which one.
        source: LimitError,
        /// What the call took until then.
        spent: Spent,
    },

    /// The call's time was over. If the guest had been called, its instance is
    /// gone, and the next call gets a new one.
    #[error("operation `{operation}` did not end within {timeout:?}")]
    TimedOut {
        /// The operation that was called.
        operation: String,
        /// The time that it had.
        timeout: Duration,
        /// What the call took until then.
        spent: Spent,
    },

    /// The call was cancelled. If the guest had been called, its instance is
    /// gone, and the next call gets a new one.
    #[error("operation `{operation}` was cancelled")]
    Cancelled {
        /// The operation that was called.
        operation: String,
        /// What the call took until then.
        spent: Spent,
    },

    /// All instances were busy for longer than a caller waits. The guest was
    /// not called.
    #[error("no instance was free for operation `{operation}` within {waited:?}")]
    Busy {
        /// The operation that was called.
        operation: String,
        /// How long the caller waited.
        waited: Duration,
    },

    /// An instance of the module could not be made: it is no guest, or a start
    /// function failed, or the engine ran out of something. Nothing changed.
    #[error("no instance of the guest could be made")]
    Init(#[source] EngineError),

    /// A swap's probe refused the new code. Nothing changed.
    #[error("the probe refused the new code")]
    Probe(#[source] BoxError),

    /// There is no code before the present one to go back to. Nothing changed.
    #[error("there is no code to roll back to")]
    NoPrevious,

    /// A swap has taken effect, but calls on the code before it did not end in
    /// time. They go on.
    #[error("calls on the old code did not end within {waited:?}")]
    NotDrained {
        /// How long the swap waited for them.
        waited: Duration,
    },

    /// The limits or options ask for what the provider was built without. The
    /// guest was not called.
    #[error("the provider cannot interrupt guests by {what}: it was built without")]
    NotInterruptible {
        /// `time` or `fuel`.
        what: &'static str,
    },

    /// The engine failed for a reason of its own in the middle of a call. The
    /// instance is gone; the next call gets a new one.
    #[error("the engine failed in operation `{operation}`")]
    Engine {
        /// The operation that was called.
        operation: String,
        /// What the engine reported.
        source: Box<EngineError>,
        /// What the call took until then.
        spent: Spent,
    },

    /// The caller is code that a call on this very host has led to: a host
    /// callback, or the reader of a lent response. The guest in between is
    /// busy with that call, which goes on. Or a swap was begun from within
    /// a swap of the same host.
    #[error("operation `{operation}` was called on host {host_id} from within one of its calls")]
    Reentrant {
        /// The operation that was called.
        operation: String,
        /// The id of the host.
        host_id: u64,
    },

    /// The operation's name with the payload is larger than
    /// [`Limits::max_bytes_in`](crate::Limits::max_bytes_in), or than the
    /// 32-bit memory of a guest. The guest was not called.
    #[error("a request of {bytes} bytes is above the limit of {limit} bytes")]
    TooLarge {
        /// The length of both in bytes.
        bytes: usize,
        /// The limit.
        limit: usize,
    },
}

macro_rules! kinds {
    ($($kind:ident $pattern:tt;)*) => {
        /// The kinds of [`Error`], for counting and for labels.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        #[non_exhaustive]
        pub enum ErrorKind {
            $(#[doc = concat!("[`Error::", stringify!($kind), "`].")] $kind,)*
        }

        impl ErrorKind {
            /// All of them.
            pub const ALL: &[Self] = &[$(Self::$kind),*];
        }

        impl Error {
            /// Which kind of error it is.
            #[must_use]
            pub const fn kind(&self) -> ErrorKind {
                match self {
                    $(Self::$kind $pattern => ErrorKind::$kind,)*
                }
            }
        }
    };
}

kinds! {
    Guest {..};
    Trapped {..};
    Exited {..};
    Protocol {..};
    Limit {..};
    TimedOut {..};
    Cancelled {..};
    Busy {..};
    Init (_);
    Probe (_);
    NoPrevious {};
    NotDrained {..};
    NotInterruptible {..};
    Engine {..};
    Reentrant {..};
    TooLarge {..};
}

/// What a call took until it failed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Spent {
    /// How long it ran, to the tick of 2 ms. `None` for calls without timeout,
    /// deadline and cancel handle.
    pub time: Option<Duration>,
    /// The fuel it used, where fuel is counted. wasmtime notes it at each call
    /// of a function and each return: what a guest used since then is not in
    /// it, if the call's time was over or a load or store trapped.
    pub fuel: Option<u64>,
}

fn guest_said(guest_error: &Option<String>) -> String {
    guest_error
        .as_ref()
        .map(|text| format!(", after it reported: {text}"))
        .unwrap_or_default()
}

fn was_refused(refused: &Option<Box<LimitError>>) -> String {
    refused
        .as_ref()
        .map(|limit| format!(", after it was refused: {limit}"))
        .unwrap_or_default()
}

/// What an engine reports to the host.
#[derive(Debug, ThisError)]
#[non_exhaustive]
pub enum EngineError {
    /// The module is not a guest that this engine can run.
    #[error(transparent)]
    Module(#[from] ModuleError),

    /// A start function ended badly.
    #[error("the guest failed in {function}")]
    Start {
        /// Which one.
        function: Start,
        /// How it ended.
        #[source]
        cause: Box<Self>,
    },

    /// The guest trapped.
    #[error(transparent)]
    Trap(#[from] Trap),

    /// The guest left through WASI's `proc_exit` with this code.
    #[error("the guest exited with code {0}")]
    Exit(i32),

    /// [`ModuleState`](crate::ModuleState) said that the guest must not go on.
    #[error(transparent)]
    Stopped(#[from] Stop),

    /// A directory of [`WasiSettings`](crate::WasiSettings) cannot be opened.
    #[error("the directory `{}` cannot be mapped", .host.display())]
    Directory {
        /// Where it is on the host.
        host: PathBuf,
        /// Why.
        #[source]
        cause: BoxError,
    },

    /// Something else, in the engine's own words: out of memory, for example.
    #[error("the engine failed")]
    Other(#[source] BoxError),
}

impl EngineError {
    /// This error of an engine's instantiation: what is the guest's doing has
    /// happened in its start section. For engines.
    #[must_use]
    pub fn in_instantiation(self) -> Self {
        match self {
            Self::Trap(_) | Self::Exit(_) | Self::Stopped(_) => Self::Start {
                function: Start::Section,
                cause: Box::new(self),
            },
            error => error,
        }
    }
}

/// A trap: the guest did what WebAssembly does not permit.
///
/// Its `Display` names the reason and the guest's innermost functions.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Trap {
    /// The reason.
    pub code: TrapCode,
    /// The guest's functions at that moment, innermost first; empty where the
    /// engine does not know.
    pub backtrace: Vec<Frame>,
}

impl Trap {
    /// A trap with this reason and backtrace, innermost function first.
    #[must_use]
    pub const fn new(code: TrapCode, backtrace: Vec<Frame>) -> Self {
        Self { code, backtrace }
    }
}

impl std::error::Error for Trap {}

impl fmt::Display for Trap {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.code)?;
        for (index, frame) in self.backtrace.iter().take(DISPLAYED_FRAMES).enumerate() {
            f.write_str(if index == 0 { " in " } else { " < " })?;
            write!(f, "{frame}")?;
        }
        if self.backtrace.len() > DISPLAYED_FRAMES {
            f.write_str(" < …")?;
        }
        Ok(())
    }
}

/// Enough to see where a trap came from on one line.
const DISPLAYED_FRAMES: usize = 4;

/// One guest function on the stack of a [`Trap`].
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Frame {
    /// The function's index in its module.
    pub function: u32,
    /// Its name, where the module has a name section.
    pub name: Option<String>,
}

impl Frame {
    /// A frame of the function with this index and name.
    #[must_use]
    pub const fn new(function: u32, name: Option<String>) -> Self {
        Self { function, name }
    }
}

impl fmt::Display for Frame {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.name {
            Some(name) => write!(f, "`{name}`"),
            None => write!(f, "function {}", self.function),
        }
    }
}

/// The reason of a [`Trap`].
///
/// The words are those of the WebAssembly specification's test suite.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, ThisError)]
#[non_exhaustive]
pub enum TrapCode {
    /// The guest ran into an `unreachable` instruction; how most languages
    /// end a panic.
    #[error("unreachable")]
    Unreachable,
    /// A load, store or bulk operation left its memory.
    #[error("out of bounds memory access")]
    MemoryOutOfBounds,
    /// A table access left its table.
    #[error("out of bounds table access")]
    TableOutOfBounds,
    /// An indirect call hit an empty table slot.
    #[error("uninitialized element")]
    IndirectCallToNull,
    /// An indirect call hit a function of another type.
    #[error("indirect call type mismatch")]
    BadSignature,
    /// An integer operation's result does not fit.
    #[error("integer overflow")]
    IntegerOverflow,
    /// An integer was divided by zero.
    #[error("integer divide by zero")]
    IntegerDivideByZero,
    /// A float without an integer value was converted to one.
    #[error("invalid conversion to integer")]
    InvalidConversion,
    /// The guest called too deep.
    #[error("call stack exhausted")]
    StackOverflow,
    /// A reason that only some engines know.
    #[error("trap")]
    Other,
}

impl Start {
    /// What it means that this function ended with `outcome`: a WASI command
    /// may exit with code 0, any other error is [`EngineError::Start`].
    ///
    /// # Errors
    ///
    /// [`EngineError::Start`].
    pub fn outcome(self, outcome: Result<(), EngineError>) -> Result<(), EngineError> {
        match outcome {
            Ok(()) => Ok(()),
            Err(EngineError::Exit(0)) if self == Self::Command => Ok(()),
            Err(cause) => Err(EngineError::Start {
                function: self,
                cause: Box::new(cause),
            }),
        }
    }
}

/// Why a guest must not go on.
#[derive(Clone, Debug, PartialEq, Eq, ThisError)]
#[non_exhaustive]
pub enum Stop {
    /// It broke the protocol.
    #[error(transparent)]
    Protocol(#[from] ProtocolError),
    /// It met a limit.
    #[error(transparent)]
    Limit(#[from] LimitError),
    /// Its time is over.
    #[error("the time of {timeout:?} is over")]
    TimedOut {
        /// The time that it had.
        timeout: Duration,
    },
    /// The call was cancelled.
    #[error("the call was cancelled")]
    Cancelled,
}

/// A rule of waPC that a guest broke.
///
/// The rules are those of the waPC protocol,
/// <https://wapc.io/docs/spec/>; `import` names the host function in which the
/// guest broke one.
#[derive(Clone, Debug, PartialEq, Eq, ThisError)]
#[non_exhaustive]
pub enum ProtocolError {
    /// A pointer and length that leave the guest's memory.
    #[error(
        "`{import}`: {what} at {pointer:#x} of {length} bytes leaves the memory of {memory} bytes"
    )]
    OutOfBounds {
        /// The host function.
        import: &'static str,
        /// Which of its arguments.
        what: &'static str,
        /// Where the guest says that it begins.
        pointer: u32,
        /// How many bytes it has.
        length: usize,
        /// The size of the guest's memory.
        memory: usize,
    },

    /// Bytes that must be text and are not.
    #[error("`{import}`: {what} is not UTF-8 at byte {valid_up_to}")]
    NotUtf8 {
        /// The host function.
        import: &'static str,
        /// Which of its arguments.
        what: &'static str,
        /// How many bytes of it are text.
        valid_up_to: usize,
    },

    /// A request was asked for, or a response given, by a start function.
    #[error("`{import}`: there is no call to answer while start functions run")]
    NoCall {
        /// The host function.
        import: &'static str,
    },

    /// A host function was called while the guest has no memory yet.
    #[error("`{import}`: the guest exports no memory")]
    NoMemory {
        /// The host function.
        import: &'static str,
    },

    /// The guest reported success without a response.
    #[error("the guest returned 1 (success) without a response")]
    NoResponse,

    /// The guest reported failure without a reason.
    #[error("the guest returned 0 (failure) without an error")]
    NoError,

    /// The guest returned neither 0 nor 1.
    #[error("the guest returned {0}, which is neither 1 (success) nor 0 (failure)")]
    Returned(i32),

    /// The host's answer, or the text of its error, does not fit the 32-bit
    /// memory of a guest. The one to blame is the host callback.
    #[error(
        "`{import}`: the host's {what} of {bytes} bytes is larger than a guest's address space"
    )]
    TooLarge {
        /// The host function.
        import: &'static str,
        /// `response` or `error`.
        what: &'static str,
        /// Its length in bytes.
        bytes: usize,
    },

    /// The host's callback awaits, and the guest was run by a blocking call, or
    /// in a start section that its engine cannot suspend. The one to blame is
    /// the caller.
    #[error("`{import}`: the host's callback awaits, and this call does not")]
    CallbackAwaits {
        /// The host function.
        import: &'static str,
    },

    /// The host callback panicked. Nobody sees this: the panic goes on in the
    /// caller.
    #[error("`{import}`: the host callback panicked")]
    CallbackPanicked {
        /// The host function.
        import: &'static str,
    },
}
