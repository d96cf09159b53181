//! A directory of the host, with a guest's access rights.
//!
//! `wasi_common` leaves access rights to the directory. Methods that are not
//! forwarded here keep the traits' default, an error.

use std::{
    any::Any,
    io::{IoSlice, IoSliceMut, SeekFrom},
    path::PathBuf,
    time::{SystemTime, UNIX_EPOCH},
};

use wapc_host::wasi::DirAccess;
use wasi_common::{
    Error, ErrorExt, SystemTimeSpec, WasiDir, WasiFile,
    dir::{OpenResult, ReaddirCursor, ReaddirEntity},
    file::{Advice, FdFlags, FileType, Filestat, OFlags},
};
use wiggle::async_trait;

use crate::{
    open_files::{OpenFile, OpenFiles},
    output::{MAX_BYTES_PER_CALL, clip},
};

/// The longest path that Linux accepts in one call. cap-std resolves longer ones
/// component by component.
const MAX_PATH_BYTES: usize = 4095;

/// A directory that refuses all changes if it is read-only, and so do its files
/// and subdirectories.
pub(crate) struct MappedDir {
    dir: Box<dyn WasiDir>,
    access: DirAccess,
    open_files: OpenFiles,
    /// `None` for preopened directories, which do not count as open files.
    _open: Option<OpenFile>,
}

impl MappedDir {
    pub(crate) const fn new(
        dir: Box<dyn WasiDir>,
        access: DirAccess,
        open_files: OpenFiles,
    ) -> Self {
        Self {
            dir,
            access,
            open_files,
            _open: None,
        }
    }

    /// Returns the directory if it may be changed.
    fn writable(&self) -> Result<&dyn WasiDir, Error> {
        match self.access {
            DirAccess::ReadWrite => Ok(&*self.dir),
            _ => Err(Error::perm()),
        }
    }

    /// Returns the other directory of an operation on two, if it may be changed.
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
        let path = check_path(path)?;
        let changes = OFlags::CREATE | OFlags::EXCLUSIVE | OFlags::TRUNCATE;
        if write || oflags.intersects(changes) || fdflags.contains(FdFlags::APPEND) {
            self.writable()?;
        }
        let open = self.open_files.acquire()?;
        // Opening a FIFO, or reading from it, could block for ever.
        if let Ok(stat) = self.dir.get_path_filestat(path, symlink_follow).await
            && matches!(
                stat.filetype,
                FileType::Unknown | FileType::Pipe | FileType::SocketDgram | FileType::SocketStream
            )
        {
            return Err(Error::not_supported());
        }
        // `wasi_common` drops `APPEND` if `NONBLOCK` is set. Regular files and
        // directories ignore `NONBLOCK`.
        let fdflags = fdflags.difference(FdFlags::NONBLOCK);
        let opened = self
            .dir
            .open_file(symlink_follow, path, oflags, read, write, fdflags)
            .await?;
        Ok(match opened {
            OpenResult::Dir(dir) => OpenResult::Dir(Box::new(Self {
                dir,
                access: self.access,
                open_files: self.open_files.clone(),
                _open: Some(open),
            })),
            OpenResult::File(file) => OpenResult::File(Box::new(MappedFile {
                file,
                access: self.access,
                _open: open,
            })),
        })
    }

    async fn readdir(
        &self,
        cursor: ReaddirCursor,
    ) -> Result<Box<dyn Iterator<Item = Result<ReaddirEntity, Error>> + Send>, Error> {
        self.dir.readdir(cursor).await
    }

    async fn read_link(&self, path: &str) -> Result<PathBuf, Error> {
        self.dir.read_link(check_path(path)?).await
    }

    async fn get_filestat(&self) -> Result<Filestat, Error> {
        self.dir.get_filestat().await.map(since_epoch)
    }

    async fn get_path_filestat(
        &self,
        path: &str,
        follow_symlinks: bool,
    ) -> Result<Filestat, Error> {
        self.dir
            .get_path_filestat(check_path(path)?, follow_symlinks)
            .await
            .map(since_epoch)
    }

    async fn create_dir(&self, path: &str) -> Result<(), Error> {
        self.writable()?.create_dir(check_path(path)?).await
    }

    async fn symlink(&self, target: &str, path: &str) -> Result<(), Error> {
        self.writable()?
            .symlink(check_path(target)?, check_path(path)?)
            .await
    }

    async fn remove_dir(&self, path: &str) -> Result<(), Error> {
        self.writable()?.remove_dir(check_path(path)?).await
    }

    async fn unlink_file(&self, path: &str) -> Result<(), Error> {
        self.writable()?.unlink_file(check_path(path)?).await
    }

    async fn rename(&self, path: &str, to: &dyn WasiDir, to_path: &str) -> Result<(), Error> {
        let to = Self::other_writable(to)?;
        self.writable()?
            .rename(check_path(path)?, to, check_path(to_path)?)
            .await
    }

    async fn hard_link(&self, path: &str, to: &dyn WasiDir, to_path: &str) -> Result<(), Error> {
        let to = Self::other_writable(to)?;
        self.writable()?
            .hard_link(check_path(path)?, to, check_path(to_path)?)
            .await
    }

    async fn set_times(
        &self,
        path: &str,
        accessed: Option<SystemTimeSpec>,
        modified: Option<SystemTimeSpec>,
        follow_symlinks: bool,
    ) -> Result<(), Error> {
        self.writable()?
            .set_times(check_path(path)?, accessed, modified, follow_symlinks)
            .await
    }
}

