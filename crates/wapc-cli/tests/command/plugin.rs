//! Extism plugins and their manifests: called and described.

use std::{
    fs,
    io::{Read, Write},
    net::TcpListener,
    thread,
};

use crate::support::{directory, engines, file, wapc};

/// A plugin whose exports answer with the input in capitals by a library, a key of the configuration, a function of the
/// host, or what a request brings.
const PLUGIN: &str = r#"(module
    (import "extism:host/env" "alloc" (func $alloc (param i64) (result i64)))
    (import "extism:host/env" "length" (func $length (param i64) (result i64)))
    (import "extism:host/env" "store_u64" (func $store_u64 (param i64 i64)))
    (import "extism:host/env" "input_offset" (func $input (result i64)))
    (import "extism:host/env" "output_set" (func $output_set (param i64 i64)))
    (import "extism:host/env" "error_set" (func $error_set (param i64)))
    (import "extism:host/env" "config_get" (func $config_get (param i64) (result i64)))
    (import "extism:host/env" "http_request" (func $http (param i64 i64) (result i64)))
    (import "extism:host/env" "log_info" (func $log_info (param i64)))
    (func $out (param $handle i64)
        (call $output_set (local.get $handle) (call $length (local.get $handle))))
    (func (export "echo") (call $out (call $input)))
    (func (export "config") (call $out (call $config_get (call $input))))
    (func (export "http") (call $out (call $http (call $input) (i64.const 0))))
    (func (export "log") (call $log_info (call $input)))
    (func (export "fail") (result i32) (call $error_set (call $input)) (i32.const 1))
    (func (export "code") (result i32) (i32.const 3))
    (func (export "loop") (loop (br 0))))"#;

fn called(args: &[&str]) -> (i32, String, String) {
    let outcome = wapc(args);
    let stdout = String::from_utf8(outcome.stdout).unwrap();
    (outcome.code, stdout, outcome.stderr)
}

#[test]
fn a_plugin_is_called_with_its_configuration() {
    let plugin = file("plugin", "plugin.wat", PLUGIN);
    let plugin = plugin.to_str().unwrap();
    for engine in engines() {
        let call = |operation, data, more: &[&str]| {
            let call = [
                "call", plugin, operation, "--engine", engine, "--data", data,
            ];
            called(&[&call, more].concat())
        };
        let config = ["--config", "key=a value", "--config", "other=x"];
        assert_eq!(
            call("config", "key", &config),
            (0, "a value".into(), String::new())
        );
        assert_eq!(
            call("config", "none", &config),
            (0, String::new(), String::new())
        );
        assert_eq!(
            call("log", "a\nline", &[]),
            (0, String::new(), "[plugin info] a\\nline\n".into())
        );
        let (code, _, stderr) = call("fail", "on purpose", &[]);
        assert!(
            code == 6 && stderr.starts_with("error: on purpose\n"),
            "{stderr}"
        );
        let (code, _, stderr) = call("code", "", &[]);
        assert_eq!(
            (code, &*stderr),
            (6, "error: Returned non-zero exit code: 3\n")
        );
        let (code, _, stderr) = call("loop", "", &["--timeout", "50ms"]);
        assert!(
            code == 10 && stderr.starts_with("error: timeout\n"),
            "{stderr}"
        );
        let (code, _, stderr) = call("nothing", "", &["-v"]);
        assert!(
            code == 6 && stderr.contains("Function not found: nothing"),
            "{stderr}"
        );
        assert!(stderr.starts_with("note: an Extism plugin\n"), "{stderr}");
    }
}

