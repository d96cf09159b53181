//! Functions of the program's that this library calls.

use std::{ffi::c_void, mem, ptr};

use wapc_host::{
    BoxError, CheckedOut, FunctionCall, HostCall, HostCallback, engine::Value, module::ValueType,
};

use super::boundary::{UserData, UserPointer, c_string, guard, slice, text, write};

/// Bytes or UTF-8 text of the library's, which are valid until the function that gets them returns. Text has no NUL at its
/// end.
#[derive(Clone, Copy, Debug)]
#[repr(C)]
#[expect(clippy::exhaustive_structs, reason = "C has it by its fields")]
pub struct WapcBytes {
    /// The first byte; not null, also where there is none.
    pub data: *const u8,
    /// Their number.
    pub length: usize,
}

impl From<&[u8]> for WapcBytes {
    fn from(bytes: &[u8]) -> Self {
        Self {
            data: bytes.as_ptr(),
            length: bytes.len(),
        }
    }
}

/// A call of a guest to its host. It is valid until the callback returns.
#[derive(Clone, Copy, Debug)]
#[repr(C)]
#[expect(clippy::exhaustive_structs, reason = "C has it by its fields")]
pub struct WapcHostCall {
    /// The number of the host: `wapc_host_id`.
    pub host_id: u64,
    /// The number of the guest's code.
    pub generation: u64,
    /// The first of the three names.
    pub binding: WapcBytes,
    /// The second name.
    pub namespace_: WapcBytes,
    /// The third name.
    pub operation: WapcBytes,
    /// The payload.
    pub payload: WapcBytes,
    /// The context of the call that the guest serves, null without.
    pub context: *mut c_void,
}

/// The answer to a call of a guest, which a callback fills.
#[derive(Debug)]
pub struct WapcAnswer {
    bytes: Vec<u8>,
}

/// Answers calls of guests. What it has written to `answer` is the answer if it returns true, and the text of an error for
/// the guest if it returns false.
pub type WapcCallback = Option<
    unsafe extern "C" fn(
        user_data: *mut c_void,
        call: *const WapcHostCall,
        answer: *mut WapcAnswer,
    ) -> bool,
>;

/// Frees what a program has handed over with a function, once, when nothing uses it any more, on the thread where that is.
pub type WapcFree = Option<unsafe extern "C" fn(user_data: *mut c_void)>;

/// Reads a response in the guest's own memory, during its call. If the guest responds several times, it is called for each.
pub type WapcReader =
    Option<unsafe extern "C" fn(user_data: *mut c_void, response: *const u8, length: usize)>;

/// Tries new code before a swap, on the thread of the swap. Returns whether the swap goes on.
pub type WapcProbe =
    Option<unsafe extern "C" fn(user_data: *mut c_void, candidate: *mut WapcCandidate) -> bool>;

/// An instance of new code, for `wapc_candidate_call`.
pub struct WapcCandidate<'i, 'h> {
    pub(crate) instance: &'i mut CheckedOut<'h>,
}

/// A number of a function of the program's own. Which one it is says the function's type.
#[derive(Clone, Copy)]
#[repr(C)]
pub union WapcValue {
    /// Of the type `WAPC_I32`.
    pub i32: i32,
    /// Of the type `WAPC_I64`.
    pub i64: i64,
    /// Of the type `WAPC_F32`.
    pub f32: f32,
    /// Of the type `WAPC_F64`.
    pub f64: f64,
}

/// The type of a number: `WAPC_I32`, `WAPC_I64`, `WAPC_F32` or `WAPC_F64`.
pub type WapcType = u32;
/// An integer of 32 bits.
pub const WAPC_I32: WapcType = 0;
/// An integer of 64 bits.
pub const WAPC_I64: WapcType = 1;
/// A float of 32 bits.
pub const WAPC_F32: WapcType = 2;
/// A float of 64 bits.
pub const WAPC_F64: WapcType = 3;

/// A function that guests import. `results` has a place for each result, all zero. If it returns false, the guest's call
/// ends with `WAPC_STATUS_FUNCTION` and the text of `wapc_function_fail`.
pub type WapcFunction = Option<
    unsafe extern "C" fn(
        user_data: *mut c_void,
        call: *mut WapcFunctionCall,
        parameters: *const WapcValue,
        results: *mut WapcValue,
    ) -> bool,
