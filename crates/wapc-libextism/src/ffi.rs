//! The 33 functions, and all unsafe code of this crate.
#![expect(
    unsafe_code,
    reason = "C has addresses; what each must be is said in the header, and checked by `wapc::boundary`"
)]
#![expect(
    clippy::missing_safety_doc,
    reason = "the same for all functions: addresses are what the header says, or null"
)]
#![expect(missing_debug_implementations, reason = "C does not print them")]

use std::{
    any::Any,
    ffi::{CStr, CString, c_char, c_void},
    mem::MaybeUninit,
    ptr,
    sync::{Arc, Mutex, PoisonError},
};

use wapc::boundary::{
    BadArgument, UserData, UserPointer, borrow, c_string, guard, handle, release, slice, text,
    write,
};
use wapc_extism::{CompiledPlugin, CurrentPlugin, Function, Val, ValType};

use crate::{
    log_lines,
    plugin::{Making, REENTRANT, SharedPlugin, instantiate},
};

#[cfg(test)]
mod tests;

/// The type of a number of a function.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[repr(C)]
#[expect(clippy::exhaustive_enums, reason = "Extism's")]
pub enum ExtismValType {
    /// An integer of 32 bits.
    I32,
    /// An integer of 64 bits; a handle is one.
    I64,
    /// A float of 32 bits.
    F32,
    /// A float of 64 bits.
    F64,
    /// A vector of 128 bits, which functions cannot have.
    V128,
    /// A reference to a function, which functions cannot have.
    FuncRef,
    /// A reference to data, which functions cannot have.
    ExternRef,
}

/// Cancels the calls of a plugin.
pub struct ExtismCancelHandle(wapc_extism::CancelHandle);

/// A plugin that has been compiled, of which any number can be made.
pub struct ExtismCompiledPlugin(CompiledPlugin);

/// The plugin whose call a function of the host answers. It is valid until the function returns.
pub struct ExtismCurrentPlugin<'p, 'c>(&'p mut CurrentPlugin<'c>);

/// A function of the host, for one plugin.
pub struct ExtismFunction(Mutex<Option<Function>>);

/// A plugin.
pub struct ExtismPlugin {
    plugin: SharedPlugin,
    cancel: ExtismCancelHandle,
}

/// The offset of a block in the memory of blocks.
pub type ExtismMemoryHandle = u64;

/// A number of bytes, or of values.
pub type ExtismSize = u64;

/// The bits of a number.
#[derive(Clone, Copy)]
#[repr(C)]
pub union ExtismValUnion {
    /// Of the type `ExtismValType_I32`.
    pub i32: i32,
    /// Of the type `ExtismValType_I64`.
    pub i64: i64,
    /// Of the type `ExtismValType_F32`.
    pub f32: f32,
    /// Of the type `ExtismValType_F64`.
    pub f64: f64,
}

/// A number with its type.
#[derive(Clone, Copy)]
#[repr(C)]
#[expect(clippy::exhaustive_structs, reason = "C has it by its fields")]
pub struct ExtismVal {
    /// The type.
    pub t: ExtismValType,
    /// The bits.
    pub v: ExtismValUnion,
}

/// A function of the host. The outputs have their types, and are zero. Without inputs or outputs their addresses are null.
pub type ExtismFunctionType = Option<
    unsafe extern "C" fn(
        plugin: *mut ExtismCurrentPlugin,
        inputs: *const ExtismVal,
        n_inputs: ExtismSize,
        outputs: *mut ExtismVal,
        n_outputs: ExtismSize,
        data: *mut c_void,
    ),
>;

/// Gets a line of the log.
pub type ExtismLogDrainFunctionType =
    Option<unsafe extern "C" fn(data: *const c_char, size: ExtismSize)>;

/// Returns the 16 bytes of a plugin's id, which live as long as the plugin. Null for null.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn extism_plugin_id(plugin: *mut ExtismPlugin) -> *const u8 {
    // SAFETY: a plugin of this library, or null.
    let plugin = unsafe { plugin.as_ref() };
    plugin.map_or(ptr::null(), |plugin| plugin.plugin.id.as_ptr())
}