#[test]
fn a_manifest_is_a_module_too() {
    let library = file(
        "manifest",
        "library.wat",
        r#"(module (func (export "answer") (result i32) (i32.const 42)))"#,
    );
    let main = file(
        "manifest",
        "main.wat",
        PLUGIN
            .replace(
                "(module",
                r#"(module (import "library" "answer" (func $answer (result i32)))"#,
            )
            .replace("(i32.const 3))", "(call $answer))"),
    );
    let (library, main) = (library.to_str().unwrap(), main.to_str().unwrap());
    let json = format!(
        r#"{{"wasm": [{{"path": {library:?}, "name": "library"}}, {{"path": {main:?}}}], "config": {{"key": "of the manifest"}}, "timeout_ms": 50}}"#
    );
    let toml = format!(
        "timeout_ms = 50\n[[wasm]]\npath = {library:?}\nname = \"library\"\n[[wasm]]\npath = {main:?}\n[config]\nkey = \"of the manifest\"\n"
    );
    // A manifest is known by what it says, and not by its name.
    let manifests = [
        file("manifest", "manifest.json", &json),
        file("manifest", "manifest.toml", &toml),
        file("manifest", "manifest", &json),
    ];
    for manifest in &manifests {
        let manifest = manifest.to_str().unwrap();
        let (code, _, stderr) = called(&["call", manifest, "code", "-v"]);
        assert_eq!(code, 6);
        assert!(
            stderr.contains("linked with library\nerror: Returned non-zero exit code: 42"),
            "{stderr}"
        );
        let config = called(&["call", manifest, "config", "--data", "key"]);
        assert_eq!(config, (0, "of the manifest".into(), String::new()));
        let config = called(&[
            "call", manifest, "config", "--data", "key", "--config", "key=mine",
        ]);
        assert_eq!(config.1, "mine");
        let (code, ..) = called(&["call", manifest, "loop"]);
        assert_eq!(code, 10, "its own time");
        let inspected = called(&["inspect", manifest]);
        assert!(
            inspected
                .1
                .contains("an Extism plugin, linked with library"),
            "{inspected:?}"
        );
        assert!(inspected.1.contains("accepts it"), "{inspected:?}");
        assert!(!inspected.1.contains("refuse"), "{inspected:?}");
    }
    // The library on the command line, in place of the manifest.
    let link = format!("library={library}");
    let (code, _, stderr) = called(&["call", main, "code", "--link", &link]);
    assert!(code == 6 && stderr.contains("code: 42"), "{stderr}");
    let (code, _, stderr) = called(&[
        "call",
        main,
        "code",
        "--host-response",
        "extism:host/user/library/answer=7",
    ]);
    assert!(code == 6 && stderr.contains("code: 7"), "{stderr}");
    let (code, _, stderr) = called(&["call", main, "code"]);
    assert!(
        code == 6 && stderr.contains("--host-response extism:host/user/library/answer=VALUE"),
        "{stderr}"
    );
}

#[test]
fn what_a_manifest_lacks_is_said() {
    for (name, text, code, says) in [
        (
            "unknown.json",
            r#"{"wasm": [{"path": "x"}], "surprise": 1}"#,
            4,
            "surprise",
        ),
        (
            "missing.json",
            r#"{"wasm": [{"path": "no/such.wasm"}]}"#,
            3,
            "no/such.wasm",
        ),
        ("empty.toml", "wasm = []", 4, "No wasm files specified"),
        (
            "url.json",
            r#"{"wasm": [{"url": "http://127.0.0.1:1/x.wasm"}]}"#,
            3,
            "not allowed",
        ),
    ] {
        let manifest = file("manifest", name, text);
        let (found, _, stderr) = called(&["call", manifest.to_str().unwrap(), "run"]);
        assert!(
            found == code && stderr.contains(says),
            "{name}: {found} {stderr}"
        );
    }
    // Of a module that is no plugin they would have no effect.
    let guest = file(
        "manifest",
        "guest.wat",
        r#"(module (memory (export "memory") 1)
        (func (export "__guest_call") (param i32 i32) (result i32) (i32.const 0)))"#,
    );
    for flag in [
        ["--config", "a=b"],
        ["--allow-host", "a.com"],
        ["--allow-path", "/tmp"],
    ] {
        let (code, _, stderr) = called(&["call", guest.to_str().unwrap(), "run", flag[0], flag[1]]);
        assert!(code == 2 && stderr.contains(flag[0]), "{code} {stderr}");
    }
}

#[test]
fn hosts_and_directories_are_allowed_by_flags() {
    // With WASI, without which directories are of no use.
    let with_wasi = r#"(module (import "wasi_snapshot_preview1" "proc_exit" (func (param i32)))"#;
    let plugin = file("plugin", "asks.wat", PLUGIN.replace("(module", with_wasi));
    let plugin = plugin.to_str().unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}/", listener.local_addr().unwrap());
    let request = format!(r#"{{"url": "{url}"}}"#);
    let (code, _, stderr) = called(&["call", plugin, "http", "--data", &request]);
    assert!(
        code != 0 && stderr.contains("is not allowed"),
        "{code} {stderr}"
    );
    let server = thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        _ = stream.read(&mut [0; 4096]).unwrap();
        stream
            .write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\nconnection: close\r\n\r\nhello")
            .unwrap();
    });
    let answer = called(&[
        "call",
        plugin,
        "http",
        "--data",
        &request,
        "--allow-host",
        "127.0.0.1",
    ]);
    assert_eq!(answer, (0, "hello".into(), String::new()));
    server.join().unwrap();

    let folder = directory("plugin").join("granted");
    fs::create_dir_all(&folder).unwrap();
    let granted = format!("ro:{}:/in", folder.display());
    let echoed = called(&[
        "call",
        plugin,
        "echo",
        "--data",
        "x",
        "--allow-path",
        &granted,
    ]);
    assert_eq!(echoed.1, "x");
    let missing = format!("{}/none:/in", folder.display());
    let (code, _, stderr) = called(&[
        "call",
        plugin,
        "echo",
        "--data",
        "x",
        "--allow-path",
        &missing,
    ]);
    assert!(code == 3 && stderr.contains("none"), "{code} {stderr}");
}
