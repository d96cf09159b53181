//! Compiled code that a directory keeps: what is found, what is compiled anew, and who may write there.

#![cfg(feature = "cache")]
#![expect(
    clippy::unwrap_used,
    reason = "clippy sees no tests in the functions that tests share"
)]

use std::{
    fs::{self, File},
    path::{Path, PathBuf},
    sync::Barrier,
    thread,
    time::{Duration, SystemTime},
};

use provider_wasmtime::{Builder, CacheError, CompileCache, WasmtimeEngineProvider};
use tempfile::TempDir;
use wapc_host::{Interruption, Limits, WapcHost, module};

fn guest(answer: char) -> Vec<u8> {
    format!(
        r#"(module
            (import "wapc" "__guest_response" (func $respond (param i32 i32)))
            (memory (export "memory") 1)
            (data (i32.const 0) "{answer}")
            (func (export "__guest_call") (param i32 i32) (result i32)
                (call $respond (i32.const 0) (i32.const 1))
                (i32.const 1)))"#
    )
    .into_bytes()
}

fn cache() -> (TempDir, CompileCache) {
    let directory = tempfile::tempdir().unwrap();
    let cache = CompileCache::open(directory.path().join("compiled")).unwrap();
    (directory, cache)
}

fn build_with(builder: Builder, answer: char) -> WasmtimeEngineProvider {
    let provider = builder.build(&guest(answer)).unwrap();
    let host = WapcHost::builder(Box::new(provider.clone()))
        .limits(Limits::default().timeout(None).start_timeout(None))
        .build(|_, _, _, _, _| Ok(vec![]));
    assert_eq!(host.unwrap().call("any", b"").unwrap(), [answer as u8]);
    provider
}

fn build(cache: &CompileCache, answer: char) -> WasmtimeEngineProvider {
    let builder = WasmtimeEngineProvider::builder().compile_cache(cache.clone());
    build_with(builder, answer)
}

/// Builds a guest and calls it. Returns whether its code was found.
fn is_found(cache: &CompileCache, answer: char) -> bool {
    let hits = cache.hits();
    build(cache, answer);
    cache.hits() > hits
}

fn paths(cache: &CompileCache) -> Vec<PathBuf> {
    let entries = cache.entries().unwrap();
    entries.into_iter().map(|entry| entry.path).collect()
}

fn age(path: &Path, hours: u64) {
    let time = SystemTime::now() - Duration::from_secs(hours * 3600);
    File::open(path).unwrap().set_modified(time).unwrap();
}

#[test]
fn a_module_is_compiled_once() {
    let (_directory, cache) = cache();
    assert!(!is_found(&cache, '1'));
    assert!(is_found(&cache, '1'));
    assert!(!is_found(&cache, '2'));
    assert_eq!(cache.entries().unwrap().len(), 2);
    assert_eq!((cache.hits(), cache.misses()), (1, 2));
}

#[test]
fn another_process_finds_it() {
    let (directory, first) = cache();
    build(&first, '1');
    let second = CompileCache::open(directory.path().join("compiled")).unwrap();
    assert!(is_found(&second, '1'));
}

#[test]
fn text_and_binary_of_a_module_are_one_entry() {
    let (_directory, cache) = cache();
    build(&cache, '1');
    let binary = module::binary(&guest('1')).unwrap().into_owned();
    WasmtimeEngineProvider::builder()
        .compile_cache(cache.clone())
        .build(&binary)
        .unwrap();
    assert_eq!(cache.hits(), 1);
}

#[test]
fn each_kind_of_interruption_is_an_entry_of_its_own() {
    let (_directory, cache) = cache();
    let kinds = [
        Interruption::Off,
        Interruption::Time,
        Interruption::Kill,
        Interruption::Fuel,
        Interruption::TimeAndFuel,
    ];
    for hits in [0, kinds.len()] {
        for kind in kinds {
            let builder = WasmtimeEngineProvider::builder();
            build_with(builder.compile_cache(cache.clone()).interruption(kind), '1');
        }
        assert_eq!(cache.hits(), hits);
        assert_eq!(cache.entries().unwrap().len(), kinds.len());
    }
}

#[test]
fn a_replacement_in_a_swap_is_kept_and_found() {
    let (_directory, cache) = cache();
    let provider = build(&cache, '1');
    let host = WapcHost::new(Box::new(provider), |_, _, _, _, _| Ok(vec![])).unwrap();
    host.replace_module(&guest('2')).unwrap();
    assert_eq!(host.call("any", b"").unwrap(), b"2");
    assert!(is_found(&cache, '2'));
}

#[test]
fn an_artefact_is_the_same_with_a_cache() {
    let (_directory, cache) = cache();
    build(&cache, '1');
    let builder = WasmtimeEngineProvider::builder();
    let without = builder.precompile(&guest('1')).unwrap();
    let with = builder.compile_cache(cache.clone());
    assert_eq!(with.precompile(&guest('1')).unwrap(), without);
    assert_eq!(cache.hits(), 1);
}

