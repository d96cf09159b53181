//! More calls than instances.

use std::{
    sync::Arc,
    task::{Context, Waker},
    time::{Duration, Instant},
};

use conformance::{Engine, SHORT, chain};
use tokio::{task::JoinSet, time::sleep};
use wapc_host::{CallOptions, CancelHandle, Error};

use super::{assert_answers, both, build, builder, on_a_runtime, places, poll_times, runtime};
use crate::Case;

pub(super) fn cases() -> Vec<Case> {
    vec![
        Case::new("busy", busy),
        Case::new(
            "time_passes_in_the_wait_queue",
            time_passes_in_the_wait_queue,
        ),
        Case::new("many_on_one_thread", |engine| many(engine, 1)),
        Case::new("many_on_two_threads", |engine| many(engine, 2)),
    ]
}

fn busy(engine: &Engine) {
    for limit in [Duration::ZERO, Duration::from_millis(20)] {
        let host = build(builder(engine, "echo_host").wait_limit(limit), 1);
        let mut first = Box::pin(host.call_async("any", b"never"));
        let mut context = Context::from_waker(Waker::noop());
        assert!(first.as_mut().poll(&mut context).is_pending());
        let result = match limit.is_zero() {
            true => poll_times(host.call_async("any", b"x"), 1).expect("it does not wait"),
            false => on_a_runtime(host.call_async("any", b"x")),
        };
        assert!(matches!(result, Err(Error::Busy { .. })), "{result:?}");
        assert_eq!(places(&host.stats()), (1, 0, 0));
        drop(first);
        assert_answers(&host, b"x");
    }
}

/// A deadline and a cancel handle end a call that waits for an instance.
fn time_passes_in_the_wait_queue(engine: &Engine) {
    let host = build(builder(engine, "echo_host"), 1);
    let mut first = Box::pin(host.call_async("any", b"never"));
    let mut context = Context::from_waker(Waker::noop());
    assert!(first.as_mut().poll(&mut context).is_pending());
    let options = CallOptions::default().deadline(Instant::now() + SHORT);
    let result = on_a_runtime(host.with(&options).call_async("any", b"x"));
    assert!(matches!(result, Err(Error::TimedOut { .. })), "{result:?}");
    let cancel = CancelHandle::new();
    let options = CallOptions::default().cancel(&cancel);
    let result = on_a_runtime(async {
        let call = async { host.with(&options).call_async("any", b"x").await };
        let cancelled = async {
            sleep(Duration::from_millis(20)).await;
            cancel.cancel();
        };
        both(call, cancelled).await.0
    });
    assert!(matches!(result, Err(Error::Cancelled { .. })), "{result:?}");
    assert_eq!(places(&host.stats()), (1, 0, 0));
    drop(first);
    assert_answers(&host, b"x");
}

fn many(engine: &Engine, threads: usize) {
    const CALLS: u64 = 10_000;
    const INSTANCES: usize = 8;
    let builder = builder(engine, "echo_host")
        .max_instances(INSTANCES)
        .wait_limit(None);
    let host = Arc::new(build(builder, 1));
    runtime(threads).block_on(async {
        let mut calls = JoinSet::new();
        for call in 0..CALLS {
            let host = Arc::clone(&host);
            calls.spawn(async move {
                let payload = call.to_le_bytes();
                let answer = host.call_async("any", &payload).await;
                let answer = answer.unwrap_or_else(|error| panic!("{}", chain(&error)));
                assert_eq!(answer, payload);
            });
        }
        while let Some(call) = calls.join_next().await {
            call.expect("no panic");
        }
    });
    let stats = host.stats();
    assert_eq!(stats.calls, CALLS);
    assert!((1..=INSTANCES).contains(&stats.live));
    assert_eq!((stats.idle, stats.waiting), (stats.live, 0));
    assert_eq!(stats.errors.total(), 0);
}
