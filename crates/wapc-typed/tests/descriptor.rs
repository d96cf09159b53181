//! Descriptors: what a guest says of its operations, and whether that fits a client.
#![expect(
    clippy::unwrap_used,
    reason = "what a test's own functions unwrap fails the test"
)]

use std::{collections::BTreeMap, error::Error as _};

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use wapc_host::{Error, engine::scripted::ScriptedProvider};
use wapc_typed::{
    CheckError, Codec, Describe, Descriptor, DescriptorError, MsgPackCodec, ValueError,
    schema::Type, service,
};

#[derive(Describe, Serialize, Deserialize)]
struct Greeting {
    text: String,
    #[serde(default, rename = "times")]
    count: u32,
    mood: Option<Mood>,
}

#[derive(Describe, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Mood {
    VeryGood,
    Bad(u8),
    Mixed {
        parts: Vec<String>,
        by: BTreeMap<String, (i8, f64)>,
    },
}

/// Its form is not described.
#[derive(Serialize, Deserialize)]
struct Opaque(u8);

#[service(namespace = "greeting.v1")]
trait Greeter {
    /// Greets "somebody",
    /// politely.
    ///
    /// This is not in the descriptor.
    fn hello(&self, name: String, r#type: Option<Opaque>) -> Result<Greeting, String>;

    #[wapc(op = "ping", unary)]
    fn ping(&self, body: Vec<u8>) -> Result<(), String>;
}

/// A module with this text in its custom section.
fn module(text: &str) -> Vec<u8> {
    fn number(mut number: usize, out: &mut Vec<u8>) {
        while number > 0x7f {
            out.push(u8::try_from(number & 0x7f).unwrap() | 0x80);
            number >>= 7;
        }
        out.push(u8::try_from(number).unwrap());
    }
    let mut section = vec![12];
    section.extend(b"wapc.service");
    section.extend(text.as_bytes());
    let mut module = b"\0asm\x01\0\0\0\0".to_vec();
    number(section.len(), &mut module);
    module.extend(section);
    module
}

#[test]
fn a_descriptor_says_what_the_trait_says() {
    let descriptor = Descriptor::read(&module(GREETER_DESCRIPTOR)).unwrap();
    let [hello, ping] = descriptor.operations.as_slice() else {
        panic!("{descriptor:?}");
    };
    assert_eq!(hello.name, "greeting.v1.Greeter/hello");
    assert_eq!(hello.service, "greeting.v1.Greeter");
    assert_eq!(hello.codec, "msgpack");
    assert_eq!(hello.doc, "Greets \"somebody\", politely.");
    let arguments: Vec<_> = hello.arguments.iter().map(ToString::to_string).collect();
    assert_eq!(arguments, ["name: string", "type: Opaque?"]);
    assert_eq!(
        hello.result.to_string(),
        "Greeting { text: string, times?: u32, mood: Mood { very_good | bad(u8) | \
         mixed(Mixed { parts: [string], by: {string: (i8, f64)} }) }? }"
    );
    assert_eq!(hello.error, Type::String);
    assert!(ping.is_unary && !hello.is_unary);
    assert_eq!((ping.name.as_str(), &ping.result), ("ping", &Type::Unit));
    assert_eq!(GreeterServer::<Nobody>::DESCRIPTOR, GREETER_DESCRIPTOR);
}

/// Implements the trait for the type of its server.
struct Nobody;

impl Greeter for Nobody {
    fn hello(&self, _: String, _: Option<Opaque>) -> Result<Greeting, String> {
        Err("nobody".to_owned())
    }