>;

/// A call of a function of the program's own, with the memory of the guest.
pub struct WapcFunctionCall<'c, 'g> {
    call: &'c mut FunctionCall<'g>,
    error: Option<String>,
}

/// Gets a log line of the level 1 (error) to 5 (trace), on the thread that writes it.
pub type WapcLog = Option<
    unsafe extern "C" fn(user_data: *mut c_void, level: u32, target: WapcBytes, message: WapcBytes),
>;

/// Appends bytes to an answer, or to the text of an error. Null with a length above 0 is ignored.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn wapc_answer_append(
    answer: *mut WapcAnswer,
    data: *const u8,
    length: usize,
) {
    // SAFETY: the answer of a callback that runs, or null; bytes of the caller's.
    let append = || unsafe {
        if let (Some(answer), Ok(data)) = (answer.as_mut(), slice(data, length, "data")) {
            answer.bytes.extend_from_slice(data);
        }
    };
    guard(append, drop);
}

/// Appends `length` bytes of zero to an answer and returns their address, to be written until the next use of the answer.
/// Null if there is no memory for them.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn wapc_answer_reserve(answer: *mut WapcAnswer, length: usize) -> *mut u8 {
    // SAFETY: the answer of a callback that runs, or null.
    let Some(answer) = (unsafe { answer.as_mut() }) else {
        return ptr::null_mut();
    };
    let before = answer.bytes.len();
    if answer.bytes.try_reserve(length).is_err() {
        return ptr::null_mut();
    }
    answer.bytes.resize(before + length, 0);
    answer
        .bytes
        .get_mut(before..)
        .map_or(ptr::null_mut(), <[u8]>::as_mut_ptr)
}

/// A callback of the program's.
pub(crate) struct Callback {
    pub(crate) function:
        unsafe extern "C" fn(*mut c_void, *const WapcHostCall, *mut WapcAnswer) -> bool,
    pub(crate) user_data: UserData,
}

impl HostCallback for Callback {
    fn call(&self, call: HostCall<'_>, response: &mut Vec<u8>) -> Result<(), BoxError> {
        let context: Option<&UserPointer> = call.context();
        let names =
            [call.binding, call.namespace, call.operation].map(|name| name.as_bytes().into());
        let [binding, namespace_, operation] = names;
        let asked = WapcHostCall {
            host_id: call.host_id,
            generation: call.generation,
            binding,
            namespace_,
            operation,
            payload: call.payload.into(),
            context: context.map_or(ptr::null_mut(), |context| context.0),
        };
        let mut answer = WapcAnswer {
            bytes: mem::take(response),
        };
        // SAFETY: the program's function with what the header says; both structures outlive the call.
        let answered = unsafe { (self.function)(self.user_data.pointer.0, &asked, &mut answer) };
        match answered {
            true => {
                *response = answer.bytes;
                Ok(())
            }
            false => Err(String::from_utf8_lossy(&answer.bytes).into()),
        }
    }
}

/// The callback of a host without one.
pub(crate) struct NoCallback;

impl HostCallback for NoCallback {
    fn call(&self, _: HostCall<'_>, _: &mut Vec<u8>) -> Result<(), BoxError> {
        Err("the host has no callback".into())
    }
}

/// Returns the types for an engine; `None` for a number that is none.
pub(crate) fn value_types(types: &[WapcType]) -> Option<Vec<ValueType>> {
    let value_type = |ty: &WapcType| match *ty {
        WAPC_I32 => Some(ValueType::I32),
        WAPC_I64 => Some(ValueType::I64),
        WAPC_F32 => Some(ValueType::F32),
        WAPC_F64 => Some(ValueType::F64),
        _ => None,
    };
    types.iter().map(value_type).collect()
}

/// A function of the program's own.
pub(crate) struct UserFunction {
    pub(crate) function: unsafe extern "C" fn(
        *mut c_void,
        *mut WapcFunctionCall<'_, '_>,
        *const WapcValue,
        *mut WapcValue,
    ) -> bool,
    pub(crate) user_data: UserData,
    pub(crate) results: Vec<ValueType>,
}

