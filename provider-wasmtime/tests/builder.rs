//! Builds providers from modules, engines and settings.

use std::{thread, time::Duration};

use provider_wasmtime::WasmtimeEngineProvider;
use wapc_host::{
    BoxError, CallOptions, Error, Interruption, Limits, WapcHost, WebAssemblyEngineProvider,
    error::{ModuleError, TrapCode},
};
use wasmtime::{Config, Engine, Module, OptLevel};

const ECHO: &str = include_str!("../../guest-fixtures/wat/echo.wat");

fn echoes(provider: impl WebAssemblyEngineProvider + 'static) -> WapcHost {
    let host = WapcHost::new(Box::new(provider), refuse).expect("the guest starts");
    assert_eq!(host.call("any", b"payload").expect("an answer"), b"payload");
    host
}

fn refuse(_: u64, _: &str, _: &str, _: &str, _: &[u8]) -> Result<Vec<u8>, BoxError> {
    Err("no".into())
}

fn own_engine() -> Engine {
    engine_for(Interruption::Time)
}

fn engine_for(interruption: Interruption) -> Engine {
    let mut config = Config::new();
    config
        .cranelift_opt_level(OptLevel::None)
        .epoch_interruption(interruption.by_time())
        .consume_fuel(interruption.by_fuel());
    Engine::new(&config).expect("a plain configuration")
}

#[test]
fn an_engine_of_ones_own_is_kept_through_a_swap() {
    let engine = own_engine();
    let provider = WasmtimeEngineProvider::builder()
        .engine(engine.clone())
        .build(ECHO.as_bytes())
        .expect("a guest");
    assert!(Engine::same(provider.engine(), &engine));
    let host = echoes(provider);
    host.replace_module(ECHO.as_bytes()).expect("a guest");
    assert_eq!(host.call("any", b"again").expect("an answer"), b"again");
}

#[test]
fn a_module_of_ones_own_brings_its_engine() {
    let engine = own_engine();
    let binary = wapc_host::module::binary(ECHO.as_bytes()).expect("text");
    let module = Module::new(&engine, &binary).expect("a module");
    let provider = WasmtimeEngineProvider::builder()
        .build_compiled(module)
        .expect("a guest");
    assert!(Engine::same(provider.engine(), &engine));
    echoes(provider);
}

#[test]
fn a_module_of_ones_own_must_be_a_guest() {
    let module = Module::new(&own_engine(), b"\0asm\x01\0\0\0").expect("a module");
    let refused = WasmtimeEngineProvider::builder().build_compiled(module);
    assert!(matches!(
        refused,
        Err(ModuleError::MissingExport { name: "memory", .. })
    ));
}

#[test]
fn clones_share_the_code_and_not_the_state() {
    let hello = include_str!("../../guest-fixtures/wat/hello.wat");
    let provider = WasmtimeEngineProvider::new(hello.as_bytes()).expect("a guest");
    let code = provider.module().image_range();
    let clone = provider.clone();
    assert_eq!(clone.module().image_range(), code);
    for provider in [provider, clone] {
        let host = WapcHost::new(Box::new(provider), refuse).expect("the guest starts");
        assert_eq!(host.call("count", b"").expect("an answer"), b"1");
    }
}

#[test]
fn a_trap_names_the_guests_functions() {
    let module = br#"(module
        (memory (export "memory") 1)
        (func $deep (unreachable))
        (func $outer (call $deep))
        (func (export "__guest_call") (param i32 i32) (result i32) (call $outer) (i32.const 1)))"#;
    let provider = WasmtimeEngineProvider::new(module).expect("a guest");
    let host = WapcHost::new(Box::new(provider), refuse).expect("the guest starts");
    let Err(Error::Trapped { trap, .. }) = host.call("any", b"") else {
        panic!("it traps");
    };
    assert!(
        trap.to_string()
            .starts_with("unreachable in `deep` < `outer`"),
        "{trap}"
    );
}

const KINDS: [Interruption; 4] = [
    Interruption::Off,
    Interruption::Time,
    Interruption::Fuel,
    Interruption::TimeAndFuel,
];

#[test]
fn providers_of_one_kind_share_an_engine() {
    let build = |interruption| {
        WasmtimeEngineProvider::builder()
            .interruption(interruption)
            .build(ECHO.as_bytes())
            .expect("a guest")
    };
    for one in KINDS {
        assert_eq!(build(one).interruption(), one);
        for other in KINDS {
            let shared = Engine::same(build(one).engine(), build(other).engine());
            assert_eq!(shared, one == other, "{one:?}, {other:?}");
        }
    }
    let default = WasmtimeEngineProvider::new(ECHO.as_bytes()).expect("a guest");
    assert_eq!(default.interruption(), Interruption::Time);
}

