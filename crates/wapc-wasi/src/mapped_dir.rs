//! A directory of the host, with a guest's access rights.
//!
//! `wasi_common` leaves access rights to the directory. Methods that are not
//! forwarded here keep the traits' default, an error.

use std::{
    any::Any,
    io::{IoSlice, IoSliceMut, SeekFrom},
    path::PathBuf,
    pin::pin,
    sync::Arc,
    task::{Context, Poll, Waker},
    time::{SystemTime, UNIX_EPOCH},
};

use wapc_host::wasi::{Attachment, DirAccess, DiskAccount, DiskUsage, FileId};
use wasi_common::{
    Error, ErrorExt, SystemTimeSpec, WasiDir, WasiFile,
    dir::{OpenResult, ReaddirCursor, ReaddirEntity},
    file::{Advice, FdFlags, FileType, Filestat, OFlags},
    snapshots::preview_1::types::Errno,
};
use wiggle::async_trait;

use crate::{
    interruptible_wait::InterruptibleWait,
    open_files::{OpenFile, OpenFiles},
    output::{MAX_BYTES_PER_CALL, clip},
    read_dir::Listing,
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
    usage: Arc<DiskUsage>,
    listing: Listing,
    wait: InterruptibleWait,
    /// `Some` if it may be taken away.
    attachment: Option<Attachment>,
    /// `None` for preopened directories, which do not count as open files.
    _open: Option<OpenFile>,
}

impl MappedDir {
    pub(crate) fn new(
        dir: Box<dyn WasiDir>,
        access: DirAccess,
        open_files: OpenFiles,
        usage: Arc<DiskUsage>,
        wait: InterruptibleWait,
    ) -> Self {
        Self {
            wait,
            dir,
            access,
            open_files,
            usage,
            listing: Listing::default(),
            attachment: None,
            _open: None,
        }
    }

    /// Makes it a directory that may be taken away.
    pub(crate) fn attached(mut self, attachment: Attachment) -> Self {
        self.attachment = Some(attachment);
        self
    }

    /// Returns the directory if it has not been taken away.
    fn dir(&self) -> Result<&dyn WasiDir, Error> {
        check_attached(self.attachment.as_ref())?;
        Ok(&*self.dir)
    }

    /// Makes an entry, and counts it if it was made.
    fn create(&self, made: impl Future<Output = Result<(), Error>>) -> Result<(), Error> {
        let mut account = self.usage.lock();
        if !account.has_room(0, 1) {
            return Err(over_quota());
        }
        at_once(made)?;
        account.take(0, 1);
        Ok(())
    }

    /// Removes an entry, and gives back what it took.
    fn remove(
        &self,
        path: &str,
        removed: impl Future<Output = Result<(), Error>>,
    ) -> Result<(), Error> {
        let mut account = self.usage.lock();
        let stat = at_once(self.dir.get_path_filestat(path, false)).ok();
        at_once(removed)?;
        give_back(&mut account, stat);
        Ok(())
    }

