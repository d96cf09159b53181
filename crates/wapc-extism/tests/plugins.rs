//! Plugins through Extism's API, on each engine that is built in.
#![cfg(any(feature = "wasmi", feature = "wasmtime"))]
#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "what a test's own functions unwrap fails the test"
)]

use std::{
    io::{Read, Write},
    net::{SocketAddr, TcpListener},
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    thread,
    time::Duration,
};

use wapc_extism::{
    CallError, Engine, Error, Function, LogLevel, Manifest, PTR, Plugin, PluginBuilder, UserData,
    Val, ValType, VarError, Wasm,
};
use wapc_net::{AllowedHosts, HttpClient};

fn engines() -> Vec<Engine> {
    vec![
        #[cfg(feature = "wasmi")]
        Engine::wasmi(),
        #[cfg(feature = "wasmtime")]
        Engine::wasmtime(),
    ]
}

/// The environment's functions as plugins import them, and a few of their own.
const PRELUDE: &str = r#"
    (import "extism:host/env" "alloc" (func $alloc (param i64) (result i64)))
    (import "extism:host/env" "length" (func $length (param i64) (result i64)))
    (import "extism:host/env" "store_u64" (func $store_u64 (param i64 i64)))
    (import "extism:host/env" "load_u64" (func $load_u64 (param i64) (result i64)))
    (import "extism:host/env" "input_offset" (func $input (result i64)))
    (import "extism:host/env" "output_set" (func $output_set (param i64 i64)))
    (import "extism:host/env" "error_set" (func $error_set (param i64)))
    (import "extism:host/env" "config_get" (func $config_get (param i64) (result i64)))
    (import "extism:host/env" "var_get" (func $var_get (param i64) (result i64)))
    (import "extism:host/env" "var_set" (func $var_set (param i64 i64)))
    (import "extism:host/env" "http_request" (func $http (param i64 i64) (result i64)))
    (import "extism:host/env" "http_status_code" (func $status (result i32)))
    (import "extism:host/env" "http_headers" (func $headers (result i64)))
    (import "extism:host/env" "log_warn" (func $log_warn (param i64)))
    (import "extism:host/env" "log_info" (func $log_info (param i64)))
    (func $word (param $bytes i64) (result i64) (local $handle i64)
        (local.set $handle (call $alloc (i64.const 8)))
        (call $store_u64 (local.get $handle) (local.get $bytes))
        (local.get $handle))
    (func $out (param $handle i64)
        (call $output_set (local.get $handle) (call $length (local.get $handle))))"#;

/// "aaaaaaaa" as a block.
const A: &str = "(call $word (i64.const 0x6161616161616161))";

fn module(more: &str) -> Vec<u8> {
    let (imports, rest) = more.split_once("---").unwrap_or(("", more));
    format!("(module {imports} {PRELUDE} {rest})").into_bytes()
}

fn build(engine: &Engine, more: &str) -> Plugin {
    builder(engine, Manifest::new([module(more)]))
        .build()
        .unwrap()
}

fn builder(engine: &Engine, manifest: Manifest) -> PluginBuilder {
    PluginBuilder::of(manifest).with_engine(engine.clone())
}

fn failure(plugin: &mut Plugin, name: &str, input: &str) -> (i32, String) {
    match plugin.call::<_, Vec<u8>>(name, input) {
        Err(Error::Call(CallError { code, message, .. })) => (code, message),
        other => panic!("{other:?}"),
    }
}

