//! Host functions of the program's own: signatures, memory, limits, errors, blocking and async.

use std::{
    future::pending,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
    time::Duration,
};

use conformance::{
    Capability::{AnyModule, Async, Fuel, Time},
    Engine, SHORT, chain, pause,
};
use parking_lot::Mutex;
use wapc_host::{
    AsyncFunctionCall, CallOptions, CancelHandle, Error, HostFunctions, Limits, OwnedHostCall,
    WapcHost,
    error::{EngineError, FunctionError, LimitError, MemoryError, ModuleError},
};

use crate::{Case, async_calls::on_a_runtime};

pub(crate) fn cases() -> Vec<Case> {
    vec![
        Case::new("numbers", numbers),
        Case::new("every_type", every_type).needs(&[AnyModule]),
        Case::new("memory", memory),
        Case::new("growth_within_limits", growth_within_limits),
        Case::new("out_of_bounds", out_of_bounds),
        Case::new("errors", errors),
        Case::new("panics", panics),
        Case::new("wrong_types_are_refused", wrong_types_are_refused),
        Case::new("taken_names_are_refused", taken_names_are_refused),
        Case::new(
            "functions_of_env_are_replaced",
            functions_of_env_are_replaced,
        ),
        Case::new("missing_imports", missing_imports),
        Case::new("missing_memories", missing_memories).needs(&[AnyModule]),
        Case::new("calls_are_counted", calls_are_counted),
        Case::new("context_and_cancel", context_and_cancel).needs(&[Time]),
        Case::new("time", time).needs(&[Time]),
        Case::new("start_functions", start_functions),
        Case::new("swaps_keep_them", swaps_keep_them),
        Case::new("own_host", own_host),
        Case::new("wapc_memory_is_not_theirs", wapc_memory_is_not_theirs).needs(&[AnyModule]),
        Case::new("wapc_memory_on_demand", wapc_memory_on_demand).needs(&[AnyModule]),
        Case::new("fuel_goes_on", fuel_goes_on).needs(&[Fuel]),
        Case::new("async_in_blocking_calls", async_in_blocking_calls),
        Case::new("async_functions", async_functions).needs(&[Async]),
        Case::new("async_memory", async_memory).needs(&[Async]),
        Case::new("async_with_the_guest", async_with_the_guest).needs(&[Async, AnyModule]),
        Case::new("async_memory_from_a_task", async_memory_from_a_task).needs(&[Async]),
        Case::new("async_endless_access", async_endless_access).needs(&[Async, Time]),
        Case::new("async_time", async_time).needs(&[Async, Time]),
        Case::new("async_dropped", async_dropped).needs(&[Async]),
        Case::new("async_panics", async_panics).needs(&[Async]),
        Case::new("async_start", async_start).needs(&[Async, AnyModule]),
        Case::new("async_after_blocking", async_after_blocking).needs(&[Async]),
    ]
}

/// A guest that calls `env.f` with two numbers, and responds with the byte of the result at 0.
const TWO: &str = r#"(module
    (import "env" "f" (func $f (param i32 i32) (result i32)))
    (import "wapc" "__guest_request" (func $request (param i32 i32)))
    (import "wapc" "__guest_response" (func $respond (param i32 i32)))
    (memory (export "memory") 1)
    (func (export "__guest_call") (param i32 i32) (result i32)
        (call $request (i32.const 0) (i32.const 16))
        (i32.store (i32.const 0) (call $f (i32.const 16) (local.get 1)))
        (call $respond (i32.const 0) (i32.const 4))
        (i32.const 1)))"#;

/// A guest that passes its payload to `env.f`, and responds with what is there afterwards.
const IN_PLACE: &str = r#"(module
    (import "env" "f" (func $f (param i32 i32)))
    (import "wapc" "__guest_request" (func $request (param i32 i32)))
    (import "wapc" "__guest_response" (func $respond (param i32 i32)))
    (memory (export "memory") 1)
    (func (export "__guest_call") (param i32 i32) (result i32)
        (call $request (i32.const 0) (i32.const 16))
        (call $f (i32.const 16) (local.get 1))
        (call $respond (i32.const 16) (local.get 1))
        (i32.const 1)))"#;

fn host_of(engine: &Engine, module: &str, functions: HostFunctions) -> WapcHost {
    limited(engine, module, functions, Limits::default())
}

fn limited(engine: &Engine, module: &str, functions: HostFunctions, limits: Limits) -> WapcHost {
    let provider = engine
        .with_functions(module.as_bytes(), functions)
        .unwrap_or_else(|error| panic!("{}", chain(&error)));
    WapcHost::builder(provider)
        .limits(engine.enforceable(limits))
        .build(|_, _, _, _, payload| Ok(payload.to_vec()))
        .unwrap_or_else(|error| panic!("{}", chain(&error)))
}