    /// Returns the directory if it may be changed.
    fn writable(&self) -> Result<&dyn WasiDir, Error> {
        match self.access {
            DirAccess::ReadWrite => self.dir(),
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
        let (dir, path) = (self.dir()?, check_path(path)?);
        let changes = OFlags::CREATE | OFlags::EXCLUSIVE | OFlags::TRUNCATE;
        if write || oflags.intersects(changes) || fdflags.contains(FdFlags::APPEND) {
            self.writable()?;
        }
        let open = self.open_files.acquire()?;
        let mut account = self.usage.lock();
        let before = at_once(dir.get_path_filestat(path, symlink_follow)).ok();
        // Opening a FIFO, or reading from it, could block for ever.
        if let Some(stat) = &before
            && matches!(
                stat.filetype,
                FileType::Unknown | FileType::Pipe | FileType::SocketDgram | FileType::SocketStream
            )
        {
            return Err(Error::not_supported());
        }
        let creates = oflags.contains(OFlags::CREATE) && before.is_none();
        if creates && !account.has_room(0, 1) {
            return Err(over_quota());
        }
        // `wasi_common` drops `APPEND` if `NONBLOCK` is set. Regular files and
        // directories ignore `NONBLOCK`.
        let fdflags = fdflags.difference(FdFlags::NONBLOCK);
        let opened = at_once(dir.open_file(symlink_follow, path, oflags, read, write, fdflags))?;
        account.take(0, u64::from(creates));
        if oflags.contains(OFlags::TRUNCATE)
            && let Some(before) = before
        {
            account.give_back(before.size, 0);
        }
        Ok(match opened {
            OpenResult::Dir(dir) => OpenResult::Dir(Box::new(Self {
                dir,
                access: self.access,
                open_files: self.open_files.clone(),
                usage: Arc::clone(&self.usage),
                listing: Listing::default(),
                wait: self.wait.clone(),
                attachment: self.attachment.clone(),
                _open: Some(open),
            })),
            OpenResult::File(file) => {
                let id = id(&at_once(file.get_filestat())?);
                account.opened(id);
                OpenResult::File(Box::new(MappedFile {
                    file,
                    id,
                    access: self.access,
                    usage: Arc::clone(&self.usage),
                    attachment: self.attachment.clone(),
                    _open: open,
                }))
            }
        })
    }

    async fn readdir(
        &self,
        cursor: ReaddirCursor,
    ) -> Result<Box<dyn Iterator<Item = Result<ReaddirEntity, Error>> + Send>, Error> {
        self.listing.read(self.dir()?, cursor, &self.wait).await
    }

    async fn read_link(&self, path: &str) -> Result<PathBuf, Error> {
        self.dir()?.read_link(check_path(path)?).await
    }

    async fn get_filestat(&self) -> Result<Filestat, Error> {
        self.dir()?.get_filestat().await.map(since_epoch)
    }

    async fn get_path_filestat(
        &self,
        path: &str,
        follow_symlinks: bool,
    ) -> Result<Filestat, Error> {
        self.dir()?
            .get_path_filestat(check_path(path)?, follow_symlinks)
            .await
            .map(since_epoch)
    }

    async fn create_dir(&self, path: &str) -> Result<(), Error> {
        let dir = self.writable()?;
        self.create(dir.create_dir(check_path(path)?))
    }

    async fn symlink(&self, target: &str, path: &str) -> Result<(), Error> {
        let dir = self.writable()?;
        let made = dir.symlink(check_path(target)?, check_path(path)?);
        self.create(made)
    }

    async fn remove_dir(&self, path: &str) -> Result<(), Error> {
        let (dir, path) = (self.writable()?, check_path(path)?);
        self.remove(path, dir.remove_dir(path))
    }

    async fn unlink_file(&self, path: &str) -> Result<(), Error> {
        let (dir, path) = (self.writable()?, check_path(path)?);
        self.remove(path, dir.unlink_file(path))
    }

    async fn rename(&self, path: &str, to: &dyn WasiDir, to_path: &str) -> Result<(), Error> {
        let (dir, to) = (self.writable()?, Self::other_writable(to)?);
        let (path, to_path) = (check_path(path)?, check_path(to_path)?);
        let mut account = self.usage.lock();
        let moved = at_once(dir.get_path_filestat(path, false)).ok();
        let replaced = at_once(to.get_path_filestat(to_path, false)).ok();
        at_once(dir.rename(path, to, to_path))?;
        // Two names of one file stay as they are.
        if replaced.is_some() && replaced.as_ref().map(id) != moved.as_ref().map(id) {
            give_back(&mut account, replaced);
        }
        Ok(())
    }

    async fn hard_link(&self, path: &str, to: &dyn WasiDir, to_path: &str) -> Result<(), Error> {
        let (dir, to) = (self.writable()?, Self::other_writable(to)?);
        let made = dir.hard_link(check_path(path)?, to, check_path(to_path)?);
        self.create(made)
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
    id: FileId,
    access: DirAccess,
    usage: Arc<DiskUsage>,
    /// `Some` if its directory may be taken away.
    attachment: Option<Attachment>,
    _open: OpenFile,
}

impl MappedFile {
    /// Returns the file if its directory has not been taken away.
    fn file(&self) -> Result<&dyn WasiFile, Error> {
        check_attached(self.attachment.as_ref())?;
        Ok(&*self.file)
    }

    /// Returns the file if it may be changed. A descriptor opened for reading
    /// would not prevent changes of times and flags.
    fn writable(&self) -> Result<&dyn WasiFile, Error> {
        match self.access {
            DirAccess::ReadWrite => self.file(),
            _ => Err(Error::perm()),
        }
    }

    /// Changes the file's length or contents, after which it has at most `most` bytes, or as many
    /// as before if that is more. Counts the bytes by which it has grown.
    fn change<T>(
        &self,
        most: impl FnOnce(u64) -> Result<u64, Error>,
        changed: impl Future<Output = Result<T, Error>>,
    ) -> Result<T, Error> {
        let mut account = self.usage.lock();
        let before = at_once(self.file.get_filestat())?.size;
        if !account.has_room(most(before)?.saturating_sub(before), 0) {
            return Err(over_quota());
        }
        let result = at_once(changed);
        // A change that failed may have been made in part.
        let after = at_once(self.file.get_filestat())?.size;
        account.take(after.saturating_sub(before), 0);
        account.give_back(before.saturating_sub(after), 0);
        result
    }
}

impl Drop for MappedFile {
    fn drop(&mut self) {
        let mut account = self.usage.lock();
        if account.closed(self.id)
            && let Ok(stat) = at_once(self.file.get_filestat())
        {
            account.give_back(stat.size, 0);
        }
    }
}

/// Completes an operation of `wasi_common`'s own files and directories, none of which waits: so
/// that the account of the quota is held by one thread from its beginning to its end.
fn at_once<T>(operation: impl Future<Output = Result<T, Error>>) -> Result<T, Error> {
    match pin!(operation).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(result) => result,
        Poll::Pending => Err(Error::not_supported()),
    }
}

fn id(stat: &Filestat) -> FileId {
    FileId {
        device: stat.device_id,
        inode: stat.inode,
    }
}

/// Gives back an entry that was removed, and the bytes of a file of which it was the last.
fn give_back(account: &mut DiskAccount<'_>, removed: Option<Filestat>) {
    account.give_back(0, 1);
    if let Some(stat) = removed
        && stat.filetype != FileType::Directory
        && stat.nlink <= 1
    {
        account.removed(id(&stat), stat.size);
    }
}

/// Checks that a directory has not been taken away.
fn check_attached(attachment: Option<&Attachment>) -> Result<(), Error> {
    match attachment {
        Some(attachment) if !attachment.is_attached() => Err(Errno::Nodev.into()),
        _ => Ok(()),
    }
}

/// The error of a guest that has used up its [`DiskQuota`](wapc_host::wasi::DiskQuota).
fn over_quota() -> Error {
    Errno::Dquot.into()
}

fn total(buffers: &[IoSlice<'_>]) -> u64 {
    let bytes: usize = buffers.iter().map(|buffer| buffer.len()).sum();
    u64::try_from(bytes).unwrap_or(u64::MAX)
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
        self.file()?.datasync().await
    }

    async fn sync(&self) -> Result<(), Error> {
        self.file()?.sync().await
    }

    async fn get_filetype(&self) -> Result<FileType, Error> {
        self.file()?.get_filetype().await
    }

    async fn get_fdflags(&self) -> Result<FdFlags, Error> {
        self.file()?.get_fdflags().await
    }

    async fn set_fdflags(&mut self, flags: FdFlags) -> Result<(), Error> {
        self.writable()?;
        self.file.set_fdflags(flags).await
    }

    async fn get_filestat(&self) -> Result<Filestat, Error> {
        self.file()?.get_filestat().await.map(since_epoch)
    }

    async fn advise(&self, offset: u64, len: u64, advice: Advice) -> Result<(), Error> {
        self.file()?.advise(offset, len, advice).await
    }

    async fn set_filestat_size(&self, size: u64) -> Result<(), Error> {
        let file = self.writable()?;
        self.change(|_| Ok(size), file.set_filestat_size(size))
    }

    async fn set_times(
        &self,
        accessed: Option<SystemTimeSpec>,
        modified: Option<SystemTimeSpec>,
    ) -> Result<(), Error> {
        self.writable()?.set_times(accessed, modified).await
    }

    async fn read_vectored<'a>(&self, buffers: &mut [IoSliceMut<'a>]) -> Result<u64, Error> {
        self.file()?.read_vectored(&mut clip_mut(buffers)).await
    }

    async fn read_vectored_at<'a>(
        &self,
        buffers: &mut [IoSliceMut<'a>],
        offset: u64,
    ) -> Result<u64, Error> {
        self.file()?
            .read_vectored_at(&mut clip_mut(buffers), offset)
            .await
    }

    async fn write_vectored<'a>(&self, buffers: &[IoSlice<'a>]) -> Result<u64, Error> {
        let (file, buffers) = (self.writable()?, clip(buffers));
        let bytes = total(&buffers);
        // Appended, or somewhere in the file or behind its end: seeking takes no space.
        let most = |before: u64| {
            let start = match at_once(file.get_fdflags())?.contains(FdFlags::APPEND) {
                true => before,
                false => at_once(file.seek(SeekFrom::Current(0)))?,
            };
            Ok(start.saturating_add(bytes))
        };
        self.change(most, file.write_vectored(&buffers))
    }

    async fn write_vectored_at<'a>(
        &self,
        buffers: &[IoSlice<'a>],
        offset: u64,
    ) -> Result<u64, Error> {
        let (file, buffers) = (self.writable()?, clip(buffers));
        let most = |_| Ok(offset.saturating_add(total(&buffers)));
        self.change(most, file.write_vectored_at(&buffers, offset))
    }

    async fn seek(&self, position: SeekFrom) -> Result<u64, Error> {
        self.file()?.seek(position).await
    }

    async fn peek(&self, buffer: &mut [u8]) -> Result<u64, Error> {
        self.file()?.peek(buffer).await
    }

    fn num_ready_bytes(&self) -> Result<u64, Error> {
        self.file()?.num_ready_bytes()
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
