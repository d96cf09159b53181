//! `wapc inspect`, as a user runs it and as a library.

use std::{fs, path::Path};

use crate::support::{FINE, engines, file, guest, wapc};
use serde_json::Value;
use wapc_cli::inspect::{self, Kind};

fn inspect_json(module: &Path) -> Value {
    let outcome = wapc(["inspect", module.to_str().unwrap(), "--json"]);
    assert_eq!(outcome.code, 0, "{}", outcome.stderr);
    assert_eq!(outcome.stderr, "");
    serde_json::from_slice(&outcome.stdout).unwrap()
}

fn inspect_text(module: &Path) -> String {
    let outcome = wapc(["inspect", module.to_str().unwrap()]);
    assert_eq!(outcome.code, 0, "{}", outcome.stderr);
    String::from_utf8(outcome.stdout).unwrap()
}

/// A module with a bit of everything.
fn rich_module() -> Vec<u8> {
    let text = guest(
        r#"(table (export "table") 2 8 funcref)
           (memory (export "second") 1 3)
           (func $init (export "_initialize"))
           (func (export "wapc_init"))
           (start $init)"#,
        FINE,
    );
    let mut binary = wat::parse_str(text).unwrap();
    add_custom_section(&mut binary, "producers", &{
        let mut producers = vec![2];
        add_name(&mut producers, "language");
        producers.push(1);
        add_name(&mut producers, "Rust");
        add_name(&mut producers, "");
        add_name(&mut producers, "processed-by");
        producers.push(1);
        add_name(&mut producers, "rustc");
        add_name(&mut producers, "1.95.0 \x1b[2J");
        producers
    });
    add_custom_section(&mut binary, "target_features", &{
        let mut features = vec![2, b'+'];
        add_name(&mut features, "bulk-memory");
        features.push(b'-');
        add_name(&mut features, "simd128");
        features
    });
    add_custom_section(&mut binary, "mine", b"12345");
    binary
}

fn add_custom_section(binary: &mut Vec<u8>, name: &str, contents: &[u8]) {
    let mut section = Vec::new();
    add_name(&mut section, name);
    section.extend(contents);
    binary.push(0);
    binary.push(u8::try_from(section.len()).unwrap());
    binary.extend(section);
}

/// The descriptor of one operation.
const DESCRIPTOR: &str = r#"{"version":1,"service":"greeting.v1.Greeter","codec":"msgpack","operations":[
    {"op":"greeting.v1.Greeter/hello","doc":"Says hello.\u001b[2J","args":[{"name":"name","type":"string"},
    {"name":"count","type":{"option":"u32"}}],"result":"string","error":{"other":"GreetError"}}]}"#;

