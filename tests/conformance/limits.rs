//! Timeouts, deadlines, cancelling, fuel, and what one call may have of its
//! own. What guests meet of the other limits is in the gallery.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use conformance::{Engine, SHORT, chain, limits, outcome::outcome};
use guest_fixtures::wat;
use wapc_host::{
    BoxError, CallOptions, CancelHandle, EngineError, Error, HostCall, HostCallback, Interruption,
    LimitError, Limits, Reuse, StartFunction, StopReason, WapcHost,
};

use crate::{Case, async_calls::on_a_runtime};

pub(crate) fn cases() -> Vec<Case> {
    vec![
        Case::new("cancelled_before", cancelled_before),
        Case::new("cancelled_during", cancelled_during),
        Case::new("cancelled_by_the_callback", cancelled_by_the_callback),
        Case::new("cancelled_after", cancelled_after),
        Case::new("timeout", timeout),
        Case::new("timeout_of_one_call", timeout_of_one_call),
        Case::new("timeouts_on_many_instances", timeouts_on_many_instances),
        Case::new("no_timeout_beside_one", no_timeout_beside_one),
        Case::new("deadline", deadline),
        Case::new("deadline_in_the_past", deadline_in_the_past),
        Case::new("start_functions_that_loop", start_functions_that_loop),
        Case::new(
            "start_functions_end_with_their_call",
            start_functions_end_with_their_call,
        ),
        Case::new("swap_to_a_guest_that_loops", swap_to_a_guest_that_loops),
        Case::new("callback_outlives_the_call", callback_outlives_the_call),
        Case::new("fuel", fuel),
        Case::new("fuel_of_one_call", fuel_of_one_call),
        Case::new("fuel_of_start_functions", fuel_of_start_functions),
        Case::new("time_and_fuel", time_and_fuel),
        Case::new("not_interruptible", not_interruptible),
        Case::new("without_limits", without_limits),
        Case::new("context_of_one_call", context_of_one_call),
        Case::new("what_a_callback_sees", what_a_callback_sees),
        Case::new("amounts_are_for_each_call", amounts_are_for_each_call),
        Case::new("amounts_in_start_functions", amounts_in_start_functions),
        Case::new("refused_before_a_trap", refused_before_a_trap),
        Case::new("own_maximum_is_no_limit", own_maximum_is_no_limit),
        Case::new("growth_is_counted_for_each_instance", growth_is_counted),
    ]
}

/// Much longer than anything here may take, and than a busy machine holds up
/// a thread.
const LONG: Duration = Duration::from_secs(60);

fn text(name: &str) -> &'static [u8] {
    wat(name).expect("a guest of this name").as_bytes()
}

/// A host with these limits whose callback answers with what it was asked.
fn host(engine: &Engine, guest: &str, by: Interruption, limits: Limits) -> WapcHost {
    make(engine, guest, by, limits).unwrap_or_else(|error| panic!("{}", chain(&error)))
}

fn make(engine: &Engine, guest: &str, by: Interruption, limits: Limits) -> Result<WapcHost, Error> {
    WapcHost::builder(engine.interruptible(text(guest), by))
        .limits(limits)
        .build(|_, _, _, _, payload| Ok(payload.to_vec()))
}

/// A host of a guest that loops for ever unless it is asked for something
/// `good`.
fn looping(engine: &Engine, limits: Limits) -> WapcHost {
    host(engine, "hostile/loop", Interruption::Time, limits)
}

/// A thousand good calls in a row are answered.
fn assert_good(host: &WapcHost) {
    let options = match host.limits().timeout {
        Some(_) => CallOptions::default().timeout(LONG),
        None => CallOptions::default(),
    };
    let mut response = vec![];
    for _ in 0..1_000 {
        host.with(&options)
            .call_into("good", b"good", &mut response)
            .unwrap_or_else(|error| panic!("{}", chain(&error)));
        assert_eq!(response, b"good");
    }
}