fn function_error(error: &Error) -> &FunctionError {
    match error {
        Error::Function { source, .. } => source,
        other => panic!("{}", chain(other)),
    }
}

fn numbers(engine: &Engine) {
    let add = HostFunctions::new().function("env", "f", |_, (a, b): (i32, i32)| Ok(a * 1000 + b));
    let host = host_of(engine, TWO, add);
    for _ in 0..3 {
        assert_eq!(
            host.call("f", b"12345").expect("it succeeds"),
            16_005_i32.to_le_bytes()
        );
    }
    // Unsigned numbers are the same bits.
    let least = HostFunctions::new().function("env", "f", |_, (_, _): (u32, u32)| Ok(u32::MAX));
    assert_eq!(
        host_of(engine, TWO, least)
            .call("f", b"")
            .expect("it succeeds"),
        [0xff; 4]
    );
}

fn every_type(engine: &Engine) {
    let module = r#"(module
        (import "lib" "mix" (func $mix
            (param i32 i64 f32 f64 i32 i64 f32 f64 i32 i64) (result f64 f32 i64 i32)))
        (import "lib" "nothing" (func $nothing))
        (import "lib" "many" (func $many (result i64)))
        (import "wapc" "__guest_response" (func $respond (param i32 i32)))
        (memory (export "memory") 1)
        (func (export "__guest_call") (param i32 i32) (result i32)
            (local $a f64) (local $b f32) (local $c i64) (local $d i32)
            (call $nothing)
            (call $mix (i32.const -1) (i64.const -2) (f32.const 1.5) (f64.const -0x1p-1074)
                (i32.const 5) (i64.const 0x7fffffffffffffff) (f32.const inf) (f64.const nan)
                (i32.const 0x80000000) (i64.const 10))
            (local.set $d) (local.set $c) (local.set $b) (local.set $a)
            (f64.store (i32.const 0) (local.get $a))
            (f32.store (i32.const 8) (local.get $b))
            (i64.store (i32.const 12) (local.get $c))
            (i32.store (i32.const 20) (local.get $d))
            (i64.store (i32.const 24) (call $many))
            (call $respond (i32.const 0) (i32.const 32))
            (i32.const 1)))"#;
    type Ten = (i32, i64, f32, f64, u32, u64, f32, f64, u32, i64);
    let functions = HostFunctions::new()
        .function("lib", "nothing", |_, ()| Ok(()))
        .function("lib", "many", |_, ()| Ok(u64::MAX))
        .function("lib", "mix", |_, numbers: Ten| {
            let (a, b, c, d, e, f, g, h, i, j) = numbers;
            assert_eq!((a, b, c, d), (-1, -2, 1.5, -f64::from_bits(1)));
            assert_eq!(
                (e, f, g, i, j),
                (5, i64::MAX as u64, f32::INFINITY, 1 << 31, 10)
            );
            assert!(h.is_nan());
            Ok((0.25_f64, -0.0_f32, i64::MIN, 7_i32))
        });
    let answer = host_of(engine, module, functions)
        .call("mix", b"")
        .expect("it succeeds");
    let expected = [
        &0.25_f64.to_le_bytes()[..],
        &(-0.0_f32).to_le_bytes(),
        &i64::MIN.to_le_bytes(),
        &7_i32.to_le_bytes(),
        &u64::MAX.to_le_bytes(),
    ]
    .concat();
    assert_eq!(answer, expected);
}

fn memory(engine: &Engine) {
    let upper = HostFunctions::new().function("env", "f", |call, (pointer, length): (u32, u32)| {
        let text = call.read(pointer, length)?.to_ascii_uppercase();
        call.write(pointer, &text)?;
        assert_eq!(call.read_mut(pointer, length)?, text);
        assert_eq!(call.memory().len(), 65_536);
        assert_eq!(
            call.read(u32::MAX, 0)?,
            b"",
            "an empty range may be anywhere"
        );
        Ok(())
    });
    assert_eq!(
        host_of(engine, IN_PLACE, upper)
            .call("f", b"hello")
            .expect("it succeeds"),
        b"HELLO"
    );
}

