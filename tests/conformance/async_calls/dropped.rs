//! Calls that are dropped before they end, which leave nothing behind.

use std::task::{Context, Waker};

use conformance::{Capability, Engine, chain, counted::Counts};
use wapc_host::{Interruption, Reuse, WapcHost};

use super::{
    LONG, answer, assert_answers, both, build, builder, on_a_runtime, places, poll_times, text,
};
use crate::Case;

pub(super) fn cases() -> Vec<Case> {
    vec![
        Case::new("dropped_in_a_host_call", dropped_in_a_host_call),
        Case::new("dropped_in_a_start_function", dropped_in_a_start_function),
        Case::new("dropped_in_the_first_start", dropped_in_the_first_start),
        Case::new("dropped_while_it_computes", dropped_while_it_computes)
            .needs(&[Capability::Yields]),
        Case::new("dropped_in_the_wait_queue", dropped_in_the_wait_queue),
        Case::new("dropped_ten_thousand_times", dropped_ten_thousand_times),
    ]
}

fn dropped_in_a_host_call(engine: &Engine) {
    const YIELDS: usize = 3;
    let counts = Counts::default();
    let provider = engine.interruptible(text("echo_host"), Interruption::Time);
    let host = build(WapcHost::builder(counts.count(provider)), YIELDS);
    let mut suspended = 0;
    for polls in 1.. {
        let answer = poll_times(host.call_async("any", b"x"), polls);
        if let Some(answer) = answer {
            assert_eq!(answer.expect("an answer"), b"x");
            break;
        }
        suspended += 1;
        // The instance is dropped with the call.
        assert_eq!(places(&host.stats()), (0, 0, 0), "after {polls}");
        assert_answers(&host, b"y");
        assert_eq!(places(&host.stats()), (1, 1, 0), "after {polls}");
    }
    assert!(suspended >= YIELDS, "{suspended}");
    // Each dropped call has dropped its instance, and no other call has.
    assert_eq!(counts.made() - counts.dropped(), 1);
    let made = counts.made();
    assert!(made > u64::try_from(YIELDS).expect("a small number"));
    drop(host);
    assert_eq!((counts.left_after(LONG), counts.made()), (0, made));
}

fn dropped_in_a_start_function(engine: &Engine) {
    const YIELDS: usize = 3;
    let counts = Counts::default();
    let provider = engine.interruptible(text("start_calls_host"), Interruption::Time);
    let builder = WapcHost::builder(counts.count(provider)).reuse(Reuse::Fresh);
    let host = build(builder, YIELDS);
    on_a_runtime(host.call_async("any", b"")).expect("an answer");
    for polls in 1.. {
        // Each call starts an instance.
        assert_eq!(places(&host.stats()), (0, 0, 0));
        let answer = poll_times(host.call_async("any", b""), polls);
        if let Some(answer) = answer {
            assert_eq!(answer.expect("an answer"), b"start");
            assert!(polls > YIELDS);
            break;
        }
    }
    let answer = on_a_runtime(host.call_async("any", b""));
    assert_eq!(answer.expect("an answer"), b"start");
    drop(host);
    assert_eq!(counts.left_after(LONG), 0);
}

fn dropped_in_the_first_start(engine: &Engine) {
    for polls in 1..=10 {
        let host = builder(engine, "start_calls_host").build_async(|call| answer(call, 5));
        if let Some(host) = poll_times(host, polls) {
            let host = host.unwrap_or_else(|error| panic!("{}", chain(&error)));
            let answer = on_a_runtime(host.call_async("any", b""));
            assert_eq!(answer.expect("an answer"), b"start");
            return;
        }
    }
    panic!("the host is never made");
}

fn dropped_while_it_computes(engine: &Engine) {
    let host = build(builder(engine, "hostile/loop"), 0);
    for polls in 1..=5 {
        assert!(poll_times(host.call_async("bad", b""), polls).is_none());
        assert_eq!(places(&host.stats()), (0, 0, 0));
        let answer = on_a_runtime(host.call_async("good", b""));
        assert_eq!(answer.expect("an answer"), b"good");
        assert_eq!(places(&host.stats()), (1, 1, 0));
    }
}

fn dropped_in_the_wait_queue(engine: &Engine) {
    let host = build(builder(engine, "echo_host"), 5);
    let mut first = Box::pin(host.call_async("any", b"first"));
    let mut context = Context::from_waker(Waker::noop());
    assert!(first.as_mut().poll(&mut context).is_pending());
    for polls in 1..=3 {
        let mut others: Vec<_> = (0..3)
            .map(|_| Box::pin(host.call_async("any", b"other")))
            .collect();
        for other in &mut others {
            for _ in 0..polls {
                assert!(other.as_mut().poll(&mut context).is_pending());
            }
        }
        assert_eq!(places(&host.stats()), (1, 0, 3));
        // Drops the first waiter, then those behind it.
        drop(others.remove(0));
        assert_eq!(places(&host.stats()), (1, 0, 2));
        drop(others);
        assert_eq!(places(&host.stats()), (1, 0, 0));
    }
    let waiting = host.call_async("any", b"second");
    let (first, second) = on_a_runtime(both(first, waiting));
    assert_eq!(first.expect("an answer"), b"first");
    assert_eq!(second.expect("an answer"), b"second");
    assert_eq!(places(&host.stats()), (1, 1, 0));
}

fn dropped_ten_thousand_times(engine: &Engine) {
    const CALLS: usize = 10_000;
    let counts = Counts::default();
    let provider = engine.interruptible(text("echo_host"), Interruption::Time);
    let builder = WapcHost::builder(counts.count(provider)).max_instances(8);
    let host = build(builder, 3);
    let mut ended = 0;
    for call in 0..CALLS {
        let answer = poll_times(host.call_async("any", b"x"), 1 + call % 5);
        if let Some(answer) = answer {
            assert_eq!(answer.expect("an answer"), b"x");
            ended += 1;
        }
    }
    assert!(0 < ended && ended < CALLS, "{ended}");
    assert_answers(&host, b"x");
    let stats = host.stats();
    assert_eq!((stats.idle, stats.waiting), (stats.live, 0));
    assert_eq!(stats.errors.total(), 0);
    let live = u64::try_from(stats.live).expect("a small number");
    assert_eq!(counts.made() - counts.dropped(), live);
    drop(host);
    assert_eq!(counts.left_after(LONG), 0);
}