#[test]
fn a_swap_keeps_the_interruption() {
    for interruption in KINDS {
        let provider = WasmtimeEngineProvider::builder()
            .interruption(interruption)
            .build(ECHO.as_bytes())
            .expect("a guest");
        let next = provider.replace(ECHO.as_bytes()).expect("a guest");
        assert_eq!(next.interruption(), interruption);
    }
}

#[test]
fn an_engine_of_ones_own_says_how_it_can_be_interrupted() {
    for interruption in KINDS {
        let provider = WasmtimeEngineProvider::builder()
            .engine(engine_for(interruption))
            .build(ECHO.as_bytes())
            .expect("a guest");
        assert_eq!(provider.interruption(), interruption);
        let host = WapcHost::builder(Box::new(provider))
            .limits(Limits::unlimited())
            .build(refuse)
            .expect("a host");
        assert_eq!(host.call("any", b"payload").expect("an answer"), b"payload");
    }
}

#[test]
fn an_engine_of_ones_own_need_not_be_used_for_all_that_it_can() {
    for made_for in KINDS {
        let engine = engine_for(made_for);
        for wanted in KINDS {
            let provider = WasmtimeEngineProvider::builder()
                .engine(engine.clone())
                .interruption(wanted)
                .build(ECHO.as_bytes())
                .expect("a guest");
            let found = provider.interruption();
            assert_eq!(found.by_time(), made_for.by_time() && wanted.by_time());
            assert_eq!(found.by_fuel(), made_for.by_fuel() && wanted.by_fuel());
            let host = WapcHost::builder(Box::new(provider))
                .limits(Limits::unlimited())
                .build(refuse)
                .expect("a host");
            assert_eq!(host.call("any", b"payload").expect("an answer"), b"payload");
            let result = host
                .with(&CallOptions::default().fuel(100_000))
                .call("any", b"payload");
            match found.by_fuel() {
                true => assert_eq!(result.expect("an answer"), b"payload"),
                false => assert!(matches!(
                    result,
                    Err(Error::NotInterruptible { what: "fuel" })
                )),
            }
        }
    }
}

#[test]
fn guests_on_an_engine_of_ones_own_run_out_of_time() {
    let looping = include_str!("../../guest-fixtures/wat/hostile/loop.wat");
    let engine = engine_for(Interruption::TimeAndFuel);
    for _ in 0..2 {
        let provider = WasmtimeEngineProvider::builder()
            .engine(engine.clone())
            .build(looping.as_bytes())
            .expect("a guest");
        let host = WapcHost::builder(Box::new(provider))
            .limits(Limits::default().timeout(Duration::from_millis(50)))
            .build(refuse)
            .expect("a host");
        let result = host.call("bad", b"");
        assert!(matches!(result, Err(Error::TimedOut { .. })), "{result:?}");
    }
}

/// A guest that calls itself as often as its payload has bytes.
const DEEP: &[u8] = br#"(module
    (import "wapc" "__guest_response" (func $respond (param i32 i32)))
    (memory (export "memory") 1)
    (func $deep (param i32) (result i32)
        (if (result i32) (local.get 0)
            (then (i32.add (call $deep (i32.sub (local.get 0) (i32.const 1))) (i32.const 1)))
            (else (i32.const 0))))
    (func (export "__guest_call") (param i32 i32) (result i32)
        (drop (call $deep (local.get 1)))
        (call $respond (i32.const 0) (i32.const 0))
        (i32.const 1)))"#;

#[test]
fn the_stack_can_be_smaller_and_larger() {
    let host = |stack_bytes| {
        let provider = WasmtimeEngineProvider::builder()
            .stack_bytes(stack_bytes)
            .build(DEEP)
            .expect("a guest");
        WapcHost::new(Box::new(provider), refuse).expect("a host")
    };
    let answers = |host: &WapcHost, depth| match host.call("any", &vec![0; depth]) {
        Ok(_) => true,
        Err(Error::Trapped { trap, .. }) => {
            assert_eq!(trap.code, TrapCode::StackOverflow);
            false
        }
        Err(error) => panic!("{error}"),
    };
    let all = move || {
        let (small, default, large) = (host(32 << 10), host(512 << 10), host(8 << 20));
        assert!(answers(&small, 100) && answers(&default, 100) && answers(&large, 100));
        assert!(!answers(&small, 4_000) && answers(&default, 4_000));
        assert!(!answers(&default, 80_000) && answers(&large, 80_000));
        assert!(!answers(&large, 4_000_000));
        assert!(answers(&small, 100) && answers(&default, 100) && answers(&large, 100));
    };
    let thread = thread::Builder::new().stack_size(16 << 20).spawn(all);
    thread.expect("a thread").join().expect("no panic");
}

