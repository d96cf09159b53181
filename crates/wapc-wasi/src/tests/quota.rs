//! The quota holds however files are removed, replaced and shared.

use std::thread;

use super::*;

const OVER_QUOTA: i32 = 19;
const ALL_RIGHTS: i64 = 0x1fff_ffff;
const CREATE: i32 = 1;
const TRUNCATE: i32 = 8;

/// A guest with a writable directory.
struct Guest {
    wasi: Wasi,
    memory: Vec<u8>,
}

impl Guest {
    fn new(settings: &WasiSettings) -> Self {
        Self {
            wasi: wasi(settings),
            memory: vec![0; 4096],
        }
    }

    /// Puts a path into the memory, and returns its place and length.
    fn path(&mut self, at: i32, path: &str) -> (i32, i32) {
        store(&mut self.memory, at.try_into().unwrap(), path.as_bytes());
        (at, path.len().try_into().unwrap())
    }

    fn try_open(&mut self, path: &str, flags: i32) -> Result<i32, i32> {
        let (path, len) = self.path(0, path);
        let errno = preview1::path_open(
            &mut self.wasi,
            &mut self.memory,
            3,
            0,
            path,
            len,
            flags,
            ALL_RIGHTS,
            ALL_RIGHTS,
            0,
            512,
        );
        match errno.unwrap() {
            0 => Ok(load(&self.memory, 512).cast_signed()),
            errno => Err(errno),
        }
    }

    fn open(&mut self, path: &str, flags: i32) -> i32 {
        self.try_open(path, flags).unwrap()
    }

    fn resize(&mut self, fd: i32, bytes: i64) -> i32 {
        preview1::fd_filestat_set_size(&mut self.wasi, &mut self.memory, fd, bytes).unwrap()
    }

    fn close(&mut self, fd: i32) {
        let errno = preview1::fd_close(&mut self.wasi, &mut self.memory, fd);
        assert_eq!(errno.unwrap(), 0);
    }

    fn unlink(&mut self, path: &str) {
        let (path, len) = self.path(0, path);
        let errno = preview1::path_unlink_file(&mut self.wasi, &mut self.memory, 3, path, len);
        assert_eq!(errno.unwrap(), 0);
    }

    fn rename(&mut self, path: &str, to: &str) {
        let (path, len) = self.path(0, path);
        let (to, to_len) = self.path(256, to);
        let (wasi, memory) = (&mut self.wasi, &mut self.memory);
        let errno = preview1::path_rename(wasi, memory, 3, path, len, 3, to, to_len);
        assert_eq!(errno.unwrap(), 0);
    }

    fn link(&mut self, path: &str, to: &str) {
        let (path, len) = self.path(0, path);
        let (to, to_len) = self.path(256, to);
        let (wasi, memory) = (&mut self.wasi, &mut self.memory);
        let errno = preview1::path_link(wasi, memory, 3, 0, path, len, 3, to, to_len);
        assert_eq!(errno.unwrap(), 0);
    }

    /// Makes a file of `bytes`, closed.
    fn make(&mut self, path: &str, bytes: i64) {
        let fd = self.open(path, CREATE);
        assert_eq!(self.resize(fd, bytes), 0);
        self.close(fd);
    }

    /// Asserts that exactly `bytes` are left.
    fn assert_left(&mut self, bytes: i64) {
        let fd = self.open("left", CREATE);
        assert_eq!(self.resize(fd, bytes + 1), OVER_QUOTA);
        assert_eq!(self.resize(fd, bytes), 0);
        self.close(fd);
        self.unlink("left");
    }
}

fn settings(dir: &TempDir, bytes: u64, entries: u64) -> WasiSettings {
    WasiSettings::new()
        .dir(dir.path(), "/", DirAccess::ReadWrite)
        .disk_quota(DiskQuota::default().bytes(bytes).entries(entries))
}

