//! Artefacts that must not be loaded: each kind of wrong one has its own error.
//! The example of `Precompiled` accepts valid ones.

use std::{fs::File, io::Cursor};

use provider_wasmtime::{Builder, Pooling, Precompiled, PrecompiledError, WasmtimeEngineProvider};
use wapc_host::{Interruption, WebAssemblyEngineProvider, error::ModuleError, module};
use wasmtime::{Config, Engine, Module, OptLevel};

const GUEST: &[u8] = include_bytes!("../../guest-fixtures/wat/hello.wat");
const OTHER: &[u8] = include_bytes!("../../guest-fixtures/wat/echo.wat");

/// The trailer.
const TRAILER: usize = 64;
/// Where in it the format and the magic begin, counted from its end.
const FORMAT: usize = 8;
const MAGIC: usize = 4;

fn builder() -> Builder {
    WasmtimeEngineProvider::builder()
}

fn artefact() -> Vec<u8> {
    builder().precompile(GUEST).expect("a guest")
}

fn check(artefact: &[u8]) -> Result<Precompiled, PrecompiledError> {
    builder().check_precompiled(Cursor::new(artefact), Some(GUEST))
}

/// The error in one word.
fn kind<T>(result: Result<T, PrecompiledError>) -> &'static str {
    match result.map(|_| ()) {
        Ok(()) => "accepted",
        Err(PrecompiledError::NotPrecompiled) => "not precompiled",
        Err(PrecompiledError::Truncated) => "truncated",
        Err(PrecompiledError::Format { .. }) => "format",
        Err(PrecompiledError::Corrupt) => "corrupt",
        Err(PrecompiledError::Foreign) => "foreign",
        Err(PrecompiledError::Stale) => "stale",
        Err(error) => panic!("another error: {error}"),
    }
}

#[test]
fn what_was_written_is_accepted() {
    let artefact = artefact();
    let checked = check(&artefact).expect("it is as it was written");
    let default = WasmtimeEngineProvider::new(GUEST).expect("a guest");
    assert!(Engine::same(checked.engine(), default.engine()));
    assert!(Engine::detect_precompiled(&artefact).is_some());
    assert_eq!(
        kind(builder().check_precompiled(Cursor::new(&artefact), None)),
        "accepted"
    );
}

#[test]
fn a_changed_byte_is_found() {
    let artefact = artefact();
    let length = artefact.len();
    let everywhere = (0..length).step_by(251);
    for at in everywhere.chain(0..256).chain(length - 256..length) {
        for bit in [0, 7] {
            let mut changed = artefact.clone();
            changed[at] ^= 1 << bit;
            let expected = match length - at {
                1..=MAGIC => "truncated",
                5..=FORMAT => "format",
                _ => "corrupt",
            };
            assert_eq!(kind(check(&changed)), expected, "byte {at} of {length}");
        }
    }
}

#[test]
fn a_cut_is_found() {
    let artefact = artefact();
    let length = artefact.len();
    for kept in [
        4,
        5,
        63,
        64,
        65,
        4096,
        length / 2,
        length - TRAILER,
        length - 1,
    ] {
        assert_eq!(
            kind(check(&artefact[..kept])),
            "truncated",
            "{kept} of {length}"
        );
    }
    for kept in 0..4 {
        assert_eq!(kind(check(&artefact[..kept])), "not precompiled");
    }
    let (code, trailer) = artefact.split_at(length - TRAILER);
    for kept in [0, 1, 4096, code.len() - 1] {
        let changed = [&code[..kept], trailer].concat();
        assert_eq!(kind(check(&changed)), "corrupt", "{kept} of {length}");
    }
}

#[test]
fn more_than_was_written_is_found() {
    let artefact = artefact();
    let longer = [&artefact[..], b"\0"].concat();
    assert_eq!(kind(check(&longer)), "truncated");
    let twice = [&artefact[..], &artefact[..]].concat();
    assert_eq!(kind(check(&twice)), "corrupt");
}

#[test]
fn what_is_no_artefact_is_told_apart() {
    let binary = module::binary(GUEST).expect("a guest");
    for other in [&b""[..], b"\0", GUEST, &binary, &[0; 1000]] {
        assert_eq!(kind(check(other)), "not precompiled");
    }
    // Wasmtime's own artefact has nothing behind it.
    let provider = WasmtimeEngineProvider::new(GUEST).expect("a guest");
    let bare = provider.module().serialize().expect("an artefact");
    assert_eq!(kind(check(&bare)), "truncated");
}