/// Returns the host context of the call, null without.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn extism_current_plugin_host_context(
    plugin: *mut ExtismCurrentPlugin,
) -> *mut c_void {
    // SAFETY: the plugin of a function that runs, or null.
    let plugin = unsafe { plugin.as_ref() };
    let context = plugin.and_then(|plugin| plugin.0.host_context::<UserPointer>());
    context.map_or(ptr::null_mut(), |context| context.0)
}

/// Returns the address of the memory of blocks: a block is at this address plus its handle. It is valid until the function
/// returns; on the engine wasmi, until the function next makes a block.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn extism_current_plugin_memory(plugin: *mut ExtismCurrentPlugin) -> *mut u8 {
    // SAFETY: the plugin of a function that runs, or null.
    unsafe { with_current(plugin, ptr::null_mut(), |plugin| plugin.memory_base()) }
}

/// Makes a block. Returns its handle; 0 for no bytes, and if there is no memory for it.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn extism_current_plugin_memory_alloc(
    plugin: *mut ExtismCurrentPlugin,
    n: ExtismSize,
) -> ExtismMemoryHandle {
    // SAFETY: the plugin of a function that runs, or null.
    unsafe { with_current(plugin, 0, |plugin| plugin.memory_alloc(n)) }
}

/// Returns the length of a block; 0 for what is no handle of one.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn extism_current_plugin_memory_length(
    plugin: *mut ExtismCurrentPlugin,
    n: ExtismMemoryHandle,
) -> ExtismSize {
    // SAFETY: the plugin of a function that runs, or null.
    unsafe { with_current(plugin, 0, |plugin| plugin.memory_length(n)) }
}

/// Frees a block. What is no handle of one is left alone.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn extism_current_plugin_memory_free(
    plugin: *mut ExtismCurrentPlugin,
    ptr: ExtismMemoryHandle,
) {
    // SAFETY: the plugin of a function that runs, or null.
    unsafe { with_current(plugin, (), |plugin| plugin.memory_free(ptr)) }
}

/// # Safety
///
/// The plugin of a function that runs, or null.
unsafe fn with_current<R: Copy>(
    plugin: *mut ExtismCurrentPlugin,
    without: R,
    body: impl FnOnce(&mut CurrentPlugin<'_>) -> R,
) -> R {
    // SAFETY: the caller's promise.
    match unsafe { plugin.as_mut() } {
        Some(plugin) => guard(|| body(plugin.0), |_| without),
        None => without,
    }
}

/// Makes a function of the host. `free_user_data`, unless it is null, is called with `user_data` once, when neither the
/// function nor a plugin needs it any more. Returns null if the name or the function is null, if the name is not UTF-8, and
/// for types other than the four of numbers; then `free_user_data` is not called.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn extism_function_new(
    name: *const c_char,
    inputs: *const ExtismValType,
    n_inputs: ExtismSize,
    outputs: *const ExtismValType,
    n_outputs: ExtismSize,
    func: ExtismFunctionType,
    user_data: *mut c_void,
    free_user_data: Option<unsafe extern "C" fn(_: *mut c_void)>,
) -> *mut ExtismFunction {
    // SAFETY: text and arrays of the caller's, or null; `free_user_data` can be called as the header says.
    let new = || unsafe {
        let name = text(name, "name")?;
        let (inputs, outputs) = (types(inputs, n_inputs)?, types(outputs, n_outputs)?);
        let function = UserFunction {
            function: func.ok_or(BadArgument::Null("func"))?,
            outputs: outputs.clone(),
            user_data: UserData::new(user_data, free_user_data),
        };
        let function = Function::new(
            name,
            inputs,
            outputs,
            wapc_extism::UserData::new(()),
            move |plugin, inputs, outputs, _| {
                function.call(plugin, inputs, outputs);
                Ok(())
            },
        );
        Ok::<_, BadArgument>(handle(ExtismFunction(Mutex::new(Some(function)))))
    };
    guard(|| new().unwrap_or(ptr::null_mut()), |_| ptr::null_mut())
}

/// Frees a function. The plugins that it was made for keep it. Null is none.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn extism_function_free(f: *mut ExtismFunction) {
    // SAFETY: a function of this library, or null, freed once.
    guard(|| unsafe { release(f) }, drop);
}

