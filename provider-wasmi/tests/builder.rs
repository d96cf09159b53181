//! Builds providers from modules, engines and settings.

use std::{
    num::NonZeroUsize,
    pin::pin,
    task::{Context, Poll, Waker},
};

use provider_wasmi::WasmiEngineProvider;
use wapc_host::{
    BoxError, Error, Interruption, Limits, OwnedHostCall, WapcHost, WebAssemblyEngineProvider,
    error::ModuleError,
};
use wasmi::{Config, Engine, Module};

const ECHO: &str = include_str!("../../guest-fixtures/wat/echo.wat");

fn echoes(provider: impl WebAssemblyEngineProvider + 'static) -> WapcHost {
    let host = WapcHost::new(Box::new(provider), refuse).expect("the guest starts");
    assert_eq!(host.call("any", b"payload").expect("an answer"), b"payload");
    host
}

fn refuse(_: u64, _: &str, _: &str, _: &str, _: &[u8]) -> Result<Vec<u8>, BoxError> {
    Err("no".into())
}

fn metered() -> Engine {
    Engine::new(
        Config::default()
            .consume_fuel(true)
            .compilation_mode(wasmi::CompilationMode::Eager),
    )
}

#[test]
fn an_engine_of_ones_own_is_kept_through_a_swap() {
    let engine = metered();
    let provider = WasmiEngineProvider::builder()
        .engine(engine.clone())
        .interruption(Interruption::Time)
        .build(ECHO.as_bytes())
        .expect("a guest");
    assert!(Engine::same(provider.engine(), &engine));
    let host = echoes(provider);
    host.replace_module(ECHO.as_bytes()).expect("a guest");
    assert_eq!(host.call("any", b"again").expect("an answer"), b"again");
}

#[test]
fn a_module_of_ones_own_brings_its_engine() {
    let engine = metered();
    let binary = wapc_host::module::binary(ECHO.as_bytes()).expect("text");
    let module = Module::new(&engine, &binary).expect("a module");
    let provider = WasmiEngineProvider::builder()
        .interruption(Interruption::Time)
        .build_compiled(module)
        .expect("a guest");
    assert!(Engine::same(provider.engine(), &engine));
    echoes(provider);
}

#[test]
fn the_start_section_of_a_module_of_ones_own_cannot_await() {
    let binary = wapc_host::module::binary(
        br#"(module
            (import "wapc" "__host_call"
              (func $host_call (param i32 i32 i32 i32 i32 i32 i32 i32) (result i32)))
            (memory (export "memory") 1)
            (func $start
              (drop
                (call $host_call
                  (i32.const 0) (i32.const 0) (i32.const 0) (i32.const 0)
                  (i32.const 0) (i32.const 0) (i32.const 0) (i32.const 0))))
            (start $start)
            (func (export "__guest_call") (param i32 i32) (result i32) (i32.const 0)))"#,
    );
    let module = Module::new(&metered(), binary.expect("text")).expect("a module");
    let provider = WasmiEngineProvider::builder()
        .interruption(Interruption::Time)
        .build_compiled(module)
        .expect("a guest");
    let builder = WapcHost::builder(Box::new(provider));
    let host = builder.build_async(|call: OwnedHostCall| async { Ok(call.into_payload()) });
    let Poll::Ready(host) = pin!(host).poll(&mut Context::from_waker(Waker::noop())) else {
        panic!("it waits");
    };
    let refused = format!("{:?}", host.expect_err("it cannot start"));
    assert!(refused.contains("CallbackAwaits"), "{refused}");
}

#[test]
fn a_module_of_ones_own_must_be_a_guest() {
    let module = Module::new(&Engine::default(), b"\0asm\x01\0\0\0").expect("a module");
    let refused = WasmiEngineProvider::builder().build_compiled(module);
    assert!(matches!(
        refused,
        Err(ModuleError::MissingExport { name: "memory", .. })
    ));
}

#[test]
fn an_engine_of_ones_own_does_not_interrupt_unless_one_says_so() {
    let builder = WasmiEngineProvider::builder().engine(Engine::default());
    let provider = builder.build(ECHO.as_bytes()).expect("a guest");
    assert_eq!(provider.interruption(), Interruption::Off);
    let host = WapcHost::new(Box::new(provider.clone()), refuse);
    assert!(matches!(
        host,
        Err(Error::NotInterruptible { what: "time" })
    ));
    let host = WapcHost::builder(Box::new(provider))
        .limits(Limits::unlimited())
        .build(refuse)
        .expect("the guest starts");
    assert_eq!(host.call("any", b"x").expect("an answer"), b"x");
}

#[test]
fn an_engine_of_ones_own_must_be_what_one_says() {
    for (engine, interruption) in [
        (metered(), Interruption::Off),
        (Engine::default(), Interruption::Time),
        (Engine::default(), Interruption::Fuel),
        (Engine::default(), Interruption::TimeAndFuel),
    ] {
        let builder = WasmiEngineProvider::builder()
            .engine(engine)
            .interruption(interruption);
        let Err(ModuleError::Refused(why)) = builder.build(ECHO.as_bytes()) else {
            panic!("{interruption:?} is not refused");
        };
        assert!(why.to_string().contains("consume_fuel"), "{why}");
    }
}

#[test]
fn fuel_for_translation_is_an_error_and_no_hang() {
    let engine = Engine::new(Config::default().consume_fuel(true));
    // One function of 100 KB: translating it costs more than a slice.
    let body = "(drop (i32.const 1))".repeat(33_000);
    let guest = format!(
        r#"(module (memory (export "memory") 1)
            (func (export "__guest_call") (param i32 i32) (result i32) {body} (i32.const 0)))"#
    );
    let provider = WasmiEngineProvider::builder()
        .engine(engine)
        .interruption(Interruption::Time)
        .build(guest.as_bytes())
        .expect("a guest");
    let host = WapcHost::new(Box::new(provider), refuse).expect("the guest starts");
    let error = host.call("any", b"").expect_err("no answer");
    assert!(matches!(error, Error::Engine { .. }), "{error:?}");
}

#[test]
fn instances_on_several_engines_answer_alike() {
    let provider = WasmiEngineProvider::builder()
        .engines(NonZeroUsize::new(3).expect("not zero"))
        .build(ECHO.as_bytes())
        .expect("a guest");
    let hosts: Vec<_> = (0..7).map(|_| echoes(provider.clone())).collect();
    for host in &hosts {
        assert_eq!(host.call("any", b"x").expect("an answer"), b"x");
    }
}
