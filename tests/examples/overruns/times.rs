//! Timeouts and cancelling.

use std::{
    fmt, fs,
    sync::mpsc,
    thread,
    time::{Duration, Instant},
};

use conformance::{
    Capability::{AnyModule, Time, Wasi},
    Engine, VARIANTS, engines,
    figures::median,
};
use wapc_host::{CallOptions, CancelHandle, Error, Limits, WapcHost, WasiSettings, wasi::Stdin};

use crate::{
    Verdict,
    guests::{guest, of_the_gallery},
};

/// The timeout of a guest, or the time until it is cancelled.
const TIME: Duration = Duration::from_millis(20);

/// The greatest allowed excess.
const BOUND: Duration = Duration::from_millis(10);

const ROUNDS: usize = 21;

/// A guest with endless work.
struct Endless {
    doing: &'static str,
    module: fn() -> Vec<u8>,
    /// `true` if it works in its start functions, which cannot be cancelled.
    at_start: bool,
}

impl Endless {
    const fn new(doing: &'static str, module: fn() -> Vec<u8>) -> Self {
        Self {
            doing,
            module,
            at_start: false,
        }
    }

    const fn at_start(doing: &'static str, module: fn() -> Vec<u8>) -> Self {
        Self {
            doing,
            module,
            at_start: true,
        }
    }
}

const ENDLESS: &[Endless] = &[
    Endless::new("an empty loop", || of_the_gallery("loop")),
    Endless::new("calls of functions", || of_the_gallery("loop_calls")),
    Endless::new("calls without loop or recursion", || {
        of_the_gallery("loop_free")
    }),
    Endless::new("calls in tail position", || {
        of_the_gallery("loop_tail_call")
    }),
    Endless::new("host calls", || of_the_gallery("host_call_flood")),
    Endless::new("log lines", || of_the_gallery("log_flood")),
    Endless::new("responses of 1 MiB", || of_the_gallery("response_flood")),
    Endless::new("`memory.grow`", || of_the_gallery("memory_grow_loop")),
    Endless::new("`table.grow`", || of_the_gallery("table_grow_loop")),
    Endless::new("WASI: a sleep of an hour", || of_the_gallery("wasi_sleep")),
    Endless::new("WASI: a read of a silent standard input", || {
        of_the_gallery("wasi_read_stdin")
    }),
    Endless::new("WASI: polls", || of_the_gallery("wasi_poll_flood")),
    Endless::new("WASI: writes of 64 KiB", || {
        of_the_gallery("wasi_write_flood")
    }),
    Endless::new("`memory.fill` of 16 MiB", || of_the_gallery("loop_fill")),
    Endless::at_start("a loop in its start section", || {
        of_the_gallery("loop_in_start_section")
    }),
    Endless::at_start("a loop in `_start`", || of_the_gallery("loop_in_start")),
    Endless::at_start("a loop in `wapc_init`", || of_the_gallery("loop_in_init")),
    Endless::at_start("host calls in `wapc_init`", || {
        of_the_gallery("host_call_flood_in_start")
    }),
    Endless::at_start("WASI: a sleep of an hour in `_start`", || {
        of_the_gallery("wasi_sleep_in_start")
    }),
];

/// Guests with one instruction, which cannot be interrupted, over all the memory of
/// the default limit. The bound is that of the others, plus the time of the instruction
/// and of the release of the memory that it wrote.
const LONG: &[Endless] = &[
    Endless::new("`memory.fill` of 256 MiB", || {
        whole("(memory.fill (i32.const 0) (i32.const 1) (i32.const 0x10000000))")
    }),
    Endless::new("`memory.copy` of 256 MiB", || {
        whole("(memory.copy (i32.const 0) (i32.const 1) (i32.const 0x0fffffff))")
    }),
];

