//! What a provider can be made of.

use std::num::NonZeroUsize;

use provider_wasmi::WasmiEngineProvider;
use wapc_host::{BoxError, ModuleError, WapcHost, WebAssemblyEngineProvider};
use wasmi::{Engine, Module};

const ECHO: &str = include_str!("../../guest-fixtures/wat/echo.wat");

fn echoes(provider: impl WebAssemblyEngineProvider + 'static) -> WapcHost {
    let host = WapcHost::new(Box::new(provider), refuse).expect("the guest starts");
    assert_eq!(host.call("any", b"payload").expect("an answer"), b"payload");
    host
}

fn refuse(_: u64, _: &str, _: &str, _: &str, _: &[u8]) -> Result<Vec<u8>, BoxError> {
    Err("no".into())
}

#[test]
fn an_engine_of_ones_own_is_kept_through_a_swap() {
    let engine = Engine::default();
    let provider = WasmiEngineProvider::builder()
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
    let engine = Engine::default();
    let binary = wapc_host::module::binary(ECHO.as_bytes()).expect("text");
    let module = Module::new(&engine, &binary).expect("a module");
    let provider = WasmiEngineProvider::builder()
        .build_compiled(module)
        .expect("a guest");
    assert!(Engine::same(provider.engine(), &engine));
    echoes(provider);
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
