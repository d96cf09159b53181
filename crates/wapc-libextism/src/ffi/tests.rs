//! The functions as C calls them, misuse included, on each engine.

use std::{
    ffi::{CStr, CString, c_char, c_void},
    ptr,
    sync::{
        Mutex, MutexGuard, PoisonError,
        atomic::{AtomicPtr, AtomicUsize, Ordering::Relaxed},
        mpsc,
    },
    thread,
};

use super::*;

const ENGINES: &[&str] = &[
    #[cfg(feature = "wasmtime")]
    "wasmtime",
    #[cfg(feature = "wasmi")]
    "wasmi",
];

/// Exports: `echo`, `ask` the function `shout`, `fail`, `crash`, `spin`, `number` of calls, `code` 3, `code` -1 with an error,
/// `setting` of the configuration.
const PLUGIN: &str = r#"(module
    (import "extism:host/env" "input_offset" (func $input (result i64)))
    (import "extism:host/env" "input_length" (func $input_length (result i64)))
    (import "extism:host/env" "length" (func $length (param i64) (result i64)))
    (import "extism:host/env" "alloc" (func $alloc (param i64) (result i64)))
    (import "extism:host/env" "store_u64" (func $store (param i64 i64)))
    (import "extism:host/env" "output_set" (func $output (param i64 i64)))
    (import "extism:host/env" "error_set" (func $error (param i64)))
    (import "extism:host/env" "config_get" (func $config (param i64) (result i64)))
    (import "extism:host/user" "shout" (func $shout (param i64 f32) (result i64)))
    (global $calls (mut i64) (i64.const 0))
    (func $answer (param $block i64) (result i32)
        (call $output (local.get $block) (call $length (local.get $block)))
        (i32.const 0))
    (func (export "echo") (result i32)
        (call $output (call $input) (call $input_length))
        (i32.const 0))
    (func (export "ask") (result i32) (call $answer (call $shout (call $input) (f32.const 1.5))))
    (func (export "fail") (result i32) (call $error (call $input)) (i32.const 2))
    (func (export "code") (result i32)
        (call $output (call $input) (call $input_length))
        (i32.const 3))
    (func (export "crash") (unreachable))
    (func (export "spin") (loop $for_ever (br $for_ever)))
    (func (export "setting") (result i32) (call $answer (call $config (call $input))))
    (func (export "number") (result i32) (local $block i64)
        (global.set $calls (i64.add (global.get $calls) (i64.const 1)))
        (local.set $block (call $alloc (i64.const 8)))
        (call $store (local.get $block) (global.get $calls))
        (call $answer (local.get $block)))
    (func (export "takes") (param i32)))"#;

/// The variable that chooses the engine is the process's.
static ENVIRONMENT: Mutex<()> = Mutex::new(());

fn on(engine: &str) -> MutexGuard<'static, ()> {
    let lock = ENVIRONMENT.lock().unwrap_or_else(PoisonError::into_inner);
    // SAFETY: the tests of this crate that read or write the environment hold the lock.
    unsafe { std::env::set_var("WAPC_ENGINE", engine) };
    lock
}

struct TestPlugin(*mut ExtismPlugin);

// SAFETY: what the header says.
unsafe impl Sync for TestPlugin {}

impl Drop for TestPlugin {
    fn drop(&mut self) {
        // SAFETY: made by the library, freed once.
        unsafe { extism_plugin_free(self.0) }
    }
}

impl TestPlugin {
    fn call(&self, name: &CStr, input: &[u8]) -> (i32, Vec<u8>, Option<String>) {
        let length = input.len() as u64;
        // SAFETY: a plugin, text and bytes.
        let code = unsafe { extism_plugin_call(self.0, name.as_ptr(), input.as_ptr(), length) };
        (code, self.output(), self.error())
    }

    fn ask(&self) -> i32 {
        // SAFETY: a plugin, text and bytes.
        unsafe { extism_plugin_call(self.0, c"ask".as_ptr(), b"x".as_ptr(), 1) }
    }

    fn output(&self) -> Vec<u8> {
        // SAFETY: a plugin; nobody else calls it meanwhile.
        unsafe {
            let length = usize::try_from(extism_plugin_output_length(self.0)).unwrap();
            std::slice::from_raw_parts(extism_plugin_output_data(self.0), length).to_vec()
        }
    }

