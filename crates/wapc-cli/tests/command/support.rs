//! Runs the built command on guests written as text.

use std::{
    ffi::OsStr,
    fs,
    io::Write,
    path::{Path, PathBuf},
    process::{Command, Output, Stdio},
};

use wapc_cli::Engine;

/// Returns a directory of this test.
pub(crate) fn directory(test: &str) -> PathBuf {
    let directory = Path::new(env!("CARGO_TARGET_TMPDIR")).join(test);
    fs::create_dir_all(&directory).unwrap();
    directory
}

/// Writes a file in the test's directory.
pub(crate) fn file(test: &str, name: &str, contents: impl AsRef<[u8]>) -> PathBuf {
    let path = directory(test).join(name);
    fs::write(&path, contents).unwrap();
    path
}

/// The names of the engines that the command was built with.
pub(crate) fn engines() -> impl Iterator<Item = &'static str> {
    Engine::ALL.iter().map(|engine| engine.name())
}

/// The outcome of one run of the command.
#[derive(Debug)]
pub(crate) struct Outcome {
    pub(crate) stdout: Vec<u8>,
    pub(crate) stderr: String,
    pub(crate) code: i32,
}

/// `wapc` with these arguments and this standard input. Compiled code is kept in a directory of the tests.
pub(crate) fn wapc_with_stdin<A: AsRef<OsStr>>(
    args: impl IntoIterator<Item = A>,
    stdin: &[u8],
) -> Outcome {
    run(Command::new(env!("CARGO_BIN_EXE_wapc")).args(args), stdin)
}

/// `wapc` with these arguments, where the user's caches are in a directory.
pub(crate) fn wapc_with_caches<A: AsRef<OsStr>>(
    caches: &Path,
    args: impl IntoIterator<Item = A>,
) -> Outcome {
    let mut command = Command::new(env!("CARGO_BIN_EXE_wapc"));
    run(command.args(args).env("XDG_CACHE_HOME", caches), b"")
}

fn run(command: &mut Command, stdin: &[u8]) -> Outcome {
    if !command.get_envs().any(|(name, _)| name == "XDG_CACHE_HOME") {
        command.env("XDG_CACHE_HOME", directory("caches"));
    }
    let mut child = command
        .env("WAPC_TEST_AMBIENT", "must not reach a guest")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    // A command that reads no input may be gone already.
    let _ = child.stdin.take().unwrap().write_all(stdin);
    let Output {
        status,
        stdout,
        stderr,
    } = child.wait_with_output().unwrap();
    Outcome {
        stdout,
        stderr: String::from_utf8(stderr).unwrap(),
        code: status.code().unwrap(),
    }
}

/// `wapc` with these arguments and nothing in its standard input.
pub(crate) fn wapc<A: AsRef<OsStr>>(args: impl IntoIterator<Item = A>) -> Outcome {
    wapc_with_stdin(args, b"")
}

/// A guest whose `__guest_call`, with the parameters `$op` and `$msg`, is
/// `call`, and which has `more` besides.
///
/// Its memory holds at 0 `fineboom`, at 8 `bindnsop`, at 16 bytes that are no
/// text, at 32 `file.txt`. What it responds is up to `call`.
pub(crate) fn guest(more: &str, call: &str) -> String {
    format!(
        r#"(module
  (import "wapc" "__guest_request" (func $guest_request (param i32 i32)))
  (import "wapc" "__guest_response" (func $guest_response (param i32 i32)))
  (import "wapc" "__guest_error" (func $guest_error (param i32 i32)))
  (import "wapc" "__console_log" (func $console_log (param i32 i32)))
  (import "wapc" "__host_call"
    (func $host_call (param i32 i32 i32 i32 i32 i32 i32 i32) (result i32)))
  (import "wapc" "__host_response_len" (func $host_response_len (result i32)))
  (import "wapc" "__host_response" (func $host_response (param i32)))
  (import "wapc" "__host_error_len" (func $host_error_len (result i32)))
  (import "wapc" "__host_error" (func $host_error (param i32)))
  (import "wasi_snapshot_preview1" "proc_exit" (func $proc_exit (param i32)))
  (import "wasi_snapshot_preview1" "fd_read" (func $fd_read (param i32 i32 i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "fd_write" (func $fd_write (param i32 i32 i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "path_open"
    (func $path_open (param i32 i32 i32 i32 i32 i64 i64 i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "environ_sizes_get"
    (func $environ_sizes_get (param i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "environ_get" (func $environ_get (param i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "args_sizes_get"
    (func $args_sizes_get (param i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "args_get" (func $args_get (param i32 i32) (result i32)))
  (memory (export "memory") 2)
  (data (i32.const 0) "fineboombindnsop\ff\00\fe\0a")
  (data (i32.const 32) "file.txt")
  {more}
  (func (export "__guest_call") (param $op i32) (param $msg i32) (result i32)
    {call}))"#
    )
}

/// A body of `__guest_call` that answers with the payload.
pub(crate) const ECHO: &str = "
    (call $guest_request (i32.const 1024) (i32.const 2048))
    (call $guest_response (i32.const 2048) (local.get $msg))
    (i32.const 1)";

/// A body that answers `fine`.
pub(crate) const FINE: &str = "
    (call $guest_response (i32.const 0) (i32.const 4))
    (i32.const 1)";

/// A body that calls the host's `bind/ns/op` and answers what it answers, or
/// fails as it fails.
pub(crate) const ASK_HOST: &str = "
    (if (call $host_call (i32.const 8) (i32.const 4) (i32.const 12) (i32.const 2)
          (i32.const 14) (i32.const 2) (i32.const 0) (i32.const 0))
      (then
        (call $host_response (i32.const 2048))
        (call $guest_response (i32.const 2048) (call $host_response_len))
        (return (i32.const 1))))
    (call $host_error (i32.const 2048))
    (call $guest_error (i32.const 2048) (call $host_error_len))
    (i32.const 0)";
