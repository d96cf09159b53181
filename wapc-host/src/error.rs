//! The errors of calls and swaps, and those that engines report.

use std::{fmt, time::Duration};

use thiserror::Error as ThisError;

pub use self::{
    counts::ErrorCounts,
    engine::{BoxError, EngineError},
    report::Report,
    stop::{FunctionError, MemoryError, ProtocolError, StopReason},
    trap::{Frame, Trap, TrapCode},
};
pub use crate::{
    limits::{guest::LimitError, module::ModuleLimitError},
    module::{ModuleError, StartFunction},
    text::Printable,
};

pub(crate) mod counts;
mod engine;
mod report;
mod stop;
mod trap;

/// The error of a call to a [`WapcHost`](crate::WapcHost), or of a swap.
///
/// A guest causes the same variant with the same text on every engine. The host
/// stays usable after each of them. Each variant says whether the instance, and
/// with it the state of the guest, is kept.
///
/// ```
/// use wapc_host::{Error, engine::scripted::ScriptedProvider, error::ErrorKind};
///
/// let guest = ScriptedProvider::new(|guest, _, _| guest.fail(b"out of stock"));
/// let host = guest.host()?;
///
/// let error = host.call("order", b"").unwrap_err();
/// assert_eq!(error.kind(), ErrorKind::Guest);
/// match error {
///     Error::Guest { operation, message } => {
///         assert_eq!((operation.as_str(), message.as_str()), ("order", "out of stock"));
///     }
///     other => return Err(other),
/// }
/// # Ok::<(), Error>(())
/// ```
///
/// [`source`](std::error::Error::source) returns the cause, whose text is not
/// repeated in the error's own:
///
/// ```
/// use std::error::Error as _;
/// use wapc_host::{engine::scripted::ScriptedProvider, error::{Trap, TrapCode}};
///
/// let guest = ScriptedProvider::new(|_, _, _| Err(Trap::new(TrapCode::Unreachable, vec![]).into()));
/// let error = guest.host()?.call("crash", b"").unwrap_err();
/// assert_eq!(error.to_string(), "the guest trapped in operation `crash`");
/// assert_eq!(error.source().unwrap().to_string(), "unreachable");
/// # Ok::<(), wapc_host::Error>(())
/// ```
#[derive(Debug, ThisError)]
#[non_exhaustive]
pub enum Error {
    /// The guest reported an error. Its instance is kept, with its state.
    #[error("the guest's operation `{operation}` failed: {message}")]
    Guest {
        /// The operation that was called.
        operation: String,
        /// The text of the guest's error.
        message: String,
    },

    /// The guest trapped. Its instance is gone; the next call gets a new one.
    #[error("the guest trapped in operation `{operation}`{}{}", guest_said(.guest_error), was_refused(.refused))]
    Trapped {
        /// The operation that was called.
        operation: String,
        /// The reason, and the place in the guest.
        #[source]
        trap: Trap,
        /// The error that the guest reported before it trapped, if any.
        /// AssemblyScript guests report an exception in this way.
        guest_error: Option<String>,
        /// The growth of a memory or table that was refused before, if any:
        /// most guests trap when they get no memory.
        refused: Option<Box<LimitError>>,
        /// The time and fuel that the call took.
        spent: Spent,
    },

    /// The guest left the program through WASI's `proc_exit` in the middle of
    /// a call. An exit with code 0 after a response is an answer, and not this
    /// error. Its instance is gone; the next call gets a new one.
    #[error("the guest exited with code {code} in operation `{operation}`{}", guest_said(.guest_error))]
    Exited {
        /// The operation that was called.
        operation: String,
        /// The exit code.
        code: i32,
        /// The error that the guest reported before it exited, if any. Of a WASI
        /// command that was adapted it is the end of standard error.
        guest_error: Option<String>,
        /// The time and fuel that the call took.
        spent: Spent,
    },

    /// The guest broke the protocol. Its instance is gone; the next call gets
    /// a new one.
    #[error("the guest broke the protocol in operation `{operation}`")]
    Protocol {
        /// The operation that was called.
        operation: String,
        /// The rule that it broke.
        source: ProtocolError,
        /// The time and fuel that the call took.
        spent: Spent,
    },

