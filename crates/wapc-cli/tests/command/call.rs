//! `wapc call`, as a user runs it, on each engine.

use std::{fs, path::Path};

use crate::support::{
    ASK_HOST, ECHO, FINE, Outcome, directory, engines, file, guest, wapc, wapc_with_stdin,
};

/// Runs `wapc call MODULE op ARGS` on each engine.
fn call_on_each_engine(module: &Path, args: &[&str], check: impl Fn(&str, Outcome)) {
    for engine in engines() {
        let mut all = vec!["call", module.to_str().unwrap(), "op", "--engine", engine];
        all.extend(args);
        check(engine, wapc(all));
    }
}

fn assert_response(module: &Path, args: &[&str], response: impl AsRef<[u8]>) {
    call_on_each_engine(module, args, |engine, outcome| {
        assert_eq!(outcome.code, 0, "{engine}: {}", outcome.stderr);
        assert_eq!(
            outcome.stdout.escape_ascii().to_string(),
            response.as_ref().escape_ascii().to_string(),
            "{engine}"
        );
        assert_eq!(outcome.stderr, "", "{engine}");
    });
}

#[test]
fn each_way_to_fail_has_its_exit_code_and_names_its_cause() {
    let protocol = "(call $guest_response (i32.const -1) (i32.const 9)) (i32.const 1)";
    let failing = "(call $guest_error (i32.const 4) (i32.const 4)) (i32.const 0)";
    let start = r#"(func (export "wapc_init") (unreachable))"#;
    let exiting_start = r#"(func (export "_start") (call $proc_exit (i32.const 3)))"#;
    let unknown_import = r#"(module (import "env" "nothing" (func)))"#;
    let exit = "(call $proc_exit (i32.const 7)) (i32.const 1)";
    #[rustfmt::skip]
    let table: &[(&str, String, i32, &[&str])] = &[
        ("empty",         String::new(),               4, &["the module is empty"]),
        ("garbage",       "hello".to_owned(),          4, &["not a WebAssembly module", "hello"]),
        ("not_a_guest",   "(module)".to_owned(),       4, &["does not export `memory`"]),
        ("invalid",       guest("", "(i64.const 1)"),  4, &["not valid WebAssembly at byte"]),
        ("unknown",       unknown_import.to_owned(),   4, &["env.nothing"]),
        ("start",         guest(start, FINE),          5, &["`wapc_init`", "unreachable"]),
        ("start_exit",    guest(exiting_start, FINE),  5, &["`_start`", "exited with code 3"]),
        ("failing",       guest("", failing),          6, &["operation `op` failed", "boom"]),
        ("trap",          guest("", "(unreachable)"),  7, &["trapped", "unreachable"]),
        ("out_of_bounds", guest("", protocol),         8, &["__guest_response", "0xffffffff"]),
        ("no_response",   guest("", "(i32.const 1)"),  8, &["broke the protocol"]),
        ("exit",          guest("", exit),             9, &["exited with code 7"]),
    ];
    for (name, text, code, words) in table {
        let module = file("exit_codes", &format!("{name}.wat"), text);
        call_on_each_engine(&module, &[], |engine, outcome| {
            assert_eq!(outcome.code, *code, "{engine}::{name}: {}", outcome.stderr);
            assert!(outcome.stdout.is_empty(), "{engine}::{name}");
            assert!(outcome.stderr.starts_with("error: "), "{engine}::{name}");
            for word in *words {
                assert!(
                    outcome.stderr.contains(word),
                    "{engine}::{name} does not say {word}: {}",
                    outcome.stderr
                );
            }
        });
    }
}

