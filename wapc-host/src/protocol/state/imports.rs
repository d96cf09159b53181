//! The host functions that only copy bytes: all of waPC except `__host_call`,
//! and those that compilers import from `env`.
//!
//! Each checks first whether the guest may go on, for every engine: a guest may
//! call them in a straight line, which some engines do not interrupt.

use std::{
    hash::{BuildHasher, Hasher, RandomState},
    panic::{AssertUnwindSafe, catch_unwind},
    str::from_utf8,
};

use log::Level;

use super::ModuleState;
#[cfg(doc)]
use crate::limits::guest::LimitError;
use crate::{
    error::{ProtocolError, StopReason},
    protocol::memory::{assembly_script_string, check_outbound, length, not_utf8, read, write},
    protocol::owned::fill,
    protocol::reentrancy::ReentrancyGuard,
    stack::OnGuestStack,
    text::{Printable, clip},
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
        self.check()?;
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
        self.check()?;
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
        self.check()?;
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
        self.check()?;
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
        self.check()?;
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
        self.check()?;
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
        self.check()?;
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
    /// replaced by `U+FFFD`, since a garbled line is better than none, and control
    /// characters are escaped ([`Printable`]): a line stays one line.
    ///
    /// # Errors
    ///
    /// [`ProtocolError::OutOfBounds`] if the line is not within the memory;
    /// [`LimitError::LogBytes`] if the call has logged too much;
    /// [`ProtocolError::CallbackPanicked`] if the program's logger has panicked.
    pub fn console_log(&mut self, memory: &[u8], ptr: i32, len: i32) -> Result<(), StopReason> {
        const IMPORT: &str = "__console_log";
        self.check()?;
        let line = read(memory, ptr, len, IMPORT, "line")?;
        self.log_line(IMPORT, Level::Info, line)
    }

    /// Logs a line of the guest's.
    fn log_line(
        &mut self,
        import: &'static str,
        level: Level,
        line: &[u8],
    ) -> Result<(), StopReason> {
        self.scratch
            .values_mut()
            .count_log_line(&self.limits, line.len())?;
        let host_id = self.host_id;
        self.run_foreign(import, || {
            if log::log_enabled!(target: LOG_TARGET, level) {
                let line = String::from_utf8_lossy(line);
                let line = Printable::line(&line);
                log::log!(target: LOG_TARGET, level, "[guest of host {host_id}] {line}");
            }
        })
    }

    /// Calls code of the program's in a host function. No engine has to unwind
    /// its guest's frames: a panic is resumed in the caller of the guest.
    ///
    /// # Errors
    ///
    /// [`ProtocolError::CallbackPanicked`] if it panics.
    pub(super) fn run_foreign<T>(
        &self,
        import: &'static str,
        foreign: impl FnOnce() -> T,
    ) -> Result<T, StopReason> {
        // Unwind safety: after a panic the instance is dropped, so its state is
        // not observed.
        let done = catch_unwind(AssertUnwindSafe(|| {
            let _guard = ReentrancyGuard::scoped(self.host_id);
            let _stack = OnGuestStack::enter(self.may_await());
            foreign()
        }));
        done.map_err(|panic| self.foreign_panicked(import, panic))
    }

    /// `env.abort`, which AssemblyScript guests import: sets the guest's error
    /// to its message and position, unless the guest has set one. The guest
    /// traps afterwards.
    ///
    /// `message` and `file` point to AssemblyScript strings: UTF-16, with the
    /// length in bytes in the four bytes before them. A string that is not
    /// within the memory is left out.
    /// Source: <https://www.assemblyscript.org/runtime.html#memory-layout>.
    ///
    /// # Errors
    ///
    /// The same as of [`ModuleState::check`].
    pub fn abort(
        &mut self,
        memory: &[u8],
        message: i32,
        file: i32,
        line: i32,
        column: i32,
    ) -> Result<(), StopReason> {
        self.check()?;
        if self.scratch.values().guest_error.is_some() {
            return Ok(());
        }
        let message = assembly_script_string(memory, message);
        let file = assembly_script_string(memory, file);
        let mut error = format!(
            "{} at {}:{}:{}",
            message.as_deref().unwrap_or("abort"),
            file.as_deref().unwrap_or("an unknown file"),
            line.cast_unsigned(),
            column.cast_unsigned(),
        );
        error.truncate(clip(&error, self.limits.max_outbound_bytes).len());
        self.scratch.values_mut().guest_error = Some(error);
        Ok(())
    }

    /// `env.trace` of AssemblyScript: logs a message and up to five numbers as
    /// [`ModuleState::console_log`] does.
    ///
    /// # Errors
    ///
    /// The same as of [`ModuleState::console_log`], but for the bounds: a string
    /// that is not within the memory is left out.
    #[expect(
        clippy::too_many_arguments,
        reason = "AssemblyScript's `trace` has these seven"
    )]
    pub fn trace(
        &mut self,
        memory: &[u8],
        message: i32,
        numbers: i32,
        a: f64,
        b: f64,
        c: f64,
        d: f64,
        e: f64,
    ) -> Result<(), StopReason> {
        self.check()?;
        let mut line = assembly_script_string(memory, message).unwrap_or_default();
        for number in [a, b, c, d, e]
            .iter()
            .take(usize::try_from(numbers).unwrap_or_default())
        {
            line.push_str(&format!(" {number}"));
        }
        self.log_line("trace", Level::Info, line.as_bytes())
    }

    /// `env.console.log` of AssemblyScript and its kin: logs a string as
    /// [`ModuleState::console_log`] does, at `level`.
    ///
    /// # Errors
    ///
    /// The same as of [`ModuleState::trace`].
    pub fn console(
        &mut self,
        memory: &[u8],
        message: i32,
        level: LogLevel,
    ) -> Result<(), StopReason> {
        self.check()?;
        let line = assembly_script_string(memory, message).unwrap_or_default();
        self.log_line(level.import(), level.of_log(), line.as_bytes())
    }

    /// `env.seed` of AssemblyScript: returns a random number for the guest's
    /// generator of random numbers.
    ///
    /// # Errors
    ///
    /// The same as of [`ModuleState::check`].
    pub fn seed(&self) -> Result<f64, StopReason> {
        self.check()?;
        // The standard library takes its keys from the system's random numbers.
        let random = RandomState::new().build_hasher().finish();
        // The 52 bits of a fraction, so that it is a number.
        Ok(f64::from_bits((random >> 12) | 1.0_f64.to_bits()))
    }

    /// `env.emscripten_notify_memory_growth`: does nothing, since the host looks
    /// at the memory anew in each host function.
    ///
    /// # Errors
    ///
    /// The same as of [`ModuleState::check`].
    pub fn memory_has_grown(&self) -> Result<(), StopReason> {
        self.check()
    }
}

