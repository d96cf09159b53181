//! Async calls of instances that are checked out, and calls into a buffer.

use std::{
    task::{Context, Waker},
    thread,
    time::{Duration, Instant},
};

use conformance::{Engine, SHORT, counted::Counts, outcome::outcome};
use wapc_host::{CallOptions, CancelHandle, Error, Interruption, WapcHost};

use super::{LONG, assert_answers, build, builder, on_a_runtime, places, poll_times, text};
use crate::Case;

pub(super) fn cases() -> Vec<Case> {
    vec![
        Case::new("fills_a_buffer", fills_a_buffer),
        Case::new("checked_out", checked_out),
        Case::new("check_outs_are_fair", check_outs_are_fair),
        Case::new("checked_out_and_dropped", checked_out_and_dropped),
        Case::new("checked_out_with_options", checked_out_with_options),
    ]
}

/// Each form of call fills a buffer.
fn fills_a_buffer(engine: &Engine) {
    let host = build(builder(engine, "echo_host"), 1);
    let options = CallOptions::default().timeout(LONG);
    let mut buffer = b"what was there before".to_vec();
    on_a_runtime(async {
        for payload in [&b"longer"[..], b"short", b""] {
            let called = host.call_into_async("any", payload, &mut buffer);
            called.await.expect("an answer");
            assert_eq!(buffer, payload);
            let with = host.with(&options);
            let called = with.call_into_async("any", b"with", &mut buffer);
            called.await.expect("an answer");
            assert_eq!(buffer, b"with");
        }
        let failed = host.call_into_async("any", b"fail", &mut buffer).await;
        assert_eq!(
            outcome(&failed.map(|()| vec![])),
            "guest-error the host refused"
        );
        let mut held = host.check_out_async().await.expect("an instance");
        for payload in [&b"held"[..], b"on"] {
            let called = held.call_into_async("any", payload, &mut buffer);
            called.await.expect("an answer");
            assert_eq!(buffer, payload);
        }
    });
    assert!(poll_times(host.call_into_async("any", b"never", &mut buffer), 3).is_none());
    let called = host.call_into_async("any", b"after", &mut buffer);
    on_a_runtime(called).expect("an answer");
    assert_eq!(buffer, b"after");
}

fn checked_out(engine: &Engine) {
    let counting = builder(engine, "stateful").max_instances(2);
    let host = build(counting, 0);
    on_a_runtime(async {
        let mut held = host.check_out_async().await.expect("an instance");
        let mut last = Vec::new();
        for payload in [&b"one"[..], b"two", b"three"] {
            let answer = held.call_async("keep", payload).await;
            assert_eq!(answer.expect("an answer"), last);
            last = payload.to_vec();
            // Other calls use the other instance.
            let others = host.call_async("keep", b"other").await.expect("an answer");
            assert!(others.is_empty() || others == b"other");
        }
        // A swap takes effect at the next check-out.
        let swapped = thread::scope(|scope| {
            let swap = scope.spawn(|| host.replace_module(text("respond_twice")));
            swap.join().expect("no panic")
        });
        swapped.expect("a good module");
        let answer = held.call_async("keep", b"four").await;
        assert_eq!(answer.expect("an answer"), b"three");
        drop(held);
        let mut held = host.check_out_async().await.expect("an instance");
        let answer = held.call_async("keep", b"five").await;
        assert_eq!(answer.expect("an answer"), b"last");
        // After a trap there is a new instance.
        host.replace_module(text("stateful"))
            .expect("a good module");
        drop(held);
        let mut held = host.check_out_async().await.expect("an instance");
        for _ in 0..2 {
            for expected in [&b""[..], b"x"] {
                let answer = held.call_async("keep", b"x").await;
                assert_eq!(answer.expect("an answer"), expected);
            }
            let trapped = held.call_async("trap", b"").await;
            assert!(matches!(trapped, Err(Error::Trapped { .. })), "{trapped:?}");
        }
    });
    assert_eq!(host.stats().waiting, 0);
}