#[test]
fn another_module_is_found() {
    let artefact = artefact();
    let stale = builder().check_precompiled(Cursor::new(&artefact), Some(OTHER));
    assert_eq!(kind(stale), "stale");
    let binary = module::binary(GUEST).expect("a guest");
    let stale = builder().check_precompiled(Cursor::new(&artefact), Some(&binary));
    assert_eq!(kind(stale), "stale", "the bytes count, not their meaning");
}

#[test]
fn another_engine_is_found() {
    let artefact = artefact();
    for interruption in [
        Interruption::Off,
        Interruption::Fuel,
        Interruption::TimeAndFuel,
    ] {
        let foreign = builder()
            .interruption(interruption)
            .check_precompiled(Cursor::new(&artefact), Some(GUEST));
        assert_eq!(kind(foreign), "foreign", "{interruption:?}");
    }
    let mut config = Config::new();
    config
        .epoch_interruption(true)
        .cranelift_opt_level(OptLevel::None);
    let engine = Engine::new(&config).expect("a plain configuration");
    let foreign = builder()
        .engine(engine.clone())
        .check_precompiled(Cursor::new(&artefact), Some(GUEST));
    assert_eq!(kind(foreign), "foreign");
    let own = builder().engine(engine.clone()).precompile(GUEST);
    let own = own.expect("a guest");
    assert_eq!(kind(check(&own)), "foreign");
    let accepted = builder()
        .engine(engine)
        .check_precompiled(Cursor::new(&own), Some(GUEST));
    assert_eq!(kind(accepted), "accepted");
}

#[test]
fn engines_with_the_same_settings_agree() {
    let pooled = || builder().pooling(Pooling::new(1)).stack_bytes(256 << 10);
    let artefact = pooled().precompile(GUEST).expect("a guest");
    let accepted = pooled().check_precompiled(Cursor::new(&artefact), Some(GUEST));
    assert_eq!(kind(accepted), "accepted");
}

#[test]
fn what_cannot_be_read_is_told_apart() {
    let check = |path| builder().check_precompiled(File::open(path)?, None);
    let missing = check(concat!(env!("CARGO_TARGET_TMPDIR"), "/missing"));
    assert!(matches!(missing, Err(PrecompiledError::Unreadable(_))));
}

#[test]
fn a_module_on_another_engine_is_refused() {
    let checked = check(&artefact()).expect("it is as it was written");
    let binary = module::binary(GUEST).expect("a guest");
    let module = Module::new(&Engine::default(), &binary).expect("a module");
    let Err(ModuleError::Refused(cause)) = checked.build(module) else {
        panic!("it must be refused");
    };
    let cause = cause.downcast_ref::<PrecompiledError>();
    assert!(matches!(cause, Some(PrecompiledError::Foreign)));
}

#[test]
fn settings_without_an_engine_are_told_apart() {
    let result = builder()
        .stack_bytes(0)
        .check_precompiled(Cursor::new(artefact()), None);
    assert!(matches!(result, Err(PrecompiledError::Engine(_))));
}

#[test]
fn only_guests_are_compiled() {
    let refused = builder().precompile(b"\0asm\x01\0\0\0");
    assert!(matches!(refused, Err(ModuleError::MissingExport { .. })));
    let refused = builder().precompile(b"no module");
    assert!(matches!(refused, Err(ModuleError::NotWasm { .. })));
}

#[test]
fn artefacts_of_guests_that_are_killed_are_their_own() {
    let kills = || builder().interruption(Interruption::Kill);
    let check = |builder: Builder, artefact: &[u8], module: &[u8]| {
        builder.check_precompiled(Cursor::new(artefact.to_vec()), Some(module))
    };
    let artefact = kills().precompile(GUEST).expect("a guest");
    let checked = check(kills(), &artefact, GUEST).expect("it is as it was written");
    let compiled = kills().build(GUEST).expect("a guest");
    let loaded = checked.build(compiled.module().clone()).expect("a guest");
    assert_eq!(loaded.interruption(), compiled.interruption());
    if compiled.interruption() == Interruption::Kill {
        assert_eq!(kind(check(builder(), &artefact, GUEST)), "foreign");
    }

    // It cannot have checks, and is compiled with epochs.
    let guest = br#"(module (memory (export "memory") 1) (func (export "wapc start section"))
        (func (export "__guest_call") (param i32 i32) (result i32) (i32.const 1)))"#;
    let artefact = kills().precompile(guest).expect("a guest");
    let checked = check(kills(), &artefact, guest).expect("it is as it was written");
    let compiled = kills().build(guest).expect("a guest");
    let loaded = checked.build(compiled.module().clone()).expect("a guest");
    assert_eq!(loaded.interruption(), Interruption::Time);
}
