//! Extism's environment, asked by plugins, on wasmi.
#![expect(
    clippy::indexing_slicing,
    clippy::unwrap_used,
    reason = "what a test's own functions unwrap fails the test"
)]

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex},
};

use provider_wasmi::WasmiEngineProvider;
use wapc_dialects::{AdaptError, Plugins};
use wapc_host::{BoxError, Error, HostCall, HostCallback, WapcHost};
use wasmparser::{Validator, WasmFeatures};

/// A host that has variables, answers HTTP, and notes what it is asked.
#[derive(Clone, Default)]
struct Host {
    vars: Arc<Mutex<BTreeMap<String, Vec<u8>>>>,
    asked: Arc<Mutex<Vec<String>>>,
}

impl HostCallback for Host {
    fn call(&self, call: HostCall<'_>, response: &mut Vec<u8>) -> Result<(), BoxError> {
        let (key, value) = (call.namespace.to_owned(), call.payload.to_vec());
        let text = String::from_utf8_lossy(&value);
        let asked = format!("{} {} {key} {text}", call.binding, call.operation);
        match (call.binding, call.operation) {
            ("extism:host/env", "config_get") if key == "fail" => return Err("no such luck".into()),
            ("extism:host/env", "config_get") if key == "thing" => response.extend(b"hello"),
            ("extism:host/env", "config_get") => {}
            ("extism:host/env", "var_get") => {
                response.extend(self.vars.lock().unwrap().get(&key).into_iter().flatten());
            }
            ("extism:host/env", "var_set") => {
                self.vars.lock().unwrap().insert(key, value);
            }
            ("extism:host/env", "var_delete") => {
                self.vars.lock().unwrap().remove(&key);
            }
            ("extism:host/env", "http_request") => {
                response.extend([201, 0, 0, 0, 2, 0, 0, 0]);
                response.extend(b"{}body");
            }
            ("extism:host/user", "twice") => {
                // One argument: its block, twice, as a new block.
                let word = |at: usize| u64::from_le_bytes(value[at..at + 8].try_into().unwrap());
                let block = &value[32..32 + usize::try_from(word(24)).unwrap()];
                let handle = word(0) + 32;
                response.extend(handle.to_le_bytes());
                response.extend([0; 8]);
                response.extend((2 * word(24)).to_le_bytes());
                response.extend((word(8) ^ handle).to_le_bytes());
                response.extend([block, block].concat());
            }
            ("extism:host/user", "sum") => {
                // f32, f64, i32 and i64, without blocks.
                let word = |at: usize| u64::from_le_bytes(value[at..at + 8].try_into().unwrap());
                let single = f32::from_bits(u32::try_from(word(16)).unwrap());
                let sum = f64::from(single) + f64::from_bits(word(24));
                let sum = sum + f64::from(u32::try_from(word(32)).unwrap()) + 0.5;
                assert_eq!((word(40), word(48), value.len()), (7, 0, 56));
                response.extend(sum.to_bits().to_le_bytes());
                response.extend([0; 8]);
            }
            _ => {}
        }
        self.asked.lock().unwrap().push(asked);
        Ok(())
    }
}

