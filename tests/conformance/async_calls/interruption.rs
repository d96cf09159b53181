//! Async calls of guests that compute: they yield, and end as blocking calls do.

use std::{
    future::{pending, poll_fn},
    pin::pin,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
        mpsc,
    },
    task::{Context, Wake, Waker},
    thread,
    time::Duration,
};

use conformance::{
    Capability::{AnyModule, Fuel, Yields},
    Engine, SHORT, chain,
    outcome::{outcome, words},
};
use tokio::time::{interval, sleep};
use wapc_host::{
    BoxFuture, CallOptions, CancelHandle, Error, Interruption, Limits, OwnedHostCall, WapcHost,
    error::{EngineError, ProtocolError, StopReason},
};

use super::{
    LONG, answer, assert_answers, both, build, builder, on_a_runtime, places, poll_times, text,
};
use crate::Case;

pub(super) fn cases() -> Vec<Case> {
    vec![
        Case::new(
            "other_tasks_run_beside_a_loop",
            other_tasks_run_beside_a_loop,
        )
        .needs(&[Yields])
        .needs(&[AnyModule]),
        Case::new(
            "timers_run_beside_spawned_loops",
            timers_run_beside_spawned_loops,
        )
        .needs(&[Yields])
        .needs(&[AnyModule]),
        Case::new("polled_by_a_waker", polled_by_a_waker).needs(&[AnyModule]),
        Case::new("yields_by_the_interval", yields_by_the_interval).needs(&[Yields]),
        Case::new("cancelled_by_another_task", cancelled_by_another_task).needs(&[Yields]),
        Case::new("ends_as_a_blocking_call", ends_as_a_blocking_call).needs(&[AnyModule, Fuel]),
        Case::new("fuel_is_the_same", fuel_is_the_same).needs(&[Fuel]),
        Case::new("without_interruption", without_interruption),
        Case::new("blocking_call_is_refused", blocking_call_is_refused),
        Case::new("blocking_calls_in_between", blocking_calls_in_between).needs(&[AnyModule]),
    ]
}

fn yields_by_the_interval(engine: &Engine) {
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

fn other_tasks_run_beside_a_loop(engine: &Engine) {
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
            // A second call that loops ends too.
            let options = CallOptions::default().timeout(Duration::from_millis(20));
            let result = host.with(&options).call_async("bad", b"").await;
            assert!(matches!(result, Err(Error::TimedOut { .. })), "{result:?}");
            let answer = host.call_async("good", b"").await;
            assert_eq!(answer.expect("an answer"), b"good");
        });
        let beats = beats.load(Ordering::Relaxed);
        // A guest that does not yield lets none through. Their number depends on the
        // machine.
        assert!(beats > 1, "{guest}: {beats} beats");
    }
}

/// tokio looks at its timers when it has nothing to run, or after many polls. Guests in tasks of
/// their own leave it the time.
fn timers_run_beside_spawned_loops(engine: &Engine) {
    const GUESTS: usize = 3;
    const TIME: Duration = Duration::from_millis(500);

    let host = Arc::new(build(
        builder(engine, "hostile/loop").max_instances(GUESTS),
        0,
    ));
    let beats = Arc::new(AtomicU64::new(0));
    let beat = Arc::clone(&beats);
    on_a_runtime(async {
        let calls: Vec<_> = (0..GUESTS)
            .map(|_| {
                let host = Arc::clone(&host);
                tokio::spawn(async move {
                    let options = CallOptions::default().timeout(TIME);
                    host.with(&options).call_async("bad", b"").await
                })
            })
            .collect();
        let heart = tokio::spawn(async move {
            loop {
                sleep(Duration::from_millis(5)).await;
                beat.fetch_add(1, Ordering::Relaxed);
            }
        });
        for call in calls {
            let result = call.await.expect("no panic");
            assert!(matches!(result, Err(Error::TimedOut { .. })), "{result:?}");
        }
        heart.abort();
    });
    // 60 or more on a machine that is free. A timer that waits for 61 polls has three.
    let beats = beats.load(Ordering::Relaxed);
    assert!(beats > 8, "{beats} beats");
}

/// An executor may poll within `wake()`. Whatever thread of the host's that is, it is not the clock's:
/// other calls keep their deadlines.
fn polled_by_a_waker(engine: &Engine) {
    let cancel = CancelHandle::new();
    let (tell, told) = mpsc::channel();
    let looping = build(builder(engine, "hostile/loop").yield_interval(LONG), 0);
    let waiting = {
        let builder = builder(engine, "echo_host").max_instances(1);
        let never = |_: OwnedHostCall| pending::<Result<Vec<u8>, wapc_host::BoxError>>();
        on_a_runtime(builder.build_async(never)).expect("a host")
    };
    let options = CallOptions::default().cancel(&cancel);
    PollsInWake::start(async move {
        let short = CallOptions::default().timeout(SHORT);
        let ended = waiting.with(&short).call_async("any", b"").await;
        assert!(matches!(ended, Err(Error::TimedOut { .. })), "{ended:?}");
        _ = tell.send(());
        // Runs where the end of the time has woken it.
        _ = looping.with(&options).call_async("bad", b"").await;
    });
    told.recv_timeout(LONG).expect("the first call has ended");

    let host = build(builder(engine, "hostile/loop"), 0);
    let (tell, told) = mpsc::channel();
    thread::spawn(move || {
        let options = CallOptions::default().timeout(SHORT);
        _ = tell.send(host.with(&options).call("bad", b""));
    });
    let ended = told.recv_timeout(LONG);
    cancel.cancel();
    assert!(
        matches!(ended, Ok(Err(Error::TimedOut { .. }))),
        "{ended:?}"
    );
}

/// A task whose waker polls it.
struct PollsInWake {
    future: parking_lot::Mutex<BoxFuture<'static, ()>>,
    wakes: AtomicU64,
}

impl PollsInWake {
    fn start(future: impl Future<Output = ()> + Send + 'static) {
        let task = Arc::new(Self {
            future: parking_lot::Mutex::new(Box::pin(future)),
            wakes: AtomicU64::new(0),
        });
        task.wake();
    }
}

impl Wake for PollsInWake {
    fn wake(self: Arc<Self>) {
        self.wakes.fetch_add(1, Ordering::SeqCst);
        let mut seen = 0;
        // Whoever holds the lock sees the new number.
        while seen != self.wakes.load(Ordering::SeqCst)
            && let Some(mut future) = self.future.try_lock()
        {
            seen = self.wakes.load(Ordering::SeqCst);
            let waker = Waker::from(Arc::clone(&self));
            if future
                .as_mut()
                .poll(&mut Context::from_waker(&waker))
                .is_ready()
            {
                *future = Box::pin(pending());
            }
        }
    }
}

/// A task cancels a call that runs on the same thread.
fn cancelled_by_another_task(engine: &Engine) {
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

/// Limits on fuel alone.
fn fuelled() -> Limits {
    let limits = Limits::default().timeout(None).start_timeout(None);
    limits.fuel(FUEL)
}

/// The least sufficient fuel is the same in each form of call.
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

/// Blocking and async calls of one instance may alternate, for guests that do not call
/// their host.
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
    // Limits hold for blocking calls of such an instance too.
    let host = build(builder(engine, "hostile/loop_imports"), 1);
    let options = CallOptions::default().timeout(Duration::from_millis(20));
    let result = host.with(&options).call("bad", b"");
    assert!(matches!(result, Err(Error::TimedOut { .. })), "{result:?}");
    assert_eq!(host.call("good", b"").expect("an answer"), b"good");
}