fn growth_within_limits(engine: &Engine) {
    let grow = HostFunctions::new().function("env", "f", |call, (_, pages): (u32, u32)| {
        let before = call.grow_memory(pages);
        assert_eq!(
            call.memory().len(),
            (1 + before.map_or(0, |_| pages as usize)) << 16
        );
        Ok(before.unwrap_or(99))
    });
    let limits = Limits::default().max_memory_bytes(4 << 16);
    let host = limited(engine, TWO, grow, limits);
    // Four pages would be five in all.
    assert_eq!(
        host.call("grow", b"1234").expect("it succeeds"),
        [99, 0, 0, 0]
    );
    assert_eq!(
        host.call("grow", b"123").expect("it succeeds"),
        [1, 0, 0, 0]
    );
}

fn out_of_bounds(engine: &Engine) {
    for (pointer, length) in [
        (65_530_u32, 7_u32),
        (u32::MAX, 1),
        (1, u32::MAX),
        (65_537, 1),
    ] {
        let reads = HostFunctions::new().function("env", "f", move |call, (_, _): (u32, u32)| {
            call.read(pointer, length)?;
            Ok(())
        });
        let error = host_of(engine, IN_PLACE, reads)
            .call("read", b"")
            .expect_err("it fails");
        let expected = FunctionError::OutOfBounds {
            module: "env".into(),
            name: "f".into(),
            pointer,
            length: length as usize,
            memory: 65_536,
        };
        // Its variant is not exhaustive, so that its text is compared.
        assert_eq!(function_error(&error).to_string(), expected.to_string());
    }
    let writes = HostFunctions::new().function("env", "f", |call, (_, _): (u32, u32)| {
        Ok(call.write(65_535, b"ab")?)
    });
    let error = host_of(engine, IN_PLACE, writes)
        .call("write", b"")
        .expect_err("it fails");
    assert!(matches!(
        function_error(&error),
        FunctionError::OutOfBounds { .. }
    ));
}

fn errors(engine: &Engine) {
    let calls = Arc::new(AtomicU32::new(0));
    let counted = Arc::clone(&calls);
    let fails =
        HostFunctions::new().function("env", "f", move |_, (_, _): (i32, i32)| {
            match counted.fetch_add(1, Ordering::Relaxed) {
                0 => Err("no such colour".into()),
                _ => Ok(()),
            }
        });
    let host = host_of(engine, IN_PLACE, fails);
    let error = host.call("f", b"red").expect_err("it fails");
    assert_eq!(
        chain(&error),
        "a host function ended the guest in operation `f`: \
         the host function `env.f` failed: no such colour"
    );
    assert_eq!(
        host.call("f", b"red").expect("it succeeds"),
        b"red",
        "another instance"
    );
}

fn panics(engine: &Engine) {
    let fails = HostFunctions::new().function("env", "f", |_, (_, length): (u32, u32)| {
        assert_ne!(length, 3, "three");
        Ok(())
    });
    let host = host_of(engine, IN_PLACE, fails);
    let panic = catch_unwind(AssertUnwindSafe(|| host.call("f", b"123"))).expect_err("it fails");
    assert!(
        panic
            .downcast_ref::<String>()
            .expect("a text")
            .contains("three")
    );
    assert_eq!(host.call("f", b"12").expect("it succeeds"), b"12");
}

fn wrong_types_are_refused(engine: &Engine) {
    let other = HostFunctions::new().function("env", "f", |_, (a, _): (i32, i64)| Ok(a));
    match engine.with_functions(TWO.as_bytes(), other).map(drop) {
        Err(ModuleError::ImportType {
            module,
            name,
            found,
            ..
        }) => {
            assert_eq!((module.as_str(), name.as_str()), ("env", "f"));
            assert_eq!(found, "a function (i32, i64) -> i32");
        }
        other => panic!("{other:?}"),
    }
    let none = HostFunctions::new().function("env", "g", |_, ()| Ok(()));
    let refused = engine.with_functions(TWO.as_bytes(), none).map(drop);
    assert!(
        matches!(refused, Err(ModuleError::UnknownImport { .. })),
        "{refused:?}"
    );
}

fn taken_names_are_refused(engine: &Engine) {
    for (module, name) in [
        ("wapc", "__host_call"),
        ("wasmbus", "__guest_request"),
        ("wasi_snapshot_preview1", "fd_write"),
        ("wasi_unstable", "proc_exit"),
    ] {
        let taken = HostFunctions::new()
            .function(module, name, |_, ()| Ok(()))
            .function("env", "f", |_, (a, _): (i32, i32)| Ok(a));
        match engine.with_functions(TWO.as_bytes(), taken).map(drop) {
            Err(ModuleError::NameTaken { module: found, .. }) => assert_eq!(found, module),
            other => panic!("{other:?}"),
        }
    }
}

