//! The access that guests have to the outside world.

use std::{
    fs,
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    thread,
};

use conformance::{
    Capability::{AnyModule, Async},
    Engine, answer, chain,
};
use guest_fixtures::{HELLO_RUST_WASI, REACTOR_C, wat};
use tempfile::TempDir;
use wapc_host::{
    Error, WapcHost, WasiSettings,
    error::EngineError,
    wasi::{AttachedPaths, Capture, DirAccess, Stdin, Stdout},
};

use crate::{Case, async_calls::on_a_runtime};

pub(crate) fn cases() -> Vec<Case> {
    vec![
        Case::new("nothing_by_default", nothing_by_default),
        Case::new("arguments_and_environment", arguments_and_environment),
        Case::new("read_only_directory", read_only_directory),
        Case::new("read_write_directory", read_write_directory),
        Case::new("two_directories", two_directories),
        Case::new("missing_directory", missing_directory),
        Case::new("captured_streams", captured_streams),
        Case::new("given_input", given_input),
        Case::new("panic_on_captured_stderr", panic_on_captured_stderr),
        Case::new("exit", exit),
        Case::new("sleep", sleep),
        Case::new("within_a_runtime", within_a_runtime),
        Case::new("unstable_names", unstable_names),
        Case::new("tinygo", tinygo),
        Case::new("one_of_several_memories", one_of_several_memories).needs(&[AnyModule]),
        Case::new("attached_paths", attached_paths),
        Case::new("attached_paths_under_load", attached_paths_under_load),
        Case::new("attached_paths_async", attached_paths_async).needs(&[Async]),
        Case::new("settings_live_through_a_swap", settings_live_through_a_swap),
    ]
}

fn host(engine: &Engine, module: &[u8], wasi: WasiSettings) -> WapcHost {
    let provider = engine.provider(module, wasi).expect("a guest");
    WapcHost::new(provider, answer).unwrap_or_else(|error| panic!("{}", chain(&error)))
}

fn ok(host: &WapcHost, operation: &str, payload: &[u8]) -> Vec<u8> {
    host.call(operation, payload)
        .unwrap_or_else(|error| panic!("{}", chain(&error)))
}

fn fails(host: &WapcHost, operation: &str, payload: &[u8]) -> String {
    match host.call(operation, payload) {
        Err(Error::Guest { message, .. }) => message,
        other => panic!("not a guest error: {other:?}"),
    }
}

fn nothing_by_default(engine: &Engine) {
    let host = host(engine, REACTOR_C, WasiSettings::new());
    assert_eq!(ok(&host, "args", b""), b"");
    assert_eq!(fails(&host, "env", b"PATH"), "not set: PATH");
    assert_eq!(ok(&host, "stdin", b""), b"");
    assert_eq!(ok(&host, "stdout", b"swallowed"), b"");
    assert_eq!(ok(&host, "stderr", b"swallowed"), b"");
    fails(&host, "read", b"/etc/passwd");
    fails(&host, "read", b"Cargo.toml");
    fails(&host, "write", b"/tmp/x\nx");
}

fn arguments_and_environment(engine: &Engine) {
    let wasi = WasiSettings::new()
        .arg("guest")
        .arg("two words")
        .env("NAME", "value=1");
    let host = host(engine, REACTOR_C, wasi);
    assert_eq!(ok(&host, "args", b""), b"guest\ntwo words");
    assert_eq!(ok(&host, "env", b"NAME"), b"value=1");
    assert_eq!(fails(&host, "env", b"HOME"), "not set: HOME");
}