#[test]
fn ends_of_calls_have_extisms_codes_and_texts() {
    for engine in engines() {
        let text = format!(
            r#"(import "wasi_snapshot_preview1" "proc_exit" (func $exit (param i32))) ---
                (memory (export "memory") 1)
                (func (export "echo") (call $out (call $input)))
                (func (export "code") (result i32) (call $out {A}) (i32.const 3))
                (func (export "error_and_0") (result i32) (call $error_set {A}) (i32.const 0))
                (func (export "error_and_5") (result i32) (call $error_set {A}) (i32.const 5))
                (func (export "error_and_trap") (call $error_set {A}) (unreachable))
                (func (export "withdrawn") (call $error_set {A}) (call $error_set (i64.const 0)))
                (func (export "trap") (unreachable))
                (func (export "exit_0") (call $out {A}) (call $exit (i32.const 0)))
                (func (export "exit_7") (call $exit (i32.const 7)))
                (func (export "exit_500") (call $exit (i32.const 500)))
                (func (export "exit_-1") (call $exit (i32.const -1)))
                (func (export "number") (result i64) (i64.const 1))
                (func (export "takes") (param i32))"#
        );
        let mut plugin = builder(&engine, Manifest::new([module(&text)]))
            .with_wasi(true)
            .build()
            .unwrap();
        assert_eq!(plugin.call::<_, String>("echo", "hello").unwrap(), "hello");
        let mut fails = |name: &str| failure(&mut plugin, name, "");
        for (name, code, text) in [
            ("code", 3, "Returned non-zero exit code: 3"),
            ("error_and_0", 0, "aaaaaaaa"),
            ("error_and_5", 5, "aaaaaaaa"),
            ("error_and_trap", -1, "aaaaaaaa"),
            ("exit_7", 7, "exit 7"),
            ("exit_500", 500, "exit 500"),
            ("exit_-1", -1, "exit -1"),
            ("number", -1, "Returned non-zero exit code: -1"),
            ("none", -1, "Function not found: none"),
            ("takes", -1, "Function not found: takes"),
        ] {
            assert_eq!(fails(name), (code, text.to_owned()), "{name}");
        }
        assert_eq!(fails("trap").0, 134);
        plugin.call::<_, ()>("withdrawn", "").unwrap();
        assert_eq!(plugin.call::<_, String>("exit_0", "").unwrap(), "aaaaaaaa");
        // The code is no error here.
        assert_eq!(
            plugin.call_get_error_code::<_, String>("code", "").unwrap(),
            "aaaaaaaa"
        );
        let (_, code) = plugin
            .call_get_error_code::<_, String>("error_and_5", "")
            .unwrap_err();
        assert_eq!(code, 5);
        assert!(plugin.function_exists("echo") && plugin.function_exists("code"));
        assert!(!plugin.function_exists("none") && !plugin.function_exists("takes"));
    }
}

#[test]
fn wrong_handles_are_named() {
    let text = format!(
        r#"(func (export "config") (drop (call $config_get (i64.const 4711))))
        (func (export "var") (drop (call $var_get (i64.const -1))))
        (func (export "set") (call $var_set (i64.const 1) {A}))
        (func (export "value") (call $var_set {A} (i64.const 7)))
        (func (export "request") (drop (call $http (i64.const 5) (i64.const 0))))
        (func (export "body") (drop (call $http {A} (i64.const 5))))
        (func (export "log") (call $log_warn (i64.const 9)))
        (func (export "below") (call $log_info (i64.const 9)))"#
    );
    for engine in engines() {
        let builder = builder(&engine, Manifest::new([module(&text)]));
        let mut plugin = builder.with_log_level(LogLevel::Warn).build().unwrap();
        for (name, what) in [
            ("config", "config key: 4711"),
            ("var", "var key: 18446744073709551615"),
            ("set", "var key: 1"),
            ("value", "var value: 7"),
            ("request", "http request: 5"),
            ("body", "http request body: 5"),
            ("log", "log message: 9"),
        ] {
            let expected = (-1, format!("invalid handle offset for {what}"));
            assert_eq!(failure(&mut plugin, name, ""), expected);
        }
        // A line that is not asked for is not looked at.
        plugin.call::<_, ()>("below", "").unwrap();
    }
}

#[test]
fn wasi_is_refused_unless_it_is_allowed() {
    let text = r#"(module (import "wasi_snapshot_preview1" "proc_exit" (func (param i32))))"#;
    for engine in engines() {
        let with = |wasi| {
            builder(&engine, Manifest::new([text.as_bytes()]))
                .with_wasi(wasi)
                .build()
        };
        let refused = with(false).unwrap_err();
        assert_eq!(
            refused.to_string(),
            "unknown import: `wasi_snapshot_preview1::proc_exit` has not been defined"
        );
        with(true).unwrap();
    }
}

