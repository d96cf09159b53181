//! Calls that are cancelled or out of time in the moment in which they end.

use std::{
    num::NonZeroUsize,
    sync::{
        Mutex,
        atomic::{AtomicU64, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use clap::Args;
use conformance::counted::Counts;
use provider_wasmtime::{Builder, Pooling, WasmtimeEngineProvider};
use wapc_host::{BoxError, CallOptions, CancelHandle, Error, Interruption, Reuse, WapcHost};

use crate::{
    common::{Failures, PATIENCE, chain, no_host_calls},
    engine::Engine,
    load::under_load,
    report::Report,
};

/// The options of `soak kills`.
#[derive(Clone, Debug, Args)]
pub(crate) struct Options {
    /// The number of calling threads
    #[arg(long, default_value = "2", value_name = "N")]
    threads: NonZeroUsize,

    /// The number of calls, over all ways to make instances
    #[arg(long, default_value_t = 10_000_000, value_name = "N")]
    calls: u64,
}

/// Turns once for each byte of its payload and answers; for an operation with a name
/// of four letters it turns for ever.
const GUEST: &str = r#"(module
    (import "wapc" "__guest_response" (func $respond (param i32 i32)))
    (memory (export "memory") 1)
    (data (i32.const 0) "done")
    (func (export "__guest_call") (param $op_len i32) (param $msg_len i32) (result i32)
        (if (i32.eq (local.get $op_len) (i32.const 4)) (then (loop $ever (br $ever))))
        (block $done (loop $turn
            (br_if $done (i32.eqz (local.get $msg_len)))
            (local.set $msg_len (i32.sub (local.get $msg_len) (i32.const 1)))
            (br $turn)))
        (call $respond (i32.const 0) (i32.const 4))
        (i32.const 1)))"#;

/// The pause between swaps.
const BETWEEN_SWAPS: Duration = Duration::from_millis(20);

pub(crate) fn run(options: &Options) -> Result<Report, BoxError> {
    let threads = options.threads.get();
    let mut report = Report::new(
        format!("Calls that are killed as they end, {threads} threads"),
        &[
            "instances",
            "calls",
            "answered",
            "cancelled",
            "out of time",
            "swaps",
            "s",
        ],
    );
    let builder = || WasmtimeEngineProvider::builder().interruption(Interruption::Kill);
    let slots = u32::try_from(4 * threads).unwrap_or(u32::MAX);
    let pooled = || builder().pooling(Pooling::new(slots));
    let ways: [(&str, Builder, Reuse); 4] = [
        ("kept", builder(), Reuse::Keep),
        ("kept, from a pool", pooled(), Reuse::Keep),
        ("fresh", builder(), Reuse::Fresh),
        ("fresh, from a pool", pooled(), Reuse::Fresh),
    ];
    let calls = options.calls.div_ceil(4);
    for (name, builder, reuse) in ways {
        soak(&mut report, (name, builder, reuse), threads, calls)?;
    }
    Ok(report)
}

/// The calls of one thread.
#[derive(Default)]
struct Ended {
    answered: u64,
    cancelled: u64,
    out_of_time: u64,
    failures: Failures,
}

fn soak(
    report: &mut Report,
    (name, builder, reuse): (&str, Builder, Reuse),
    threads: usize,
    calls: u64,
) -> Result<(), BoxError> {
    let began = Instant::now();
    let counts = Counts::default();
    let provider = builder.build(GUEST.as_bytes())?;
    let host = WapcHost::builder(counts.count(Box::new(provider)))
        .max_instances(threads)
        .reuse(reuse)
        .build(no_host_calls)?;
    let called = AtomicU64::new(0);
    // The handle of each thread's call, for the next thread.
    let handles: Vec<_> = (0..threads).map(|_| Mutex::new(None)).collect();
    let (ended, swaps) = under_load(
        threads,
        |thread, stop| {
            let mut caller = Caller::new(&host, &handles, thread);
            while !stop.is_set() {
                caller.call();
                called.fetch_add(1, Ordering::Relaxed);
            }
            caller.ended
        },
        || {
            let mut swaps = 0_u64;
            while called.load(Ordering::Relaxed) < calls {
                thread::sleep(BETWEEN_SWAPS);
                host.replace_module(GUEST.as_bytes())?;
                swaps += 1;
            }
            Ok::<_, Error>(swaps)
        },
    );
    let mut sum = Ended::default();
    for thread in ended {
        sum.answered += thread.answered;
        sum.cancelled += thread.cancelled;
        sum.out_of_time += thread.out_of_time;
        sum.failures.merge(thread.failures);
    }
    drop(host);
    let left = counts.wait_until_all_dropped(PATIENCE);
    report.table.push(vec![
        name.to_owned(),
        called.into_inner().to_string(),
        sum.answered.to_string(),
        sum.cancelled.to_string(),
        sum.out_of_time.to_string(),
        swaps?.to_string(),
        format!("{:.1}", began.elapsed().as_secs_f64()),
    ]);
    report.judge(Engine::Wasmtime, name, sum.failures.count == 0);
    report.judge(Engine::Wasmtime, "drops", left.all_dropped());
    report.notes.extend(sum.failures.words);
    Ok(())
}

/// One thread's calls.
struct Caller<'s> {
    host: &'s WapcHost,
    own: &'s Mutex<Option<CancelHandle>>,
    other: &'s Mutex<Option<CancelHandle>>,
    random: u64,
    long: Vec<u8>,
    ended: Ended,
}

impl<'s> Caller<'s> {
    fn new(host: &'s WapcHost, handles: &'s [Mutex<Option<CancelHandle>>], thread: usize) -> Self {
        let mut from_own = handles.iter().cycle().skip(thread);
        let mut next = || from_own.next().expect("each thread has a handle");
        Self {
            host,
            own: next(),
            other: next(),
            random: 0x9e37_79b9_7f4a_7c15 ^ u64::try_from(thread).unwrap_or_default(),
            long: vec![0; 8 << 20],
            ended: Ended::default(),
        }
    }

    /// Returns a number below `bound`.
    fn random(&mut self, bound: usize) -> usize {
        self.random ^= self.random << 13;
        self.random ^= self.random >> 7;
        self.random ^= self.random << 17;
        let bound = u64::try_from(bound).unwrap_or(u64::MAX);
        usize::try_from(self.random % bound).unwrap_or_default()
    }

    fn call(&mut self) {
        match self.random(4096) {
            // The greatest share of a tick is a wait, so there are few of these.
            0 => self.timed("spin", 0, false),
            1..4 => {
                let turns = self.random(self.long.len());
                self.timed("turns", turns, true);
            }
            number if number % 4 == 0 => self.uninterrupted(),
            _ => self.cancelled(),
        }
    }

    /// Makes a call that takes about as long as it may.
    fn timed(&mut self, operation: &str, turns: usize, may_answer: bool) {
        let options = CallOptions::default().timeout(Duration::from_millis(1));
        let payload = self.long.get(..turns).unwrap_or_default();
        let result = self.host.with(&options).call(operation, payload);
        match result {
            Err(Error::TimedOut { .. }) => self.ended.out_of_time += 1,
            Ok(answer) if may_answer && answer == b"done" => self.ended.answered += 1,
            other => self.fail("a call with a timeout", other),
        }
    }

    /// Makes a call that nothing may end, with a handle or without.
    fn uninterrupted(&mut self) {
        let turns = self.random(MOST_TURNS);
        let payload = self.long.get(..turns).unwrap_or_default();
        let options = match turns % 2 {
            0 => CallOptions::default(),
            _ => CallOptions::default().cancel(&CancelHandle::new()),
        };
        match self.host.with(&options).call("turns", payload) {
            Ok(answer) if answer == b"done" => self.ended.answered += 1,
            other => self.fail("a call that nobody cancels", other),
        }
    }

    /// Makes a call that the other thread cancels, once it has cancelled that one's.
    fn cancelled(&mut self) {
        let cancel = CancelHandle::new();
        *lock(self.own) = Some(cancel.clone());
        let theirs = lock(self.other).take();
        for _ in 0..self.random(MOST_TURNS) {
            std::hint::spin_loop();
        }
        if let Some(theirs) = theirs {
            theirs.cancel();
        }
        let turns = self.random(MOST_TURNS);
        let payload = self.long.get(..turns).unwrap_or_default();
        let options = CallOptions::default().cancel(&cancel);
        match self.host.with(&options).call("turns", payload) {
            Ok(answer) if answer == b"done" => self.ended.answered += 1,
            Err(Error::Cancelled { .. }) if cancel.is_cancelled() => self.ended.cancelled += 1,
            other => self.fail("a call that may be cancelled", other),
        }
    }

    fn fail(&mut self, what: &str, ended: Result<Vec<u8>, Error>) {
        self.ended.failures.add(|| match ended {
            Ok(answer) => format!("{what}: {}", answer.escape_ascii()),
            Err(error) => format!("{what}: {}", chain(&error)),
        });
    }
}

/// The greatest number of a guest's turns, each about a nanosecond.
const MOST_TURNS: usize = 2_000;

fn lock(handle: &Mutex<Option<CancelHandle>>) -> std::sync::MutexGuard<'_, Option<CancelHandle>> {
    handle.lock().expect("no thread panics")
}
