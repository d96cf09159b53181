//! Calls in their forms.

use std::{
    ffi::{c_char, c_void},
    mem::{self, ManuallyDrop},
    ptr,
    sync::Arc,
    time::Duration,
};

use wapc_host::{CallOptions, CallWith, CancelHandle};

use super::{
    boundary::{BadArgument, UserPointer, borrow, guard, handle, release, slice, text, write},
    callbacks::{WapcCandidate, WapcReader},
    errors::{finish, null},
    hosts::WapcHost,
};
use crate::error::{WapcError, WapcStatus};

/// Options of one call. What is 0 or null is the host's.
#[derive(Clone, Copy, Debug)]
#[repr(C)]
#[expect(clippy::exhaustive_structs, reason = "C has it by its fields")]
pub struct WapcCallOptions {
    /// `sizeof(WapcCallOptions)`, by which a library knows which fields there are.
    pub size: usize,
    /// The time that the call may take, in milliseconds.
    pub timeout_ms: u64,
    /// The fuel that the call may use.
    pub fuel: u64,
    /// Ends the call when it is cancelled.
    pub cancel: *const WapcCancel,
    /// A pointer for the callback.
    pub context: *mut c_void,
    /// The timeout includes the wait for an instance.
    pub timeout_includes_wait: bool,
}

/// Cancels calls, from any thread.
#[derive(Debug)]
pub struct WapcCancel(CancelHandle);

/// A response of the library's, which grows as needed. Begin with zeros, use it for any number of calls, one at a time, and
/// free it at the end.
#[derive(Clone, Copy, Debug)]
#[repr(C)]
#[expect(clippy::exhaustive_structs, reason = "C has it by its fields")]
pub struct WapcBuffer {
    /// The bytes.
    pub data: *mut u8,
    /// Their number.
    pub length: usize,
    /// The library's.
    pub capacity: usize,
}

/// Returns a handle by which calls are cancelled (`WapcCallOptions::cancel`).
#[unsafe(no_mangle)]
pub extern "C" fn wapc_cancel_new() -> *mut WapcCancel {
    handle(WapcCancel(CancelHandle::new()))
}

/// Cancels the calls that have this handle, those that come as well.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn wapc_cancel(cancel: *const WapcCancel) {
    // SAFETY: a handle of this library, or null.
    let cancel = || unsafe { borrow(cancel) }.map(|cancel| cancel.0.cancel());
    guard(cancel, |_| None);
}

/// Frees a handle. Calls that have it are not affected. Null is none.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn wapc_cancel_free(cancel: *mut WapcCancel) {
    // SAFETY: a handle of this library, or null, freed once.
    guard(|| unsafe { release(cancel) }, drop);
}

/// Calls an operation of the guest. Its response is in `response`. Options may be null. Returns
/// `WAPC_STATUS_OK`, or the kind of the error; `error`, unless it is null, gets the rest, null for none.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn wapc_host_call(
    host: *const WapcHost,
    operation: *const c_char,
    payload: *const u8,
    payload_length: usize,
    options: *const WapcCallOptions,
    response: *mut WapcBuffer,
    error: *mut *mut WapcError,
) -> WapcStatus {
    // SAFETY: a host of this library, text, bytes, options, a buffer and a place of the caller's; each may be null.
    unsafe {
        finish(error, || {
            let call = Call::new(host, operation, payload, payload_length, options)?;
            call.run(|host, operation, payload| {
                with_buffer(response, |buffer| {
                    host.call_into(operation, payload, buffer)
                })
            })
        })
    }
}