    fn error(&self) -> Option<String> {
        // SAFETY: a plugin; nobody else calls it meanwhile.
        let error = unsafe { extism_plugin_error(self.0) };
        (!error.is_null()).then(|| {
            // SAFETY: a text of the library's.
            let error = unsafe { CStr::from_ptr(error) };
            error.to_str().unwrap().to_owned()
        })
    }

    fn cancel_handle(&self) -> *const ExtismCancelHandle {
        // SAFETY: a plugin.
        unsafe { extism_plugin_cancel_handle(self.0) }
    }
}

/// Makes what `make` makes, or returns the text of its error.
fn or_error<T>(make: impl FnOnce(*mut *mut c_char) -> *mut T) -> Result<*mut T, String> {
    let mut error = ptr::null_mut();
    let made = make(&mut error);
    if !made.is_null() {
        assert!(error.is_null());
        return Ok(made);
    }
    // SAFETY: a text of the library's.
    unsafe {
        let text = CStr::from_ptr(error).to_str().unwrap().to_owned();
        extism_plugin_new_error_free(error);
        Err(text)
    }
}

fn plugin_of(input: &[u8], functions: &[*mut ExtismFunction]) -> Result<TestPlugin, String> {
    let mut functions: Vec<_> = functions.iter().map(|it| it.cast_const()).collect();
    let made = or_error(|error| {
        let (input, length) = (input.as_ptr(), input.len() as u64);
        let (first, count) = (functions.as_mut_ptr(), functions.len() as u64);
        // SAFETY: bytes, functions and a place.
        unsafe { extism_plugin_new(input, length, first, count, false, error) }
    });
    made.map(TestPlugin)
}

/// Answers with its argument in capitals, and the host context, a text, behind it.
unsafe extern "C" fn shout(
    plugin: *mut ExtismCurrentPlugin,
    inputs: *const ExtismVal,
    n_inputs: ExtismSize,
    outputs: *mut ExtismVal,
    n_outputs: ExtismSize,
    data: *mut c_void,
) {
    // SAFETY: what the header says, and what the tests pass.
    unsafe {
        assert_eq!((n_inputs, n_outputs), (2, 1));
        assert_eq!((*inputs).t, ExtismValType::I64);
        assert_eq!((*inputs.add(1)).v.f32.to_bits(), 1.5_f32.to_bits());
        assert_eq!((*outputs).t, ExtismValType::I64);
        let handle = (*inputs).v.i64.cast_unsigned();
        let length = extism_current_plugin_memory_length(plugin, handle);
        let at = |handle: u64| {
            extism_current_plugin_memory(plugin).add(usize::try_from(handle).unwrap())
        };
        let text = std::slice::from_raw_parts(at(handle), usize::try_from(length).unwrap());
        let mut text = text.to_ascii_uppercase();
        let context = extism_current_plugin_host_context(plugin);
        if !context.is_null() {
            text.extend_from_slice(CStr::from_ptr(context.cast()).to_bytes());
        }
        // More than the memory has, so that it grows, and blocks that are none.
        assert_ne!(extism_current_plugin_memory_alloc(plugin, 300_000), 0);
        assert_eq!(extism_current_plugin_memory_alloc(plugin, 0), 0);
        assert_eq!(extism_current_plugin_memory_alloc(plugin, u64::MAX), 0);
        assert_eq!(extism_current_plugin_memory_alloc(plugin, 1 << 40), 0);
        for wild in [0, 1, handle + 1, u64::MAX, u64::MAX - 8, 1 << 32] {
            assert_eq!(extism_current_plugin_memory_length(plugin, wild), 0);
            extism_current_plugin_memory_free(plugin, wild);
        }
        let freed = extism_current_plugin_memory_alloc(plugin, 9);
        extism_current_plugin_memory_free(plugin, freed);
        extism_current_plugin_memory_free(plugin, freed);
        assert_eq!(extism_current_plugin_memory_length(plugin, freed), 0);
        let answer = extism_current_plugin_memory_alloc(plugin, text.len() as u64);
        at(answer).copy_from(text.as_ptr(), text.len());
        (*outputs).v.i64 = answer.cast_signed();
        // A type that is none is not looked at.
        (&raw mut (*outputs).t).cast::<u32>().write(77);
        if !data.is_null() {
            (*data.cast::<AtomicUsize>()).fetch_add(1, Relaxed);
        }
    }
}