/// Sets the namespace of a function, which is `extism:host/user` before. No effect after a plugin was made with it.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn extism_function_set_namespace(
    ptr: *mut ExtismFunction,
    namespace_: *const c_char,
) {
    // SAFETY: a function of this library, text of the caller's, or null.
    let set = || unsafe {
        let (Some(function), false) = (borrow(ptr), namespace_.is_null()) else {
            return;
        };
        let namespace = CStr::from_ptr(namespace_).to_string_lossy();
        let mut function = function.0.lock().unwrap_or_else(PoisonError::into_inner);
        *function = function.take().map(|it| it.with_namespace(namespace));
    };
    guard(set, drop);
}

/// Compiles a module (binary or text) or a manifest (JSON or TOML). Returns null if that fails, with a text in `errmsg`, for
/// `extism_plugin_new_error_free`, unless that is null.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn extism_compiled_plugin_new(
    wasm: *const u8,
    wasm_size: ExtismSize,
    functions: *mut *const ExtismFunction,
    n_functions: ExtismSize,
    with_wasi: bool,
    errmsg: *mut *mut c_char,
) -> *mut ExtismCompiledPlugin {
    // SAFETY: bytes, an array of functions of this library and a place of the caller's, or null.
    unsafe {
        made(errmsg, || {
            let making = making(wasm, wasm_size, functions, n_functions, with_wasi, None)?;
            Ok(handle(ExtismCompiledPlugin(making.compile()?)))
        })
    }
}

/// Compiles as `extism_compiled_plugin_new` does. Each call has that much fuel.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn extism_compiled_plugin_new_with_fuel_limit(
    wasm: *const u8,
    wasm_size: ExtismSize,
    functions: *mut *const ExtismFunction,
    n_functions: ExtismSize,
    with_wasi: bool,
    fuel_limit: u64,
    errmsg: *mut *mut c_char,
) -> *mut ExtismCompiledPlugin {
    let fuel = Some(fuel_limit);
    // SAFETY: as of `extism_compiled_plugin_new`.
    unsafe {
        made(errmsg, || {
            let making = making(wasm, wasm_size, functions, n_functions, with_wasi, fuel)?;
            Ok(handle(ExtismCompiledPlugin(making.compile()?)))
        })
    }
}

/// Frees a compiled plugin. The plugins that were made of it are not affected. Null is none.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn extism_compiled_plugin_free(plugin: *mut ExtismCompiledPlugin) {
    // SAFETY: a compiled plugin of this library, or null, freed once.
    guard(|| unsafe { release(plugin) }, drop);
}

/// Makes a plugin of a module (binary or text) or a manifest (JSON or TOML). Returns null if that fails, with a text in
/// `errmsg`, for `extism_plugin_new_error_free`, unless that is null. Freed by `extism_plugin_free`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn extism_plugin_new(
    wasm: *const u8,
    wasm_size: ExtismSize,
    functions: *mut *const ExtismFunction,
    n_functions: ExtismSize,
    with_wasi: bool,
    errmsg: *mut *mut c_char,
) -> *mut ExtismPlugin {
    // SAFETY: as of `extism_compiled_plugin_new`.
    unsafe {
        made(errmsg, || {
            let making = making(wasm, wasm_size, functions, n_functions, with_wasi, None)?;
            Ok(ExtismPlugin::handle(instantiate(&making.compile()?)?))
        })
    }
}

/// Makes a plugin of a compiled one, with variables and a configuration of its own. Fails as `extism_plugin_new` does.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn extism_plugin_new_from_compiled(
    compiled: *const ExtismCompiledPlugin,
    errmsg: *mut *mut c_char,
) -> *mut ExtismPlugin {
    // SAFETY: a compiled plugin of this library and a place of the caller's, or null.
    unsafe {
        made(errmsg, || {
            let compiled = borrow(compiled).ok_or("Cannot pass null pointer")?;
            Ok(ExtismPlugin::handle(instantiate(&compiled.0)?))
        })
    }
}

/// Makes a plugin as `extism_plugin_new` does. Each call has that much fuel.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn extism_plugin_new_with_fuel_limit(
    wasm: *const u8,
    wasm_size: ExtismSize,
    functions: *mut *const ExtismFunction,
    n_functions: ExtismSize,
    with_wasi: bool,
    fuel_limit: u64,
    errmsg: *mut *mut c_char,
) -> *mut ExtismPlugin {
    let fuel = Some(fuel_limit);
    // SAFETY: as of `extism_compiled_plugin_new`.
    unsafe {
        made(errmsg, || {
            let making = making(wasm, wasm_size, functions, n_functions, with_wasi, fuel)?;
            Ok(ExtismPlugin::handle(instantiate(&making.compile()?)?))
        })
    }
}

