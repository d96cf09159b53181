//! Modules of other dialects, adapted: calls, errors, limits, swaps, pools and tiers, as of any guest.

use std::{thread, time::Duration};

use conformance::{
    Capability::{Async, Fuel, Time},
    Engine, SHORT, chain,
    outcome::outcome,
    pause,
};
use guest_fixtures::wat;
use wapc_dialects::{AdaptedProvider, Adapting, Options};
use wapc_host::{
    BoxError, CallOptions, CancelHandle, Error, HostBuilder, Interruption, Limits, OwnedHostCall,
    Reuse, Tier, Tiers, WapcHost, WebAssemblyEngineProvider,
};

use crate::{Case, async_calls::on_a_runtime, gallery::Driver};

/// A guest of a dialect.
#[derive(Clone, Copy)]
struct Guest {
    name: &'static str,
    module: &'static [u8],
    /// The outcome of `fail`.
    fails: &'static str,
}

/// Guests of each dialect.
fn guests() -> Vec<Guest> {
    let texts: [(_, &[u8], _); 6] = [
        ("command", include_bytes!("dialects/command.wat"), "exit 3"),
        ("old_2019", include_bytes!("dialects/old_2019.wat"), FAILED),
        ("old_2020", include_bytes!("dialects/old_2020.wat"), FAILED),
        (
            "packed_buffer",
            include_bytes!("dialects/packed_buffer.wat"),
            "trap unreachable",
        ),
        ("extism", include_bytes!("dialects/extism.wat"), FAILED),
        ("typst", include_bytes!("dialects/typst.wat"), FAILED),
    ];
    let built = guest_fixtures::PLUGINS.iter().map(|(name, module)| {
        let of = texts.iter().find(|(dialect, ..)| name.starts_with(dialect));
        let (_, _, fails) = of.expect("it is of a dialect above");
        (*name, *module, *fails)
    });
    let all = texts.into_iter().chain(built);
    all.map(|(name, module, fails)| Guest {
        name,
        module,
        fails,
    })
    .collect()
}

const FAILED: &str = "guest-error failed";