/// Makes a guest that repeats this for ever, or runs it once for an operation with a
/// name of five letters.
fn whole(instruction: &str) -> Vec<u8> {
    let memory = r#"(memory (export "memory") 4096)"#;
    let code = format!(
        "(if (i32.eq (local.get $op_len) (i32.const 4))
            (then (call $say (i32.const 0)) (return (i32.const 1))))
        (loop $more {instruction}
            (br_if $more (i32.ne (local.get $op_len) (i32.const 5))))
        (call $say (i32.const 0))"
    );
    guest(memory, &code)
}

pub(crate) fn measure(verdict: &mut Verdict) {
    println!(
        "| a guest that has {} ms, and for ever does | engine | past its timeout: median, worst | \
         past a cancel: median, worst | at most |",
        TIME.as_millis()
    );
    println!("|---|---|--:|--:|--:|");
    for endless in ENDLESS {
        for engine in kinds() {
            row(verdict, engine, endless, BOUND);
        }
    }
    for endless in LONG {
        for engine in kinds() {
            row(verdict, engine, endless, BOUND + once(engine, endless));
        }
    }
}

/// Returns the engines, and wasmtime with guests that are killed.
fn kinds() -> impl Iterator<Item = &'static Engine> {
    let kills = VARIANTS
        .iter()
        .filter(|variant| variant.name == "wasmtime_kill");
    engines(&[AnyModule, Time, Wasi]).chain(kills)
}

fn row(verdict: &mut Verdict, engine: &Engine, endless: &Endless, bound: Duration) {
    let Endless {
        doing,
        module,
        at_start,
    } = endless;
    let module = module();
    let (timeouts, cancels) = match at_start {
        true => (rounds(|| past_start_timeout(engine, &module)), None),
        false => {
            let timed = host(engine, &module, TIME).expect("a host");
            let timeless = host(engine, &module, None).expect("a host");
            (
                rounds(|| past_timeout(&timed)),
                Some(rounds(|| past_cancel(&timeless))),
            )
        }
    };
    println!(
        "| {doing} | {} | {timeouts} | {} | {:.0} ms |",
        engine.name,
        cancels.map_or_else(|| "–".to_owned(), |cancels| cancels.to_string()),
        milliseconds(bound)
    );
    for (what, past) in [("timeout", Some(timeouts)), ("cancel", cancels)] {
        let Some(past) = past else { continue };
        verdict.expect(past.worst <= milliseconds(bound), || {
            format!("{doing} on {}: {past} past its {what}", engine.name)
        });
    }
}

/// The excess in milliseconds, over several rounds.
#[derive(Clone, Copy)]
struct Past {
    median: f64,
    worst: f64,
    /// `true` if other programs used the processors in all rounds.
    disturbed: bool,
}

impl fmt::Display for Past {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:.2}, {:.1} ms", self.median, self.worst)?;
        match self.disturbed {
            true => f.write_str(" (disturbed)"),
            false => Ok(()),
        }
    }
}

/// Runs rounds until enough of them were undisturbed by other programs. Counts all
/// rounds if none was.
fn rounds(round: impl Fn() -> f64) -> Past {
    let (mut quiet, mut disturbed) = (vec![], vec![]);
    while quiet.len() < ROUNDS && disturbed.len() < 2 * ROUNDS {
        let before = waited();
        let past = round();
        match waited().saturating_sub(before) < QUIET {
            true => quiet.push(past),
            false => disturbed.push(past),
        }
    }
    let none = quiet.is_empty();
    let mut counted = if none { disturbed } else { quiet };
    let median = median(&mut counted).unwrap_or(f64::NAN);
    let worst = counted.last().copied().unwrap_or(f64::NAN);
    Past {
        median,
        worst,
        disturbed: none,
    }
}