fn assert_timed_out(result: Result<Vec<u8>, Error>, begun: Instant, expected: Duration) {
    let Err(Error::TimedOut {
        operation,
        timeout,
        spent,
    }) = result
    else {
        panic!("it must time out, and not: {result:?}");
    };
    assert_eq!((operation.as_str(), timeout), ("bad", expected));
    assert!(spent.time.is_some(), "{spent:?}");
    assert_took(begun, expected);
}

/// That it has been about so long: on a busy machine the clock's thread is late
/// at times, and the next ticks then come early.
fn assert_took(begun: Instant, expected: Duration) {
    let took = begun.elapsed();
    assert!((expected / 2..LONG).contains(&took), "{took:?}");
}

fn assert_cancelled(result: Result<Vec<u8>, Error>) {
    assert!(matches!(result, Err(Error::Cancelled { .. })), "{result:?}");
}

fn cancelled_before(engine: &Engine) {
    let host = looping(engine, Limits::default());
    let cancel = CancelHandle::new();
    cancel.cancel();
    let options = CallOptions::default().cancel(&cancel);
    for operation in ["bad", "good"] {
        assert_cancelled(host.with(&options).call(operation, b""));
    }
    assert_good(&host);
}

fn cancelled_during(engine: &Engine) {
    let without_timeout = Limits::default().timeout(None);
    for limits in [Limits::default(), without_timeout] {
        let host = looping(engine, limits);
        let cancel = CancelHandle::new();
        let options = CallOptions::default().cancel(&cancel);
        thread::scope(|scope| {
            let call = scope.spawn(|| host.with(&options).call("bad", b""));
            // Whether the guest has begun by then or not, it must end.
            thread::sleep(Duration::from_millis(20));
            cancel.cancel();
            assert_cancelled(call.join().expect("no panic"));
        });
        assert_good(&host);
    }
}

fn cancelled_by_the_callback(engine: &Engine) {
    let cancel = CancelHandle::new();
    let handle = cancel.clone();
    let host = WapcHost::new(
        engine.interruptible(text("echo_host"), Interruption::Time),
        move |_, _, _, _, payload| {
            if payload == b"cancel" {
                handle.cancel();
            }
            Ok(payload.to_vec())
        },
    )
    .expect("a host");
    let options = CallOptions::default().cancel(&cancel);
    assert_eq!(host.with(&options).call("any", b"x").expect("ok"), b"x");
    assert_cancelled(host.with(&options).call("any", b"cancel"));
    assert_good(&host);
}

fn cancelled_after(engine: &Engine) {
    let host = looping(engine, Limits::default());
    let cancel = CancelHandle::new();
    let options = CallOptions::default().cancel(&cancel);
    let response = host.with(&options).call("good", b"");
    assert_eq!(response.expect("an answer"), b"good");
    cancel.cancel();
    assert_good(&host);
    assert_cancelled(host.with(&options).call("good", b""));
    assert_good(&host);
}

fn timeout(engine: &Engine) {
    for guest in ["loop", "loop_calls", "loop_counting", "loop_imports"] {
        let guest = format!("hostile/{guest}");
        let limits = Limits::default().timeout(SHORT);
        let host = host(engine, &guest, Interruption::Time, limits);
        for _ in 0..2 {
            let begun = Instant::now();
            assert_timed_out(host.call("bad", b""), begun, SHORT);
            assert_good(&host);
        }
    }
}

fn timeout_of_one_call(engine: &Engine) {
    const SHORTER: Duration = Duration::from_millis(20);
    for limits in [Limits::default(), Limits::default().timeout(None)] {
        let host = looping(engine, limits);
        let options = CallOptions::default().timeout(SHORTER);
        let begun = Instant::now();
        assert_timed_out(host.with(&options).call("bad", b""), begun, SHORTER);
        assert_good(&host);
    }
    // One call may also have more than the others.
    let host = looping(engine, Limits::default().timeout(SHORTER));
    let options = CallOptions::default().timeout(SHORT);
    let begun = Instant::now();
    assert_timed_out(host.with(&options).call("bad", b""), begun, SHORT);
    assert_good(&host);
}

