//! Holds guests to the limits of their host, in calls and in start functions.

use std::{
    thread,
    time::{Duration, Instant},
};

use provider_wasmi::WasmiEngineProvider;
use wapc_host::{
    BoxError, CallOptions, CancelHandle, Error, Interruption, Limits, WapcHost,
    error::{EngineError, LimitError, StartFunction, StopReason, TrapCode},
};

/// Time enough on a busy machine; the deadlines below are far from it.
const SOON: Duration = Duration::from_secs(2);

const LOOP: &str = "(loop $l (br $l))";

/// A guest that answers `good` to operations of four letters, and runs `bad`
/// for all others. `fields` are added to the module.
fn guest(fields: &str, bad: &str) -> String {
    format!(
        r#"(module
            (import "wapc" "__guest_request" (func $request (param i32 i32)))
            (import "wapc" "__guest_response" (func $respond (param i32 i32)))
            (import "wapc" "__console_log" (func $log (param i32 i32)))
            (memory (export "memory") 16)
            (data (i32.const 0) "good")
            {fields}
            (func (export "__guest_call") (param $op i32) (param $msg i32) (result i32)
                (local $i i32)
                (if (i32.ne (local.get $op) (i32.const 4)) (then {bad}))
                (call $respond (i32.const 0) (i32.const 4))
                (i32.const 1)))"#
    )
}

fn host(interruption: Interruption, limits: Limits, guest: &str) -> Result<WapcHost, Error> {
    let provider = WasmiEngineProvider::builder()
        .interruption(interruption)
        .build(guest.as_bytes())
        .expect("a guest");
    WapcHost::builder(Box::new(provider))
        .limits(limits)
        .build(refuse)
}

fn refuse(_: u64, _: &str, _: &str, _: &str, _: &[u8]) -> Result<Vec<u8>, BoxError> {
    Err("no".into())
}

fn thousand_good(host: &WapcHost) {
    for _ in 0..1000 {
        assert_eq!(host.call("good", b"").expect("an answer"), b"good");
    }
}

fn by_time() -> Limits {
    Limits::default().timeout(Duration::from_millis(30))
}

#[test]
fn loops_are_ended_by_time_and_good_calls_follow() {
    for bad in [
        LOOP,
        "(loop $l (memory.fill (i32.const 65536) (i32.const 1) (i32.const 900000)) (br $l))",
        "(loop $l (call $request (i32.const 16) (i32.const 16)) (br $l))",
        "(loop $l (call $respond (i32.const 0) (i32.const 1000000)) (br $l))",
        "(loop $l (drop (memory.grow (i32.const 1))) (br $l))",
    ] {
        let host = host(Interruption::Time, by_time(), &guest("", bad)).expect("it starts");
        let began = Instant::now();
        let error = host.call("bad", &[0; 500_000]).expect_err("no answer");
        assert!(matches!(error, Error::TimedOut { .. }), "{bad}: {error:?}");
        assert!(began.elapsed() < SOON, "{bad}: {:?}", began.elapsed());
        thousand_good(&host);
    }
}

#[test]
fn calls_that_clear_many_locals_are_ended_in_time() {
    let fields = format!("(func $clear (local {}))", "i64 ".repeat(20_000));
    let bad = "(loop $l (call $clear) (br $l))";
    let host = host(Interruption::Time, by_time(), &guest(&fields, bad)).expect("it starts");
    let began = Instant::now();
    let error = host.call("bad", b"").expect_err("no answer");
    assert!(matches!(error, Error::TimedOut { .. }), "{error:?}");
    assert!(began.elapsed() < SOON, "{:?}", began.elapsed());
    println!("ended after {:?}", began.elapsed());
    thousand_good(&host);
}

