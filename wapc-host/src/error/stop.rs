//! The reasons why a guest must not go on: limits, time, and the rules of the
//! protocol.

use std::time::Duration;

use thiserror::Error as ThisError;

use crate::limits::guest::LimitError;

/// The reason why a guest must not go on.
#[derive(Clone, Debug, PartialEq, Eq, ThisError)]
#[non_exhaustive]
pub enum StopReason {
    /// The guest broke the protocol.
    #[error(transparent)]
    Protocol(#[from] ProtocolError),
    /// The guest exceeded a limit.
    #[error(transparent)]
    Limit(#[from] LimitError),
    /// A host function of the program's own has ended the guest.
    #[error(transparent)]
    Function(Box<FunctionError>),
    /// The call's time is over.
    #[error("the time of {timeout:?} is over")]
    TimedOut {
        /// The time that the call had.
        timeout: Duration,
    },
    /// The call was cancelled.
    #[error("the call was cancelled")]
    Cancelled,
}

/// A rule of waPC that a guest broke.
///
/// The rules are those of the waPC protocol, <https://wapc.io/docs/spec/>. The
/// field `import` names the host function in which the guest broke one.
#[derive(Clone, Debug, PartialEq, Eq, ThisError)]
#[non_exhaustive]
pub enum ProtocolError {
    /// A range of bytes exceeds the guest's memory.
    #[error(
        "`{import}`: {what} at {pointer:#x} of {length} bytes leaves the memory of {memory} bytes"
    )]
    OutOfBounds {
        /// The host function.
        import: &'static str,
        /// The argument of the host function.
        what: &'static str,
        /// The offset of the range in the guest's memory.
        pointer: u32,
        /// The length of the range in bytes.
        length: usize,
        /// The size of the guest's memory in bytes.
        memory: usize,
    },

    /// Text is not UTF-8.
    #[error("`{import}`: {what} is not UTF-8 at byte {valid_up_to}")]
    NotUtf8 {
        /// The host function.
        import: &'static str,
        /// The argument of the host function.
        what: &'static str,
        /// The number of bytes before the first one that is not UTF-8.
        valid_up_to: usize,
    },

    /// A start function asked for a request or set a response.
    #[error("`{import}`: there is no call to answer while start functions run")]
    NoCall {
        /// The host function.
        import: &'static str,
    },

    /// The guest called a host function before its memory was exported.
    #[error("`{import}`: the guest exports no memory")]
    NoMemory {
        /// The host function.
        import: &'static str,
    },

    /// The guest returned 1 (success) without a response.
    #[error("the guest returned 1 (success) without a response")]
    NoResponse,

    /// The guest returned 0 (failure) without an error.
    #[error("the guest returned 0 (failure) without an error")]
    NoError,

    /// The guest returned this number, which is neither 0 nor 1.
    #[error("the guest returned {0}, which is neither 1 (success) nor 0 (failure)")]
    Returned(i32),

    /// The host's answer, or the text of its error, does not fit the 32-bit
    /// memory of a guest. The cause is the host callback, not the guest.
    #[error(
        "`{import}`: the host's {what} of {bytes} bytes is larger than a guest's address space"
    )]
    TooLarge {
        /// The host function.
        import: &'static str,
        /// `response` or `error`.
        what: &'static str,
        /// The length in bytes.
        bytes: usize,
    },

    /// The host has an async callback, but the guest was run by a blocking
    /// call, or in a start section, which its engine cannot suspend. The cause
    /// is the caller, not the guest.
    #[error("`{import}`: the host's callback awaits, and this call does not")]
    CallbackAwaits {
        /// The host function.
        import: &'static str,
    },

    /// The host callback panicked. Callers never get this error, since the
    /// panic is resumed in them.
    #[error("`{import}`: the host callback panicked")]
    CallbackPanicked {
        /// The host function.
        import: &'static str,
    },
}

impl From<FunctionError> for StopReason {
    // Boxed: reasons are returned by the functions that are called most.
    fn from(error: FunctionError) -> Self {
        Self::Function(Box::new(error))
    }
}

/// The end of a guest in one of the program's own [`HostFunctions`](crate::HostFunctions).
#[derive(Clone, Debug, PartialEq, Eq, ThisError)]
#[non_exhaustive]
pub enum FunctionError {
    /// The function has returned an error.
    #[error("the host function `{module}.{name}` failed: {message}")]
    Failed {
        /// The name of the module that it is imported from.
        module: String,
        /// The function's own name.
        name: String,
        /// The text of its error, with the causes.
        message: String,
    },

    /// The guest has passed the function bytes that are not in its memory.
    #[error(
        "the host function `{module}.{name}` was passed {length} bytes at {pointer:#x}, which leave \
         the memory of {memory} bytes"
    )]
    OutOfBounds {
        /// The name of the module that it is imported from.
        module: String,
        /// The function's own name.
        name: String,
        /// The offset of the range in the guest's memory.
        pointer: u32,
        /// The length of the range in bytes.
        length: usize,
        /// The size of the guest's memory in bytes.
        memory: usize,
    },

    /// The host does not provide the function, and allows that
    /// ([`HostFunctions::allow_missing_imports`](crate::HostFunctions::allow_missing_imports)).
    #[error("the guest called `{module}.{name}`, which the host does not provide")]
    Missing {
        /// The name of the module that it is imported from.
        module: String,
        /// The function's own name.
        name: String,
    },

    /// The function is async, but the guest was run by a blocking call, or in a start section,
    /// which its engine cannot suspend. The cause is the caller, not the guest.
    #[error("the host function `{module}.{name}` awaits, and this call does not: use `call_async`")]
    Awaits {
        /// The name of the module that it is imported from.
        module: String,
        /// The function's own name.
        name: String,
    },
}

/// The reason why a host function cannot access the guest's memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ThisError)]
#[non_exhaustive]
pub enum MemoryError {
    /// The bytes are not within the memory.
    #[error("{length} bytes at {pointer:#x} leave the guest's memory of {memory} bytes")]
    OutOfBounds {
        /// The offset of the first byte.
        pointer: u32,
        /// The number of bytes.
        length: usize,
        /// The size of the memory in bytes.
        memory: usize,
    },
    /// The function has ended, and the guest runs or is gone.
    #[error("the host function has ended")]
    Gone,
}
