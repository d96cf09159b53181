//! A directory that guests may read and not change.
//!
//! `wasi_common` leaves what a guest may do in a directory to the directory.
//! What is not forwarded here keeps the traits' default: an error.

use std::{any::Any, io::IoSliceMut, io::SeekFrom, path::PathBuf};

use async_trait::async_trait;
use wasmi_wasi::wasi_common::{
    Error, ErrorExt, SystemTimeSpec, WasiDir, WasiFile,
    dir::{OpenResult, ReaddirCursor, ReaddirEntity},
    file::{Advice, FdFlags, FileType, Filestat, OFlags},
};

/// Refuses whatever would change the directory or anything below it.
pub(crate) struct ReadOnlyDir(pub(crate) Box<dyn WasiDir>);

#[async_trait]
impl WasiDir for ReadOnlyDir {
    fn as_any(&self) -> &dyn Any {
        self
    }

    async fn open_file(
        &self,
        symlink_follow: bool,
        path: &str,
        oflags: OFlags,
        read: bool,
        write: bool,
        fdflags: FdFlags,
    ) -> Result<OpenResult, Error> {
        let changes = OFlags::CREATE | OFlags::EXCLUSIVE | OFlags::TRUNCATE;
        if write || oflags.intersects(changes) || fdflags.contains(FdFlags::APPEND) {
            return Err(Error::perm());
        }
        let opened = self
            .0
            .open_file(symlink_follow, path, oflags, read, write, fdflags)
            .await?;
        Ok(match opened {
            OpenResult::File(file) => OpenResult::File(Box::new(ReadOnlyFile(file))),
            OpenResult::Dir(dir) => OpenResult::Dir(Box::new(Self(dir))),
        })
    }

    async fn readdir(
        &self,
        cursor: ReaddirCursor,
    ) -> Result<Box<dyn Iterator<Item = Result<ReaddirEntity, Error>> + Send>, Error> {
        self.0.readdir(cursor).await
    }

    async fn read_link(&self, path: &str) -> Result<PathBuf, Error> {
        self.0.read_link(path).await
    }

    async fn get_filestat(&self) -> Result<Filestat, Error> {
        self.0.get_filestat().await
    }

    async fn get_path_filestat(
        &self,
        path: &str,
        follow_symlinks: bool,
    ) -> Result<Filestat, Error> {
        self.0.get_path_filestat(path, follow_symlinks).await
    }

    async fn create_dir(&self, _: &str) -> Result<(), Error> {
        Err(Error::perm())
    }

    async fn symlink(&self, _: &str, _: &str) -> Result<(), Error> {
        Err(Error::perm())
    }

    async fn remove_dir(&self, _: &str) -> Result<(), Error> {
        Err(Error::perm())
    }

    async fn unlink_file(&self, _: &str) -> Result<(), Error> {
        Err(Error::perm())
    }

    async fn rename(&self, _: &str, _: &dyn WasiDir, _: &str) -> Result<(), Error> {
        Err(Error::perm())
    }

    async fn hard_link(&self, _: &str, _: &dyn WasiDir, _: &str) -> Result<(), Error> {
        Err(Error::perm())
    }

    async fn set_times(
        &self,
        _: &str,
        _: Option<SystemTimeSpec>,
        _: Option<SystemTimeSpec>,
        _: bool,
    ) -> Result<(), Error> {
        Err(Error::perm())
    }
}

/// A file that was opened for reading: its owner could still change its times
/// and flags.
struct ReadOnlyFile(Box<dyn WasiFile>);

#[async_trait]
impl WasiFile for ReadOnlyFile {
    fn as_any(&self) -> &dyn Any {
        self
    }

    #[cfg(unix)]
    fn pollable(&self) -> Option<std::os::fd::BorrowedFd<'_>> {
        self.0.pollable()
    }

    fn isatty(&self) -> bool {
        self.0.isatty()
    }

    async fn get_filetype(&self) -> Result<FileType, Error> {
        self.0.get_filetype().await
    }

    async fn get_fdflags(&self) -> Result<FdFlags, Error> {
        self.0.get_fdflags().await
    }

    async fn get_filestat(&self) -> Result<Filestat, Error> {
        self.0.get_filestat().await
    }

    async fn advise(&self, offset: u64, len: u64, advice: Advice) -> Result<(), Error> {
        self.0.advise(offset, len, advice).await
    }

    async fn set_filestat_size(&self, _: u64) -> Result<(), Error> {
        Err(Error::perm())
    }

    async fn set_times(
        &self,
        _: Option<SystemTimeSpec>,
        _: Option<SystemTimeSpec>,
    ) -> Result<(), Error> {
        Err(Error::perm())
    }

    async fn read_vectored<'a>(&self, buffers: &mut [IoSliceMut<'a>]) -> Result<u64, Error> {
        self.0.read_vectored(buffers).await
    }

    async fn read_vectored_at<'a>(
        &self,
        buffers: &mut [IoSliceMut<'a>],
        offset: u64,
    ) -> Result<u64, Error> {
        self.0.read_vectored_at(buffers, offset).await
    }

    async fn seek(&self, position: SeekFrom) -> Result<u64, Error> {
        self.0.seek(position).await
    }

    async fn peek(&self, buffer: &mut [u8]) -> Result<u64, Error> {
        self.0.peek(buffer).await
    }

    fn num_ready_bytes(&self) -> Result<u64, Error> {
        self.0.num_ready_bytes()
    }

    async fn readable(&self) -> Result<(), Error> {
        self.0.readable().await
    }
}