#[test]
fn a_call_is_cancelled_from_another_thread() {
    let limits = Limits::default().timeout(None);
    let host = host(Interruption::Time, limits, &guest("", LOOP)).expect("it starts");
    let cancel = CancelHandle::new();
    let options = CallOptions::default().cancel(&cancel);
    thread::scope(|scope| {
        let call = scope.spawn(|| host.with(&options).call("bad", b""));
        thread::sleep(Duration::from_millis(20));
        let cancelled = Instant::now();
        cancel.cancel();
        let outcome = call.join().expect("no panic");
        assert!(cancelled.elapsed() < SOON);
        assert!(
            matches!(outcome, Err(Error::Cancelled { .. })),
            "{outcome:?}"
        );
    });
    thousand_good(&host);
}

#[test]
fn start_functions_are_ended_by_time() {
    let limits = || Limits::default().start_timeout(Duration::from_millis(30));
    for (start, field) in [
        (StartFunction::Section, "(start $begin) (func $begin LOOP)"),
        (StartFunction::Command, r#"(func (export "_start") LOOP)"#),
        (
            StartFunction::Reactor,
            r#"(func (export "_initialize") LOOP)"#,
        ),
        (StartFunction::Wapc, r#"(func (export "wapc_init") LOOP)"#),
    ] {
        let guest = guest(&field.replace("LOOP", LOOP), "");
        for interruption in [Interruption::Time, Interruption::TimeAndFuel] {
            let error = host(interruption, limits(), &guest).expect_err("it does not start");
            assert_eq!(stop_in(start, error), STOP_IN_TIME);
        }
        let limits = Limits::unlimited().fuel(1_000_000);
        let error = host(Interruption::Fuel, limits, &guest).expect_err("it does not start");
        let limit = LimitError::Fuel { limit: 1_000_000 };
        assert_eq!(stop_in(start, error), StopReason::Limit(limit));
    }
}

const STOP_IN_TIME: StopReason = StopReason::TimedOut {
    timeout: Duration::from_millis(30),
};

fn stop_in(expected: StartFunction, error: Error) -> StopReason {
    match error {
        Error::Init(EngineError::Start { function, cause }) if function == expected => match *cause
        {
            EngineError::Stopped(stop) => stop,
            cause => panic!("{cause:?}"),
        },
        error => panic!("{error:?}"),
    }
}

#[test]
fn a_start_section_translated_elsewhere_has_an_end_too() {
    let guest = guest("(start $begin) (func $begin (loop $l (br $l)))", "");
    let engine = wasmi::Engine::new(wasmi::Config::default().consume_fuel(true));
    let binary = wapc_host::module::binary(guest.as_bytes()).expect("text");
    let module = wasmi::Module::new(&engine, &binary).expect("a module");
    let provider = WasmiEngineProvider::builder()
        .interruption(Interruption::Time)
        .build_compiled(module)
        .expect("a guest");
    let error = WapcHost::builder(Box::new(provider))
        .limits(Limits::default().start_timeout(Duration::from_millis(30)))
        .build(refuse)
        .expect_err("it does not start");
    assert_eq!(stop_in(StartFunction::Section, error), STOP_IN_TIME);
}

#[test]
fn start_functions_share_their_fuel() {
    // Each takes more than half of it.
    let work = "(local $i i32) (loop $l (br_if $l (i32.lt_u
        (local.tee $i (i32.add (local.get $i) (i32.const 1))) (i32.const 10000))))";
    let guest = guest(
        &format!(
            r#"(start $begin) (func $begin {work}) (func (export "wapc_init") {work})
               (func (export "wapc start section"))"#
        ),
        "",
    );
    let fuel = |fuel| host(Interruption::Fuel, Limits::unlimited().fuel(fuel), &guest);
    thousand_good(&fuel(200_000).expect("it starts"));
    let error = fuel(90_000).expect_err("it does not start");
    let limit = LimitError::Fuel { limit: 90_000 };
    assert_eq!(
        stop_in(StartFunction::Wapc, error),
        StopReason::Limit(limit)
    );
}

#[test]
fn a_trap_in_a_start_section_is_told_apart() {
    let guest = guest("(start $begin) (func $begin unreachable)", "");
    let error = host(Interruption::Time, by_time(), &guest).expect_err("it does not start");
    let Error::Init(EngineError::Start { function, cause }) = error else {
        panic!("{error:?}");
    };
    assert_eq!(function, StartFunction::Section);
    assert!(matches!(*cause, EngineError::Trap(_)), "{cause:?}");
}