/// A guest sees a directory from when it is attached until it is removed, whatever runs it by then.
fn attached_paths(engine: &Engine) {
    let dir = directory();
    let paths = AttachedPaths::new();
    let host = host(
        engine,
        REACTOR_C,
        WasiSettings::new().attached_paths(&paths),
    );
    let held = || {
        let mut held = host.check_out().expect("an instance");
        held.call("read", b"/code/file")
    };
    let attach = |access| {
        let attached = paths.attach_path(dir.path().join("mapped"), "/code", access);
        attached.expect("the directory is there");
    };
    for access in [DirAccess::ReadOnly, DirAccess::ReadWrite] {
        fails(&host, "read", b"/code/file");
        assert!(held().is_err());

        attach(access);
        assert_eq!(ok(&host, "read", b"/code/file"), b"inside");
        assert_eq!(held().expect("it is there"), b"inside");
        match access {
            DirAccess::ReadWrite => assert_eq!(ok(&host, "write", b"/code/new\nmade"), b""),
            _ => assert!(!fails(&host, "write", b"/code/new\nmade").is_empty()),
        }
        fails(&host, "read", b"/code/../secret");
        host.replace_module(REACTOR_C).expect("a guest");
        assert_eq!(ok(&host, "read", b"/code/file"), b"inside");

        assert!(paths.remove_path("/code"));
        assert_eq!(
            fails(&host, "read", b"/code/file"),
            "No such file or directory"
        );
        assert!(held().is_err());
    }
    let made = fs::read(dir.path().join("mapped/new")).expect("the file is there");
    assert_eq!(made, b"made");
}

/// Each answer is the file, or the error of a directory that is not there.
fn attached_paths_under_load(engine: &Engine) {
    const ROUNDS: usize = 50;

    let dir = directory();
    let paths = AttachedPaths::new();
    let host = host(
        engine,
        REACTOR_C,
        WasiSettings::new().attached_paths(&paths),
    );
    let is_over = AtomicBool::new(false);
    let (read, refused) = (AtomicUsize::new(0), AtomicUsize::new(0));
    thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                while !is_over.load(Ordering::Relaxed) {
                    match host.call("read", b"/code/file") {
                        Ok(contents) => {
                            assert_eq!(contents, b"inside");
                            read.fetch_add(1, Ordering::Relaxed);
                        }
                        Err(Error::Guest { message, .. }) => {
                            let known = ["No such file or directory", "No such device"];
                            assert!(known.contains(&&*message), "{message}");
                            refused.fetch_add(1, Ordering::Relaxed);
                        }
                        Err(error) => panic!("{}", chain(&error)),
                    }
                }
            });
        }
        // Each state lasts until somebody has seen it.
        let wait_for = |counter: &AtomicUsize| {
            let before = counter.load(Ordering::Relaxed);
            while counter.load(Ordering::Relaxed) == before {
                thread::yield_now();
            }
        };
        for _ in 0..ROUNDS {
            let attached =
                paths.attach_path(dir.path().join("mapped"), "/code", DirAccess::ReadOnly);
            attached.expect("the directory is there");
            wait_for(&read);
            assert!(paths.remove_path("/code"));
            wait_for(&refused);
        }
        is_over.store(true, Ordering::Relaxed);
    });
}

fn attached_paths_async(engine: &Engine) {
    let dir = directory();
    let paths = AttachedPaths::new();
    let wasi = WasiSettings::new().attached_paths(&paths);
    let host = host(engine, REACTOR_C, wasi);
    on_a_runtime(async {
        let read = || host.call_async("read", b"/code/file".to_vec());
        assert!(read().await.is_err());
        let attached = paths.attach_path(dir.path().join("mapped"), "/code", DirAccess::ReadOnly);
        attached.expect("the directory is there");
        assert_eq!(read().await.expect("it is there"), b"inside");
        assert!(paths.remove_path("/code"));
        assert!(read().await.is_err());
    });
}

fn directory() -> TempDir {
    let dir = TempDir::new().expect("a temporary directory");
    fs::create_dir(dir.path().join("mapped")).expect("a directory in it");
    fs::write(dir.path().join("mapped/file"), "inside").expect("a file in it");
    fs::write(dir.path().join("secret"), "outside").expect("a file beside it");
    dir
}

fn mapped(dir: &Path, access: DirAccess) -> WasiSettings {
    WasiSettings::new().dir(dir.join("mapped"), "/data", access)
}