/// Has a plugin see the headers of HTTP responses.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn extism_plugin_allow_http_response_headers(plugin: *mut ExtismPlugin) {
    // SAFETY: a plugin of this library, or null.
    let allow = || unsafe {
        let plugin = borrow(plugin);
        if let Some(mut lock) = plugin.as_ref().and_then(|plugin| plugin.plugin.lock()) {
            lock.called.plugin.allow_http_response_headers(true);
        }
    };
    guard(allow, drop);
}

/// Frees the text of an error of a function that makes plugins, and no other. Null is none.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn extism_plugin_new_error_free(err: *mut c_char) {
    if !err.is_null() {
        // SAFETY: a text that `made` has written, freed once.
        drop(unsafe { CString::from_raw(err) });
    }
}

/// Frees a plugin. A call that runs on another thread ends as usual. Null is none.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn extism_plugin_free(plugin: *mut ExtismPlugin) {
    // SAFETY: a plugin of this library, or null, freed once.
    guard(|| unsafe { release(plugin) }, drop);
}

/// Returns the handle that cancels a plugin's calls. It lives as long as the plugin, and is not freed. Null for null.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn extism_plugin_cancel_handle(
    plugin: *const ExtismPlugin,
) -> *const ExtismCancelHandle {
    // SAFETY: a plugin of this library, or null.
    let plugin = unsafe { plugin.as_ref() };
    plugin.map_or(ptr::null(), |plugin| &raw const plugin.cancel)
}

/// Cancels the call of a plugin that runs, from any thread. It fails with 134 and `timeout`. Without one, it has no effect.
/// Returns false for null.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn extism_plugin_cancel(handle: *const ExtismCancelHandle) -> bool {
    // SAFETY: the handle of a plugin that lives, or null.
    let handle = unsafe { handle.as_ref() };
    let cancel = || handle.map(|handle| handle.0.cancel()).is_some();
    guard(cancel, |_| false)
}

/// Merges a JSON object of strings into the configuration of a plugin; null removes a key. Returns false if it cannot be
/// read.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn extism_plugin_config(
    plugin: *mut ExtismPlugin,
    json: *const u8,
    json_size: ExtismSize,
) -> bool {
    // SAFETY: a plugin of this library and bytes of the caller's, or null.
    let configure = || unsafe {
        let (Some(plugin), Ok(json)) = (borrow(plugin), bytes(json, json_size, "json")) else {
            return false;
        };
        plugin.plugin.configure(json)
    };
    guard(configure, |_| false)
}

/// Returns whether a plugin has an export that can be called: one without parameters and with at most one result.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn extism_plugin_function_exists(
    plugin: *mut ExtismPlugin,
    func_name: *const c_char,
) -> bool {
    // SAFETY: a plugin of this library and text of the caller's, or null.
    let exists = || unsafe {
        let (Some(plugin), Ok(name)) = (borrow(plugin), text(func_name, "func_name")) else {
            return false;
        };
        let lock = plugin.plugin.lock();
        lock.is_some_and(|mut lock| {
            lock.called.error = None;
            lock.called.plugin.function_exists(name)
        })
    };
    guard(exists, |_| false)
}

/// Calls an export. Returns its code, and on failure what it has exited with, 134 for a crash, a timeout and a cancelled
/// call, or -1; `extism_plugin_error` has the text. A call on another thread is waited for; one on this thread, from a
/// function of the plugin, is refused.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn extism_plugin_call(
    plugin: *mut ExtismPlugin,
    func_name: *const c_char,
    data: *const u8,
    data_len: ExtismSize,
) -> i32 {
    // SAFETY: as of the function below.
    unsafe { call(plugin, func_name, data, data_len, ptr::null_mut()) }
}

