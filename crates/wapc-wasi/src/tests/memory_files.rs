//! Files in memory: what a guest sees of them, and that it cannot change them.

use super::*;

/// Reading, seeking, telling, opening, listing and looking.
const READ: i64 = 1 << 1 | 1 << 2 | 1 << 5 | 1 << 13 | 1 << 14 | 1 << 18 | 1 << 21;

/// A context with files, and a memory.
fn guest() -> (Wasi, Vec<u8>) {
    let settings = WasiSettings::new()
        .file("/a/b", *b"contents")
        .file("a/./c", *b"")
        .file("/top", *b"top");
    (wasi(&settings), vec![0; 65536])
}

fn open(wasi: &mut Wasi, memory: &mut [u8], fd: i32, path: &str, flags: i32) -> Result<i32, i32> {
    store(memory, 0, path.as_bytes());
    let len = path.len().try_into().unwrap();
    let errno = preview1::path_open(wasi, memory, fd, 0, 0, len, flags, READ, READ, 0, 512);
    match errno.unwrap() {
        0 => Ok(load(memory, 512).cast_signed()),
        errno => Err(errno),
    }
}

/// Reads up to 100 bytes.
fn read(wasi: &mut Wasi, memory: &mut [u8], fd: i32) -> Vec<u8> {
    store(memory, 600, &1024_u32.to_le_bytes());
    store(memory, 604, &100_u32.to_le_bytes());
    let errno = preview1::fd_read(wasi, memory, fd, 600, 1, 608);
    assert_eq!(errno.unwrap(), 0);
    let bytes = usize::try_from(load(memory, 608)).unwrap();
    memory[1024..1024 + bytes].to_vec()
}

#[test]
fn they_are_read_by_their_paths() {
    let (wasi, memory) = &mut guest();
    for path in ["a/b", "./a/../a/b", "a//b"] {
        let fd = open(wasi, memory, 3, path, 0).unwrap();
        assert_eq!(read(wasi, memory, fd), b"contents");
        assert_eq!(read(wasi, memory, fd), b"");
        assert_eq!(preview1::fd_seek(wasi, memory, fd, 3, 0, 704).unwrap(), 0);
        assert_eq!(read(wasi, memory, fd), b"tents");
        assert_eq!(preview1::fd_seek(wasi, memory, fd, -9, 0, 704).unwrap(), 28);
    }
    let dir = open(wasi, memory, 3, "a", 2).unwrap();
    let fd = open(wasi, memory, dir, "b", 0).unwrap();
    assert_eq!(read(wasi, memory, fd), b"contents");
    let empty = open(wasi, memory, 3, "a/c", 0).unwrap();
    assert_eq!(read(wasi, memory, empty), b"");
}

#[test]
fn they_cannot_be_left_or_changed() {
    const NOENT: i32 = 44;
    const NOTDIR: i32 = 54;
    const PERM: i32 = 63;

    let (wasi, memory) = &mut guest();
    for (path, flags, errno) in [
        ("../top", 0, PERM),
        ("a/../../top", 0, PERM),
        ("/top", 0, PERM),
        ("none", 0, NOENT),
        ("a/b/c", 0, NOENT),
        ("a/b", 2, NOTDIR),
        ("new", 1, PERM),
        ("a/b", 8, PERM),
    ] {
        assert_eq!(open(wasi, memory, 3, path, flags), Err(errno), "{path}");
    }
    store(memory, 0, b"new");
    let made = preview1::path_create_directory(wasi, memory, 3, 0, 3);
    assert_ne!(made.unwrap(), 0);
    store(memory, 0, b"top");
    assert_ne!(
        preview1::path_unlink_file(wasi, memory, 3, 0, 3).unwrap(),
        0
    );
    let fd = open(wasi, memory, 3, "top", 0).unwrap();
    let resized = preview1::fd_filestat_set_size(wasi, memory, fd, 0);
    assert_ne!(resized.unwrap(), 0);
    assert_eq!(read(wasi, memory, fd), b"top");
}

#[test]
fn they_are_listed() {
    let (wasi, memory) = &mut guest();
    let errno = preview1::fd_readdir(wasi, memory, 3, 1024, 4096, 0, 512);
    assert_eq!(errno.unwrap(), 0);
    let bytes = usize::try_from(load(memory, 512)).unwrap();
    let mut entries = &memory[1024..1024 + bytes];
    let mut names = vec![];
    while let Some((header, rest)) = entries.split_at_checked(24) {
        let length = usize::try_from(load(header, 16)).unwrap();
        let (name, rest) = rest.split_at(length);
        names.push(String::from_utf8(name.to_vec()).unwrap());
        entries = rest;
    }
    assert_eq!(names, [".", "..", "a", "top"]);
}
