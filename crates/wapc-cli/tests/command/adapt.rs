//! Modules of other dialects: called, adapted and described.

use std::fs;

use crate::support::{directory, engines, file, wapc, wapc_with_stdin};

/// A WASI command that answers with its last argument and its standard input.
const COMMAND: &str = r#"(module
    (import "wasi_snapshot_preview1" "args_sizes_get" (func $sizes (param i32 i32) (result i32)))
    (import "wasi_snapshot_preview1" "args_get" (func $args (param i32 i32) (result i32)))
    (import "wasi_snapshot_preview1" "fd_read" (func $read (param i32 i32 i32 i32) (result i32)))
    (import "wasi_snapshot_preview1" "fd_write" (func $write (param i32 i32 i32 i32) (result i32)))
    (memory (export "memory") 1)
    (func (export "_start")
        (drop (call $sizes (i32.const 0) (i32.const 4)))
        (if (i32.load (i32.const 0))
            (then
                (drop (call $args (i32.const 64) (i32.const 1024)))
                ;; The last argument without its zero byte.
                (i32.store (i32.const 16) (i32.load offset=60
                    (i32.shl (i32.load (i32.const 0)) (i32.const 2))))
                (i32.store (i32.const 20) (i32.sub
                    (i32.sub (i32.add (i32.const 1024) (i32.load (i32.const 4))) (i32.const 1))
                    (i32.load (i32.const 16))))
                (drop (call $write (i32.const 1) (i32.const 16) (i32.const 1) (i32.const 8)))))
        (i32.store (i32.const 16) (i32.const 2048))
        (i32.store (i32.const 20) (i32.const 1000))
        (drop (call $read (i32.const 0) (i32.const 16) (i32.const 1) (i32.const 20)))
        (drop (call $write (i32.const 1) (i32.const 16) (i32.const 1) (i32.const 8)))))"#;

#[test]
fn a_wasi_command_is_called_and_may_be_kept_adapted() {
    let command = file("adapt", "command.wat", COMMAND);
    let command = command.to_str().unwrap();
    let kept = directory("adapt").join("kept.wasm");
    let kept = kept.to_str().unwrap();
    let adapt = [
        "adapt", command, "-o", kept, "--arg", "name", "--arg", "kept ",
    ];
    let adapted = wapc(adapt);
    assert_eq!(adapted.code, 0, "{}", adapted.stderr);
    assert_eq!(
        adapted.stderr,
        "note: adapted from a WASI command: it exports `_start`\n"
    );
    for engine in engines() {
        let called = |module, args: &[&str]| {
            let call = ["call", module, "op", "--engine", engine];
            let outcome = wapc_with_stdin([&call, args].concat(), b"input");
            assert_eq!(outcome.code, 0, "{engine}: {}", outcome.stderr);
            String::from_utf8(outcome.stdout).unwrap()
        };
        assert_eq!(called(command, &[]), "input");
        assert_eq!(called(command, &["--arg", "given "]), "given input");
        assert_eq!(called(command, &["--operation-is-argument"]), "opinput");
        assert_eq!(called(kept, &[]), "kept input");
    }
    let verbose = wapc(["call", command, "op", "-v"]);
    assert_eq!(verbose.stderr, adapted.stderr);
}

#[test]
fn a_library_is_linked_by_its_name() {
    let guest = file(
        "adapt",
        "linked.wat",
        r#"(module
            (import "lib" "answer" (func $answer (result i32)))
            (import "wapc" "__guest_response" (func $respond (param i32 i32)))
            (memory (export "memory") 1)
            (func (export "__guest_call") (param i32 i32) (result i32)
                (i32.store8 (i32.const 0) (call $answer))
                (call $respond (i32.const 0) (i32.const 1))
                (i32.const 1)))"#,
    );
    let library = r#"(module (func (export "answer") (result i32) (i32.const 42)))"#;
    let library = file("adapt", "lib.wat", library);
    let link = format!("lib={}", library.display());
    let called = wapc(["call", guest.to_str().unwrap(), "op", "--link", &link]);
    assert_eq!((called.code, &*called.stdout), (0, &b"*"[..]));
    let wrong = wapc(["call", guest.to_str().unwrap(), "op", "--link", "lib"]);
    assert_eq!(wrong.code, 2, "{}", wrong.stderr);
}