#[test]
fn a_stack_of_nothing_is_refused() {
    let result = WasmtimeEngineProvider::builder()
        .stack_bytes(0)
        .build(ECHO.as_bytes());
    assert!(matches!(result, Err(ModuleError::Refused(_))));
}

#[test]
fn a_module_compiled_at_low_priority_behaves_like_any_other() {
    let builder = WasmtimeEngineProvider::builder().low_priority_compilation(true);
    let host = echoes(builder.clone().build(ECHO.as_bytes()).expect("a guest"));
    host.replace_module(ECHO.as_bytes()).expect("a swap");
    assert_eq!(host.call("any", b"payload").expect("an answer"), b"payload");

    let default = WasmtimeEngineProvider::new(ECHO.as_bytes()).expect("a guest");
    let low_priority = builder.clone().build(ECHO.as_bytes()).expect("a guest");
    assert!(Engine::same(low_priority.engine(), default.engine()));
    assert!(matches!(
        builder.build(b"\0asm\x01\0\0\0\x01\x01\xff"),
        Err(ModuleError::Invalid { .. })
    ));
}

#[test]
fn the_default_stack_needs_no_engine_of_its_own() {
    let build = |bytes| {
        WasmtimeEngineProvider::builder()
            .stack_bytes(bytes)
            .build(ECHO.as_bytes())
            .expect("a guest")
    };
    let default = WasmtimeEngineProvider::new(ECHO.as_bytes()).expect("a guest");
    assert!(Engine::same(build(512 << 10).engine(), default.engine()));
    assert!(!Engine::same(build(256 << 10).engine(), default.engine()));
}

#[test]
fn proposals_are_accepted_by_name_alone() {
    use provider_wasmtime::Proposal;

    let guest = |fields: &str| {
        format!(
            r#"(module {fields} (memory (export "memory") 1)
                (func (export "__guest_call") (param i32 i32) (result i32) (i32.const 0)))"#
        )
    };
    for (proposal, fields) in [
        (Proposal::Exceptions, "(tag $t) (func (throw $t))"),
        (
            Proposal::FunctionReferences,
            "(type $f (func)) (func (param (ref $f)) (call_ref $f (local.get 0)))",
        ),
        (
            Proposal::Gc,
            "(type $s (struct)) (func (drop (struct.new $s)))",
        ),
        (
            Proposal::RelaxedSimd,
            "(func (param v128) (drop (i8x16.relaxed_swizzle (local.get 0) (local.get 0))))",
        ),
        (
            Proposal::WideArithmetic,
            "(func (param i64) (i64.mul_wide_s (local.get 0) (local.get 0)) drop drop)",
        ),
    ] {
        let module = guest(fields);
        let builder = WasmtimeEngineProvider::builder();
        let refused = builder.clone().build(module.as_bytes());
        assert!(
            matches!(refused, Err(ModuleError::Invalid { .. })),
            "{proposal:?}: {refused:?}"
        );
        let accepted = builder.proposals([proposal]).build(module.as_bytes());
        assert!(accepted.is_ok(), "{proposal:?}: {accepted:?}");
    }
}

#[test]
fn nans_can_be_made_the_same() {
    // 0/0 with the sign of the processor's NaN in the upper half.
    let guest = br#"(module
        (import "wapc" "__guest_response" (func $respond (param i32 i32)))
        (memory (export "memory") 1)
        (func (export "__guest_call") (param $n i32) (param i32) (result i32)
            (local $zero f32)
            (local.set $zero (f32.convert_i32_u (i32.sub (local.get $n) (local.get $n))))
            (f32.store (i32.const 0) (f32.div (local.get $zero) (local.get $zero)))
            (call $respond (i32.const 0) (i32.const 4))
            (i32.const 1)))"#;
    let provider = WasmtimeEngineProvider::builder()
        .canonical_nans(true)
        .build(guest);
    let host = WapcHost::new(Box::new(provider.unwrap()), |_, _, _, _, _| Ok(vec![])).unwrap();
    assert_eq!(
        host.call("nan", b"").unwrap(),
        0x7fc0_0000_u32.to_le_bytes()
    );
}