unsafe extern "C" fn count_free(data: *mut c_void) {
    // SAFETY: what the tests pass.
    unsafe { (*data.cast::<AtomicUsize>()).fetch_add(1000, Relaxed) };
}

fn function(function: ExtismFunctionType, data: *const AtomicUsize) -> *mut ExtismFunction {
    let types = [ExtismValType::I64, ExtismValType::F32];
    let free: Option<unsafe extern "C" fn(*mut c_void)> = match data.is_null() {
        true => None,
        false => Some(count_free),
    };
    // SAFETY: text and arrays of this function; `data` is that of the test.
    unsafe {
        extism_function_new(
            c"shout".as_ptr(),
            types.as_ptr(),
            2,
            types.as_ptr(),
            1,
            function,
            data.cast_mut().cast(),
            free,
        )
    }
}

fn shouting() -> TestPlugin {
    let shout = function(Some(shout), ptr::null());
    let plugin = plugin_of(PLUGIN.as_bytes(), &[shout]).unwrap();
    // SAFETY: made above.
    unsafe { extism_function_free(shout) };
    plugin
}

#[test]
fn a_plugin_answers_and_fails_with_a_code_and_a_text() {
    for engine in ENGINES {
        let _engine = on(engine);
        let plugin = shouting();
        assert_eq!(plugin.output(), b"");
        assert_eq!(plugin.error(), None);
        assert_eq!(plugin.call(c"echo", b"a\0b"), (0, b"a\0b".to_vec(), None));
        assert_eq!(plugin.call(c"ask", b"who"), (0, b"WHO".to_vec(), None));
        let failed = |text: &str| Some(text.to_owned());
        assert_eq!(
            plugin.call(c"fail", b"no\0good"),
            (2, vec![], failed("no good"))
        );
        assert_eq!(plugin.call(c"code", b"out"), (3, b"out".to_vec(), None));
        assert_eq!(
            plugin.call(c"none", b""),
            (-1, vec![], failed("Function not found: none"))
        );
        assert_eq!(plugin.call(c"number", b"").1, 1_u64.to_le_bytes());
        assert_eq!(plugin.call(c"number", b"").1, 2_u64.to_le_bytes());
        let (code, output, error) = plugin.call(c"crash", b"");
        assert_eq!((code, &*output), (134, &b""[..]));
        assert!(error.unwrap().contains("unreachable"));
        // The instance is gone; output and error are not.
        assert!(plugin.error().unwrap().contains("unreachable"));
        assert_eq!(plugin.call(c"number", b"").1, 1_u64.to_le_bytes());
        // SAFETY: a plugin, and text.
        unsafe {
            assert!(extism_plugin_function_exists(plugin.0, c"echo".as_ptr()));
            assert!(!extism_plugin_function_exists(plugin.0, c"takes".as_ptr()));
            assert!(!extism_plugin_function_exists(plugin.0, c"none".as_ptr()));
            let id = std::slice::from_raw_parts(extism_plugin_id(plugin.0), 16).to_vec();
            assert_ne!(id, shouting_id());
            assert!(extism_plugin_reset(plugin.0));
            extism_plugin_allow_http_response_headers(plugin.0);
        }
        assert_eq!(plugin.output(), b"");
    }
}

fn shouting_id() -> Vec<u8> {
    let plugin = shouting();
    // SAFETY: a plugin.
    unsafe { std::slice::from_raw_parts(extism_plugin_id(plugin.0), 16).to_vec() }
}

#[test]
fn a_host_context_is_that_of_one_call() {
    for engine in ENGINES {
        let _engine = on(engine);
        let plugin = shouting();
        // SAFETY: a plugin, text, bytes, and a context that `shout` reads.
        let code = unsafe {
            extism_plugin_call_with_host_context(
                plugin.0,
                c"ask".as_ptr(),
                b"who".as_ptr(),
                3,
                c" and me".as_ptr().cast_mut().cast(),
            )
        };
        assert_eq!((code, &*plugin.output()), (0, &b"WHO and me"[..]));
        assert_eq!(plugin.call(c"ask", b"who").1, b"WHO");
    }
}