#[test]
fn a_guest_that_meets_a_limit_has_an_exit_code_of_its_own() {
    let endless = "(loop (br 0)) (unreachable)";
    let endless_start = r#"(func (export "wapc_init") (loop (br 0)))"#;
    #[rustfmt::skip]
    let table: &[(&str, String, &[&str], &str)] = &[
        ("time",       guest("", endless),                   &["--timeout", "50ms"],      "did not end within 50ms"),
        ("start_time", guest(endless_start, FINE),           &["--timeout", "50ms"],      "the time of 50ms is over"),
        ("fuel",       guest("", endless),                   &["--fuel", "100000"],       "100000 units of fuel"),
        ("only_fuel",  guest("", endless),                   &["--timeout", "none", "--fuel", "100000"], "100000 units of fuel"),
        ("memory",     guest("(memory 100)", FINE),          &["--max-memory", "128KiB"], "above the limit of 131072 bytes"),
        ("none",       guest("", FINE),                      &["--timeout", "none"],      ""),
    ];
    for (name, text, flags, words) in table {
        let module = file("limits", &format!("{name}.wat"), text);
        call_on_each_engine(&module, flags, |engine, outcome| {
            let code = if words.is_empty() { 0 } else { 10 };
            assert_eq!(outcome.code, code, "{engine}::{name}: {}", outcome.stderr);
            assert!(
                outcome.stderr.contains(words),
                "{engine}::{name}: {}",
                outcome.stderr
            );
        });
    }
}

#[test]
fn unreadable_files_and_refused_modules_have_different_exit_codes() {
    let module = file("unreadable", "fine.wat", guest("", FINE));
    let nowhere = directory("unreadable").join("nowhere");
    let nowhere = nowhere.to_str().unwrap();
    call_on_each_engine(Path::new(nowhere), &[], |engine, outcome| {
        assert_eq!(outcome.code, 3, "{engine}: {}", outcome.stderr);
        assert!(outcome.stderr.contains("the module `"), "{engine}");
        assert!(outcome.stderr.contains("caused by: "), "{engine}");
    });
    call_on_each_engine(&module, &["--file", nowhere], |engine, outcome| {
        assert_eq!(outcome.code, 3, "{engine}: {}", outcome.stderr);
        assert!(outcome.stderr.contains("the payload `"), "{engine}");
    });
    call_on_each_engine(&module, &["--dir", nowhere], |engine, outcome| {
        assert_eq!(outcome.code, 3, "{engine}: {}", outcome.stderr);
        assert!(outcome.stderr.contains("the directory `"), "{engine}");
    });
}

#[test]
fn a_wrong_command_line_has_an_exit_code_of_its_own() {
    let table: &[&[&str]] = &[
        &[],
        &["call", "module"],
        &["call", "module", "op", "--data", "x", "--file", "y"],
        &["call", "module", "op", "--engine", "none"],
        &["call", "module", "op", "--host-response", "a/b=c"],
        &["call", "module", "op", "--env", "HOME"],
        &["call", "module", "op", "--dir", ":"],
        &["call", "module", "op", "--timeout", "10"],
        &["call", "module", "op", "--max-memory", "1kb"],
    ];
    for args in table {
        let outcome = wapc(*args);
        assert_eq!(outcome.code, 2, "{args:?}: {}", outcome.stderr);
        assert!(outcome.stdout.is_empty(), "{args:?}");
    }
}

#[test]
fn help_documents_the_exit_codes() {
    for args in [&["--help"][..], &["call", "--help"], &["inspect", "--help"]] {
        let outcome = wapc(args);
        assert_eq!(outcome.code, 0);
        let help = String::from_utf8(outcome.stdout).unwrap();
        assert!(help.contains("9  the guest exited"), "{args:?}: {help}");
        assert!(
            help.contains("10  the guest met a limit"),
            "{args:?}: {help}"
        );
    }
}

#[test]
fn the_payload_comes_from_text_a_file_or_standard_input() {
    let echo = file("payload", "echo.wat", guest("", ECHO));
    let bytes = b"\0\xff\xfe no text \r\n";
    let payload = file("payload", "payload", bytes);
    assert_response(&echo, &["--data", "text=-1"], "text=-1");
    assert_response(&echo, &["--data", "-1"], "-1");
    assert_response(&echo, &["--data", ""], "");
    assert_response(&echo, &["--file", payload.to_str().unwrap()], bytes);
    assert_response(&echo, &[], "");
    for engine in engines() {
        for stdin in [&[][..], &["--stdin"]] {
            let mut args = vec!["call", echo.to_str().unwrap(), "op", "--engine", engine];
            args.extend(stdin);
            let outcome = wapc_with_stdin(args, bytes);
            assert_eq!(
                (outcome.code, &*outcome.stdout),
                (0, &bytes[..]),
                "{engine}"
            );
        }
    }
}

