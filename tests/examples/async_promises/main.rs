//! Figures of what async calls promise: other tasks, timers and sockets of the executor go on beside
//! guests that loop or wait, and a dropped call leaves nothing behind. Exits with 1 if one does.
//!
//!     cargo run --release -p conformance --example async_promises [CALLS]

mod timers;

use std::{
    cell::Cell,
    collections::VecDeque,
    env,
    future::pending,
    pin::pin,
    process::ExitCode,
    rc::Rc,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    task::{Context, Poll, Waker},
    thread,
    time::{Duration, Instant},
};

use conformance::{
    Capability::{AnyModule, Async, Time},
    Engine,
    counted::Counts,
    engines, pause,
};
use guest_fixtures::wat;
use tokio::{
    runtime::{Builder, Runtime},
    task::LocalSet,
    time::{MissedTickBehavior, interval},
};
use wapc_host::{
    BoxError, CallOptions, Error, Interruption, OwnedHostCall, WapcHost, WebAssemblyEngineProvider,
};

fn main() -> Result<ExitCode, BoxError> {
    let calls = match env::args().nth(1) {
        Some(calls) => calls.parse()?,
        None => 100_000,
    };
    println!("a tick each 5 ms beside a guest that loops, with a deadline of 200 ms");
    for engine in engines(&[AnyModule, Async, Time]) {
        heartbeat(engine, &runtime()?)?;
    }
    timers::show()?;
    println!("\n{calls} calls dropped at various points; left of them:");
    let mut left = 0;
    for engine in engines(&[AnyModule, Async, Time]) {
        left += drop_many(engine, calls)?;
    }
    Ok(match left {
        0 => ExitCode::SUCCESS,
        _ => ExitCode::FAILURE,
    })
}

fn runtime() -> Result<Runtime, BoxError> {
    Ok(Builder::new_current_thread().enable_time().build()?)
}

fn provider(engine: &Engine, guest: &str) -> Result<Box<dyn WebAssemblyEngineProvider>, BoxError> {
    let text = wat(guest).ok_or("no such guest")?;
    Ok(engine.interruptible(text.as_bytes(), Interruption::Time))
}

/// Measures the longest time between two ticks on the guest's thread.
fn heartbeat(engine: &Engine, runtime: &Runtime) -> Result<(), BoxError> {
    const BEAT: Duration = Duration::from_millis(5);
    const DEADLINE: Duration = Duration::from_millis(200);

    let host = WapcHost::new(provider(engine, "hostile/loop")?, |_, _, _, _, _| {
        Ok(vec![])
    })?;
    let beats = Rc::new(Cell::new((0_u32, Duration::ZERO)));
    let seen = Rc::clone(&beats);
    let (ended, took) = LocalSet::new().block_on(runtime, async {
        let heart = tokio::task::spawn_local(async move {
            let mut every = interval(BEAT);
            every.set_missed_tick_behavior(MissedTickBehavior::Delay);
            let mut last = Instant::now();
            loop {
                every.tick().await;
                let (beats, worst) = seen.get();
                seen.set((beats + 1, worst.max(last.elapsed())));
                last = Instant::now();
            }
        });
        pause().await;
        let begun = Instant::now();
        let options = CallOptions::default().deadline(begun + DEADLINE);
        let ended = host.with(&options).call_async("bad", b"").await;
        heart.abort();
        (ended, begun.elapsed())
    });
    if !matches!(ended, Err(Error::TimedOut { .. })) {
        return Err("a guest that loops has ended in another way".into());
    }
    let (beats, worst) = beats.get();
    println!(
        "{:<10} {beats:>4} beats, the longest gap {:>7} us, the call ended after {} ms",
        engine.name,
        worst.as_micros(),
        took.as_millis()
    );
    Ok(())
}

/// The time for guests that end after their call was dropped.
const PATIENCE: Duration = Duration::from_secs(10);

