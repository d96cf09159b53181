//! A directory of the host's, with what guests may do in it.
//!
//! `wasi_common` leaves that to the directory. What is not forwarded here
//! keeps the traits' default: an error.

use std::{
    any::Any,
    io::{IoSliceMut, SeekFrom},
    path::PathBuf,
};

use async_trait::async_trait;
use wapc_host::DirAccess;
use wasmi_wasi::wasi_common::{
    Error, ErrorExt, SystemTimeSpec, WasiDir, WasiFile,
    dir::{OpenResult, ReaddirCursor, ReaddirEntity},
    file::{Advice, FdFlags, FileType, Filestat, OFlags},
};

/// Refuses whatever would change a read-only directory or anything below it.
pub(crate) struct MappedDir {
    dir: Box<dyn WasiDir>,
    access: DirAccess,
}

impl MappedDir {
    pub(crate) const fn new(dir: Box<dyn WasiDir>, access: DirAccess) -> Self {
        Self { dir, access }
    }

    /// The directory itself, if it may be changed.
    fn writable(&self) -> Result<&dyn WasiDir, Error> {
        match self.access {
            DirAccess::ReadWrite => Ok(&*self.dir),
            _ => Err(Error::perm()),
        }
    }

    /// The other directory of an operation on two, if it may be changed.
    fn other_writable(other: &dyn WasiDir) -> Result<&dyn WasiDir, Error> {
        match other.as_any().downcast_ref::<Self>() {
            Some(other) => other.writable(),
            None => Err(Error::badf()),
        }
    }
}

#[async_trait]
impl WasiDir for MappedDir {
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
            self.writable()?;
        }
        let opened = self
            .dir
            .open_file(symlink_follow, path, oflags, read, write, fdflags)
            .await?;
        Ok(match opened {
            OpenResult::Dir(dir) => OpenResult::Dir(Box::new(Self::new(dir, self.access))),
            OpenResult::File(file) if self.writable().is_err() => {
                OpenResult::File(Box::new(ReadOnlyFile(file)))
            }
            file => file,
        })
    }

    async fn readdir(
        &self,
        cursor: ReaddirCursor,
    ) -> Result<Box<dyn Iterator<Item = Result<ReaddirEntity, Error>> + Send>, Error> {
        self.dir.readdir(cursor).await
    }

    async fn read_link(&self, path: &str) -> Result<PathBuf, Error> {
        self.dir.read_link(path).await
    }

    async fn get_filestat(&self) -> Result<Filestat, Error> {
        self.dir.get_filestat().await
    }

    async fn get_path_filestat(
        &self,
        path: &str,
        follow_symlinks: bool,
    ) -> Result<Filestat, Error> {
        self.dir.get_path_filestat(path, follow_symlinks).await
    }

    async fn create_dir(&self, path: &str) -> Result<(), Error> {
        self.writable()?.create_dir(path).await
    }

    async fn symlink(&self, target: &str, path: &str) -> Result<(), Error> {
        self.writable()?.symlink(target, path).await
    }

    async fn remove_dir(&self, path: &str) -> Result<(), Error> {
        self.writable()?.remove_dir(path).await
    }

    async fn unlink_file(&self, path: &str) -> Result<(), Error> {
        self.writable()?.unlink_file(path).await
    }

    async fn rename(&self, path: &str, to: &dyn WasiDir, to_path: &str) -> Result<(), Error> {
        let to = Self::other_writable(to)?;
        self.writable()?.rename(path, to, to_path).await
    }

    async fn hard_link(&self, path: &str, to: &dyn WasiDir, to_path: &str) -> Result<(), Error> {
        let to = Self::other_writable(to)?;
        self.writable()?.hard_link(path, to, to_path).await
    }

    async fn set_times(
        &self,
        path: &str,
        accessed: Option<SystemTimeSpec>,
        modified: Option<SystemTimeSpec>,
        follow_symlinks: bool,
    ) -> Result<(), Error> {
        self.writable()?
            .set_times(path, accessed, modified, follow_symlinks)
            .await
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