/// What ends one guest of an engine leaves the others alone, those too that
/// nothing ends: in the call that runs meanwhile, and in the next.
fn no_timeout_beside_one(engine: &Engine) {
    let timed = looping(engine, Limits::default().timeout(SHORT));
    let provider = engine.interruptible(text("echo_host"), Interruption::Time);
    let host = WapcHost::builder(provider)
        .limits(Limits::default().timeout(None))
        .build(move |_, _, _, _, payload| {
            let begun = Instant::now();
            assert_timed_out(timed.call("bad", b""), begun, SHORT);
            Ok(payload.to_vec())
        })
        .expect("a host");
    for _ in 0..2 {
        assert_eq!(host.call("any", b"x").expect("an answer"), b"x");
    }
}

fn timeouts_on_many_instances(engine: &Engine) {
    let provider = engine.interruptible(text("hostile/loop"), Interruption::Time);
    let host = WapcHost::builder(provider)
        .max_instances(4)
        .limits(Limits::default().timeout(SHORT))
        .build(|_, _, _, _, payload| Ok(payload.to_vec()))
        .expect("a host");
    thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                for _ in 0..2 {
                    let begun = Instant::now();
                    assert_timed_out(host.call("bad", b""), begun, SHORT);
                    assert_good(&host);
                }
            });
        }
    });
}

fn deadline(engine: &Engine) {
    let host = looping(engine, Limits::default());
    let begun = Instant::now();
    let options = CallOptions::default().deadline(begun + SHORT);
    let result = host.with(&options).call("bad", b"");
    assert!(matches!(result, Err(Error::TimedOut { .. })), "{result:?}");
    assert_took(begun, SHORT);
    assert_good(&host);
}

fn deadline_in_the_past(engine: &Engine) {
    let host = looping(engine, Limits::default());
    let options = CallOptions::default().deadline(Instant::now());
    for operation in ["bad", "good"] {
        let result = host.with(&options).call(operation, b"");
        assert!(matches!(result, Err(Error::TimedOut { .. })), "{result:?}");
    }
    assert_good(&host);
}

const LOOPS_AT_START: [(&str, StartFunction); 3] = [
    ("hostile/loop_in_start_section", StartFunction::Section),
    ("hostile/loop_in_start", StartFunction::Command),
    ("hostile/loop_in_init", StartFunction::Wapc),
];

fn start_functions_that_loop(engine: &Engine) {
    for (guest, expected) in LOOPS_AT_START {
        let limits = Limits::default().start_timeout(SHORT);
        let result = make(engine, guest, Interruption::Time, limits);
        let Err(Error::Init(EngineError::Start { function, cause })) = result else {
            panic!("{guest} must not start: {result:?}");
        };
        assert_eq!(function, expected);
        let stop = StopReason::TimedOut { timeout: SHORT };
        assert!(
            matches!(&*cause, EngineError::Stopped(found) if *found == stop),
            "{cause:?}"
        );
    }
}

/// Loops at its start if the host answers its call there with anything.
const LOOPS_IF_TOLD: &[u8] = br#"(module
    (import "wapc" "__host_call"
        (func $host_call (param i32 i32 i32 i32 i32 i32 i32 i32) (result i32)))
    (import "wapc" "__host_response_len" (func $length (result i32)))
    (import "wapc" "__guest_response" (func $respond (param i32 i32)))
    (memory (export "memory") 1)
    (data (i32.const 0) "good")
    (func (export "wapc_init")
        (drop (call $host_call
            (i32.const 0) (i32.const 0) (i32.const 0) (i32.const 0)
            (i32.const 0) (i32.const 0) (i32.const 0) (i32.const 0)))
        (loop $again (br_if $again (call $length))))
    (func (export "__guest_call") (param i32 i32) (result i32)
        (call $respond (i32.const 0) (i32.const 4))
        (i32.const 1)))"#;

