//! The functions as C calls them, misuse included, on each engine.

use std::{
    ffi::{CStr, CString, c_void},
    ptr,
    sync::{
        Barrier,
        atomic::{AtomicUsize, Ordering::Relaxed},
    },
    thread,
};

use crate::{
    WAPC_F64, WAPC_I32, WAPC_I64, WapcAnswer, WapcBuffer, WapcBytes, WapcCallOptions,
    WapcCandidate, WapcError, WapcFunctionCall, WapcHost, WapcHostCall, WapcOptions, WapcStats,
    WapcStatus, WapcValue, *,
};

const ENGINES: &[&str] = &[
    #[cfg(feature = "wasmtime")]
    "wasmtime",
    #[cfg(feature = "wasmi")]
    "wasmi",
];

/// Operations by their first letter: `e`cho, `a`sk the host, `f`ail, `c`rash, `l`oop, `n`umber of calls.
const GUEST: &[u8] = br#"(module
    (import "wapc" "__guest_request" (func $request (param i32 i32)))
    (import "wapc" "__guest_response" (func $respond (param i32 i32)))
    (import "wapc" "__guest_error" (func $error (param i32 i32)))
    (import "wapc" "__host_call"
        (func $ask (param i32 i32 i32 i32 i32 i32 i32 i32) (result i32)))
    (import "wapc" "__host_response_len" (func $answer_length (result i32)))
    (import "wapc" "__host_response" (func $answer (param i32)))
    (import "wapc" "__host_error_len" (func $refusal_length (result i32)))
    (import "wapc" "__host_error" (func $refusal (param i32)))
    (memory (export "memory") 4)
    (data (i32.const 0) "binding" "name" "do")
    (global $calls (mut i32) (i32.const 48))
    (func (export "__guest_call") (param $op i32) (param $length i32) (result i32)
        (local $letter i32)
        (global.set $calls (i32.add (global.get $calls) (i32.const 1)))
        (call $request (i32.const 32) (i32.const 1024))
        (local.set $letter (i32.load8_u (i32.const 32)))
        (if (i32.eq (local.get $letter) (i32.const 97)) (then
            (if (call $ask (i32.const 0) (i32.const 7) (i32.const 7) (i32.const 4)
                    (i32.const 11) (i32.const 2) (i32.const 1024) (local.get $length))
                (then
                    (call $answer (i32.const 1024))
                    (call $respond (i32.const 1024) (call $answer_length))
                    (return (i32.const 1)))
                (else
                    (call $refusal (i32.const 1024))
                    (call $error (i32.const 1024) (call $refusal_length))
                    (return (i32.const 0))))))
        (if (i32.eq (local.get $letter) (i32.const 99)) (then (unreachable)))
        (if (i32.eq (local.get $letter) (i32.const 102)) (then
            (call $error (i32.const 1024) (local.get $length))
            (return (i32.const 0))))
        (if (i32.eq (local.get $letter) (i32.const 108)) (then (loop $for_ever (br $for_ever))))
        (if (i32.eq (local.get $letter) (i32.const 110)) (then
            (i32.store8 (i32.const 1024) (global.get $calls))
            (local.set $length (i32.const 1))))
        (call $respond (i32.const 1024) (local.get $length))
        (i32.const 1)))"#;

/// A host that frees itself.
struct Host(*mut WapcHost);

impl Drop for Host {
    fn drop(&mut self) {
        // SAFETY: made by `wapc_host_new`, freed once.
        unsafe { wapc_host_free(self.0) }
    }
}

// SAFETY: what the header says.
unsafe impl Send for Host {}
// SAFETY: what the header says.
unsafe impl Sync for Host {}

fn options(json: &str) -> *mut WapcOptions {
    let options = wapc_options_new();
    let json = CString::new(json).unwrap();
    // SAFETY: options, text, and no place.
    let status = unsafe { wapc_options_set_json(options, json.as_ptr(), ptr::null_mut()) };
    assert_eq!(status, WapcStatus::Ok);
    options
}

