//! How a function of WASI ends that does not return to its guest.

use std::{
    io,
    pin::pin,
    task::{Context, Poll, Waker},
};

use thiserror::Error as ThisError;
use wapc_host::{BoxError, StopReason};
use wasi_common::{I32Exit, snapshots::preview_1::types::Errno};
use wiggle::{GuestError, anyhow};

/// Why a function of WASI does not return to the guest that called it: the
/// engine has to end the guest's call.
#[derive(Debug, ThisError)]
#[non_exhaustive]
pub enum Ended {
    /// The guest left by `proc_exit` with this code, from 0 to 125.
    #[error("the guest exited with code {0}")]
    Exit(i32),

    /// The guest waited, and must not go on.
    #[error(transparent)]
    Stopped(#[from] StopReason),

    /// Something else, which no errno says: a code that `proc_exit` does not
    /// take, for example.
    #[error("a function of WASI failed")]
    Failed(#[source] BoxError),
}

/// What a function of WASI returns.
pub(crate) trait Returned: Sized {
    /// The errno, if it can return one.
    fn errno(errno: Errno) -> Option<Self>;
}

impl Returned for i32 {
    fn errno(errno: Errno) -> Option<Self> {
        Some(errno as Self)
    }
}

impl Returned for () {
    fn errno(_: Errno) -> Option<Self> {
        None
    }
}

/// The end of a function of `wasi_common`'s, which never waits for a waker.
pub(crate) fn end<T: Returned>(
    function: impl Future<Output = anyhow::Result<T>>,
) -> Result<T, Ended> {
    let error = match pin!(function).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(Ok(returned)) => return Ok(returned),
        Poll::Ready(Err(error)) => error,
        Poll::Pending => return Err(Ended::Failed("a function of WASI did not end".into())),
    };
    if let Some(I32Exit(code)) = error.downcast_ref() {
        return Err(Ended::Exit(*code));
    }
    if let Some(stop) = error.downcast_ref::<StopReason>() {
        return Err(Ended::Stopped(stop.clone()));
    }
    errno(&error)
        .and_then(T::errno)
        .ok_or_else(|| Ended::Failed(error.into()))
}

/// The errno of an error that `wasi_common` has none for: the guest hears of
/// what it did wrong, and of what its files cannot do, and lives on.
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
