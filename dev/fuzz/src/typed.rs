//! Bad bytes, through the decoders of typed calls and through descriptors.
//!
//! One execution is one payload, one text of an error or one descriptor, valid at first and then
//! changed. Nothing may panic, a value that is decoded must be encoded to one that is decoded the same,
//! an error must be read as `serde_json` reads it, and a descriptor must be readable after it was
//! accepted.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use wapc_cli::inspect;
use wapc_typed::{
    CborCodec, Codec, Describe, Descriptor, JsonCodec, MsgPackCodec, PostcardCodec, rt, service,
};

use crate::{inspect::mutated, random::Random, runner::Tally};

#[derive(Describe, Serialize, Deserialize, Debug, PartialEq)]
struct Record {
    name: String,
    #[serde(default)]
    count: u32,
    body: Vec<u8>,
    forms: Vec<Form>,
    by: BTreeMap<String, (i8, f32)>,
    last: Option<i64>,
    #[serde(default)]
    next: Option<Box<Self>>,
}

#[derive(Describe, Serialize, Deserialize, Debug, PartialEq)]
enum Form {
    Unit,
    Newtype(u64),
    Tuple(bool, char),
    Struct { a: Option<String>, b: () },
}

#[service(namespace = "fuzz.v1")]
trait Fuzzed {
    /// Takes "everything".
    fn all(&self, record: Record, number: Option<u8>) -> Result<Record, Form>;
    #[wapc(op = "one", unary)]
    fn one(&self, form: Form) -> Result<Vec<Record>, String>;
}

/// Checks one input.
///
/// # Errors
///
/// A description of the fault.
pub fn execute(seed: u64, tally: &mut Tally) -> Result<(), String> {
    let mut random = Random::new(seed);
    let (what, is_read) = match random.below(7) {
        0 | 1 => ("msgpack", payload::<MsgPackCodec>(&mut random)?),
        2 => ("json", payload::<JsonCodec>(&mut random)?),
        3 => ("cbor", payload::<CborCodec>(&mut random)?),
        4 => ("postcard", payload::<PostcardCodec>(&mut random)?),
        5 => ("error", error(&mut random)?),
        _ => ("descriptor", descriptor(&mut random)?),
    };
    let outcome = if is_read { "read" } else { "refused" };
    *tally.entry(format!("{what}: {outcome}")).or_default() += 1;
    Ok(())
}

fn payload<C: Codec>(random: &mut Random) -> Result<bool, String> {
    let mut bytes = vec![];
    match random.below(4) {
        0 => {
            let length = random.below(40);
            bytes = random.bytes(length);
        }
        _ => C::encode(&record(random), &mut bytes).map_err(|error| error.to_string())?,
    }
    let bytes = mutated(bytes, random);
    // Types that read the same bytes in their own ways.
    drop(C::decode::<BTreeMap<String, Vec<u64>>>(&bytes));
    drop(C::decode::<(u8, &str, Option<Form>)>(&bytes));
    drop(C::decode::<serde::de::IgnoredAny>(&bytes));
    drop(C::decode::<Value>(&bytes));
    let Ok(record) = C::decode::<Record>(&bytes) else {
        return Ok(false);
    };
    let mut again = vec![];
    C::encode(&record, &mut again).map_err(|error| error.to_string())?;
    let decoded = C::decode::<Record>(&again).map_err(|error| error.to_string())?;
    // Not every number is equal to itself.
    match format!("{decoded:?}") == format!("{record:?}") {
        true => Ok(true),
        false => Err(format!("{record:?} became {decoded:?}")),
    }
}

fn record(random: &mut Random) -> Record {
    let length = random.below(40);
    Record {
        name: "ü".repeat(random.below(20)),
        count: random.i32().cast_unsigned(),
        body: random.bytes(length),
        forms: (0..random.below(4)).map(|_| form(random)).collect(),
        by: (0..random.below(3))
            .map(|key| (key.to_string(), (-1, 0.5)))
            .collect(),
        last: random.one_in(2).then(|| random.u64().cast_signed()),
        next: random.one_in(4).then(|| Box::new(record(random))),
    }
}