fn engine(engine: &str) -> *mut WapcOptions {
    options(&format!(r#"{{ "engine": "{engine}" }}"#))
}

fn host_of(module: &[u8], options: *mut WapcOptions) -> Result<Host, String> {
    let mut error = ptr::null_mut();
    // SAFETY: bytes, options and a place, all of this function.
    let host = unsafe { wapc_host_new(module.as_ptr(), module.len(), options, &mut error) };
    // SAFETY: made by `wapc_options_new`.
    unsafe { wapc_options_free(options) };
    match host.is_null() {
        true => Err(told(error).1),
        false => Ok(Host(host)),
    }
}

/// Returns the status and the text of an error, and frees it.
fn told(error: *mut WapcError) -> (WapcStatus, String) {
    // SAFETY: an error of the library, or null.
    unsafe {
        let text = match error.is_null() {
            true => String::new(),
            false => CStr::from_ptr(wapc_error_message(error))
                .to_str()
                .unwrap()
                .to_owned(),
        };
        let status = wapc_error_status(error);
        wapc_error_free(error);
        (status, text)
    }
}

impl Host {
    fn call_with(
        &self,
        operation: &CStr,
        payload: &[u8],
        options: *const WapcCallOptions,
    ) -> Result<Vec<u8>, (WapcStatus, String)> {
        let mut error = ptr::null_mut();
        let mut buffer = empty();
        // SAFETY: all of this function.
        unsafe {
            let status = wapc_host_call(
                self.0,
                operation.as_ptr(),
                payload.as_ptr(),
                payload.len(),
                options,
                &mut buffer,
                &mut error,
            );
            let response = match buffer.data.is_null() {
                true => vec![],
                false => std::slice::from_raw_parts(buffer.data, buffer.length).to_vec(),
            };
            wapc_buffer_free(&mut buffer);
            wapc_buffer_free(&mut buffer);
            assert_eq!(wapc_error_status(error), status);
            match status {
                WapcStatus::Ok => Ok(response),
                _ => Err(told(error)),
            }
        }
    }

    fn call(&self, operation: &CStr, payload: &[u8]) -> Result<Vec<u8>, (WapcStatus, String)> {
        self.call_with(operation, payload, ptr::null())
    }

    fn stats(&self) -> WapcStats {
        let mut stats = WapcStats::default();
        // SAFETY: all of this function.
        unsafe { wapc_host_stats(self.0, &mut stats) };
        stats
    }
}

const fn empty() -> WapcBuffer {
    WapcBuffer {
        data: ptr::null_mut(),
        length: 0,
        capacity: 0,
    }
}

const fn call_options() -> WapcCallOptions {
    WapcCallOptions {
        size: size_of::<WapcCallOptions>(),
        timeout_ms: 0,
        fuel: 0,
        cancel: ptr::null(),
        context: ptr::null_mut(),
        timeout_includes_wait: false,
    }
}

#[test]
fn a_guest_answers_and_fails_with_a_status_and_a_text() {
    for name in ENGINES {
        let host = host_of(GUEST, engine(name)).unwrap();
        assert_eq!(host.call(c"echo", b"a\0b"), Ok(b"a\0b".to_vec()));
        assert_eq!(host.call(c"echo", b""), Ok(vec![]));
        let (status, text) = host.call(c"fail", b"no\0good").unwrap_err();
        assert_eq!(status, WapcStatus::Guest);
        assert!(text.contains("no") && text.contains("good"), "{text}");
        assert_eq!(host.call(c"number", b""), Ok(b"4".to_vec()));
        assert_eq!(host.call(c"crash", b"").unwrap_err().0, WapcStatus::Trapped);
        assert_eq!(host.call(c"number", b""), Ok(b"1".to_vec()));
        let refused = (
            WapcStatus::Guest,
            "the guest's operation `ask` failed: the host has no callback".into(),
        );
        assert_eq!(host.call(c"ask", b""), Err(refused));
        let stats = host.stats();
        assert_eq!((stats.generation, stats.live, stats.calls), (1, 1, 7));
        // SAFETY: a host.
        unsafe {
            assert_eq!(wapc_host_errors(host.0, WapcStatus::Guest as u32), 2);
            assert_eq!(wapc_host_errors(host.0, WapcStatus::Trapped as u32), 1);
            assert_eq!(wapc_host_errors(host.0, 77), 0);
            assert_ne!(wapc_host_id(host.0), 0);
        }
    }
}

#[test]
fn the_guests_own_text_is_apart() {
    for name in ENGINES {
        let host = host_of(GUEST, engine(name)).unwrap();
        let mut error = ptr::null_mut();
        // SAFETY: all of this function.
        unsafe {
            let status = wapc_host_call(
                host.0,
                c"fail".as_ptr(),
                b"no\0good".as_ptr(),
                7,
                ptr::null(),
                ptr::null_mut(),
                &mut error,
            );
            assert_eq!(status, WapcStatus::Guest);
            assert_eq!(CStr::from_ptr(wapc_error_guest_message(error)), c"no good");
            assert_eq!(wapc_error_exit_code(error), 0);
            wapc_error_free(error);
            assert_eq!(CStr::from_ptr(wapc_status_name(status as u32)), c"guest");
            assert!(wapc_status_name(99).is_null());
            assert!(!wapc_version().is_null());
        }
    }
}

#[test]
fn null_is_an_error_and_no_crash() {
    let invalid = WapcStatus::InvalidArgument;
    let mut stats = WapcStats {
        calls: 5,
        ..WapcStats::default()
    };
    let mut length = 7;
    let host = host_of(GUEST, engine(ENGINES[0])).unwrap();
    // SAFETY: null everywhere, which is what is tried.
    unsafe {
        assert!(wapc_host_new(ptr::null(), 3, ptr::null(), ptr::null_mut()).is_null());
        assert!(wapc_host_new(ptr::null(), 0, ptr::null(), ptr::null_mut()).is_null());
        wapc_host_free(ptr::null_mut());
        wapc_options_free(ptr::null_mut());
        wapc_error_free(ptr::null_mut());
        wapc_buffer_free(ptr::null_mut());
        wapc_cancel(ptr::null());
        wapc_cancel_free(ptr::null_mut());
        assert_eq!(wapc_host_id(ptr::null()), 0);
        assert_eq!(wapc_host_errors(ptr::null(), 1), 0);
        wapc_host_stats(ptr::null(), &mut stats);
        wapc_host_stats(ptr::null(), ptr::null_mut());
        assert_eq!(stats.calls, 0);
        assert_eq!(wapc_error_status(ptr::null()), WapcStatus::Ok);
        assert!(wapc_error_message(ptr::null()).is_null());
        assert!(wapc_error_guest_message(ptr::null()).is_null());
        assert_eq!(wapc_error_exit_code(ptr::null()), 0);
        wapc_options_set_callback(ptr::null_mut(), None, ptr::null_mut(), None);
        assert_eq!(
            wapc_options_set_json(ptr::null_mut(), c"{}".as_ptr(), ptr::null_mut()),
            invalid
        );
        let options = wapc_options_new();
        assert_eq!(
            wapc_options_set_json(options, ptr::null(), ptr::null_mut()),
            invalid
        );
        for json in [c"", c"{", c"[]", c"{\"engine\": \"v8\"}", c"\xff"] {
            let mut error = ptr::null_mut();
            assert_eq!(
                wapc_options_set_json(options, json.as_ptr(), &mut error),
                invalid
            );
            assert_eq!(told(error).0, invalid);
        }
        wapc_options_free(options);
        let none = ptr::null_mut();
        assert_eq!(wapc_host_rollback(ptr::null(), none), invalid);
        let replaced = wapc_host_replace(
            ptr::null(),
            ptr::null(),
            0,
            ptr::null(),
            None,
            ptr::null_mut(),
            0,
            none,
        );
        assert_eq!(replaced, invalid);
        let no_response = ptr::null_mut();
        for (host, operation, payload, payload_length) in [
            (ptr::null_mut(), c"echo".as_ptr(), ptr::null(), 0),
            (host.0, ptr::null(), ptr::null(), 0),
            (host.0, c"\xff".as_ptr(), ptr::null(), 0),
            (host.0, c"echo".as_ptr(), ptr::null(), 1),
            (host.0, c"echo".as_ptr(), b"x".as_ptr(), usize::MAX),
        ] {
            let status = wapc_host_call(
                host,
                operation,
                payload,
                payload_length,
                ptr::null(),
                no_response,
                none,
            );
            assert_eq!(status, invalid);
            let status = wapc_host_call_into(
                host,
                operation,
                payload,
                payload_length,
                ptr::null(),
                ptr::null_mut(),
                0,
                &mut length,
                none,
            );
            assert_eq!((status, length), (invalid, 0));
            let status = wapc_host_call_with(
                host,
                operation,
                payload,
                payload_length,
                ptr::null(),
                None,
                ptr::null_mut(),
                none,
            );
            assert_eq!(status, invalid);
        }
        let status = wapc_candidate_call(
            ptr::null_mut(),
            c"echo".as_ptr(),
            ptr::null(),
            0,
            no_response,
            none,
        );
        assert_eq!(status, invalid);
        // Null where nothing is wanted.
        let status = wapc_host_call(
            host.0,
            c"echo".as_ptr(),
            ptr::null(),
            0,
            ptr::null(),
            no_response,
            none,
        );
        assert_eq!(status, WapcStatus::Ok);
        wapc_answer_append(ptr::null_mut(), ptr::null(), 1);
        assert!(wapc_answer_reserve(ptr::null_mut(), 1).is_null());
        assert!(wapc_function_memory(ptr::null_mut(), &mut length).is_null());
        assert!(!wapc_function_grow_memory(ptr::null_mut(), 1));
        assert!(wapc_function_context(ptr::null()).is_null());
        wapc_function_fail(ptr::null_mut(), ptr::null());
        assert!(!wapc_set_log(None, ptr::null_mut(), 5));
    }
}

#[test]
fn a_buffer_of_the_callers_that_is_too_small_is_told_the_length() {
    for name in ENGINES {
        let host = host_of(GUEST, engine(name)).unwrap();
        let mut buffer = [0_u8; 4];
        for (payload, expected) in [
            (&b"abcd"[..], WapcStatus::Ok),
            (b"abcde", WapcStatus::BufferTooSmall),
            (b"", WapcStatus::Ok),
        ] {
            let mut length = 99;
            // SAFETY: all of this function.
            let status = unsafe {
                wapc_host_call_into(
                    host.0,
                    c"echo".as_ptr(),
                    payload.as_ptr(),
                    payload.len(),
                    ptr::null(),
                    buffer.as_mut_ptr(),
                    buffer.len(),
                    &mut length,
                    ptr::null_mut(),
                )
            };
            assert_eq!((status, length), (expected, payload.len()));
            assert_eq!(&buffer, b"abcd");
        }
    }
}

#[test]
fn a_response_is_lent() {
    unsafe extern "C" fn read(user_data: *mut c_void, response: *const u8, length: usize) {
        // SAFETY: what the test has passed, and what the header says.
        unsafe {
            let seen: &mut Vec<u8> = &mut *user_data.cast();
            seen.extend_from_slice(std::slice::from_raw_parts(response, length));
        }
    }
    for name in ENGINES {
        let host = host_of(GUEST, engine(name)).unwrap();
        let mut seen: Vec<u8> = vec![];
        // SAFETY: all of this function.
        let status = unsafe {
            wapc_host_call_with(
                host.0,
                c"echo".as_ptr(),
                b"lent".as_ptr(),
                4,
                ptr::null(),
                Some(read),
                (&raw mut seen).cast(),
                ptr::null_mut(),
            )
        };
        assert_eq!((status, &*seen), (WapcStatus::Ok, &b"lent"[..]));
    }
}

/// Answers with the names, the payload and the context; refuses without a context.
unsafe extern "C" fn answer(
    user_data: *mut c_void,
    call: *const WapcHostCall,
    answer: *mut WapcAnswer,
) -> bool {
    let bytes = |bytes: WapcBytes| {
        // SAFETY: what the header says.
        unsafe { std::slice::from_raw_parts(bytes.data, bytes.length) }
    };
    // SAFETY: what the header says.
    unsafe {
        let call = &*call;
        let append = |bytes: &[u8]| wapc_answer_append(answer, bytes.as_ptr(), bytes.len());
        if call.context.is_null() {
            append(b"no ");
            append(b"context");
            return false;
        }
        (*user_data.cast::<AtomicUsize>()).fetch_add(1, Relaxed);
        for part in [call.binding, call.namespace_, call.operation, call.payload] {
            append(bytes(part));
            append(b"/");
        }
        append(CStr::from_ptr(call.context.cast()).to_bytes());
        let place = wapc_answer_reserve(answer, 2);
        place.copy_from(b"!?".as_ptr(), 2);
        assert!(wapc_answer_reserve(answer, usize::MAX).is_null());
        true
    }
}

unsafe extern "C" fn count_free(user_data: *mut c_void) {
    // SAFETY: what the test has passed.
    unsafe { (*user_data.cast::<AtomicUsize>()).fetch_add(1000, Relaxed) };
}

#[test]
fn a_callback_answers_with_the_context_and_is_freed_with_the_last_that_needs_it() {
    for name in ENGINES {
        let used = AtomicUsize::new(0);
        let options = engine(name);
        // SAFETY: all of this function.
        unsafe {
            wapc_options_set_callback(
                options,
                Some(answer),
                (&raw const used).cast_mut().cast(),
                Some(count_free),
            );
        }
        let host = host_of(GUEST, options).unwrap();
        let mut context = call_options();
        context.context = c"me".as_ptr().cast_mut().cast();
        assert_eq!(
            host.call_with(c"ask", b"why", &context),
            Ok(b"binding/name/do/why/me!?".to_vec())
        );
        let (status, text) = host.call(c"ask", b"why").unwrap_err();
        assert_eq!(status, WapcStatus::Guest);
        assert!(text.ends_with("no context"), "{text}");
        assert_eq!(used.load(Relaxed), 1);
        drop(host);
        assert_eq!(used.load(Relaxed), 1001);
    }
}

#[test]
fn a_host_that_is_freed_in_its_own_call_lives_until_that_returns() {
    unsafe extern "C" fn free_host(
        user_data: *mut c_void,
        _: *const WapcHostCall,
        answer: *mut WapcAnswer,
    ) -> bool {
        // SAFETY: what the test has passed.
        unsafe {
            wapc_host_free(*user_data.cast::<*mut WapcHost>());
            wapc_answer_append(answer, b"freed".as_ptr(), 5);
        }
        true
    }
    for name in ENGINES {
        let mut address: *mut WapcHost = ptr::null_mut();
        let options = engine(name);
        let place: *mut *mut WapcHost = &raw mut address;
        // SAFETY: all of this function.
        unsafe { wapc_options_set_callback(options, Some(free_host), place.cast(), None) };
        let host = std::mem::ManuallyDrop::new(host_of(GUEST, options).unwrap());
        // SAFETY: of this function.
        unsafe { place.write(host.0) };
        assert_eq!(host.call(c"ask", b""), Ok(b"freed".to_vec()));
    }
}

#[test]
fn a_callback_that_calls_its_own_host_is_refused() {
    unsafe extern "C" fn call_again(
        user_data: *mut c_void,
        _: *const WapcHostCall,
        answer: *mut WapcAnswer,
    ) -> bool {
        // SAFETY: what the test has passed.
        unsafe {
            let host = *user_data.cast::<*mut WapcHost>();
            let none = ptr::null_mut();
            let status = wapc_host_call(
                host,
                c"echo".as_ptr(),
                ptr::null(),
                0,
                ptr::null(),
                ptr::null_mut(),
                none,
            );
            let name = CStr::from_ptr(wapc_status_name(status as u32)).to_bytes();
            wapc_answer_append(answer, name.as_ptr(), name.len());
        }
        true
    }
    for name in ENGINES {
        let mut address: *mut WapcHost = ptr::null_mut();
        let options = engine(name);
        let place: *mut *mut WapcHost = &raw mut address;
        // SAFETY: all of this function.
        unsafe { wapc_options_set_callback(options, Some(call_again), place.cast(), None) };
        let host = host_of(GUEST, options).unwrap();
        // SAFETY: of this function.
        unsafe { place.write(host.0) };
        assert_eq!(host.call(c"ask", b""), Ok(b"reentrant".to_vec()));
    }
}

#[test]
fn calls_end_by_their_time_and_by_a_cancel_handle() {
    for name in ENGINES {
        let host = host_of(GUEST, engine(name)).unwrap();
        let mut short = call_options();
        short.timeout_ms = 20;
        let (status, _) = host.call_with(c"loop", b"", &short).unwrap_err();
        assert_eq!(status, WapcStatus::TimedOut);

        let cancel = wapc_cancel_new();
        let mut cancelled = call_options();
        cancelled.cancel = cancel;
        assert_eq!(host.call_with(c"echo", b"x", &cancelled), Ok(b"x".to_vec()));
        let address = cancel as usize;
        let canceller = thread::spawn(move || {
            // SAFETY: the handle lives until this thread has been joined.
            unsafe { wapc_cancel(address as *const _) };
        });
        let (status, _) = host.call_with(c"loop", b"", &cancelled).unwrap_err();
        assert_eq!(status, WapcStatus::Cancelled);
        canceller.join().unwrap();
        // SAFETY: the handle is not used any more.
        unsafe { wapc_cancel_free(cancel) };

        // A program of an older header, and one of a newer.
        let mut odd = call_options();
        odd.cancel = ptr::without_provenance(8);
        odd.size = 2 * size_of::<usize>();
        odd.timeout_ms = 20;
        assert_eq!(
            host.call_with(c"loop", b"", &odd).unwrap_err().0,
            WapcStatus::TimedOut
        );
        for size in [0, 4, size_of::<WapcCallOptions>() + 8, usize::MAX] {
            odd.size = size;
            let (status, _) = host.call_with(c"echo", b"", &odd).unwrap_err();
            assert_eq!(status, WapcStatus::InvalidArgument);
        }
        let mut fuel = call_options();
        fuel.fuel = 100;
        let (status, _) = host.call_with(c"loop", b"", &fuel).unwrap_err();
        assert_eq!(status, WapcStatus::NotInterruptible);
        let host = host_of(
            GUEST,
            options(&format!(
                r#"{{ "engine": "{name}", "interruption": "fuel",
            "limits": {{ "fuel": 1000000, "timeout_ms": null, "start_timeout_ms": null }} }}"#
            )),
        );
        let (status, _) = host.unwrap().call_with(c"loop", b"", &fuel).unwrap_err();
        assert_eq!(status, WapcStatus::Limit);
    }
}