impl UserFunction {
    pub(crate) fn call(
        &self,
        call: &mut FunctionCall<'_>,
        numbers: &[Value],
        results: &mut [Value],
    ) -> Result<(), BoxError> {
        let parameters: Vec<_> = numbers.iter().map(|number| to_c(*number)).collect();
        let mut places = vec![WapcValue { i64: 0 }; self.results.len()];
        let mut call = WapcFunctionCall { call, error: None };
        // SAFETY: the program's function with what the header says; the arrays have the lengths of its type.
        let succeeded = unsafe {
            (self.function)(
                self.user_data.pointer.0,
                &mut call,
                parameters.as_ptr(),
                places.as_mut_ptr(),
            )
        };
        if !succeeded {
            let error = call.error.take();
            return Err(error.unwrap_or_else(|| "failed".to_owned()).into());
        }
        for ((result, place), ty) in results.iter_mut().zip(places).zip(&self.results) {
            // SAFETY: any bits are a number of any of these types, and all were zero before.
            *result = unsafe {
                match ty {
                    ValueType::I64 => Value::I64(place.i64),
                    ValueType::F32 => Value::F32(place.f32),
                    ValueType::F64 => Value::F64(place.f64),
                    _ => Value::I32(place.i32),
                }
            };
        }
        Ok(())
    }
}

fn to_c(number: Value) -> WapcValue {
    let mut value = WapcValue { i64: 0 };
    match number {
        Value::I32(number) => value.i32 = number,
        Value::I64(number) => value.i64 = number,
        Value::F32(number) => value.f32 = number,
        Value::F64(number) => value.f64 = number,
    }
    value
}

/// Returns the guest's memory, and its length in `length`. The address is valid until the function returns, and no longer
/// than until `wapc_function_grow_memory`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn wapc_function_memory(
    call: *mut WapcFunctionCall,
    length: *mut usize,
) -> *mut u8 {
    // SAFETY: the call of a function that runs, or null; a place of the caller's.
    unsafe {
        let Some(call) = call.as_mut() else {
            write(length, 0);
            return ptr::null_mut();
        };
        write(length, call.call.memory().len());
        call.call.memory_base()
    }
}

/// Grows the guest's memory by pages of 64 KiB, within the host's limits. Returns whether it has grown.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn wapc_function_grow_memory(
    call: *mut WapcFunctionCall,
    pages: u32,
) -> bool {
    // SAFETY: the call of a function that runs, or null.
    let call = unsafe { call.as_mut() };
    call.is_some_and(|call| call.call.grow_memory(pages).is_some())
}

/// Returns the context of the call that the guest serves, null without.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn wapc_function_context(call: *const WapcFunctionCall) -> *mut c_void {
    // SAFETY: the call of a function that runs, or null.
    let call = unsafe { call.as_ref() };
    let context = call.and_then(|call| call.call.context::<UserPointer>());
    context.map_or(ptr::null_mut(), |context| context.0)
}

/// Sets the text of the error with which the function is about to fail.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn wapc_function_fail(
    call: *mut WapcFunctionCall,
    message: *const std::ffi::c_char,
) {
    // SAFETY: the call of a function that runs, or null; text of the caller's, or null.
    unsafe {
        if let (Some(call), Ok(message)) = (call.as_mut(), text(message, "message")) {
            call.error = Some(message.to_owned());
        }
    }
}

/// Writes log lines by a function of the program's.
pub(crate) struct Logger {
    pub(crate) function: unsafe extern "C" fn(*mut c_void, u32, WapcBytes, WapcBytes),
    pub(crate) user_data: UserPointer,
}

impl log::Log for Logger {
    fn enabled(&self, _: &log::Metadata<'_>) -> bool {
        true
    }

    fn log(&self, record: &log::Record<'_>) {
        let message = c_string(record.args().to_string());
        let target = record.target().as_bytes().into();
        let level = record.level() as u32;
        // SAFETY: the program's function with what the header says.
        unsafe { (self.function)(self.user_data.0, level, target, message.as_bytes().into()) }
    }

    fn flush(&self) {}
}