fn start_functions_end_with_their_call(engine: &Engine) {
    let told = Arc::new(AtomicBool::new(false));
    let tell = Arc::clone(&told);
    let host = WapcHost::builder(engine.interruptible(LOOPS_IF_TOLD, Interruption::Time))
        .limits(Limits::default().start_timeout(LONG))
        .reuse(Reuse::Fresh)
        .build(move |_, _, _, _, _| match tell.load(Ordering::SeqCst) {
            true => Ok(b"loop".to_vec()),
            false => Ok(vec![]),
        })
        .unwrap_or_else(|error| panic!("{}", chain(&error)));
    assert_eq!(host.call("good", b"").expect("an answer"), b"good");
    told.store(true, Ordering::SeqCst);

    let blocking: Form = |host, options| host.with(options).call("bad", b"");
    let awaiting: Form = |host, options| on_a_runtime(host.with(options).call_async("bad", b""));
    for call in [blocking, awaiting] {
        let begun = Instant::now();
        let options = CallOptions::default().deadline(begun + SHORT);
        let result = call(&host, &options);
        assert!(matches!(result, Err(Error::TimedOut { .. })), "{result:?}");
        assert_took(begun, SHORT);

        let cancel = CancelHandle::new();
        let options = CallOptions::default().cancel(&cancel);
        thread::scope(|scope| {
            let result = scope.spawn(|| call(&host, &options));
            thread::sleep(Duration::from_millis(20));
            cancel.cancel();
            assert_cancelled(result.join().expect("no panic"));
        });
    }

    told.store(false, Ordering::SeqCst);
    assert_eq!(host.call("good", b"").expect("an answer"), b"good");
    assert_eq!(host.stats().errors.total(), 4);
}

type Form = fn(&WapcHost, &CallOptions) -> Result<Vec<u8>, Error>;

fn swap_to_a_guest_that_loops(engine: &Engine) {
    let host = looping(engine, Limits::default().start_timeout(SHORT));
    for (guest, _) in LOOPS_AT_START {
        let result = host.replace_module(text(guest));
        assert!(matches!(result, Err(Error::Init(_))), "{result:?}");
        assert_good(&host);
    }
    assert_eq!(host.generation(), 1);
}

/// Answers with the payload, and sleeps first if that is `sleep`.
struct Sleeper;

impl HostCallback for Sleeper {
    fn call(&self, call: HostCall<'_>, response: &mut Vec<u8>) -> Result<(), BoxError> {
        if call.payload == b"sleep" {
            assert!(call.time_left().is_some_and(|left| left <= SHORT));
            let begun = Instant::now();
            while call.time_left() > Some(Duration::ZERO) {
                assert!(begun.elapsed() < LONG, "the time is never over");
                thread::sleep(Duration::from_millis(5));
            }
            // What is left is rounded down.
            thread::sleep(SHORT);
        }
        response.extend_from_slice(call.payload);
        Ok(())
    }
}

fn callback_outlives_the_call(engine: &Engine) {
    let provider = engine.interruptible(text("echo_host"), Interruption::Time);
    let host = WapcHost::builder(provider)
        .limits(Limits::default().timeout(SHORT))
        .build_with(Sleeper)
        .expect("a host");
    let begun = Instant::now();
    assert_timed_out(host.call("bad", b"sleep"), begun, SHORT);
    assert_good(&host);
}

/// Limits of fuel alone.
fn fuelled(fuel: u64) -> Limits {
    let limits = Limits::default().timeout(None).start_timeout(None);
    limits.fuel(fuel)
}

fn assert_out_of_fuel(result: Result<Vec<u8>, Error>, expected: u64) {
    let Err(Error::Limit { source, spent, .. }) = result else {
        panic!("it must run out of fuel, and not: {result:?}");
    };
    assert_eq!(source, LimitError::Fuel { limit: expected });
    assert!(spent.fuel.is_some_and(|fuel| fuel <= expected), "{spent:?}");
}