fn functions_of_env_are_replaced(engine: &Engine) {
    let module = IN_PLACE.replace(
        "\"f\" (func $f (param i32 i32))",
        "\"abort\" (func $f (param i32 i32))",
    );
    let aborts = Arc::new(AtomicU32::new(0));
    let counted = Arc::clone(&aborts);
    let own = HostFunctions::new().function("env", "abort", move |_, (_, _): (i32, i32)| {
        counted.fetch_add(1, Ordering::Relaxed);
        Ok(())
    });
    assert_eq!(
        host_of(engine, &module, own)
            .call("f", b"1")
            .expect("it succeeds"),
        b"1"
    );
    assert_eq!(aborts.load(Ordering::Relaxed), 1);
}

fn missing_imports(engine: &Engine) {
    let module = TWO.replace(
        "(import \"wapc\" \"__guest_request\"",
        "(import \"else\" \"unused\" (func (param i32 i32 i32)))\n(import \"wapc\" \"__guest_request\"",
    );
    let some = HostFunctions::new().allow_missing_imports().function(
        "env",
        "f",
        |_, (_, length): (u32, u32)| Ok(length),
    );
    let host = host_of(engine, &module, some);
    assert_eq!(
        host.call("f", b"12").expect("it succeeds"),
        [2, 0, 0, 0],
        "one that is not called is no fault"
    );

    let none = HostFunctions::new().allow_missing_imports();
    let error = host_of(engine, &module, none)
        .call("f", b"12")
        .expect_err("it fails");
    assert_eq!(
        function_error(&error).to_string(),
        "the guest called `env.f`, which the host does not provide"
    );
}

fn missing_memories(engine: &Engine) {
    for import in ["(memory 1)", "(table 1 funcref)", "(global i32)"] {
        let module = format!(
            r#"(module (import "env" "thing" {import})
                (memory $own (export "memory") 1)
                (func (export "__guest_call") (param i32 i32) (result i32) (i32.const 1)))"#
        );
        let functions = HostFunctions::new().allow_missing_imports();
        let refused = engine
            .with_functions(module.as_bytes(), functions)
            .map(drop);
        assert!(
            matches!(refused, Err(ModuleError::UnknownImport { .. })),
            "{refused:?}"
        );
    }
    // What a function's type may be is no matter if nobody calls it.
    let module = br#"(module
        (import "env" "wide" (func (param v128 funcref i32 i32 i32 i32 i32 i32 i32 i32 i32 i32 i32)
            (result i32 i32 i32 i32 i32 i32 i32 i32 i32 i32 i32 externref)))
        (import "wapc" "__guest_response" (func $respond (param i32 i32)))
        (memory (export "memory") 1)
        (func $call (local v128)
            (call 0 (local.get 0) (ref.null func) (i32.const 0) (i32.const 0) (i32.const 0)
                (i32.const 0) (i32.const 0) (i32.const 0) (i32.const 0) (i32.const 0) (i32.const 0)
                (i32.const 0) (i32.const 0))
            (drop) (drop) (drop) (drop) (drop) (drop) (drop) (drop) (drop) (drop) (drop) (drop))
        (func (export "__guest_call") (param i32 i32) (result i32)
            (if (local.get 1) (then (call $call)))
            (call $respond (i32.const 0) (i32.const 0))
            (i32.const 1)))"#;
    let functions = HostFunctions::new().allow_missing_imports();
    let host = host_of(
        engine,
        str::from_utf8(module).expect("it succeeds"),
        functions,
    );
    assert_eq!(host.call("none", b"").expect("it succeeds"), b"");
    let error = host.call("some", b"x").expect_err("it fails");
    assert!(matches!(
        function_error(&error),
        FunctionError::Missing { .. }
    ));
}

fn calls_are_counted(engine: &Engine) {
    let module = IN_PLACE.replace(
        "(call $f (i32.const 16) (local.get 1))",
        "(loop $again (call $f (i32.const 16) (local.get 1)) (br $again))",
    );
    let nothing = HostFunctions::new().function("env", "f", |_, (_, _): (i32, i32)| Ok(()));
    let limits = Limits::default().max_host_calls(100);
    let error = limited(engine, &module, nothing, limits)
        .call("f", b"")
        .expect_err("it fails");
    match error {
        Error::Limit { source, .. } => assert_eq!(
            source.to_string(),
            LimitError::HostCalls { limit: 100 }.to_string()
        ),
        other => panic!("{}", chain(&other)),
    }
}