#[test]
fn configuration_can_be_changed_between_calls() {
    let text = format!(r#"(func (export "get") (call $out (call $config_get {A})))"#);
    for engine in engines() {
        let manifest = Manifest::new([module(&text)]).with_config_key("aaaaaaaa", "hello");
        let mut plugin = builder(&engine, manifest).build().unwrap();
        let mut get = |value: Option<Option<&str>>| {
            if let Some(value) = value {
                plugin.set_config("aaaaaaaa", value.map(str::to_owned));
            }
            plugin.call::<_, String>("get", "").unwrap()
        };
        assert_eq!(get(None), "hello");
        assert_eq!(get(Some(Some("bye"))), "bye");
        assert_eq!(get(Some(None)), "");
    }
}

#[test]
fn variables_outlive_traps_and_are_the_programs_too() {
    // Doubles the variable, as `TestVar` does.
    let text = format!(
        r#"(func (export "double") (local $value i64)
            (local.set $value (call $load_u64 (call $var_get {A})))
            (call $var_set {A} (call $word (i64.add (local.get $value) (local.get $value))))
            (call $out (call $var_get {A})))
        (func (export "trap") (unreachable))
        (func (export "_start"))
        (func (export "large") (call $var_set {A} (call $alloc (i64.const 1048000))))"#
    );
    for engine in engines() {
        let mut plugin = builder(&engine, Manifest::new([module(&text)]))
            .build()
            .unwrap();
        plugin.set_var("aaaaaaaa", &10_u64.to_le_bytes()).unwrap();
        assert_eq!(plugin.call::<_, u64>("double", "").unwrap(), 20);
        assert_eq!(failure(&mut plugin, "trap", "").0, 134);
        assert_eq!(plugin.call::<_, u64>("double", "").unwrap(), 40);
        assert_eq!(plugin.var("aaaaaaaa").unwrap(), 40_u64.to_le_bytes());
        for _ in 0..100 {
            plugin.call::<_, ()>("large", "").unwrap();
        }
        // A command leaves nothing behind.
        plugin.call::<_, ()>("_start", "").unwrap();
        plugin.call::<_, ()>("_start", "").unwrap();
        assert_eq!(plugin.var("aaaaaaaa"), None);

        let mut manifest = Manifest::new([module(&text)]);
        manifest.memory = manifest.memory.with_max_var_bytes(0);
        let mut plugin = builder(&engine, manifest).build().unwrap();
        assert_eq!(
            failure(&mut plugin, "large", ""),
            (-1, "Vars are disabled by this host".into())
        );
        assert_eq!(plugin.set_var("a", b""), Err(VarError::Disabled));
    }
}

const SHOUT: &str = r#"(import "extism:host/user" "shout" (func $shout (param i64) (result i64)))
    ---
    (func (export "greet") (call $out (call $shout (call $input))))"#;

fn shout(seen: UserData<Vec<String>>) -> Function {
    Function::new(
        "shout",
        [PTR],
        [PTR],
        seen,
        |plugin, arguments, results, seen| {
            let text: String = plugin.memory_get_val(&arguments[0])?;
            match text.as_str() {
                "fail" => return Err("on purpose".into()),
                "panic" => panic!("a panic of the host"),
                "wild" => drop(plugin.memory_get::<String>(4711)?),
                "context" => {
                    let context = plugin.host_context::<String>().ok_or("no context")?;
                    return plugin.memory_set_val(&mut results[0], context.as_str());
                }
                _ => {}
            }
            seen.get().lock().unwrap().push(text.clone());
            let first = plugin.memory_new("unused")?;
            assert_eq!(plugin.memory_length(first), 6);
            plugin.memory_set_val(&mut results[0], text.to_uppercase())
        },
    )
}

#[test]
fn functions_of_the_host_read_and_make_blocks() {
    for engine in engines() {
        let seen = UserData::new(Vec::new());
        let manifest = Manifest::new([module(SHOUT)]);
        let mut plugin = builder(&engine, manifest)
            .with_functions([shout(seen.clone())])
            .build()
            .unwrap();
        for text in ["hello", "", "a", &"x".repeat(100_000)] {
            assert_eq!(
                plugin.call::<_, String>("greet", text).unwrap(),
                text.to_uppercase()
            );
        }
        assert_eq!(seen.get().lock().unwrap().len(), 4);
        assert_eq!(
            failure(&mut plugin, "greet", "fail"),
            (-1, "on purpose".into())
        );
        assert!(failure(&mut plugin, "greet", "wild").1.contains("4711"));
        let with: String = plugin
            .call_with_host_context("greet", "context", "hi".to_owned())
            .unwrap();
        assert_eq!(with, "hi");
        assert_eq!(
            failure(&mut plugin, "greet", "context"),
            (-1, "no context".into())
        );
        let panicked = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            plugin
                .call::<_, String>("greet", "panic")
                .map_err(|error| error.to_string())
        }));
        assert!(panicked.is_err(), "it reaches the caller");
        assert_eq!(plugin.call::<_, String>("greet", "again").unwrap(), "AGAIN");
        // The context of a call that has panicked is not the next one's.
        let panicked = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            let called =
                plugin.call_with_host_context::<_, String, _>("greet", "panic", "old".to_owned());
            called.map_err(|error| error.to_string())
        }));
        assert!(panicked.is_err());
        assert_eq!(
            failure(&mut plugin, "greet", "context"),
            (-1, "no context".into())
        );
        let answer = pollster::block_on(plugin.call_async::<_, String>("greet", "later"));
        assert_eq!(answer.unwrap(), "LATER");
    }
}