#[test]
fn typed_operations_are_listed() {
    let section = format!("(@custom \"wapc.service\" {DESCRIPTOR:?})");
    let module = file("inspect", "typed.wat", guest(&section, FINE));
    let text = inspect_text(&module);
    let listed = "
typed operations
  greeting.v1.Greeter/hello(name: string, count: u32?) -> string, or GreetError
    Says hello.\\u{1b}[2J
";
    assert!(text.contains(listed), "{text}");
    let operation = &inspect_json(&module)["operations"][0];
    assert_eq!(operation["service"], "greeting.v1.Greeter");
    assert_eq!(operation["arguments"][1]["type"]["option"], "u32");

    let mut binary = wat::parse_str(guest("", FINE)).unwrap();
    add_custom_section(&mut binary, "wapc.service", b"{\"version\":1");
    let text = inspect_text(&file("inspect", "wrong.wasm", &binary));
    assert!(
        text.contains("`wapc.service` is not a descriptor"),
        "{text}"
    );
    assert!(!text.contains("typed operations"), "{text}");
}

fn add_name(bytes: &mut Vec<u8>, name: &str) {
    bytes.push(u8::try_from(name.len()).unwrap());
    bytes.extend(name.as_bytes());
}

#[test]
fn json_has_every_part_of_a_report() {
    let binary = rich_module();
    let report = inspect_json(&file("inspect", "rich.wasm", &binary));
    assert_eq!(report["kind"], "wapc-guest");
    assert_eq!(report["wasi"], "reactor");
    assert_eq!(report["form"], "binary");
    assert_eq!(report["module_bytes"], binary.len());
    let imports = &report["imports"];
    assert_eq!(imports[0]["module"], "wapc");
    assert_eq!(imports[0]["items"][0]["name"], "__guest_request");
    assert_eq!(imports[0]["items"][0]["type"], "a function (i32, i32)");
    assert_eq!(imports[0]["items"][0]["standing"], "provided");
    assert_eq!(imports[1]["module"], "wasi_snapshot_preview1");
    assert_eq!(report["memories"][0]["pages"]["min"], 2);
    assert_eq!(report["memories"][0]["bytes"]["min"], 131_072);
    assert_eq!(report["memories"][0]["pages"]["max"], Value::Null);
    assert_eq!(report["memories"][0]["exported_as"][0], "memory");
    assert_eq!(report["memories"][1]["bytes"]["max"], 196_608);
    assert_eq!(report["tables"][0]["elements"]["max"], 8);
    assert_eq!(report["tables"][0]["element_type"], "funcref");
    let starts: Vec<_> = report["start_functions"]
        .as_array()
        .unwrap()
        .iter()
        .map(|start| start["name"].as_str().unwrap())
        .collect();
    assert_eq!(
        starts,
        ["the module's start section", "`_initialize`", "`wapc_init`"]
    );
    assert_eq!(report["functions"]["imported"], 17);
    assert_eq!(report["functions"]["defined"], 3);
    assert_eq!(report["has_name_section"], true);
    assert_eq!(report["producers"][1]["name"], "rustc");
    assert_eq!(report["target_features"][0]["name"], "bulk-memory");
    assert_eq!(report["target_features"][1]["used"], false);
    assert_eq!(report["languages"][0]["name"], "Rust");
    let custom = report["custom_sections"].as_array().unwrap();
    assert_eq!(custom.last().unwrap()["name"], "mine");
    assert_eq!(custom.last().unwrap()["bytes"], 5);
    assert_eq!(report["refusals"], Value::Array(vec![]));
    let names: Vec<_> = report["engines"]
        .as_array()
        .unwrap()
        .iter()
        .map(|verdict| {
            assert_eq!(verdict["refusal"], Value::Null);
            verdict["engine"].as_str().unwrap()
        })
        .collect();
    assert_eq!(names, engines().collect::<Vec<_>>());
}

#[test]
fn text_has_every_part_of_a_report() {
    let text = inspect_text(&file("inspect_text", "rich.wasm", rich_module()));
    for line in [
        "a waPC guest and WASI reactor",
        "  from wapc",
        "    __guest_request      a function (i32, i32)",
        "  1. the module's start section, function 17",
        "  0: 2 pages (131072 bytes), without a maximum, exported as `memory`",
        "  1: 1 page (65536 bytes), at most 3 pages (196608 bytes), exported as `second`",
        "  0: 2 elements of funcref, at most 8, exported as `table`",
        "  mine             5 bytes",
        "  language: Rust",
        r"  processed-by: rustc 1.95.0 \u{1b}[2J",
        "  +bulk-memory -simd128",
        "  Rust (language: Rust)",
    ] {
        assert!(
            text.lines().any(|it| it == line),
            "no line `{line}` in:\n{text}"
        );
    }
    for engine in engines() {
        assert!(text.contains(&format!("  {engine} accepts it")), "{text}");
    }
}

#[test]
fn each_kind_of_module_is_recognised() {
    let wasi = r#"(import "wasi_unstable" "proc_exit" (func (param i32)))"#;
    let table = [
        ("(module)".to_owned(), Kind::Other),
        (guest("", FINE), Kind::WapcGuest),
        (
            r#"(module (import "wapc" "x" (func)))"#.to_owned(),
            Kind::WapcGuest,
        ),
        (
            r#"(module (func (export "_start")))"#.to_owned(),
            Kind::WasiCommand,
        ),
        (
            r#"(module (func (export "_initialize")))"#.to_owned(),
            Kind::WasiReactor,
        ),
        (format!("(module {wasi})"), Kind::WasiReactor),
        (
            r#"(module (global (export "_start") i32 i32.const 0))"#.to_owned(),
            Kind::Other,
        ),
    ];
    for (text, kind) in table {
        assert_eq!(inspect::read(text.as_bytes()).unwrap().kind, kind, "{text}");
    }
    let component = b"\0asm\x0d\0\x01\0";
    assert_eq!(inspect::read(component).unwrap().kind, Kind::Component);
    let path = file("inspect_kinds", "component.wasm", component);
    assert!(inspect_text(&path).starts_with("a component"));
}

#[test]
fn the_report_of_a_refused_module_has_the_reasons() {
    let text = r#"(module
        (import "env" "nothing" (func))
        (import "wapc" "__guest_error" (func (param i64)))
        (import "wapc" "__guest_request" (func (param i32 i32)))
        (memory (export "memory") 1))"#;
    let report = inspect_json(&file("refused", "refused.wat", text));
    assert_eq!(report["form"], "text");
    assert_eq!(report["imports"][0]["items"][0]["standing"], "not-provided");
    let wapc = &report["imports"][1]["items"];
    assert_eq!(wapc[0]["standing"], "mismatched");
    assert_eq!(wapc[0]["provided"], "a function (i32, i32)");
    assert_eq!(wapc[1]["standing"], "provided");
    let refusals = report["refusals"].as_array().unwrap();
    assert_eq!(refusals.len(), 3, "{refusals:?}");
    assert!(refusals[0].as_str().unwrap().contains("`env.nothing`"));
    assert!(
        refusals[1]
            .as_str()
            .unwrap()
            .contains("`wapc.__guest_error`")
    );
    assert!(refusals[2].as_str().unwrap().contains("`__guest_call`"));
    for verdict in report["engines"].as_array().unwrap() {
        assert_eq!(verdict["refusal"], refusals[0]);
    }
}

