//! The errors of calls and swaps, and those that an engine reports.

use std::time::Duration;

use thiserror::Error as ThisError;

pub use self::{
    engine::{BoxError, EngineError},
    stop::{ProtocolError, StopReason},
    trap::{Frame, Trap, TrapCode},
};
use crate::limits::guest::LimitError;

mod engine;
mod stop;
mod trap;

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
    #[error("the provider was built without interruption of guests by {what}")]
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
    /// [`Limits::max_inbound_bytes`](crate::Limits::max_inbound_bytes), or than the
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
