//! The guests of `guest-fixtures/wat/GENERATED.md`, which are too large to be files.
//! A host swaps to each, calls it, and answers afterwards.

use std::{fmt::Write, thread};

use conformance::{Engine, chain, outcome::outcome};
use guest_fixtures::wat;
use wapc_host::{Error, ModuleLimits, WapcHost, WasiSettings};
use wasm_encoder::{
    CodeSection, ExportKind, ExportSection, Function, FunctionSection, MemorySection, MemoryType,
    Module, TypeSection, ValType,
};

use crate::Case;

pub(crate) fn cases() -> Vec<Case> {
    let mut cases: Vec<_> = [(GUESTS, false), (SLOW, true)]
        .into_iter()
        .flat_map(|(guests, slow)| guests.iter().map(move |guest| (guest, slow)))
        .map(|((name, make, expected), slow)| {
            let case = Case::new(*name, move |engine| {
                let expected = match (engine.name, REFUSED_BY_WASMI.contains(name)) {
                    ("wasmi", true) => "module refused",
                    _ => expected,
                };
                check(engine, &make(), expected, &ModuleLimits::default());
            });
            case.ignored_if(slow)
        })
        .collect();
    cases.extend(TRUSTED.iter().map(|(name, make)| {
        let case = Case::new(format!("{name}_trusted"), move |engine| {
            check(engine, &make(), "ok good", &ModuleLimits::unlimited());
        });
        case.ignored_if(true)
    }));
    cases.push(Case::new(
        "calls_continue_during_a_long_compilation",
        calls_continue_during_a_long_compilation,
    ));
    cases
}

type Make = fn() -> Vec<u8>;

