//! Bytes that are no guests, refused with the same text by every engine.

use conformance::{Engine, chain};
use guest_fixtures::HELLO_RUST;
use wapc_host::{Error, WapcHost, WasiSettings, error::ModuleError};

use crate::Case;

pub(crate) fn cases() -> Vec<Case> {
    let mut cases: Vec<_> = REFUSED
        .iter()
        .map(|(name, bytes, words)| {
            Case::new(*name, move |engine: &Engine| {
                let refused = engine.provider(bytes, WasiSettings::new());
                let error = refused.err().expect("it must be refused");
                assert!(chain(&error).starts_with(words), "{}", chain(&error));
            })
        })
        .collect();
    cases.push(Case::new("truncated", truncated));
    cases.push(Case::new("a_failed_swap_changes_nothing", failed_swap));
    cases
}

/// A name, the bytes, and the beginning of the error.
const REFUSED: &[(&str, &[u8], &str)] = &[
    ("empty", b"", "the module is empty"),
    (
        "garbage",
        b"\x7fELF\x02\x01\x01\0",
        r"not a WebAssembly module: it begins with \x7fELF\x02\x01\x01\x00",
    ),
    (
        "prose",
        b"hello",
        "not a WebAssembly module: it begins with hello",
    ),
    (
        "component",
        b"\0asm\x0d\0\x01\0",
        "a WebAssembly component, not a core module",
    ),
    (
        "component_text",
        b"(component)",
        "a WebAssembly component, not a core module",
    ),
    (
        "text_that_does_not_parse",
        b"(module (func)",
        "the text format does not parse: expected",
    ),
    (
        "header_only",
        b"\0asm\x01\0\0\0",
        "the module does not export `memory`, a memory",
    ),
    (
        "wrong_version",
        b"\0asm\x02\0\0\0",
        "not valid WebAssembly at byte 0x4: unknown binary version",
    ),
    (
        "does_not_validate",
        b"(module (memory (export \"memory\") 1) (func (export \"__guest_call\") (param i32 i32) (result i32)))",
        "not valid WebAssembly at byte",
    ),
    (
        "feature_of_no_guest",
        b"(module (memory (export \"memory\") i64 1) (func (export \"__guest_call\") (param i32 i32) (result i32) (i32.const 1)))",
        "not valid WebAssembly at byte",
    ),
];

/// Every prefix of a real guest is refused.
fn truncated(engine: &Engine) {
    // In steps that hit every section, since hundreds of prefixes take long.
    let step = HELLO_RUST.len() / 97;
    for length in (0..HELLO_RUST.len()).step_by(step) {
        let prefix = HELLO_RUST.get(..length).expect("a prefix");
        let refused = engine.provider(prefix, WasiSettings::new());
        assert!(
            matches!(
                refused.err(),
                Some(
                    ModuleError::Empty
                        | ModuleError::NotWasm { .. }
                        | ModuleError::Invalid { .. }
                        | ModuleError::MissingExport { .. }
                )
            ),
            "{length} bytes"
        );
    }
}

fn failed_swap(engine: &Engine) {
    let host = engine.host(HELLO_RUST);
    let count = |host: &WapcHost| host.call("count", b"").expect("an answer");
    assert_eq!(count(&host), b"1");
    for (name, bytes, _) in REFUSED {
        let refused = host.replace_module(bytes);
        assert!(matches!(refused, Err(Error::Init(_))), "{name}");
    }
    assert_eq!((count(&host), host.generation()), (b"2".to_vec(), 1));
}