const IMPORTS: &str = r#"
    (import "extism:host/env" "alloc" (func $alloc (param i64) (result i64)))
    (import "extism:host/env" "free" (func $free (param i64)))
    (import "extism:host/env" "length" (func $length (param i64) (result i64)))
    (import "extism:host/env" "length_unsafe" (func $length_unsafe (param i64) (result i64)))
    (import "extism:host/env" "load_u8" (func $load_u8 (param i64) (result i32)))
    (import "extism:host/env" "load_u64" (func $load_u64 (param i64) (result i64)))
    (import "extism:host/env" "store_u8" (func $store_u8 (param i64 i32)))
    (import "extism:host/env" "store_u64" (func $store_u64 (param i64 i64)))
    (import "extism:host/env" "input_length" (func $input_length (result i64)))
    (import "extism:host/env" "input_offset" (func $input (result i64)))
    (import "extism:host/env" "input_load_u8" (func $input_u8 (param i64) (result i32)))
    (import "extism:host/env" "input_load_u64" (func $input_u64 (param i64) (result i64)))
    (import "extism:host/env" "output_set" (func $output_set (param i64 i64)))
    (import "extism:host/env" "error_set" (func $error_set (param i64)))
    (import "extism:host/env" "error_get" (func $error_get (result i64)))
    (import "extism:host/env" "config_get" (func $config_get (param i64) (result i64)))
    (import "extism:host/env" "var_get" (func $var_get (param i64) (result i64)))
    (import "extism:host/env" "var_set" (func $var_set (param i64 i64)))
    (import "extism:host/env" "http_request" (func $http (param i64 i64) (result i64)))
    (import "extism:host/env" "http_status_code" (func $status (result i32)))
    (import "extism:host/env" "http_headers" (func $headers (result i64)))
    (import "extism:host/env" "log_warn" (func $log_warn (param i64)))
    (import "extism:host/env" "log_info" (func $log_info (param i64)))
    (import "extism:host/env" "get_log_level" (func $log_level (result i32)))
    (import "extism:host/user" "twice" (func $twice (param i64) (result i64)))
    (import "extism:host/user" "sum" (func $sum (param f32 f64 i32 i64) (result f64)))
    (func $word (param $bytes i64) (result i64) (local $handle i64)
        (local.set $handle (call $alloc (i64.const 8)))
        (call $store_u64 (local.get $handle) (local.get $bytes))
        (local.get $handle))
    (func $out (param $handle i64)
        (call $output_set (local.get $handle) (call $length (local.get $handle))))
    (func $same (param i64 i64) (if (i64.ne (local.get 0) (local.get 1)) (then (unreachable))))"#;

/// A plugin with these exports; each body returns a number.
fn plugin(exports: &[(&str, &str)]) -> Vec<u8> {
    let exports: String = exports
        .iter()
        .map(|(name, body)| {
            format!(
                "(func (export \"{name}\") (result i32) (local $a i64) (local $b i64) (local $i i32) {body})"
            )
        })
        .collect();
    format!("(module {IMPORTS} {exports})").into_bytes()
}

fn host_with(plugins: Plugins, modules: &[(&str, &[u8])], host: Host) -> WapcHost {
    let linked = plugins.validates(true).link(modules).unwrap();
    let provider = WasmiEngineProvider::new(&linked.binary).unwrap();
    WapcHost::with_callback(Box::new(provider), host).unwrap()
}

fn host(exports: &[(&str, &str)]) -> WapcHost {
    host_with(
        Plugins::new(),
        &[("main", &plugin(exports))],
        Host::default(),
    )
}

/// The response to `run`, or the text of the guest's error.
fn run(body: &str, input: &[u8]) -> Result<Vec<u8>, String> {
    match host(&[("run", body)]).call("run", input) {
        Ok(output) => Ok(output),
        Err(Error::Guest { message, .. }) => Err(message),
        Err(Error::Trapped { guest_error, .. }) => {
            Err(format!("trap {}", guest_error.unwrap_or_default()))
        }
        Err(error) => panic!("{error:?}"),
    }
}

const OK: &str = "(i32.const 0)";

#[test]
fn bytes_outside_of_the_memory_read_as_0_and_are_not_written() {
    let body = format!(
        "(call $store_u64 (i64.const 0xffffffffffff) (i64.const 1))
         (call $store_u8 (i64.const -1) (i32.const 1))
         (call $store_u64 (i64.const -4) (i64.const 1))
         (call $store_u64 (i64.const 131065) (i64.const -1))
         (call $same (call $load_u64 (i64.const 131064)) (i64.const 0))
         (call $store_u64 (i64.const 131064) (i64.const -1))
         (call $same (call $load_u64 (i64.const 131064)) (i64.const -1))
         (call $same (call $load_u64 (i64.const 131065)) (i64.const 0))
         (call $same (i64.extend_i32_u (call $load_u8 (i64.const 131071))) (i64.const 255))
         (call $same (i64.extend_i32_u (call $load_u8 (i64.const 131072))) (i64.const 0))
         (call $same (call $load_u64 (i64.const -1)) (i64.const 0))
         (call $same (call $load_u64 (i64.const -8)) (i64.const 0))
         (call $same (call $load_u64 (i64.const 0x100000008)) (i64.const 0)) {OK}"
    );
    assert_eq!(run(&body, b"").unwrap(), b"");
}