/// Calls an operation as `wapc_host_call` does, with a buffer of the caller's. `length` gets the length of the response. If
/// that is more than `capacity`, the call fails with `WAPC_STATUS_BUFFER_TOO_SMALL`, after the guest has been called.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn wapc_host_call_into(
    host: *const WapcHost,
    operation: *const c_char,
    payload: *const u8,
    payload_length: usize,
    options: *const WapcCallOptions,
    buffer: *mut u8,
    capacity: usize,
    length: *mut usize,
    error: *mut *mut WapcError,
) -> WapcStatus {
    // SAFETY: as of `wapc_host_call`, and `capacity` bytes can be written to the buffer.
    unsafe {
        finish(error, || {
            write(length, 0);
            if buffer.is_null() && capacity > 0 {
                return Err(null("buffer"));
            }
            let call = Call::new(host, operation, payload, payload_length, options)?;
            let buffer = UserPointer(buffer.cast());
            let read = |response: &[u8]| {
                // The closure takes the whole, which may go to another thread, and not its field.
                let UserPointer(buffer) = { buffer };
                if !response.is_empty() && response.len() <= capacity {
                    // The lengths fit; guest memory is no memory of the caller's.
                    ptr::copy_nonoverlapping(response.as_ptr(), buffer.cast(), response.len());
                }
                response.len()
            };
            let mut responded = 0;
            call.run(|host, operation, payload| {
                responded = host.call_with(operation, payload, read)?;
                Ok(())
            })?;
            write(length, responded);
            if responded > capacity {
                let message = format!("a response of {responded} bytes in a buffer of {capacity}");
                return Err(WapcError::new(WapcStatus::BufferTooSmall, message));
            }
            Ok(())
        })
    }
}

/// Calls an operation as `wapc_host_call` does, and has the response read in the guest's memory, without a copy. `reader`
/// may have run also if the call fails, since a guest can fail after its response.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn wapc_host_call_with(
    host: *const WapcHost,
    operation: *const c_char,
    payload: *const u8,
    payload_length: usize,
    options: *const WapcCallOptions,
    reader: WapcReader,
    user_data: *mut c_void,
    error: *mut *mut WapcError,
) -> WapcStatus {
    // SAFETY: as of `wapc_host_call`.
    unsafe {
        finish(error, || {
            let reader = reader.ok_or_else(|| null("reader"))?;
            let call = Call::new(host, operation, payload, payload_length, options)?;
            let user_data = UserPointer(user_data);
            // The program's function with what the header says.
            let read = |response: &[u8]| {
                // The closure takes the whole, which may go to another thread, and not its field.
                let UserPointer(user_data) = { user_data };
                reader(user_data, response.as_ptr(), response.len());
            };
            call.run(|host, operation, payload| host.call_with(operation, payload, read))
        })
    }
}

/// Calls an operation of new code, in a probe.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn wapc_candidate_call(
    candidate: *mut WapcCandidate,
    operation: *const c_char,
    payload: *const u8,
    payload_length: usize,
    response: *mut WapcBuffer,
    error: *mut *mut WapcError,
) -> WapcStatus {
    // SAFETY: the candidate of a probe that runs; the rest as of `wapc_host_call`.
    unsafe {
        finish(error, || {
            let candidate = candidate.as_mut().ok_or_else(|| null("candidate"))?;
            let operation = text(operation, "operation")?;
            let payload = slice(payload, payload_length, "payload")?;
            let called = with_buffer(response, |buffer| {
                candidate.instance.call_into(operation, payload, buffer)
            });
            Ok(called?)
        })
    }
}

/// Frees the bytes of a buffer, which is empty afterwards. Null is none.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn wapc_buffer_free(buffer: *mut WapcBuffer) {
    // SAFETY: a buffer of this library's, or zeros, or null.
    unsafe {
        if let Some(buffer) = buffer.as_mut() {
            drop(take(buffer));
        }
    }
}

const EMPTY: WapcBuffer = WapcBuffer {
    data: ptr::null_mut(),
    length: 0,
    capacity: 0,
};

/// Takes the bytes out of a buffer, and leaves it empty: a panic must not leave it with bytes that are freed.
///
/// # Safety
///
/// The buffer has been filled by [`with_buffer`], or its `data` is null.
unsafe fn take(buffer: &mut WapcBuffer) -> Vec<u8> {
    let WapcBuffer {
        data,
        length,
        capacity,
    } = mem::replace(buffer, EMPTY);
    if data.is_null() || length > capacity {
        return Vec::new();
    }
    // SAFETY: the parts of a `Vec` that `with_buffer` has taken apart.
    unsafe { Vec::from_raw_parts(data, length, capacity) }
}