#[test]
fn guests_write_no_more_than_their_quota() {
    let dir = TempDir::new().unwrap();
    fs::write(dir.path().join("before"), [7; 100]).unwrap();
    let settings = WasiSettings::new()
        .dir(dir.path(), "/", DirAccess::ReadWrite)
        .disk_quota(DiskQuota::default().bytes(1000).entries(3));
    let wasi = &mut wasi(&settings);
    let memory = &mut vec![0; 65536];
    store(memory, 0, b"abeforedxyz");
    // A vector of 600 bytes.
    store(memory, 64, &[0, 1, 0, 0]);
    store(memory, 68, &600_u32.to_le_bytes());

    let open = |wasi: &mut Wasi, memory: &mut [u8], path, len, flags, fd_flags| {
        preview1::path_open(
            wasi, memory, 3, 0, path, len, flags, ALL_RIGHTS, ALL_RIGHTS, fd_flags, 32,
        )
        .unwrap()
    };
    let close = |wasi: &mut Wasi, memory: &mut [u8]| {
        let fd = load(memory, 32).cast_signed();
        preview1::fd_close(wasi, memory, fd)
    };
    // The descriptor that was opened last is at 32.
    let opened = |memory: &[u8]| load(memory, 32).cast_signed();
    let write = |wasi: &mut Wasi, memory: &mut [u8]| {
        let fd = load(memory, 32).cast_signed();
        preview1::fd_write(wasi, memory, fd, 64, 1, 40).unwrap()
    };
    assert_eq!(open(wasi, memory, 0, 1, CREATE, 0), 0);
    let fd = opened(memory);
    assert_eq!(write(wasi, memory), 0);
    assert_eq!(write(wasi, memory), OVER_QUOTA);
    assert_eq!(fs::metadata(dir.path().join("a")).unwrap().len(), 600);
    // What is written over takes no space.
    assert_eq!(preview1::fd_seek(wasi, memory, fd, 0, 0, 40).unwrap(), 0);
    assert_eq!(write(wasi, memory), 0);
    let over = preview1::fd_pwrite(wasi, memory, fd, 64, 1, 500, 40);
    assert_eq!(over.unwrap(), OVER_QUOTA);
    let within = preview1::fd_pwrite(wasi, memory, fd, 64, 1, 400, 40);
    assert_eq!(within.unwrap(), 0);
    for (size, errno) in [
        (1001, OVER_QUOTA),
        (1 << 40, OVER_QUOTA),
        (10, 0),
        (1000, 0),
    ] {
        let resized = preview1::fd_filestat_set_size(wasi, memory, fd, size);
        assert_eq!(resized.unwrap(), errno, "{size}");
    }
    assert_eq!(close(wasi, memory).unwrap(), 0);

    // Entries: one was made.
    for (errno, name) in [(0, 8), (0, 9), (OVER_QUOTA, 10)] {
        let made = preview1::path_create_directory(wasi, memory, 3, name, 1);
        assert_eq!(made.unwrap(), errno);
    }
    let linked = preview1::path_symlink(wasi, memory, 0, 1, 3, 10, 1);
    assert_eq!(linked.unwrap(), OVER_QUOTA);
    assert_eq!(open(wasi, memory, 10, 1, CREATE, 0), OVER_QUOTA);
    // An entry that cannot be made is not counted, and one that is there is no new one.
    let there = preview1::path_create_directory(wasi, memory, 3, 8, 1);
    assert!(there.unwrap() != 0);
    assert_eq!(open(wasi, memory, 1, 6, CREATE, 0), 0);
    assert_eq!(write(wasi, memory), OVER_QUOTA);
    assert_eq!(close(wasi, memory).unwrap(), 0);

    // What is removed is given back.
    assert_eq!(
        preview1::path_unlink_file(wasi, memory, 3, 0, 1).unwrap(),
        0
    );
    assert_eq!(open(wasi, memory, 10, 1, CREATE, 1), 0);
    assert_eq!(write(wasi, memory), 0);
    assert_eq!(write(wasi, memory), OVER_QUOTA);
    assert_eq!(close(wasi, memory).unwrap(), 0);
    assert_eq!(open(wasi, memory, 10, 1, TRUNCATE, 0), 0);
    assert_eq!(write(wasi, memory), 0);

    // Another instance with these settings shares the quota.
    let another = &mut Wasi::new(&settings, 64, None).unwrap();
    let made = preview1::path_create_directory(another, memory, 3, 0, 1);
    assert_eq!(made.unwrap(), OVER_QUOTA);
}

#[test]
fn a_removed_file_takes_space_while_it_is_open() {
    let dir = TempDir::new().unwrap();
    let settings = settings(&dir, 1000, 10);
    let guest = &mut Guest::new(&settings);
    let another = &mut Guest::new(&settings);
    let one = guest.open("a", CREATE);
    let other = another.open("a", 0);
    assert_eq!(guest.resize(one, 600), 0);
    guest.unlink("a");
    guest.assert_left(400);
    assert_eq!(guest.resize(one, 700), 0);
    guest.close(one);
    guest.assert_left(300);
    another.close(other);
    guest.assert_left(1000);
}

#[test]
fn an_instance_that_ends_leaves_nothing_of_its_removed_files() {
    let dir = TempDir::new().unwrap();
    let settings = settings(&dir, 1000, 10);
    let mut ended = Guest::new(&settings);
    let fd = ended.open("a", CREATE);
    assert_eq!(ended.resize(fd, 600), 0);
    ended.unlink("a");
    drop(ended);
    Guest::new(&settings).assert_left(1000);
}

#[test]
fn a_file_in_the_place_of_another_gives_back_what_that_took() {
    let dir = TempDir::new().unwrap();
    let guest = &mut Guest::new(&settings(&dir, 1000, 3));
    for _ in 0..10 {
        guest.make("new", 400);
        guest.rename("new", "saved");
    }
    guest.assert_left(600);
    // Two names of one file: nothing is replaced.
    guest.link("saved", "linked");
    guest.rename("linked", "saved");
    guest.assert_left(600);
    guest.unlink("linked");
    guest.assert_left(600);
    guest.unlink("saved");
    guest.assert_left(1000);
}

#[test]
fn guests_that_change_one_file_at_once_are_counted_right() {
    const ROUNDS: usize = 2000;

    let dir = TempDir::new().unwrap();
    let settings = settings(&dir, 10_000, 10);
    Guest::new(&settings).make("kept", 900);
    thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                let guest = &mut Guest::new(&settings);
                for round in 0..ROUNDS {
                    match round % 3 {
                        0 => {
                            let fd = guest.open("shared", CREATE | TRUNCATE);
                            guest.close(fd);
                        }
                        _ => {
                            let fd = guest.open("shared", CREATE);
                            assert_eq!(guest.resize(fd, 3000), 0);
                            assert_eq!(guest.resize(fd, 0), 0);
                            guest.close(fd);
                        }
                    }
                }
            });
        }
    });
    let guest = &mut Guest::new(&settings);
    guest.unlink("shared");
    guest.assert_left(9100);
}