#[test]
fn handles_are_exact_and_blocks_stay_readable_until_the_end_of_the_call() {
    let body = format!(
        "(call $same (call $alloc (i64.const 0)) (i64.const 0))
         (call $same (call $alloc (i64.const -1)) (i64.const 0))
         (call $same (call $alloc (i64.const 0x100000000)) (i64.const 0))
         (local.set $a (call $word (i64.const 0x1122334455667788)))
         (call $same (call $length (local.get $a)) (i64.const 8))
         (call $same (call $length (i64.add (local.get $a) (i64.const 1))) (i64.const 0))
         (call $same (call $length (i64.const -1)) (i64.const 0))
         (call $same (call $length_unsafe (i64.const 12345)) (i64.const 0))
         (call $free (local.get $a)) (call $free (local.get $a)) (call $free (i64.const 99999999999))
         (call $same (call $length (local.get $a)) (i64.const 0))
         (call $same (call $load_u64 (local.get $a)) (i64.const 0x1122334455667788))
         (local.set $b (call $alloc (i64.const 8)))
         (if (i64.eq (local.get $a) (local.get $b)) (then (unreachable)))
         (call $same (call $load_u64 (local.get $b)) (i64.const 0)) {OK}"
    );
    assert_eq!(run(&body, b"").unwrap(), b"");
}

#[test]
fn blocks_are_zero_in_each_call_and_old_handles_are_invalid() {
    let body = ";; The block of the call before.
         (if (i64.ne (call $length (call $input_u64 (i64.const 0))) (i64.const 0)) (then (unreachable)))
         (local.set $a (call $alloc (i64.const 1000)))
         (call $same (call $load_u64 (i64.add (local.get $a) (i64.const 500))) (i64.const 0))
         (call $store_u64 (i64.add (local.get $a) (i64.const 500)) (i64.const -1))
         (call $out (call $word (local.get $a))) (i32.const 0)";
    let host = host(&[("run", body)]);
    let mut handle = 0_u64.to_le_bytes().to_vec();
    for _ in 0..3 {
        handle = host.call("run", &handle).unwrap();
        assert_ne!(handle, 0_u64.to_le_bytes());
    }
}

#[test]
fn freed_blocks_come_again_where_the_memory_would_grow() {
    let body = format!(
        "(loop $again
            (call $free (call $alloc (i64.const 0x100000)))
            (local.set $i (i32.add (local.get $i) (i32.const 1)))
            (br_if $again (i32.lt_u (local.get $i) (i32.const 200)))) {OK}"
    );
    let plugin = plugin(&[("run", &body)]);
    let linked = Plugins::new().link(&[("main", &plugin)]).unwrap();
    let provider = WasmiEngineProvider::new(&linked.binary).unwrap();
    let limits = wapc_host::Limits::default().max_total_memory_bytes(4 << 20);
    let host = WapcHost::builder(Box::new(provider)).limits(limits);
    let host = host.build_with(Host::default()).unwrap();
    assert_eq!(host.call("run", b"").unwrap(), b"");
}

#[test]
fn what_lies_below_the_blocks_is_not_written() {
    // Names, the operation, and the place that reads as 0.
    let body = format!(
        "(loop $next
            (call $store_u8 (i64.extend_i32_u (local.get $i)) (i32.const 65))
            (call $store_u64 (i64.extend_i32_u (local.get $i)) (i64.const -1))
            (local.set $i (i32.add (local.get $i) (i32.const 1)))
            (br_if $next (i32.lt_u (local.get $i) (i32.const 150))))
        (call $same (call $load_u64 (i64.const -1)) (i64.const 0))
        (call $same (i64.extend_i32_u (call $load_u8 (i64.const -1))) (i64.const 0))
        (call $same (call $input_u64 (i64.const 100)) (i64.const 0))
        (call $out (call $config_get (call $word (i64.const 0x676e696874)))) {OK}"
    );
    // "thing" and three zeros are another key; the answer is empty, and nothing traps.
    assert_eq!(run(&body, b"input").unwrap(), b"");
    assert_eq!(run(&body, b"").unwrap(), b"");
}