#[test]
fn the_response_is_printed_byte_for_byte() {
    let respond = "(call $guest_response (i32.const 16) (i32.const 4)) (i32.const 1)";
    let module = file("raw", "raw.wat", guest("", respond));
    assert_response(&module, &[], b"\xff\0\xfe\n");
    let binary = wat::parse_str(guest("", respond)).unwrap();
    let module = file("raw", "raw.wasm", binary);
    assert_response(&module, &[], b"\xff\0\xfe\n");
}

#[test]
fn the_first_engine_is_the_default() {
    let module = file("default_engine", "fine.wat", guest("", FINE));
    let outcome = wapc(["call", module.to_str().unwrap(), "op"]);
    assert_eq!((outcome.code, &*outcome.stdout), (0, &b"fine"[..]));
}

#[test]
fn host_calls_are_answered_from_the_command_line() {
    let module = file("host_responses", "ask.wat", guest("", ASK_HOST));
    assert_response(&module, &["--host-response", "bind/ns/op=a=b"], "a=b");
    assert_response(
        &module,
        &[
            "--host-response",
            "bind/ns/op=",
            "--host-response",
            "bind/ns/op=2",
        ],
        "2",
    );
    call_on_each_engine(
        &module,
        &["--host-response", "bind/ns/other=x"],
        |engine, outcome| {
            assert_eq!(outcome.code, 6, "{engine}: {}", outcome.stderr);
            let flag = "--host-response bind/ns/op=VALUE";
            assert_eq!(
                outcome.stderr.matches(flag).count(),
                1,
                "{engine}: {}",
                outcome.stderr
            );
        },
    );
}

#[test]
fn an_unanswered_host_call_is_reported_even_if_the_guest_ignores_it() {
    let ask = "(drop (call $host_call (i32.const 8) (i32.const 4) (i32.const 12) (i32.const 2)
        (i32.const 14) (i32.const 2) (i32.const 0) (i32.const 0)))";
    let module = file(
        "swallowed",
        "ask.wat",
        guest("", &format!("{ask}{ask}{FINE}")),
    );
    call_on_each_engine(&module, &[], |engine, outcome| {
        assert_eq!(
            (outcome.code, &*outcome.stdout),
            (0, &b"fine"[..]),
            "{engine}"
        );
        assert!(outcome.stderr.starts_with("note: "), "{engine}");
        let flag = "--host-response bind/ns/op=VALUE";
        assert_eq!(
            outcome.stderr.matches(flag).count(),
            1,
            "{engine}: {}",
            outcome.stderr
        );
    });
}

#[test]
fn guest_output_stays_out_of_the_response_and_cannot_control_the_terminal() {
    let data = r#"(data (i32.const 64) "\1b[2Jlog\0a[forged]")
      (data (i32.const 96) "\80\00\00\00\09\00\00\00")
      (data (i32.const 128) "out\0a\1b[2J\0a\00\00")"#;
    let call = format!(
        "(call $console_log (i32.const 64) (i32.const 16))
         (drop (call $fd_write (i32.const 1) (i32.const 96) (i32.const 1) (i32.const 104)))
         (drop (call $fd_write (i32.const 2) (i32.const 96) (i32.const 1) (i32.const 104)))
         {FINE}"
    );
    let module = file("output", "noisy.wat", guest(data, &call));
    call_on_each_engine(&module, &[], |engine, outcome| {
        assert_eq!(
            (outcome.code, &*outcome.stdout),
            (0, &b"fine"[..]),
            "{engine}"
        );
        let lines: Vec<_> = outcome.stderr.lines().collect();
        assert_eq!(lines.len(), 5, "{engine}: {lines:?}");
        assert!(
            lines[0].contains(r"\u{1b}[2Jlog\n[forged]"),
            "{engine}: {lines:?}"
        );
        assert_eq!(
            lines[1..],
            [
                "[guest output] out",
                r"[guest output] \u{1b}[2J",
                "[guest output] out",
                r"[guest output] \u{1b}[2J",
            ],
            "{engine}"
        );
    });
}