#[test]
fn fuel_is_counted_over_all_slices() {
    let limits = || Limits::default().fuel(3_000_000);
    for interruption in [Interruption::Fuel, Interruption::TimeAndFuel] {
        let limits = match interruption {
            Interruption::Fuel => limits().timeout(None).start_timeout(None),
            _ => limits(),
        };
        let host = host(interruption, limits, &guest("", LOOP)).expect("it starts");
        let error = host.call("bad", b"").expect_err("no answer");
        let Error::Limit { source, spent, .. } = error else {
            panic!("{error:?}");
        };
        assert_eq!(source, LimitError::Fuel { limit: 3_000_000 });
        let used = spent.fuel.expect("fuel is counted");
        assert!((2_999_990..=3_000_000).contains(&used), "{used}");
        thousand_good(&host);
        let options = CallOptions::default().fuel(0);
        let error = host.with(&options).call("good", b"").expect_err("no fuel");
        assert!(matches!(error, Error::Limit { .. }), "{error:?}");
        thousand_good(&host);
    }
}

#[test]
fn a_trap_says_what_fuel_was_used() {
    let limits = Limits::default();
    let host = host(Interruption::TimeAndFuel, limits, &guest("", "unreachable")).expect("starts");
    let error = host.call("bad", b"").expect_err("a trap");
    let Error::Trapped { spent, .. } = error else {
        panic!("{error:?}");
    };
    assert!(spent.fuel.is_some_and(|fuel| fuel > 0 && fuel < 100));
}

#[test]
fn a_single_operation_may_take_more_than_a_slice() {
    // 64 MiB are a million units of fuel.
    let bad = "(drop (memory.grow (i32.const 1024)))
        (memory.fill (i32.const 1048576) (i32.const 7) (i32.const 67108864))
        (memory.copy (i32.const 1048576) (i32.const 1048577) (i32.const 67108863))";
    let host = host(Interruption::Time, Limits::default(), &guest("", bad)).expect("it starts");
    assert_eq!(host.call("bad", b"").expect("an answer"), b"good");
    // Growth that was begun twice is counted once.
    let limits = Limits::default().max_memory_bytes(65 << 20);
    let provider = WasmiEngineProvider::new(guest("", bad).as_bytes()).expect("a guest");
    let host = WapcHost::builder(Box::new(provider))
        .limits(limits)
        .build(refuse);
    assert_eq!(
        host.expect("it starts")
            .call("bad", b"")
            .expect("an answer"),
        b"good"
    );
}

#[test]
fn tables_grow_across_slices() {
    // Grows by 1 to 100,000 elements, and between that uses fuel up in uneven
    // portions; checks the sum and what it kept in a local.
    let fields = "(table $t 0 externref) (table $f 0 funcref)
        (func $odd (param $i i32) (result i32) (local $k i32) (local $sum i32)
            (loop $l
                (local.set $k (i32.add (local.get $k) (i32.const 1)))
                (local.set $sum (i32.add (local.get $sum) (local.get $k)))
                (if (i32.ne (table.grow $f (ref.null func) (i32.const 997))
                        (i32.mul (i32.sub (local.get $k) (i32.const 1)) (i32.const 997)))
                    (then unreachable))
                (br_if $l (i32.lt_u (local.get $k) (local.get $i))))
            (local.get $sum))";
    let bad = "(if (i32.ne (call $odd (i32.const 9000)) (i32.const 40504500)) (then unreachable))
        (if (i32.ne (table.size $f) (i32.const 8973000)) (then unreachable))
        (if (i32.ne (table.grow $t (ref.null extern) (i32.const 20)) (i32.const 0))
            (then unreachable))
        (if (i32.ne (table.size $t) (i32.const 20)) (then unreachable))";
    let limits = Limits::default().max_table_elements(8_973_020);
    let host = host(Interruption::Time, limits, &guest(fields, bad)).expect("it starts");
    assert_eq!(host.call("bad", b"").expect("an answer"), b"good");
}