#[test]
fn what_a_plugin_writes_over_headers_harms_only_itself() {
    // Forges the list of freed blocks, and lengths, then goes on allocating.
    for forged in ["-1", "16", "0x7fffffff", "131080", "0xfffffffffffffff0"] {
        let body = format!(
            "(local.set $a (call $alloc (i64.const 60000)))
             (call $free (local.get $a))
             (call $store_u64 (i64.sub (local.get $a) (i64.const 16)) (i64.const {forged}))
             (call $store_u64 (i64.sub (local.get $a) (i64.const 8)) (i64.const {forged}))
             (loop $again
                (local.set $b (call $alloc (i64.const 50000)))
                (call $free (local.get $b))
                (local.set $i (i32.add (local.get $i) (i32.const 1)))
                (br_if $again (i32.lt_u (local.get $i) (i32.const 10))))
             (local.set $a (call $word (i64.const 1)))
             (call $store_u64 (i64.sub (local.get $a) (i64.const 16)) (i64.const {forged}))
             (call $error_set (local.get $a))
             (call $output_set (local.get $a) (i64.const {forged})) {OK}"
        );
        let host = host(&[("run", &body), ("good", OK)]);
        // Any end but that of the program, and the next call is a new one.
        host.call("run", b"").ok();
        assert_eq!(host.call("good", b"").unwrap(), b"", "{forged}");
    }
}

#[test]
fn input_is_read_in_whole_words() {
    let body = format!(
        "(call $same (call $input_length) (i64.const 10))
         (call $same (call $input_u64 (i64.const 2)) (i64.const 0x6a69686766656463))
         (call $same (call $input_u64 (i64.const 3)) (i64.const 0))
         (call $same (call $input_u64 (i64.const -1)) (i64.const 0))
         (call $same (i64.extend_i32_u (call $input_u8 (i64.const 9))) (i64.const 0x6a))
         (call $same (i64.extend_i32_u (call $input_u8 (i64.const 10))) (i64.const 0))
         (call $same (call $length (call $input)) (i64.const 10))
         (call $out (call $input))
         (call $free (call $input))
         (call $same (call $input_length) (i64.const 0)) {OK}"
    );
    assert_eq!(run(&body, b"abcdefghij").unwrap(), b"abcdefghij");
    let none = format!(
        "(call $same (call $input) (i64.const 0)) (call $same (call $input_length) (i64.const 0)) {OK}"
    );
    assert_eq!(run(&none, b"").unwrap(), b"");
}

#[test]
fn output_is_any_part_of_the_memory_and_errors_are_blocks() {
    let text = "(call $word (i64.const 0x6867666564636261))";
    let end = |body: &str| run(body, b"");
    let middle = format!("(call $output_set (i64.add {text} (i64.const 2)) (i64.const 3)) {OK}");
    assert_eq!(end(&middle).unwrap(), b"cde");
    let outside =
        format!("(call $out {text}) (call $output_set (i64.const 64) (i64.const -1)) {OK}");
    assert_eq!(end(&outside).unwrap(), b"abcdefgh");
    assert_eq!(
        end(&format!("(call $error_set {text}) {OK}")).unwrap_err(),
        "abcdefgh"
    );
    assert_eq!(
        end(&format!("(call $error_set {text}) (i32.const 5)")).unwrap_err(),
        "abcdefgh"
    );
    assert_eq!(
        end(&format!("(call $error_set {text}) (unreachable)")).unwrap_err(),
        "trap abcdefgh"
    );
    let no_block = format!("(call $error_set (i64.add {text} (i64.const 1))) {OK}");
    assert_eq!(end(&no_block).unwrap(), b"");
    let withdrawn = format!(
        "(call $out {text}) (call $error_set {text}) (call $error_set (i64.const 0))
         (call $same (call $error_get) (i64.const 0)) {OK}"
    );
    assert_eq!(end(&withdrawn).unwrap(), b"abcdefgh");
}

#[test]
fn codes_fail_unless_the_host_wants_to_be_told() {
    for code in ["-17", "5", "2147483647", "-2147483648"] {
        let body = format!("(call $out (call $word (i64.const 0x61))) (i32.const {code})");
        let failed = run(&body, b"").unwrap_err();
        assert_eq!(failed, format!("Returned non-zero exit code: {code}"));
        let host = Host::default();
        let told = host_with(
            Plugins::new().reports_codes(true),
            &[("main", &plugin(&[("run", &body)]))],
            host.clone(),
        );
        assert_eq!(told.call("run", b"").unwrap(), b"a\0\0\0\0\0\0\0");
        assert!(host.asked.lock().unwrap()[0].starts_with("extism:host/env returned "));
    }
}

