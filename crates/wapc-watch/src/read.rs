//! Reading the watched file.

use std::{
    fs::{File, Metadata, OpenOptions},
    io,
    path::Path,
};

use wapc_host::module::read_at_most;

/// Reads a regular file of at most `limit` bytes, with its metadata. Does not wait for what has no end
/// or no writer: a FIFO, a device, a terminal.
pub(crate) fn read_file(path: &Path, limit: usize) -> io::Result<(Vec<u8>, Metadata)> {
    let file = open(path)?;
    let metadata = file.metadata()?;
    if !metadata.is_file() {
        return Err(io::Error::new(
            io::ErrorKind::InvalidInput,
            "it is not a regular file",
        ));
    }
    let bytes = read_at_most(file, limit)?;
    Ok((bytes, metadata))
}

#[cfg(unix)]
fn open(path: &Path) -> io::Result<File> {
    use std::os::unix::fs::OpenOptionsExt;

    // Opening a FIFO would wait for a writer.
    OpenOptions::new()
        .read(true)
        .custom_flags(libc::O_NONBLOCK)
        .open(path)
}

#[cfg(not(unix))]
fn open(path: &Path) -> io::Result<File> {
    OpenOptions::new().read(true).open(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_read_up_to_its_limit() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("file");
        std::fs::write(&path, [7; 100]).unwrap();
        assert_eq!(read_file(&path, 100).unwrap().0, [7; 100]);
        let refused = read_file(&path, 99).unwrap_err();
        assert_eq!(refused.kind(), io::ErrorKind::FileTooLarge);
        assert!(read_file(dir.path(), 100).is_err());
    }

    #[test]
    #[cfg(unix)]
    fn what_is_no_regular_file_is_not_read() {
        use std::process::Command;

        let dir = tempfile::tempdir().unwrap();
        let fifo = dir.path().join("fifo");
        assert!(
            Command::new("mkfifo")
                .arg(&fifo)
                .status()
                .unwrap()
                .success()
        );
        for path in [
            fifo.as_path(),
            Path::new("/dev/zero"),
            Path::new("/dev/tty"),
        ] {
            assert!(read_file(path, 100).is_err(), "{}", path.display());
        }
    }
}
