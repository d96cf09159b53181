//! Without the feature `async`, an async call is refused and a blocking one
//! works. Run by `cargo test -p provider-wasmtime --no-default-features`.
#![cfg(not(feature = "async"))]

use std::{
    pin::pin,
    task::{Context, Poll, Waker},
};

use provider_wasmtime::WasmtimeEngineProvider;
use wapc_host::{Error, OwnedHostCall, WapcHost, error::ProtocolError};

/// Calls its host for the operation `ask`, and echoes else.
const GUEST: &[u8] = br#"(module
    (import "wapc" "__guest_request" (func $request (param i32 i32)))
    (import "wapc" "__guest_response" (func $respond (param i32 i32)))
    (import "wapc" "__host_call"
        (func $call (param i32 i32 i32 i32 i32 i32 i32 i32) (result i32)))
    (memory (export "memory") 1)
    (func (export "__guest_call") (param $op i32) (param $msg i32) (result i32)
        (call $request (i32.const 0) (i32.const 100))
        (if (i32.eq (local.get $op) (i32.const 3))
            (then (drop (call $call (i32.const 0) (i32.const 0) (i32.const 0) (i32.const 0)
                (i32.const 0) (local.get $op) (i32.const 100) (local.get $msg)))))
        (call $respond (i32.const 100) (local.get $msg))
        (i32.const 1)))"#;

/// The output of a future that does not wait.
fn now<T>(future: impl Future<Output = T>) -> T {
    match pin!(future).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(output) => output,
        Poll::Pending => panic!("it waits"),
    }
}

#[test]
fn async_calls_are_refused_and_blocking_ones_work() {
    let provider = || Box::new(WasmtimeEngineProvider::new(GUEST).expect("a guest"));
    let blocking = WapcHost::new(provider(), |_, _, _, _, _| Ok(vec![])).expect("a host");
    let awaiting = WapcHost::builder(provider())
        .build_async(|call: OwnedHostCall| async { Ok(call.into_payload()) });
    let awaiting = now(awaiting).expect("a host");
    for host in [&blocking, &awaiting] {
        for _ in 0..2 {
            let refused = now(host.call_async("echo", b"x"));
            assert!(
                matches!(refused, Err(Error::AsyncUnsupported { .. })),
                "{refused:?}"
            );
            assert_eq!(host.call("echo", b"x").expect("a response"), b"x");
        }
        assert_eq!(host.stats().live, 1);
    }
    assert_eq!(blocking.call("ask", b"x").expect("a response"), b"x");
    let refused = awaiting.call("ask", b"x");
    let Err(Error::Protocol { source, .. }) = &refused else {
        panic!("it must be refused: {refused:?}");
    };
    assert!(matches!(source, ProtocolError::CallbackAwaits { .. }));
}