fn fuel(engine: &Engine) {
    let host = host(engine, "hostile/loop", Interruption::Fuel, fuelled(100_000));
    for _ in 0..3 {
        assert_out_of_fuel(host.call("bad", b""), 100_000);
        // Each call has the whole of it again.
        assert_good(&host);
    }
}

fn fuel_of_one_call(engine: &Engine) {
    for limits in [
        fuelled(100_000),
        Limits::unlimited(),
        fuelled(100_000).fuel(None),
    ] {
        let host = host(engine, "hostile/loop", Interruption::Fuel, limits);
        let options = CallOptions::default().fuel(200_000);
        assert_out_of_fuel(host.with(&options).call("bad", b""), 200_000);
        let options = CallOptions::default().fuel(1);
        assert_out_of_fuel(host.with(&options).call("bad", b""), 1);
        assert_good(&host);
    }
}

fn fuel_of_start_functions(engine: &Engine) {
    for (guest, expected) in LOOPS_AT_START {
        let result = make(engine, guest, Interruption::Fuel, fuelled(100_000));
        let Err(Error::Init(EngineError::Start { function, cause })) = result else {
            panic!("{guest} must not start: {result:?}");
        };
        assert_eq!(function, expected);
        let stop = StopReason::Limit(LimitError::Fuel { limit: 100_000 });
        assert!(
            matches!(&*cause, EngineError::Stopped(found) if *found == stop),
            "{cause:?}"
        );
    }
}

fn time_and_fuel(engine: &Engine) {
    let by = Interruption::TimeAndFuel;
    let limits = Limits::default().timeout(SHORT).fuel(u64::MAX);
    let host = host(engine, "hostile/loop", by, limits);
    let begun = Instant::now();
    assert_timed_out(host.call("bad", b""), begun, SHORT);
    assert_good(&host);
    let options = CallOptions::default().timeout(LONG).fuel(100_000);
    assert_out_of_fuel(host.with(&options).call("bad", b""), 100_000);
    assert_good(&host);
}

fn assert_not_interruptible<T: std::fmt::Debug>(result: Result<T, Error>, expected: &str) {
    assert!(
        matches!(result, Err(Error::NotInterruptible { what }) if what == expected),
        "{result:?}"
    );
}

fn not_interruptible(engine: &Engine) {
    let make = |by, limits| make(engine, "hostile/loop", by, limits);
    let by_time = Limits::default();
    for (by, limits, what) in [
        (Interruption::Off, &by_time, "time"),
        (Interruption::Fuel, &by_time, "time"),
        (Interruption::Off, &fuelled(1_000), "fuel"),
        (Interruption::Time, &fuelled(1_000), "fuel"),
    ] {
        assert_not_interruptible(make(by, limits.clone()), what);
    }
    let host = make(Interruption::Off, Limits::unlimited()).expect("a host");
    for (options, what) in [
        (CallOptions::default().timeout(LONG), "time"),
        (CallOptions::default().deadline(Instant::now()), "time"),
        (CallOptions::default().cancel(&CancelHandle::new()), "time"),
        (CallOptions::default().fuel(1), "fuel"),
    ] {
        assert_not_interruptible(host.with(&options).call("good", b""), what);
        assert_good(&host);
    }
}

fn without_limits(engine: &Engine) {
    for by in [
        Interruption::Off,
        Interruption::Time,
        Interruption::Fuel,
        Interruption::TimeAndFuel,
    ] {
        assert_good(&host(engine, "echo_host", by, Limits::unlimited()));
    }
}

/// Answers with the name that the call's context holds, and counts the calls
/// that have none.
#[derive(Default)]
struct Whose {
    nobody: AtomicUsize,
}