#[test]
fn the_data_of_a_function_is_freed_once_when_nothing_needs_it() {
    for engine in ENGINES {
        let _engine = on(engine);
        let used = AtomicUsize::new(0);
        let function = function(Some(shout), &used);
        let plugin = plugin_of(PLUGIN.as_bytes(), &[function]).unwrap();
        // SAFETY: made above.
        unsafe {
            // No effect any more.
            extism_function_set_namespace(function, c"elsewhere".as_ptr());
            extism_function_free(function);
        }
        assert_eq!(plugin.call(c"ask", b"x").1, b"X");
        assert_eq!(used.load(Relaxed), 1);
        drop(plugin);
        assert_eq!(used.load(Relaxed), 1001);
    }
}

#[test]
fn a_plugin_that_cannot_be_made_says_why() {
    for engine in ENGINES {
        let _engine = on(engine);
        let unable = |what: &str| format!("Unable to compile Extism plugin: {what}");
        let error = |input: &[u8], functions: &[*mut ExtismFunction]| {
            plugin_of(input, functions).err().unwrap()
        };
        assert_eq!(
            error(PLUGIN.as_bytes(), &[]),
            unable("unknown import: `extism:host/user::shout` has not been defined")
        );
        assert_eq!(
            error(PLUGIN.as_bytes(), &[ptr::null_mut()]),
            "Cannot pass null pointer"
        );
        let twice = function(Some(shout), ptr::null());
        let used = "Function cannot be registered with multiple different Plugins";
        assert_eq!(error(PLUGIN.as_bytes(), &[twice, twice]), used);
        assert_eq!(error(PLUGIN.as_bytes(), &[twice]), used);
        let elsewhere = function(Some(shout), ptr::null());
        // SAFETY: functions of the library.
        unsafe {
            extism_function_set_namespace(elsewhere, c"elsewhere".as_ptr());
            extism_function_set_namespace(elsewhere, ptr::null());
            extism_function_set_namespace(ptr::null_mut(), c"x".as_ptr());
        }
        assert_eq!(
            error(PLUGIN.as_bytes(), &[elsewhere]),
            unable("unknown import: `extism:host/user::shout` has not been defined")
        );
        // SAFETY: functions of the library.
        unsafe {
            extism_function_free(twice);
            extism_function_free(elsewhere);
        }
        for input in [
            &b""[..],
            b"{}",
            b"nonsense",
            b"a\0b",
            b"\0asm\x01\0\0\0junk",
            b"\xff",
        ] {
            assert!(
                error(input, &[]).starts_with(&unable("")),
                "{}",
                error(input, &[])
            );
        }
        // A manifest.
        let manifest = br#"{ "wasm": [{ "path": "/does/not/exist" }] }"#;
        assert!(error(manifest, &[]).contains("/does/not/exist"));
    }
    let _engine = on("v8");
    let error = plugin_of(b"(module)", &[]).err().unwrap();
    assert!(
        error.ends_with("the engine `v8` is not built in"),
        "{error}"
    );
}

#[cfg(feature = "wasmtime")]
#[test]
fn compiled_code_is_kept_where_the_environment_says() {
    let _engine = on("wasmtime");
    let directory =
        std::env::temp_dir().join(format!("wapc-libextism-cache-{}", std::process::id()));
    let file = directory.with_extension("file");
    std::fs::write(&file, "").unwrap();
    // SAFETY: the tests of this crate that read or write the environment hold the lock.
    let keep_in = |path: &std::path::Path| unsafe { std::env::set_var("WAPC_CACHE", path) };
    keep_in(&directory);
    for _ in 0..2 {
        assert_eq!(shouting().call(c"ask", b"x").1, b"X");
    }
    assert!(directory.is_dir());
    keep_in(&file);
    let error = plugin_of(b"(module)", &[]).err().unwrap();
    assert!(error.contains("WAPC_CACHE: "), "{error}");
    // SAFETY: as above.
    unsafe { std::env::remove_var("WAPC_CACHE") };
    std::fs::remove_file(file).unwrap();
    _ = std::fs::remove_dir_all(directory);
}