#[test]
fn a_function_that_is_not_there_is_refused_when_building() {
    for engine in engines() {
        let with = |functions: Vec<Function>| {
            let manifest = Manifest::new([module(SHOUT)]);
            builder(&engine, manifest)
                .with_functions(functions)
                .build()
                .map(drop)
        };
        let refused = with(vec![]).unwrap_err().to_string();
        assert_eq!(
            refused,
            "unknown import: `extism:host/user::shout` has not been defined"
        );
        let elsewhere = shout(UserData::default()).with_namespace("other");
        assert!(matches!(
            with(vec![elsewhere]),
            Err(Error::UnknownImport { .. })
        ));
        let other = Function::new(
            "shout",
            [ValType::I32],
            [PTR],
            UserData::new(()),
            |_, _, _, _| Ok(()),
        );
        assert!(matches!(with(vec![other]), Err(Error::OtherType { .. })));
        with(vec![shout(UserData::default())]).unwrap();
    }
}

#[test]
fn numbers_pass_as_they_are() {
    let text = r#"(import "m" "mix" (func $mix (param i32 i64 f32 f64) (result f64)))
        ---
        (func (export "run") (result i32)
            (f64.eq (f64.const -2.5)
                (call $mix (i32.const -1) (i64.const -2) (f32.const 0.5) (f64.const -0.25))))"#;
    for engine in engines() {
        let params = [ValType::I32, ValType::I64, ValType::F32, ValType::F64];
        let mix = Function::new(
            "mix",
            params,
            [ValType::F64],
            UserData::new(()),
            |_, arguments, results, _| {
                let expected = [
                    Val::I32(-1),
                    Val::I64(-2),
                    Val::F32(0.5_f32.to_bits()),
                    Val::F64((-0.25_f64).to_bits()),
                ];
                assert_eq!(arguments, expected);
                results[0] = Val::F64((-2.5_f64).to_bits());
                Ok(())
            },
        );
        let manifest = Manifest::new([module(text)]);
        let mut plugin = builder(&engine, manifest)
            .with_functions([mix.with_namespace("m")])
            .build()
            .unwrap();
        assert_eq!(failure(&mut plugin, "run", "").0, 1);
    }
}

#[test]
fn time_and_fuel_end_calls_and_a_cancelled_one_says_so() {
    let text = r#"(func (export "loop") (loop (br 0))) (func (export "good"))"#;
    for engine in engines() {
        let manifest = Manifest::new([module(text)]).with_timeout(Duration::from_millis(50));
        let mut plugin = builder(&engine, manifest).build().unwrap();
        // A handle that was used before the call has no effect on it.
        plugin.cancel_handle().cancel();
        for _ in 0..2 {
            assert_eq!(failure(&mut plugin, "loop", ""), (134, "timeout".into()));
            plugin.call::<_, ()>("good", "").unwrap();
        }

        let compiled = builder(&engine, Manifest::new([module(text)]))
            .compile()
            .unwrap();
        let (mut plugin, other) = (
            compiled.instantiate().unwrap(),
            compiled.instantiate().unwrap(),
        );
        let (handle, of_other) = (plugin.cancel_handle(), other.cancel_handle());
        drop(other);
        thread::scope(|scope| {
            let looping = scope.spawn(|| failure(&mut plugin, "loop", ""));
            // The call may not have begun when it is cancelled first.
            while !looping.is_finished() {
                of_other.cancel();
                handle.cancel();
                thread::sleep(Duration::from_millis(1));
            }
            assert_eq!(looping.join().unwrap(), (134, "cancelled".into()));
        });
        plugin.call::<_, ()>("good", "").unwrap();

        let mut plugin = builder(&engine, Manifest::new([module(text)]))
            .with_fuel_limit(10_000)
            .build()
            .unwrap();
        assert_eq!(
            failure(&mut plugin, "loop", ""),
            (-1, "plugin ran out of fuel".into())
        );
        plugin.call::<_, ()>("good", "").unwrap();
    }
}

