//! The host functions that only copy bytes: all of waPC except `__host_call`,
//! and AssemblyScript's `env.abort`.

use std::str::from_utf8;

use super::ModuleState;
#[cfg(doc)]
use crate::limits::guest::LimitError;
use crate::{
    error::{ProtocolError, StopReason},
    protocol::memory::{assembly_script_string, check_outbound, length, not_utf8, read, write},
    protocol::owned::fill,
    protocol::reentrancy::ReentrancyGuard,
};

impl ModuleState {
    /// `__guest_request`: writes the operation's name to `op_ptr` and the
    /// payload to `ptr`.
    ///
    /// # Errors
    ///
    /// [`ProtocolError::OutOfBounds`] if they do not fit the memory there;
    /// [`ProtocolError::NoCall`] in a start function.
    #[inline]
    pub fn guest_request(
        &self,
        memory: &mut [u8],
        op_ptr: i32,
        ptr: i32,
    ) -> Result<(), StopReason> {
        const IMPORT: &str = "__guest_request";
        let request = self.lent.request().or_else(|| self.owned.request());
        let Some((operation, payload)) = request else {
            return Err(ProtocolError::NoCall { import: IMPORT }.into());
        };
        write(memory, op_ptr, operation, IMPORT, "operation")?;
        write(memory, ptr, payload, IMPORT, "payload")
    }

    /// `__guest_response`: sets the guest's response. A second one replaces the
    /// first.
    ///
    /// # Errors
    ///
    /// [`ProtocolError::OutOfBounds`] if it is not within the memory;
    /// [`LimitError::OutboundBytes`] if it is too long;
    /// [`ProtocolError::NoCall`] in a start function.
    #[inline]
    pub fn guest_response(&mut self, memory: &[u8], ptr: i32, len: i32) -> Result<(), StopReason> {
        const IMPORT: &str = "__guest_response";
        let response = read(memory, ptr, len, IMPORT, "response")?;
        check_outbound(&self.limits, response.len(), IMPORT, "a response")?;
        if let Some(sink) = self.lent.sink() {
            sink.take(response);
        } else if let Some(buffer) = self.owned.response() {
            fill(buffer, response);
        } else {
            return Err(ProtocolError::NoCall { import: IMPORT }.into());
        }
        self.responded = true;
        Ok(())
    }

    /// `__guest_error`: sets the text of the guest's error. A second one
    /// replaces the first.
    ///
    /// # Errors
    ///
    /// [`ProtocolError::OutOfBounds`] if it is not within the memory;
    /// [`LimitError::OutboundBytes`] if it is too long;
    /// [`ProtocolError::NotUtf8`] if it is not text.
    pub fn guest_error(&mut self, memory: &[u8], ptr: i32, len: i32) -> Result<(), StopReason> {
        const IMPORT: &str = "__guest_error";
        let message = read(memory, ptr, len, IMPORT, "error")?;
        check_outbound(&self.limits, message.len(), IMPORT, "an error")?;
        let message = from_utf8(message).map_err(|error| not_utf8(error, IMPORT, "error"))?;
        self.scratch.values_mut().guest_error = Some(message.to_owned());
        Ok(())
    }

    /// `__host_response_len`: returns the length of the host's last answer in
    /// bytes; 0 if there is none.
    ///
    /// # Errors
    ///
    /// [`ProtocolError::TooLarge`] if it does not fit a guest's memory.
    #[inline]
    pub fn host_response_len(&self) -> Result<i32, StopReason> {
        length(
            self.scratch.values().host_response.len(),
            "__host_response_len",
            "response",
        )
    }

    /// `__host_response`: writes the host's last answer to `ptr`; nothing if
    /// there is none.
    ///
    /// # Errors
    ///
    /// [`ProtocolError::OutOfBounds`] if it does not fit the memory there.
    #[inline]
    pub fn host_response(&self, memory: &mut [u8], ptr: i32) -> Result<(), StopReason> {
        write(
            memory,
            ptr,
            &self.scratch.values().host_response,
            "__host_response",
            "response",
        )
    }

    /// `__host_error_len`: returns the length of the last host call's error
    /// text in bytes; 0 if the call did not fail.
    ///
    /// # Errors
    ///
    /// [`ProtocolError::TooLarge`] if it does not fit a guest's memory.
    pub fn host_error_len(&self) -> Result<i32, StopReason> {
        length(
            self.scratch.values().host_error.len(),
            "__host_error_len",
            "error",
        )
    }

