//! Calls of hostile guests, made with a memory and no engine.

use std::{
    fs,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, UNIX_EPOCH},
};

use tempfile::TempDir;
use wapc_host::{
    WasiSettings,
    error::StopReason,
    module::{self, ExternType, ValueType},
    wasi::{Capture, DirAccess, DiskQuota, Stdin, Stdout},
};

use super::*;

const BADF: i32 = 8;
const FAULT: i32 = 21;
const INVALID: i32 = 28;
const TOO_MANY_FILES: i32 = 33;
const NAME_TOO_LONG: i32 = 37;
const NOT_SUPPORTED: i32 = 58;

fn wasi(settings: &WasiSettings) -> Wasi {
    Wasi::new(settings, 64, None).unwrap()
}

/// Returns a WASI whose third interrupt check stops the call, and the count of
/// checks.
fn interrupted() -> (Wasi, Arc<AtomicUsize>) {
    let asked = Arc::new(AtomicUsize::new(0));
    let counter = Arc::clone(&asked);
    let third_time: InterruptCheck =
        Arc::new(move || match counter.fetch_add(1, Ordering::Relaxed) {
            2 => Err(StopReason::Cancelled),
            _ => Ok(()),
        });
    let wasi = Wasi::new(&WasiSettings::new(), 64, Some(third_time)).unwrap();
    (wasi, asked)
}

fn store(memory: &mut [u8], at: usize, bytes: &[u8]) {
    memory[at..at + bytes.len()].copy_from_slice(bytes);
}

fn load(memory: &[u8], at: usize) -> u32 {
    u32::from_le_bytes(memory[at..at + 4].try_into().unwrap())
}

#[test]
fn the_list_is_that_of_the_host() {
    fn value_type(name: &str) -> ValueType {
        match name {
            "i32" => ValueType::I32,
            "i64" => ValueType::I64,
            name => panic!("{name}"),
        }
    }
    macro_rules! compare {
        (
            () $import_module:literal $module:ident {
                $($function:ident($($number:ident: $type:ty),*) -> $result:tt;)*
            }
        ) => {
            $(
                let parameters = vec![$(value_type(stringify!($type))),*];
                let results = match stringify!($result) {
                    "()" => vec![],
                    result => vec![value_type(result)],
                };
                assert_eq!(
                    module::provided($import_module, stringify!($function)),
                    Some(ExternType::Function(parameters, results)),
                    "{}", stringify!($function),
                );
            )*
        };
    }
    for_each_function!(compare!());
}

#[test]
fn vectors_are_looked_at_within_bounds_and_reason() {
    let capture = Capture::new(8);
    let settings = WasiSettings::new().stdout(Stdout::Captured(capture.clone()));
    let mut wasi = wasi(&settings);
    let mut memory = vec![b'x'; 1 << 20];
    let mut write =
        |memory: &mut [u8], at, count| preview1::fd_write(&mut wasi, memory, 1, at, count, 0);

    // A list that is not there, one that wraps round, and one whose only
    // vector is not there.
    assert_eq!(write(&mut memory, 0, -1).unwrap(), FAULT);
    assert_eq!(write(&mut memory, -8, 0x1000_0000).unwrap(), FAULT);
    store(&mut memory, 64, &(-16_i32).to_le_bytes());
    store(&mut memory, 68, &32_u32.to_le_bytes());
    assert_eq!(write(&mut memory, 64, 1).unwrap(), FAULT);
    assert_eq!(capture.dropped_bytes(), 0);

    // 100,000 vectors of 512 KiB, all the same: 48 GiB.
    for at in (8..800_008).step_by(8) {
        store(&mut memory, at, &0_u32.to_le_bytes());
        store(&mut memory, at + 4, &(512 * 1024_u32).to_le_bytes());
    }
    assert_eq!(write(&mut memory, 8, 100_000).unwrap(), 0);
    assert_eq!(load(&memory, 0), 16 * 1024 * 1024);
    assert_eq!(
        capture.take().len() as u64 + capture.dropped_bytes(),
        16 * 1024 * 1024
    );
}