#[test]
fn compiled_plugins_make_plugins_that_share_nothing() {
    for engine in ENGINES {
        let _engine = on(engine);
        let shout = function(Some(shout), ptr::null());
        let mut functions = [shout.cast_const()];
        let compiled = or_error(|error| {
            let (input, length) = (PLUGIN.as_ptr(), PLUGIN.len() as u64);
            let functions = functions.as_mut_ptr();
            // SAFETY: bytes, functions and a place.
            unsafe { extism_compiled_plugin_new(input, length, functions, 1, false, error) }
        });
        let compiled = compiled.unwrap();
        let new = || {
            // SAFETY: made above.
            let made =
                or_error(|error| unsafe { extism_plugin_new_from_compiled(compiled, error) });
            TestPlugin(made.unwrap())
        };
        let (first, second) = (new(), new());
        // SAFETY: made above.
        unsafe {
            extism_function_free(shout);
            extism_compiled_plugin_free(compiled);
        }
        assert_eq!(first.call(c"number", b"").1, 1_u64.to_le_bytes());
        assert_eq!(second.call(c"number", b"").1, 1_u64.to_le_bytes());
        assert_eq!(second.call(c"ask", b"x").1, b"X");
        // Cancelling one does not end the other.
        let (started, has_started) = mpsc::channel();
        let handle = first.cancel_handle() as usize;
        thread::scope(|scope| {
            let spinning = scope.spawn(|| {
                started.send(()).unwrap();
                second.call(c"spin", b"")
            });
            has_started.recv().unwrap();
            // SAFETY: the handle of a plugin that lives.
            assert!(unsafe { extism_plugin_cancel(handle as *const _) });
            assert_eq!(first.call(c"echo", b"x").0, 0);
            let end = || {
                // SAFETY: the handle of a plugin that lives.
                unsafe { extism_plugin_cancel(second.cancel_handle()) };
            };
            // A handle has no effect before the call has begun.
            while !spinning.is_finished() {
                end();
                thread::yield_now();
            }
            let ended = spinning.join().unwrap();
            assert_eq!(ended, (134, vec![], Some("timeout".into())));
        });
    }
}

