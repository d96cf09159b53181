//! Random sequences of what a plugin asks of Extism's environment, compared with a model, and with Extism's own kernel
//! where `EXTISM_KERNEL` is the path of `extism-runtime.wasm` (in the package `extism` of the crate registry).
#![expect(
    clippy::indexing_slicing,
    clippy::unwrap_used,
    reason = "what a test's own functions unwrap fails the test"
)]

use std::collections::HashMap;

use provider_wasmi::WasmiEngineProvider;
use wapc_dialects::{Memories, Options, Plugins, adapt};
use wapc_host::{Reuse, WapcHost};

/// Runs a list of steps. Each has four numbers: what to do, the step whose result is added to the place
/// (or -1), the place, and a value. The output has the result of each.
const INTERPRETER: &str = r#"(module IMPORTS
    (import "extism:host/env" "alloc" (func $alloc (param i64) (result i64)))
    (import "extism:host/env" "free" (func $free (param i64)))
    (import "extism:host/env" "length" (func $length (param i64) (result i64)))
    (import "extism:host/env" "load_u8" (func $load_u8 (param i64) (result i32)))
    (import "extism:host/env" "load_u64" (func $load_u64 (param i64) (result i64)))
    (import "extism:host/env" "store_u8" (func $store_u8 (param i64 i32)))
    (import "extism:host/env" "store_u64" (func $store_u64 (param i64 i64)))
    (import "extism:host/env" "input_length" (func $input_length (result i64)))
    (import "extism:host/env" "input_load_u64" (func $input (param i64) (result i64)))
    (import "extism:host/env" "output_set" (func $output_set (param i64 i64)))
    (memory MEMORY 1)
    (func $step (param $what i64) (param $at i64) (param $value i64) (result i64)
        (if (i64.eq (local.get $what) (i64.const 0)) (then (return (call $alloc (local.get $value)))))
        (if (i64.eq (local.get $what) (i64.const 1)) (then (call $free (local.get $at))))
        (if (i64.eq (local.get $what) (i64.const 2)) (then (return (call $length (local.get $at)))))
        (if (i64.eq (local.get $what) (i64.const 3))
            (then (return (i64.extend_i32_u (call $load_u8 (local.get $at))))))
        (if (i64.eq (local.get $what) (i64.const 4)) (then (return (call $load_u64 (local.get $at)))))
        (if (i64.eq (local.get $what) (i64.const 5))
            (then (call $store_u8 (local.get $at) (i32.wrap_i64 (local.get $value)))))
        (if (i64.eq (local.get $what) (i64.const 6))
            (then (call $store_u64 (local.get $at) (local.get $value))))
        (i64.const 0))
    (func $run (export "run") (local $i i64) (local $base i64) (local $out i64)
        (loop $next
            (local.set $base (i64.const 0))
            (if (i64.ne (call $input (i64.add (local.get $i) (i64.const 8))) (i64.const -1))
                (then (local.set $base (i64.load (i32.wrap_i64
                    (i64.shl (call $input (i64.add (local.get $i) (i64.const 8))) (i64.const 3)))))))
            (i64.store (i32.wrap_i64 (i64.shr_u (local.get $i) (i64.const 2)))
                (call $step (call $input (local.get $i))
                    (i64.add (local.get $base) (call $input (i64.add (local.get $i) (i64.const 16))))
                    (call $input (i64.add (local.get $i) (i64.const 24)))))
            (local.set $i (i64.add (local.get $i) (i64.const 32)))
            (br_if $next (i64.lt_u (local.get $i) (call $input_length))))
        (local.set $out (call $alloc (i64.shr_u (local.get $i) (i64.const 2))))
        (call $output_set (local.get $out) (i64.shr_u (local.get $i) (i64.const 2)))
        (local.set $i (i64.const 0))
        (loop $next
            (call $store_u64 (i64.add (local.get $out) (local.get $i))
                (i64.load (i32.wrap_i64 (local.get $i))))
            (local.set $i (i64.add (local.get $i) (i64.const 8)))
            (br_if $next (i64.lt_u (local.get $i) (i64.shr_u (call $input_length) (i64.const 2))))))
    MORE)"#;

/// The interpreter as a plugin.
fn plugin() -> Vec<u8> {
    let text = INTERPRETER
        .replace("IMPORTS", "")
        .replace("MEMORY", "")
        .replace("MORE", "");
    text.into_bytes()
}

