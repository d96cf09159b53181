//! The guests of the runs, made in code.

/// The result of [`large`] after this many rounds.
pub(crate) use guest_fixtures::generate::computed as large_result;
use guest_fixtures::generate::{Entry, large_guest};

/// An echo that adds its version to the response: even numbers behind the payload,
/// odd ones before it, so that two versions are different programs. Payloads have up
/// to 1000 bytes.
pub(crate) fn version(number: u64) -> Vec<u8> {
    let answer = match number % 2 {
        0 => {
            "(call $request (i32.const 4096) (i32.const 1024))
             (memory.copy (i32.add (i32.const 1024) (local.get $msg)) (i32.const 0) (i32.const 10))
             (call $respond (i32.const 1024) (i32.add (local.get $msg) (i32.const 10)))"
        }
        _ => {
            "(call $request (i32.const 4096) (i32.const 10))
             (call $respond (i32.const 0) (i32.add (local.get $msg) (i32.const 10)))"
        }
    };
    assemble(&format!(
        r#"(module
             {IMPORTS}
             (memory (export "memory") 1)
             (data (i32.const 0) "{number:010}")
             (func (export "__guest_call") (param $op i32) (param $msg i32) (result i32)
               {answer}
               (i32.const 1)))"#
    ))
}

/// Returns the version that gives this answer to `payload`, if any.
pub(crate) fn version_of(answer: &[u8], payload: &[u8]) -> Option<u64> {
    let behind = answer.strip_prefix(payload).and_then(number);
    let before = answer.strip_suffix(payload).and_then(number);
    behind
        .filter(|number| number % 2 == 0)
        .or(before.filter(|number| number % 2 == 1))
}

fn number(digits: &[u8]) -> Option<u64> {
    let digits: &[u8; 10] = digits.try_into().ok()?;
    std::str::from_utf8(digits).ok()?.parse().ok()
}

/// An echo whose operation `trap` traps and whose operation `spin` never ends.
pub(crate) fn unruly() -> Vec<u8> {
    assemble(&format!(
        r#"(module
             {IMPORTS}
             (memory (export "memory") 1)
             (func (export "__guest_call") (param $op i32) (param $msg i32) (result i32)
               (call $request (i32.const 1024) (i32.const 2048))
               (if (i32.eq (i32.load8_u (i32.const 1024)) (i32.const {TRAP})) (then (unreachable)))
               (if (i32.eq (i32.load8_u (i32.const 1024)) (i32.const {SPIN})) (then (loop $again (br $again))))
               (call $respond (i32.const 2048) (local.get $msg))
               (i32.const 1)))"#
    ))
}

/// The first letters of operations of [`unruly`].
const TRAP: u8 = b't';
const SPIN: u8 = b's';

/// A guest whose `wapc_init` has these instructions.
pub(crate) fn starting_with(instructions: &str) -> Vec<u8> {
    assemble(&format!(
        r#"(module
             (memory (export "memory") 1)
             (func (export "wapc_init") {instructions})
             (func (export "__guest_call") (param i32 i32) (result i32) (i32.const 0)))"#
    ))
}

/// A guest with an unknown import.
pub(crate) fn lacking_an_import() -> Vec<u8> {
    assemble(
        r#"(module
             (import "nowhere" "nothing" (func))
             (memory (export "memory") 1)
             (func (export "__guest_call") (param i32 i32) (result i32) (i32.const 0)))"#,
    )
}

const IMPORTS: &str = r#"
    (import "wapc" "__guest_request" (func $request (param i32 i32)))
    (import "wapc" "__guest_response" (func $respond (param i32 i32)))"#;

fn assemble(text: &str) -> Vec<u8> {
    wat::parse_str(text).unwrap_or_else(|error| panic!("a guest made here assembles: {error}"))
}

/// A guest of about 400 KB that computes as many rounds as the first four bytes
/// of its payload say.
pub(crate) fn large(seed: u64) -> Vec<u8> {
    large_guest(Entry::Compute, seed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_tell_their_version() {
        assert_eq!(version_of(b"payload0000000042", b"payload"), Some(42));
        assert_eq!(version_of(b"0000000043payload", b"payload"), Some(43));
        assert_eq!(version_of(b"0000000042payload", b"payload"), None);
        assert_eq!(version_of(b"other0000000042", b"payload"), None);
        assert_eq!(version_of(b"payload", b"payload"), None);
    }
}