fn read_only_directory(engine: &Engine) {
    let dir = directory();
    let host = host(engine, REACTOR_C, mapped(dir.path(), DirAccess::ReadOnly));
    assert_eq!(ok(&host, "read", b"/data/file"), b"inside");
    fails(&host, "write", b"/data/file\nchanged");
    fails(&host, "write", b"/data/new\nmade");
    fails(&host, "read", b"/data/../secret");
    fails(&host, "read", b"/data/missing");
    let unchanged = fs::read(dir.path().join("mapped/file")).expect("the file is there");
    assert_eq!(unchanged, b"inside");
    assert!(!dir.path().join("mapped/new").exists());
}

fn read_write_directory(engine: &Engine) {
    let dir = directory();
    let host = host(engine, REACTOR_C, mapped(dir.path(), DirAccess::ReadWrite));
    assert_eq!(ok(&host, "write", b"/data/new\nmade"), b"");
    assert_eq!(ok(&host, "read", b"/data/new"), b"made");
    let made = fs::read(dir.path().join("mapped/new")).expect("the file is there");
    assert_eq!(made, b"made");
    fails(&host, "write", b"/data/../secret\nchanged");
    let unchanged = fs::read(dir.path().join("secret")).expect("the file is there");
    assert_eq!(unchanged, b"outside");
}

fn two_directories(engine: &Engine) {
    let dir = directory();
    let wasi = mapped(dir.path(), DirAccess::ReadOnly).dir(dir.path(), "/all", DirAccess::ReadOnly);
    let host = host(engine, REACTOR_C, wasi);
    assert_eq!(ok(&host, "read", b"/data/file"), b"inside");
    assert_eq!(ok(&host, "read", b"/all/secret"), b"outside");
}

fn missing_directory(engine: &Engine) {
    let wasi = WasiSettings::new().dir("/no/such/directory", "/", DirAccess::ReadOnly);
    let provider = engine.provider(REACTOR_C, wasi).expect("a guest");
    let error = WapcHost::new(provider, answer).expect_err("the directory is missing");
    assert!(matches!(&error, Error::Init(EngineError::Directory { .. })));
    assert!(
        chain(&error).contains("/no/such/directory"),
        "{}",
        chain(&error)
    );
}

fn captured_streams(engine: &Engine) {
    let (out, err) = (Capture::new(1 << 20), Capture::new(4));
    let wasi = WasiSettings::new()
        .stdout(Stdout::Captured(out.clone()))
        .stderr(Stdout::Captured(err.clone()));
    let host = host(engine, REACTOR_C, wasi);
    ok(&host, "stdout", b"to the left");
    ok(&host, "stderr", b"to the right");
    assert_eq!(out.take(), b"to the left");
    assert_eq!((err.take(), err.dropped_bytes()), (b"to t".to_vec(), 8));
    let large = vec![b'x'; 300_000];
    ok(&host, "stdout", &large);
    assert_eq!(out.take(), large);
}

fn given_input(engine: &Engine) {
    let bytes: Arc<[u8]> = b"\0all of it\xff".as_slice().into();
    let wasi = WasiSettings::new().stdin(Stdin::Bytes(Arc::clone(&bytes)));
    let host = host(engine, REACTOR_C, wasi);
    assert_eq!(ok(&host, "stdin", b""), *bytes);
    assert_eq!(ok(&host, "stdin", b""), b"", "at its end");
}

fn panic_on_captured_stderr(engine: &Engine) {
    let err = Capture::default();
    let wasi = WasiSettings::new().stderr(Stdout::Captured(err.clone()));
    let host = host(engine, HELLO_RUST_WASI, wasi);
    assert!(matches!(
        host.call("panic", b"boom"),
        Err(Error::Trapped { .. })
    ));
    let words = String::from_utf8_lossy(&err.take()).into_owned();
    assert!(words.contains("boom"), "{words}");
}