#[test]
fn what_cannot_be_adapted_says_why() {
    let broken = r#"(module (func (export "_start")))"#;
    let broken = file("adapt", "broken.wat", broken);
    for args in [
        &["call", broken.to_str().unwrap(), "op"][..],
        &["adapt", broken.to_str().unwrap(), "-o", "/nowhere"],
    ] {
        let refused = wapc(args);
        assert_eq!(refused.code, 4);
        let expected = "looks like a WASI command, but it exports no memory as `memory`";
        assert!(refused.stderr.contains(expected), "{}", refused.stderr);
    }
    let inspected = wapc(["inspect", broken.to_str().unwrap()]);
    let text = String::from_utf8(inspected.stdout).unwrap();
    assert!(text.contains("but it exports no memory"), "{text}");
}

#[test]
fn inspect_says_what_adapting_does() {
    let command = file("adapt", "inspected.wat", COMMAND);
    let inspected = wapc(["inspect", command.to_str().unwrap()]);
    let text = String::from_utf8(inspected.stdout).unwrap();
    for expected in [
        "a WASI command, not a waPC guest\n",
        "adapted to a waPC guest by `wapc call`\n  the payload is its standard input",
        "another waPC host needs: a second memory, an exit after the response\n",
        "accepts it, adapted\n",
    ] {
        assert!(text.contains(expected), "{expected}: {text}");
    }
    assert!(!text.contains("refuse"), "{text}");
    // The file is as it was.
    assert_eq!(fs::read_to_string(command).unwrap(), COMMAND);
}

/// A plugin for buf that answers with a file of its own section.
const WITH_A_FILE: &str = r#"(module
    (@custom ".bufplugin" "\08\01\12\04name\1a\0c\0a\03a/f\12\05hello")
    (import "wasi_snapshot_preview1" "path_open"
        (func $open (param i32 i32 i32 i32 i32 i64 i64 i32 i32) (result i32)))
    (import "wasi_snapshot_preview1" "fd_read" (func $read (param i32 i32 i32 i32) (result i32)))
    (import "wasi_snapshot_preview1" "fd_write" (func $write (param i32 i32 i32 i32) (result i32)))
    (memory (export "memory") 1)
    (data (i32.const 100) "a/f")
    (func (export "_start")
        ;; For reading.
        (if (call $open (i32.const 3) (i32.const 0) (i32.const 100) (i32.const 3) (i32.const 0)
            (i64.const 2) (i64.const 0) (i32.const 0) (i32.const 200))
            (then (unreachable)))
        (i32.store (i32.const 16) (i32.const 2048))
        (i32.store (i32.const 20) (i32.const 1000))
        (if (call $read (i32.load (i32.const 200)) (i32.const 16) (i32.const 1) (i32.const 20))
            (then (unreachable)))
        (drop (call $write (i32.const 1) (i32.const 16) (i32.const 1) (i32.const 8)))))"#;

#[test]
fn files_of_the_module_are_there_for_it() {
    let plugin = file("adapt", "with_a_file.wat", WITH_A_FILE);
    for engine in engines() {
        let called = wapc(["call", plugin.to_str().unwrap(), "op", "--engine", engine]);
        assert_eq!(called.code, 0, "{engine}: {}", called.stderr);
        assert_eq!(called.stdout, b"hello", "{engine}");
    }
}

#[test]
fn a_guest_of_2019_and_an_actor_are_called() {
    let guest = |module: &str, host_call: &str| {
        format!(
            r#"(module
                (import "{module}" "__host_call" (func (param {host_call}) (result i32)))
                (import "{module}" "__guest_request" (func $request (param i32 i32)))
                (import "{module}" "__guest_response" (func $respond (param i32 i32)))
                (memory (export "memory") 1)
                (func (export "__guest_call") (param i32 i32) (result i32)
                    (call $request (i32.const 0) (i32.const 100))
                    (call $respond (i32.const 100) (local.get 1))
                    (i32.const 1)))"#
        )
    };
    let four = "i32 i32 i32 i32";
    let cases = [
        ("old.wat", guest("wapc", four), "an earlier waPC protocol"),
        (
            "actor.wat",
            guest("wasmbus", &format!("{four} {four}")),
            "a waPC guest: it imports from `wasmbus`",
        ),
    ];
    for (name, text, said) in cases {
        let module = file("adapt", name, text);
        for engine in engines() {
            let module = module.to_str().unwrap();
            let call = ["call", module, "op", "-v", "--data", "hello"];
            let called = wapc([&call[..], &["--engine", engine]].concat());
            assert_eq!((called.code, &*called.stdout), (0, &b"hello"[..]));
            assert!(called.stderr.contains(said), "{}", called.stderr);
        }
    }
}