/// Runs a call with the bytes of a buffer of the caller's, or, for null, with one that is dropped.
///
/// # Safety
///
/// As of [`take`], or null.
unsafe fn with_buffer(
    buffer: *mut WapcBuffer,
    call: impl FnOnce(&mut Vec<u8>) -> Result<(), wapc_host::Error>,
) -> Result<(), wapc_host::Error> {
    // SAFETY: the caller's promise.
    let Some(buffer) = (unsafe { buffer.as_mut() }) else {
        return call(&mut Vec::new());
    };
    // SAFETY: the caller's promise.
    let mut bytes = unsafe { take(buffer) };
    let called = call(&mut bytes);
    if called.is_err() {
        bytes.clear();
    }
    if bytes.capacity() > 0 {
        let mut bytes = ManuallyDrop::new(bytes);
        *buffer = WapcBuffer {
            data: bytes.as_mut_ptr(),
            length: bytes.len(),
            capacity: bytes.capacity(),
        };
    }
    called
}

/// A call of the caller's, checked.
struct Call<'a> {
    host: Arc<WapcHost>,
    operation: &'a str,
    payload: &'a [u8],
    options: Option<CallOptions>,
}

impl<'a> Call<'a> {
    /// # Safety
    ///
    /// As of [`wapc_host_call`].
    unsafe fn new(
        host: *const WapcHost,
        operation: *const c_char,
        payload: *const u8,
        payload_length: usize,
        options: *const WapcCallOptions,
    ) -> Result<Self, WapcError> {
        // SAFETY: the caller's promise.
        unsafe {
            Ok(Self {
                host: borrow(host).ok_or_else(|| null("host"))?,
                operation: text(operation, "operation")?,
                payload: slice(payload, payload_length, "payload")?,
                options: read_options(options)?,
            })
        }
    }

    fn run(
        &self,
        call: impl FnOnce(CallWith<'_>, &str, &[u8]) -> Result<(), wapc_host::Error>,
    ) -> Result<(), WapcError> {
        let default = CallOptions::default();
        let options = self.options.as_ref().unwrap_or(&default);
        Ok(call(
            self.host.host.with(options),
            self.operation,
            self.payload,
        )?)
    }
}

/// # Safety
///
/// The options are null, or as many bytes as their `size` says can be read, and their `cancel` is null or a handle.
unsafe fn read_options(
    options: *const WapcCallOptions,
) -> Result<Option<CallOptions>, BadArgument> {
    if options.is_null() {
        return Ok(None);
    }
    // SAFETY: the caller's promise.
    let size = unsafe { ptr::addr_of!((*options).size).read() };
    if !(size_of::<usize>()..=size_of::<WapcCallOptions>()).contains(&size) {
        return Err(BadArgument::Unknown("options.size"));
    }
    // What a program of an older header does not have is 0.
    let mut read = WapcCallOptions {
        size: 0,
        timeout_ms: 0,
        fuel: 0,
        cancel: ptr::null(),
        context: ptr::null_mut(),
        timeout_includes_wait: false,
    };
    // SAFETY: `size` bytes are there, and not more than `read` has.
    unsafe {
        ptr::copy_nonoverlapping(options.cast::<u8>(), ptr::addr_of_mut!(read).cast(), size);
    }
    let mut options = CallOptions::default().timeout_includes_wait(read.timeout_includes_wait);
    if read.timeout_ms > 0 {
        options = options.timeout(Duration::from_millis(read.timeout_ms));
    }
    if read.fuel > 0 {
        options = options.fuel(read.fuel);
    }
    // SAFETY: the caller's promise.
    if let Some(cancel) = unsafe { borrow(read.cancel) } {
        options = options.cancel(&cancel.0);
    }
    if !read.context.is_null() {
        options = options.context(Arc::new(UserPointer(read.context)));
    }
    Ok(Some(options))
}
