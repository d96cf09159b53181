//! Async calls: dropped at any moment, many at once, beside others on their
//! thread, and ending as blocking ones do.

use std::{
    future::{pending, poll_fn},
    pin::pin,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    task::{Context, Poll, Waker},
    thread,
    time::{Duration, Instant},
};

use conformance::{
    ENGINES, Engine, SHORT, chain,
    counted::Counts,
    outcome::{outcome, words},
    pause,
};
use guest_fixtures::wat;
use tokio::{
    runtime::{Builder, Runtime},
    task::JoinSet,
    time::{interval, sleep},
};
use wapc_host::{
    BoxError, CallOptions, CancelHandle, EngineError, Error, HostBuilder, Interruption, Limits,
    OwnedHostCall, ProtocolError, Reuse, Stats, StopReason, Tiers, WapcHost,
};

use crate::Case;

pub(crate) fn cases() -> Vec<Case> {
    vec![
        Case::new("dropped_in_a_host_call", dropped_in_a_host_call),
        Case::new("dropped_in_a_start_function", dropped_in_a_start_function),
        Case::new("dropped_in_the_first_start", dropped_in_the_first_start),
        Case::new("dropped_while_it_computes", dropped_while_it_computes),
        Case::new("dropped_in_the_line", dropped_in_the_line),
        Case::new("dropped_ten_thousand_times", dropped_ten_thousand_times),
        Case::new("answer_never_comes", answer_never_comes),
        Case::new("answer_comes_late", answer_comes_late),
        Case::new("callback_panics", callback_panics),
        Case::new("busy", busy),
        Case::new("over_while_it_waits", over_while_it_waits),
        Case::new("many_on_one_thread", |engine| many(engine, 1)),
        Case::new("many_on_two_threads", |engine| many(engine, 2)),
        Case::new("callback_calls_another_host", callback_calls_another_host),
        Case::new("swaps_meanwhile", swaps_meanwhile),
        Case::new("swaps_while_one_waits", swaps_while_one_waits),
        Case::new("tiers_meanwhile", tiers_meanwhile),
        Case::new("fills_a_buffer", fills_a_buffer),
        Case::new("checked_out", checked_out),
        Case::new("checked_out_in_turn", checked_out_in_turn),
        Case::new("checked_out_and_dropped", checked_out_and_dropped),
        Case::new("checked_out_with_options", checked_out_with_options),
        Case::new("others_run_beside_a_loop", others_run_beside_a_loop),
        Case::new("pauses_by_the_slice", pauses_by_the_slice),
        Case::new("cancelled_by_a_neighbour", cancelled_by_a_neighbour),
        Case::new("ends_as_a_blocking_call", ends_as_a_blocking_call),
        Case::new("fuel_is_the_same", fuel_is_the_same),
        Case::new("without_interruption", without_interruption),
        Case::new("blocking_call_is_refused", blocking_call_is_refused),
        Case::new("blocking_calls_in_between", blocking_calls_in_between),
        Case::new("on_a_thread_of_its_own", on_a_thread_of_its_own),
    ]
}

/// Much longer than anything here may take.
const LONG: Duration = Duration::from_secs(60);

/// Runs `future` on a runtime of this thread, with time.
pub(crate) fn on_a_runtime<T>(future: impl Future<Output = T>) -> T {
    runtime(1).block_on(future)
}

/// Both outputs, of futures that run beside each other.
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

/// Answers with the payload, after it has let others run `yields` times; never
/// to `never`, late to `late`; panics at `panic`, fails at `fail`.
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

/// Polls `future` up to `polls` times, then drops it. Its output if that was
/// there by then.
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

/// Waits until nobody has a place or waits for one: after a swap, the clock may
/// be renewing an instance at the moment.
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
        // The instance is gone with the call.
        assert_eq!(places(&host.stats()), (0, 0, 0), "after {polls}");
        assert_answers(&host, b"y");
        assert_eq!(places(&host.stats()), (1, 1, 0), "after {polls}");
    }
    assert!(suspended >= YIELDS, "{suspended}");
    // Each call that was dropped took its instance with it; no other did.
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
        // Each call begins with the start of an instance.
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