    /// One of the program's own [`HostFunctions`](crate::HostFunctions) has ended the guest. Its
    /// instance is gone; the next call gets a new one.
    #[error("a host function ended the guest in operation `{operation}`")]
    Function {
        /// The operation that was called.
        operation: String,
        /// The function, and the reason.
        source: Box<FunctionError>,
        /// The time and fuel that the call took.
        spent: Spent,
    },

    /// The guest exceeded one of the host's [`Limits`](crate::Limits). Its
    /// instance is gone; the next call gets a new one.
    #[error("the guest met a limit in operation `{operation}`")]
    Limit {
        /// The operation that was called.
        operation: String,
        /// The limit.
        source: LimitError,
        /// The time and fuel that the call took.
        spent: Spent,
    },

    /// The call's time was over. If the guest had been called, its instance is
    /// gone, and the next call gets a new one.
    #[error("{}", timed_out(.operation, *.timeout, *.began, *.waited))]
    TimedOut {
        /// The operation that was called.
        operation: String,
        /// The time that the call had: for the guest if it was called, else for the
        /// wait for an instance or for the start of a new one.
        timeout: Duration,
        /// The guest was called. Otherwise the caller waited until its deadline for an
        /// instance or for the start of a new one, or the deadline had passed before.
        began: bool,
        /// The time that the caller waited for an instance; zero if one was free.
        waited: Duration,
        /// The time and fuel that the call took.
        spent: Spent,
    },

    /// The call was cancelled. If the guest had been called, its instance is
    /// gone, and the next call gets a new one.
    #[error("operation `{operation}` was cancelled")]
    Cancelled {
        /// The operation that was called.
        operation: String,
        /// The time and fuel that the call took.
        spent: Spent,
    },

    /// All instances were busy for longer than
    /// [`wait_limit`](crate::HostBuilder::wait_limit). The guest was not
    /// called.
    #[error("no instance was free for operation `{operation}` within {waited:?}")]
    Busy {
        /// The operation that was called.
        operation: String,
        /// The time that the caller waited.
        waited: Duration,
    },

    /// No instance of the module could be made: the module is not a guest, a
    /// start function failed, or the engine ran out of a resource. Nothing has
    /// changed.
    #[error("no instance of the guest could be made")]
    Init(#[source] EngineError),

    /// The probe of a swap returned this error. Nothing has changed.
    #[error("the probe refused the new code")]
    Probe(#[source] BoxError),

    /// A rollback found no previous code. Nothing has changed.
    #[error("there is no code to roll back to")]
    NoPrevious,

    /// A swap has taken effect, but calls on the old code did not end in time.
    /// They go on.
    #[error("calls on the old code did not end within {waited:?}")]
    NotDrained {
        /// The time that the swap waited for them.
        waited: Duration,
    },

    /// The limits or options need a kind of interruption that the provider was
    /// built without. The guest was not called.
    #[error("the provider was built without interruption of guests by {what}")]
    NotInterruptible {
        /// `time` or `fuel`.
        what: &'static str,
    },

    /// An async call on an engine that cannot suspend its guests. The guest was
    /// not called, and its instance is kept.
    #[error(
        "the engine cannot suspend its guests for the async call of operation `{operation}`: use \
         `call`, or a provider that supports async calls"
    )]
    AsyncUnsupported {
        /// The operation that was called.
        operation: String,
    },

    /// The engine itself failed during a call. The instance is gone; the next
    /// call gets a new one.
    #[error("the engine failed in operation `{operation}`")]
    Engine {
        /// The operation that was called.
        operation: String,
        /// The error that the engine reported.
        source: Box<EngineError>,
        /// The time and fuel that the call took.
        spent: Spent,
    },

    /// A call would wait for itself: a host callback, the reader of a lent
    /// response or the holder of a checked-out instance called its own host,
    /// which has one instance only. Or a swap was begun within a swap of the
    /// same host. The outer call or swap goes on.
    #[error("operation `{operation}` was called on host {host_id} from within one of its calls")]
    Reentrant {
        /// The operation that was called.
        operation: String,
        /// The id of the host.
        host_id: u64,
    },

