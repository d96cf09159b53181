//! What a provider can be made of.

use provider_wasmtime::WasmtimeEngineProvider;
use wapc_host::{BoxError, Error, ModuleError, WapcHost, WebAssemblyEngineProvider};
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
    let mut config = Config::new();
    config.cranelift_opt_level(OptLevel::None);
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
