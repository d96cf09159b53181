//! The guests of `guest-fixtures/wat` whose comments give the expected outcome. The
//! host must answer after each of them.

use std::{
    fs,
    sync::{Arc, OnceLock, Weak},
};

use conformance::{
    BASIC_GUESTS, Capability, Engine, SHORT, engines, limits,
    outcome::{outcome, words},
    own_process, pause,
};
use guest_fixtures::WAT;
use tempfile::TempDir;
use wapc_host::{
    BoxError, BoxFuture, Error, HostBuilder, Limits, OwnedHostCall, WapcHost, WasiSettings,
    wasi::{DirAccess, Stdin},
};

use crate::{Case, async_calls::on_a_runtime};

pub(crate) fn cases() -> Vec<Case> {
    rows("gallery", check)
}

/// The same guests in async calls, with both kinds of callback. The outcomes must be
/// those of blocking calls.
pub(crate) fn async_cases() -> Vec<Case> {
    rows("gallery_async", check_async)
}

/// A check of a guest: the engine, the guest's name, its text, the expected outcome.
type Check = fn(&Engine, &'static str, &'static str, &'static str);

fn rows(subject: &'static str, check: Check) -> Vec<Case> {
    WAT.iter()
        .filter_map(|(name, text)| {
            let expected = line(text, "expect")?;
            Some(
                Case::new(*name, move |engine| {
                    match needs(text).contains(SILENT_INPUT) && !own_process::has_silent_input() {
                        true => with_silent_input(&format!("{}::{subject}::{name}", engine.name)),
                        false => check(engine, name, text, expected),
                    }
                })
                .needs(&capabilities(name, text)),
            )
        })
        .collect()
}

/// Runs this case in a process whose standard input stays open and silent. The input
/// of the tests may be anything.
fn with_silent_input(case: &str) {
    let (mut again, open) = own_process::with_silent_input().expect("a pipe");
    let ran = again.args(["--exact", case]).output();
    drop(open);
    let ran = ran.expect("this program runs again");
    let said = String::from_utf8_lossy(&ran.stdout);
    assert!(
        ran.status.success() && said.contains(" 1 passed;"),
        "{said}{}",
        String::from_utf8_lossy(&ran.stderr)
    );
}

/// Returns the guest's line on its needs: directories, an operation, limits.
fn needs(text: &str) -> &str {
    line(text, "needs").unwrap_or_default()
}

const SILENT_INPUT: &str = "fd 0 inherited from a pipe that stays open and silent";

/// Returns the rest of the line `;; KEY: …` in the comments at the start of a guest.
fn line<'t>(text: &'t str, key: &str) -> Option<&'t str> {
    text.lines()
        .map_while(|line| line.strip_prefix(";; "))
        .find_map(|line| line.strip_prefix(key)?.strip_prefix(": "))
}

/// Returns the capabilities that an engine needs to run the guest.
fn capabilities(name: &str, text: &str) -> Vec<Capability> {
    let mut needs = vec![];
    if !BASIC_GUESTS.contains(&name) {
        needs.push(Capability::AnyModule);
    }
    if text.contains(r#"(import "wasi_"#) {
        needs.push(Capability::Wasi);
    }
    if line(text, "expect") == Some(TIMED_OUT) {
        needs.push(Capability::Time);
    }
    needs
}

const TIMED_OUT: &str = "limit fuel-or-deadline";

/// Returns the limits under which the guest has its expected outcome.
fn limits_for(engine: &Engine, text: &str) -> Limits {
    let mut limits = engine.enforceable(limits());
    if needs(text).contains("a memory limit above 1 GiB") {
        limits = limits
            .max_memory_bytes(3 << 29)
            .max_total_memory_bytes(3 << 29);
    }
    if line(text, "expect") == Some(TIMED_OUT) {
        limits = limits.timeout(SHORT).start_timeout(SHORT);
    }
    limits
}

fn check(engine: &Engine, name: &str, text: &str, expected: &str) {
    let hostile = name.starts_with("hostile/");
    let (found, words) = World::new().run(engine, text, hostile, Driver::Blocking);
    assert_expected(expected, &found, &words);
    if line(text, "differs").is_some() {
        return;
    }
    let needs = capabilities(name, text);
    for other in engines(&needs) {
        let others = World::new().run(other, text, hostile, Driver::Blocking);
        assert_eq!(
            (&found, &words),
            (&others.0, &others.1),
            "{name} on {other:?}"
        );
    }
}

fn check_async(engine: &Engine, name: &str, text: &str, expected: &str) {
    let hostile = name.starts_with("hostile/");
    let blocking = World::new().run(engine, text, hostile, Driver::Blocking);
    for driver in [Driver::Async, Driver::Awaiting] {
        let (found, words) = World::new().run(engine, text, hostile, driver);
        assert_expected(expected, &found, &words);
        // The ids of hosts differ.
        let differs = line(text, "differs").is_some();
        let compared = |words: &str| match differs {
            true => words.replace(|c: char| c.is_ascii_digit(), ""),
            false => words.to_owned(),
        };
        assert_eq!(
            (compared(&found), compared(&words)),
            (compared(&blocking.0), compared(&blocking.1)),
            "{driver:?}"
        );
    }
}

fn assert_expected(expected: &str, found: &str, words: &str) {
    assert!(
        expected.split(" | ").any(|expected| found == expected
            // `guest-error` alone stands for any text.
            || expected == "guest-error" && found.starts_with(expected)),
        "expected {expected}, found {found}: {words}"
    );
}

