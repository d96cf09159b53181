//! The details of errors: resources spent, the guest's functions, its report.

use std::{thread, time::Duration};

use conformance::{
    Capability::{self, Fuel, Wasi},
    Engine, SHORT, chain, limits,
    outcome::outcome,
};
use guest_fixtures::wat;
use wapc_host::{
    CallOptions, CancelHandle, Error, Interruption, Limits, WapcHost, WasiSettings,
    error::{ErrorKind, Spent, TrapCode},
};

use crate::Case;

pub(crate) fn cases() -> Vec<Case> {
    vec![
        Case::new("spent_until_the_end", spent_until_the_end).needs(&[Fuel, Wasi]),
        Case::new("spent_until_a_cancel", spent_until_a_cancel).needs(&[Fuel]),
        Case::new(
            "nothing_is_counted_without_limits",
            nothing_is_counted_without_limits,
        ),
        Case::new("backtrace_names_functions", backtrace_names_functions),
        Case::new(
            "backtrace_names_start_functions",
            backtrace_names_start_functions,
        ),
        Case::new(
            "guest_error_before_a_trap_is_kept",
            guest_error_before_a_trap_is_kept,
        ),
    ]
}

fn text(name: &str) -> &'static [u8] {
    wat(name).expect("a guest of this name").as_bytes()
}

fn host(engine: &Engine, module: &[u8], by: Interruption, limits: Limits) -> WapcHost {
    WapcHost::builder(engine.interruptible(module, by))
        .limits(limits)
        .build(|_, _, _, _, payload| Ok(payload.to_vec()))
        .unwrap_or_else(|error| panic!("{}", chain(&error)))
}

/// Returns the operation and the resources spent.
fn parts(error: &Error) -> (&str, Spent) {
    match error {
        Error::Trapped {
            operation, spent, ..
        }
        | Error::Exited {
            operation, spent, ..
        }
        | Error::Protocol {
            operation, spent, ..
        }
        | Error::Function {
            operation, spent, ..
        }
        | Error::Limit {
            operation, spent, ..
        }
        | Error::TimedOut {
            operation, spent, ..
        }
        | Error::Cancelled { operation, spent } => (operation, *spent),
        error => panic!("the instance survives {error:?}"),
    }
}

const FUEL: u64 = 10_000_000;

/// Guests that lose their instance, and the kind of error.
const LOST: &[(&str, ErrorKind)] = &[
    ("trap_unreachable", ErrorKind::Trapped),
    ("recursion", ErrorKind::Trapped),
    ("guest_response_whole", ErrorKind::Protocol),
    ("return_two", ErrorKind::Protocol),
    ("host_call_flood", ErrorKind::Limit),
    ("log_flood", ErrorKind::Limit),
    ("loop", ErrorKind::Limit),
    ("wasi_exit_7", ErrorKind::Exited),
    ("wasi_sleep", ErrorKind::TimedOut),
];

fn spent_until_the_end(engine: &Engine) {
    for (guest, kind) in LOST {
        let module = text(&format!("hostile/{guest}"));
        let mut limits = limits().fuel(FUEL);
        if *kind == ErrorKind::TimedOut {
            limits = limits.timeout(SHORT);
        }
        let host = host(engine, module, Interruption::TimeAndFuel, limits);
        let mut used = vec![];
        for _ in 0..2 {
            let error = host.call("bad", b"payload").expect_err("it fails");
            assert_eq!(error.kind(), *kind, "{guest}: {}", chain(&error));
            let (operation, spent) = parts(&error);
            assert_eq!(operation, "bad");
            let (Some(time), Some(fuel)) = (spent.time, spent.fuel) else {
                panic!("{guest}: {spent:?}");
            };
            assert!((1..=FUEL).contains(&fuel), "{guest}: {fuel}");
            if *kind == ErrorKind::TimedOut {
                // Ticks of the clock may be late, and then come together.
                assert!(time >= SHORT / 2, "{guest}: {time:?}");
            }
            used.push(fuel);
            host.call("good", b"").expect("an answer");
        }
        assert_eq!(used.first(), used.last(), "{guest}: the same call");
    }
}