#[test]
fn functions_are_found_by_their_whole_name() {
    let answer = |text: &str| format!("(call $out (call $word (i64.const {text}))) {OK}");
    let long = "x".repeat(300);
    let host = host(&[
        ("a", &answer("0x61")),
        ("abcdefgh", &answer("0x62")),
        ("abcdefghi", &answer("0x63")),
        (&long, &answer("0x64")),
        ("", &answer("0x65")),
    ]);
    let first = |name: &str| host.call(name, b"").map(|output| output[0]);
    for (name, byte) in [
        ("a", b'a'),
        ("abcdefghi", b'c'),
        ("abcdefgh", b'b'),
        (&*long, b'd'),
        ("a", b'a'),
        ("", b'e'),
    ] {
        assert_eq!(first(name).unwrap(), byte, "{name}");
    }
    for name in [
        "b",
        "abcdefg",
        "abcdefghj",
        &"x".repeat(299),
        &"x".repeat(301),
        &"y".repeat(5000),
    ] {
        let Err(Error::Guest { message, .. }) = first(name) else {
            panic!("{name}")
        };
        let shown = &name[..name.len().min(300)];
        assert_eq!(message, format!("Function not found: {shown}"));
    }
}

#[test]
fn variables_configuration_and_http_are_the_hosts() {
    let key = "(call $word (i64.const 0x6161616161616161))";
    let body = format!(
        "(call $same (call $var_get {key}) (i64.const 0))
         (local.set $a (call $word (i64.const 42)))
         (call $var_set {key} (local.get $a))
         (call $same (call $length (local.get $a)) (i64.const 0))
         (call $same (call $load_u64 (call $var_get {key})) (i64.const 42))
         (call $var_set {key} (i64.const 0))
         (call $same (call $var_get {key}) (i64.const 0))
         (call $same (call $config_get (i64.const 0)) (i64.const 0))
         (local.set $b (call $http {key} (i64.const 0)))
         (call $same (i64.extend_i32_u (call $status)) (i64.const 201))
         (call $same (call $length (call $headers)) (i64.const 2))
         (call $out (local.get $b)) {OK}"
    );
    assert_eq!(run(&body, b"").unwrap(), b"body");
    let fails = "(local.set $a (call $alloc (i64.const 4)))
        (call $store_u8 (local.get $a) (i32.const 102)) (call $store_u8 (i64.add (local.get $a) (i64.const 1)) (i32.const 97))
        (call $store_u8 (i64.add (local.get $a) (i64.const 2)) (i32.const 105)) (call $store_u8 (i64.add (local.get $a) (i64.const 3)) (i32.const 108))
        (drop (call $config_get (local.get $a))) (i32.const 0)";
    assert_eq!(run(fails, b"").unwrap_err(), "trap no such luck");
    assert_eq!(
        run(
            "(drop (call $config_get (i64.const 4711))) (i32.const 0)",
            b""
        )
        .unwrap_err(),
        "trap invalid handle offset for config key: 4711"
    );
}

#[test]
fn log_lines_below_the_level_are_not_sent() {
    let body = format!(
        "(call $log_warn (call $word (i64.const 0x6162))) (call $log_info (i64.const 99))
         (call $same (i64.extend_i32_u (call $log_level)) (i64.const 3)) {OK}"
    );
    let host = Host::default();
    let plugins = Plugins::new().log_level(Some(3));
    host_with(
        plugins,
        &[("main", &plugin(&[("run", &body)]))],
        host.clone(),
    )
    .call("run", b"")
    .unwrap();
    assert_eq!(
        *host.asked.lock().unwrap(),
        ["extism:host/env log_warn  ba\0\0\0\0\0\0"]
    );
}

