//! Async calls: dropped at any time, many at once, beside other tasks of their
//! thread, and with the same results as blocking ones.

mod answers;
mod check_outs;
mod contention;
mod dropped;
mod interruption;
mod swaps;
mod wasi;

use std::{
    future::{pending, poll_fn},
    pin::pin,
    task::{Context, Poll, Waker},
    thread,
    time::{Duration, Instant},
};

use conformance::{Engine, SHORT, chain, pause};
use guest_fixtures::wat;
use tokio::{
    runtime::{Builder, Runtime},
    time::sleep,
};
use wapc_host::{BoxError, HostBuilder, Interruption, OwnedHostCall, Payload, Stats, WapcHost};

use crate::Case;

pub(crate) fn cases() -> Vec<Case> {
    let own = vec![Case::new("owned_payloads", owned_payloads)];
    [
        own,
        dropped::cases(),
        answers::cases(),
        contention::cases(),
        swaps::cases(),
        check_outs::cases(),
        interruption::cases(),
        wasi::cases(),
    ]
    .into_iter()
    .flatten()
    .collect()
}

/// Much longer than any case takes.
const LONG: Duration = Duration::from_secs(60);

/// Runs `future` on a runtime of this thread, with timers.
pub(crate) fn on_a_runtime<T>(future: impl Future<Output = T>) -> T {
    runtime(1).block_on(future)
}

/// Runs two futures concurrently, and returns both outputs.
async fn both<A, B>(one: impl Future<Output = A>, other: impl Future<Output = B>) -> (A, B) {
    let (mut one, mut other) = (pin!(one), pin!(other));
    let (mut first, mut second) = (None, None);
    poll_fn(move |context| {
        if first.is_none()
            && let Poll::Ready(output) = one.as_mut().poll(context)
        {
            first = Some(output);
        }
        if second.is_none()
            && let Poll::Ready(output) = other.as_mut().poll(context)
        {
            second = Some(output);
        }
        match (first.take(), second.take()) {
            (Some(first), Some(second)) => Poll::Ready((first, second)),
            unfinished => {
                (first, second) = unfinished;
                Poll::Pending
            }
        }
    })
    .await
}

fn runtime(threads: usize) -> Runtime {
    let mut builder = match threads {
        1 => Builder::new_current_thread(),
        _ => Builder::new_multi_thread(),
    };
    if threads > 1 {
        builder.worker_threads(threads);
    }
    builder.enable_time().build().expect("a runtime")
}

fn text(name: &str) -> &'static [u8] {
    wat(name).expect("a guest of this name").as_bytes()
}

fn builder(engine: &Engine, guest: &str) -> HostBuilder {
    WapcHost::builder(engine.interruptible(text(guest), Interruption::Time))
}

/// Answers with the payload after yielding `yields` times. Never answers `never`,
/// answers `late` after [`SHORT`], panics for `panic`, fails for `fail`.
async fn answer(call: OwnedHostCall, yields: usize) -> Result<Vec<u8>, BoxError> {
    for _ in 0..yields {
        pause().await;
    }
    match call.payload() {
        b"never" => pending().await,
        b"late" => sleep(SHORT).await,
        b"panic" => panic!("the callback panics on purpose"),
        b"fail" => return Err("the host refused".into()),
        _ => {}
    }
    Ok(call.into_payload())
}

fn build(builder: HostBuilder, yields: usize) -> WapcHost {
    on_a_runtime(builder.build_async(move |call| answer(call, yields)))
        .unwrap_or_else(|error| panic!("{}", chain(&error)))
}

/// Polls `future` up to `polls` times, then drops it. Returns its output, if it was
/// ready.
fn poll_times<T>(future: impl Future<Output = T>, polls: usize) -> Option<T> {
    let mut future = pin!(future);
    let mut context = Context::from_waker(Waker::noop());
    (0..polls).find_map(|_| match future.as_mut().poll(&mut context) {
        Poll::Ready(output) => Some(output),
        Poll::Pending => None,
    })
}

/// (live, idle, waiting)
fn places(stats: &Stats) -> (usize, usize, usize) {
    (stats.live, stats.idle, stats.waiting)
}

/// Waits until no slot is in use and no call waits for one. After a swap the clock may
/// still be refreshing an instance.
fn until_all_are_idle(host: &WapcHost) {
    let began = Instant::now();
    loop {
        let stats = host.stats();
        if (stats.idle, stats.waiting) == (stats.live, 0) {
            break;
        }
        assert!(began.elapsed() < Duration::from_secs(30), "{stats:?}");
        thread::yield_now();
    }
}

fn assert_answers(host: &WapcHost, payload: &[u8]) {
    let answer = on_a_runtime(host.call_async("any", payload));
    let answer = answer.unwrap_or_else(|error| panic!("{}", chain(&error)));
    assert_eq!(answer, payload);
}

/// Payloads that move into the call, small and large, one after the other on
/// the same instance.
fn owned_payloads(engine: &Engine) {
    let host = build(builder(engine, "echo_host"), 1);
    let large = vec![b'x'; 40_000];
    on_a_runtime(async {
        for round in 0..2 {
            let calls: [(Payload<'_>, &[u8]); 6] = [
                (large.clone().into(), &large),
                (String::from("text").into(), b"text"),
                (b"borrowed".into(), b"borrowed"),
                (Vec::new().into(), b""),
                (large.as_slice().into(), &large),
                ("text".into(), b"text"),
            ];
            for (payload, expected) in calls {
                let answer = host.call_async("any", payload).await;
                assert_eq!(answer.expect("an answer"), expected, "in round {round}");
            }
        }
    });
    assert_eq!(places(&host.stats()), (1, 1, 0));
}