type Check = fn(&'static Engine, Guest);

pub(crate) fn cases() -> Vec<Case> {
    let checks: [(&str, &[conformance::Capability], Check); 8] = [
        ("outcomes", &[], outcomes),
        ("async", &[Async], async_outcomes),
        ("time", &[Time], time),
        ("fuel", &[Fuel], fuel),
        ("swaps", &[], swaps),
        ("pool", &[], pool),
        ("fresh", &[], fresh),
        ("tiers", &[], tiers),
    ];
    let mut cases = vec![];
    for guest in guests() {
        for (check_name, needs, check) in checks {
            let case = Case::new(format!("{}::{check_name}", guest.name), move |engine| {
                let engine = conformance::ENGINES
                    .iter()
                    .chain(conformance::VARIANTS)
                    .find(|known| known.name == engine.name);
                check(engine.expect("it is in the table"), guest);
            });
            cases.push(case.needs(needs));
        }
    }
    cases
}

fn adapting(engine: &'static Engine, interruption: Interruption) -> Adapting {
    let make_provider = move |module: &[u8]| Ok(engine.interruptible(module, interruption));
    Adapting::new(make_provider, Options::new().validates(true))
}

fn provider(engine: &'static Engine, module: &[u8]) -> Box<AdaptedProvider> {
    let provider = adapting(engine, Interruption::default()).load(module);
    Box::new(provider.unwrap_or_else(|error| panic!("{}", chain(&error))))
}

/// Answers `echo`, with the namespace in front.
fn answer(namespace: &str, operation: &str, payload: &[u8]) -> Result<Vec<u8>, BoxError> {
    match operation {
        "echo" => Ok([namespace.as_bytes(), payload].concat()),
        _ => Err("no such operation".into()),
    }
}

fn build(builder: HostBuilder) -> WapcHost {
    let host =
        builder.build(|_, _, namespace, operation, payload| answer(namespace, operation, payload));
    host.unwrap_or_else(|error| panic!("{}", chain(&error)))
}

fn host(engine: &'static Engine, module: &[u8]) -> WapcHost {
    build(WapcHost::builder(provider(engine, module)))
}

/// The payload of an operation: a command is told by it what to do.
fn payload(operation: &str) -> &[u8] {
    match operation {
        "echo" => b"Echo",
        other => other.as_bytes(),
    }
}

fn call(host: &WapcHost, operation: &str) -> Result<Vec<u8>, Error> {
    host.call(operation, payload(operation))
}

fn assert_echoes(host: &WapcHost) {
    let answer = call(host, "echo");
    let answer = answer.unwrap_or_else(|error| panic!("{}", chain(&error)));
    assert!(answer.ends_with(b"Echo"), "{answer:?}");
}

fn outcomes(engine: &'static Engine, guest: Guest) {
    let host = host(engine, guest.module);
    for _ in 0..2 {
        assert_echoes(&host);
        assert_eq!(outcome(&call(&host, "fail")), guest.fails);
        assert_echoes(&host);
        assert_eq!(outcome(&call(&host, "trap")), "trap unreachable");
    }
}

fn async_outcomes(engine: &'static Engine, guest: Guest) {
    for driver in [Driver::Async, Driver::Awaiting] {
        on_a_runtime(async {
            let builder = WapcHost::builder(provider(engine, guest.module));
            let host = match driver {
                Driver::Awaiting => builder
                    .build_async(|call: OwnedHostCall| async move {
                        pause().await;
                        answer(call.namespace(), call.operation(), call.payload())
                    })
                    .await
                    .unwrap_or_else(|error| panic!("{}", chain(&error))),
                _ => build(builder),
            };
            for (operation, expected) in [
                ("echo", None),
                ("fail", Some(guest.fails)),
                ("trap", Some("trap unreachable")),
                ("echo", None),
            ] {
                let answer = host
                    .call_async(operation, payload(operation).to_vec())
                    .await;
                match expected {
                    Some(expected) => assert_eq!(outcome(&answer), expected),
                    None => assert!(answer.is_ok_and(|answer| answer.ends_with(b"Echo"))),
                }
            }
        });
    }
}

fn time(engine: &'static Engine, guest: Guest) {
    let host = host(engine, guest.module);
    let options = CallOptions::default().timeout(SHORT);
    let timed_out = host.with(&options).call("loop", payload("loop"));
    assert!(
        matches!(timed_out, Err(Error::TimedOut { .. })),
        "{timed_out:?}"
    );
    assert_echoes(&host);

    let handle = CancelHandle::new();
    let options = CallOptions::default().cancel(&handle);
    thread::scope(|scope| {
        let looping = scope.spawn(|| host.with(&options).call("loop", payload("loop")));
        thread::sleep(Duration::from_millis(20));
        handle.cancel();
        let cancelled = looping.join().expect("the caller does not panic");
        assert!(
            matches!(cancelled, Err(Error::Cancelled { .. })),
            "{cancelled:?}"
        );
    });
    assert_echoes(&host);
}

fn fuel(engine: &'static Engine, guest: Guest) {
    let provider = adapting(engine, Interruption::Fuel).load(guest.module);
    let provider = provider.unwrap_or_else(|error| panic!("{}", chain(&error)));
    let limits = Limits::default().timeout(None).start_timeout(None);
    let builder = WapcHost::builder(Box::new(provider));
    let host = build(builder.limits(limits.fuel(Some(1_000_000))));
    let ended = call(&host, "loop");
    assert!(matches!(ended, Err(Error::Limit { .. })), "{ended:?}");
    assert_echoes(&host);
}

fn swaps(engine: &'static Engine, guest: Guest) {
    let host = host(engine, guest.module);
    assert_echoes(&host);
    let release = wat("release_1").expect("there is such a guest");
    host.replace_module(release.as_bytes())
        .unwrap_or_else(|error| panic!("{}", chain(&error)));
    let answer = host.call("version", b"");
    assert!(answer.is_ok_and(|answer| !answer.ends_with(b"Echo")));
    for other in guests() {
        host.replace_module(other.module)
            .unwrap_or_else(|error| panic!("{}", chain(&error)));
        assert_echoes(&host);
    }
    host.replace_module(guest.module)
        .unwrap_or_else(|error| panic!("{}", chain(&error)));
    assert!(
        host.replace_module(b"(module (func (export \"_start\")))")
            .is_err()
    );
    assert_echoes(&host);
    host.rollback()
        .unwrap_or_else(|error| panic!("{}", chain(&error)));
    assert_echoes(&host);
}

fn pool(engine: &'static Engine, guest: Guest) {
    let host = build(WapcHost::builder(provider(engine, guest.module)).max_instances(4));
    thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                for _ in 0..20 {
                    assert_echoes(&host);
                    assert_eq!(outcome(&call(&host, "fail")), guest.fails);
                }
            });
        }
    });
}

fn fresh(engine: &'static Engine, guest: Guest) {
    let host = build(WapcHost::builder(provider(engine, guest.module)).reuse(Reuse::Fresh));
    for _ in 0..3 {
        assert_echoes(&host);
        assert_eq!(outcome(&call(&host, "fail")), guest.fails);
    }
}

fn tiers(engine: &'static Engine, guest: Guest) {
    let load = move |module: &[u8]| -> Result<Box<dyn WebAssemblyEngineProvider>, _> {
        Ok(Box::new(
            adapting(engine, Interruption::default()).load(module)?,
        ))
    };
    let builder = WapcHost::tiered(guest.module, Tiers::new(load, load));
    let host = build(builder.unwrap_or_else(|error| panic!("{}", chain(&error))));
    while matches!(host.stats().tier, Tier::Baseline) {
        assert_echoes(&host);
    }
    assert!(matches!(host.stats().tier, Tier::Optimized));
    assert_echoes(&host);
}