#[test]
fn functions_of_the_host_get_blocks_and_make_blocks() {
    let body = format!(
        "(local.set $a (call $twice (call $input)))
         (call $same (call $length (local.get $a)) (i64.const 6))
         (local.set $b (call $twice (local.get $a)))
         (call $same (call $length (call $alloc (i64.const 3))) (i64.const 3))
         (call $out (local.get $b)) {OK}"
    );
    assert_eq!(run(&body, b"abc").unwrap(), b"abcabcabcabc");
    let numbers = format!(
        "(if (f64.ne (call $sum (f32.const 1.5) (f64.const 2.25) (i32.const 3) (i64.const 7)) (f64.const 7.25))
            (then (unreachable))) {OK}"
    );
    assert_eq!(run(&numbers, b"").unwrap(), b"");
    // What the host was sent is not seen in a new block.
    let fresh = format!(
        "(drop (call $sum (f32.const 1.5) (f64.const 2.25) (i32.const 3) (i64.const 7)))
         (local.set $a (call $alloc (i64.const 100)))
         (loop $next
            (if (call $load_u8 (i64.add (local.get $a) (i64.extend_i32_u (local.get $i)))) (then (unreachable)))
            (local.set $i (i32.add (local.get $i) (i32.const 1)))
            (br_if $next (i32.lt_u (local.get $i) (i32.const 100)))) {OK}"
    );
    assert_eq!(run(&fresh, b"").unwrap(), b"");
}

#[test]
fn libraries_have_memories_of_their_own_and_begin_first() {
    let library = br#"(module
        (import "extism:host/env" "alloc" (func $alloc (param i64) (result i64)))
        (import "extism:host/env" "store_u8" (func $store_u8 (param i64 i32)))
        (import "wasi_snapshot_preview1" "fd_close" (func $close (param i32) (result i32)))
        (memory 1) ;; not exported, so that WASI cannot use it
        (func (export "_initialize") (i32.store8 (i32.const 0) (i32.const 76)))
        (func (export "letter") (result i64) (local $a i64)
            (if (i32.ne (call $close (i32.const 1)) (i32.const 52)) (then (unreachable)))
            (local.set $a (call $alloc (i64.const 1)))
            (call $store_u8 (local.get $a) (i32.load8_u (i32.const 0)))
            (local.get $a)))"#;
    let main = br#"(module
        (import "lib" "letter" (func $letter (result i64)))
        (import "extism:host/env" "output_set" (func $output_set (param i64 i64)))
        (import "extism:host/env" "load_u8" (func $load_u8 (param i64) (result i32)))
        (memory (export "memory") 1)
        (global $seen (mut i32) (i32.const 0))
        (func (export "__wasm_call_ctors") (global.set $seen (call $load_u8 (call $letter))))
        (func (export "run") (result i32)
            (if (i32.ne (global.get $seen) (i32.const 76)) (then (unreachable)))
            (call $output_set (call $letter) (i64.const 1)) (i32.const 0)))"#;
    let host = host_with(
        Plugins::new(),
        &[("lib", library), ("main", main)],
        Host::default(),
    );
    assert_eq!(host.call("run", b"").unwrap(), b"L");
}

