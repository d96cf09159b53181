//! The toy engine under the host: a guest that works, and guests that misbehave.

use std::time::Duration;

use guest_fixtures::{WASM, WAT, wat};
use toy_engine::{Settings, ToyEngineProvider};
use wapc_host::{
    Error, Interruption, Limits, WapcHost,
    error::{EngineError, LimitError, ModuleError, TrapCode},
};

fn compile(module: &str) -> ToyEngineProvider {
    ToyEngineProvider::new(module.as_bytes()).expect("a guest")
}

fn host(module: &str) -> WapcHost {
    WapcHost::new(Box::new(compile(module)), |_, _, _, _, payload| {
        Ok(payload.to_vec())
    })
    .expect("a host")
}

/// A guest whose `__guest_call` has this body.
fn guest(body: &str) -> String {
    format!(
        r#"(module
            (import "wapc" "__guest_response" (func $respond (param i32 i32)))
            (memory (export "memory") 1)
            (func $call (export "__guest_call") (param i32 i32) (result i32) {body}))"#
    )
}

#[test]
fn a_guest_with_ten_operations_works() {
    let host = host(wat("hello").expect("the guest"));
    assert_eq!(
        host.call("hello", b"World").expect("an answer"),
        b"Hello, World."
    );
    assert_eq!(host.call("ping_host", b"ping").expect("ok"), b"ping");
    let Err(Error::Guest { message, .. }) = host.call("fail", b"boom") else {
        panic!("the guest reports an error");
    };
    assert_eq!(message, "boom");
}

#[test]
fn values_pass_through_blocks_and_branches() {
    // The text of the number that `body` leaves: one digit.
    for (body, digit) in [
        ("(block (result i32) (br 0 (i32.const 3)))", b"3"),
        (
            "(i32.add (i32.const 1)
                (block (result i32) (i32.const 9) (i32.const 9) (br 0 (i32.const 4))))",
            b"5",
        ),
        (
            "(block (result i32)
                (drop (br_if 0 (i32.const 6) (i32.const 1))) (i32.const 7))",
            b"6",
        ),
        (
            "(if (result i32) (i32.const 0) (then (i32.const 1)) (else (i32.const 2)))",
            b"2",
        ),
        (
            "(local i32) (loop $again (result i32)
                (local.set 2 (i32.add (local.get 2) (i32.const 1)))
                (br_if $again (i32.lt_u (local.get 2) (i32.const 8)))
                (local.get 2))",
            b"8",
        ),
        (
            "(block $out (result i32) (loop (result i32) (br $out (i32.const 1))))",
            b"1",
        ),
    ] {
        let (local, body) = match body.strip_prefix("(local i32)") {
            Some(body) => ("(local i32)", body),
            None => ("", body),
        };
        let host = host(&guest(&format!(
            "{local} (i32.store8 (i32.const 0) (i32.add (i32.const 48) {body}))
             (call $respond (i32.const 0) (i32.const 1)) (i32.const 1)"
        )));
        assert_eq!(host.call("any", b"").expect(body), digit, "{body}");
    }
}

#[test]
fn a_module_beyond_the_engine_is_refused_when_it_is_compiled() {
    for body in [
        "(drop (i64.const 1)) (i32.const 1)",
        "(drop (f32.const 1)) (i32.const 1)",
        "(drop (i32.clz (i32.const 1))) (i32.const 1)",
        "(local i64) (i32.const 1)",
        "(memory.fill (i32.const 0) (i32.const 0) (i32.const 0)) (i32.const 1)",
    ] {
        let refused = ToyEngineProvider::new(guest(body).as_bytes());
        assert!(
            matches!(refused, Err(ModuleError::Refused(_))),
            "{refused:?}"
        );
    }
    let invalid = ToyEngineProvider::new(guest("(i64.const 1)").as_bytes());
    assert!(
        matches!(invalid, Err(ModuleError::Invalid { .. })),
        "{invalid:?}"
    );
}