#[test]
fn an_unsupported_feature_is_named() {
    let shared = r#"(module (memory (export "memory") 1 1 shared))"#;
    let report = inspect::inspect(shared.as_bytes()).unwrap();
    assert!(report.memories[0].is_shared);
    assert!(
        report.refusals[0].contains("not valid WebAssembly"),
        "{report}"
    );
    assert!(
        report
            .engines
            .iter()
            .all(|verdict| verdict.refusal.is_some())
    );
}

#[test]
fn bytes_that_are_no_module_are_an_error() {
    for (name, bytes) in [
        ("empty", &b""[..]),
        ("garbage", b"\x7fELF\x02\x01\x01\0"),
        ("header", b"\0asm\x01"),
        ("broken", b"\0asm\x01\0\0\0\x01\xff\xff\xff\xff\x0f"),
        ("text", b"(module (func"),
    ] {
        let path = file("no_module", name, bytes);
        let outcome = wapc(["inspect", path.to_str().unwrap()]);
        assert_eq!(outcome.code, 4, "{name}: {}", outcome.stderr);
        assert!(outcome.stdout.is_empty(), "{name}");
        assert!(outcome.stderr.starts_with("error: the module `"), "{name}");
        assert!(outcome.stderr.contains("caused by: "), "{name}");
    }
    let outcome = wapc(["inspect", "there is no such file"]);
    assert_eq!(outcome.code, 3);
}

#[test]
fn no_input_causes_a_panic() {
    let mut modules = vec![rich_module()];
    let wasm = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../guest-fixtures/wasm");
    modules.push(fs::read(wasm.join("hello_c.wasm")).unwrap());
    // A xorshift: the same bytes in each run.
    let mut random = 0x9e37_79b9_7f4a_7c15_u64;
    let mut next = move || {
        random ^= random << 13;
        random ^= random >> 7;
        random ^= random << 17;
        random.to_le_bytes()
    };
    for module in modules {
        for length in 0..module.len() {
            show(&module[..length]);
        }
        for _ in 0..2000 {
            let mut changed = module.clone();
            for _ in 0..=next()[0] % 4 {
                let [a, b, value, ..] = next();
                let at = usize::from(u16::from_le_bytes([a, b])) % changed.len();
                changed[at] = value;
            }
            show(&changed);
        }
    }
}

/// Reads and shows them, whatever they are.
fn show(bytes: &[u8]) {
    if let Ok(report) = inspect::read(bytes) {
        assert!(!report.to_string().is_empty());
        serde_json::from_str::<Value>(&report.json().unwrap()).unwrap();
    }
}

#[test]
fn a_long_signature_is_abbreviated() {
    let values = "i32 ".repeat(40);
    let text = format!("(module (func (export \"long\") (param {values}) unreachable))");
    let report = inspect::read(text.as_bytes()).unwrap();
    assert_eq!(
        &*report.exports[0].extern_type,
        "a function of 40 parameters and 0 results"
    );
}