/// Calls an export as `extism_plugin_call` does, with a pointer for functions of the host.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn extism_plugin_call_with_host_context(
    plugin: *mut ExtismPlugin,
    func_name: *const c_char,
    data: *const u8,
    data_len: ExtismSize,
    host_context: *mut c_void,
) -> i32 {
    // SAFETY: a plugin of this library, text and bytes of the caller's, or null.
    unsafe { call(plugin, func_name, data, data_len, host_context) }
}

/// Returns what `extism_plugin_error` returns. Deprecated.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn extism_error(plugin: *mut ExtismPlugin) -> *const c_char {
    // SAFETY: a plugin of this library, or null.
    unsafe { extism_plugin_error(plugin) }
}

/// Returns the error of the last call, null for none. It is valid until the next call, and the next use of the configuration.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn extism_plugin_error(plugin: *mut ExtismPlugin) -> *const c_char {
    // SAFETY: a plugin of this library, or null.
    let error = || unsafe {
        let Some(plugin) = borrow(plugin) else {
            return ptr::null();
        };
        match plugin.plugin.lock() {
            Some(lock) => lock
                .called
                .error
                .as_ref()
                .map_or(ptr::null(), |error| error.as_ptr()),
            None => REENTRANT.as_ptr(),
        }
    };
    guard(error, |_| ptr::null())
}

/// Returns the length of the output of the last call.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn extism_plugin_output_length(plugin: *mut ExtismPlugin) -> ExtismSize {
    // SAFETY: a plugin of this library, or null.
    unsafe {
        with_output(plugin, 0, |output| {
            ExtismSize::try_from(output.len()).unwrap_or(0)
        })
    }
}

/// Returns the output of the last call. It is valid until the next call. Null for null.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn extism_plugin_output_data(plugin: *mut ExtismPlugin) -> *const u8 {
    // SAFETY: a plugin of this library, or null.
    unsafe { with_output(plugin, ptr::null(), <[u8]>::as_ptr) }
}

/// # Safety
///
/// A plugin of this library, or null.
unsafe fn with_output<R: Copy>(
    plugin: *mut ExtismPlugin,
    without: R,
    body: impl FnOnce(&[u8]) -> R,
) -> R {
    // SAFETY: the caller's promise.
    let output = || unsafe {
        let plugin = borrow(plugin)?;
        let lock = plugin.plugin.lock()?;
        Some(body(lock.called.plugin.output()))
    };
    guard(output, |_| None).unwrap_or(without)
}

/// Writes the log of plugins that are made afterwards to a file, to which it appends, or to `stdout`, `stderr` or `-`; null is
/// `stderr`. The level is `trace`, `debug`, `info`, `warn` or `error`, or a filter of them; null is `error`. It holds
/// for the process. Returns false if the process logs already, or the file cannot be opened.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn extism_log_file(
    filename: *const c_char,
    log_level: *const c_char,
) -> bool {
    // SAFETY: texts of the caller's, or null.
    let log = || unsafe {
        let name = text_or(filename, "stderr")?;
        Ok::<_, BadArgument>(log_lines::to_file(name, text_or(log_level, "error")?))
    };
    guard(|| log().unwrap_or(false), |_| false)
}

/// Keeps the log of plugins that are made afterwards, at most 4 MiB of it, for `extism_log_drain`. Levels and result are as of
/// `extism_log_file`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn extism_log_custom(log_level: *const c_char) -> bool {
    // SAFETY: text of the caller's, or null.
    let log = || unsafe { text_or(log_level, "error") }.map(log_lines::to_buffer);
    guard(|| log().unwrap_or(false), |_| false)
}

/// Calls a function with each line that `extism_log_custom` has kept. A line ends with a line feed, and then a NUL, which is not
/// counted.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn extism_log_drain(handler: ExtismLogDrainFunctionType) {
    let Some(handler) = handler else {
        return;
    };
    let drain = || {
        for line in log_lines::drain() {
            let line = c_string(line);
            let length = ExtismSize::try_from(line.as_bytes().len()).unwrap_or(0);
            // SAFETY: the program's function with what the header says.
            unsafe { handler(line.as_ptr(), length) }
        }
    };
    guard(drain, drop);
}