#[test]
fn code_is_swapped_and_back_and_a_probe_decides() {
    unsafe extern "C" fn probe(user_data: *mut c_void, candidate: *mut WapcCandidate) -> bool {
        let mut buffer = empty();
        // SAFETY: what the header says, and what the test has passed.
        unsafe {
            let status = wapc_candidate_call(
                candidate,
                c"number".as_ptr(),
                ptr::null(),
                0,
                &mut buffer,
                ptr::null_mut(),
            );
            assert_eq!((status, *buffer.data), (WapcStatus::Ok, b'1'));
            wapc_buffer_free(&mut buffer);
            *user_data.cast::<bool>()
        }
    }
    for name in ENGINES {
        let host = host_of(GUEST, engine(name)).unwrap();
        let replace = |module: &[u8], options, mut accepts: bool| {
            let mut error = ptr::null_mut();
            // SAFETY: all of this function.
            unsafe {
                wapc_host_replace(
                    host.0,
                    module.as_ptr(),
                    module.len(),
                    options,
                    Some(probe),
                    (&raw mut accepts).cast(),
                    100,
                    &mut error,
                );
            }
            told(error).0
        };
        let rollback = || {
            // SAFETY: a host.
            unsafe { wapc_host_rollback(host.0, ptr::null_mut()) }
        };
        assert_eq!(rollback(), WapcStatus::NoPrevious);
        assert_eq!(host.call(c"number", b""), Ok(b"1".to_vec()));
        assert_eq!(host.call(c"number", b""), Ok(b"2".to_vec()));
        assert_eq!(replace(GUEST, ptr::null(), false), WapcStatus::Probe);
        assert_eq!(replace(b"nonsense", ptr::null(), true), WapcStatus::Init);
        assert_eq!(host.call(c"number", b""), Ok(b"3".to_vec()));
        assert_eq!(replace(GUEST, ptr::null(), true), WapcStatus::Ok);
        assert_eq!(host.call(c"number", b""), Ok(b"1".to_vec()));
        // Another engine.
        for other in ENGINES {
            let options = engine(other);
            assert_eq!(replace(GUEST, options, true), WapcStatus::Ok);
            // SAFETY: of this function.
            unsafe { wapc_options_free(options) };
            assert_eq!(host.call(c"number", b""), Ok(b"1".to_vec()));
        }
        assert_eq!(rollback(), WapcStatus::Ok);
        assert_eq!(host.call(c"echo", b"x"), Ok(b"x".to_vec()));
        let swaps = 2 + u64::try_from(ENGINES.len()).unwrap();
        assert_eq!(host.stats().swaps, swaps);
    }
}