#[test]
fn cancelling_at_rest_does_not_cancel_the_next_call() {
    for engine in ENGINES {
        let _engine = on(engine);
        let manifest = r#"{ "wasm": [{ "data": "DATA" }], "timeout_ms": 30 }"#;
        let module = br#"(module (func (export "spin") (loop $l (br $l))) (func (export "rest")))"#;
        let path = std::env::temp_dir().join(format!("wapc-libextism-{}.wat", std::process::id()));
        std::fs::write(&path, module).unwrap();
        let manifest = manifest.replace(r#""data": "DATA""#, &format!(r#""path": {path:?}"#));
        let plugin = plugin_of(manifest.as_bytes(), &[]).unwrap();
        std::fs::remove_file(path).unwrap();
        // SAFETY: the handle of a plugin that lives.
        let cancel = || unsafe { extism_plugin_cancel(plugin.cancel_handle()) };
        assert!(cancel());
        assert_eq!(plugin.call(c"rest", b"").0, 0);
        assert!(cancel());
        let (code, _, error) = plugin.call(c"spin", b"");
        assert_eq!((code, error), (134, Some("timeout".into())));
    }
}

#[test]
fn fuel_is_that_of_each_call() {
    for engine in ENGINES {
        let _engine = on(engine);
        let shout = function(Some(shout), ptr::null());
        let mut functions = [shout.cast_const()];
        let plugin = or_error(|error| {
            let (input, length) = (PLUGIN.as_ptr(), PLUGIN.len() as u64);
            let functions = functions.as_mut_ptr();
            // SAFETY: bytes, functions and a place.
            unsafe {
                extism_plugin_new_with_fuel_limit(
                    input, length, functions, 1, false, 100_000, error,
                )
            }
        });
        let plugin = TestPlugin(plugin.unwrap());
        // SAFETY: made above.
        unsafe { extism_function_free(shout) };
        for _ in 0..3 {
            assert_eq!(plugin.call(c"echo", b"x").0, 0);
            let (code, _, error) = plugin.call(c"spin", b"");
            assert_eq!((code, error), (-1, Some("plugin ran out of fuel".into())));
        }
    }
}

#[test]
fn a_configuration_is_merged() {
    for engine in ENGINES {
        let _engine = on(engine);
        let plugin = shouting();
        let configure = |json: &[u8]| {
            // SAFETY: a plugin, and bytes.
            unsafe { extism_plugin_config(plugin.0, json.as_ptr(), json.len() as u64) }
        };
        assert!(configure(br#"{ "a": "1", "b": "2" }"#));
        assert!(configure(br#"{ "b": null, "c": "3" }"#));
        for (key, value) in [(b"a", &b"1"[..]), (b"b", b""), (b"c", b"3")] {
            assert_eq!(plugin.call(c"setting", key), (0, value.to_vec(), None));
        }
        assert_eq!(plugin.call(c"fail", b"x").0, 2);
        for json in [&b""[..], b"[]", b"{\"a\": 1}", b"\xff", b"{"] {
            assert!(!configure(json));
        }
        assert!(plugin.error().is_some());
        assert!(configure(b"{}"));
        assert_eq!(plugin.error(), None);
    }
}

#[test]
fn null_is_answered_and_no_crash() {
    let _engine = on(ENGINES[0]);
    let plugin = shouting();
    let none: *mut ExtismPlugin = ptr::null_mut();
    // SAFETY: null everywhere, which is what is tried.
    unsafe {
        assert!(extism_plugin_id(none).is_null());
        assert!(extism_plugin_cancel_handle(none).is_null());
        assert!(!extism_plugin_cancel(ptr::null()));
        assert!(!extism_plugin_config(none, ptr::null(), 0));
        assert!(!extism_plugin_config(plugin.0, ptr::null(), 5));
        assert!(!extism_plugin_function_exists(none, c"x".as_ptr()));
        assert!(!extism_plugin_function_exists(plugin.0, ptr::null()));
        assert!(!extism_plugin_function_exists(plugin.0, c"\xff".as_ptr()));
        assert_eq!(extism_plugin_call(none, c"x".as_ptr(), ptr::null(), 0), -1);
        let refused = [
            (
                ptr::null(),
                ptr::null(),
                0,
                "the argument `func_name` is null",
            ),
            (
                c"\xff".as_ptr(),
                ptr::null(),
                0,
                "the argument `func_name` is not UTF-8",
            ),
            (
                c"echo".as_ptr(),
                ptr::null(),
                1,
                "the argument `data` is null",
            ),
            (
                c"echo".as_ptr(),
                b"x".as_ptr(),
                u64::MAX,
                "the length of the argument `data` is too large",
            ),
        ];
        for (name, data, length, text) in refused {
            assert_eq!(extism_plugin_call(plugin.0, name, data, length), -1);
            assert_eq!(plugin.error().as_deref(), Some(text));
        }
        assert_eq!(
            extism_plugin_call(plugin.0, c"echo".as_ptr(), ptr::null(), 0),
            0
        );
        assert!(extism_plugin_error(none).is_null());
        assert!(extism_error(none).is_null());
        assert_eq!(extism_plugin_output_length(none), 0);
        assert!(extism_plugin_output_data(none).is_null());
        assert!(!extism_plugin_reset(none));
        extism_plugin_allow_http_response_headers(none);
        extism_plugin_free(none);
        extism_compiled_plugin_free(ptr::null_mut());
        extism_plugin_new_error_free(ptr::null_mut());
        extism_function_free(ptr::null_mut());
        extism_log_drain(None);
        let current: *mut ExtismCurrentPlugin<'_, '_> = ptr::null_mut();
        assert!(extism_current_plugin_memory(current).is_null());
        assert!(extism_current_plugin_host_context(current).is_null());
        assert_eq!(extism_current_plugin_memory_alloc(current, 1), 0);
        assert_eq!(extism_current_plugin_memory_length(current, 1), 0);
        extism_current_plugin_memory_free(current, 1);
        let functions = ptr::null_mut();
        assert!(extism_plugin_new(ptr::null(), 5, functions, 3, false, ptr::null_mut()).is_null());
        assert!(extism_plugin_new(ptr::null(), 0, functions, 0, true, ptr::null_mut()).is_null());
        let limited = extism_plugin_new_with_fuel_limit(
            ptr::null(),
            5,
            functions,
            0,
            false,
            1,
            ptr::null_mut(),
        );
        assert!(limited.is_null());
        assert!(
            extism_compiled_plugin_new(ptr::null(), 5, functions, 0, false, ptr::null_mut())
                .is_null()
        );
        let limited = extism_compiled_plugin_new_with_fuel_limit(
            ptr::null(),
            5,
            functions,
            0,
            false,
            1,
            ptr::null_mut(),
        );
        assert!(limited.is_null());
        assert!(extism_plugin_new_from_compiled(ptr::null(), ptr::null_mut()).is_null());
        let version = CStr::from_ptr(extism_version()).to_str().unwrap();
        assert!(version.starts_with("1.41.0-wapc"), "{version}");
    }
    let error = or_error(|error| {
        // SAFETY: null, and a place.
        unsafe { extism_plugin_new(ptr::null(), 5, ptr::null_mut(), 0, false, error) }
    });
    assert_eq!(error.unwrap_err(), "the argument `wasm` is null");
}

#[test]
fn a_function_of_other_types_is_none() {
    let new = |name: *const c_char, types: &[u32], body: ExtismFunctionType| {
        // SAFETY: text and an array.
        let made = unsafe {
            extism_function_new(
                name,
                types.as_ptr().cast(),
                types.len() as u64,
                ptr::null(),
                7,
                body,
                ptr::null_mut(),
                None,
            )
        };
        // SAFETY: made above, or null.
        unsafe { extism_function_free(made) };
        !made.is_null()
    };
    let name = c"name".as_ptr();
    assert!(new(name, &[0, 1, 2, 3], Some(shout)));
    for number in [4, 5, 6, 7, u32::MAX] {
        assert!(!new(name, &[number], Some(shout)), "{number}");
    }
    assert!(!new(ptr::null(), &[], Some(shout)));
    assert!(!new(c"\xff".as_ptr(), &[], Some(shout)));
    assert!(!new(name, &[], None));
}

/// The plugin whose function calls it, in the tests of this.
static CALLED: AtomicPtr<ExtismPlugin> = AtomicPtr::new(ptr::null_mut());

#[test]
fn a_function_that_uses_its_own_plugin_is_refused_and_does_not_wait() {
    unsafe extern "C" fn call_again(
        _: *mut ExtismCurrentPlugin,
        _: *const ExtismVal,
        _: ExtismSize,
        _: *mut ExtismVal,
        _: ExtismSize,
        data: *mut c_void,
    ) {
        let plugin = CALLED.load(Relaxed);
        // SAFETY: the plugin lives, as its function is called.
        unsafe {
            assert_eq!(
                extism_plugin_call(plugin, c"echo".as_ptr(), ptr::null(), 0),
                -1
            );
            let error = CStr::from_ptr(extism_plugin_error(plugin));
            assert_eq!(error, c"cannot make reentrant calls into plugin");
            assert_eq!(extism_plugin_call(plugin, ptr::null(), ptr::null(), 0), -1);
            assert_eq!(extism_plugin_output_length(plugin), 0);
            assert!(extism_plugin_output_data(plugin).is_null());
            assert!(!extism_plugin_config(plugin, b"{}".as_ptr(), 2));
            assert!(!extism_plugin_reset(plugin));
            assert!(!extism_plugin_function_exists(plugin, c"echo".as_ptr()));
            extism_plugin_allow_http_response_headers(plugin);
            assert!(!extism_plugin_id(plugin).is_null());
            (*data.cast::<AtomicUsize>()).fetch_add(1, Relaxed);
        }
    }
    for engine in ENGINES {
        let _engine = on(engine);
        let used = AtomicUsize::new(0);
        let function = function(Some(call_again), &used);
        let plugin = plugin_of(PLUGIN.as_bytes(), &[function]).unwrap();
        CALLED.store(plugin.0, Relaxed);
        assert_eq!(plugin.call(c"ask", b"x"), (0, vec![], None));
        assert_eq!(used.load(Relaxed), 1);
        assert_eq!(plugin.call(c"echo", b"x").1, b"x");
        // SAFETY: made above.
        unsafe { extism_function_free(function) };
    }
}

#[test]
fn a_plugin_that_is_freed_in_its_own_call_lives_until_that_returns() {
    unsafe extern "C" fn free_plugin(
        _: *mut ExtismCurrentPlugin,
        inputs: *const ExtismVal,
        _: ExtismSize,
        outputs: *mut ExtismVal,
        _: ExtismSize,
        _: *mut c_void,
    ) {
        // SAFETY: what the header says; nobody uses the plugin afterwards.
        unsafe {
            extism_plugin_free(CALLED.load(Relaxed));
            (*outputs).v.i64 = (*inputs).v.i64;
        }
    }
    for engine in ENGINES {
        let _engine = on(engine);
        let used = AtomicUsize::new(0);
        let function = function(Some(free_plugin), &used);
        let plugin = plugin_of(PLUGIN.as_bytes(), &[function]).unwrap();
        let plugin = std::mem::ManuallyDrop::new(plugin);
        CALLED.store(plugin.0, Relaxed);
        // SAFETY: a plugin, text and bytes; it is freed by its function.
        unsafe {
            extism_function_free(function);
            assert_eq!(
                extism_plugin_call(plugin.0, c"ask".as_ptr(), b"x".as_ptr(), 1),
                0
            );
        }
        assert_eq!(used.load(Relaxed), 1000);
    }
}

#[test]
fn threads_wait_for_each_others_calls() {
    for engine in ENGINES {
        let _engine = on(engine);
        let plugin = shouting();
        thread::scope(|scope| {
            for _ in 0..3 {
                scope.spawn(|| {
                    for _ in 0..50 {
                        let code = plugin.ask();
                        assert_eq!(code, 0);
                    }
                });
            }
        });
        assert_eq!(plugin.call(c"number", b"").1, 1_u64.to_le_bytes());
    }
}

#[test]
fn lines_of_the_log_are_drained() {
    static LINES: Mutex<Vec<String>> = Mutex::new(Vec::new());
    unsafe extern "C" fn keep(data: *const c_char, size: ExtismSize) {
        // SAFETY: what the header says.
        let line = unsafe { CStr::from_ptr(data) };
        assert_eq!(line.to_bytes().len() as u64, size);
        LINES
            .lock()
            .unwrap()
            .push(line.to_str().unwrap().to_owned());
    }
    const LOGGING: &[u8] = br#"(module
        (import "extism:host/env" "input_offset" (func $input (result i64)))
        (import "extism:host/env" "log_warn" (func $warn (param i64)))
        (import "extism:host/env" "log_debug" (func $debug (param i64)))
        (func (export "warn") (call $warn (call $input)))
        (func (export "debug") (call $debug (call $input))))"#;
    let folder = CString::new(std::env::temp_dir().to_str().unwrap()).unwrap();
    for engine in ENGINES {
        let _engine = on(engine);
        // SAFETY: texts.
        unsafe {
            // The first in the process; a folder is no file.
            assert!(!extism_log_file(folder.as_ptr(), c"info".as_ptr()));
            assert!(!extism_log_file(c"\xff".as_ptr(), ptr::null()));
            assert_eq!(extism_log_custom(c"info".as_ptr()), *engine == ENGINES[0]);
            assert!(!extism_log_custom(c"info".as_ptr()));
            assert!(!extism_log_file(ptr::null(), ptr::null()));
        }
        let plugin = plugin_of(LOGGING, &[]).unwrap();
        assert_eq!(plugin.call(c"warn", b"a\0line").0, 0);
        assert_eq!(plugin.call(c"debug", b"no line").0, 0);
        // SAFETY: a function.
        unsafe {
            extism_log_drain(Some(keep));
            extism_log_drain(Some(keep));
        }
        let lines = std::mem::take(&mut *LINES.lock().unwrap());
        assert_eq!(lines.len(), 1);
        assert!(
            lines[0].ends_with("  WARN extism::pdk: a line\n"),
            "{lines:?}"
        );
    }
}
