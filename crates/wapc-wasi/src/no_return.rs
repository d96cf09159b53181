//! The ways in which a function of WASI ends its guest's call.

use std::{
    io,
    pin::pin,
    task::{Context, Poll, Waker},
};

use thiserror::Error as ThisError;
use wapc_host::{BoxError, error::StopReason};
use wasi_common::{I32Exit, snapshots::preview_1::types::Errno};
use wiggle::{GuestError, anyhow};

/// The reason why a function of WASI does not return to its guest.
///
/// The engine must end the guest's call.
///
/// ```
/// use wapc_host::WasiSettings;
/// use wapc_wasi::{NoReturn, Wasi, preview1};
///
/// let mut wasi = Wasi::new(&WasiSettings::new(), 0, None)?;
/// let exit = preview1::proc_exit(&mut wasi, &mut [], 3);
/// assert!(matches!(exit, Err(NoReturn::Exit(3))));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, ThisError)]
#[non_exhaustive]
pub enum NoReturn {
    /// The guest called `proc_exit` with this code, from 0 to 125.
    #[error("the guest exited with code {0}")]
    Exit(i32),

    /// The call was stopped while the guest waited.
    #[error(transparent)]
    Stopped(#[from] StopReason),

    /// The function failed in a way that no errno describes, for example because
    /// `proc_exit` does not accept the exit code.
    #[error("a function of WASI failed")]
    Failed(#[source] BoxError),
}

/// The result type of a function of WASI.
pub(crate) trait WasiResult: Sized {
    /// Returns the result that reports `errno`, or `None` if the function cannot
    /// report any.
    fn from_errno(errno: Errno) -> Option<Self>;
}

impl WasiResult for i32 {
    fn from_errno(errno: Errno) -> Option<Self> {
        Some(errno as Self)
    }
}

impl WasiResult for () {
    fn from_errno(_: Errno) -> Option<Self> {
        None
    }
}

/// Runs a function of `wasi_common` to its end on this thread. Its futures are not
/// pending then, so one poll is enough.
pub(crate) fn run<T: WasiResult>(
    function: impl Future<Output = anyhow::Result<T>>,
) -> Result<T, NoReturn> {
    match pin!(function).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(result) => ended(result),
        Poll::Pending => Err(NoReturn::Failed("a function of WASI did not end".into())),
    }
}

/// Translates the end of a function of `wasi_common`.
pub(crate) fn ended<T: WasiResult>(result: anyhow::Result<T>) -> Result<T, NoReturn> {
    let error = match result {
        Ok(returned) => return Ok(returned),
        Err(error) => error,
    };
    if let Some(I32Exit(code)) = error.downcast_ref() {
        return Err(NoReturn::Exit(*code));
    }
    if let Some(stop) = error.downcast_ref::<StopReason>() {
        return Err(NoReturn::Stopped(stop.clone()));
    }
    errno(&error)
        .and_then(T::from_errno)
        .ok_or_else(|| NoReturn::Failed(error.into()))
}

/// Returns the errno of an error for which `wasi_common` has none: a mistake of
/// the guest, or an operation that the file does not support.
fn errno(error: &anyhow::Error) -> Option<Errno> {
    if let Some(error) = error.downcast_ref::<io::Error>() {
        return Some(match error.kind() {
            io::ErrorKind::ReadOnlyFilesystem => Errno::Rofs,
            io::ErrorKind::CrossesDevices => Errno::Xdev,
            io::ErrorKind::ExecutableFileBusy => Errno::Txtbsy,
            _ => Errno::Io,
        });
    }
    error.downcast_ref().map(guest_errno)
}

fn guest_errno(error: &GuestError) -> Errno {
    match error {
        GuestError::PtrOverflow
        | GuestError::PtrOutOfBounds(_)
        | GuestError::SliceLengthsDiffer => Errno::Fault,
        GuestError::InvalidFlagValue(_)
        | GuestError::InvalidEnumValue(_)
        | GuestError::PtrNotAligned(..) => Errno::Inval,
        GuestError::InvalidUtf8(_) => Errno::Ilseq,
        GuestError::TryFromIntError(_) => Errno::Overflow,
        GuestError::InFunc { err, .. } => guest_errno(err),
    }
}