#[test]
fn functions_of_any_signature_see_the_guests_memory() {
    const MODULE: &[u8] = br#"(module
        (import "env" "mix" (func $mix (param i32 i64 f64) (result i64)))
        (import "wapc" "__guest_response" (func $respond (param i32 i32)))
        (memory (export "memory") 1 2)
        (data (i32.const 8) "....")
        (func (export "__guest_call") (param i32 i32) (result i32)
            (i64.store (i32.const 0) (call $mix (i32.const 8) (i64.extend_i32_u (local.get 1)) (f64.const 0.5)))
            (call $respond (i32.const 0) (i32.const 12))
            (i32.const 1)))"#;
    unsafe extern "C" fn mix(
        user_data: *mut c_void,
        call: *mut WapcFunctionCall,
        parameters: *const WapcValue,
        results: *mut WapcValue,
    ) -> bool {
        // SAFETY: what the header says, and what the test has passed.
        unsafe {
            let [at, length, half] = [0, 1, 2].map(|index| *parameters.add(index));
            if length.i64 == 3 {
                wapc_function_fail(call, c"three is too many".as_ptr());
                return false;
            }
            assert_eq!(half.f64.to_bits(), 0.5_f64.to_bits());
            assert_eq!((*results).i64, 0);
            let mut bytes = 0;
            let memory = wapc_function_memory(call, &mut bytes);
            assert_eq!(bytes, 65536);
            assert!(wapc_function_grow_memory(call, 1));
            assert!(!wapc_function_grow_memory(call, 1));
            let memory_after = wapc_function_memory(call, &mut bytes);
            assert_eq!(bytes, 131_072);
            _ = memory;
            memory_after
                .add(usize::try_from(at.i32).unwrap())
                .copy_from(b"seen".as_ptr(), 4);
            (*results).i64 = length.i64 + *user_data.cast::<i64>();
            assert!(wapc_function_context(call).is_null());
            true
        }
    }
    for name in ENGINES {
        let mut ten = 10_i64;
        let options = engine(name);
        let mut add = |parameters: &[u32], module: &CStr, function| {
            // SAFETY: all of this function.
            unsafe {
                wapc_options_add_function(
                    options,
                    module.as_ptr(),
                    c"mix".as_ptr(),
                    parameters.as_ptr(),
                    parameters.len(),
                    [WAPC_I64].as_ptr(),
                    1,
                    function,
                    (&raw mut ten).cast(),
                    None,
                    ptr::null_mut(),
                )
            }
        };
        let invalid = WapcStatus::InvalidArgument;
        assert_eq!(add(&[WAPC_I32], c"env", None), invalid);
        assert_eq!(add(&[WAPC_I32, 9], c"env", Some(mix)), invalid);
        assert_eq!(add(&[WAPC_I32; 11], c"env", Some(mix)), invalid);
        assert_eq!(add(&[WAPC_I32], c"\xff", Some(mix)), invalid);
        let types = [WAPC_I32, WAPC_I64, WAPC_F64];
        assert_eq!(add(&types, c"env", Some(mix)), WapcStatus::Ok);
        let host = host_of(MODULE, options).unwrap();
        assert_eq!(
            host.call(c"any", b"ab"),
            Ok(b"\x0c\0\0\0\0\0\0\0seen".to_vec())
        );
        let (status, text) = host.call(c"any", b"abc").unwrap_err();
        assert_eq!(status, WapcStatus::Function);
        assert!(text.ends_with("three is too many"), "{text}");
    }
}

#[test]
fn several_threads_call_swap_and_free() {
    for name in ENGINES {
        let json = format!(r#"{{ "engine": "{name}", "instances": {{ "max": 3 }} }}"#);
        let host = host_of(GUEST, options(&json)).unwrap();
        let barrier = Barrier::new(4);
        thread::scope(|scope| {
            for _ in 0..3 {
                scope.spawn(|| {
                    barrier.wait();
                    for _ in 0..100 {
                        assert_eq!(host.call(c"echo", b"x"), Ok(b"x".to_vec()));
                    }
                });
            }
            barrier.wait();
            for _ in 0..5 {
                // SAFETY: all of this function.
                let status = unsafe {
                    wapc_host_replace(
                        host.0,
                        GUEST.as_ptr(),
                        GUEST.len(),
                        ptr::null(),
                        None,
                        ptr::null_mut(),
                        0,
                        ptr::null_mut(),
                    )
                };
                assert_eq!(status, WapcStatus::Ok);
            }
        });
        assert_eq!(host.stats().calls, 300);
    }
}