fn spent_until_a_cancel(engine: &Engine) {
    let by = Interruption::TimeAndFuel;
    let endless = Limits::default().timeout(None).fuel(u64::MAX);
    let host = host(engine, text("hostile/loop"), by, endless);
    let cancel = CancelHandle::new();
    let options = CallOptions::default().cancel(&cancel);
    let error = thread::scope(|scope| {
        let call = scope.spawn(|| host.with(&options).call("bad", b""));
        // Enough time for the guest to start, except on a very busy machine.
        thread::sleep(SHORT);
        cancel.cancel();
        call.join().expect("no panic").expect_err("it is cancelled")
    });
    assert_eq!(error.kind(), ErrorKind::Cancelled);
    let (operation, spent) = parts(&error);
    assert_eq!(operation, "bad");
    // Nothing was spent if the guest did not start in time.
    if spent != Spent::default() {
        assert!(
            spent
                .time
                .is_some_and(|time| time < Duration::from_secs(60))
        );
        // It may be 0: see `Spent::fuel`.
        assert!(spent.fuel.is_some(), "{spent:?}");
    }
}

fn nothing_is_counted_without_limits(engine: &Engine) {
    let module = text("hostile/trap_unreachable");
    let host = host(engine, module, Interruption::Off, Limits::unlimited());
    let error = host.call("bad", b"").expect_err("it traps");
    assert_eq!(parts(&error), ("bad", Spent::default()));
}

/// `$inner` traps, called by `$outer`.
fn trapping(declarations: &str) -> Vec<u8> {
    format!(
        r#"(module
            (memory (export "memory") 1)
            (func $inner (result i32) (i32.div_u (i32.const 1) (i32.load (i32.const 0))))
            (func $outer (result i32) (i32.add (call $inner) (i32.const 1)))
            (func $guest_call (export "__guest_call") (param i32 i32) (result i32) (call $outer))
            {declarations})"#
    )
    .into_bytes()
}

/// Returns `names` for an engine that reports the functions of a trap.
fn trace(engine: &Engine, names: &'static str) -> &'static str {
    match engine.claims(&[Capability::Backtraces]) {
        true => names,
        false => "",
    }
}

fn backtrace_names_functions(engine: &Engine) {
    let module = trapping("");
    let host = host(engine, &module, Interruption::Time, Limits::default());
    let error = host.call("bad", b"").expect_err("it traps");
    let trace = trace(engine, " in `inner` < `outer` < `guest_call`");
    assert_eq!(
        chain(&error),
        format!("the guest trapped in operation `bad`: integer divide by zero{trace}")
    );
    let Error::Trapped { trap, .. } = error else {
        panic!("it traps");
    };
    assert_eq!(trap.code, TrapCode::IntegerDivideByZero);
    let names: Vec<_> = trap
        .backtrace
        .iter()
        .filter_map(|f| f.name.as_deref())
        .collect();
    assert!(names.is_empty() == trace.is_empty());
}

fn backtrace_names_start_functions(engine: &Engine) {
    let module = trapping(r#"(func $init (export "wapc_init") (drop (call $outer)))"#);
    let provider = engine
        .provider(&module, WasiSettings::new())
        .expect("a guest");
    let error = WapcHost::new(provider, |_, _, _, _, _| Ok(vec![])).expect_err("it traps");
    let trace = trace(engine, " in `inner` < `outer` < `init`");
    assert_eq!(
        chain(&error),
        format!(
            "no instance of the guest could be made: the guest failed in `wapc_init`: \
             integer divide by zero{trace}"
        )
    );
    assert_eq!(outcome(&Err(error)), "start divide-by-zero");
}

fn guest_error_before_a_trap_is_kept(engine: &Engine) {
    let host = host(
        engine,
        text("error_then_trap"),
        Interruption::Time,
        Limits::default(),
    );
    for _ in 0..2 {
        let error = host.call("any", b"").expect_err("it traps");
        assert!(
            chain(&error).starts_with(
                "the guest trapped in operation `any`, after it reported: boom: unreachable"
            ),
            "{}",
            chain(&error)
        );
    }
}