#[test]
fn memory_is_limited_in_sum() {
    let text = r#"(memory (export "memory") 2)
        (func (export "grow") (if (i32.eq (i32.const -1) (memory.grow (i32.const 20))) (then (unreachable))))
        (func (export "alloc") (if (i64.eqz (call $alloc (i64.const 2000000))) (then (unreachable))))"#;
    for engine in engines() {
        let with = |pages| {
            builder(
                &engine,
                Manifest::new([module(text)]).with_memory_max(pages),
            )
            .build()
        };
        assert!(matches!(with(1), Err(Error::Memory { pages: 2, limit: 1 })));
        let mut plugin = with(3).unwrap();
        for name in ["grow", "alloc"] {
            assert_eq!(
                failure(&mut plugin, name, ""),
                (134, "oom".into()),
                "{name}"
            );
        }
        let mut plugin = with(100).unwrap();
        for name in ["grow", "alloc"] {
            plugin.call::<_, ()>(name, "").unwrap();
        }
    }
}

#[test]
fn log_lines_go_to_the_plugins_own_sink() {
    let text = format!(r#"(func (export "log") (call $log_warn {A}) (call $log_info {A}))"#);
    for engine in engines() {
        for (level, lines) in [
            (LogLevel::Info, 2),
            (LogLevel::Warn, 1),
            (LogLevel::Error, 0),
        ] {
            let seen = Arc::new(Mutex::new(Vec::new()));
            let sink = seen.clone();
            let mut plugin = builder(&engine, Manifest::new([module(&text)]))
                .with_log_level(level)
                .with_log_sink(move |level, text| {
                    sink.lock().unwrap().push((level, text.to_owned()))
                })
                .build()
                .unwrap();
            plugin.call::<_, ()>("log", "").unwrap();
            let seen = seen.lock().unwrap();
            assert_eq!(seen.len(), lines);
            assert!(seen.iter().all(|(_, text)| text == "aaaaaaaa"));
        }
    }
}

#[test]
fn modules_are_linked_by_name_and_shadow_the_hosts() {
    let library = r#"(module
        (import "extism:host/env" "alloc" (func $alloc (param i64) (result i64)))
        (import "extism:host/env" "store_u64" (func $store_u64 (param i64 i64)))
        (func (export "shout") (param i64) (result i64) (local $block i64)
            (local.set $block (call $alloc (i64.const 8)))
            (call $store_u64 (local.get $block) (i64.const 0x6d6f7266206d6f72))
            (local.get $block)))"#;
    for engine in engines() {
        let manifest = Manifest::new([
            Wasm::data(library).with_name("extism:host/user"),
            Wasm::data(module(SHOUT)).with_name("main"),
        ]);
        let mut plugin = builder(&engine, manifest).build().unwrap();
        assert_eq!(plugin.call::<_, String>("greet", "x").unwrap(), "rom from");
    }
}

#[test]
fn wasi_uses_the_memory_of_the_library_that_calls_it() {
    // Each fills 64 bytes of its own memory with random ones, and says whether they are no zeros any more.
    let unit = |imports: &str, functions: &str| {
        let text = format!(
            r#"(module {imports}
            (import "wasi_snapshot_preview1" "random_get" (func $random (param i32 i32) (result i32)))
            (memory (export "memory") 1)
            (func $is_filled (export "is_filled") (result i32)
                (i64.ne (i64.const 0) (i64.or (i64.load (i32.const 0)) (i64.load (i32.const 8)))))
            (func $fill (export "fill") (if (call $random (i32.const 0) (i32.const 64)) (then (unreachable))))
            {functions})"#
        );
        Wasm::data(text.into_bytes())
    };
    let imports = r#"
        (import "a" "fill" (func $fill_a)) (import "a" "is_filled" (func $a (result i32)))
        (import "b" "fill" (func $fill_b)) (import "b" "is_filled" (func $b (result i32)))"#;
    let functions = r#"
        (func (export "none") (result i32) (call $are (i32.const 0)))
        (func (export "second") (result i32) (call $fill_b) (call $are (i32.const 2)))
        (func (export "all") (result i32)
            (call $fill) (call $fill_a) (call $fill_b) (call $are (i32.const 7)))
        (func $are (param i32) (result i32) (i32.ne (local.get 0) (i32.or (i32.or
            (call $a) (i32.shl (call $b) (i32.const 1))) (i32.shl (call $is_filled) (i32.const 2)))))"#;
    for engine in engines() {
        let modules = [
            unit("", "").with_name("a"),
            unit("", "").with_name("b"),
            unit(imports, functions).with_name("main"),
        ];
        let builder = builder(&engine, Manifest::new(modules)).with_wasi(true);
        for name in ["none", "second", "all"] {
            let mut plugin = builder.clone().build().unwrap();
            plugin.call::<_, ()>(name, "").unwrap();
            let mut plugin = builder.clone().build().unwrap();
            pollster::block_on(plugin.call_async::<_, ()>(name, "")).unwrap();
        }
    }
}

