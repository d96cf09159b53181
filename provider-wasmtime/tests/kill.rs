//! Guests that are killed: what is different from guests that check epochs, and
//! what must not be. That guests notice nothing is seen by the conformance tests.

use std::{sync::mpsc, thread, time::Duration};

use provider_wasmtime::{Pooling, WasmtimeEngineProvider};
use wapc_host::{
    BoxError, CallOptions, CancelHandle, Error, Interruption, Limits, Reuse, WapcHost,
    WebAssemblyEngineProvider,
    error::{EngineError, LimitError, StartFunction, StopReason, TrapCode},
};
use wasmtime::{Config, Engine};

const LOOP: &str = include_str!("../../guest-fixtures/wat/hostile/loop.wat");

fn kills(module: &str) -> WasmtimeEngineProvider {
    WasmtimeEngineProvider::builder()
        .interruption(Interruption::Kill)
        .build(module.as_bytes())
        .expect("a guest")
}

fn refuse(_: u64, _: &str, _: &str, _: &str, _: &[u8]) -> Result<Vec<u8>, BoxError> {
    Err("no".into())
}

/// Guests are killed on this platform.
const KILLS: bool = cfg!(all(
    target_os = "linux",
    any(target_arch = "x86_64", target_arch = "aarch64")
));

const EXPECTED: Interruption = match KILLS {
    true => Interruption::Kill,
    false => Interruption::Time,
};

fn guest(fields: &str, code: &str) -> String {
    format!(
        r#"(module
            (import "wapc" "__guest_response" (func $respond (param i32 i32)))
            (memory (export "memory") 1 1)
            {fields}
            (func (export "__guest_call") (param i32 i32) (result i32)
                {code}
                (call $respond (i32.const 0) (i32.const 0))
                (i32.const 1)))"#
    )
}

#[test]
fn a_killed_guest_leaves_an_accessible_page() {
    // Each call gets the memory of the one before, whose page was taken away.
    let provider = WasmtimeEngineProvider::builder()
        .interruption(Interruption::Kill)
        .pooling(Pooling::new(1))
        .build(LOOP.as_bytes())
        .expect("a guest");
    assert_eq!(provider.interruption(), EXPECTED);
    for reuse in [Reuse::Keep, Reuse::Fresh] {
        let host = WapcHost::builder(Box::new(provider.clone()))
            .reuse(reuse)
            .limits(Limits::default().timeout(Duration::from_millis(5)))
            .build(refuse)
            .expect("the guest starts");
        for _ in 0..20 {
            let stopped = host.call("bad", b"");
            assert!(
                matches!(stopped, Err(Error::TimedOut { .. })),
                "{stopped:?}"
            );
            assert_eq!(host.call("good", b"").expect("an answer"), b"good");
        }
    }
}

#[test]
fn a_cancelled_guest_ends_without_a_tick() {
    let host = WapcHost::new(Box::new(kills(LOOP)), refuse).expect("the guest starts");
    for _ in 0..20 {
        let cancel = CancelHandle::new();
        let options = CallOptions::default().cancel(&cancel);
        let (begin, begins) = mpsc::channel();
        thread::scope(|scope| {
            scope.spawn(move || {
                begins.recv().expect("the call begins");
                cancel.cancel();
            });
            begin.send(()).expect("somebody cancels");
            let ended = host.with(&options).call("bad", b"");
            assert!(matches!(ended, Err(Error::Cancelled { .. })), "{ended:?}");
        });
        assert_eq!(host.call("good", b"").expect("an answer"), b"good");
    }
}

#[test]
fn start_functions_are_killed() {
    for (fields, function) in [
        (
            "(func $spin (loop (br 0))) (start $spin)",
            StartFunction::Section,
        ),
        (
            r#"(func (export "_start") (loop (br 0)))"#,
            StartFunction::Command,
        ),
        (
            r#"(func (export "wapc_init") (loop (br 0)))"#,
            StartFunction::Wapc,
        ),
    ] {
        let built = WapcHost::builder(Box::new(kills(&guest(fields, ""))))
            .limits(Limits::default().start_timeout(Duration::from_millis(5)))
            .build(refuse);
        let Err(Error::Init(EngineError::Start {
            function: found,
            cause,
        })) = built
        else {
            panic!("{function:?}: {built:?}");
        };
        assert_eq!(found, function);
        let stopped = EngineError::Stopped(StopReason::TimedOut {
            timeout: Duration::from_millis(5),
        });
        assert_eq!(cause.to_string(), stopped.to_string());
    }
}

#[test]
fn a_trap_keeps_its_code_and_the_names_of_functions() {
    let fields = "(func $deep (param $at i32) (loop (drop (i32.load (local.get $at)))))
        (func $outer (call $deep (i32.const 0x7fffffff)))";
    let provider = kills(&guest(fields, "(call $outer)"));
    let host = WapcHost::new(Box::new(provider), refuse).expect("the guest starts");
    let Err(Error::Trapped { trap, .. }) = host.call("any", b"") else {
        panic!("it traps");
    };
    assert_eq!(trap.code, TrapCode::MemoryOutOfBounds);
    let words = trap.to_string();
    assert!(words.contains("`deep` < `outer`"), "{words}");
}

