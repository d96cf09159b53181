//! Calls of one host from several threads.

use std::{
    sync::{
        Barrier,
        atomic::{AtomicU64, Ordering},
    },
    thread,
};

use conformance::{Capability::AnyModule, Engine};
use guest_fixtures::{HELLO_C, wat};

use crate::Case;

pub(crate) fn cases() -> Vec<Case> {
    vec![
        Case::new(
            "eight_threads_share_an_instance",
            eight_threads_share_an_instance,
        ),
        Case::new("threads_call_while_one_swaps", threads_call_while_one_swaps),
        Case::new(
            "threads_call_while_guests_trap",
            threads_call_while_guests_trap,
        )
        .needs(&[AnyModule]),
    ]
}

const THREADS: u64 = 8;
const CALLS: u64 = 100_000;

fn eight_threads_share_an_instance(engine: &Engine) {
    let host = engine.host(wat("echo").expect("the guest").as_bytes());
    let barrier = Barrier::new(usize::try_from(THREADS).expect("a small number"));
    let right = AtomicU64::new(0);
    thread::scope(|scope| {
        for thread in 0..THREADS {
            let (host, barrier, right) = (&host, &barrier, &right);
            scope.spawn(move || {
                let mut buffer = vec![];
                barrier.wait();
                for call in 0..CALLS {
                    let payload = (thread << 32 | call).to_le_bytes();
                    host.call_into("echo", &payload, &mut buffer)
                        .expect("an answer");
                    right.fetch_add(u64::from(buffer == payload), Ordering::Relaxed);
                }
            });
        }
    });
    assert_eq!(right.into_inner(), THREADS * CALLS);
}

fn threads_call_while_one_swaps(engine: &Engine) {
    const SWAPS: u64 = 50;

    let [first, second] = [wat("echo"), wat("respond_twice")].map(|text| text.expect("the guest"));
    let host = engine.host(first.as_bytes());
    thread::scope(|scope| {
        for _ in 0..4 {
            let host = &host;
            scope.spawn(move || {
                while host.generation() <= SWAPS {
                    let before = host.generation();
                    let response = host.call("any", b"payload").expect("an answer");
                    let after = host.generation();
                    let possible = |generation| match generation % 2 {
                        1 => &b"payload"[..],
                        _ => b"last",
                    };
                    assert!((before..=after).any(|generation| response == possible(generation)));
                }
            });
        }
        for swap in 1..=SWAPS {
            let version = if swap % 2 == 1 { second } else { first };
            host.replace_module(version.as_bytes())
                .expect("a good module");
        }
    });
}

fn threads_call_while_guests_trap(engine: &Engine) {
    let host = engine.host(HELLO_C);
    thread::scope(|scope| {
        for thread in 0..4 {
            let host = &host;
            scope.spawn(move || {
                for call in 0..500 {
                    match (thread + call) % 4 {
                        0 => assert!(host.call("panic", b"").is_err()),
                        _ => assert_eq!(host.call("echo", b"x").expect("an answer"), b"x"),
                    }
                }
            });
        }
    });
}
