//! Start functions that loop.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use conformance::{
    Capability::{AnyModule, Async},
    Engine, SHORT, chain,
};
use wapc_host::{
    CallOptions, CancelHandle, Error, Interruption, Limits, Reuse, WapcHost,
    error::{EngineError, StartFunction, StopReason},
};

use super::{LONG, assert_cancelled, assert_good, assert_took, looping, make, text};
use crate::{Case, async_calls::on_a_runtime};

pub(super) fn cases() -> Vec<Case> {
    vec![
        Case::new("start_functions_that_loop", start_functions_that_loop).needs(&[AnyModule]),
        Case::new(
            "start_functions_end_with_their_call",
            start_functions_end_with_their_call,
        )
        .needs(&[AnyModule, Async]),
        Case::new("swap_to_a_guest_that_loops", swap_to_a_guest_that_loops).needs(&[AnyModule]),
    ]
}

pub(super) const LOOPS_AT_START: [(&str, StartFunction); 3] = [
    ("hostile/loop_in_start_section", StartFunction::Section),
    ("hostile/loop_in_start", StartFunction::Command),
    ("hostile/loop_in_init", StartFunction::Wapc),
];

fn start_functions_that_loop(engine: &Engine) {
    for (guest, expected) in LOOPS_AT_START {
        let limits = Limits::default().start_timeout(SHORT);
        let result = make(engine, guest, Interruption::Time, limits);
        let Err(Error::Init(EngineError::Start { function, cause })) = result else {
            panic!("{guest} must not start: {result:?}");
        };
        assert_eq!(function, expected);
        let stop = StopReason::TimedOut { timeout: SHORT };
        assert!(
            matches!(&*cause, EngineError::Stopped(found) if *found == stop),
            "{cause:?}"
        );
    }
}

/// A guest that loops at its start if the host's answer there is not empty.
const LOOPS_IF_TOLD: &[u8] = br#"(module
    (import "wapc" "__host_call"
        (func $host_call (param i32 i32 i32 i32 i32 i32 i32 i32) (result i32)))
    (import "wapc" "__host_response_len" (func $length (result i32)))
    (import "wapc" "__guest_response" (func $respond (param i32 i32)))
    (memory (export "memory") 1)
    (data (i32.const 0) "good")
    (func (export "wapc_init")
        (drop (call $host_call
            (i32.const 0) (i32.const 0) (i32.const 0) (i32.const 0)
            (i32.const 0) (i32.const 0) (i32.const 0) (i32.const 0)))
        (loop $again (br_if $again (call $length))))
    (func (export "__guest_call") (param i32 i32) (result i32)
        (call $respond (i32.const 0) (i32.const 4))
        (i32.const 1)))"#;

fn start_functions_end_with_their_call(engine: &Engine) {
    let told = Arc::new(AtomicBool::new(false));
    let tell = Arc::clone(&told);
    let host = WapcHost::builder(engine.interruptible(LOOPS_IF_TOLD, Interruption::Time))
        .limits(Limits::default().start_timeout(LONG))
        .reuse(Reuse::Fresh)
        .build(move |_, _, _, _, _| match tell.load(Ordering::SeqCst) {
            true => Ok(b"loop".to_vec()),
            false => Ok(vec![]),
        })
        .unwrap_or_else(|error| panic!("{}", chain(&error)));
    assert_eq!(host.call("good", b"").expect("an answer"), b"good");
    told.store(true, Ordering::SeqCst);

    let blocking: Form = |host, options| host.with(options).call("bad", b"");
    let awaiting: Form = |host, options| on_a_runtime(host.with(options).call_async("bad", b""));
    for call in [blocking, awaiting] {
        let begun = Instant::now();
        let options = CallOptions::default().deadline(begun + SHORT);
        let result = call(&host, &options);
        assert!(matches!(result, Err(Error::TimedOut { .. })), "{result:?}");
        assert_took(begun, SHORT);

        let cancel = CancelHandle::new();
        let options = CallOptions::default().cancel(&cancel);
        thread::scope(|scope| {
            let result = scope.spawn(|| call(&host, &options));
            thread::sleep(Duration::from_millis(20));
            cancel.cancel();
            assert_cancelled(result.join().expect("no panic"));
        });
    }

    told.store(false, Ordering::SeqCst);
    assert_eq!(host.call("good", b"").expect("an answer"), b"good");
    assert_eq!(host.stats().errors.total(), 4);
}

type Form = fn(&WapcHost, &CallOptions) -> Result<Vec<u8>, Error>;

fn swap_to_a_guest_that_loops(engine: &Engine) {
    let host = looping(engine, Limits::default().start_timeout(SHORT));
    for (guest, _) in LOOPS_AT_START {
        let result = host.replace_module(text(guest));
        assert!(matches!(result, Err(Error::Init(_))), "{result:?}");
        assert_good(&host);
    }
    assert_eq!(host.generation(), 1);
}