#[test]
fn a_library_that_is_a_command_is_as_new_in_each_call() {
    // Counts in a global, in its memory, and in its table. As a command it finds its memory small in each call.
    let library = |start: &str| {
        let grows = match start {
            "_start" => {
                "(if (i32.ne (memory.grow (i32.const 1000)) (i32.const 1)) (then (unreachable)))
                (if (i32.ne (memory.size) (i32.const 1001)) (then (unreachable)))
                (if (i32.ne (memory.grow (i32.const -1)) (i32.const -1)) (then (unreachable)))
                (if (i32.load (i32.const 65532000)) (then (unreachable)))
                (i32.store (i32.const 65532000) (i32.const 1))"
            }
            _ => "",
        };
        let text = format!(
            r#"(module
            (memory 1) (data (i32.const 8) "\01") (table 1 funcref) (elem (i32.const 0) $begin)
            (global $count (mut i32) (i32.const 0))
            (func $begin (export "{start}")
                (global.set $count (i32.add (global.get $count) (i32.const 1)))
                (i32.store8 (i32.const 8) (i32.mul (i32.load8_u (i32.const 8)) (i32.const 2)))
                (table.set (i32.const 0) (ref.null func)))
            (start $begin)
            (func (export "count") (result i32) {grows}
                (if (i32.eqz (ref.is_null (table.get (i32.const 0)))) (then (unreachable)))
                (i32.add (global.get $count) (i32.shl (i32.load8_u (i32.const 8)) (i32.const 8)))))"#
        );
        Wasm::data(text.into_bytes()).with_name("library")
    };
    let main = |start: &str| {
        module(&format!(
            r#"(import "library" "{start}" (func $start))
            (import "library" "count" (func $count (result i32))) ---
            (func (export "run")
                (call $start) (call $start) (call $start) (call $start)
                (call $out (call $word (i64.extend_i32_u (call $count)))))"#
        ))
    };
    for engine in engines() {
        for (start, counts) in [
            ("_start", [0x201; 8]),
            (
                "other",
                [0x2005, 0x0009, 0x000d, 0x11, 0x15, 0x19, 0x1d, 0x21],
            ),
        ] {
            let modules = [library(start), Wasm::data(main(start)).with_name("main")];
            let mut plugin = builder(&engine, Manifest::new(modules)).build().unwrap();
            for count in counts {
                assert_eq!(plugin.call::<_, u64>("run", "").unwrap(), count, "{start}");
            }
        }
    }
}

