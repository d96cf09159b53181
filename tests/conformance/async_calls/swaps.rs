//! Swaps and tier-ups during async calls.

use std::{
    sync::Arc,
    task::{Context, Waker},
    thread,
    time::Instant,
};

use conformance::{
    Capability::{Async, Time},
    Engine, chain,
    counted::Counts,
    engines, pause,
};
use tokio::task::JoinSet;
use wapc_host::{Interruption, Tiers, WapcHost};

use super::{
    LONG, assert_answers, build, builder, on_a_runtime, runtime, text, until_all_are_idle,
};
use crate::Case;

pub(super) fn cases() -> Vec<Case> {
    vec![
        Case::new("swaps_during_calls", swaps_during_calls),
        Case::new("swap_during_a_host_call", swap_during_a_host_call),
        Case::new("tier_up_during_calls", tier_up_during_calls),
    ]
}

fn swaps_during_calls(engine: &Engine) {
    const SWAPS: u64 = 20;
    let [first, second] = [text("echo_host"), text("respond_twice")];
    let counts = Counts::default();
    let provider = engine.interruptible(first, Interruption::Time);
    let builder = WapcHost::builder(counts.count(provider)).max_instances(4);
    let host = Arc::new(build(builder, 1));
    runtime(2).block_on(async {
        let mut callers = JoinSet::new();
        for _ in 0..8 {
            let host = Arc::clone(&host);
            callers.spawn(async move {
                while host.generation() <= SWAPS {
                    let before = host.generation();
                    let response = host.call_async("any", b"payload").await;
                    let response = response.unwrap_or_else(|error| panic!("{}", chain(&error)));
                    let after = host.generation();
                    let possible = |generation| match generation % 2 {
                        1 => &b"payload"[..],
                        _ => b"last",
                    };
                    assert!((before..=after).any(|generation| response == possible(generation)));
                    pause().await;
                }
            });
        }
        let swapped = Arc::clone(&host);
        callers.spawn_blocking(move || {
            for swap in 1..=SWAPS {
                let version = if swap % 2 == 1 { second } else { first };
                swapped.replace_module(version).expect("a good module");
            }
        });
        while let Some(caller) = callers.join_next().await {
            caller.expect("no panic");
        }
    });
    until_all_are_idle(&host);
    let stats = host.stats();
    assert_eq!((stats.swaps, stats.errors.total()), (SWAPS, 0));
    let live = u64::try_from(stats.live).expect("a small number");
    assert_eq!(counts.made() - counts.dropped(), live);
    drop(host);
    assert_eq!(counts.left_after(LONG), 0);
}

/// A swap does not wait for a suspended call, which ends on the old code.
fn swap_during_a_host_call(engine: &Engine) {
    let host = Arc::new(build(builder(engine, "echo_host"), 3));
    let mut call = Box::pin(host.call_async("any", b"old"));
    let mut context = Context::from_waker(Waker::noop());
    assert!(call.as_mut().poll(&mut context).is_pending());
    let swapped = Arc::clone(&host);
    let swap = thread::spawn(move || swapped.replace_module(text("respond_twice")));
    swap.join().expect("no panic").expect("a good module");
    assert_eq!(on_a_runtime(call).expect("an answer"), b"old");
    let answer = on_a_runtime(host.call_async("any", b"new"));
    assert_eq!(answer.expect("an answer"), b"last");
    // Start functions of the new code may await too.
    host.replace_module(text("start_calls_host"))
        .expect("a good module");
    let answer = on_a_runtime(host.call_async("any", b""));
    assert_eq!(answer.expect("an answer"), b"start");
}

/// The host tiers up while its callback awaits.
fn tier_up_during_calls(engine: &Engine) {
    for first in engines(&[Async, Time]).filter(|first| first.name != engine.name) {
        let make = |engine: Engine| {
            move |module: &[u8]| Ok(engine.interruptible(module, Interruption::Time))
        };
        let tiers = Tiers::new(make(*first), make(*engine));
        let builder = WapcHost::tiered(text("echo_host"), tiers);
        let builder = builder.unwrap_or_else(|error| panic!("{}", chain(&error)));
        let host = build(builder.max_instances(4), 2);
        let host = Arc::new(host);
        runtime(2).block_on(async {
            let mut callers = JoinSet::new();
            for _ in 0..8 {
                let host = Arc::clone(&host);
                callers.spawn(async move {
                    let begun = Instant::now();
                    while host.generation() == 1 {
                        assert!(
                            begun.elapsed() < LONG,
                            "the optimized tier is not ready in time"
                        );
                        let answer = host.call_async("any", b"payload").await;
                        let answer = answer.unwrap_or_else(|error| panic!("{}", chain(&error)));
                        assert_eq!(answer, b"payload");
                        pause().await;
                    }
                });
            }
            while let Some(caller) = callers.join_next().await {
                caller.expect("no panic");
            }
        });
        assert_answers(&host, b"after");
        assert_eq!(host.stats().errors.total(), 0);
    }
}