/// Calls and check-outs, of threads and tasks, get the instance in the order in which
/// they asked for it.
fn check_outs_are_fair(engine: &Engine) {
    let host = build(builder(engine, "stateful"), 0);
    let mut context = Context::from_waker(Waker::noop());
    let first = poll_times(host.check_out_async(), 1);
    let first = first.expect("it is free").expect("an instance");
    let mut calls: Vec<_> = [&b"one"[..], b"two", b"three"]
        .map(|payload| {
            let host = &host;
            Box::pin(async move {
                let mut held = host.check_out_async().await?;
                held.call_async("keep", payload).await
            })
        })
        .into();
    let mut last = Box::pin(host.call_async("keep", b"four"));
    for call in &mut calls {
        assert!(call.as_mut().poll(&mut context).is_pending());
    }
    assert!(last.as_mut().poll(&mut context).is_pending());
    assert_eq!(places(&host.stats()), (1, 0, 4));
    // A dropped waiter does not block those behind it.
    drop(calls.remove(1));
    assert_eq!(places(&host.stats()), (1, 0, 3));
    drop(first);
    // Earlier waiters come first.
    assert!(last.as_mut().poll(&mut context).is_pending());
    let found: Vec<_> = on_a_runtime(async {
        let mut found = vec![];
        for call in calls {
            found.push(call.await.expect("an answer"));
        }
        found.push(last.await.expect("an answer"));
        found
    });
    assert_eq!(found, [&b""[..], b"one", b"three"]);
    assert_eq!(places(&host.stats()), (1, 1, 0));
    // A thread waits for an instance that a task has.
    thread::scope(|scope| {
        let held = on_a_runtime(host.check_out_async()).expect("an instance");
        let thread = scope.spawn(|| host.call("keep", b"five"));
        while host.stats().waiting == 0 {
            thread::yield_now();
        }
        drop(held);
        let answer = thread.join().expect("no panic");
        assert_eq!(answer.expect("an answer"), b"four");
    });
}

fn checked_out_and_dropped(engine: &Engine) {
    const YIELDS: usize = 3;
    let counts = Counts::default();
    let provider = engine.interruptible(text("echo_host"), Interruption::Time);
    let host = build(WapcHost::builder(counts.count(provider)), YIELDS);
    let mut held = on_a_runtime(host.check_out_async()).expect("an instance");
    for polls in 1.. {
        let answer = poll_times(held.call_async("any", b"x"), polls);
        if let Some(answer) = answer {
            assert_eq!(answer.expect("an answer"), b"x");
            assert!(polls > YIELDS);
            break;
        }
        // The instance is dropped at once, and its slot is still in use.
        assert_eq!(places(&host.stats()), (0, 0, 0), "after {polls}");
        assert_eq!(counts.made(), counts.dropped());
        let answer = on_a_runtime(held.call_async("any", b"y"));
        assert_eq!(answer.expect("an answer"), b"y");
        assert_eq!(places(&host.stats()), (1, 0, 0), "after {polls}");
    }
    drop(held);
    assert_eq!(places(&host.stats()), (1, 1, 0));
    // A check-out that is dropped while it waits, or is never polled, leaves nothing.
    let held = on_a_runtime(host.check_out_async()).expect("an instance");
    for polls in 0..3 {
        assert!(poll_times(host.check_out_async(), polls).is_none());
        assert_eq!(places(&host.stats()), (1, 0, 0), "after {polls}");
    }
    drop(held);
    assert_answers(&host, b"after");
    drop(host);
    assert_eq!(counts.left_after(LONG), 0);
}

fn checked_out_with_options(engine: &Engine) {
    let host = build(builder(engine, "echo_host").wait_limit(SHORT), 1);
    on_a_runtime(async {
        let options = CallOptions::default().timeout(Duration::from_millis(20));
        let mut held = host.with(&options).check_out_async().await;
        let held = held.as_mut().expect("an instance");
        for _ in 0..2 {
            let result = held.call_async("any", b"never").await;
            assert!(matches!(result, Err(Error::TimedOut { .. })), "{result:?}");
            let answer = held.call_async("any", b"x").await;
            assert_eq!(answer.expect("an answer"), b"x");
        }
        let cancel = CancelHandle::new();
        held.set_options(CallOptions::default().cancel(&cancel));
        let answer = held.call_async("any", b"y").await;
        assert_eq!(answer.expect("an answer"), b"y");
        // A waiting check-out ends by its deadline, its handle, or the host's limit.
        let options = CallOptions::default().deadline(Instant::now() + SHORT / 4);
        let result = host.with(&options).check_out_async().await;
        assert!(matches!(result, Err(Error::TimedOut { .. })), "{result:?}");
        let other = CancelHandle::new();
        other.cancel();
        let options = CallOptions::default().cancel(&other);
        let result = host.with(&options).check_out_async().await;
        assert!(matches!(result, Err(Error::Cancelled { .. })), "{result:?}");
        let result = host.check_out_async().await;
        assert!(matches!(result, Err(Error::Busy { .. })), "{result:?}");
        cancel.cancel();
        let result = held.call_async("any", b"z").await;
        assert!(matches!(result, Err(Error::Cancelled { .. })), "{result:?}");
    });
    assert_answers(&host, b"after");
}