/// `EXTISM_SWAPS=1000 cargo test --test plugins -- swaps` runs it in full.
#[test]
fn the_host_below_swaps_plugins_under_load() {
    let swaps = std::env::var("EXTISM_SWAPS").map_or(20, |swaps| swaps.parse().unwrap());
    let text = |word: &str| {
        let count = "(call $var_set (call $input) (call $word (i64.const 1)))";
        module(&format!(
            r#"(import "m" "f" (func $f (param i64) (result i64))) ---
            (func (export "run") {count} (call $out (call $f (call $word (i64.const {word})))))"#
        ))
    };
    let identity = Function::new(
        "f",
        [PTR],
        [PTR],
        UserData::new(()),
        |plugin, arguments, results, _| {
            let word: Vec<u8> = plugin.memory_get_val(&arguments[0])?;
            plugin.memory_set_val(&mut results[0], word)
        },
    );
    for engine in engines() {
        let manifest = Manifest::new([text("0x31")]);
        let plugin = builder(&engine, manifest)
            .with_functions([identity.clone().with_namespace("m")])
            .with_host(|host| host.max_instances(2))
            .build()
            .unwrap();
        let (host, ends) = (plugin.host(), AtomicBool::new(false));
        let calls: u64 = thread::scope(|scope| {
            let callers = [0; 2].map(|_| {
                scope.spawn(|| {
                    let mut calls = 0;
                    while !ends.load(Relaxed) {
                        let answer = host.call("run", b"variable").unwrap();
                        assert!(answer[0] == b'1' || answer[0] == b'2');
                        calls += 1;
                    }
                    calls
                })
            });
            for release in 0..swaps {
                let swapped = host.replace_module(&text(["0x31", "0x32"][release % 2]));
                // Callers end before this thread panics.
                if let Err(error) = swapped {
                    ends.store(true, Relaxed);
                    panic!("{error}");
                }
            }
            ends.store(true, Relaxed);
            callers.map(|caller| caller.join().unwrap()).iter().sum()
        });
        eprintln!("{swaps} swaps, {calls} calls, none failed");
        assert_eq!(host.call("run", b"variable").unwrap()[0], b'2');
        let other = module(r#"(import "m" "g" (func)) --- (func (export "run"))"#);
        assert!(
            host.replace_module(&other).is_err(),
            "an import that is not there"
        );
        assert_eq!(host.call("run", b"variable").unwrap()[0], b'2');
    }
}

#[test]
fn constructors_run_first_and_within_their_time() {
    let counts = r#"(global $seen (mut i64) (i64.const 0x30))
        (func (export "__wasm_call_ctors") (global.set $seen (i64.add (global.get $seen) (i64.const 1))))
        (func (export "_initialize") (global.set $seen (i64.add (global.get $seen) (i64.const 2))))
        (func (export "run") (call $out (call $word (global.get $seen))))"#;
    for engine in engines() {
        let mut plugin = build(&engine, counts);
        assert_eq!(plugin.call::<_, Vec<u8>>("run", "").unwrap()[0], b'1');
        let loops = module(r#"(func (export "_initialize") (loop (br 0)))"#);
        let mut limits = wapc_host::Limits::default();
        limits.start_timeout = Some(Duration::from_millis(50));
        let refused = builder(&engine, Manifest::new([loops]))
            .with_limits(limits)
            .build();
        assert!(matches!(refused, Err(Error::Build(_))), "{refused:?}");
    }
}

#[test]
fn constructors_have_fuel_of_their_own() {
    let loops = "(func $loop (local $i i32)
        (loop (br_if 0 (i32.lt_u (local.tee $i (i32.add (local.get $i) (i32.const 1))) (i32.const 100000)))))";
    let run = r#"(func (export "run") (call $loop))"#;
    for engine in engines() {
        let with = |module: &str, call: Option<u64>, initialization: Option<u64>| {
            let mut builder = builder(&engine, Manifest::new([module.as_bytes()]));
            if let Some(fuel) = call {
                builder = builder.with_fuel_limit(fuel);
            }
            if let Some(fuel) = initialization {
                builder = builder.with_initialization_fuel_limit(fuel);
            }
            builder.build()
        };
        // Reactors, start sections, and constructors.
        for begin in [
            r#"(func (export "_initialize") (call $loop))"#,
            r#"(func $begin (call $loop)) (start $begin)"#,
            r#"(func (export "__wasm_call_ctors") (call $loop))"#,
        ] {
            let module = format!("(module {loops} {begin} {run})");
            let refused = with(&module, Some(100_000_000), Some(100)).unwrap_err();
            let report = wapc_host::error::Report::new(&refused).to_string();
            assert!(report.contains("100 units of fuel"), "{report}");
            // Enough for it, and not for a call; and the other way round.
            let mut plugin = with(&module, Some(100), Some(100_000_000)).unwrap();
            assert_eq!(failure(&mut plugin, "run", "").1, "plugin ran out of fuel");
            let mut plugin = with(&module, Some(100_000_000), None).unwrap();
            plugin.call::<_, ()>("run", "").unwrap();
        }
        let refused = with("(module)", None, Some(1)).unwrap_err().to_string();
        assert_eq!(
            refused,
            "an initialization fuel limit requires a call fuel limit"
        );
    }
}

/// A server on the loopback that answers by the path.
fn serve(answer: impl Fn(&str) -> String + Send + 'static) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            let (mut request, mut byte) = (Vec::new(), [0]);
            while !request.ends_with(b"\r\n\r\n") && stream.read(&mut byte).unwrap_or(0) == 1 {
                request.push(byte[0]);
            }
            let request = String::from_utf8_lossy(&request).into_owned();
            let path = request.split(' ').nth(1).unwrap_or_default().to_owned();
            stream.write_all(answer(&path).as_bytes()).ok();
        }
    });
    address
}