    fn ping(&self, _: Vec<u8>) -> Result<(), String> {
        Ok(())
    }
}

#[expect(clippy::use_self, reason = "both names are understood")]
#[derive(Describe, Serialize, Deserialize, Debug, PartialEq)]
struct Tree {
    value: u8,
    #[serde(default)]
    kids: Vec<Tree>,
    by: BTreeMap<String, (u8, Option<Box<Self>>)>,
    shape: Option<Shape>,
}

#[derive(Describe, Serialize, Deserialize, Debug, PartialEq)]
enum Shape {
    Point,
    Not(Box<Self>),
    Both { one: Box<Self>, other: Box<Self> },
}

#[derive(Describe, Serialize, Deserialize)]
struct Deep(Vec<Self>);

#[service]
trait Gardens {
    fn plant(&self, tree: Tree) -> Result<Shape, String>;
    fn dig(&self, deep: Deep) -> Result<(), String>;
}

#[test]
fn a_type_may_contain_itself() {
    let descriptor = Descriptor::parse(GARDENS_DESCRIPTOR.as_bytes()).unwrap();
    let shape = "Shape { Point | Not(Shape) | Both(Both { one: Shape, other: Shape }) }";
    let plant = descriptor.operation("Gardens/plant").unwrap();
    assert_eq!(
        plant.to_string(),
        format!(
            "Gardens/plant(tree: Tree {{ value: u8, kids?: [Tree], by: {{string: (u8, Tree?)}}, \
             shape: {shape}? }}) -> {shape}, or string"
        )
    );
    let dig = descriptor.operation("Gardens/dig").unwrap();
    assert_eq!(
        dig.to_string(),
        "Gardens/dig(deep: [Deep]) -> (), or string"
    );
    descriptor.check(&descriptor).unwrap();

    let leaf = json!({ "value": 1, "by": {} });
    let tree = json!({
        "value": 2,
        "kids": [leaf, leaf],
        "by": { "a": [3, leaf], "b": [4, null] },
        "shape": { "Both": { "one": "Point", "other": { "Not": "Point" } } },
    });
    let fields = |tree: &Value| serde_json::Map::from_iter([("tree".to_owned(), tree.clone())]);
    let payload = plant.encode(fields(&tree)).unwrap();
    let sent: BTreeMap<String, Tree> = MsgPackCodec::decode(&payload).unwrap();
    let tree_sent = sent.get("tree").unwrap();
    assert_eq!(tree_sent.kids.len(), 2);
    assert!(matches!(tree_sent.shape, Some(Shape::Both { .. })));
    for (path, wrong) in [
        ("/kids/1/value", json!(256)),
        ("/by/a/1/value", json!("text")),
        ("/shape/Both/other/Not", json!("Line")),
    ] {
        let mut tree = tree.clone();
        *tree.pointer_mut(path).unwrap() = wrong;
        let refused = plant.encode(fields(&tree)).unwrap_err();
        assert!(matches!(refused, ValueError::WrongType { .. }), "{path}");
    }
}

#[test]
fn types_that_contain_themselves_are_compared_once() {
    let list = |value: &str, next: &str| {
        record(&format!(
            r#"{{"name":"value","type":"{value}"}},{{"name":"next","type":{{"option":{next}}}}}"#
        ))
    };
    let own = r#"{"ref":"R"}"#;
    let (small, large) = (list("u8", own), list("u64", own));
    let check =
        |sent: &str, expected: &str| taking(expected, "\"unit\"").check(&taking(sent, "\"unit\""));
    check(&small, &large).unwrap();
    let difference = check(&large, &small).unwrap_err().to_string();
    assert!(
        difference.ends_with("argument `a`.value: `u64` is sent, `u8` expected"),
        "{difference}"
    );
    // The same, written out once and twice; a difference is seen in the second round alone.
    check(&list("u8", &list("u8", own)), &small).unwrap();
    check(&small, &list("u8", &list("u8", own))).unwrap();
    let difference = check(
        &small,
        &list("u8", &list("text", own).replace("\"text\"", "\"string\"")),
    );
    let difference = difference.unwrap_err().to_string();
    assert!(
        difference.ends_with("in `R`.value: `u8` is sent, `string` expected"),
        "{difference}"
    );
    // What encloses nothing has its name alone.
    check(own, &small).unwrap();
    check(&small, own).unwrap();

    // Two branches in each level, and rounds of lengths that have no common factor.
    let fork = |times: usize| {
        (0..times).fold(own.to_owned(), |inner, level| {
            let name = if level + 1 == times { "R" } else { "Inner" };
            format!(
                r#"{{"record":{{"name":"{name}","fields":[
                {{"name":"a","type":{inner}}},{{"name":"b","type":{{"ref":"R"}}}}]}}}}"#
            )
        })
    };
    check(&fork(13), &fork(17)).unwrap();
    // A descriptor that is nested more deeply than any reader goes.
    let text = format!("{}\"unit\"{}", "{\"list\":".repeat(200), "}".repeat(200));
    let text = GARDENS_DESCRIPTOR.replace("\"unit\"", &text);
    let refused = Descriptor::parse(text.as_bytes()).unwrap_err();
    assert!(
        matches!(refused, DescriptorError::Malformed { .. }),
        "{refused}"
    );
}

