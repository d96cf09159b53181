//! The output of each example.

use std::{
    env::{self, consts::EXE_SUFFIX},
    path::PathBuf,
    process::Command,
};

#[test]
fn hello() {
    prints(
        "hello",
        &[],
        "\
Hello, World.
You called bind/ns/op.
Hello, new World.
",
    );
}

#[test]
fn service() {
    prints(
        "service",
        &["3", "200"],
        "\
# calls per second, generation 2
# calls per second, generation 3
# calls per second, generation 4
# calls, 0 failed, 3 swaps
",
    );
}

#[test]
fn tiers() {
    prints(
        "tiers",
        &[],
        "\
# ms, wasmi: Hello, World.
# ms, wasmtime: Hello, World.
",
    );
}

#[test]
fn probe() {
    prints(
        "probe",
        &[],
        "\
generation 1: release 1
`empty_response`: the probe refused the new code: it says nothing
generation 1: release 1
`release_2` is taken
generation 2: release 2
rolled back
generation 3: release 1
",
    );
}

#[test]
fn watch() {
    prints(
        "watch",
        &[],
        "\
generation 1: release 1
refused: not a WebAssembly module: it begins with no guest
generation 1: release 1
swapped
generation 2: release 2
",
    );
}

#[test]
fn limits() {
    prints(
        "limits",
        &[],
        "\
wasmtime
  by the host's timeout: operation `endless` did not end within 50ms
  by fuel: the guest met a limit in operation `endless`: the guest used up its 1000000 units of fuel
  by cancelling it: operation `endless` was cancelled
  and the next call is answered: good
wasmi
  by the host's timeout: operation `endless` did not end within 50ms
  by fuel: the guest met a limit in operation `endless`: the guest used up its 1000000 units of fuel
  by cancelling it: operation `endless` was cancelled
  and the next call is answered: good
",
    );
}

#[test]
fn async_service() {
    prints(
        "async_service",
        &[],
        "\
100 of 100 answers are right
# ms on 10 instances; the lookups one after the other take 1000 ms
",
    );
}

#[test]
fn editor_plugin() {
    prints(
        "editor_plugin",
        &[],
        "\
completions of prin: print, println
before: the guest's operation `read` failed: No such file or directory
open: fn main() {}
closed: the guest's operation `read` failed: No such file or directory
4 calls on 1 instance
",
    );
}

#[test]
fn policy_engine() {
    prints(
        "policy_engine",
        &[],
        "\
policy 7 denies: ann is on leave
policy 13 has no answer: operation `policy.v1.Policy/decide` did not end within 500ms
18 of 20 policies allow it
not swapped: the guest does not have the operation `policy.v1.Policy/decide`
policy 0 allows it after the swap: false
0 calls failed meanwhile
",
    );
}

/// Runs an example and compares its output with `pattern`, in which `#` matches any
/// number.
fn prints(example: &str, arguments: &[&str], pattern: &str) {
    let output = Command::new(path(example))
        .args(arguments)
        .output()
        .unwrap_or_else(|error| panic!("{example}: {error}; `cargo test -p examples` builds it"));
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{}: {errors}", output.status);
    let printed = String::from_utf8(output.stdout).expect("it prints text");
    assert!(
        matches(pattern, &printed),
        "expected:\n{pattern}\nprinted:\n{printed}"
    );
}

/// Returns the path of an example. Cargo gives those of binaries (`CARGO_BIN_EXE_…`),
/// but not of examples, which are beside the directory of the tests.
fn path(example: &str) -> PathBuf {
    let test = env::current_exe().expect("the path of this test");
    let profile = test
        .ancestors()
        .nth(2)
        .expect("it lies two directories down");
    profile
        .join("examples")
        .join(format!("{example}{EXE_SUFFIX}"))
}

fn matches(pattern: &str, text: &str) -> bool {
    let Some((before, after)) = pattern.split_once('#') else {
        return pattern == text;
    };
    text.strip_prefix(before).is_some_and(|text| {
        let rest = text.trim_start_matches(|c: char| c.is_ascii_digit() || c == '.');
        rest.len() < text.len() && matches(after, rest)
    })
}

#[test]
fn patterns_match_numbers_and_nothing_else() {
    assert!(matches("a # b #", "a 1.5 b 20"));
    assert!(!matches("a # b", "a x b") && !matches("#", "") && !matches("1", "12"));
}