#[test]
fn strings_that_wrap_round_are_a_fault() {
    let mut wasi = wasi(&WasiSettings::new().arg("a").arg("b"));
    let mut memory = vec![0; 65536];
    assert_eq!(
        preview1::args_get(&mut wasi, &mut memory, 0, -2).unwrap(),
        FAULT
    );
    assert_eq!(
        preview1::args_get(&mut wasi, &mut memory, 65532, 0).unwrap(),
        FAULT
    );
    assert_eq!(
        preview1::args_get(&mut wasi, &mut memory, 0, 65532).unwrap(),
        0
    );
}

#[test]
fn random_bytes_stay_in_bounds_and_can_be_interrupted() {
    let mut memory = vec![0; 4 << 20];
    let (mut wasi, asked) = interrupted();
    let mut random = |memory: &mut [u8], at, len| preview1::random_get(&mut wasi, memory, at, len);
    assert_eq!(random(&mut memory, 1, 4 << 20).unwrap(), FAULT);
    assert_eq!(random(&mut memory, 0, -1).unwrap(), FAULT);
    assert_eq!(asked.load(Ordering::Relaxed), 0);
    assert!(matches!(
        random(&mut memory, 0, 4 << 20),
        Err(NoReturn::Stopped(StopReason::Cancelled))
    ));
    assert_eq!(asked.load(Ordering::Relaxed), 3);
    assert_eq!(&memory[(3 << 20)..], &vec![0; 1 << 20]);
}

const SUBSCRIPTIONS: usize = 0;
const EVENTS: usize = 1024;
const HAPPENED: usize = 2048;

/// A memory with a subscription to the monotonic clock.
fn alarm(nanoseconds: u64, unstable: bool) -> Vec<u8> {
    let mut memory = vec![0; 65536];
    store(&mut memory, SUBSCRIPTIONS, b"userdata");
    let clock = if unstable { 24 } else { 16 };
    store(&mut memory, SUBSCRIPTIONS + clock, &1_u32.to_le_bytes());
    store(
        &mut memory,
        SUBSCRIPTIONS + clock + 8,
        &nanoseconds.to_le_bytes(),
    );
    memory
}

#[test]
fn sleeps_and_polls_can_be_interrupted() {
    let forever = u64::MAX;
    for count in [1, 2] {
        let (mut wasi, asked) = interrupted();
        let mut memory = alarm(forever, false);
        let clock = memory[..48].to_vec();
        store(&mut memory, 48, &clock);
        let slept = preview1::poll_oneoff(&mut wasi, &mut memory, 0, 1024, count, 2048);
        assert!(
            matches!(slept, Err(NoReturn::Stopped(StopReason::Cancelled))),
            "{slept:?}"
        );
        assert_eq!(asked.load(Ordering::Relaxed), 3);
    }
    let (mut wasi, _) = interrupted();
    let slept = unstable::poll_oneoff(&mut wasi, &mut alarm(forever, true), 0, 1024, 1, 2048);
    assert!(
        matches!(slept, Err(NoReturn::Stopped(StopReason::Cancelled))),
        "{slept:?}"
    );
}

#[test]
fn an_older_guest_polls_clocks_and_files() {
    let mut wasi = wasi(&WasiSettings::new().stdin(Stdin::Bytes(b"four".as_slice().into())));
    let mut memory = alarm(1_000_000, true);
    let mut poll = |memory: &mut [u8], count| {
        unstable::poll_oneoff(&mut wasi, memory, 0, 1024, count, 2048).unwrap()
    };
    assert_eq!(poll(&mut memory, 1), 0);
    assert_eq!(load(&memory, HAPPENED), 1);
    assert_eq!(&memory[EVENTS..EVENTS + 11], b"userdata\0\0\0");

    // The same alarm, too late for a guest whose input is there.
    let mut memory = alarm(3_600_000_000_000, true);
    store(&mut memory, 56, b"the read\x01");
    assert_eq!(poll(&mut memory, 2), 0);
    assert_eq!(load(&memory, HAPPENED), 1);
    assert_eq!(
        &memory[EVENTS..EVENTS + 17],
        b"the read\0\0\x01\0\0\0\0\0\x04"
    );

    assert_eq!(poll(&mut memory, 0), INVALID);
    assert_eq!(poll(&mut memory, 1025), INVALID);
    store(&mut memory, 56 + 16, &77_u32.to_le_bytes());
    assert_eq!(poll(&mut memory, 2), BADF);
}