/// Answers the bytes of the list that these two WASI functions give.
fn list(sizes: &str, get: &str) -> String {
    format!(
        "(drop (call {sizes} (i32.const 64) (i32.const 68)))
         (drop (call {get} (i32.const 1024) (i32.const 2048)))
         (call $guest_response (i32.const 2048) (i32.load (i32.const 68)))
         (i32.const 1)"
    )
}

#[test]
fn a_guest_gets_only_the_environment_and_arguments_that_are_given() {
    let env = guest("", &list("$environ_sizes_get", "$environ_get"));
    let env = file("ambient", "env.wat", env);
    assert_response(&env, &[], "");
    assert_response(&env, &["--env", "A=b=c", "--env", "D="], "A=b=c\0D=\0");
    let args = guest("", &list("$args_sizes_get", "$args_get"));
    let args = file("ambient", "args.wat", args);
    assert_response(&args, &[], "");
    assert_response(
        &args,
        &["--arg", "--flag", "--arg", "x y"],
        "args.wat\0--flag\0x y\0",
    );
}

/// Opens `file.txt` in the first directory with these flags and rights, does
/// `then` with its descriptor at 64, and answers one byte of error code where
/// it cannot.
fn open(flags: u32, rights: u32, then: &str) -> String {
    format!(
        "(local $error i32)
         (local.set $error
           (call $path_open (i32.const 3) (i32.const 0) (i32.const 32) (i32.const 8)
             (i32.const {flags}) (i64.const {rights}) (i64.const 0) (i32.const 0) (i32.const 64)))
         (if (local.get $error)
           (then
             (call $guest_error (i32.const 4) (i32.const 4))
             (return (i32.const 0))))
         {then}
         (i32.const 1)"
    )
}

#[test]
fn a_guest_opens_only_granted_directories_and_writes_only_to_writable_ones() {
    const CREATE: u32 = 1;
    const READ: u32 = 1 << 1;
    const WRITE: u32 = 1 << 6;

    let buffers = r#"(data (i32.const 96) "\00\08\00\00\00\01\00\00\00\00\00\00\04\00\00\00")"#;
    let read = open(
        0,
        READ,
        "(drop (call $fd_read (i32.load (i32.const 64)) (i32.const 96) (i32.const 1) (i32.const 68)))
         (call $guest_response (i32.const 2048) (i32.load (i32.const 68)))",
    );
    let write = open(
        CREATE,
        WRITE,
        "(drop (call $fd_write (i32.load (i32.const 64)) (i32.const 104) (i32.const 1) (i32.const 68)))
         (call $guest_response (i32.const 0) (i32.const 4))",
    );
    let read = file("dirs", "read.wat", guest(buffers, &read));
    let write = file("dirs", "write.wat", guest(buffers, &write));
    let full = directory("dirs/full");
    fs::write(full.join("file.txt"), "contents").unwrap();
    let dir = full.to_str().unwrap();
    let refused = |engine: &str, outcome: Outcome| {
        assert_eq!(outcome.code, 6, "{engine}: {}", outcome.stderr);
    };

    call_on_each_engine(&read, &[], refused);
    assert_response(&read, &["--dir", dir], "contents");
    assert_response(&read, &["--dir", &format!("{dir}:/data:ro")], "contents");

    let empty = directory("dirs/empty");
    let written = empty.join("file.txt");
    let _ = fs::remove_file(&written);
    let dir = empty.to_str().unwrap();
    call_on_each_engine(&write, &["--dir", dir], refused);
    call_on_each_engine(&write, &["--dir", &format!("{dir}:/data:ro")], refused);
    assert!(!written.exists());
    for engine in engines() {
        let mapping = format!("{dir}:/data:rw");
        let module = write.to_str().unwrap();
        let outcome = wapc(["call", module, "op", "--engine", engine, "--dir", &mapping]);
        assert_eq!(outcome.code, 0, "{engine}: {}", outcome.stderr);
        assert_eq!(fs::read(&written).unwrap(), b"fine", "{engine}");
        fs::remove_file(&written).unwrap();
    }
}