/// The interpreter as a waPC guest, whose environment is a library: the input is copied to a block of the
/// library's, and the results are those in the memory.
fn guest() -> Vec<u8> {
    let imports = r#"
        (import "extism:host/env" "reset" (func $reset))
        (import "extism:host/env" "input_set" (func $input_set (param i64 i64)))
        (import "wapc" "__guest_request" (func $request (param i32 i32)))
        (import "wapc" "__guest_response" (func $respond (param i32 i32)))"#;
    let more = r#"
        (func (export "__guest_call") (param $operation i32) (param $bytes i32) (result i32)
            (local $i i32) (local $block i64)
            (call $request (i32.const 60000) (i32.const 8))
            (call $reset)
            (local.set $block (call $alloc (i64.extend_i32_u (local.get $bytes))))
            (loop $next
                (call $store_u8 (i64.add (local.get $block) (i64.extend_i32_u (local.get $i)))
                    (i32.load8_u offset=8 (local.get $i)))
                (local.set $i (i32.add (local.get $i) (i32.const 1)))
                (br_if $next (i32.lt_u (local.get $i) (local.get $bytes))))
            (call $input_set (local.get $block) (i64.extend_i32_u (local.get $bytes)))
            (call $run)
            (call $respond (i32.const 0) (i32.shr_u (local.get $bytes) (i32.const 2)))
            (i32.const 1))"#;
    let text = INTERPRETER.replace("IMPORTS", imports);
    let text = text
        .replace("MEMORY", "(export \"memory\")")
        .replace("MORE", more);
    // The dialect is known by this name.
    text.replace("extism:host/env", "kernel").into_bytes()
}
struct Random(u64);

impl Random {
    fn below(&mut self, end: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % end
    }
}

#[derive(Clone, Copy, Debug)]
struct Step {
    what: u64,
    /// The step that made the block, if it is one's.
    of: Option<usize>,
    at: u64,
    value: u64,
}

/// Steps that write inside of blocks alone, since a plugin that writes elsewhere harms itself.
/// Lengths and frees are asked for up to `beyond` bytes behind a block.
fn steps(random: &mut Random, sizes: u64, beyond: u64) -> Vec<Step> {
    let mut made: Vec<(usize, u64)> = Vec::new();
    let mut steps = Vec::new();
    for number in 0..120 {
        let value = random.0;
        let step = match (random.below(8), made.len()) {
            (0 | 1, _) | (_, 0) => {
                let value = random.below(sizes);
                made.push((number, value));
                Step {
                    what: 0,
                    of: None,
                    at: 0,
                    value,
                }
            }
            (what, blocks) => {
                let (of, length) = made[usize::try_from(random.below(blocks as u64)).unwrap()];
                // Half of the handles are those of blocks; lengths and frees are asked for others too.
                let at = match what {
                    2 | 7 if random.below(2) == 0 => 0,
                    2 | 7 => random.below((length + beyond).max(1)),
                    _ => random.below(length + 1),
                };
                let (what, bytes) = match what {
                    7 => (1, 0),
                    2 => (2, 0),
                    3 => (3, 1),
                    4 => (4, 8),
                    5 => (5, 1),
                    _ => (6, 8),
                };
                match at + bytes <= length || bytes == 0 {
                    true => Step {
                        what,
                        of: Some(of),
                        at,
                        value,
                    },
                    false => Step {
                        what: 2,
                        of: Some(of),
                        at,
                        value,
                    },
                }
            }
        };
        steps.push(step);
    }
    steps
}

