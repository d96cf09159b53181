//! Errors, and what is left of a function's result for C.

use std::{
    ffi::{CStr, c_char},
    ptr,
};

use super::boundary::{self, guard, write};
use crate::error::{WapcError, WapcStatus};

/// Runs the body of a function, and hands its error over: the kind is returned, the rest goes to `error`.
///
/// # Safety
///
/// `error` is null, or an error's address can be written there.
pub(crate) unsafe fn finish(
    error: *mut *mut WapcError,
    body: impl FnOnce() -> Result<(), WapcError>,
) -> WapcStatus {
    let (kind, handle) = match guard(body, |panic| Err(WapcError::internal(panic))) {
        Ok(()) => (WapcStatus::Ok, ptr::null_mut()),
        Err(error) => (error.status, Box::into_raw(Box::new(error))),
    };
    if error.is_null() {
        if !handle.is_null() {
            // SAFETY: made of a box above, and handed to nobody.
            drop(unsafe { Box::from_raw(handle) });
        }
    } else {
        // SAFETY: the caller's promise.
        unsafe { write(error, handle) }
    }
    kind
}

/// As [`finish`], for a function that returns a value.
///
/// # Safety
///
/// As of [`finish`].
pub(crate) unsafe fn finish_with<T>(
    error: *mut *mut WapcError,
    body: impl FnOnce() -> Result<*mut T, WapcError>,
) -> *mut T {
    let mut result = ptr::null_mut();
    // SAFETY: the caller's promise.
    unsafe {
        finish(error, || {
            result = body()?;
            Ok(())
        });
    }
    result
}

/// Returns the status of an error, `WAPC_STATUS_OK` for null.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn wapc_error_status(error: *const WapcError) -> WapcStatus {
    // SAFETY: an error of this library, or null.
    unsafe { error.as_ref() }.map_or(WapcStatus::Ok, |error| error.status)
}

/// Returns the text of an error with its causes, UTF-8 with a NUL at its end. It lives as long as the error. Null for null.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn wapc_error_message(error: *const WapcError) -> *const c_char {
    // SAFETY: an error of this library, or null.
    unsafe { error.as_ref() }.map_or(ptr::null(), |error| error.message.as_ptr())
}

/// Returns the text that the guest itself has given, null if it has given none: that of
/// `WAPC_STATUS_GUEST`, and perhaps of a guest that crashed or exited afterwards. It lives as long as the error.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn wapc_error_guest_message(error: *const WapcError) -> *const c_char {
    // SAFETY: an error of this library, or null.
    let error = unsafe { error.as_ref() };
    let message = error.and_then(|error| error.guest_message.as_ref());
    message.map_or(ptr::null(), |message| message.as_ptr())
}

/// Returns the exit code of `WAPC_STATUS_EXITED`, 0 for other kinds.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn wapc_error_exit_code(error: *const WapcError) -> i32 {
    // SAFETY: an error of this library, or null.
    unsafe { error.as_ref() }.map_or(0, |error| error.exit_code)
}

/// Frees an error. Null is none.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn wapc_error_free(error: *mut WapcError) {
    if !error.is_null() {
        // SAFETY: made of a box by `finish`, and freed once.
        guard(|| drop(unsafe { Box::from_raw(error) }), drop);
    }
}

/// Returns the name of a status, such as `timed_out`, for labels. Null for a number that is none.
#[unsafe(no_mangle)]
pub extern "C" fn wapc_status_name(status: u32) -> *const c_char {
    WapcStatus::name_of(status).map_or(ptr::null(), CStr::as_ptr)
}

/// Returns the version of the library, such as `0.2.0`.
#[unsafe(no_mangle)]
pub extern "C" fn wapc_version() -> *const c_char {
    const VERSION: &str = concat!(env!("CARGO_PKG_VERSION"), "\0");
    VERSION.as_ptr().cast()
}

/// Returns the bad argument's error.
pub(crate) fn null(name: &'static str) -> WapcError {
    boundary::BadArgument::Null(name).into()
}