    /// The operation's name with the payload is larger than
    /// [`Limits::max_inbound_bytes`](crate::Limits::max_inbound_bytes), or than the
    /// 32-bit memory of a guest. The guest was not called.
    #[error("a request of {bytes} bytes is above the limit of {limit} bytes")]
    TooLarge {
        /// The length of name and payload together in bytes.
        bytes: usize,
        /// The limit.
        limit: usize,
    },
}

macro_rules! kinds {
    ($($kind:ident $pattern:tt = $name:literal;)*) => {
        /// The kinds of [`Error`], for counters and labels.
        ///
        /// ```
        /// use wapc_host::{engine::scripted::ScriptedProvider, error::ErrorKind};
        ///
        /// let host = ScriptedProvider::new(|guest, _, _| guest.fail(b"no")).host()?;
        /// assert_eq!(host.call("order", b"").unwrap_err().kind(), ErrorKind::Guest);
        ///
        /// let errors = host.stats().errors;
        /// let failed = ErrorKind::ALL.iter().filter(|kind| errors.of(**kind) > 0);
        /// assert_eq!(failed.collect::<Vec<_>>(), [&ErrorKind::Guest]);
        /// # Ok::<(), wapc_host::Error>(())
        /// ```
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        #[non_exhaustive]
        pub enum ErrorKind {
            $(#[doc = concat!("[`Error::", stringify!($kind), "`].")] $kind,)*
        }

        impl ErrorKind {
            /// All kinds.
            pub const ALL: &[Self] = &[$(Self::$kind),*];

            /// Returns the name of this kind, in words joined by `_`: for labels of
            /// metrics. Names do not change within a major version.
            ///
            /// ```
            /// use wapc_host::error::ErrorKind;
            ///
            /// assert_eq!(ErrorKind::TimedOut.name(), "timed_out");
            /// assert_eq!(ErrorKind::TimedOut.to_string(), "timed_out");
            /// ```
            #[must_use]
            pub const fn name(self) -> &'static str {
                match self {
                    $(Self::$kind => $name,)*
                }
            }
        }

        impl fmt::Display for ErrorKind {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.pad(self.name())
            }
        }

        impl Error {
            /// Returns the kind of this error.
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
    Guest {..} = "guest";
    Trapped {..} = "trapped";
    Exited {..} = "exited";
    Protocol {..} = "protocol";
    Function {..} = "function";
    Limit {..} = "limit";
    TimedOut {..} = "timed_out";
    Cancelled {..} = "cancelled";
    Busy {..} = "busy";
    Init (_) = "init";
    Probe (_) = "probe";
    NoPrevious {} = "no_previous";
    NotDrained {..} = "not_drained";
    NotInterruptible {..} = "not_interruptible";
    AsyncUnsupported {..} = "async_unsupported";
    Engine {..} = "engine";
    Reentrant {..} = "reentrant";
    TooLarge {..} = "too_large";
}

impl Error {
    /// Adds the time that the caller has waited for an instance, if that matters.
    pub(crate) const fn set_waited(&mut self, time: Duration) {
        if let Self::TimedOut { waited, .. } = self {
            *waited = time;
        }
    }
}

/// The time and fuel of a call that failed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Spent {
    /// The time that it ran, in multiples of 2 ms. `None` for calls without
    /// timeout, deadline and cancel handle.
    pub time: Option<Duration>,
    /// The fuel that it used; `None` if fuel is not counted. wasmtime updates
    /// the count at each function entry and return, so the last part is missing
    /// if the call timed out or a load or store trapped.
    pub fuel: Option<u64>,
}

fn timed_out(operation: &str, timeout: Duration, began: bool, waited: Duration) -> String {
    match (began, waited.is_zero()) {
        (true, true) => format!("operation `{operation}` did not end within {timeout:?}"),
        (true, false) => format!(
            "operation `{operation}` did not end within {timeout:?}, after {waited:.1?} of waiting \
             for an instance"
        ),
        (false, true) if timeout.is_zero() => {
            format!("operation `{operation}` had no time left to begin")
        }
        (false, true) => format!(
            "operation `{operation}` has not begun: its instance did not start within {timeout:?}"
        ),
        (false, false) => format!(
            "operation `{operation}` has not begun: no instance was free within {waited:.1?}"
        ),
    }
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