#[test]
fn a_command_answers_and_leaves() {
    let command = br#"(module
        (import "extism:host/env" "input_offset" (func $input (result i64)))
        (import "extism:host/env" "input_length" (func $length (result i64)))
        (import "extism:host/env" "output_set" (func $output_set (param i64 i64)))
        (import "wasi_snapshot_preview1" "proc_exit" (func $exit (param i32)))
        (memory (export "memory") 1)
        (global $used (mut i32) (i32.const 0))
        (func (export "_start")
            (if (global.get $used) (then (unreachable)))
            (global.set $used (i32.const 1))
            (call $output_set (call $input) (call $length)))
        (func (export "leave")
            (call $output_set (call $input) (call $length)) (call $exit (i32.const 0)) (unreachable))
        (func (export "fail") (call $exit (i32.const 3)) (unreachable)))"#;
    let host = host_with(Plugins::new(), &[("main", command)], Host::default());
    for operation in ["_start", "_start", "leave", "leave"] {
        assert_eq!(host.call(operation, b"ben").unwrap(), b"ben", "{operation}");
    }
    match host.call("fail", b"") {
        Err(Error::Exited {
            code, guest_error, ..
        }) => {
            let text = "Returned non-zero exit code: 3";
            assert_eq!((code, guest_error.as_deref()), (3, Some(text)));
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn what_cannot_be_had_is_refused() {
    let link = |modules: &[(&str, &str)]| {
        let modules: Vec<_> = modules
            .iter()
            .map(|(name, text)| (*name, text.as_bytes()))
            .collect();
        match Plugins::new().link(&modules) {
            Err(AdaptError::Unfit { reason, .. }) => reason,
            other => panic!("{other:?}"),
        }
    };
    let unknown = r#"(module (import "extism:host/env" "fly" (func (param i64))))"#;
    assert!(
        link(&[("main", unknown)])
            .starts_with("Invalid function import from extism:host/env: fly (param i64)")
    );
    let other_type = r#"(module (import "extism:host/env" "alloc" (func (param i32))))"#;
    assert!(link(&[("main", other_type)]).contains("alloc (param i32)"));
    for private in ["$memory", "__guest_call", "$start"] {
        let text = format!(
            r#"(module (import "extism:host/env" "{private}" (func (param i32 i32) (result i32))))"#
        );
        assert!(
            link(&[("main", &text)]).starts_with("Invalid function import"),
            "{private}"
        );
    }
    let memory = r#"(module (import "extism:host/env" "$memory" (memory 1)))"#;
    assert!(link(&[("main", memory)]).contains("non-function"));
    let foreign = r#"(module (import "env" "memory" (memory 1)))"#;
    assert!(link(&[("main", foreign)]).contains("`env.memory`"));
    let vector = r#"(module (import "extism:host/user" "f" (func (param v128))))"#;
    assert!(link(&[("main", vector)]).contains("v128"));
    let wapc = r#"(module (import "wapc" "__guest_error" (func (param i32 i32))))"#;
    assert!(link(&[("main", wapc)]).contains("`wapc`"));
    assert!(link(&[("lib", "(module)")]).contains("main"));
}

#[test]
fn modules_with_wrong_bytes_are_no_panic() {
    // A plugin, and a library that is a command and uses WASI.
    let library = br#"(module
        (import "wasi_snapshot_preview1" "random_get" (func $random (param i32 i32) (result i32)))
        (import "extism:host/user" "f" (func $f (param i64) (result f32)))
        (memory (export "memory") 1) (table 2 funcref) (global $count (mut i32) (i32.const 0))
        (data (i32.const 0) "abc") (data "passive") (elem (i32.const 0) $random $f)
        (func $start (export "_start") (global.set $count (memory.grow (i32.const 1))))
        (start $start)
        (func (export "count") (param i32) (result i32)
            (drop (call $random (i32.const 0) (memory.size))) (global.get $count)))"#;
    let main = br#"(module
        (import "lib" "count" (func $count (param i32) (result i32)))
        (import "extism:host/env" "load_u8" (func $load (param i64) (result i32)))
        (memory (export "memory") 1)
        (func (export "run") (result i32) (call $count (call $load (i64.const 8)))))"#;
    let binary = |text: &[u8]| wapc_host::module::binary(text).unwrap().into_owned();
    let (library, main) = (binary(library), binary(main));
    let link = |library: &[u8], main: &[u8]| {
        let plugins = Plugins::new().imports_functions(true).validates(true);
        plugins.link(&[("lib", library), ("main", main)])
    };
    link(&library, &main).unwrap();
    let is_valid = |module: &[u8]| {
        let mut validator = Validator::new_with_features(WasmFeatures::all());
        validator.validate_all(module).is_ok()
    };
    let mut random = 0x9e37_79b9_7f4a_7c15_u64;
    let mut below = |limit: usize| {
        random ^= random << 13;
        random ^= random >> 7;
        random ^= random << 17;
        usize::try_from(random >> 33).unwrap() % limit
    };
    let (mut linked, mut refused) = (0, 0);
    for _ in 0..4_000 {
        let (mut library, mut main) = (library.clone(), main.clone());
        for _ in 0..=below(2) {
            let at = below(library.len() + main.len());
            let byte = u8::try_from(below(256)).unwrap();
            match at.checked_sub(library.len()) {
                None => library[at] = byte,
                Some(at) => main[at] = byte,
            }
        }
        match link(&library, &main) {
            Ok(_) => linked += 1,
            // Valid modules give a valid guest.
            Err(error @ AdaptError::Invalid { .. }) if is_valid(&library) && is_valid(&main) => {
                panic!("{error}");
            }
            Err(_) => refused += 1,
        }
    }
    assert!(
        linked > 100 && refused > 1_000,
        "{linked} linked, {refused} refused"
    );
}