#[test]
fn a_poll_that_cannot_be_told_of_does_not_wait() {
    let (mut wasi, asked) = interrupted();
    let mut memory = alarm(u64::MAX, false);
    for (subscriptions, events, happened) in [(65_500, 0, 0), (0, 65_520, 0), (0, 0, -4)] {
        let errno =
            preview1::poll_oneoff(&mut wasi, &mut memory, subscriptions, events, 1, happened);
        assert_eq!(errno.unwrap(), FAULT);
    }
    assert_eq!(
        preview1::poll_oneoff(&mut wasi, &mut memory, 0, 0, -1, 0).unwrap(),
        INVALID
    );
    assert_eq!(asked.load(Ordering::Relaxed), 0);
}

fn open(wasi: &mut Wasi, path: &[u8], flags: i32) -> (i32, u32) {
    let mut memory = vec![0; 65536];
    store(&mut memory, 8, path);
    let len = i32::try_from(path.len()).unwrap();
    let errno = preview1::path_open(wasi, &mut memory, 3, 1, 8, len, flags, 2, 0, 0, 0).unwrap();
    (errno, load(&memory, 0))
}

#[test]
fn open_files_have_an_end_and_closing_makes_room() {
    let dir = TempDir::new().unwrap();
    fs::write(dir.path().join("file"), "contents").unwrap();
    fs::create_dir(dir.path().join("sub")).unwrap();
    let settings = WasiSettings::new().dir(dir.path(), "/", DirAccess::ReadWrite);
    let mut wasi = Wasi::new(&settings, 2, None).unwrap();

    assert_eq!(open(&mut wasi, b"file", 0), (0, 4));
    assert_eq!(open(&mut wasi, b"none", 0).0, 44);
    assert_eq!(open(&mut wasi, b"sub", 2), (0, 5));
    assert_eq!(open(&mut wasi, b"new", 1).0, TOO_MANY_FILES);
    assert!(!dir.path().join("new").exists());
    // One takes the place of the other, which is closed by it.
    assert_eq!(preview1::fd_renumber(&mut wasi, &mut [], 4, 5).unwrap(), 0);
    assert_eq!(open(&mut wasi, b"file", 0), (0, 6));
    assert_eq!(open(&mut wasi, b"file", 0).0, TOO_MANY_FILES);
    assert_eq!(preview1::fd_close(&mut wasi, &mut [], 6).unwrap(), 0);
    assert_eq!(open(&mut wasi, b"file", 0), (0, 7));
}

#[test]
fn paths_have_an_end() {
    let dir = TempDir::new().unwrap();
    let settings = WasiSettings::new().dir(dir.path(), "/", DirAccess::ReadOnly);
    let mut wasi = wasi(&settings);
    assert_eq!(
        open(&mut wasi, "./".repeat(2048).as_bytes(), 0).0,
        NAME_TOO_LONG
    );
    assert_eq!(open(&mut wasi, "./".repeat(2047).as_bytes(), 2).0, 0);
}

#[test]
fn times_before_1970_are_left_out() {
    let dir = TempDir::new().unwrap();
    let file = fs::File::create(dir.path().join("file")).unwrap();
    file.set_modified(UNIX_EPOCH - Duration::from_secs(1))
        .unwrap();
    let settings = WasiSettings::new().dir(dir.path(), "/", DirAccess::ReadOnly);
    let mut wasi = wasi(&settings);
    assert_eq!(open(&mut wasi, b"file", 0), (0, 4));
    let mut memory = vec![1; 65536];
    assert_eq!(
        preview1::fd_filestat_get(&mut wasi, &mut memory, 4, 0).unwrap(),
        0
    );
    assert_eq!(&memory[48..56], &[0; 8]);
    store(&mut memory, 64, b"file");
    let errno = unstable::path_filestat_get(&mut wasi, &mut memory, 3, 0, 64, 4, 0).unwrap();
    assert_eq!(errno, 0);
}

