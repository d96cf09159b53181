//! Guests that Winch compiles, with `--features winch`.
#![cfg(feature = "winch")]

use std::{io::Cursor, time::Duration};

use provider_wasmtime::WasmtimeEngineProvider;
use wapc_host::{
    CallOptions, Error, Interruption, Limits, WapcHost,
    error::{LimitError, ModuleError},
};
use wasmtime::Engine;

const ECHO: &str = include_str!("../../guest-fixtures/wat/echo.wat");
const LOOP: &str = include_str!("../../guest-fixtures/wat/hostile/loop.wat");

fn build(interruption: Interruption, module: &str) -> Result<WasmtimeEngineProvider, ModuleError> {
    WasmtimeEngineProvider::builder()
        .winch()
        .interruption(interruption)
        .build(module.as_bytes())
}

fn host(interruption: Interruption, module: &str, timeout: Option<Duration>) -> WapcHost {
    let provider = build(interruption, module).expect("a guest");
    WapcHost::builder(Box::new(provider))
        .limits(Limits::default().timeout(timeout).start_timeout(None))
        .build(|_, _, _, _, _| Err("no".into()))
        .expect("a host")
}

#[test]
fn guests_answer() {
    for interruption in [
        Interruption::Off,
        Interruption::Time,
        Interruption::Kill,
        Interruption::Fuel,
    ] {
        let host = host(interruption, ECHO, None);
        assert_eq!(host.call("any", b"payload").expect("an answer"), b"payload");
    }
}

#[test]
fn time_ends_a_guest() {
    for interruption in [Interruption::Time, Interruption::Kill] {
        let host = host(interruption, LOOP, Some(Duration::from_millis(50)));
        let result = host.call("bad", b"");
        assert!(matches!(result, Err(Error::TimedOut { .. })), "{result:?}");
    }
}

#[test]
fn fuel_ends_a_guest() {
    let host = host(Interruption::Fuel, LOOP, None);
    let result = host
        .with(&CallOptions::default().fuel(10_000))
        .call("bad", b"");
    assert!(
        matches!(
            result,
            Err(Error::Limit {
                source: LimitError::Fuel { limit: 10_000 },
                ..
            })
        ),
        "{result:?}"
    );
}

#[test]
fn what_winch_cannot_compile_is_refused() {
    let tail_call = r#"(module (memory (export "memory") 1)
        (func $loop (param i32 i32) (result i32)
            (return_call $loop (local.get 0) (local.get 1)))
        (export "__guest_call" (func $loop)))"#;
    let refused = build(Interruption::Time, tail_call);
    assert!(
        matches!(refused, Err(ModuleError::Refused(_))),
        "{refused:?}"
    );
    let externref = r#"(module (memory (export "memory") 1)
        (table 1 externref)
        (func (export "__guest_call") (param i32 i32) (result i32)
            (table.set (i32.const 0) (ref.null extern))
            (i32.const 1)))"#;
    let refused = build(Interruption::Time, externref);
    assert!(
        matches!(refused, Err(ModuleError::Refused(_))),
        "{refused:?}"
    );
}

#[test]
fn an_artefact_is_of_one_compiler() {
    let cranelift = WasmtimeEngineProvider::builder();
    let artefact = cranelift.clone().winch().precompile(ECHO.as_bytes());
    let artefact = artefact.expect("a guest");
    cranelift
        .clone()
        .winch()
        .check_precompiled(Cursor::new(&artefact), None)
        .expect("the same compiler");
    let foreign = cranelift.check_precompiled(Cursor::new(&artefact), None);
    assert!(matches!(
        foreign,
        Err(provider_wasmtime::PrecompiledError::Foreign)
    ));
}

#[test]
fn it_has_an_engine_of_its_own() {
    let winch = build(Interruption::Time, ECHO).expect("a guest");
    let default = WasmtimeEngineProvider::new(ECHO.as_bytes()).expect("a guest");
    assert!(!Engine::same(winch.engine(), default.engine()));
}