#[test]
fn the_page_is_not_counted_as_the_guests_memory() {
    let limits = Limits::default()
        .max_memories(1)
        .max_memory_bytes(64 << 10)
        .max_total_memory_bytes(64 << 10);
    let pooling = Pooling::new(2).limits(&limits);
    for builder in [
        WasmtimeEngineProvider::builder(),
        WasmtimeEngineProvider::builder().pooling(pooling),
    ] {
        let build = |module: &str| {
            let builder = builder.clone().interruption(Interruption::Kill);
            let provider = builder.build(module.as_bytes()).expect("a guest");
            assert_eq!(provider.interruption(), EXPECTED);
            WapcHost::builder(Box::new(provider))
                .limits(limits.clone())
                .build(refuse)
        };
        // Two instances, each with a memory of its own.
        let hosts = [build(&guest("", "")), build(&guest("", ""))];
        for host in hosts {
            let host = host.expect("the guest starts");
            assert_eq!(host.call("any", b"").expect("an answer"), b"");
        }
        let two = build(&guest("(memory 0)", ""));
        let Err(Error::Init(EngineError::Stopped(StopReason::Limit(limit)))) = two else {
            panic!("{two:?}");
        };
        assert_eq!(limit, LimitError::Memories { limit: 1 });
        let large = build(
            r#"(module (memory (export "memory") 2)
            (func (export "__guest_call") (param i32 i32) (result i32) (i32.const 1)))"#,
        );
        let Err(Error::Init(EngineError::Stopped(StopReason::Limit(limit)))) = large else {
            panic!("{large:?}");
        };
        let refused = LimitError::Memory {
            bytes: 128 << 10,
            limit: 64 << 10,
        };
        assert_eq!(limit, refused);
    }
}

#[test]
fn a_module_that_cannot_have_checks_gets_epochs() {
    let name = r#"(func (export "wapc start section"))"#;
    let memories = "(memory 0)".repeat(99);
    for fields in [name, &memories] {
        let module = guest(fields, "(loop (br 0))");
        let provider = kills(&module);
        assert_eq!(provider.interruption(), Interruption::Time);
        let limits = Limits::default()
            .max_memories(100)
            .timeout(Duration::from_millis(5));
        let host = WapcHost::builder(Box::new(provider))
            .limits(limits)
            .build(refuse)
            .expect("the guest starts");
        let ended = host.call("bad", b"");
        assert!(matches!(ended, Err(Error::TimedOut { .. })), "{ended:?}");
        // Its successor is killed again.
        host.replace_module(LOOP.as_bytes()).expect("a guest");
        let ended = host.call("bad", b"");
        assert!(matches!(ended, Err(Error::TimedOut { .. })), "{ended:?}");
    }
}

#[test]
fn providers_share_an_engine_and_swaps_keep_it() {
    let provider = kills(LOOP);
    let other = kills(&guest("", ""));
    assert!(Engine::same(provider.engine(), other.engine()));
    let next = provider.replace(LOOP.as_bytes()).expect("a guest");
    assert_eq!(next.interruption(), EXPECTED);
}

#[test]
fn an_engine_of_ones_own_gets_no_checks() {
    for (epochs, expected) in [(true, Interruption::Time), (false, Interruption::Off)] {
        let mut config = Config::new();
        config.epoch_interruption(epochs);
        let provider = WasmtimeEngineProvider::builder()
            .engine(Engine::new(&config).expect("a plain configuration"))
            .interruption(Interruption::Kill)
            .build(LOOP.as_bytes())
            .expect("a guest");
        assert_eq!(provider.interruption(), expected);
    }
}

#[test]
fn guests_of_a_killing_engine_get_no_threads() {
    for module in [
        include_str!("../../guest-fixtures/wat/hostile/atomics.wat"),
        include_str!("../../guest-fixtures/wat/hostile/memory_shared.wat"),
    ] {
        let refused = WasmtimeEngineProvider::builder()
            .interruption(Interruption::Kill)
            .build(module.as_bytes());
        let words = refused.expect_err("it needs threads").to_string();
        assert!(words.contains("threads"), "{words}");
    }
}

#[test]
fn a_panic_in_the_callback_leaves_the_host_usable() {
    let module = r#"(module
        (import "wapc" "__host_call" (func $ask (param i32 i32 i32 i32 i32 i32 i32 i32) (result i32)))
        (import "wapc" "__guest_response" (func $respond (param i32 i32)))
        (memory (export "memory") 1)
        (func (export "__guest_call") (param i32 i32) (result i32)
            (drop (call $ask (i32.const 0) (i32.const 0) (i32.const 0) (i32.const 0)
                (i32.const 0) (i32.const 0) (i32.const 0) (i32.const 0)))
            (call $respond (i32.const 0) (i32.const 0))
            (i32.const 1)))"#;
    let provider = WasmtimeEngineProvider::builder()
        .interruption(Interruption::Kill)
        .pooling(Pooling::new(1))
        .build(module.as_bytes())
        .expect("a guest");
    let host = WapcHost::new(
        Box::new(provider),
        |_, _, _, _, _| -> Result<Vec<u8>, BoxError> {
            // The page is taken away by now.
            thread::sleep(Duration::from_millis(20));
            panic!("on purpose");
        },
    )
    .expect("the guest starts");
    let options = CallOptions::default().timeout(Duration::from_millis(5));
    for _ in 0..3 {
        let call = || host.with(&options).call("any", b"");
        let panicked = std::panic::catch_unwind(std::panic::AssertUnwindSafe(call));
        assert!(panicked.is_err());
    }
}