fn exit(engine: &Engine) {
    let host = host(engine, REACTOR_C, WasiSettings::new());
    for code in [0, 1, 7] {
        let exited = host.call("exit", code.to_string().as_bytes());
        assert!(matches!(exited, Err(Error::Exited { code: found, .. }) if found == code));
        assert_eq!(ok(&host, "hello", b"World"), b"Hello, World.");
    }
}

fn sleep(engine: &Engine) {
    let host = host(engine, REACTOR_C, WasiSettings::new());
    assert_eq!(ok(&host, "sleep", b"1"), b"");
}

/// A WASI with a runtime of its own panics on a thread that drives a runtime.
fn within_a_runtime(engine: &Engine) {
    let out = Capture::default();
    let wasi = WasiSettings::new().stdout(Stdout::Captured(out.clone()));
    let runtime = tokio::runtime::Builder::new_current_thread()
        .build()
        .expect("a runtime");
    runtime.block_on(async {
        let host = host(engine, REACTOR_C, wasi);
        assert_eq!(ok(&host, "stdout", b"in a runtime"), b"");
        assert_eq!(ok(&host, "stdin", b""), b"");
        assert_eq!(ok(&host, "sleep", b"1"), b"");
    });
    assert_eq!(out.take(), b"in a runtime");
}

fn unstable_names(engine: &Engine) {
    let out = Capture::default();
    let wasi = WasiSettings::new()
        .env("ONE", "1")
        .env("TWO", "2")
        .stdout(Stdout::Captured(out.clone()));
    let module = wat("wasi_unstable").expect("the guest");
    let host = host(engine, module.as_bytes(), wasi);
    assert_eq!(ok(&host, "hello", b"World"), b"Hello, World.");
    assert_eq!(ok(&host, "stdout", b"old names"), b"");
    assert_eq!(out.take(), b"old names");
    assert_eq!(ok(&host, "env_count", b""), b"2");
}

fn tinygo(engine: &Engine) {
    let module = wat("tinygo").expect("the guest");
    let host = host(engine, module.as_bytes(), WasiSettings::new());
    assert_eq!(ok(&host, "hello", b"World"), b"Hello, World.");
}

fn settings_live_through_a_swap(engine: &Engine) {
    let host = host(engine, REACTOR_C, WasiSettings::new().env("NAME", "value"));
    host.replace_module(REACTOR_C).expect("a good module");
    assert_eq!(ok(&host, "env", b"NAME"), b"value");
}

/// A guest chooses the memory that WASI's functions use, and one that it does not have is refused.
fn one_of_several_memories(engine: &Engine) {
    let guest = br#"(module
        (import "wapc" "__wasi_memory" (func $use (param i32) (result i32)))
        (import "wapc" "__guest_response" (func $respond (param i32 i32)))
        (import "wasi_snapshot_preview1" "random_get" (func $random (param i32 i32) (result i32)))
        (memory (export "memory") 1)
        (memory $other (export "wasi:memory:1") 1)
        (global (export "wasi:memory:2") i32 (i32.const 0))
        (func (export "__guest_call") (param i32 i32) (result i32)
            (i32.store8 (i32.const 0) (call $use (i32.const 1)))
            (drop (call $random (i32.const 8) (i32.const 16)))
            (i32.store8 (i32.const 1) (call $use (i32.const 2)))
            (i32.store8 (i32.const 2) (call $use (i32.const -1)))
            (i32.store8 (i32.const 3) (i64.ne (i64.const 0) (i64.load $other (i32.const 8))))
            (i32.store8 (i32.const 4) (i64.ne (i64.const 0) (i64.load (i32.const 8))))
            (i32.store8 (i32.const 5) (call $use (i32.const 0)))
            (drop (call $random (i32.const 8) (i32.const 16)))
            (i32.store8 (i32.const 6) (i64.ne (i64.const 0) (i64.load (i32.const 8))))
            (call $respond (i32.const 0) (i32.const 7))
            (i32.const 1)))"#;
    let host = host(engine, guest, WasiSettings::new());
    assert_eq!(ok(&host, "any", b""), [1, 0, 0, 1, 0, 1, 1]);
}