/// The levels of AssemblyScript's console.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(clippy::exhaustive_enums, reason = "the console has these")]
pub enum LogLevel {
    /// `console.debug`.
    Debug,
    /// `console.error`.
    Error,
    /// `console.info` and `console.log`.
    Info,
    /// `console.warn`.
    Warn,
}

impl LogLevel {
    /// The function that logs at this level.
    const fn import(self) -> &'static str {
        match self {
            Self::Debug => "console.debug",
            Self::Error => "console.error",
            Self::Info => "console.log",
            Self::Warn => "console.warn",
        }
    }

    const fn of_log(self) -> Level {
        match self {
            Self::Debug => Level::Debug,
            Self::Error => Level::Error,
            Self::Info => Level::Info,
            Self::Warn => Level::Warn,
        }
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

/// Calls the macro `$link` with the functions that compilers import from the
/// module `env`: AssemblyScript's and Emscripten's, each with the call of a method
/// of [`ModuleState`]. The names are `$state`, and `$memory` for the guest's memory.
///
/// ```
/// macro_rules! names {
///     (
///         ()
///         $($import:literal => |$state:ident, $memory:ident $(, $number:ident: $type:ty)*|
///             -> $result:ty { $call:expr };)*
///     ) => {
///         [$($import),*]
///     };
/// }
/// let names = wapc_host::engine::for_each_env_import!(names!());
/// assert_eq!(names[0], "abort");
/// ```
#[doc(hidden)]
#[macro_export]
macro_rules! for_each_env_import {
    ($link:ident!($($context:tt)*)) => {
        $link! {
            ($($context)*)
            "abort" => |state, memory, message: i32, file: i32, line: i32, column: i32| -> () {
                state.abort(memory, message, file, line, column)
            };
            "console.debug" => |state, memory, message: i32| -> () {
                state.console(memory, message, $crate::engine::LogLevel::Debug)
            };
            "console.error" => |state, memory, message: i32| -> () {
                state.console(memory, message, $crate::engine::LogLevel::Error)
            };
            "console.info" => |state, memory, message: i32| -> () {
                state.console(memory, message, $crate::engine::LogLevel::Info)
            };
            "console.log" => |state, memory, message: i32| -> () {
                state.console(memory, message, $crate::engine::LogLevel::Info)
            };
            "console.warn" => |state, memory, message: i32| -> () {
                state.console(memory, message, $crate::engine::LogLevel::Warn)
            };
            "emscripten_notify_memory_growth" => |state, _memory, _index: i32| -> () {
                state.memory_has_grown()
            };
            "seed" => |state, _memory| -> f64 { state.seed() };
            "trace" => |
                state, memory, message: i32, numbers: i32, a: f64, b: f64, c: f64, d: f64, e: f64
            | -> () {
                state.trace(memory, message, numbers, a, b, c, d, e)
            };
        }
    };
}

pub use for_each_env_import;
pub use for_each_import;

/// The log target of guests' lines.
const LOG_TARGET: &str = "wapc::guest";