#[test]
fn a_guest_that_recurses_traps() {
    let host = host(&guest("(call $call (local.get 0) (local.get 1))"));
    let Err(Error::Trapped { trap, .. }) = host.call("any", b"") else {
        panic!("it must trap");
    };
    assert_eq!(trap.code, TrapCode::StackOverflow);
}

#[test]
fn traps_have_their_reason() {
    for (body, expected) in [
        (
            "(i32.div_u (i32.const 1) (i32.const 0))",
            TrapCode::IntegerDivideByZero,
        ),
        (
            "(i32.load offset=65533 (i32.const 0))",
            TrapCode::MemoryOutOfBounds,
        ),
        (
            "(i32.store (i32.const -1) (i32.const 0)) (i32.const 1)",
            TrapCode::MemoryOutOfBounds,
        ),
        ("(unreachable)", TrapCode::Unreachable),
    ] {
        let result = host(&guest(body)).call("any", b"");
        let Err(Error::Trapped { trap, .. }) = result else {
            panic!("{body}: {result:?}");
        };
        assert_eq!(trap.code, expected, "{body}");
    }
}

#[test]
fn memory_grows_up_to_the_limit_of_the_host() {
    let grow = "(if (i32.ne (memory.grow (i32.const 1)) (i32.const 1)) (then (unreachable)))
        (if (i32.ne (memory.grow (i32.const 1)) (i32.const -1)) (then (unreachable)))
        (i32.store (i32.const 131068) (memory.size))
        (call $respond (i32.const 131068) (i32.const 1)) (i32.const 1)";
    let module = guest(grow);
    let limited = |bytes| {
        WapcHost::builder(Box::new(compile(&module)))
            .limits(Limits::default().max_memory_bytes(bytes))
            .build(|_, _, _, _, _| Ok(vec![]))
    };
    assert!(matches!(
        limited(65_535),
        Err(Error::Init(EngineError::Stopped(_)))
    ));
    let host = limited(2 << 16).expect("a host");
    // The first growth expects one page before it.
    assert_eq!(host.call("any", b"").expect("an answer"), [2]);
}

#[test]
fn no_guest_of_the_fixtures_panics_the_engine_or_goes_on_for_ever() {
    let short = Duration::from_millis(50);
    let limits = Limits::default()
        .max_memory_bytes(16 << 20)
        .timeout(short)
        .start_timeout(short);
    let texts = WAT.iter().map(|(name, text)| (*name, text.as_bytes()));
    let (mut answered, mut refused) = (0, 0);
    for (name, module) in texts.chain(WASM.iter().copied()) {
        let host = match ToyEngineProvider::new(module) {
            Ok(provider) => WapcHost::builder(Box::new(provider))
                .limits(limits.clone())
                .build(|_, _, _, _, payload| Ok(payload.to_vec())),
            Err(error) => Err(Error::Init(error.into())),
        };
        let Ok(host) = host else {
            refused += 1;
            continue;
        };
        drop(host.call("bad", b"payload"));
        if name.starts_with("hostile/") {
            let good = host.call("good", b"");
            assert!(good.is_ok(), "{name}: {good:?}");
        }
        answered += 1;
    }
    assert!(answered > 100 && refused > 100, "{answered}, {refused}");
}

#[test]
fn a_guest_that_loops_uses_up_its_fuel() {
    let mut settings = Settings::default();
    settings.interruption = Interruption::Fuel;
    let module = guest("(loop (br 0)) (unreachable)");
    let provider = ToyEngineProvider::with_settings(module.as_bytes(), settings);
    let limits = Limits::unlimited().fuel(1_000);
    let host = WapcHost::builder(Box::new(provider.expect("a guest")))
        .limits(limits)
        .build(|_, _, _, _, _| Ok(vec![]))
        .expect("a host");
    let Err(Error::Limit { source, spent, .. }) = host.call("any", b"") else {
        panic!("it must run out of fuel");
    };
    assert_eq!(source, LimitError::Fuel { limit: 1_000 });
    assert_eq!(spent.fuel, Some(1_000));
}