fn context_and_cancel(engine: &Engine) {
    let cancel = CancelHandle::new();
    let at_call = cancel.clone();
    let functions = HostFunctions::new().function("env", "f", move |call, (_, _): (i32, i32)| {
        let context = call.context::<String>().expect("a context");
        assert_eq!(*context, "tenant 7");
        assert!(call.context::<u32>().is_none());
        assert_eq!(call.trace(), Some("00-1-2-03"));
        assert!(call.host_id() > 0 && call.generation() == 1);
        assert!(call.time_left().is_some() && !call.is_cancelled());
        at_call.cancel();
        assert!(call.is_cancelled());
        Ok(())
    });
    let host = host_of(engine, IN_PLACE, functions);
    let options = CallOptions::default()
        .context(Arc::new(String::from("tenant 7")))
        .trace("00-1-2-03")
        .timeout(Duration::from_secs(60))
        .cancel(&cancel);
    let error = host.with(&options).call("f", b"").expect_err("it fails");
    assert!(
        matches!(error, Error::Cancelled { .. }),
        "{}",
        chain(&error)
    );
}

fn time(engine: &Engine) {
    let functions = HostFunctions::new().function("env", "f", |call, (_, _): (i32, i32)| {
        while call.time_left() != Some(Duration::ZERO) {
            std::thread::sleep(Duration::from_millis(2));
        }
        std::thread::sleep(Duration::from_millis(10));
        Ok(())
    });
    let limits = Limits::default().timeout(SHORT);
    let error = limited(engine, IN_PLACE, functions, limits)
        .call("f", b"")
        .expect_err("it fails");
    assert!(matches!(error, Error::TimedOut { .. }), "{}", chain(&error));
}

/// A guest that calls `env.f` while it starts, in its start section if so asked.
fn starting(in_section: bool) -> String {
    let start = match in_section {
        true => "(start $start)",
        false => "(export \"wapc_init\" (func $start))",
    };
    format!(
        r#"(module
        (import "env" "f" (func $f (param i32 i32)))
        (import "wapc" "__guest_response" (func $respond (param i32 i32)))
        (memory (export "memory") 1)
        (func $start (call $f (i32.const 8) (i32.const 2)))
        {start}
        (func (export "__guest_call") (param i32 i32) (result i32)
            (call $respond (i32.const 8) (i32.const 2))
            (i32.const 1)))"#
    )
}

fn start_functions(engine: &Engine) {
    for in_section in [false, true] {
        let writes = HostFunctions::new().function("env", "f", |call, (pointer, _): (u32, u32)| {
            Ok(call.write(pointer, b"ok")?)
        });
        let host = host_of(engine, &starting(in_section), writes);
        assert_eq!(host.call("f", b"").expect("it succeeds"), b"ok");

        let fails = HostFunctions::new().function("env", "f", |_, (_, _): (u32, u32)| {
            Err::<(), _>("not today".into())
        });
        let provider = engine
            .with_functions(starting(in_section).as_bytes(), fails)
            .expect("it succeeds");
        let error = WapcHost::builder(provider)
            .limits(engine.enforceable(Limits::default()))
            .build(|_, _, _, _, _| Ok(vec![]))
            .expect_err("it fails");
        assert!(
            matches!(&error, Error::Init(EngineError::Start { .. })),
            "{error:?}"
        );
        assert!(chain(&error).contains("not today"), "{}", chain(&error));
    }
}

fn swaps_keep_them(engine: &Engine) {
    let functions =
        HostFunctions::new().function("env", "f", |_, (_, length): (u32, u32)| Ok(length));
    let host = host_of(engine, TWO, functions);
    host.replace_module(TWO.replace("i32.const 16", "i32.const 32").as_bytes())
        .expect("it succeeds");
    assert_eq!(host.call("f", b"123").expect("it succeeds"), [3, 0, 0, 0]);
    let refused = host.replace_module(TWO.replace("\"f\"", "\"g\"").as_bytes());
    assert!(matches!(
        refused,
        Err(Error::Init(EngineError::Module(
            ModuleError::UnknownImport { .. }
        )))
    ));
    assert_eq!(host.call("f", b"1234").expect("it succeeds"), [4, 0, 0, 0]);
}

fn own_host(engine: &Engine) {
    let slot: Arc<Mutex<Option<Arc<WapcHost>>>> = Arc::default();
    let inside = Arc::clone(&slot);
    let functions = HostFunctions::new().function("env", "f", move |_, (_, _): (u32, u32)| {
        let host = inside.lock().clone().ok_or("no host")?;
        host.call("again", b"")?;
        Ok(())
    });
    let host = Arc::new(host_of(engine, IN_PLACE, functions));
    *slot.lock() = Some(Arc::clone(&host));
    let error = host.call("f", b"").expect_err("it fails");
    assert!(
        chain(&error).contains("from within one of its calls"),
        "{}",
        chain(&error)
    );
    slot.lock().take();
}

