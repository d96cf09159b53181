//! Callbacks that answer late, never, with a panic, or through another host.

use std::{
    sync::Arc,
    thread,
    time::{Duration, Instant},
};

use conformance::{
    Capability::{Async, Time},
    Engine, SHORT, chain, engines,
    outcome::outcome,
    pause,
};
use tokio::time::sleep;
use wapc_host::{CallOptions, CancelHandle, Error, Limits, OwnedHostCall};

use super::{LONG, assert_answers, both, build, builder, on_a_runtime, places, poll_times};
use crate::Case;

pub(super) fn cases() -> Vec<Case> {
    vec![
        Case::new("callback_never_answers", callback_never_answers),
        Case::new("callback_answers_late", callback_answers_late),
        Case::new("callback_panics", callback_panics),
        Case::new("callback_calls_another_host", callback_calls_another_host),
    ]
}

fn callback_never_answers(engine: &Engine) {
    let host = build(builder(engine, "echo_host"), 1);
    for options in [
        CallOptions::default().timeout(SHORT),
        CallOptions::default().deadline(Instant::now() + SHORT),
    ] {
        let result = on_a_runtime(host.with(&options).call_async("any", b"never"));
        assert!(matches!(result, Err(Error::TimedOut { .. })), "{result:?}");
        assert_answers(&host, b"after");
    }
    let cancel = CancelHandle::new();
    let options = CallOptions::default().cancel(&cancel);
    let host = Arc::new(host);
    // Cancelled by the same thread, by another one, and before the call.
    let result = on_a_runtime(async {
        let call = async { host.with(&options).call_async("any", b"never").await };
        let cancelled = async {
            sleep(Duration::from_millis(20)).await;
            cancel.cancel();
        };
        both(call, cancelled).await.0
    });
    assert!(matches!(result, Err(Error::Cancelled { .. })), "{result:?}");
    assert_answers(&host, b"after");
    let cancel = CancelHandle::new();
    let options = CallOptions::default().cancel(&cancel);
    thread::scope(|scope| {
        let call = scope.spawn(|| on_a_runtime(host.with(&options).call_async("any", b"never")));
        thread::sleep(Duration::from_millis(20));
        cancel.cancel();
        let result = call.join().expect("no panic");
        assert!(matches!(result, Err(Error::Cancelled { .. })), "{result:?}");
    });
    assert_answers(&host, b"after");
    let result = on_a_runtime(host.with(&options).call_async("any", b"never"));
    assert!(matches!(result, Err(Error::Cancelled { .. })), "{result:?}");
    assert_eq!(places(&host.stats()), (1, 1, 0));
}

/// Ticks of the clock during a host call do not count for the guest.
fn callback_answers_late(engine: &Engine) {
    for limits in [
        Limits::default().timeout(LONG),
        Limits::default().timeout(None).start_timeout(None),
    ] {
        let host = build(builder(engine, "echo_host").limits(limits), 0);
        for payload in [&b"late"[..], b"soon", b"late"] {
            assert_answers(&host, payload);
        }
        assert_eq!(host.stats().calls, 3);
    }
}

fn callback_panics(engine: &Engine) {
    let host = build(builder(engine, "echo_host"), 1);
    for _ in 0..2 {
        let panicked = thread::scope(|scope| {
            let call = scope.spawn(|| on_a_runtime(host.call_async("any", b"panic")));
            call.join().expect_err("the panic of the callback")
        });
        assert_eq!(
            panicked.downcast_ref(),
            Some(&"the callback panics on purpose")
        );
        assert_eq!(places(&host.stats()), (0, 0, 0));
        assert_answers(&host, b"after");
    }
    let result = on_a_runtime(host.call_async("any", b"fail"));
    assert_eq!(outcome(&result), "guest-error the host refused");
    assert_answers(&host, b"after");
}

/// A guest waits for a guest of another host, on each engine in turn.
fn callback_calls_another_host(engine: &Engine) {
    for other in engines(&[Async, Time]) {
        let inner = build(builder(other, "echo_host").max_instances(2), 2);
        let inner = Arc::new(inner);
        let callback = {
            let inner = Arc::clone(&inner);
            move |call: OwnedHostCall| {
                let inner = Arc::clone(&inner);
                async move {
                    let answer = inner.call_async("any", call.payload()).await?;
                    pause().await;
                    Ok(answer)
                }
            }
        };
        let outer = builder(engine, "echo_host").max_instances(3);
        let outer = on_a_runtime(outer.build_async(callback));
        let outer = outer.unwrap_or_else(|error| panic!("{}", chain(&error)));
        on_a_runtime(async {
            let calls: [&[u8]; 3] = [b"one", b"two", b"fail"];
            let [one, two, fail] = calls.map(|payload| outer.call_async("any", payload));
            let ((one, two), fail) = both(both(one, two), fail).await;
            assert_eq!(one.expect("an answer"), b"one");
            assert_eq!(two.expect("an answer"), b"two");
            let found = outcome(&fail);
            assert!(found.starts_with("guest-error"), "{found}");
        });
        // The deadline of the outer call ends the inner one too.
        let options = CallOptions::default().timeout(SHORT);
        let result = on_a_runtime(outer.with(&options).call_async("any", b"never"));
        assert!(matches!(result, Err(Error::TimedOut { .. })), "{result:?}");
        for host in [&outer, &*inner] {
            let stats = host.stats();
            assert_eq!((stats.idle, stats.waiting), (stats.live, 0));
        }
        for polls in 1..=6 {
            assert!(poll_times(outer.call_async("any", b"never"), polls).is_none());
            assert_answers(&outer, b"after");
        }
    }
}