    /// `__host_error`: writes the last host call's error text to `ptr`;
    /// nothing if the call did not fail.
    ///
    /// # Errors
    ///
    /// [`ProtocolError::OutOfBounds`] if it does not fit the memory there.
    pub fn host_error(&self, memory: &mut [u8], ptr: i32) -> Result<(), StopReason> {
        write(
            memory,
            ptr,
            self.scratch.values().host_error.as_bytes(),
            "__host_error",
            "error",
        )
    }

    /// `__console_log`: logs a line by the `log` crate, at level `info` with the
    /// target `wapc::guest` and the host's id. Bytes that are not UTF-8 are
    /// replaced by `U+FFFD`, since a garbled line is better than none.
    ///
    /// # Errors
    ///
    /// [`ProtocolError::OutOfBounds`] if the line is not within the memory;
    /// [`LimitError::LogBytes`] if the call has logged too much.
    pub fn console_log(&mut self, memory: &[u8], ptr: i32, len: i32) -> Result<(), StopReason> {
        let line = read(memory, ptr, len, "__console_log", "line")?;
        self.scratch
            .values_mut()
            .count_log_line(&self.limits, line.len())?;
        if log::log_enabled!(target: LOG_TARGET, log::Level::Info) {
            let line = String::from_utf8_lossy(line);
            let _guard = ReentrancyGuard::scoped(self.host_id);
            log::info!(target: LOG_TARGET, "[guest of host {}] {line}", self.host_id);
        }
        Ok(())
    }

    /// `env.abort`, which AssemblyScript guests import: sets the guest's error
    /// to its message and position, unless the guest has set one. The guest
    /// traps afterwards.
    ///
    /// `message` and `file` point to AssemblyScript strings: UTF-16, with the
    /// length in bytes in the four bytes before them. A string that is not
    /// within the memory is left out.
    /// Source: <https://www.assemblyscript.org/runtime.html#memory-layout>.
    pub fn abort(&mut self, memory: &[u8], message: i32, file: i32, line: i32, column: i32) {
        if self.scratch.values().guest_error.is_some() {
            return;
        }
        let message = assembly_script_string(memory, message);
        let file = assembly_script_string(memory, file);
        self.scratch.values_mut().guest_error = Some(format!(
            "{} at {}:{}:{}",
            message.as_deref().unwrap_or("abort"),
            file.as_deref().unwrap_or("an unknown file"),
            line.cast_unsigned(),
            column.cast_unsigned(),
        ));
    }
}

/// Calls the macro `$link` with the functions that the host exports to guests
/// in the module `wapc`, each with its method of [`ModuleState`]. The methods
/// under `with_memory` take the guest's memory as their first argument.
///
/// ```
/// macro_rules! names {
///     (
///         ()
///         with_memory { $($read:ident => $m:ident($($a:ident),*) -> $r:ty;)* }
///         without_memory { $($ask:ident => $n:ident() -> $s:ty;)* }
///     ) => {
///         [$(stringify!($read),)* $(stringify!($ask),)*]
///     };
/// }
/// let names = wapc_host::engine::for_each_import!(names!());
/// assert_eq!(names.len(), 9);
/// assert_eq!(names[0], "__console_log");
/// ```
#[doc(hidden)]
#[macro_export]
macro_rules! for_each_import {
    ($link:ident!($($context:tt)*)) => {
        $link! {
            ($($context)*)
            with_memory {
                __console_log => console_log(ptr, len) -> ();
                __guest_error => guest_error(ptr, len) -> ();
                __guest_request => guest_request(op_ptr, ptr) -> ();
                __guest_response => guest_response(ptr, len) -> ();
                __host_call =>
                    host_call(bd_ptr, bd_len, ns_ptr, ns_len, op_ptr, op_len, ptr, len) -> i32;
                __host_error => host_error(ptr) -> ();
                __host_response => host_response(ptr) -> ();
            }
            without_memory {
                __host_error_len => host_error_len() -> i32;
                __host_response_len => host_response_len() -> i32;
            }
        }
    };
}

pub use for_each_import;

/// The log target of guests' lines.
const LOG_TARGET: &str = "wapc::guest";
