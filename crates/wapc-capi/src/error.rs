//! The errors that C gets.

use std::ffi::{CStr, CString};

use wapc_host::{Error, error::ErrorKind};

use crate::boundary::{BadArgument, c_string};

/// The end of a function: `WAPC_STATUS_OK`, or the kind of its error. Numbers keep their meaning; new ones may come.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[non_exhaustive]
#[repr(C)]
pub enum WapcStatus {
    /// No error.
    Ok = 0,
    /// The guest reported an error: `wapc_error_guest_message`. It keeps its state.
    Guest = 1,
    /// The guest crashed.
    Trapped = 2,
    /// The guest left by WASI's `proc_exit`: `wapc_error_exit_code`.
    Exited = 3,
    /// The guest broke waPC's protocol.
    Protocol = 4,
    /// A function of the program's own (`wapc_options_add_function`) has ended the guest.
    Function = 5,
    /// The guest exceeded a limit.
    Limit = 6,
    /// The call's time was over.
    TimedOut = 7,
    /// The call was cancelled.
    Cancelled = 8,
    /// No instance was free in time.
    Busy = 9,
    /// The module is no guest, or no instance of it could be made.
    Init = 10,
    /// The probe of a swap refused the new code.
    Probe = 11,
    /// There is no code to roll back to.
    NoPrevious = 12,
    /// A swap has taken effect, but calls on the old code did not end in time.
    NotDrained = 13,
    /// The options need an interruption that the host was made without.
    NotInterruptible = 14,
    /// The engine itself failed.
    Engine = 16,
    /// A call would have waited for itself.
    Reentrant = 17,
    /// The request is larger than the guest may get.
    TooLarge = 18,
    /// An argument is null, too long or not UTF-8, or options cannot be read.
    InvalidArgument = 32,
    /// The caller's buffer is smaller than the response. The guest has been called.
    BufferTooSmall = 33,
    /// The library itself failed.
    Internal = 34,
}

impl WapcStatus {
    const NAMES: &[(Self, &CStr)] = &[
        (Self::Ok, c"ok"),
        (Self::Guest, c"guest"),
        (Self::Trapped, c"trapped"),
        (Self::Exited, c"exited"),
        (Self::Protocol, c"protocol"),
        (Self::Function, c"function"),
        (Self::Limit, c"limit"),
        (Self::TimedOut, c"timed_out"),
        (Self::Cancelled, c"cancelled"),
        (Self::Busy, c"busy"),
        (Self::Init, c"init"),
        (Self::Probe, c"probe"),
        (Self::NoPrevious, c"no_previous"),
        (Self::NotDrained, c"not_drained"),
        (Self::NotInterruptible, c"not_interruptible"),
        (Self::Engine, c"engine"),
        (Self::Reentrant, c"reentrant"),
        (Self::TooLarge, c"too_large"),
        (Self::InvalidArgument, c"invalid_argument"),
        (Self::BufferTooSmall, c"buffer_too_small"),
        (Self::Internal, c"internal"),
    ];

    /// Returns the name of a number, for labels.
    pub(crate) fn name_of(number: u32) -> Option<&'static CStr> {
        let mut names = Self::NAMES.iter();
        let name = names.find(|(status, _)| status.number() == number);
        name.map(|(_, name)| *name)
    }

    #[expect(clippy::cast_sign_loss, reason = "none is below 0")]
    pub(crate) const fn number(self) -> u32 {
        self as i32 as u32
    }
}

impl From<ErrorKind> for WapcStatus {
    fn from(kind: ErrorKind) -> Self {
        match kind {
            ErrorKind::Guest => Self::Guest,
            ErrorKind::Trapped => Self::Trapped,
            ErrorKind::Exited => Self::Exited,
            ErrorKind::Protocol => Self::Protocol,
            ErrorKind::Function => Self::Function,
            ErrorKind::Limit => Self::Limit,
            ErrorKind::TimedOut => Self::TimedOut,
            ErrorKind::Cancelled => Self::Cancelled,
            ErrorKind::Busy => Self::Busy,
            ErrorKind::Init => Self::Init,
            ErrorKind::Probe => Self::Probe,
            ErrorKind::NoPrevious => Self::NoPrevious,
            ErrorKind::NotDrained => Self::NotDrained,
            ErrorKind::NotInterruptible => Self::NotInterruptible,
            ErrorKind::Engine => Self::Engine,
            ErrorKind::Reentrant => Self::Reentrant,
            ErrorKind::TooLarge => Self::TooLarge,
            _ => Self::Internal,
        }
    }
}

/// An error, with what is known of it.
#[derive(Clone, Debug)]
pub struct WapcError {
    pub(crate) status: WapcStatus,
    pub(crate) message: CString,
    pub(crate) guest_message: Option<CString>,
    pub(crate) exit_code: i32,
}

impl WapcError {
    pub(crate) fn new(status: WapcStatus, message: impl Into<Vec<u8>>) -> Self {
        Self {
            status,
            message: c_string(message),
            guest_message: None,
            exit_code: 0,
        }
    }

    pub(crate) fn internal(message: String) -> Self {
        Self::new(WapcStatus::Internal, message)
    }
}

impl From<BadArgument> for WapcError {
    fn from(error: BadArgument) -> Self {
        Self::new(WapcStatus::InvalidArgument, error.to_string())
    }
}

impl From<Error> for WapcError {
    fn from(error: Error) -> Self {
        let mut result = Self::new(error.kind().into(), error.report().to_string());
        let guest_message = match error {
            Error::Guest { message, .. } => Some(message),
            Error::Trapped { guest_error, .. } => guest_error,
            Error::Exited {
                guest_error, code, ..
            } => {
                result.exit_code = code;
                guest_error
            }
            _ => None,
        };
        result.guest_message = guest_message.map(c_string);
        result
    }
}

#[cfg(test)]
mod tests {
    use wapc_host::error::ErrorKind;

    use super::WapcStatus;

    #[test]
    fn each_kind_of_the_host_has_a_kind_of_its_name() {
        for kind in ErrorKind::ALL {
            // No function of the library calls async.
            if *kind != ErrorKind::AsyncUnsupported {
                let name = WapcStatus::name_of(WapcStatus::from(*kind).number()).unwrap();
                assert_eq!(name.to_str(), Ok(kind.name()));
            }
        }
    }
}