struct Name(&'static str);

struct Shared(Arc<Whose>);

impl HostCallback for Shared {
    fn call(&self, call: HostCall<'_>, response: &mut Vec<u8>) -> Result<(), BoxError> {
        match call.context::<Name>() {
            Some(Name(name)) => response.extend_from_slice(name.as_bytes()),
            None => {
                self.0.nobody.fetch_add(1, Ordering::Relaxed);
                response.extend_from_slice(call.payload);
            }
        }
        Ok(())
    }
}

fn context_of_one_call(engine: &Engine) {
    let whose = Arc::new(Whose::default());
    let provider = engine.interruptible(text("echo_host"), Interruption::Off);
    let host = WapcHost::builder(provider)
        .limits(Limits::unlimited())
        .build_with(Shared(Arc::clone(&whose)))
        .expect("a host");
    for name in ["one", "another"] {
        let options = CallOptions::default().context(Arc::new(Name(name)));
        let response = host.with(&options).call("any", b"");
        assert_eq!(response.expect("an answer"), name.as_bytes());
        assert_eq!(host.call("any", b"none").expect("an answer"), b"none");
    }
    assert_eq!(whose.nobody.load(Ordering::Relaxed), 2);
    let other = CallOptions::default().context(Arc::new("of another type"));
    let response = host.with(&other).call("any", b"none");
    assert_eq!(response.expect("an answer"), b"none");
    assert_good(&host);
}

/// Answers with all that it sees of the call.
struct Seer;

impl HostCallback for Seer {
    fn call(&self, call: HostCall<'_>, response: &mut Vec<u8>) -> Result<(), BoxError> {
        let time_left = call.time_left().map(|left| left <= SHORT);
        let name = call.context::<Name>().map(|name| name.0);
        let seen = (call.host_id, call.generation, time_left, name);
        response.extend_from_slice(format!("{seen:?}").as_bytes());
        Ok(())
    }
}

fn what_a_callback_sees(engine: &Engine) {
    let provider = engine.interruptible(text("echo_host"), Interruption::Time);
    let host = WapcHost::builder(provider)
        .limits(Limits::default().timeout(None))
        .build_with(Seer)
        .expect("a host");
    let timed = CallOptions::default()
        .timeout(SHORT)
        .context(Arc::new(Name("Ann")));
    for generation in 1..=3 {
        assert_eq!(host.generation(), generation);
        let seen = |left: Option<bool>, name: Option<&str>| {
            format!("{:?}", (host.id(), generation, left, name)).into_bytes()
        };
        let response = host.with(&timed).call("any", b"").expect("an answer");
        assert_eq!(response, seen(Some(true), Some("Ann")));
        let response = host.call("any", b"").expect("an answer");
        assert_eq!(response, seen(None, None));
        host.replace_module(text("echo_host")).expect("a guest");
    }
}

/// A guest that logs a line of 99 bytes, calls the host, and responds, in its
/// `wapc_init` too.
fn using(in_start: &str) -> Vec<u8> {
    format!(
        r#"(module
            (import "wapc" "__console_log" (func $log (param i32 i32)))
            (import "wapc" "__guest_error" (func $fail (param i32 i32)))
            (import "wapc" "__guest_response" (func $respond (param i32 i32)))
            (import "wapc" "__host_call"
                (func $host_call (param i32 i32 i32 i32 i32 i32 i32 i32) (result i32)))
            (memory (export "memory") 1)
            (table $table 1 funcref)
            (func $use
                (call $log (i32.const 0) (i32.const 99))
                (call $ask (i32.const 0)))
            (func $ask (param $bytes i32)
                (drop (call $host_call
                    (i32.const 0) (i32.const 0) (i32.const 0) (i32.const 0)
                    (i32.const 0) (i32.const 0) (i32.const 0) (local.get $bytes))))
            (func (export "wapc_init") {in_start})
            (func (export "__guest_call") (param i32 i32) (result i32)
                (call $use)
                (call $respond (i32.const 0) (i32.const 4))
                (i32.const 1)))"#
    )
    .into_bytes()
}