#[test]
fn sizes_are_limited() {
    let refused = |limits: Limits, fields: &str| {
        let error = host(Interruption::Time, limits, &guest(fields, "")).expect_err("refused");
        match error {
            Error::Init(EngineError::Stopped(StopReason::Limit(limit))) => limit,
            error => panic!("{error:?}"),
        }
    };
    let limits = Limits::default;
    assert_eq!(
        refused(limits().max_memory_bytes(1 << 19), ""),
        LimitError::Memory {
            bytes: 1 << 20,
            limit: 1 << 19
        }
    );
    assert_eq!(
        refused(limits().max_total_memory_bytes(1 << 20), "(memory 1)"),
        LimitError::TotalMemory {
            bytes: (1 << 20) + (1 << 16),
            limit: 1 << 20
        }
    );
    assert_eq!(
        refused(limits().max_memories(2), "(memory 1) (memory 1)"),
        LimitError::Memories { limit: 2 }
    );
    assert_eq!(
        refused(limits().max_tables(0), "(table 1 funcref)"),
        LimitError::Tables { limit: 0 }
    );
    assert_eq!(
        refused(limits(), "(table 4294967295 funcref)"),
        LimitError::TableElements {
            elements: 4_294_967_295,
            limit: 1_000_000
        }
    );
}

#[test]
fn growth_above_the_limit_is_refused_to_the_guest() {
    let bad = "(if (i32.ne (memory.grow (i32.const 1)) (i32.const -1)) (then unreachable))
        (if (i32.ne (table.grow (ref.null func) (i32.const 2)) (i32.const -1))
            (then unreachable))
        (if (i32.ne (table.grow (ref.null func) (i32.const 1)) (i32.const 1))
            (then unreachable))";
    let limits = Limits::default()
        .max_memory_bytes(1 << 20)
        .max_table_elements(2);
    let host = host(Interruption::Time, limits, &guest("(table 1 funcref)", bad)).expect("starts");
    assert_eq!(host.call("bad", b"").expect("an answer"), b"good");
    thousand_good(&host);
}

#[test]
fn deep_recursion_overflows_the_stack_soon() {
    let fields = "(func $deep (param i64 i64 i64 i64) (result i64)
        (i64.add (local.get 0) (call $deep (local.get 1) (local.get 2) (local.get 3) (local.get 0))))
        (func $bare (call $bare))
        (func $times (param i32) (result i32)
            (if (result i32) (i32.eqz (local.get 0)) (then (i32.const 0))
                (else (i32.add (i32.const 1)
                    (call $times (i32.sub (local.get 0) (i32.const 1)))))))";
    let bare = guest(fields, "(call $bare)");
    let wide = guest(
        fields,
        "(drop (call $deep (i64.const 1) (i64.const 1) (i64.const 1) (i64.const 1)))",
    );
    for guest in [bare, wide] {
        let host = host(Interruption::Time, Limits::default(), &guest).expect("it starts");
        let began = Instant::now();
        let error = host.call("bad", b"").expect_err("a trap");
        assert!(began.elapsed() < SOON);
        let Error::Trapped { trap, .. } = error else {
            panic!("{error:?}");
        };
        assert_eq!(trap.code, TrapCode::StackOverflow);
        thousand_good(&host);
    }
    // As deep as programs recurse, which is as deep as the stack is large.
    let times = guest(fields, "(drop (call $times (i32.const 8000)))");
    for (bytes, enough) in [(512 << 10, true), (64 << 10, false), (0, false)] {
        let provider = WasmiEngineProvider::builder()
            .stack_bytes(bytes)
            .build(times.as_bytes())
            .expect("a guest");
        let host = WapcHost::new(Box::new(provider), refuse).expect("it starts");
        assert_eq!(host.call("bad", b"").is_ok(), enough, "{bytes}");
    }
}
