//! The options of hosts, and logging.

use std::ffi::{c_char, c_void};
use std::sync::{Arc, OnceLock};

use wapc_host::{
    FunctionCall, HostFunctions,
    engine::{HostFunction, Value},
};

use super::{
    boundary::{BadArgument, UserData, UserPointer, guard, slice, text},
    callbacks::{
        Callback, Logger, UserFunction, WapcCallback, WapcFree, WapcFunction, WapcLog, WapcType,
        value_types,
    },
    errors::{finish, null},
};
use crate::{
    error::{WapcError, WapcStatus},
    options::Options,
};

/// The options of a host: its engine, limits, instances and WASI as JSON, the callback, and functions of the program's own.
/// They may be used for several hosts, also at a time, but not while they are being set.
#[derive(Clone, Default)]
pub struct WapcOptions {
    pub(crate) options: Options,
    pub(crate) callback: Option<Arc<Callback>>,
    pub(crate) functions: HostFunctions,
}

/// Returns the default options: the default engine and limits, one instance, no callback.
#[unsafe(no_mangle)]
pub extern "C" fn wapc_options_new() -> *mut WapcOptions {
    Box::into_raw(Box::default())
}

/// Frees options. Hosts that were made with them are not affected. Null is none.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn wapc_options_free(options: *mut WapcOptions) {
    if !options.is_null() {
        // SAFETY: made of a box by `wapc_options_new`, and freed once.
        guard(|| drop(unsafe { Box::from_raw(options) }), drop);
    }
}

/// Sets options by a JSON object, in the place of all that an earlier one has set. What it does not name has its default:
///
/// {
///   "engine": "wasmtime" | "wasmi",
///   "adapt": true,           // modules of other dialects (WASI commands, plugins) become guests
///   "interruption": "kill" | "time" | "fuel" | "time_and_fuel" | "off",  // with fresh instances "time"
///   "limits": { "timeout_ms": 10000, "start_timeout_ms": 10000, "fuel": null, "max_memory_bytes": …,
///     "max_total_memory_bytes": …, "max_memories": …, "max_table_elements": …, "max_tables": …,
///     "max_inbound_bytes": …, "max_outbound_bytes": …, "max_host_calls": …, "max_log_bytes": …, "max_open_files": … },
///   "instances": { "max": 1, "min_idle": 1, "idle_timeout_ms": 60000, "wait_limit_ms": 30000, "max_calls": null },
///   "wasi": { "args": [], "env": {}, "dirs": [{ "host": "/data", "guest": "/", "writable": false }],
///     "stdin": "text", "inherit_stdin": false, "inherit_stdout": false, "inherit_stderr": false }
/// }
///
/// A time of null is no limit. `max_calls` is the number of calls after which an instance is replaced.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn wapc_options_set_json(
    options: *mut WapcOptions,
    json: *const c_char,
    error: *mut *mut WapcError,
) -> WapcStatus {
    // SAFETY: options of this library that nobody else uses, text and a place of the caller's; each may be null.
    unsafe {
        finish(error, || {
            let json = text(json, "json")?;
            let options = options.as_mut().ok_or_else(|| null("options"))?;
            let unreadable = |reason: &dyn std::fmt::Display| {
                let message = format!("the options cannot be read: {reason}");
                WapcError::new(WapcStatus::InvalidArgument, message)
            };
            // An array would count as an object with its fields in their order.
            if !json.trim_start().starts_with('{') {
                return Err(unreadable(&"they are no JSON object"));
            }
            options.options = serde_json::from_str(json).map_err(|error| unreadable(&error))?;
            Ok(())
        })
    }
}

/// Sets what answers calls of guests. `user_data` is handed to each call, and to `free_user_data` (or null) when neither
/// the options nor a host need it any more.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn wapc_options_set_callback(
    options: *mut WapcOptions,
    callback: WapcCallback,
    user_data: *mut c_void,
    free_user_data: WapcFree,
) {
    // SAFETY: options of this library, or null; `free_user_data` can be called as the header says.
    unsafe {
        let user_data = UserData::new(user_data, free_user_data);
        if let Some(options) = options.as_mut() {
            options.callback = callback.map(|function| {
                Arc::new(Callback {
                    function,
                    user_data,
                })
            });
        }
    }
}

/// Adds a function that guests import as `module`.`name`, with at most ten parameters and ten results. `user_data` is as in
/// `wapc_options_set_callback`, and freed if this fails, too.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn wapc_options_add_function(
    options: *mut WapcOptions,
    module: *const c_char,
    name: *const c_char,
    parameters: *const WapcType,
    parameter_count: usize,
    results: *const WapcType,
    result_count: usize,
    function: WapcFunction,
    user_data: *mut c_void,
    free_user_data: WapcFree,
    error: *mut *mut WapcError,
) -> WapcStatus {
    // SAFETY: options of this library, text, arrays and a place of the caller's, each may be null; `free_user_data` can
    // be called as the header says.
    unsafe {
        let user_data = UserData::new(user_data, free_user_data);
        finish(error, || {
            let options = options.as_mut().ok_or_else(|| null("options"))?;
            let (module, name) = (text(module, "module")?, text(name, "name")?);
            let types = |types: &[WapcType], what| {
                let types =
                    value_types(types).filter(|types| types.len() <= HostFunction::MAX_VALUES);
                types.ok_or(BadArgument::Unknown(what))
            };
            let parameters = slice(parameters, parameter_count, "parameters")?;
            let parameters = types(parameters, "parameters")?;
            let results = types(slice(results, result_count, "results")?, "results")?;
            let function = UserFunction {
                function: function.ok_or_else(|| null("function"))?,
                user_data,
                results: results.clone(),
            };
            let body =
                move |call: &mut FunctionCall<'_>, numbers: &[Value], results: &mut [Value]| {
                    function.call(call, numbers, results)
                };
            let functions = std::mem::take(&mut options.functions);
            options.functions = functions.dynamic(module, name, parameters, results, body);
            Ok(())
        })
    }
}

/// Has log lines up to `max_level`, 1 (error) to 5 (trace), written by `log`: those of guests with the target
/// `wapc::guest`, and those of the library. It holds for the process. Returns false, and does nothing, if `log` is
/// null or the process has a logger.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn wapc_set_log(
    log: WapcLog,
    user_data: *mut c_void,
    max_level: u32,
) -> bool {
    let Some(function) = log else {
        return false;
    };
    static LOGGER: OnceLock<Logger> = OnceLock::new();
    let logger = Logger {
        function,
        user_data: UserPointer(user_data),
    };
    let is_first = LOGGER.set(logger).is_ok();
    let is_set = is_first
        && LOGGER
            .get()
            .is_some_and(|logger| log::set_logger(logger).is_ok());
    if is_set {
        log::set_max_level(match max_level {
            0 => log::LevelFilter::Off,
            1 => log::LevelFilter::Error,
            2 => log::LevelFilter::Warn,
            3 => log::LevelFilter::Info,
            4 => log::LevelFilter::Debug,
            _ => log::LevelFilter::Trace,
        });
    }
    is_set
}