/// The limits that one use meets and no more.
fn one_use() -> Limits {
    limits()
        .max_host_calls(1)
        .max_log_bytes(100)
        .max_outbound_bytes(1_000)
}

/// What start functions and the calls before have used is not missing.
fn amounts_are_for_each_call(engine: &Engine) {
    let module = using("(call $use)");
    let host = WapcHost::builder(engine.interruptible(&module, Interruption::Time))
        .limits(one_use())
        .build(|_, _, _, _, _| Ok(vec![]))
        .unwrap_or_else(|error| panic!("{}", chain(&error)));
    for _ in 0..100 {
        host.call("any", b"").expect("an answer");
    }
}

/// Start functions that go beyond each limit, and how that ends.
const TOO_MUCH_AT_START: [(&str, &str); 6] = [
    (
        "(call $use) (call $log (i32.const 0) (i32.const 0))",
        "limit log",
    ),
    ("(call $use) (call $ask (i32.const 0))", "limit host-calls"),
    ("(call $ask (i32.const 1001))", "limit payload"),
    (
        "(call $fail (i32.const 0) (i32.const 1001))",
        "limit payload",
    ),
    (
        "(if (i32.eq (memory.grow (i32.const 2000)) (i32.const -1)) (then (unreachable)))",
        "start unreachable",
    ),
    (
        "(if (i32.eq (table.grow $table (ref.null func) (i32.const 100000)) (i32.const -1))
            (then (unreachable)))",
        "start unreachable",
    ),
];

fn amounts_in_start_functions(engine: &Engine) {
    for (in_start, expected) in TOO_MUCH_AT_START {
        let provider = engine.interruptible(&using(in_start), Interruption::Time);
        let result = WapcHost::builder(provider)
            .limits(one_use())
            .build(|_, _, _, _, _| Ok(vec![]));
        assert_eq!(outcome(&result.map(|_| vec![])), expected, "{in_start}");
    }
}

fn refused_before_a_trap(engine: &Engine) {
    let guest = "hostile/memory_grow_then_trap";
    let host = host(engine, guest, Interruption::Time, limits());
    for _ in 0..2 {
        let result = host.call("bad", b"");
        let Err(Error::Trapped { refused, .. }) = &result else {
            panic!("it must trap: {result:?}");
        };
        let limit = limits().max_memory_bytes;
        let bytes = limit + (64 << 10);
        let expected = LimitError::Memory { bytes, limit };
        assert_eq!(refused.as_deref(), Some(&expected));
        assert_good(&host);
    }
}

/// What a module's own types forbid is no limit of the host.
fn own_maximum_is_no_limit(engine: &Engine) {
    let module = br#"(module
        (memory (export "memory") 1 2)
        (table $table 1 2 funcref)
        (func (export "__guest_call") (param i32 i32) (result i32)
            (drop (memory.grow (i32.const 2000)))
            (drop (table.grow $table (ref.null func) (i32.const 2000000)))
            (unreachable)))"#;
    let host = WapcHost::builder(engine.interruptible(module, Interruption::Time))
        .limits(limits())
        .build(|_, _, _, _, _| Ok(vec![]))
        .expect("a host");
    let result = host.call("any", b"");
    assert!(
        matches!(result, Err(Error::Trapped { refused: None, .. })),
        "{result:?}"
    );
}

/// Memory of an instance that is gone does not count for the next one.
fn growth_is_counted(engine: &Engine) {
    let limits = limits().max_total_memory_bytes(20 << 16);
    let guest = "hostile/memory_grow_then_trap";
    let host = host(engine, guest, Interruption::Time, limits);
    for _ in 0..50 {
        let result = host.call("bad", b"");
        let Err(Error::Trapped { refused, .. }) = &result else {
            panic!("it must trap: {result:?}");
        };
        let (bytes, limit) = (21 << 16, 20 << 16);
        let expected = LimitError::TotalMemory { bytes, limit };
        assert_eq!(refused.as_deref(), Some(&expected));
    }
    assert_good(&host);
}
