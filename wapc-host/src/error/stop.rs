//! The reasons why a guest must not go on: limits, time, and the rules of the
//! protocol.

use std::time::Duration;

use thiserror::Error as ThisError;

use crate::limits::guest::LimitError;

/// Why a guest must not go on.
#[derive(Clone, Debug, PartialEq, Eq, ThisError)]
#[non_exhaustive]
pub enum StopReason {
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
