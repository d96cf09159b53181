//! Directories that come and go: what a guest sees before, during and after.

use std::fs;

use wapc_host::wasi::{AttachedPaths, DirAccess};

use super::*;

const NODEV: i32 = 43;
const NOENT: i32 = 44;
const PERM: i32 = 63;
/// Reading, seeking, telling, opening, listing and looking.
const READ: i64 = 1 << 1 | 1 << 2 | 1 << 5 | 1 << 13 | 1 << 14 | 1 << 18 | 1 << 21;
const ALL: i64 = (1 << 29) - 1;
const CREATE: i32 = 1;
const DIRECTORY: i32 = 2;

fn open(wasi: &mut Wasi, memory: &mut [u8], fd: i32, path: &str, flags: i32) -> Result<i32, i32> {
    store(memory, 0, path.as_bytes());
    let len = path.len().try_into().unwrap();
    let rights = if flags == CREATE { ALL } else { READ };
    let errno = preview1::path_open(wasi, memory, fd, 0, 0, len, flags, rights, rights, 0, 512);
    match errno.unwrap() {
        0 => Ok(load(memory, 512).cast_signed()),
        errno => Err(errno),
    }
}

/// Reads up to 100 bytes, or returns the errno.
fn read(wasi: &mut Wasi, memory: &mut [u8], fd: i32) -> Result<Vec<u8>, i32> {
    store(memory, 600, &1024_u32.to_le_bytes());
    store(memory, 604, &100_u32.to_le_bytes());
    match preview1::fd_read(wasi, memory, fd, 600, 1, 608).unwrap() {
        0 => {
            let bytes = usize::try_from(load(memory, 608)).unwrap();
            Ok(memory[1024..1024 + bytes].to_vec())
        }
        errno => Err(errno),
    }
}

/// Calls a function with a path.
fn with_path(
    memory: &mut [u8],
    path: &str,
    call: impl FnOnce(&mut [u8], i32) -> Result<i32, NoReturn>,
) -> i32 {
    store(memory, 0, path.as_bytes());
    call(memory, path.len().try_into().unwrap()).unwrap()
}

/// The names in a directory.
fn names(wasi: &mut Wasi, memory: &mut [u8], fd: i32) -> Vec<String> {
    assert_eq!(
        preview1::fd_readdir(wasi, memory, fd, 2048, 2048, 0, 4096).unwrap(),
        0
    );
    let used = usize::try_from(load(memory, 4096)).unwrap();
    let (mut at, mut names) = (2048, vec![]);
    while at + 24 <= 2048 + used {
        let length = usize::try_from(load(memory, at + 16)).unwrap();
        let name = memory[at + 24..at + 24 + length].to_vec();
        names.push(String::from_utf8(name).unwrap());
        at += 24 + length;
    }
    names
}

struct Attached {
    directory: TempDir,
    paths: AttachedPaths,
    wasi: Wasi,
    memory: Vec<u8>,
}

fn attached() -> Attached {
    let directory = tempfile::tempdir().unwrap();
    fs::write(directory.path().join("note"), "hi").unwrap();
    let paths = AttachedPaths::new();
    let settings = WasiSettings::new()
        .file("/top", *b"top")
        .attached_paths(&paths);
    Attached {
        wasi: wasi(&settings),
        memory: vec![0; 65536],
        directory,
        paths,
    }
}

