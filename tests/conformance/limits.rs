//! The limits of hosts and of calls. The gallery has the guests that exceed them.

mod amounts;
mod callback;
mod fuel;
mod start;
mod time;

use std::time::{Duration, Instant};

use conformance::{Engine, chain};
use guest_fixtures::wat;
use wapc_host::{CallOptions, Error, Interruption, Limits, WapcHost};

use crate::Case;

pub(crate) fn cases() -> Vec<Case> {
    [
        time::cases(),
        start::cases(),
        fuel::cases(),
        callback::cases(),
        amounts::cases(),
    ]
    .into_iter()
    .flatten()
    .collect()
}

/// Much longer than any case takes, on a busy machine too.
const LONG: Duration = Duration::from_secs(60);

fn text(name: &str) -> &'static [u8] {
    wat(name).expect("a guest of this name").as_bytes()
}

/// Starts a host with these limits, whose callback answers with the payload.
fn host(engine: &Engine, guest: &str, by: Interruption, limits: Limits) -> WapcHost {
    make(engine, guest, by, limits).unwrap_or_else(|error| panic!("{}", chain(&error)))
}

fn make(engine: &Engine, guest: &str, by: Interruption, limits: Limits) -> Result<WapcHost, Error> {
    WapcHost::builder(engine.interruptible(text(guest), by))
        .limits(limits)
        .build(|_, _, _, _, payload| Ok(payload.to_vec()))
}

/// Starts a host of a guest that loops for ever, except in the operation `good`.
fn looping(engine: &Engine, limits: Limits) -> WapcHost {
    host(engine, "hostile/loop", Interruption::Time, limits)
}

/// Checks that a thousand calls in a row are answered.
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
        began: true,
        waited: _,
        spent,
    }) = result
    else {
        panic!("it must time out, and not: {result:?}");
    };
    assert_eq!((operation.as_str(), timeout), ("bad", expected));
    assert!(spent.time.is_some(), "{spent:?}");
    assert_took(begun, expected);
}

/// Checks that about `expected` has passed since `begun`. On a busy machine a tick of
/// the clock may be late, and the next one early.
fn assert_took(begun: Instant, expected: Duration) {
    let took = begun.elapsed();
    assert!((expected / 2..LONG).contains(&took), "{took:?}");
}

fn assert_cancelled(result: Result<Vec<u8>, Error>) {
    assert!(matches!(result, Err(Error::Cancelled { .. })), "{result:?}");
}

/// Limits on fuel alone.
fn fuelled(fuel: u64) -> Limits {
    let limits = Limits::default().timeout(None).start_timeout(None);
    limits.fuel(fuel)
}