fn form(random: &mut Random) -> Form {
    match random.below(4) {
        0 => Form::Unit,
        1 => Form::Newtype(random.u64()),
        2 => Form::Tuple(random.one_in(2), 'x'),
        _ => Form::Struct {
            a: random.one_in(2).then(|| "\u{1}\"\\😀".to_owned()),
            b: (),
        },
    }
}

/// The text of a service's error.
fn error(random: &mut Random) -> Result<bool, String> {
    let text = rt::error_text(record(random));
    let text = mutated(text.into_bytes(), random);
    let text = String::from_utf8_lossy(&text);
    drop(rt::own_error::<Record>(&text));
    let ours = rt::own_error::<Value>(&text);
    let theirs: Option<Value> = serde_json::from_str::<BTreeMap<String, Value>>(&text)
        .ok()
        .and_then(|mut map| map.remove("error"));
    match (&ours, &theirs) {
        // A map with a key twice is one of ours.
        (Some(ours), Some(theirs)) if !is_same(ours, theirs) => {
            Err(format!("{text}: {ours}, and not {theirs}"))
        }
        (None, Some(_)) if text.matches("\"error\"").count() == 1 => {
            Err(format!("{text} is not read"))
        }
        _ => Ok(ours.is_some()),
    }
}

/// `serde_json` may miss the last bit of a fraction, and has a zero with a sign.
fn is_same(one: &Value, other: &Value) -> bool {
    match (one, other) {
        (Value::Number(one), Value::Number(other)) => {
            let near = |(one, other): (f64, f64)| (one - other).abs() <= one.abs() * 1e-15;
            one == other || one.as_f64().zip(other.as_f64()).is_some_and(near)
        }
        (Value::Array(one), Value::Array(other)) => {
            one.len() == other.len()
                && one
                    .iter()
                    .zip(other)
                    .all(|(one, other)| is_same(one, other))
        }
        (Value::Object(one), Value::Object(other)) => {
            one.len() == other.len()
                && one
                    .iter()
                    .all(|(key, one)| other.get(key).is_some_and(|other| is_same(one, other)))
        }
        (one, other) => one == other,
    }
}

fn descriptor(random: &mut Random) -> Result<bool, String> {
    let text = mutated(FUZZED_DESCRIPTOR.as_bytes().to_vec(), random);
    // In a module too, whose sections are changed.
    let mut module = b"\0asm\x01\0\0\0\0".to_vec();
    let length = text.len() + 13;
    module.extend(
        [0x80 | (length & 0x7f), length >> 7].map(|it| u8::try_from(it & 0xff).unwrap_or(0)),
    );
    module.push(12);
    module.extend(b"wapc.service");
    module.extend(&text);
    let module = mutated(module, random);
    drop(Descriptor::read(&module));
    if let Ok(report) = inspect::read(&module)
        && let Some(control) = report
            .to_string()
            .chars()
            .find(|it| it.is_control() && *it != '\n')
    {
        return Err(format!("the report contains {control:?}"));
    }
    let Ok(descriptor) = Descriptor::parse(&text) else {
        return Ok(false);
    };
    drop(descriptor.check(&descriptor));
    let whole =
        Descriptor::parse(FUZZED_DESCRIPTOR.as_bytes()).map_err(|error| error.to_string())?;
    drop(whole.check(&descriptor));
    drop(descriptor.check(&whole));
    for operation in &descriptor.operations {
        drop(operation.to_string());
        for value in [
            json!({}),
            json!({ "form": "Unit" }),
            json!({ "record": {}, "number": 1 }),
            json!({ "record": { "next": { "next": {} } } }),
        ] {
            if let Value::Object(fields) = value {
                drop(operation.encode(fields));
            }
        }
        let mut bytes = vec![];
        MsgPackCodec::encode(&record(random), &mut bytes).map_err(|error| error.to_string())?;
        drop(operation.decode(&mutated(bytes, random)));
    }
    Ok(true)
}