#[test]
fn a_directory_is_there_from_when_it_is_attached_until_it_is_removed() {
    let Attached {
        directory,
        paths,
        mut wasi,
        mut memory,
    } = attached();
    let (wasi, memory) = (&mut wasi, &mut memory[..]);
    assert_eq!(open(wasi, memory, 3, "code/a/note", 0), Err(NOENT));

    paths
        .attach_path(directory.path(), "/code/a", DirAccess::ReadOnly)
        .unwrap();
    let file = open(wasi, memory, 3, "code/a/note", 0).unwrap();
    assert_eq!(read(wasi, memory, file).unwrap(), b"hi");
    let code = open(wasi, memory, 3, "code", DIRECTORY).unwrap();
    assert_eq!(names(wasi, memory, code), [".", "..", "a"]);
    assert_eq!(names(wasi, memory, 3), [".", "..", "code", "top"]);
    let dir = open(wasi, memory, code, "a", DIRECTORY).unwrap();
    assert!(names(wasi, memory, dir).contains(&"note".to_owned()));
    // It is read-only, and so is all else here.
    assert_eq!(open(wasi, memory, 3, "code/a/new", CREATE), Err(PERM));
    assert_eq!(open(wasi, memory, 3, "new", CREATE), Err(PERM));
    // It cannot be left.
    assert_eq!(open(wasi, memory, dir, "../note", 0), Err(PERM));
    assert_eq!(open(wasi, memory, 3, "code/a/../../../x", 0), Err(PERM));

    assert!(paths.remove_path("/code/a"));
    assert_eq!(open(wasi, memory, 3, "code/a/note", 0), Err(NOENT));
    assert_eq!(read(wasi, memory, file), Err(NODEV));
    assert_eq!(
        preview1::fd_seek(wasi, memory, file, 0, 0, 704).unwrap(),
        NODEV
    );
    assert_eq!(open(wasi, memory, dir, "note", 0), Err(NODEV));
    assert_eq!(
        preview1::fd_readdir(wasi, memory, dir, 2048, 99, 0, 4096).unwrap(),
        NODEV
    );
    assert_eq!(names(wasi, memory, 3), [".", "..", "top"]);
    assert_eq!(preview1::fd_close(wasi, memory, file).unwrap(), 0);

    // What is attached there again is another directory.
    paths
        .attach_path(directory.path(), "/code/a", DirAccess::ReadOnly)
        .unwrap();
    assert_eq!(open(wasi, memory, dir, "note", 0), Err(NODEV));
    let file = open(wasi, memory, 3, "code/a/note", 0).unwrap();
    assert_eq!(read(wasi, memory, file).unwrap(), b"hi");
}

#[test]
fn a_directory_that_may_be_written_to_is_changed_by_its_paths() {
    let Attached {
        directory,
        paths,
        mut wasi,
        mut memory,
    } = attached();
    let (wasi, memory) = (&mut wasi, &mut memory[..]);
    let here = |name: &str| directory.path().join(name);
    paths
        .attach_path(directory.path(), "/code", DirAccess::ReadWrite)
        .unwrap();
    let create =
        |memory: &mut [u8], length| preview1::path_create_directory(wasi, memory, 3, 0, length);
    assert_eq!(with_path(memory, "code/sub", create), 0);
    assert!(here("sub").is_dir());
    let file = open(wasi, memory, 3, "code/sub/new", CREATE).unwrap();
    assert_eq!(preview1::fd_close(wasi, memory, file).unwrap(), 0);
    store(memory, 256, b"code/moved");
    let rename =
        |memory: &mut [u8], length| preview1::path_rename(wasi, memory, 3, 0, length, 3, 256, 10);
    assert_eq!(with_path(memory, "code/sub/new", rename), 0);
    assert!(here("moved").is_file());
    // Not into what is not attached.
    store(memory, 256, b"elsewhere");
    let rename =
        |memory: &mut [u8], length| preview1::path_rename(wasi, memory, 3, 0, length, 3, 256, 9);
    assert_eq!(with_path(memory, "code/moved", rename), PERM);
    let unlink = |memory: &mut [u8], length| preview1::path_unlink_file(wasi, memory, 3, 0, length);
    assert_eq!(with_path(memory, "code/moved", unlink), 0);
    assert!(!here("moved").exists());
    let stat = |memory: &mut [u8], length| {
        preview1::path_filestat_get(wasi, memory, 3, 0, 0, length, 1024)
    };
    assert_eq!(with_path(memory, "code/note", stat), 0);
    let open_one = open(wasi, memory, 3, "code/note", CREATE).unwrap();
    paths.remove_path("/code");
    store(memory, 600, &1024_u32.to_le_bytes());
    store(memory, 604, &1_u32.to_le_bytes());
    let written = preview1::fd_write(wasi, memory, open_one, 600, 1, 608).unwrap();
    assert_eq!(written, NODEV);
    assert_eq!(fs::read(here("note")).unwrap(), b"hi");
}