/// A guest with two memories, which calls `env.f` and responds with 5 bytes of waPC's.
const TWO_MEMORIES: &str = r#"(module
        (import "env" "f" (func $f))
        (import "wapc" "__guest_response" (func $respond (param i32 i32)))
        (memory (export "memory") 1)
        (memory $wapc (export "wapc:memory") 1)
        (data (memory 0) (i32.const 0) "guest")
        (data (memory $wapc) (i32.const 0) "wapc!")
        (func (export "__guest_call") (param i32 i32) (result i32)
            (call $f)
            (call $respond (i32.const 0) (i32.const 5))
            (i32.const 1)))"#;

fn wapc_memory_is_not_theirs(engine: &Engine) {
    let functions = HostFunctions::new().function("env", "f", |call, ()| {
        assert_eq!(call.read(0, 5)?, b"guest");
        Ok(call.write(0, b"other")?)
    });
    assert_eq!(
        host_of(engine, TWO_MEMORIES, functions)
            .call("f", b"")
            .expect("it succeeds"),
        b"wapc!"
    );
}

fn wapc_memory_on_demand(engine: &Engine) {
    let functions = HostFunctions::new()
        .function("env", "f", |call, ()| {
            assert_eq!(call.read(0, 5)?, b"wapc!");
            assert_eq!(call.grow_memory(1), Some(1));
            Ok(call.write(0, b"other")?)
        })
        .with_wapc_memory();
    assert_eq!(
        host_of(engine, TWO_MEMORIES, functions)
            .call("f", b"")
            .expect("it succeeds"),
        b"other"
    );
    // Of a guest with one memory it is that.
    let functions = HostFunctions::new()
        .function("env", "f", |call, (pointer, length): (u32, u32)| {
            call.read_mut(pointer, length)?.make_ascii_uppercase();
            Ok(())
        })
        .with_wapc_memory();
    assert_eq!(
        host_of(engine, IN_PLACE, functions)
            .call("f", b"text")
            .expect("it succeeds"),
        b"TEXT"
    );
}

fn async_with_the_guest(engine: &Engine) {
    let functions = HostFunctions::new()
        .async_function("env", "f", |call: AsyncFunctionCall, ()| async move {
            pause().await;
            let read = call.with(|call| {
                let text = call.read(0, 5)?.to_ascii_uppercase();
                call.write(0, &text)?;
                Ok::<_, MemoryError>(text)
            });
            assert_eq!(read.await??, b"WAPC!");
            // A panic is that of the function, whoever polls.
            let task = call.clone();
            let panicked = tokio::spawn(async move { task.with(|_| panic!("on purpose")).await });
            assert!(panicked.await.expect_err("a panic").is_panic());
            Ok(())
        })
        .with_wapc_memory();
    on_a_runtime(async {
        let host = async_host(engine, TWO_MEMORIES, functions, Limits::default()).await;
        assert_eq!(
            host.call_async("f", "").await.expect("it succeeds"),
            b"WAPC!"
        );
    });
}

fn fuel_goes_on(engine: &Engine) {
    let module = IN_PLACE.replace(
        "(call $f (i32.const 16) (local.get 1))",
        "(loop $again (call $f (i32.const 16) (local.get 1)) (br $again))",
    );
    let nothing = HostFunctions::new().function("env", "f", |_, (_, _): (i32, i32)| Ok(()));
    let limits = Limits::default().fuel(10_000);
    let error = limited(engine, &module, nothing, limits)
        .call("f", b"")
        .expect_err("it fails");
    assert!(
        matches!(
            error,
            Error::Limit {
                source: LimitError::Fuel { .. },
                ..
            }
        ),
        "{}",
        chain(&error)
    );
}

fn awaiting() -> HostFunctions {
    HostFunctions::new().async_function("env", "f", |_, (_, length): (u32, u32)| async move {
        pause().await;
        Ok(length + 1)
    })
}

fn async_in_blocking_calls(engine: &Engine) {
    let error = host_of(engine, TWO, awaiting())
        .call("f", b"")
        .expect_err("it fails");
    assert!(matches!(
        function_error(&error),
        FunctionError::Awaits { .. }
    ));
}