#[test]
fn damaged_code_is_never_loaded() {
    let (_directory, cache) = cache();
    let code = build(&cache, '1').module().serialize().unwrap();
    let path = paths(&cache).remove(0);
    let whole = fs::read(&path).unwrap();
    let flipped = (0..whole.len()).step_by(41).map(|place| {
        let mut damaged = whole.clone();
        damaged[place] ^= 0x10;
        damaged
    });
    let cut = [0, 4, 10, whole.len() / 2, whole.len() - 1].map(|length| whole[..length].to_vec());
    let others = [[&whole[..], b"more"].concat(), vec![0; whole.len()]];
    let mut harmless = 0;
    for (number, damaged) in flipped.chain(cut).chain(others).enumerate() {
        let hits = cache.hits();
        fs::write(&path, damaged).unwrap();
        let loaded = build(&cache, '1').module().serialize().unwrap();
        assert!(loaded == code, "damage {number}");
        if cache.hits() > hits {
            // The decoder does not look at every bit.
            harmless += 1;
            continue;
        }
        assert!(fs::read(&path).unwrap() == whole, "damage {number}");
        assert!(is_found(&cache, '1'), "damage {number}");
    }
    assert!(harmless < 3, "{harmless}");
}

#[test]
fn the_entries_unused_for_longest_are_removed() {
    let (_directory, cache) = cache();
    build(&cache, '1');
    let cache = cache
        .clone()
        .max_bytes(cache.entries().unwrap()[0].bytes * 5 / 2);
    let first = paths(&cache).remove(0);
    age(&first, 3);
    build(&cache, '2');
    let second = paths(&cache).into_iter().find(|path| *path != first);
    let second = second.unwrap();
    age(&second, 2);
    // A use makes an entry young.
    assert!(is_found(&cache, '1'));
    build(&cache, '3');
    assert_eq!(cache.entries().unwrap().len(), 2);
    assert!(first.exists() && !second.exists());
}

#[test]
fn code_larger_than_the_cache_is_not_kept() {
    let (_directory, cache) = cache();
    let cache = cache.max_bytes(100);
    assert!(!is_found(&cache, '1'));
    assert!(cache.entries().unwrap().is_empty());
}

#[test]
fn other_files_stay_and_unfinished_ones_go() {
    let (_directory, cache) = cache();
    build(&cache, '1');
    let entry = paths(&cache).remove(0);
    let other = cache.directory().join("notes.txt");
    let left = entry.with_extension("wip-atomic-write-mod");
    let recent = entry.with_extension("wip-checksum-1");
    for path in [&other, &left, &recent] {
        fs::write(path, "x").unwrap();
    }
    age(&left, 2);
    build(&cache, '2');
    assert!(other.exists() && recent.exists() && !left.exists());
    assert_eq!(cache.clear().unwrap(), 2);
    assert!(other.exists());
}

#[test]
fn a_directory_that_vanishes_is_made_again() {
    let (_directory, cache) = cache();
    fs::remove_dir_all(cache.directory()).unwrap();
    assert!(cache.entries().unwrap().is_empty());
    assert!(!is_found(&cache, '1'));
    assert!(is_found(&cache, '1'));
}

#[test]
#[cfg(unix)]
fn a_directory_that_others_may_write_to_is_refused() {
    use std::os::unix::fs::PermissionsExt;

    let directory = tempfile::tempdir().unwrap();
    let mode = |mode| fs::set_permissions(directory.path(), fs::Permissions::from_mode(mode));
    for open in [0o777, 0o770, 0o702] {
        mode(open).unwrap();
        let refused = CompileCache::open(directory.path());
        assert!(
            matches!(refused, Err(CacheError::NotPrivate { .. })),
            "{open:o}"
        );
    }
    mode(0o755).unwrap();
    CompileCache::open(directory.path()).unwrap();
    // So is wasmtime's part of it.
    let part = directory.path().join("wasmtime");
    fs::set_permissions(&part, fs::Permissions::from_mode(0o777)).unwrap();
    let refused = CompileCache::open(directory.path());
    assert!(matches!(refused, Err(CacheError::NotPrivate { .. })));
    let file = directory.path().join("file");
    fs::write(&file, "").unwrap();
    assert!(matches!(
        CompileCache::open(file),
        Err(CacheError::Io { .. })
    ));
    // A directory that the cache makes is its user's alone.
    let made = CompileCache::open(directory.path().join("a/b")).unwrap();
    let mode = fs::metadata(made.directory()).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o700);
}

#[test]
fn many_writers_share_one_directory() {
    const THREADS: usize = 8;
    const ROUNDS: usize = 20;

    let (_directory, cache) = cache();
    build(&cache, 'a');
    // Room for three of five entries: each thread removes what others are about to load.
    let bytes = cache.entries().unwrap()[0].bytes;
    let cache = cache.max_bytes(bytes * 7 / 2);
    let barrier = Barrier::new(THREADS);
    thread::scope(|scope| {
        for thread in 0..THREADS {
            let (barrier, cache) = (&barrier, &cache);
            scope.spawn(move || {
                barrier.wait();
                for round in 0..ROUNDS {
                    build(cache, ['a', 'b', 'c', 'd', 'e'][(thread + round) % 5]);
                }
            });
        }
    });
    assert!(cache.entries().unwrap().len() <= 3 + THREADS);
}