/// The form of a host's calls, and the kind of its callback.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Driver {
    /// By blocking calls.
    Blocking,
    /// By async calls, with a callback that blocks.
    Async,
    /// By async calls, with a callback that awaits.
    Awaiting,
}

impl Driver {
    fn build(self, builder: HostBuilder, own: Weak<OnceLock<WapcHost>>) -> Result<WapcHost, Error> {
        match self {
            Self::Blocking | Self::Async => builder.build(echo(own)),
            Self::Awaiting => on_a_runtime(builder.build_async(echo_async(own))),
        }
    }

    pub(crate) fn call(
        self,
        host: &WapcHost,
        operation: &str,
        payload: &[u8],
    ) -> Result<Vec<u8>, Error> {
        match self {
            Self::Blocking => host.call(operation, payload),
            Self::Async | Self::Awaiting => on_a_runtime(host.call_async(operation, payload)),
        }
    }
}

/// The files around a guest; see the README beside the guests.
struct World {
    dir: TempDir,
}

impl World {
    fn new() -> Self {
        let dir = TempDir::new().expect("a temporary directory");
        for path in ["mapped/sub", "writable", "outside"] {
            fs::create_dir_all(dir.path().join(path)).expect("a directory in it");
        }
        for path in ["mapped/file.txt", "secret.txt", "outside/secret.txt"] {
            fs::write(dir.path().join(path), CONTENTS).expect("a file in it");
        }
        #[cfg(unix)]
        std::os::unix::fs::symlink("../outside", dir.path().join("mapped/link"))
            .expect("a symbolic link in it");
        Self { dir }
    }

    /// Runs the guest. Returns the outcome and the error's text, after a check that no
    /// file has changed.
    fn run(&self, engine: &Engine, text: &str, hostile: bool, driver: Driver) -> (String, String) {
        let needs = needs(text);
        let mut wasi = WasiSettings::new();
        if needs.contains(SILENT_INPUT) {
            wasi = wasi.stdin(Stdin::Inherited);
        }
        if needs.contains("fd 3") {
            wasi = wasi.dir(self.dir.path().join("mapped"), "/", DirAccess::ReadOnly);
        }
        if needs.contains("fd 4") {
            wasi = wasi.dir(self.dir.path().join("writable"), "/w", DirAccess::ReadWrite);
        }
        let (operation, payload): (_, &[u8]) = match needs {
            "an empty payload" => ("bad", b""),
            "the operation `abort`" => ("abort", b"payload"),
            _ => ("bad", b"payload"),
        };

        let own = Arc::new(OnceLock::new());
        let host = engine
            .provider(text.as_bytes(), wasi)
            .map_err(|error| Error::Init(error.into()))
            .and_then(|provider| {
                let builder = WapcHost::builder(provider).limits(limits_for(engine, text));
                driver.build(builder, Arc::downgrade(&own))
            })
            .map(|host| own.get_or_init(|| host));
        let result = host.as_ref().map_err(words).map(|host| {
            let result = driver.call(host, operation, payload);
            if hostile && let Err(error) = driver.call(host, "good", b"") {
                panic!("the host does not answer afterwards: {}", words(&error));
            }
            result
        });
        self.assert_unchanged();
        match (result, host) {
            (Ok(result), _) => {
                let words = result.as_ref().map_or_else(words, |_| String::new());
                (outcome(&result), words)
            }
            (Err(words), host) => (outcome(&host.map(|_| vec![])), words),
        }
    }

    fn assert_unchanged(&self) {
        let entries = |path: &str| {
            let mut names: Vec<_> = fs::read_dir(self.dir.path().join(path))
                .expect("the directory is there")
                .map(|entry| entry.expect("an entry").file_name())
                .collect();
            names.sort();
            names
        };
        #[cfg(unix)]
        assert_eq!(entries("mapped"), ["file.txt", "link", "sub"]);
        assert!(entries("mapped/sub").is_empty());
        assert_eq!(entries("outside"), ["secret.txt"]);
        for path in ["mapped/file.txt", "secret.txt", "outside/secret.txt"] {
            let contents = fs::read(self.dir.path().join(path)).expect("the file is there");
            assert_eq!(contents, CONTENTS, "{path}");
        }
    }
}

const CONTENTS: &[u8] = b"contents";

/// Answers each host call with its payload; fails for the operation `fail`,
/// and calls its `own` host again for `reenter`.
fn echo(
    own: Weak<OnceLock<WapcHost>>,
) -> impl Fn(u64, &str, &str, &str, &[u8]) -> Result<Vec<u8>, BoxError> + Send + Sync {
    move |_, _, _, operation, payload| match operation {
        "fail" => Err("the host refused".into()),
        "reenter" => {
            let own = own.upgrade().ok_or("the host is gone")?;
            let own = own.get().ok_or("the host is not made yet")?;
            Ok(own.call(operation, payload)?)
        }
        _ => Ok(payload.to_vec()),
    }
}

/// The async form of [`echo`], which yields once before it answers.
fn echo_async(
    own: Weak<OnceLock<WapcHost>>,
) -> impl Fn(OwnedHostCall) -> BoxFuture<'static, Result<Vec<u8>, BoxError>> + Send + Sync {
    move |call| {
        let own = own.clone();
        Box::pin(async move {
            pause().await;
            match call.operation() {
                "fail" => Err("the host refused".into()),
                "reenter" => {
                    let own = own.upgrade().ok_or("the host is gone")?;
                    let own = own.get().ok_or("the host is not made yet")?;
                    Ok(own.call_async(call.operation(), call.payload()).await?)
                }
                _ => Ok(call.into_payload()),
            }
        })
    }
}