/// Builds a host whose callback is async.
async fn async_host(
    engine: &Engine,
    module: &str,
    functions: HostFunctions,
    limits: Limits,
) -> WapcHost {
    let provider = engine
        .with_functions(module.as_bytes(), functions)
        .unwrap_or_else(|error| panic!("{}", chain(&error)));
    WapcHost::builder(provider)
        .limits(limits)
        .build_async(async |call: OwnedHostCall| Ok(call.into_payload()))
        .await
        .unwrap_or_else(|error| panic!("{}", chain(&error)))
}

fn async_functions(engine: &Engine) {
    on_a_runtime(async {
        let host = async_host(engine, TWO, awaiting(), Limits::default()).await;
        for (payload, expected) in [("", 1), ("1", 2), ("22", 3)] {
            let answer = host.call_async("f", payload).await.expect("it succeeds");
            assert_eq!(answer, [expected, 0, 0, 0]);
        }
        // Blocking functions serve async calls, also beside a blocking callback.
        let blocking = HostFunctions::new().function("env", "f", |_, (_, b): (u32, u32)| Ok(b));
        let host = host_of(engine, TWO, blocking);
        assert_eq!(
            host.call_async("f", "22").await.expect("it succeeds"),
            [2, 0, 0, 0]
        );

        let fails =
            HostFunctions::new().async_function("env", "f", |_, (_, _): (u32, u32)| async {
                pause().await;
                Err::<u32, _>("no luck".into())
            });
        let host = async_host(engine, TWO, fails, Limits::default()).await;
        let error = host.call_async("f", "").await.expect_err("it fails");
        assert!(
            chain(&error).ends_with("`env.f` failed: no luck"),
            "{}",
            chain(&error)
        );
    });
}

fn async_memory(engine: &Engine) {
    let kept: Arc<Mutex<Option<AsyncFunctionCall>>> = Arc::default();
    let keep = Arc::clone(&kept);
    let functions = HostFunctions::new().async_function(
        "env",
        "f",
        move |call: AsyncFunctionCall, (pointer, length): (u32, u32)| {
            *keep.lock() = Some(call.clone());
            async move {
                let text = call.read(pointer, length).await?;
                pause().await;
                assert_eq!(call.grow_memory(1).await?, Some(1));
                call.write(pointer, text.to_ascii_uppercase()).await?;
                call.write(65_536 + 10, b"in the new page".to_vec()).await?;
                let outside = call.read(2 * 65_536 - 1, 2).await;
                assert!(matches!(
                    outside,
                    Err(MemoryError::OutOfBounds {
                        memory: 131_072,
                        ..
                    })
                ));
                let outside = call.write(u32::MAX, b"x".to_vec()).await;
                assert!(matches!(outside, Err(MemoryError::OutOfBounds { .. })));
                assert_eq!(call.grow_memory(10).await?, None);
                Ok(())
            }
        },
    );
    on_a_runtime(async {
        let limits = Limits::default().max_memory_bytes(3 << 16);
        let host = async_host(engine, IN_PLACE, functions, limits).await;
        assert_eq!(
            host.call_async("f", "hello").await.expect("it succeeds"),
            b"HELLO"
        );
        let call = kept.lock().take().expect("it succeeds");
        assert_eq!(call.read(0, 1).await, Err(MemoryError::Gone));
        assert_eq!(call.write(0, b"1".to_vec()).await, Err(MemoryError::Gone));
    });
}

fn async_memory_from_a_task(engine: &Engine) {
    let functions = HostFunctions::new().async_function(
        "env",
        "f",
        |call: AsyncFunctionCall, (pointer, length): (u32, u32)| async move {
            let reader = call.clone();
            let task = tokio::spawn(async move {
                pause().await;
                reader.read(pointer, length).await
            });
            let text = task.await??;
            call.write(pointer, text.to_ascii_uppercase()).await?;
            Ok(())
        },
    );
    on_a_runtime(async {
        let host = async_host(engine, IN_PLACE, functions, Limits::default()).await;
        assert_eq!(
            host.call_async("f", "hello").await.expect("it succeeds"),
            b"HELLO"
        );
    });
}

fn async_endless_access(engine: &Engine) {
    let functions = HostFunctions::new().async_function(
        "env",
        "f",
        |call: AsyncFunctionCall, (_, _): (u32, u32)| async move {
            loop {
                call.read(0, 16).await?;
            }
            #[expect(unreachable_code, reason = "it gives the closure its type")]
            Ok(())
        },
    );
    on_a_runtime(async {
        let limits = Limits::default().timeout(SHORT);
        let host = async_host(engine, IN_PLACE, functions, limits).await;
        let error = host.call_async("f", "").await.expect_err("it fails");
        assert!(matches!(error, Error::TimedOut { .. }), "{}", chain(&error));
    });
}

