//! Arbitrary bytes, through the reports of `wapc inspect`.
//!
//! One execution is one file: arbitrary bytes, a fixture with mutations, or a
//! generated module. It must have a report or be refused, without a panic, and the
//! report must not contain control characters. Some files are also compiled by the
//! engines, which must agree.

use std::path::Path;

use arbitrary::{Arbitrary, Unstructured};
use conformance::chain;
use wapc_cli::inspect::{inspect, read};
use wasm_smith::{Config, Module};

use crate::{random::Random, runner::Tally, study::keep};

/// Checks the report of one file, and writes the file into the folder `out` if the
/// check fails.
///
/// # Errors
///
/// A description of the fault.
pub fn execute(out: &Path, seed: u64, tally: &mut Tally) -> Result<(), String> {
    let mut random = Random::new(seed);
    let (what, bytes) = file(&mut random);
    check(&bytes, random.one_in(16), what, tally)
        .map_err(|difference| keep(out, &format!("inspect-{seed}"), &bytes, &difference))
}

fn check(bytes: &[u8], asks_engines: bool, what: &str, tally: &mut Tally) -> Result<(), String> {
    let report = match asks_engines {
        true => inspect(bytes),
        false => read(bytes),
    };
    let outcome = match &report {
        Ok(_) => "a report",
        Err(_) => "refused",
    };
    *tally.entry(format!("{what}: {outcome}")).or_default() += 1;
    let report = match report {
        Ok(report) => report,
        Err(error) => {
            drop(chain(&error));
            return Ok(());
        }
    };
    check_text(&report.to_string())?;
    report
        .json()
        .map_err(|error| format!("the report has no JSON: {error}"))?;
    let mut refusals = report.engines.iter().map(|verdict| &verdict.refusal);
    if let Some(first) = refusals.next()
        && !refusals.all(|other| other == first)
    {
        return Err(format!("the engines differ: {:?}", report.engines));
    }
    Ok(())
}

/// Checks that the text of a report has no control characters.
fn check_text(text: &str) -> Result<(), String> {
    let control = text
        .chars()
        .find(|letter| letter.is_control() && !matches!(letter, '\n' | '\t'));
    match control {
        Some(control) => Err(format!("the report contains {control:?}")),
        None => Ok(()),
    }
}

fn file(random: &mut Random) -> (&'static str, Vec<u8>) {
    match random.below(10) {
        0 => ("bytes", bytes(random)),
        1 | 2 => {
            let (_, text) = random.pick(guest_fixtures::WAT);
            ("text fixture", mutated(text.as_bytes().to_vec(), random))
        }
        3..6 => {
            let (_, wasm) = random.pick(guest_fixtures::WASM);
            ("binary fixture", mutated(wasm.to_vec(), random))
        }
        6..8 => {
            let (_, text) = random.pick(guest_fixtures::WAT);
            let binary = wat::parse_str(text).unwrap_or_default();
            ("small binary fixture", mutated(binary, random))
        }
        8 => ("generated", generated(random)),
        _ => {
            let module = generated(random);
            ("generated and mutated", mutated(module, random))
        }
    }
}

fn bytes(random: &mut Random) -> Vec<u8> {
    let begin = *random.pick::<&[u8]>(&[
        b"",
        b"\0asm\x01\0\0\0",
        b"\0asm\x0d\0\x01\0",
        b"(module ",
        b"(component ",
        b"(; ",
    ]);
    let mut bytes = begin.to_vec();
    for _ in 0..random.below(8) {
        let size = random.below(40);
        // A section whose header is well-formed.
        if begin.starts_with(b"\0asm") {
            bytes.push(u8::try_from(random.below(15)).unwrap_or_default());
            bytes.push(u8::try_from(size).unwrap_or_default());
        }
        bytes.extend(random.bytes(size));
    }
    bytes
}

fn generated(random: &mut Random) -> Vec<u8> {
    let settings = random.bytes(400);
    let size = random.below(3000);
    let input = random.bytes(size);
    // Any feature may be on: `inspect` reads modules that engines refuse.
    let config = Config::arbitrary(&mut Unstructured::new(&settings)).unwrap_or_default();
    let config = Config {
        generate_custom_sections: true,
        max_instructions: config.max_instructions.min(50),
        max_funcs: config.max_funcs.min(30),
        ..config
    };
    Module::new(config, &mut Unstructured::new(&input))
        .map(|module| module.to_bytes())
        .unwrap_or_default()
}

/// Changes, inserts and removes some bytes.
pub(crate) fn mutated(mut bytes: Vec<u8>, random: &mut Random) -> Vec<u8> {
    for _ in 0..random.below(6) {
        let place = random.below(bytes.len());
        let length = random.below(24).min(bytes.len() - place);
        match random.below(7) {
            0 => bytes.truncate(place),
            1 => drop(bytes.drain(place..place + length)),
            2 => {
                let inserted = random.bytes(length);
                bytes.splice(place..place, inserted).for_each(drop);
            }
            3 => {
                let copied: Vec<_> = bytes.iter().skip(place).take(length).copied().collect();
                let target = random.below(bytes.len());
                bytes.splice(target..target, copied).for_each(drop);
            }
            4 => {
                // The longest encoding of a number.
                let number = *random.pick::<&[u8]>(&[
                    &[0xff, 0xff, 0xff, 0xff, 0x0f],
                    &[0x80, 0x80, 0x80, 0x80, 0x08],
                    &[0xff, 0xff, 0x03],
                ]);
                let end = (place + number.len()).min(bytes.len());
                bytes
                    .splice(place..end, number.iter().copied())
                    .for_each(drop);
            }
            _ => {
                if let Some(byte) = bytes.get_mut(place) {
                    *byte ^= 1 << random.below(8);
                }
            }
        }
    }
    bytes
}