/// Returns the time for which the threads of this process waited for a processor that
/// ran other programs or other virtual machines. Zero on other systems than Linux.
fn waited() -> Duration {
    let threads = fs::read_dir("/proc/self/task");
    let for_others: Duration = threads
        .into_iter()
        .flatten()
        .flatten()
        .filter_map(|thread| fs::read_to_string(thread.path().join("schedstat")).ok())
        .filter_map(|stat| stat.split(' ').nth(1)?.parse().ok())
        .map(Duration::from_nanos)
        .sum();
    // The time stolen by the hypervisor, in hundredths of a second.
    let stolen = fs::read_to_string("/proc/stat")
        .ok()
        .and_then(|stat| stat.split_whitespace().nth(8)?.parse().ok())
        .map(|hundredths: u64| Duration::from_millis(10 * hundredths));
    for_others + stolen.unwrap_or_default()
}

/// The greatest wait of an undisturbed round.
const QUIET: Duration = Duration::from_millis(2);

fn milliseconds(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1e3
}

/// Starts a host with this timeout for calls and start functions, and no other low
/// limit.
fn host(
    engine: &Engine,
    module: &[u8],
    time: impl Into<Option<Duration>>,
) -> Result<WapcHost, Error> {
    let provider = engine
        .provider(module, WasiSettings::new().stdin(Stdin::Inherited))
        .expect("a guest");
    let time = time.into();
    let limits = Limits::default()
        .timeout(time)
        .start_timeout(time)
        .max_host_calls(u64::MAX)
        .max_log_bytes(u64::MAX);
    WapcHost::builder(provider)
        .limits(limits)
        .build(|_, _, _, _, payload| Ok(payload.to_vec()))
}

/// Returns the milliseconds that a call takes beyond its timeout. Negative if it ends
/// early, which the clock's ticks allow.
fn past_timeout(host: &WapcHost) -> f64 {
    // Otherwise the measured call would have to make an instance first.
    host.call("good", b"").expect("an answer");
    let begun = Instant::now();
    let result = host.call("bad", b"");
    let took = begun.elapsed();
    assert!(matches!(result, Err(Error::TimedOut { .. })), "{result:?}");
    milliseconds(took) - milliseconds(TIME)
}

fn past_start_timeout(engine: &Engine, module: &[u8]) -> f64 {
    let provider = engine
        .provider(module, WasiSettings::new())
        .expect("a guest");
    let limits = Limits::default()
        .start_timeout(TIME)
        .max_host_calls(u64::MAX);
    let builder = WapcHost::builder(provider).limits(limits);
    let begun = Instant::now();
    let result = builder.build(|_, _, _, _, payload| Ok(payload.to_vec()));
    let took = begun.elapsed();
    assert!(matches!(result, Err(Error::Init(_))), "{result:?}");
    milliseconds(took) - milliseconds(TIME)
}

/// Returns the milliseconds between the cancel and the end of a call.
fn past_cancel(host: &WapcHost) -> f64 {
    host.call("good", b"").expect("an answer");
    let cancel = CancelHandle::new();
    let options = CallOptions::default().cancel(&cancel);
    let (begin, begins) = mpsc::channel();
    thread::scope(|scope| {
        let canceller = scope.spawn(move || {
            begins.recv().expect("the call begins");
            thread::sleep(TIME);
            let cancelled = Instant::now();
            cancel.cancel();
            cancelled
        });
        begin.send(()).expect("somebody cancels");
        let result = host.with(&options).call("bad", b"");
        let ended = Instant::now();
        assert!(matches!(result, Err(Error::Cancelled { .. })), "{result:?}");
        let cancelled = canceller.join().expect("no panic");
        milliseconds(ended.saturating_duration_since(cancelled))
    })
}

/// Returns the longest time of one such instruction over as many rounds, each in memory
/// that was never touched. Includes the release of the memory with the instance, as
/// the end of a call does.
fn once(engine: &Engine, endless: &Endless) -> Duration {
    let module = (endless.module)();
    (0..ROUNDS)
        .map(|_| {
            let host = host(engine, &module, None).expect("a host");
            let begun = Instant::now();
            host.call("alone", b"").expect("an answer");
            drop(host);
            begun.elapsed()
        })
        .max()
        .unwrap_or_default()
}