#[test]
fn a_swap_to_a_guest_that_lacks_an_operation_is_refused() {
    GreeterClient::check(&module(GREETER_DESCRIPTOR)).unwrap();
    let host = ScriptedProvider::echo().host().unwrap();
    let lacks = module(&GREETER_DESCRIPTOR.replace("\"ping\"", "\"pong\""));
    let refused = host
        .swap()
        .probe(GreeterClient::probe(&lacks))
        .provider(Box::new(ScriptedProvider::echo()));
    match refused {
        Err(Error::Probe(cause)) => assert_eq!(
            cause.to_string(),
            "the guest does not have the operation `ping`"
        ),
        other => panic!("{other:?}"),
    }
    assert_eq!(host.generation(), 1);
    let fits = module(GREETER_DESCRIPTOR);
    host.swap()
        .probe(GreeterClient::probe(&fits))
        .provider(Box::new(ScriptedProvider::echo()))
        .unwrap();
    assert!(matches!(
        GreeterClient::check(b"(module)"),
        Err(CheckError::NoDescriptor)
    ));
    let error = GreeterClient::check(b"no module").unwrap_err();
    assert!(error.source().is_some(), "{error}");
}

/// The descriptor of one operation, which takes and gives these types.
fn taking(argument: &str, result: &str) -> Descriptor {
    let text = format!(
        r#"{{"version":1,"service":"S","codec":"msgpack","operations":[{{"op":"f",
        "args":[{{"name":"a","type":{argument}}}],"result":{result},"error":"string"}}]}}"#
    );
    Descriptor::parse(text.as_bytes()).unwrap()
}