/// A name, the module, and the expected outcome under the default limits.
const GUESTS: &[(&str, Make, &str)] = &[
    ("functions_10000", || functions(10_000), "ok good"),
    (
        "nested_blocks_10000",
        || nested("block ", 10_000),
        "ok good",
    ),
    (
        "nested_blocks_100000",
        || nested("block ", 100_000),
        "module too-costly",
    ),
    (
        "nested_ifs_10000",
        || nested("local.get 0 if ", 10_000),
        "ok good",
    ),
    (
        "nested_ifs_50000",
        || nested("local.get 0 if ", 50_000),
        "module too-costly",
    ),
    (
        "operands_100000",
        || {
            let operands = "local.get 0 ".repeat(100_001);
            in_call(&format!("{operands}{} drop", "i32.add ".repeat(100_000)))
        },
        "ok good",
    ),
    ("locals_20000", || locals(19_998), "ok good"),
    ("data_16_mib", || data(16), "ok good"),
    ("data_segments_100000", || data_segments(99_999), "ok good"),
    (
        "elements_1000000",
        || {
            let elements = " $guest_response".repeat(1_000_000);
            declared(&format!(
                "(table 1000000 funcref) (elem (i32.const 0){elements})"
            ))
        },
        "ok good",
    ),
    ("types_100000", || types(100_000), "ok good"),
    (
        "globals_100000",
        || declared(&"(global (mut i64) (i64.const 1))".repeat(100_000)),
        "ok good",
    ),
    (
        "exports_100000",
        || {
            let mut exports = String::new();
            for export in 0..100_000 {
                write!(exports, r#"(export "e{export}" (memory 0))"#).expect("room for it");
            }
            declared(&exports)
        },
        "ok good",
    ),
    (
        "imports_50000",
        || {
            let import = r#"(import "wapc" "__console_log" (func (param i32 i32)))"#;
            text(&import.repeat(50_000), 1, "", "")
        },
        "ok good",
    ),
    ("custom_16_mib", || custom(16), "ok good"),
    (
        "nested_loops_5000",
        || nested("loop ", 5_000),
        "module too-costly",
    ),
    ("locals_by_loops", locals_by_loops, "module too-costly"),
    (
        "straight_line_150000",
        || straight_line(150_000),
        "module too-costly",
    ),
    ("locals_20001", || locals(20_001), "module too-costly"),
    ("locals_30000", || locals(30_000), "module too-costly"),
    (
        "branch_table_60000",
        || {
            in_call(&format!(
                "(block (br_table {}(local.get 0)))",
                "0 ".repeat(60_000)
            ))
        },
        "module too-costly",
    ),
    (
        "data_segments_100001",
        || data_segments(100_000),
        "module invalid",
    ),
    (
        "memories_101",
        || declared(&"(memory 0)".repeat(100)),
        "module invalid",
    ),
    (
        "parameters_1001",
        || binary(vec![ValType::I32; 1_001], "memory"),
        "module invalid",
    ),
    (
        "name_100001",
        || binary(vec![], &"n".repeat(100_001)),
        "module invalid",
    ),
    (
        "branch_table_1000000",
        || {
            in_call(&format!(
                "(block (br_table {}(local.get 0)))",
                "0 ".repeat(1_000_000)
            ))
        },
        "module too-costly",
    ),
];

/// Guests that take long to compile.
const SLOW: &[(&str, Make, &str)] = &[
    ("functions_100000", || functions(100_000), "ok good"),
    ("types_990000", || types(990_000), "ok good"),
    ("data_64_mib", || data(64), "ok good"),
    ("custom_64_mib", || custom(64), "ok good"),
    (
        "straight_line_1000000",
        || straight_line(1_000_000),
        "module too-costly",
    ),
];

/// Guests that compile without limits on modules.
const TRUSTED: &[(&str, Make)] = &[
    ("nested_blocks_100000", || nested("block ", 100_000)),
    ("nested_ifs_50000", || nested("local.get 0 if ", 50_000)),
    ("nested_loops_5000", || nested("loop ", 5_000)),
    ("nested_loops_10000", || nested("loop ", 10_000)),
    ("nested_loops_20000", || nested("loop ", 20_000)),
    ("straight_line_1000000", || straight_line(1_000_000)),
];

/// Guests with functions of more locals and operands than wasmi 2.0.0 has slots.
const REFUSED_BY_WASMI: [&str; 1] = ["operands_100000"];

fn functions(count: usize) -> Vec<u8> {
    let function = "(func (param i32) (result i32) (i32.add (local.get 0) (i32.const 1)))";
    declared(&function.repeat(count))
}

fn nested(begin: &str, depth: usize) -> Vec<u8> {
    in_call(&format!("{}{}", begin.repeat(depth), "end ".repeat(depth)))
}

/// `count` locals beside the two parameters.
fn locals(count: usize) -> Vec<u8> {
    in_call(&format!("(local {})", "i64 ".repeat(count)))
}

fn data(mib: usize) -> Vec<u8> {
    let data = "a".repeat(mib << 20);
    text(
        "",
        2 + 16 * mib,
        &format!(r#"(data (i32.const 65536) "{data}")"#),
        "",
    )
}

/// `count` segments beside the one with the response.
fn data_segments(count: usize) -> Vec<u8> {
    declared(&r#"(data (i32.const 16) "x")"#.repeat(count))
}

fn types(count: usize) -> Vec<u8> {
    declared(&"(type (func (param i32)))".repeat(count))
}

fn custom(mib: usize) -> Vec<u8> {
    declared(&format!(r#"(@custom "blob" "{}")"#, "a".repeat(mib << 20)))
}

fn locals_by_loops() -> Vec<u8> {
    let mut code = format!("(local {})", "i32 ".repeat(5_000));
    code += &"loop ".repeat(1_000);
    for local in 2..1_002 {
        write!(
            code,
            "local.get {local} i32.const 1 i32.add local.tee {local} br_if 0 end "
        )
        .expect("room for it");
    }
    in_call(&code)
}

fn straight_line(steps: usize) -> Vec<u8> {
    in_call(&"local.get 0 i32.const 3 i32.mul local.set 0 ".repeat(steps))
}

/// A guest with these declarations.
fn declared(declarations: &str) -> Vec<u8> {
    text("", 1, declarations, "")
}

/// A guest with this code in its `__guest_call`.
fn in_call(code: &str) -> Vec<u8> {
    text("", 1, "", code)
}

/// The text of a guest that responds with `good`.
fn text(imports: &str, pages: usize, declarations: &str, code: &str) -> Vec<u8> {
    format!(
        r#"(module
            {imports}
            (import "wapc" "__guest_response" (func $guest_response (param i32 i32)))
            (memory (export "memory") {pages})
            (data (i32.const 0) "good")
            {declarations}
            (func (export "__guest_call") (param i32 i32) (result i32)
                {code}
                (call $guest_response (i32.const 0) (i32.const 4))
                (i32.const 1)))"#
    )
    .into_bytes()
}

/// A module with a function of these parameters and a memory of this name, which the
/// tools of the text format refuse to write.
fn binary(parameters: Vec<ValType>, memory: &str) -> Vec<u8> {
    let mut types = TypeSection::new();
    types.ty().function(parameters, []);
    let mut functions = FunctionSection::new();
    functions.function(0);
    let mut memories = MemorySection::new();
    memories.memory(MemoryType {
        minimum: 1,
        maximum: None,
        memory64: false,
        shared: false,
        page_size_log2: None,
    });
    let mut exports = ExportSection::new();
    exports.export(memory, ExportKind::Memory, 0);
    let mut code = CodeSection::new();
    let mut body = Function::new([]);
    body.instructions().end();
    code.function(&body);
    let mut module = Module::new();
    module
        .section(&types)
        .section(&functions)
        .section(&memories)
        .section(&exports)
        .section(&code);
    module.finish()
}

/// Starts a host of another guest, which echoes.
fn host(engine: &Engine, module_limits: &ModuleLimits) -> WapcHost {
    let echo = wat("echo").expect("the guest").as_bytes();
    let provider = engine
        .limited(echo, WasiSettings::new(), module_limits.clone())
        .expect("a guest");
    WapcHost::new(provider, |_, _, _, _, _| Ok(vec![])).expect("a host")
}

/// Checks the outcome of a swap to `module` and a call, and that the host answers
/// afterwards, with the old code or the new.
fn check(engine: &Engine, module: &[u8], expected: &str, module_limits: &ModuleLimits) {
    let host = host(engine, module_limits);
    let found = match host.replace_module(module) {
        Ok(()) => outcome(&host.call("bad", b"payload")),
        Err(error) => outcome(&Err(error)),
    };
    assert_eq!(found, expected);
    assert_good(&host);
}

/// Checks that a thousand calls in a row are answered.
fn assert_good(host: &WapcHost) {
    let mut response = vec![];
    for _ in 0..1_000 {
        good(host, &mut response);
    }
}

fn good(host: &WapcHost, response: &mut Vec<u8>) {
    host.call_into("good", b"good", response)
        .unwrap_or_else(|error| panic!("{}", chain(&error)));
    assert_eq!(response, b"good");
}

/// A long compilation for a swap delays no call of the old code.
fn calls_continue_during_a_long_compilation(engine: &Engine) {
    let host = host(engine, &ModuleLimits::default());
    let module = functions(10_000);
    let mut calls = 0_u64;
    thread::scope(|scope| {
        let swap = scope.spawn(|| -> Result<(), Error> { host.replace_module(&module) });
        let mut response = vec![];
        while !swap.is_finished() {
            good(&host, &mut response);
            calls += u64::from(host.generation() == 1);
        }
        swap.join().expect("no panic").expect("a good module");
    });
    assert!(calls > 0, "no call ended during the compilation");
    assert_eq!(host.generation(), 2);
    assert_good(&host);
}
