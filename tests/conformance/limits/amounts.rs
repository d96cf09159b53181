//! Limits on amounts: memory, tables, host calls, log lines, messages.

use conformance::{Capability::AnyModule, Engine, chain, limits, outcome::outcome};
use wapc_host::{Error, Interruption, Limits, WapcHost, error::LimitError};

use super::{assert_good, host};
use crate::Case;

pub(super) fn cases() -> Vec<Case> {
    vec![
        Case::new("amounts_are_for_each_call", amounts_are_for_each_call).needs(&[AnyModule]),
        Case::new("amounts_in_start_functions", amounts_in_start_functions).needs(&[AnyModule]),
        Case::new("refused_before_a_trap", refused_before_a_trap).needs(&[AnyModule]),
        Case::new("own_maximum_is_no_limit", own_maximum_is_no_limit).needs(&[AnyModule]),
        Case::new("growth_is_counted_for_each_instance", growth_is_counted).needs(&[AnyModule]),
    ]
}

/// A guest that logs a line of 99 bytes, calls the host, and responds. Its `wapc_init`
/// has the instructions `in_start`.
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

/// Limits that one use reaches exactly.
fn one_use() -> Limits {
    limits()
        .max_host_calls(1)
        .max_log_bytes(100)
        .max_outbound_bytes(1_000)
}

/// Amounts used by start functions and by earlier calls do not count for a call.
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

/// Start functions that exceed each limit, and their outcome.
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

/// A maximum in the module's own types is no limit of the host.
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

/// The memory of a dropped instance does not count for the next one.
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
