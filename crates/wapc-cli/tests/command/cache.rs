//! `wapc cache`, and what `wapc call` keeps.

use std::{
    fs,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
};

use crate::support::{FINE, directory, file, guest, wapc_with_caches};

/// Runs `wapc ARGS`, which must succeed, and returns its output and its messages.
fn wapc(caches: &Path, args: &[&str]) -> (String, String) {
    let outcome = wapc_with_caches(caches, args);
    assert_eq!(outcome.code, 0, "{args:?}: {}", outcome.stderr);
    (String::from_utf8(outcome.stdout).unwrap(), outcome.stderr)
}

fn entries(caches: &Path) -> usize {
    wapc(caches, &["cache", "list"]).0.lines().count()
}

/// Empty caches, and a guest.
fn setup(test: &str) -> (PathBuf, String) {
    let caches = directory(test).join("caches");
    let _ = fs::remove_dir_all(&caches);
    let module = file(test, "guest.wat", guest("", FINE));
    (caches, module.to_str().unwrap().to_owned())
}

#[test]
fn a_call_keeps_the_code_until_the_cache_is_cleared() {
    let (caches, module) = setup("cache_kept");
    let (path, _) = wapc(&caches, &["cache", "dir"]);
    assert_eq!(path, format!("{}\n", caches.join("wapc").display()));

    let call = ["call", &module, "op"];
    for _ in 0..2 {
        assert_eq!(wapc(&caches, &call), ("fine".to_owned(), String::new()));
        assert_eq!(entries(&caches), 1);
    }
    // Code with other checks is another entry.
    wapc(&caches, &["call", &module, "op", "--fuel", "100000"]);
    assert_eq!(entries(&caches), 2);

    let (_, message) = wapc(&caches, &["cache", "clear"]);
    assert_eq!(message, "2 entries removed\n");
    assert_eq!(entries(&caches), 0);
}

#[test]
fn nothing_is_kept_of_an_interpreted_guest_nor_without_a_cache() {
    let (caches, module) = setup("cache_unused");
    wapc(&caches, &["call", &module, "op", "--no-cache"]);
    if cfg!(feature = "wasmi") {
        wapc(&caches, &["call", &module, "op", "--engine", "wasmi"]);
    }
    assert!(!caches.exists());
}

#[test]
fn a_directory_of_others_is_not_used_and_the_call_succeeds() {
    let (caches, module) = setup("cache_of_others");
    let directory = caches.join("wapc");
    fs::create_dir_all(&directory).unwrap();
    fs::set_permissions(&directory, fs::Permissions::from_mode(0o777)).unwrap();
    let (output, message) = wapc(&caches, &["call", &module, "op"]);
    assert_eq!(output, "fine");
    assert!(
        message.starts_with("note: compiled code is not kept: "),
        "{message}"
    );
    assert!(message.contains("others may write to it"), "{message}");
    assert_eq!(wapc_with_caches(&caches, ["cache", "list"]).code, 3);
    assert_eq!(fs::read_dir(&directory).unwrap().count(), 0);
}