fn async_time(engine: &Engine) {
    let never = || {
        HostFunctions::new().async_function("env", "f", |_, (_, _): (u32, u32)| async {
            pending::<()>().await;
            Ok(())
        })
    };
    on_a_runtime(async {
        let limits = Limits::default().timeout(SHORT);
        let host = async_host(engine, IN_PLACE, never(), limits).await;
        let error = host.call_async("f", "").await.expect_err("it fails");
        assert!(matches!(error, Error::TimedOut { .. }), "{}", chain(&error));

        let host = async_host(engine, IN_PLACE, never(), Limits::default()).await;
        let cancel = CancelHandle::new();
        let options = CallOptions::default().cancel(&cancel);
        let with = host.with(&options);
        let mut call = Box::pin(with.call_async("f", ""));
        assert!(poll_once(&mut call).is_none());
        cancel.cancel();
        let error = call.await.expect_err("it fails");
        assert!(
            matches!(error, Error::Cancelled { .. }),
            "{}",
            chain(&error)
        );
    });
}

/// Polls a future once.
fn poll_once<F: Future + Unpin>(future: &mut F) -> Option<F::Output> {
    use std::task::{Context, Poll, Waker};
    let mut context = Context::from_waker(Waker::noop());
    match std::pin::Pin::new(future).poll(&mut context) {
        Poll::Ready(output) => Some(output),
        Poll::Pending => None,
    }
}

fn async_dropped(engine: &Engine) {
    let kept: Arc<Mutex<Option<AsyncFunctionCall>>> = Arc::default();
    let keep = Arc::clone(&kept);
    let functions = HostFunctions::new().async_function(
        "env",
        "f",
        move |call: AsyncFunctionCall, (_, _): (u32, u32)| {
            *keep.lock() = Some(call);
            async {
                pending::<()>().await;
                Ok(())
            }
        },
    );
    on_a_runtime(async {
        let host = async_host(engine, IN_PLACE, functions, Limits::default()).await;
        let mut call = Box::pin(host.call_async("f", ""));
        assert!(poll_once(&mut call).is_none());
        let handle = kept.lock().take().expect("it succeeds");
        let mut read = Box::pin(handle.read(0, 1));
        assert!(poll_once(&mut read).is_none(), "nobody polls the guest");
        drop(call);
        assert_eq!(read.await, Err(MemoryError::Gone));
    });
}

fn async_panics(engine: &Engine) {
    let functions =
        HostFunctions::new().async_function("env", "f", |_, (_, length): (u32, u32)| async move {
            pause().await;
            assert_ne!(length, 3, "three");
            Ok(())
        });
    on_a_runtime(async {
        let host = async_host(engine, IN_PLACE, functions, Limits::default()).await;
        let task = async { host.call_async("f", "123").await.map(drop) };
        let mut task = Box::pin(task);
        let panic = std::future::poll_fn(|context| {
            match catch_unwind(AssertUnwindSafe(|| task.as_mut().poll(context))) {
                Ok(poll) => poll.map(Ok),
                Err(panic) => std::task::Poll::Ready(Err(panic)),
            }
        });
        let panic = panic.await.expect_err("a panic");
        assert!(
            panic
                .downcast_ref::<String>()
                .expect("a text")
                .contains("three")
        );
        assert_eq!(
            host.call_async("f", "12").await.expect("it succeeds"),
            b"12"
        );
    });
}

fn async_start(engine: &Engine) {
    on_a_runtime(async {
        let functions = HostFunctions::new().async_function(
            "env",
            "f",
            |call: AsyncFunctionCall, (pointer, _): (u32, u32)| async move {
                pause().await;
                Ok(call.write(pointer, b"ok".to_vec()).await?)
            },
        );
        for in_section in [false, true] {
            let module = starting(in_section);
            let host = async_host(engine, &module, functions.clone(), Limits::default()).await;
            assert_eq!(host.call_async("f", "").await.expect("it succeeds"), b"ok");
        }
    });
}

fn async_after_blocking(engine: &Engine) {
    let functions = awaiting();
    let host = host_of(engine, TWO, functions);
    let error = host.call("f", b"").expect_err("it fails");
    assert!(matches!(
        function_error(&error),
        FunctionError::Awaits { .. }
    ));
    on_a_runtime(async {
        for _ in 0..2 {
            assert_eq!(
                host.call_async("f", "1").await.expect("it succeeds"),
                [2, 0, 0, 0]
            );
        }
    });
    let error = host.call("f", b"").expect_err("it fails");
    assert!(matches!(
        function_error(&error),
        FunctionError::Awaits { .. }
    ));
}