#[cfg(unix)]
#[test]
fn what_could_keep_its_opener_waiting_is_not_opened() {
    let dir = TempDir::new().unwrap();
    let _socket = std::os::unix::net::UnixListener::bind(dir.path().join("socket")).unwrap();
    let made = std::process::Command::new("mkfifo")
        .arg(dir.path().join("fifo"))
        .status();
    let settings = WasiSettings::new().dir(dir.path(), "/", DirAccess::ReadOnly);
    let mut wasi = wasi(&settings);
    assert_eq!(open(&mut wasi, b"socket", 0).0, NOT_SUPPORTED);
    if made.is_ok_and(|status| status.success()) {
        assert_eq!(open(&mut wasi, b"fifo", 0).0, NOT_SUPPORTED);
    }
}

#[test]
fn an_exit_is_none_of_the_errnos() {
    let mut wasi = wasi(&WasiSettings::new());
    let mut exit = |code| preview1::proc_exit(&mut wasi, &mut [], code);
    assert!(matches!(exit(0), Err(NoReturn::Exit(0))));
    assert!(matches!(exit(125), Err(NoReturn::Exit(125))));
    assert!(matches!(exit(126), Err(NoReturn::Failed(_))));
    assert!(matches!(exit(-1), Err(NoReturn::Failed(_))));
}

/// Reads a directory as a C library does, and returns its names.
fn list(wasi: &mut Wasi, fd: i32, buffer_bytes: u32) -> Vec<String> {
    let mut memory = vec![0; 65536];
    let (mut names, mut cookie) = (vec![], 0_u64);
    loop {
        let len = buffer_bytes.cast_signed();
        let errno = preview1::fd_readdir(wasi, &mut memory, fd, 64, len, cookie.cast_signed(), 0);
        assert_eq!(errno.unwrap(), 0);
        let used = load(&memory, 0);
        let mut entries = &memory[64..64 + used as usize];
        while let Some((header, rest)) = entries.split_at_checked(24) {
            let Some((name, rest)) = rest.split_at_checked(load(header, 16) as usize) else {
                break;
            };
            names.push(String::from_utf8(name.to_vec()).unwrap());
            cookie = u64::from_le_bytes(header[..8].try_into().unwrap());
            entries = rest;
        }
        if used < buffer_bytes {
            return names;
        }
    }
}

#[test]
fn a_directory_is_listed_whole_whatever_the_buffer() {
    let dir = TempDir::new().unwrap();
    let mut expected: Vec<_> = (0..500).map(|number| format!("file {number}")).collect();
    for name in &expected {
        fs::write(dir.path().join(name), "").unwrap();
    }
    expected.extend([".".to_owned(), "..".to_owned()]);
    expected.sort();
    let settings = WasiSettings::new().dir(dir.path(), "/", DirAccess::ReadOnly);
    let mut wasi = wasi(&settings);
    for buffer_bytes in [40, 61, 100, 4096, 60_000] {
        let mut names = list(&mut wasi, 3, buffer_bytes);
        names.sort();
        assert_eq!(names, expected, "{buffer_bytes}");
    }
}

#[test]
fn a_listing_is_interrupted() {
    let dir = TempDir::new().unwrap();
    for number in 0..2000 {
        fs::write(dir.path().join(number.to_string()), "").unwrap();
    }
    let settings = WasiSettings::new().dir(dir.path(), "/", DirAccess::ReadOnly);
    let stop: InterruptCheck = Arc::new(|| Err(StopReason::Cancelled));
    let mut wasi = Wasi::new(&settings, 64, Some(stop)).unwrap();
    let mut memory = vec![0; 200_000];
    let ended = preview1::fd_readdir(&mut wasi, &mut memory, 3, 64, 190_000, 0, 0);
    assert!(matches!(
        ended,
        Err(NoReturn::Stopped(StopReason::Cancelled))
    ));
}

mod attached;
mod memory_files;
mod quota;