/// Follows the steps and their results.
fn check(steps: &[Step], results: &[u64], is_small: bool) {
    let mut live: HashMap<u64, u64> = HashMap::new();
    let mut known: HashMap<u64, u8> = HashMap::new();
    for (number, (step, result)) in steps.iter().zip(results).enumerate() {
        let place = step.of.map_or(0, |of| results[of]).wrapping_add(step.at);
        // A block of no bytes has the handle 0, from which nothing is reached.
        let reaches = step.of.is_none_or(|of| results[of] != 0);
        let word = |known: &HashMap<u64, u8>, bytes: u64| {
            let bytes: Option<Vec<u8>> = (0..bytes)
                .map(|at| known.get(&(place + at)).copied())
                .collect();
            bytes.map(|mut bytes| {
                bytes.resize(8, 0);
                u64::from_le_bytes(bytes.try_into().unwrap())
            })
        };
        let context = format!("step {number}: {step:?} = {result:#x}");
        match step.what {
            0 if step.value == 0 => assert_eq!(*result, 0, "{context}"),
            0 => {
                assert_ne!(*result, 0, "{context}");
                let end = result + step.value;
                let is_apart =
                    |(start, length): (&u64, &u64)| end <= *start || start + length <= *result;
                assert!(live.iter().all(is_apart), "{context} among {live:?}");
                live.insert(*result, step.value);
                for at in *result..end {
                    // One that comes again has what it had.
                    match is_small {
                        true => assert!(known.insert(at, 0).is_none(), "{context}"),
                        false => _ = known.remove(&at),
                    }
                }
            }
            1 => _ = live.remove(&place),
            2 => assert_eq!(*result, live.get(&place).copied().unwrap_or(0), "{context}"),
            3 | 4 if reaches => {
                let bytes = if step.what == 3 { 1 } else { 8 };
                if let Some(expected) = word(&known, bytes) {
                    assert_eq!(*result, expected, "{context}");
                }
            }
            5 | 6 if reaches => {
                let bytes = if step.what == 5 { 1 } else { 8 };
                for (at, byte) in (place..).zip(step.value.to_le_bytes()).take(bytes) {
                    known.insert(at, byte);
                }
            }
            _ => {}
        }
    }
}

#[test]
fn random_steps_do_as_the_model() {
    let plugin = Plugins::new()
        .validates(true)
        .link(&[("main", &plugin())])
        .unwrap();
    let host = |reuse: Reuse| {
        let provider = WasmiEngineProvider::new(&plugin.binary).unwrap();
        let builder = WapcHost::builder(Box::new(provider)).reuse(reuse);
        builder
            .build(|_, _, _, _, _| Err("nothing".into()))
            .unwrap()
    };
    let oracle = oracle();
    // Behind a block of theirs may begin another where there is none of ours.
    let beyond = if oracle.is_some() { 0 } else { 20 };
    let mut random = Random(0x9e37_79b9_7f4a_7c15);
    // Within the first pages, where nothing freed comes again; and far beyond them.
    for (sizes, is_small, rounds) in [(300, true, 100), (20_000, false, 30)] {
        // Where freed blocks come again, the memory has to grow: in a new instance each time.
        let host = host(if is_small {
            Reuse::default()
        } else {
            Reuse::Fresh
        });
        for _ in 0..rounds {
            let steps = steps(&mut random, sizes, beyond);
            let results = run(&host, &steps);
            check(&steps, &results, is_small);
            if let Some(oracle) = &oracle {
                let theirs = run(oracle, &steps);
                check(&steps, &theirs, is_small);
                // Each has places of its own for blocks, and comes to use freed ones at another time; what
                // else blocks have is the same.
                if !is_small {
                    continue;
                }
                for (step, (ours, theirs)) in steps.iter().zip(results.iter().zip(&theirs)) {
                    match step.what {
                        0 => assert_eq!(*ours == 0, *theirs == 0, "{step:?}"),
                        _ => assert_eq!(ours, theirs, "{step:?}"),
                    }
                }
            }
        }
    }
}

/// The interpreter over Extism's own kernel.
fn oracle() -> Option<WapcHost> {
    let Some(kernel) = std::env::var_os("EXTISM_KERNEL") else {
        eprintln!("Extism's kernel is left out: EXTISM_KERNEL names no file");
        return None;
    };
    let kernel = std::fs::read(kernel).unwrap();
    let options = Options::new().link("kernel", kernel, Memories::Own);
    let linked = adapt(&guest(), &options.validates(true))
        .unwrap()
        .binary
        .into_owned();
    let provider = WasmiEngineProvider::new(&linked).unwrap();
    let builder = WapcHost::builder(Box::new(provider)).reuse(Reuse::Fresh);
    Some(
        builder
            .build(|_, _, _, _, _| Err("nothing".into()))
            .unwrap(),
    )
}

fn run(host: &WapcHost, steps: &[Step]) -> Vec<u64> {
    let numbers = steps.iter().flat_map(|step| {
        let of = step.of.map_or(u64::MAX, |of| of as u64);
        [step.what, of, step.at, step.value]
    });
    let input: Vec<u8> = numbers.flat_map(u64::to_le_bytes).collect();
    let output = host.call("run", &input).unwrap();
    let words = output.chunks_exact(8);
    let results: Vec<u64> = words
        .map(|word| u64::from_le_bytes(word.try_into().unwrap()))
        .collect();
    assert_eq!(results.len(), steps.len());
    results
}
