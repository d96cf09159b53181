//! A WASI context of the program's own, by `wasmtime_wasi`.

#![cfg(feature = "wasmtime-wasi")]
#![expect(
    clippy::unwrap_used,
    reason = "clippy sees no tests in the functions that tests share"
)]

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use provider_wasmtime::{
    WasmtimeEngineProvider,
    wasmtime_wasi::{
        WasiCtxBuilder,
        p2::pipe::{MemoryInputPipe, MemoryOutputPipe},
    },
};
use wapc_host::{
    CallOptions, Error, Limits, OwnedHostCall, Reuse, WapcHost,
    error::{EngineError, ModuleError},
};

/// Reads standard input and responds with it, writes it to standard output, and exits by the operation
/// of four bytes; that of five bytes sleeps for ten seconds.
const GUEST: &str = r#"(module
    (import "wapc" "__guest_response" (func $respond (param i32 i32)))
    (import "wasi_snapshot_preview1" "fd_read" (func $read (param i32 i32 i32 i32) (result i32)))
    (import "wasi_snapshot_preview1" "fd_write" (func $write (param i32 i32 i32 i32) (result i32)))
    (import "wasi_snapshot_preview1" "poll_oneoff" (func $poll (param i32 i32 i32 i32) (result i32)))
    (import "wasi_snapshot_preview1" "proc_exit" (func $exit (param i32)))
    (memory (export "memory") 1)
    (data (i32.const 0) "\00\04\00\00\00\01\00\00")
    (func (export "__guest_call") (param $operation i32) (param i32) (result i32)
        (if (i32.eq (local.get $operation) (i32.const 4)) (then (call $exit (i32.const 3))))
        (if (i32.eq (local.get $operation) (i32.const 5))
            (then
                (i32.store (i32.const 80) (i32.const 1)) ;; monotonic
                (i64.store (i32.const 88) (i64.const 10000000000))
                (drop (call $poll (i32.const 64) (i32.const 128) (i32.const 1) (i32.const 16)))))
        (drop (call $read (i32.const 0) (i32.const 0) (i32.const 1) (i32.const 4)))
        (drop (call $write (i32.const 1) (i32.const 0) (i32.const 1) (i32.const 16)))
        (call $respond (i32.const 1024) (i32.load (i32.const 16)))
        (i32.const 1)))"#;

struct Contexts {
    provider: WasmtimeEngineProvider,
    made: Arc<AtomicUsize>,
    output: MemoryOutputPipe,
}

fn contexts() -> Contexts {
    let made = Arc::new(AtomicUsize::new(0));
    let output = MemoryOutputPipe::new(1 << 20);
    let (counter, stdout) = (Arc::clone(&made), output.clone());
    let provider = WasmtimeEngineProvider::builder()
        .wasi_context(move || {
            counter.fetch_add(1, Ordering::Relaxed);
            let stdin = MemoryInputPipe::new("text");
            let mut context = WasiCtxBuilder::new();
            Ok(context.stdin(stdin).stdout(stdout.clone()).build_p1())
        })
        .build(GUEST.as_bytes())
        .unwrap();
    Contexts {
        provider,
        made,
        output,
    }
}

#[test]
fn each_instance_has_a_context_of_its_own() {
    let contexts = contexts();
    let host = WapcHost::builder(Box::new(contexts.provider))
        .reuse(Reuse::Fresh)
        .build(|_, _, _, _, _| Ok(vec![]))
        .unwrap();
    for calls in 1..=3 {
        assert_eq!(host.call("any", b"").unwrap(), b"text");
        assert_eq!(contexts.made.load(Ordering::Relaxed), calls);
    }
    assert_eq!(contexts.output.contents(), &b"texttexttext"[..]);
    let exit = host.call("exit", b"");
    assert!(
        matches!(exit, Err(Error::Exited { code: 3, .. })),
        "{exit:?}"
    );
}

#[test]
fn a_guest_that_waits_is_suspended_and_its_deadline_holds() {
    let contexts = contexts();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(async {
        let host = WapcHost::builder(Box::new(contexts.provider))
            .build_async(|_: OwnedHostCall| async { Ok(vec![]) })
            .await
            .unwrap();
        assert_eq!(host.call_async("any", vec![]).await.unwrap(), b"text");
        let options = CallOptions::default().timeout(Duration::from_millis(50));
        let sleeping = host.with(&options).call_async("sleep", vec![]).await;
        assert!(
            matches!(sleeping, Err(Error::TimedOut { .. })),
            "{sleeping:?}"
        );
        let exit = host.call_async("exit", vec![]).await;
        assert!(
            matches!(exit, Err(Error::Exited { code: 3, .. })),
            "{exit:?}"
        );
        assert_eq!(host.call_async("any", vec![]).await.unwrap(), b"text");
    });
}

#[test]
fn a_context_that_cannot_be_made_is_an_error_of_the_instance() {
    let provider = WasmtimeEngineProvider::builder()
        .wasi_context(|| Err("no directory".into()))
        .build(GUEST.as_bytes())
        .unwrap();
    let made = WapcHost::new(Box::new(provider), |_, _, _, _, _| Ok(vec![]));
    match made {
        Err(Error::Init(EngineError::Other(error))) => {
            assert_eq!(error.to_string(), "no directory");
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn the_unstable_wasi_is_refused_with_contexts() {
    let unstable = GUEST.replace("wasi_snapshot_preview1", "wasi_unstable");
    let provider = WasmtimeEngineProvider::builder()
        .wasi_context(|| Ok(WasiCtxBuilder::new().build_p1()))
        .build(unstable.as_bytes());
    let refused = provider.map(|_| ());
    assert!(
        matches!(refused, Err(ModuleError::Refused(_))),
        "{refused:?}"
    );
}

#[test]
fn the_successor_in_a_swap_has_contexts_too() {
    let contexts = contexts();
    let host = WapcHost::builder(Box::new(contexts.provider))
        .limits(Limits::default())
        .build(|_, _, _, _, _| Ok(vec![]))
        .unwrap();
    host.replace_module(GUEST.as_bytes()).unwrap();
    assert_eq!(host.call("any", b"").unwrap(), b"text");
    assert!(contexts.made.load(Ordering::Relaxed) >= 2);
}
