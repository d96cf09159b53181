//! Fuel, and guests that cannot be interrupted.

use std::time::Instant;

use conformance::{
    Capability::{AnyModule, Fuel},
    Engine, SHORT,
};
use wapc_host::{
    CallOptions, CancelHandle, Error, Interruption, Limits,
    error::{EngineError, LimitError, StopReason},
};

use super::{LONG, assert_good, assert_timed_out, fuelled, host, make, start::LOOPS_AT_START};
use crate::Case;

pub(super) fn cases() -> Vec<Case> {
    vec![
        Case::new("fuel", fuel).needs(&[Fuel]),
        Case::new("fuel_of_one_call", fuel_of_one_call).needs(&[Fuel]),
        Case::new("fuel_of_start_functions", fuel_of_start_functions).needs(&[AnyModule, Fuel]),
        Case::new("time_and_fuel", time_and_fuel).needs(&[Fuel]),
        Case::new("not_interruptible", not_interruptible).needs(&[Fuel]),
        Case::new("without_limits", without_limits).needs(&[Fuel]),
    ]
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
        // Each call has the full amount.
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
