//! The guests, made in code.

use std::fmt::Write;

/// An echo that says which version it is. Versions with an even number say
/// it behind the payload, the others before it: two programs, not one with
/// another number. Payloads are of up to 1000 bytes.
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

/// The version that gave this answer to `payload`; `None` if none gives it.
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

/// A module whose initialiser does this.
pub(crate) fn starting_with(instructions: &str) -> Vec<u8> {
    assemble(&format!(
        r#"(module
             (memory (export "memory") 1)
             (func (export "wapc_init") {instructions})
             (func (export "__guest_call") (param i32 i32) (result i32) (i32.const 0)))"#
    ))
}

/// A guest that needs a function that no host provides.
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

/// A guest of about 400 KB: the code, the data and the names of a larger
/// program. Its functions are drawn at random, the same ones for the same
/// `seed`, from what compilers emit: arithmetic, loads and stores, branches,
/// loops, direct and indirect calls.
///
/// The first four bytes of a call's payload say how many rounds it computes;
/// each round runs some of the functions and 1000 steps of arithmetic. The
/// answer is the payload with the result ([`large_result`]) in their place.
pub(crate) fn large(seed: u64) -> Vec<u8> {
    let mut random = Random(seed.wrapping_mul(2).wrapping_add(0x9e37_79b9_7f4a_7c15));
    let names: Vec<String> = (0..FUNCTIONS).map(|nth| name(&mut random, nth)).collect();
    let mut text = format!(
        r#"(module
             {IMPORTS}
             (type $function (func (param i32 i32) (result i32)))
             (memory (export "memory") 5)
             (table {TABLE} funcref)
             (elem (i32.const 0)"#
    );
    for name in names.iter().step_by(3).take(TABLE) {
        _ = write!(text, " ${name}");
    }
    text += ")\n(data (i32.const 1024) \"";
    for _ in 0..DATA_BYTES {
        _ = write!(text, "\\{:02x}", random.below(256));
    }
    text += "\")\n";
    for index in 0..names.len() {
        function(&mut text, &mut random, &names, index);
    }
    _ = write!(
        text,
        r#"(func (export "__guest_call") (param $op i32) (param $msg i32) (result i32)
             (local $rounds i32) (local $steps i32) (local $result i32)
             (call $request (i32.const {REQUEST}) (i32.const {PAYLOAD}))
             (local.set $rounds (i32.load (i32.const {PAYLOAD})))
             (local.set $result (i32.const 1))
             (loop $round
               (if (local.get $rounds) (then"#
    );
    for name in names.iter().step_by(names.len().div_ceil(8)) {
        _ = write!(
            text,
            "(drop (call ${name} (i32.const {LEAF}) (i32.const 1)))"
        );
    }
    _ = write!(
        text,
        r#"      (local.set $steps (i32.const {STEPS}))
                 (loop $step
                   (local.set $result (i32.add (i32.rotl (i32.mul (local.get $result) (i32.const {FACTOR})) (i32.const 7)) (local.get $steps)))
                   (br_if $step (local.tee $steps (i32.sub (local.get $steps) (i32.const 1)))))
                 (local.set $rounds (i32.sub (local.get $rounds) (i32.const 1)))
                 (br $round))))
             (i32.store (i32.const {PAYLOAD}) (local.get $result))
             (call $respond (i32.const {PAYLOAD}) (local.get $msg))
             (i32.const 1)))"#
    );
    assemble(&text)
}

/// What [`large`] computes in this many rounds.
pub(crate) fn large_result(rounds: u32) -> u32 {
    (0..rounds).fold(1, |result, _| {
        (1..=STEPS).rev().fold(result, |result: u32, step| {
            result
                .wrapping_mul(FACTOR)
                .rotate_left(7)
                .wrapping_add(step)
        })
    })
}

const STEPS: u32 = 1000;
const FACTOR: u32 = 0x0193_0001;
const FUNCTIONS: usize = 670;
const DATA_BYTES: usize = 210 * 1024;
const TABLE: usize = 128;
/// The fifth page: what the guest is sent goes behind its data.
const REQUEST: u32 = 4 << 16;
const PAYLOAD: u32 = REQUEST + 1024;
/// Functions that are called with this never take the branches that call
/// further.
const LEAF: i32 = 7;

