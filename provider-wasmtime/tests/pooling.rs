//! Instances from a pool: what is different from instances without, and what
//! must not be. That guests notice nothing is seen by the conformance tests.

use std::{sync::Barrier, thread};

use provider_wasmtime::{PoolError, Pooling, WasmtimeEngineProvider};
use wapc_host::{
    BoxError, Error, Limits, Reuse, WapcHost, WebAssemblyEngineProvider,
    error::{EngineError, ModuleError},
};
use wasmtime::Engine;

/// Answers with how much of its first 16 MiB of memory, its table and its
/// globals is not as it was in the module, and leaves marks in all of it.
const MARKER: &str = r#"(module
    (import "wapc" "__guest_response" (func $respond (param i32 i32)))
    (memory (export "memory") 1)
    (table $table 10 1000 funcref)
    (global $global (mut i64) (i64.const 0))
    (data (i32.const 0) "marker: ")
    (func $marks (result i32)
        (local $at i32) (local $marks i32)
        (local.set $at (i32.const 16))
        (loop $next
            (local.set $marks (i32.add (local.get $marks)
                (i64.ne (i64.load (local.get $at)) (i64.const 0))))
            (br_if $next (i32.lt_u
                (local.tee $at (i32.add (local.get $at) (i32.const 8)))
                (i32.const 0x1000000))))
        (local.set $at (i32.const 0))
        (loop $next
            (local.set $marks (i32.add (local.get $marks)
                (i32.eqz (ref.is_null (table.get $table (local.get $at))))))
            (br_if $next (i32.lt_u
                (local.tee $at (i32.add (local.get $at) (i32.const 1)))
                (i32.const 1000))))
        (i32.add (local.get $marks) (i64.ne (global.get $global) (i64.const 0))))
    (elem declare func $marks)
    (func (export "__guest_call") (param i32 i32) (result i32)
        (drop (memory.grow (i32.const 255)))
        (drop (table.grow $table (ref.null func) (i32.const 990)))
        (i32.store8 (i32.const 8) (i32.add (i32.const 48) (i32.ne (call $marks) (i32.const 0))))
        (call $respond (i32.const 0) (i32.const 9))
        (memory.fill (i32.const 0) (i32.const 0xaa) (i32.const 0x1000000))
        (table.fill $table (i32.const 0) (ref.func $marks) (i32.const 1000))
        (global.set $global (i64.const -1))
        (i32.const 1)))"#;

/// Answers with the first 16 bytes of its memory, of which it has set none.
const EMPTY: &str = r#"(module
    (import "wapc" "__guest_response" (func $respond (param i32 i32)))
    (memory (export "memory") 1)
    (func (export "__guest_call") (param i32 i32) (result i32)
        (call $respond (i32.const 0) (i32.const 16))
        (i32.const 1)))"#;

fn pooled(pooling: Pooling, module: &str) -> WasmtimeEngineProvider {
    WasmtimeEngineProvider::builder()
        .pooling(pooling)
        .build(module.as_bytes())
        .expect("a guest")
}

fn refuse(_: u64, _: &str, _: &str, _: &str, _: &[u8]) -> Result<Vec<u8>, BoxError> {
    Err("no".into())
}

fn host(provider: &WasmtimeEngineProvider, reuse: Reuse) -> Result<WapcHost, Error> {
    WapcHost::builder(Box::new(provider.clone()))
        .reuse(reuse)
        .build(refuse)
}

/// Returns the pool's error from the chain of causes.
fn pool_error<T>(result: Result<T, Error>) -> PoolError {
    match result.map(|_| ()) {
        Err(Error::Init(EngineError::Other(cause))) => cause
            .downcast_ref::<PoolError>()
            .unwrap_or_else(|| panic!("another cause: {cause}"))
            .clone(),
        other => panic!("not a failed instance: {other:?}"),
    }
}

#[test]
fn one_more_than_the_pool_has_is_refused() {
    let provider = pooled(Pooling::new(2), EMPTY);
    let first = host(&provider, Reuse::Keep).expect("the first slot");
    let second = host(&provider, Reuse::Keep).expect("the second slot");
    let refused = pool_error(host(&provider, Reuse::Keep));
    assert_eq!(refused, PoolError::Exhausted { instances: 2 });
    assert_eq!(
        refused.to_string(),
        "all 2 instances of the pool are in use"
    );

    // A swap needs a slot beside the instance that it replaces.
    let refused = pool_error(first.replace_module(EMPTY.as_bytes()));
    assert_eq!(refused, PoolError::Exhausted { instances: 2 });
    assert_eq!(first.call("any", b"").expect("the old code"), [0; 16]);

    drop(second);
    first.replace_module(EMPTY.as_bytes()).expect("a free slot");
    assert_eq!(first.call("any", b"").expect("the new code"), [0; 16]);
    host(&provider, Reuse::Keep).expect("the slot of the code before");
}

#[test]
fn a_call_that_finds_no_slot_may_find_one_later() {
    let provider = pooled(Pooling::new(1), EMPTY);
    let fresh = host(&provider, Reuse::Fresh).expect("a slot");
    fresh.call("any", b"").expect("an answer");
    let kept = host(&provider, Reuse::Keep).expect("the slot that the call has left");
    let refused = pool_error(fresh.call("any", b""));
    assert_eq!(refused, PoolError::Exhausted { instances: 1 });
    drop(kept);
    fresh.call("any", b"").expect("an answer");
}