fn record(fields: &str) -> String {
    format!(r#"{{"record":{{"name":"R","fields":[{fields}]}}}}"#)
}

fn choice(variants: &str) -> String {
    format!(r#"{{"enum":{{"name":"E","variants":[{variants}]}}}}"#)
}

#[test]
fn what_may_be_sent_fits_what_is_expected() {
    const A: &str = r#"{"name":"a","type":"u8"}"#;
    const B: &str = r#"{"name":"b","type":"u8"}"#;
    const B_DEFAULT: &str = r#"{"name":"b","type":"u8","default":true}"#;
    const B_OPTION: &str = r#"{"name":"b","type":{"option":"u8"}}"#;
    let both = |one: &str, other: &str| format!("{one},{other}");
    // What is sent, what is expected, and the difference.
    let table: &[(String, String, Option<&str>)] = &[
        ("\"u8\"".into(), "\"u64\"".into(), None),
        ("\"u8\"".into(), "\"i16\"".into(), None),
        ("\"i32\"".into(), "\"f64\"".into(), None),
        ("\"f32\"".into(), "\"f64\"".into(), None),
        (
            "\"u64\"".into(),
            "\"u8\"".into(),
            Some(": `u64` is sent, `u8` expected"),
        ),
        (
            "\"i8\"".into(),
            "\"u8\"".into(),
            Some(": `i8` is sent, `u8` expected"),
        ),
        (
            "\"f64\"".into(),
            "\"f32\"".into(),
            Some(": `f64` is sent, `f32` expected"),
        ),
        (
            "\"string\"".into(),
            "\"u8\"".into(),
            Some(": `string` is sent, `u8` expected"),
        ),
        ("\"string\"".into(), "{\"other\":\"Name\"}".into(), None),
        ("{\"other\":\"Name\"}".into(), "\"bool\"".into(), None),
        ("\"u8\"".into(), "{\"option\":\"u8\"}".into(), None),
        (
            "{\"option\":\"u8\"}".into(),
            "\"u8\"".into(),
            Some(": `u8?` is sent, `u8` expected"),
        ),
        (
            "{\"list\":\"u8\"}".into(),
            "{\"list\":\"bool\"}".into(),
            Some("[]: `u8` is sent, `bool` expected"),
        ),
        (
            "{\"map\":[\"string\",\"u8\"]}".into(),
            "{\"map\":[\"string\",\"bool\"]}".into(),
            Some(", the values: `u8` is sent, `bool` expected"),
        ),
        (
            "{\"tuple\":[\"u8\",\"u8\"]}".into(),
            "{\"tuple\":[\"u8\"]}".into(),
            Some(": 2 are sent, 1 expected"),
        ),
        (record(A), record(&both(A, B_DEFAULT)), None),
        (record(A), record(&both(A, B_OPTION)), None),
        (record(&both(A, B)), record(A), None),
        (
            record(A),
            record(&both(A, B)),
            Some(".b: it is expected, and is not sent"),
        ),
        (
            record(B_OPTION),
            record(B),
            Some(".b: `u8?` is sent, `u8` expected"),
        ),
        (
            choice("{\"name\":\"A\"}"),
            choice("{\"name\":\"A\"},{\"name\":\"B\"}"),
            None,
        ),
        (
            choice("{\"name\":\"A\"},{\"name\":\"B\"}"),
            choice("{\"name\":\"A\"}"),
            Some("::B: it may be sent, and is not known"),
        ),
        (
            choice("{\"name\":\"A\",\"type\":\"u8\"}"),
            choice("{\"name\":\"A\"}"),
            Some("::A: one side has contents in it"),
        ),
    ];
    for (sent, expected, difference) in table {
        let one = taking(sent, "\"unit\"").check(&taking(sent, "\"unit\""));
        assert!(one.is_ok(), "{one:?}");
        // As an argument the client sends it, as a result the guest.
        for (guest, client, place) in [
            (
                taking(expected, "\"unit\""),
                taking(sent, "\"unit\""),
                "argument `a`",
            ),
            (
                taking("\"u8\"", sent),
                taking("\"u8\"", expected),
                "the result",
            ),
        ] {
            let outcome = guest.check(&client).map_err(|error| error.to_string());
            let difference =
                difference.map(|it| format!("the guest's operation `f` does not fit: {place}{it}"));
            assert_eq!(outcome.err(), difference, "{sent} as {expected}");
        }
    }
}

#[test]
fn arguments_and_operations_may_be_added() {
    let of = |args: &str, more: &str| {
        let text = format!(
            r#"{{"version":1,"service":"S","codec":"msgpack","operations":[
            {{"op":"f","args":[{args}],"result":"unit","error":"string"}}{more}]}}"#
        );
        Descriptor::parse(text.as_bytes()).unwrap()
    };
    let a = r#"{"name":"a","type":"u8"}"#;
    let added = r#"{"name":"a","type":"u8"},{"name":"b","type":{"option":"u8"}}"#;
    let needed = r#"{"name":"a","type":"u8"},{"name":"b","type":"u8"}"#;
    let more = r#",{"op":"g","args":[],"result":"unit","error":"string"}"#;
    // Yesterday's client and today's guest, and the other way round.
    of(added, more).check(&of(a, "")).unwrap();
    of(a, "").check(&of(added, "")).unwrap();
    of(a, "").check(&of(needed, "")).unwrap();
    let error = of(needed, "").check(&of(a, "")).unwrap_err();
    assert_eq!(
        error.to_string(),
        "the guest's operation `f` does not fit: argument `b`: the guest needs it, the caller does not send it"
    );
    let error = of(a, "").check(&of(a, more)).unwrap_err();
    assert!(matches!(error, CheckError::MissingOperation { operation } if operation == "g"));
}