/// As long as the names of functions are that compilers leave in.
fn name(random: &mut Random, nth: usize) -> String {
    const WORDS: [&str; 8] = [
        "core::fmt::",
        "alloc::vec::",
        "serde::de::",
        "policy::rules::",
        "iter::adapters::",
        "string::",
        "collections::map::",
        "request::headers::",
    ];
    let mut word = || *random.one_of(&WORDS);
    format!("{}{}{}function_{nth}", word(), word(), word())
}

fn function(text: &mut String, random: &mut Random, names: &[String], index: usize) {
    let name = names.get(index).map_or("", String::as_str);
    _ = write!(
        text,
        "(func ${name} (type $function) (local i32 i32 i32 i32)"
    );
    for _ in 0..8 + random.below(14) {
        text.push_str(&statement(random, names.get(..index).unwrap_or_default()));
    }
    text.push_str("(i32.xor (local.get 2) (local.get 3)))\n");
}

fn statement(random: &mut Random, callees: &[String]) -> String {
    // A local to write: not the parameters, which decide who is called, nor
    // the loop's counter.
    let target = 2 + random.below(3);
    let address = format!("(i32.and {} (i32.const 0xfffc))", local(random));
    match random.below(8) {
        0..=2 => format!("(local.set {target} {})", arithmetic(random)),
        3 => format!("(local.set {target} (i32.load {address}))"),
        4 => format!("(i32.store {address} {})", local(random)),
        5 => format!(
            "(if (i32.and {} (i32.const 1))
               (then (local.set {target} {})) (else (local.set {target} {})))",
            local(random),
            arithmetic(random),
            arithmetic(random)
        ),
        6 => format!(
            "(local.set 5 (i32.const {}))
             (loop (local.set {target} {})
               (br_if 0 (local.tee 5 (i32.sub (local.get 5) (i32.const 1)))))",
            3 + random.below(5),
            arithmetic(random)
        ),
        _ => {
            let arguments = format!("{} {}", local(random), local(random));
            let call = if callees.is_empty() || random.below(4) == 0 {
                let index = format!("(i32.and {} (i32.const {}))", local(random), TABLE - 1);
                format!("(call_indirect (type $function) {arguments} {index})")
            } else {
                format!("(call ${} {arguments})", random.one_of(callees))
            };
            format!(
                "(if (i32.ne (local.get 0) (i32.const {LEAF})) (then (local.set {target} {call})))"
            )
        }
    }
}

fn arithmetic(random: &mut Random) -> String {
    const OPERATIONS: [&str; 7] = ["add", "sub", "mul", "xor", "shl", "rotl", "lt_u"];
    let left = local(random);
    let right = match random.below(2) {
        0 => local(random),
        _ => format!("(i32.const {})", random.below(1 << 20)),
    };
    format!("(i32.{} {left} {right})", random.one_of(&OPERATIONS))
}

/// A parameter or a local to read.
fn local(random: &mut Random) -> String {
    format!("(local.get {})", random.below(6))
}

/// xorshift64*: the same guest in every run.
struct Random(u64);

impl Random {
    fn below(&mut self, limit: u64) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        (self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 32) % limit
    }

    /// One of `choices`, of which there is at least one.
    #[expect(clippy::indexing_slicing, reason = "the index is below the length")]
    fn one_of<'c, T>(&mut self, choices: &'c [T]) -> &'c T {
        let nth = self.below(choices.len() as u64);
        &choices[usize::try_from(nth).unwrap_or_default()]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_large_guest_is_about_400_kb_and_the_same_each_time() {
        let guest = large(1);
        assert!((380_000..420_000).contains(&guest.len()), "{}", guest.len());
        assert!(guest == large(1) && guest != large(2));
    }

    #[test]
    fn answers_tell_their_version() {
        assert_eq!(version_of(b"payload0000000042", b"payload"), Some(42));
        assert_eq!(version_of(b"0000000043payload", b"payload"), Some(43));
        assert_eq!(version_of(b"0000000042payload", b"payload"), None);
        assert_eq!(version_of(b"other0000000042", b"payload"), None);
        assert_eq!(version_of(b"payload", b"payload"), None);
    }
}