fn dropped_in_the_line(engine: &Engine) {
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
        // The first in the line, and then those behind it.
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

fn answer_never_comes(engine: &Engine) {
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
    // By the same thread, by another one, and before.
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

/// Many ticks go by in a host call; the guest must not pay for them.
fn answer_comes_late(engine: &Engine) {
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

/// The deadline and the cancel handle of a call that is still in the line.
fn over_while_it_waits(engine: &Engine) {
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

/// A guest waits for a guest of another host, of each engine, in turn.
fn callback_calls_another_host(engine: &Engine) {
    for other in ENGINES {
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
        // The deadline of the outer call ends the inner one as well.
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

fn swaps_meanwhile(engine: &Engine) {
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

/// A swap does not wait for a call that awaits; the call ends on its own code.
fn swaps_while_one_waits(engine: &Engine) {
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
    // Start functions of the new code may await as well.
    host.replace_module(text("start_calls_host"))
        .expect("a good module");
    let answer = on_a_runtime(host.call_async("any", b""));
    assert_eq!(answer.expect("an answer"), b"start");
}

/// The host moves to another engine while its callback awaits.
fn tiers_meanwhile(engine: &Engine) {
    for first in ENGINES.iter().filter(|first| first.name != engine.name) {
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
                        assert!(begun.elapsed() < LONG, "the optimized tier never comes");
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

/// In each form of call, whether the engine suspends the guest or not.
fn fills_a_buffer(engine: &Engine) {
    let suspended = build(builder(engine, "echo_host"), 1);
    let provider = engine.interruptible(text("echo_host"), Interruption::Time);
    let on_a_thread = Counts::default().count_without_suspension(provider);
    for host in [&suspended, &build(WapcHost::builder(on_a_thread), 1)] {
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
            // Others have the other instance.
            let others = host.call_async("keep", b"other").await.expect("an answer");
            assert!(others.is_empty() || others == b"other");
        }
        // A swap is for the next check-out.
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
        // After a trap comes a new instance.
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

/// First come, first served, whether by a call or a check-out, a thread or a
/// task.
fn checked_out_in_turn(engine: &Engine) {
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
    // Whoever leaves the line is not missed.
    drop(calls.remove(1));
    assert_eq!(places(&host.stats()), (1, 0, 3));
    drop(first);
    // It is not the last one's turn.
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
    // A thread waits for a task.
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
        // The instance is gone at once, and its place is still held.
        assert_eq!(places(&host.stats()), (0, 0, 0), "after {polls}");
        assert_eq!(counts.made(), counts.dropped());
        let answer = on_a_runtime(held.call_async("any", b"y"));
        assert_eq!(answer.expect("an answer"), b"y");
        assert_eq!(places(&host.stats()), (1, 0, 0), "after {polls}");
    }
    drop(held);
    assert_eq!(places(&host.stats()), (1, 1, 0));
    // What is dropped while it waits, or is never polled, leaves nothing.
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
        // Whoever waits has a deadline, a handle, and the host's limit.
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

fn pauses_by_the_slice(engine: &Engine) {
    let polls = |interval| {
        let host = build(builder(engine, "hostile/loop").yield_interval(interval), 0);
        let options = CallOptions::default().timeout(SHORT);
        let with = host.with(&options);
        let mut call = pin!(with.call_async("bad", b""));
        let mut polls = 0_u32;
        let result = on_a_runtime(poll_fn(|context| {
            polls += 1;
            call.as_mut().poll(context)
        }));
        assert!(matches!(result, Err(Error::TimedOut { .. })), "{result:?}");
        polls
    };
    assert_eq!(polls(LONG), 1);
    assert!((1..=6).contains(&polls(SHORT / 5)));
    assert!(polls(Duration::ZERO) > 1);
}

fn others_run_beside_a_loop(engine: &Engine) {
    for guest in ["loop", "loop_calls", "loop_counting", "loop_imports"] {
        let guest = format!("hostile/{guest}");
        let limits = Limits::default().timeout(SHORT);
        let host = build(builder(engine, &guest).limits(limits), 0);
        let beats = Arc::new(AtomicU64::new(0));
        let beat = Arc::clone(&beats);
        on_a_runtime(async {
            let heart = tokio::spawn(async move {
                let mut every = interval(Duration::from_millis(5));
                loop {
                    every.tick().await;
                    beat.fetch_add(1, Ordering::Relaxed);
                }
            });
            let result = host.call_async("bad", b"").await;
            heart.abort();
            assert!(matches!(result, Err(Error::TimedOut { .. })), "{result:?}");
            // Two calls that loop let each other run.
            let options = CallOptions::default().timeout(Duration::from_millis(20));
            let result = host.with(&options).call_async("bad", b"").await;
            assert!(matches!(result, Err(Error::TimedOut { .. })), "{result:?}");
            let answer = host.call_async("good", b"").await;
            assert_eq!(answer.expect("an answer"), b"good");
        });
        let beats = beats.load(Ordering::Relaxed);
        // A guest that does not pause lets none through. How many there are is
        // up to the machine.
        assert!(beats > 1, "{guest}: {beats} beats");
    }
}

/// A cancel handle that is used on the guest's own thread.
fn cancelled_by_a_neighbour(engine: &Engine) {
    let limits = Limits::default().timeout(LONG);
    let host = build(builder(engine, "hostile/loop").limits(limits), 0);
    let cancel = CancelHandle::new();
    let options = CallOptions::default().cancel(&cancel);
    let result = on_a_runtime(async {
        let call = async { host.with(&options).call_async("bad", b"").await };
        let cancelled = async {
            sleep(Duration::from_millis(20)).await;
            cancel.cancel();
        };
        both(call, cancelled).await.0
    });
    assert!(matches!(result, Err(Error::Cancelled { .. })), "{result:?}");
    let answer = on_a_runtime(host.call_async("good", b""));
    assert_eq!(answer.expect("an answer"), b"good");
}

fn ends_as_a_blocking_call(engine: &Engine) {
    for by in [
        Interruption::Time,
        Interruption::Fuel,
        Interruption::TimeAndFuel,
    ] {
        let limits = match by {
            Interruption::Time => Limits::default().timeout(SHORT),
            Interruption::Fuel => fuelled(),
            _ => Limits::default().timeout(LONG).fuel(FUEL),
        };
        let make = || {
            let provider = engine.interruptible(text("hostile/loop"), by);
            WapcHost::builder(provider).limits(limits.clone())
        };
        let host = make().build(|_, _, _, _, payload| Ok(payload.to_vec()));
        let host = host.unwrap_or_else(|error| panic!("{}", chain(&error)));
        let awaiting = build(make(), 1);
        let blocking = host.call("bad", b"x");
        assert_eq!(outcome(&blocking), "limit fuel-or-deadline");
        for found in [
            on_a_runtime(host.call_async("bad", b"x")),
            on_a_runtime(awaiting.call_async("bad", b"x")),
        ] {
            assert_eq!(
                found.as_ref().map_err(words),
                blocking.as_ref().map_err(words)
            );
        }
        for guest in [
            "hostile/loop_in_start_section",
            "hostile/loop_in_start",
            "hostile/loop_in_init",
        ] {
            let make = || WapcHost::builder(engine.interruptible(text(guest), by));
            let limits = limits.clone().start_timeout(match by {
                Interruption::Time => Some(SHORT),
                Interruption::Fuel => None,
                _ => Some(LONG),
            });
            let make = || make().limits(limits.clone());
            let blocking = make().build(|_, _, _, _, payload| Ok(payload.to_vec()));
            let found = on_a_runtime(make().build_async(|call| answer(call, 1)));
            let Err(Error::Init(EngineError::Start { cause, .. })) = &found else {
                panic!("it must not start: {found:?}");
            };
            let stop = &**cause;
            assert!(matches!(
                stop,
                EngineError::Stopped(StopReason::TimedOut { .. } | StopReason::Limit(_))
            ));
            assert_eq!(
                words(&found.expect_err("no host")),
                words(&blocking.expect_err("no host"))
            );
        }
    }
}

const FUEL: u64 = 100_000;

/// Limits of fuel alone.
fn fuelled() -> Limits {
    let limits = Limits::default().timeout(None).start_timeout(None);
    limits.fuel(FUEL)
}

/// The least fuel that suffices is the same in each kind of call.
fn fuel_is_the_same(engine: &Engine) {
    for by in [Interruption::Fuel, Interruption::TimeAndFuel] {
        let make =
            || WapcHost::builder(engine.interruptible(text("echo_host"), by)).limits(fuelled());
        let blocking = make().build(|_, _, _, _, payload| Ok(payload.to_vec()));
        let blocking = blocking.unwrap_or_else(|error| panic!("{}", chain(&error)));
        let awaiting = build(make(), 2);
        let with = |fuel| CallOptions::default().fuel(fuel);
        let least = |answers: &dyn Fn(&CallOptions) -> bool| {
            let mut range = (1, FUEL);
            while range.0 < range.1 {
                let middle = range.0.midpoint(range.1);
                match answers(&with(middle)) {
                    true => range.1 = middle,
                    false => range.0 = middle + 1,
                }
            }
            range.0
        };
        let found = [
            least(&|options| blocking.with(options).call("any", b"x").is_ok()),
            least(&|options| on_a_runtime(blocking.with(options).call_async("any", b"x")).is_ok()),
            least(&|options| on_a_runtime(awaiting.with(options).call_async("any", b"x")).is_ok()),
        ];
        assert!(
            found[0] > 10 && found.iter().all(|least| *least == found[0]),
            "{found:?}"
        );
    }
}

fn without_interruption(engine: &Engine) {
    let provider = engine.interruptible(text("echo_host"), Interruption::Off);
    let host = build(WapcHost::builder(provider).limits(Limits::unlimited()), 2);
    for polls in 1..=2 {
        assert!(poll_times(host.call_async("any", b"x"), polls).is_none());
        assert_answers(&host, b"y");
    }
}

fn blocking_call_is_refused(engine: &Engine) {
    let host = build(builder(engine, "echo_host"), 1);
    for _ in 0..2 {
        let result = host.call("any", b"x");
        let Err(Error::Protocol { source, .. }) = &result else {
            panic!("it must be refused: {result:?}");
        };
        assert!(matches!(source, ProtocolError::CallbackAwaits { .. }));
        assert_answers(&host, b"after");
    }
}

/// Guests that do not call their host are called in either way, also on the
/// same instance.
fn blocking_calls_in_between(engine: &Engine) {
    let host = build(builder(engine, "hostile/reenter"), 1);
    for _ in 0..3 {
        assert_eq!(host.call("good", b"").expect("an answer"), b"good");
        let answer = on_a_runtime(host.call_async("good", b""));
        assert_eq!(answer.expect("an answer"), b"good");
    }
    let mut checked_out = host.check_out().expect("an instance");
    for _ in 0..3 {
        let answer = checked_out.call("good", b"");
        assert_eq!(answer.expect("an answer"), b"good");
    }
    drop(checked_out);
    assert_eq!(places(&host.stats()), (1, 1, 0));
    // A limit is met by a blocking call of such an instance as well.
    let host = build(builder(engine, "hostile/loop_imports"), 1);
    let options = CallOptions::default().timeout(Duration::from_millis(20));
    let result = host.with(&options).call("bad", b"");
    assert!(matches!(result, Err(Error::TimedOut { .. })), "{result:?}");
    assert_eq!(host.call("good", b"").expect("an answer"), b"good");
}

/// An engine behind a provider that knows of no async calls.
fn on_a_thread_of_its_own(engine: &Engine) {
    let counts = Counts::default();
    let provider = engine.interruptible(text("echo_host"), Interruption::Time);
    let builder = WapcHost::builder(counts.count_without_suspension(provider));
    let host = build(builder.max_instances(2), 1);
    for payload in [&b"one"[..], b"two", b"late"] {
        assert_answers(&host, payload);
    }
    let result = on_a_runtime(host.call_async("any", b"fail"));
    assert_eq!(outcome(&result), "guest-error the host refused");
    for polls in 1..=3 {
        assert!(poll_times(host.call_async("any", b"never"), polls).is_none());
        assert_answers(&host, b"after");
    }
    let options = CallOptions::default().timeout(SHORT);
    let result = on_a_runtime(host.with(&options).call_async("any", b"never"));
    assert!(matches!(result, Err(Error::TimedOut { .. })), "{result:?}");
    drop(host);
    assert_eq!(counts.left_after(LONG), 0);
}