/// An open file.
struct MappedFile {
    file: Box<dyn WasiFile>,
    access: DirAccess,
    _open: OpenFile,
}

impl MappedFile {
    /// Returns the file if it may be changed. A descriptor opened for reading
    /// would not prevent changes of times and flags.
    fn writable(&self) -> Result<&dyn WasiFile, Error> {
        match self.access {
            DirAccess::ReadWrite => Ok(&*self.file),
            _ => Err(Error::perm()),
        }
    }
}

#[async_trait]
impl WasiFile for MappedFile {
    fn as_any(&self) -> &dyn Any {
        self
    }

    fn isatty(&self) -> bool {
        self.file.isatty()
    }

    async fn datasync(&self) -> Result<(), Error> {
        self.file.datasync().await
    }

    async fn sync(&self) -> Result<(), Error> {
        self.file.sync().await
    }

    async fn get_filetype(&self) -> Result<FileType, Error> {
        self.file.get_filetype().await
    }

    async fn get_fdflags(&self) -> Result<FdFlags, Error> {
        self.file.get_fdflags().await
    }

    async fn set_fdflags(&mut self, flags: FdFlags) -> Result<(), Error> {
        self.writable()?;
        self.file.set_fdflags(flags).await
    }

    async fn get_filestat(&self) -> Result<Filestat, Error> {
        self.file.get_filestat().await.map(since_epoch)
    }

    async fn advise(&self, offset: u64, len: u64, advice: Advice) -> Result<(), Error> {
        self.file.advise(offset, len, advice).await
    }

    async fn set_filestat_size(&self, size: u64) -> Result<(), Error> {
        self.writable()?.set_filestat_size(size).await
    }

    async fn set_times(
        &self,
        accessed: Option<SystemTimeSpec>,
        modified: Option<SystemTimeSpec>,
    ) -> Result<(), Error> {
        self.writable()?.set_times(accessed, modified).await
    }

    async fn read_vectored<'a>(&self, buffers: &mut [IoSliceMut<'a>]) -> Result<u64, Error> {
        self.file.read_vectored(&mut clip_mut(buffers)).await
    }

    async fn read_vectored_at<'a>(
        &self,
        buffers: &mut [IoSliceMut<'a>],
        offset: u64,
    ) -> Result<u64, Error> {
        self.file
            .read_vectored_at(&mut clip_mut(buffers), offset)
            .await
    }

    async fn write_vectored<'a>(&self, buffers: &[IoSlice<'a>]) -> Result<u64, Error> {
        self.writable()?.write_vectored(&clip(buffers)).await
    }

    async fn write_vectored_at<'a>(
        &self,
        buffers: &[IoSlice<'a>],
        offset: u64,
    ) -> Result<u64, Error> {
        self.writable()?
            .write_vectored_at(&clip(buffers), offset)
            .await
    }

    async fn seek(&self, position: SeekFrom) -> Result<u64, Error> {
        self.file.seek(position).await
    }

    async fn peek(&self, buffer: &mut [u8]) -> Result<u64, Error> {
        self.file.peek(buffer).await
    }

    fn num_ready_bytes(&self) -> Result<u64, Error> {
        self.file.num_ready_bytes()
    }
}

fn check_path(path: &str) -> Result<&str, Error> {
    match path.len() {
        0..=MAX_PATH_BYTES => Ok(path),
        _ => Err(Error::name_too_long()),
    }
}

/// Returns the first [`MAX_BYTES_PER_CALL`] bytes of the buffer; `wasi_common`
/// passes only one.
fn clip_mut<'b>(buffers: &'b mut [IoSliceMut<'_>]) -> [IoSliceMut<'b>; 1] {
    let buffer: &mut [u8] = buffers.first_mut().map_or(&mut [], |buffer| buffer);
    let most = buffer.len().min(MAX_BYTES_PER_CALL);
    [IoSliceMut::new(buffer.split_at_mut(most).0)]
}

/// Removes times before 1970, at which `wasi_common` would panic.
fn since_epoch(stat: Filestat) -> Filestat {
    let since_epoch = |time: Option<SystemTime>| time.filter(|time| *time >= UNIX_EPOCH);
    Filestat {
        atim: since_epoch(stat.atim),
        mtim: since_epoch(stat.mtim),
        ctim: since_epoch(stat.ctim),
        ..stat
    }
}