/// Forgets the output of the last call. Returns false for null.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn extism_plugin_reset(plugin: *mut ExtismPlugin) -> bool {
    // SAFETY: a plugin of this library, or null.
    let reset = || unsafe {
        let plugin = borrow(plugin);
        let lock = plugin.as_ref().and_then(|plugin| plugin.plugin.lock());
        lock.is_some_and(|mut lock| {
            lock.called.error = None;
            lock.called.plugin.reset();
            true
        })
    };
    guard(reset, |_| false)
}

/// Returns the version: Extism's, and this library's.
#[unsafe(no_mangle)]
pub extern "C" fn extism_version() -> *const c_char {
    const VERSION: &str = concat!("1.41.0-wapc", env!("CARGO_PKG_VERSION"), "\0");
    VERSION.as_ptr().cast()
}

impl ExtismPlugin {
    fn handle(plugin: SharedPlugin) -> *mut Self {
        let cancel = ExtismCancelHandle(plugin.cancel.clone());
        handle(Self { plugin, cancel })
    }
}

/// # Safety
///
/// A plugin of this library, text and bytes of the caller's, or null.
unsafe fn call(
    plugin: *mut ExtismPlugin,
    name: *const c_char,
    data: *const u8,
    data_len: ExtismSize,
    host_context: *mut c_void,
) -> i32 {
    // SAFETY: the caller's promise.
    let Some(plugin) = guard(|| unsafe { borrow(plugin) }, |_| None) else {
        return -1;
    };
    // SAFETY: the caller's promise.
    let run = || unsafe {
        let (name, data) = match (text(name, "func_name"), bytes(data, data_len, "data")) {
            (Ok(name), Ok(data)) => (name, data),
            (Err(error), _) | (_, Err(error)) => return plugin.plugin.fail(error.to_string()),
        };
        let context: Option<Arc<dyn Any + Send + Sync>> = match host_context.is_null() {
            true => None,
            false => Some(Arc::new(UserPointer(host_context))),
        };
        plugin.plugin.call(name, data, context)
    };
    guard(run, |panic| plugin.plugin.fail(panic))
}

/// Runs the body of a function that makes something, and hands its error over.
///
/// # Safety
///
/// A text's address can be written to `errmsg`, or it is null.
unsafe fn made<T>(
    errmsg: *mut *mut c_char,
    body: impl FnOnce() -> Result<*mut T, String>,
) -> *mut T {
    guard(body, Err).unwrap_or_else(|error| {
        if !errmsg.is_null() {
            // SAFETY: the caller's promise.
            unsafe { write(errmsg, c_string(error).into_raw()) }
        }
        ptr::null_mut()
    })
}

/// # Safety
///
/// Bytes and an array of functions of this library, or null.
unsafe fn making<'a>(
    wasm: *const u8,
    wasm_size: ExtismSize,
    functions: *mut *const ExtismFunction,
    n_functions: ExtismSize,
    wasi: bool,
    fuel: Option<u64>,
) -> Result<Making<'a>, String> {
    // SAFETY: the caller's promise.
    unsafe {
        let input = bytes(wasm, wasm_size, "wasm").map_err(|error| error.to_string())?;
        let count = match functions.is_null() {
            true => 0,
            false => length(n_functions, "functions").map_err(|error| error.to_string())?,
        };
        let shells = slice(functions.cast_const(), count, "functions");
        let shells = shells.map_err(|error| error.to_string())?;
        let shells: Vec<_> = shells.iter().map(|shell| borrow(*shell)).collect();
        if shells.iter().any(Option::is_none) {
            return Err("Cannot pass null pointer".to_owned());
        }
        let functions = shells.iter().flatten().map(|shell| {
            let function = shell
                .0
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .take();
            function.ok_or("Function cannot be registered with multiple different Plugins")
        });
        Ok(Making {
            input,
            functions: functions.collect::<Result<_, _>>()?,
            wasi,
            fuel,
        })
    }
}

fn length(length: ExtismSize, name: &'static str) -> Result<usize, BadArgument> {
    usize::try_from(length).map_err(|_| BadArgument::TooLong(name))
}

/// # Safety
///
/// As of [`slice`].
unsafe fn bytes<'a>(
    data: *const u8,
    size: ExtismSize,
    name: &'static str,
) -> Result<&'a [u8], BadArgument> {
    // SAFETY: the caller's promise.
    unsafe { slice(data, length(size, name)?, name) }
}