#[test]
fn a_real_guest_says_hello() {
    let wasm = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../guest-fixtures/wasm");
    for guest in [
        "hello_rust.wasm",
        "hello_as.wasm",
        "hello_c.wasm",
        "hello_zig.wasm",
    ] {
        let module = wasm.join(guest);
        for engine in engines() {
            let module = module.to_str().unwrap();
            let outcome = wapc([
                "call", module, "hello", "--data", "World", "--engine", engine,
            ]);
            assert_eq!(outcome.code, 0, "{engine}::{guest}: {}", outcome.stderr);
            assert_eq!(outcome.stdout, b"Hello, World.", "{engine}::{guest}");
        }
    }
}

#[test]
fn a_typed_operation_takes_fields_and_answers_in_json() {
    let descriptor = r#"{"version":1,"service":"S","codec":"msgpack","operations":[
        {"op":"op","args":[{"name":"name","type":"string"},{"name":"count","type":{"option":"u32"}}],
        "result":{"record":{"name":"Same","fields":[]}},"error":"string"}]}"#;
    let section = format!("(@custom \"wapc.service\" {descriptor:?})");
    let module = file("typed", "echo.wat", guest(&section, ECHO));
    let fields: &[&str] = &["--field", "name=World", "--field", "count:=3"];
    let answer = "{\"count\":3,\"name\":\"World\"}\n";
    assert_response(&module, fields, answer);
    // Bytes of a payload, whose response is printed as JSON.
    assert_response(&module, &["--json", "--data", "\u{7}"], "7\n");
    let undescribed = file("typed", "undescribed.wat", guest("", ECHO));
    let renamed = descriptor.replace(r#""op":"op""#, r#""op":"other""#);
    let section = format!("(@custom \"wapc.service\" {renamed:?})");
    let other = file("typed", "other.wat", guest(&section, ECHO));
    let wrong = file(
        "typed",
        "wrong.wat",
        guest("(@custom \"wapc.service\" \"x\")", ECHO),
    );
    #[rustfmt::skip]
    let table: &[(&Path, &[&str], i32, &str)] = &[
        (&module,      &["--field", "count:=3"],               2, "needs the argument `name`, a string"),
        (&module,      &["--field", "name:=1"],                2, "`name` of `op` is a string"),
        (&module,      &["--field", "name=", "--field", "x="], 2, "no argument `x`; it has name, count"),
        (&module,      &["--field", "name"],                   2, "there is no `=`"),
        (&module,      &["--field", "name=", "--data", ""],    2, "cannot be used with"),
        (&module,      &["--json", "--data", "\u{7f}\u{7f}"],  8, "not what the guest's descriptor says"),
        (&undescribed, &["--field", "name="],                  2, "it has no descriptor"),
        (&other,       &["--json"],                            2, "does not describe `op`; it describes `other`"),
        (&wrong,       &["--json"],                            4, "descriptor cannot be read"),
    ];
    for (module, args, code, words) in table {
        call_on_each_engine(module, args, |engine, outcome| {
            assert_eq!(outcome.code, *code, "{engine} {args:?}: {}", outcome.stderr);
            assert!(outcome.stdout.is_empty(), "{engine} {args:?}");
            assert!(
                outcome.stderr.contains(words),
                "{engine}: {}",
                outcome.stderr
            );
        });
    }
}

#[test]
fn the_memory_is_written_after_the_call() {
    let module = file("dump_memory", "guest.wat", guest("", FINE));
    let dump = directory("dump_memory").join("memory");
    call_on_each_engine(
        &module,
        &["--dump-memory", dump.to_str().unwrap()],
        |engine, outcome| {
            assert_eq!(outcome.code, 0, "{engine}: {}", outcome.stderr);
            let memory = fs::read(&dump).unwrap();
            assert!(memory.starts_with(b"fineboom"), "{engine}");
            fs::remove_file(&dump).unwrap();
        },
    );
}
