//! Timeouts, deadlines and cancelling.

use std::{
    thread,
    time::{Duration, Instant},
};

use conformance::{Capability::AnyModule, Engine, SHORT};
use wapc_host::{
    BoxError, CallOptions, CancelHandle, Error, HostCall, HostCallback, Interruption, Limits,
    WapcHost,
};

use super::{
    LONG, assert_cancelled, assert_good, assert_timed_out, assert_took, host, looping, text,
};
use crate::Case;

pub(super) fn cases() -> Vec<Case> {
    vec![
        Case::new("cancelled_before", cancelled_before),
        Case::new("cancelled_during", cancelled_during),
        Case::new("cancelled_by_the_callback", cancelled_by_the_callback),
        Case::new("cancelled_after", cancelled_after),
        Case::new("timeout", timeout).needs(&[AnyModule]),
        Case::new("timeout_of_one_call", timeout_of_one_call),
        Case::new("timeouts_on_many_instances", timeouts_on_many_instances),
        Case::new("no_timeout_beside_one", no_timeout_beside_one),
        Case::new("deadline", deadline),
        Case::new("deadline_in_the_past", deadline_in_the_past),
        Case::new("callback_outlives_the_call", callback_outlives_the_call),
    ]
}

fn cancelled_before(engine: &Engine) {
    let host = looping(engine, Limits::default());
    let cancel = CancelHandle::new();
    cancel.cancel();
    let options = CallOptions::default().cancel(&cancel);
    for operation in ["bad", "good"] {
        assert_cancelled(host.with(&options).call(operation, b""));
    }
    assert_good(&host);
}

fn cancelled_during(engine: &Engine) {
    let without_timeout = Limits::default().timeout(None);
    for limits in [Limits::default(), without_timeout] {
        let host = looping(engine, limits);
        let cancel = CancelHandle::new();
        let options = CallOptions::default().cancel(&cancel);
        thread::scope(|scope| {
            let call = scope.spawn(|| host.with(&options).call("bad", b""));
            // The call must end, even if the guest has not started by then.
            thread::sleep(Duration::from_millis(20));
            cancel.cancel();
            assert_cancelled(call.join().expect("no panic"));
        });
        assert_good(&host);
    }
}

fn cancelled_by_the_callback(engine: &Engine) {
    let cancel = CancelHandle::new();
    let handle = cancel.clone();
    let host = WapcHost::new(
        engine.interruptible(text("echo_host"), Interruption::Time),
        move |_, _, _, _, payload| {
            if payload == b"cancel" {
                handle.cancel();
            }
            Ok(payload.to_vec())
        },
    )
    .expect("a host");
    let options = CallOptions::default().cancel(&cancel);
    assert_eq!(host.with(&options).call("any", b"x").expect("ok"), b"x");
    assert_cancelled(host.with(&options).call("any", b"cancel"));
    assert_good(&host);
}

fn cancelled_after(engine: &Engine) {
    let host = looping(engine, Limits::default());
    let cancel = CancelHandle::new();
    let options = CallOptions::default().cancel(&cancel);
    let response = host.with(&options).call("good", b"");
    assert_eq!(response.expect("an answer"), b"good");
    cancel.cancel();
    assert_good(&host);
    assert_cancelled(host.with(&options).call("good", b""));
    assert_good(&host);
}

fn timeout(engine: &Engine) {
    for guest in ["loop", "loop_calls", "loop_counting", "loop_imports"] {
        let guest = format!("hostile/{guest}");
        let limits = Limits::default().timeout(SHORT);
        let host = host(engine, &guest, Interruption::Time, limits);
        for _ in 0..2 {
            let begun = Instant::now();
            assert_timed_out(host.call("bad", b""), begun, SHORT);
            assert_good(&host);
        }
    }
}

fn timeout_of_one_call(engine: &Engine) {
    const SHORTER: Duration = Duration::from_millis(20);
    for limits in [Limits::default(), Limits::default().timeout(None)] {
        let host = looping(engine, limits);
        let options = CallOptions::default().timeout(SHORTER);
        let begun = Instant::now();
        assert_timed_out(host.with(&options).call("bad", b""), begun, SHORTER);
        assert_good(&host);
    }
    // The timeout of one call may be longer than the host's.
    let host = looping(engine, Limits::default().timeout(SHORTER));
    let options = CallOptions::default().timeout(SHORT);
    let begun = Instant::now();
    assert_timed_out(host.with(&options).call("bad", b""), begun, SHORT);
    assert_good(&host);
}

/// The timeout of one guest does not end another guest of the same engine that has
/// no timeout, neither during its call nor in the next one.
fn no_timeout_beside_one(engine: &Engine) {
    let timed = looping(engine, Limits::default().timeout(SHORT));
    let provider = engine.interruptible(text("echo_host"), Interruption::Time);
    let host = WapcHost::builder(provider)
        .limits(Limits::default().timeout(None))
        .build(move |_, _, _, _, payload| {
            let begun = Instant::now();
            assert_timed_out(timed.call("bad", b""), begun, SHORT);
            Ok(payload.to_vec())
        })
        .expect("a host");
    for _ in 0..2 {
        assert_eq!(host.call("any", b"x").expect("an answer"), b"x");
    }
}

fn timeouts_on_many_instances(engine: &Engine) {
    let provider = engine.interruptible(text("hostile/loop"), Interruption::Time);
    let host = WapcHost::builder(provider)
        .max_instances(4)
        .limits(Limits::default().timeout(SHORT))
        .build(|_, _, _, _, payload| Ok(payload.to_vec()))
        .expect("a host");
    thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                for _ in 0..2 {
                    let begun = Instant::now();
                    assert_timed_out(host.call("bad", b""), begun, SHORT);
                    assert_good(&host);
                }
            });
        }
    });
}

fn deadline(engine: &Engine) {
    let host = looping(engine, Limits::default());
    let begun = Instant::now();
    let options = CallOptions::default().deadline(begun + SHORT);
    let result = host.with(&options).call("bad", b"");
    assert!(matches!(result, Err(Error::TimedOut { .. })), "{result:?}");
    assert_took(begun, SHORT);
    assert_good(&host);
}

fn deadline_in_the_past(engine: &Engine) {
    let host = looping(engine, Limits::default());
    let options = CallOptions::default().deadline(Instant::now());
    for operation in ["bad", "good"] {
        let result = host.with(&options).call(operation, b"");
        assert!(matches!(result, Err(Error::TimedOut { .. })), "{result:?}");
    }
    assert_good(&host);
}

/// Answers with the payload. Sleeps past the deadline first for the payload `sleep`.
struct Sleeper;

impl HostCallback for Sleeper {
    fn call(&self, call: HostCall<'_>, response: &mut Vec<u8>) -> Result<(), BoxError> {
        if call.payload == b"sleep" {
            assert!(call.time_left().is_some_and(|left| left <= SHORT));
            let begun = Instant::now();
            while call.time_left() > Some(Duration::ZERO) {
                assert!(begun.elapsed() < LONG, "the time is never over");
                thread::sleep(Duration::from_millis(5));
            }
            // The time left is rounded down.
            thread::sleep(SHORT);
        }
        response.extend_from_slice(call.payload);
        Ok(())
    }
}

fn callback_outlives_the_call(engine: &Engine) {
    let provider = engine.interruptible(text("echo_host"), Interruption::Time);
    let host = WapcHost::builder(provider)
        .limits(Limits::default().timeout(SHORT))
        .build_with(Sleeper)
        .expect("a host");
    let begun = Instant::now();
    assert_timed_out(host.call("bad", b"sleep"), begun, SHORT);
    assert_good(&host);
}