/// # Safety
///
/// As of [`text`].
unsafe fn text_or(given: *const c_char, default: &str) -> Result<&str, BadArgument> {
    match given.is_null() {
        true => Ok(default),
        // SAFETY: the caller's promise.
        false => unsafe { text(given, "text") },
    }
}

/// # Safety
///
/// As of [`slice`].
unsafe fn types(
    types: *const ExtismValType,
    count: ExtismSize,
) -> Result<Vec<ValType>, BadArgument> {
    let count = match types.is_null() {
        true => 0,
        false => length(count, "types")?,
    };
    // As numbers: C may pass what is no variant.
    // SAFETY: the caller's promise.
    let types = unsafe { slice(types.cast::<u32>(), count, "types")? };
    let known = [
        (ExtismValType::I32, ValType::I32),
        (ExtismValType::I64, ValType::I64),
        (ExtismValType::F32, ValType::F32),
        (ExtismValType::F64, ValType::F64),
    ];
    let of = |number: &u32| {
        let mut known = known.iter();
        let found = known.find(|(ty, _)| u32::try_from(*ty as i32) == Ok(*number));
        found
            .map(|(_, ty)| *ty)
            .ok_or(BadArgument::Unknown("types"))
    };
    types.iter().map(of).collect()
}

/// A function of the program's.
struct UserFunction {
    function: unsafe extern "C" fn(
        *mut ExtismCurrentPlugin<'_, '_>,
        *const ExtismVal,
        ExtismSize,
        *mut ExtismVal,
        ExtismSize,
        *mut c_void,
    ),
    outputs: Vec<ValType>,
    user_data: UserData,
}

impl UserFunction {
    fn call(&self, plugin: &mut CurrentPlugin<'_>, inputs: &[Val], outputs: &mut [Val]) {
        let inputs: Vec<_> = inputs.iter().map(|input| to_c(*input)).collect();
        // C may write types that are none: they are not read again, and so may not be there as Rust's.
        let zero = |ty: &ValType| MaybeUninit::new(to_c(zero(*ty)));
        let mut places: Vec<_> = self.outputs.iter().map(zero).collect();
        let size = |values: usize| ExtismSize::try_from(values).unwrap_or(0);
        // Without values, null: an empty array has an address that nothing may be read from.
        let first_input = match inputs.is_empty() {
            true => ptr::null(),
            false => inputs.as_ptr(),
        };
        let first_place = match places.is_empty() {
            true => ptr::null_mut(),
            false => places.as_mut_ptr(),
        };
        let mut current = ExtismCurrentPlugin(plugin);
        // SAFETY: the program's function with what the header says; the arrays outlive the call.
        unsafe {
            (self.function)(
                &mut current,
                first_input,
                size(inputs.len()),
                first_place.cast(),
                size(places.len()),
                self.user_data.pointer.0,
            );
        }
        for ((output, place), ty) in outputs.iter_mut().zip(&places).zip(&self.outputs) {
            // SAFETY: the bits were zero at first, and any are a number of each type. The type that is beside them is not read.
            let bits = unsafe { (&raw const (*place.as_ptr()).v).read() };
            // SAFETY: as above.
            *output = unsafe {
                match ty {
                    ValType::I32 => Val::I32(bits.i32),
                    ValType::I64 => Val::I64(bits.i64),
                    ValType::F32 => Val::F32(bits.i32.cast_unsigned()),
                    ValType::F64 => Val::F64(bits.i64.cast_unsigned()),
                }
            };
        }
    }
}

fn zero(ty: ValType) -> Val {
    match ty {
        ValType::I32 => Val::I32(0),
        ValType::I64 => Val::I64(0),
        ValType::F32 => Val::F32(0),
        ValType::F64 => Val::F64(0),
    }
}

fn to_c(value: Val) -> ExtismVal {
    let mut v = ExtismValUnion { i64: 0 };
    let t = match value {
        Val::I32(number) => {
            v.i32 = number;
            ExtismValType::I32
        }
        Val::I64(number) => {
            v.i64 = number;
            ExtismValType::I64
        }
        Val::F32(bits) => {
            v.f32 = f32::from_bits(bits);
            ExtismValType::F32
        }
        Val::F64(bits) => {
            v.f64 = f64::from_bits(bits);
            ExtismValType::F64
        }
    };
    ExtismVal { t, v }
}