#[test]
fn what_does_not_fit_in_a_slot_is_refused() {
    let slots = Limits::default()
        .max_memories(1)
        .max_tables(2)
        .max_table_elements(3_000);
    let module = |memories: usize, tables: usize, elements: usize| {
        let memory = r#"(memory 1)"#.repeat(memories - 1);
        let table = format!("(table {elements} funcref)").repeat(tables);
        format!(
            r#"(module (memory (export "memory") 1) {memory} {table}
            (func (export "__guest_call") (param i32 i32) (result i32) (i32.const 1)))"#
        )
    };
    let under = |limits: &Limits, module: &str| {
        WapcHost::builder(Box::new(pooled(Pooling::new(1).limits(&slots), module)))
            .limits(limits.clone())
            .build(refuse)
    };
    let too_small = |what, needed, slot| PoolError::SlotTooSmall { what, needed, slot };
    let unlimited = Limits::unlimited();
    under(&unlimited, &module(1, 2, 3_000)).expect("it fits");
    let refused = pool_error(under(&unlimited, &module(2, 1, 1)));
    assert_eq!(refused, too_small("memories", 2, 1));
    let refused = pool_error(under(&unlimited, &module(1, 3, 1)));
    assert_eq!(refused, too_small("tables", 3, 2));

    // The host's limits come first.
    let result = under(&slots, &module(2, 1, 1));
    assert!(
        matches!(result, Err(Error::Init(EngineError::Stopped(_)))),
        "{result:?}"
    );

    // The engine itself refuses a table that begins too large.
    let result = WasmtimeEngineProvider::builder()
        .pooling(Pooling::new(1).limits(&slots))
        .build(module(1, 1, 3_001).as_bytes());
    assert!(matches!(result, Err(ModuleError::Refused(_))), "{result:?}");
}

#[test]
fn nothing_is_left_of_the_guest_before() {
    for kept in [0, 2 << 20, 64 << 20] {
        let provider = pooled(Pooling::new(1).keep_resident(kept), MARKER);
        let kept_alive = host(&provider, Reuse::Keep).expect("a slot");
        let answer = |host: &WapcHost| host.call("any", b"").expect("an answer");
        assert_eq!(answer(&kept_alive), b"marker: 0");
        assert!(answer(&kept_alive).ends_with(b"1"), "the marks are seen");
        drop(kept_alive);

        let fresh = host(&provider, Reuse::Fresh).expect("a slot");
        for _ in 0..3 {
            assert_eq!(answer(&fresh), b"marker: 0", "{kept} bytes resident");
        }

        // Another module in the same slot.
        let other = provider.replace(EMPTY.as_bytes()).expect("a guest");
        let other = WapcHost::builder(other)
            .reuse(Reuse::Fresh)
            .build(refuse)
            .expect("a slot");
        assert_eq!(answer(&other), [0; 16], "{kept} bytes resident");
        assert_eq!(answer(&fresh), b"marker: 0", "{kept} bytes resident");
    }
}

#[test]
fn a_guest_that_trapped_leaves_its_slot() {
    let trapping = r#"(module (memory (export "memory") 1)
        (func (export "__guest_call") (param i32 i32) (result i32) (unreachable)))"#;
    let provider = pooled(Pooling::new(1), trapping);
    let host = host(&provider, Reuse::Keep).expect("a slot");
    for _ in 0..3 {
        let result = host.call("any", b"");
        assert!(matches!(result, Err(Error::Trapped { .. })), "{result:?}");
    }
}

#[test]
fn threads_share_a_pool() {
    const THREADS: usize = 2;
    let provider = pooled(Pooling::new(2), MARKER);
    let host = WapcHost::builder(Box::new(provider))
        .max_instances(THREADS)
        .reuse(Reuse::Fresh)
        .build(refuse)
        .expect("a slot");
    let start = Barrier::new(THREADS);
    thread::scope(|scope| {
        for _ in 0..THREADS {
            scope.spawn(|| {
                start.wait();
                for _ in 0..20 {
                    assert_eq!(host.call("any", b"").expect("an answer"), b"marker: 0");
                }
            });
        }
    });
}

#[test]
fn a_swap_stays_in_the_pool() {
    let provider = pooled(Pooling::new(2), EMPTY);
    let other = pooled(Pooling::new(2), EMPTY);
    assert!(!Engine::same(provider.engine(), other.engine()));
    let host = host(&provider, Reuse::Keep).expect("a slot");
    for _ in 0..5 {
        host.replace_module(EMPTY.as_bytes()).expect("a slot");
    }
    let again = self::host(&provider, Reuse::Keep).expect("the other slot");
    pool_error(self::host(&provider, Reuse::Keep));
    drop(again);
}

#[test]
fn a_pool_without_room_is_refused() {
    let refused = WasmtimeEngineProvider::builder()
        .pooling(Pooling::new(u32::MAX))
        .build(EMPTY.as_bytes());
    assert!(matches!(refused, Err(ModuleError::Refused(_))));
}