#[test]
fn http_is_for_hosts_that_are_allowed() {
    let text = r#"
        (func (export "get") (result i32) (call $out (call $http (call $input) (i64.const 0))) (i32.const 0))
        (func (export "status") (drop (call $http (call $input) (i64.const 0)))
            (call $out (call $word (i64.extend_i32_u (call $status)))))
        (func (export "headers") (drop (call $http (call $input) (i64.const 0))) (call $out (call $headers)))"#;
    let address = serve(|path| {
        match path {
        "/away" => "HTTP/1.1 302 Found\r\nLocation: http://b.test/\r\nContent-Length: 0\r\nConnection: close\r\n\r\n".into(),
        "/none" => "HTTP/1.1 404 None\r\nContent-Length: 0\r\nConnection: close\r\n\r\n".into(),
        _ => "HTTP/1.1 200 OK\r\nX-A: b\r\nContent-Length: 5\r\nConnection: close\r\n\r\nhello".into(),
    }
    });
    for engine in engines() {
        let client = HttpClient::with_lookup(
            AllowedHosts::new(["a.test", "localhost"]).unwrap(),
            move |_, _| Ok(vec![address]),
        );
        let manifest = Manifest::new([module(text)]);
        let mut plugin = builder(&engine, manifest)
            .with_http_client(client)
            .build()
            .unwrap();
        let of = |path: &str| format!(r#"{{"url":"http://a.test{path}"}}"#);
        assert_eq!(plugin.call::<_, String>("get", of("/")).unwrap(), "hello");
        assert_eq!(plugin.call::<_, u64>("status", of("/none")).unwrap(), 404);
        assert_eq!(plugin.call::<_, String>("headers", of("/")).unwrap(), "");
        plugin.allow_http_response_headers(true);
        assert!(
            plugin
                .call::<_, String>("headers", of("/"))
                .unwrap()
                .contains(r#""x-a":"b""#)
        );
        let denied = |url: &str| (-1, format!("HTTP request to {url} is not allowed"));
        assert_eq!(
            failure(&mut plugin, "get", &of("/away")),
            denied("http://b.test/")
        );
        assert_eq!(
            failure(&mut plugin, "get", r#"{"url":"http://c.test/"}"#),
            denied("http://c.test/")
        );
        assert_eq!(
            failure(&mut plugin, "get", r#"{"url":"x"}"#),
            (-1, "Invalid URL: x".into())
        );
        assert_eq!(failure(&mut plugin, "get", r#"{"url":"x","more":1}"#).0, -1);
        // A manifest without hosts allows none.
        let mut plugin = build(&engine, text);
        assert_eq!(
            failure(&mut plugin, "get", &of("/")),
            denied("http://a.test/")
        );
    }
}

#[test]
fn requests_have_a_method_and_a_body_and_modules_come_by_url() {
    for engine in engines() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}/x", listener.local_addr().unwrap());
        let plugin = module(&format!(
            r#"(func (export "post") (call $out (call $http (call $input) {A})))"#
        ));
        let served = plugin.clone();
        let server = thread::spawn(move || {
            // The module, and then what the plugin sends.
            let mut requests = Vec::new();
            for answer in [&*served, b"hello"] {
                let mut stream = listener.accept().unwrap().0;
                let (mut request, mut byte) = (Vec::new(), [0]);
                let ends = [&b"\r\n\r\n"[..], b"aaaaaaaa"];
                while !request.ends_with(ends[requests.len()]) {
                    stream.read_exact(&mut byte).unwrap();
                    request.push(byte[0]);
                }
                let length = answer.len();
                let head = format!(
                    "HTTP/1.1 200 OK\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n"
                );
                stream
                    .write_all(&[head.as_bytes(), answer].concat())
                    .unwrap();
                requests.push(String::from_utf8(request).unwrap());
            }
            requests
        });
        let client = || HttpClient::new(AllowedHosts::new(["127.0.0.1"]).unwrap());
        let mut plugin = builder(&engine, Manifest::new([Wasm::url(&url)]))
            .with_source_client(client())
            .with_http_client(client())
            .build()
            .unwrap();
        let request = format!(r#"{{"url": "{url}", "method": "POST", "headers": {{"a": "b"}}}}"#);
        assert_eq!(plugin.call::<_, String>("post", request).unwrap(), "hello");
        let requests = server.join().unwrap();
        assert!(requests[0].starts_with("GET /x"), "{requests:?}");
        assert!(requests[1].starts_with("POST /x"), "{requests:?}");
        assert!(
            requests[1].to_lowercase().contains("content-length: 8"),
            "{requests:?}"
        );
    }
}

#[test]
fn variables_beyond_their_limit_end_the_call() {
    let text = r#"(func (export "set") (call $var_set (call $input) (call $input)))"#;
    for engine in engines() {
        let mut manifest = Manifest::new([module(text)]);
        manifest.memory = manifest.memory.with_max_var_bytes(1);
        let mut plugin = builder(&engine, manifest).build().unwrap();
        let full = (-1, "Variable store is full".into());
        assert_eq!(failure(&mut plugin, "set", &"A".repeat(1024)), full);
        // An empty block removes the variable, which takes no room.
        plugin.call::<_, ()>("set", "").unwrap();
    }
}