/// Drops calls, some of which wait for an instance and some for an answer, and counts
/// the instances and answers that are left.
fn drop_many(engine: &Engine, calls: u64) -> Result<u64, BoxError> {
    let runtime = runtime()?;
    let (instances, answers) = (Counts::default(), Answers::default());
    let guest = instances.count(provider(engine, "echo_host")?);
    let begun = answers.clone();
    let answer = move |call: OwnedHostCall| {
        let answer = begun.begin();
        async move {
            pause().await;
            match call.payload() {
                b"never" => pending().await,
                _ => drop(answer),
            }
            Ok(call.into_payload())
        }
    };
    let builder = WapcHost::builder(guest).max_instances(8);
    let host = Arc::new(runtime.block_on(builder.build_async(answer))?);
    let start = Instant::now();
    drop_polled(&host, calls / 2)?;
    runtime.block_on(drop_tasks(&host, calls - calls / 2));
    let took = start.elapsed();
    let patience = Instant::now() + PATIENCE;
    let tasks = || u64::try_from(runtime.metrics().num_alive_tasks()).unwrap_or(u64::MAX);
    let live = |host: &WapcHost| u64::try_from(host.stats().live).unwrap_or(u64::MAX);
    while Instant::now() < patience
        && (instances.left() > live(&host) || answers.left() > 0 || tasks() > 0)
    {
        runtime.block_on(pause());
        thread::sleep(Duration::from_millis(1));
    }
    let stats = host.stats();
    let turns = u64::try_from(stats.live - stats.idle + stats.waiting)?;
    let answer = runtime.block_on(host.call_async("any", b"after"))?;
    drop(host);
    let left = instances.left_after(PATIENCE);
    println!(
        "{:<10} {} of {} instances, {turns} turns, {} of {} answers, {} tasks; \
         {} ns a call",
        engine.name,
        left,
        instances.made(),
        answers.left(),
        answers.begun(),
        tasks(),
        took.as_nanos() / u128::from(calls.max(1))
    );
    let wrong = u64::from(answer != b"after");
    Ok(wrong + left + turns + answers.left() + tasks())
}

/// Polls each call up to three times, and drops it.
fn drop_polled(host: &WapcHost, calls: u64) -> Result<(), BoxError> {
    let mut context = Context::from_waker(Waker::noop());
    for call in 0..calls {
        let mut future = pin!(host.call_async("any", b"never"));
        for _ in 0..call % 4 {
            if let Poll::Ready(ended) = future.as_mut().poll(&mut context) {
                return Err(format!("a call without an answer has ended: {ended:?}").into());
            }
        }
    }
    Ok(())
}

/// Keeps twice as many tasks in flight as there are instances, and ends the
/// oldest one each time.
async fn drop_tasks(host: &Arc<WapcHost>, calls: u64) {
    let mut in_flight = VecDeque::new();
    for _ in 0..calls {
        let host = Arc::clone(host);
        in_flight.push_back(tokio::spawn(async move {
            let ended = host.call_async("any", b"never").await;
            drop(ended);
        }));
        if in_flight.len() > 16
            && let Some(oldest) = in_flight.pop_front()
        {
            oldest.abort();
        }
        pause().await;
    }
    for task in in_flight {
        task.abort();
    }
}

/// Counts the callback's live futures.
#[derive(Clone, Default)]
struct Answers(Arc<(AtomicU64, AtomicU64)>);

impl Answers {
    fn begin(&self) -> Answering {
        self.0.0.fetch_add(1, Ordering::SeqCst);
        Answering(self.clone())
    }

    fn begun(&self) -> u64 {
        self.0.0.load(Ordering::SeqCst)
    }

    fn left(&self) -> u64 {
        self.begun() - self.0.1.load(Ordering::SeqCst)
    }
}

/// One live future of the callback.
struct Answering(Answers);

impl Drop for Answering {
    fn drop(&mut self) {
        self.0.0.1.fetch_add(1, Ordering::SeqCst);
    }
}