#[test]
fn a_descriptor_that_lies_or_is_not_valid_is_refused() {
    let operation = r#"{"op":"f","args":[],"result":"unit","error":"unit"}"#;
    let service = |operations: &str| {
        format!(r#"{{"version":1,"service":"S","codec":"msgpack","operations":[{operations}]}}"#)
    };
    let deep = format!(
        "{}\"u8\"{}",
        "{\"list\":".repeat(10_000),
        "}".repeat(10_000)
    );
    let table: &[(String, &str)] = &[
        ("{".into(), "line 1 column 1: it ends too early"),
        ("secret".into(), "it is not JSON"),
        ("[]".into(), "a part of it is missing"),
        ("\u{0}".into(), "it is not JSON"),
        (service("{}"), "a part of it is missing"),
        (
            service(&operation.replace("\"unit\"", "\"u7\"")),
            "of another kind",
        ),
        (
            service(&operation.replace("\"unit\"", &deep)),
            "line 1 column",
        ),
        (
            service(operation).replace("\"version\":1", "\"version\":2"),
            "is of version 2",
        ),
        (
            service(&format!("{operation},{operation}")),
            "the operation `f` twice",
        ),
        // Two services.
        (service(operation).repeat(2), "the operation `f` twice"),
        (
            service(&operation.replace("\"args\"", "\"unary\":true,\"args\"")),
            "the unary operation `f` 0",
        ),
        (" ".repeat((4 << 20) + 1), "above the limit of 4194304"),
    ];
    for (text, expected) in table {
        let error = Descriptor::read(&module(text)).unwrap_err();
        assert!(error.to_string().contains(expected), "{expected}: {error}");
        assert!(!error.to_string().contains("secret"), "{error}");
    }
    let error = Descriptor::parse(b"{\"version\":\xff}").unwrap_err();
    assert!(matches!(error, DescriptorError::Malformed { .. }));
    // Two descriptors of other operations are one.
    let two = service(operation) + "\n" + &service(&operation.replace("\"f\"", "\"g\""));
    assert_eq!(Descriptor::read(&module(&two)).unwrap().operations.len(), 2);
}

fn arguments(json: Value) -> serde_json::Map<String, Value> {
    match json {
        Value::Object(map) => map,
        other => panic!("{other}"),
    }
}

#[test]
fn arguments_are_encoded_and_results_decoded_by_a_descriptor() {
    let descriptor = Descriptor::parse(GREETER_DESCRIPTOR.as_bytes()).unwrap();
    let hello = descriptor.operation("greeting.v1.Greeter/hello").unwrap();
    let payload = hello.encode(arguments(json!({ "name": "World" }))).unwrap();
    let name: BTreeMap<String, String> = MsgPackCodec::decode(&payload).unwrap();
    assert_eq!(
        name,
        BTreeMap::from([("name".to_owned(), "World".to_owned())])
    );
    let mut response = vec![];
    let greeting = Greeting {
        text: "Hello".to_owned(),
        count: 2,
        mood: Some(Mood::Bad(3)),
    };
    MsgPackCodec::encode(&greeting, &mut response).unwrap();
    assert_eq!(
        hello.decode(&response).unwrap(),
        json!({ "text": "Hello", "times": 2, "mood": { "bad": 3 } })
    );
    let ping = descriptor.operation("ping").unwrap();
    let payload = ping.encode(arguments(json!({ "body": [1, 255] }))).unwrap();
    assert_eq!(MsgPackCodec::decode::<Vec<u8>>(&payload).unwrap(), [1, 255]);

    for (operation, given, expected) in [
        (hello, json!({}), "needs the argument `name`, a string"),
        (
            hello,
            json!({ "name": 1 }),
            "the argument `name` of `greeting.v1.Greeter/hello` is a string",
        ),
        (
            hello,
            json!({ "name": "", "nick": 1 }),
            "has no argument `nick`; it has name, type",
        ),
        (
            ping,
            json!({ "body": [256] }),
            "the argument `body` of `ping` is a [u8]",
        ),
        (
            ping,
            json!({ "body": [1.5] }),
            "the argument `body` of `ping` is a [u8]",
        ),
    ] {
        let error = operation.encode(arguments(given)).unwrap_err();
        assert!(error.to_string().contains(expected), "{error}");
    }
    // A map with a key twice, and a length of 4 GiB.
    for wrong in [&b"\x82\xa1a\x01\xa1a\x02"[..], b"\xdf\xff\xff\xff\xff", b""] {
        let error = hello.decode(wrong).unwrap_err();
        assert!(matches!(error, ValueError::Payload { .. }), "{error}");
    }
}
