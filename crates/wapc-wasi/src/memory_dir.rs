//! The directory `/` of files in memory, which do not touch the host's file system, and of directories of
//! the host that come and go.

use std::{
    any::Any,
    collections::BTreeMap,
    hash::{BuildHasher, BuildHasherDefault, DefaultHasher},
    io::{IoSliceMut, SeekFrom},
    path::PathBuf,
    sync::Arc,
};

use parking_lot::Mutex;
use wapc_host::{
    WasiSettings,
    wasi::{AttachedPaths, Attachment, DiskUsage},
};
use wasi_common::{
    Error, ErrorExt, SystemTimeSpec, WasiDir, WasiFile,
    dir::{OpenResult, ReaddirCursor, ReaddirEntity},
    file::{Advice, FdFlags, FileType, Filestat, OFlags},
    sync::{Dir, ambient_authority, dir},
};
use wiggle::async_trait;

use crate::{
    interruptible_wait::InterruptibleWait,
    mapped_dir::MappedDir,
    open_files::{OpenFile, OpenFiles},
    output::MAX_BYTES_PER_CALL,
};

/// Files by their paths, without a slash in front.
type Files = BTreeMap<String, Arc<[u8]>>;

/// What an instance sees in its directory `/`.
pub(crate) struct Tree {
    files: Files,
    attached: Option<AttachedPaths>,
    /// Directories of `attached` that the instance has looked at.
    opened: Mutex<Vec<(Attachment, Arc<MappedDir>)>>,
    open_files: OpenFiles,
    usage: Arc<DiskUsage>,
    wait: InterruptibleWait,
}

impl Tree {
    /// Of two files with one path the last one is there; a file with a path that leads through another
    /// file cannot be reached.
    pub(crate) fn new(
        settings: &WasiSettings,
        open_files: OpenFiles,
        wait: InterruptibleWait,
    ) -> Self {
        let files = settings.files.iter();
        Self {
            files: files
                .map(|file| (normal(&file.path), Arc::clone(&file.contents)))
                .collect(),
            attached: settings.attached_paths.clone(),
            opened: Mutex::default(),
            open_files,
            usage: Arc::clone(settings.disk_usage()),
            wait,
        }
    }

    fn find(&self, path: &str) -> Result<Found, Error> {
        let path = path.trim_end_matches('/');
        if let Some(contents) = self.files.get(path) {
            return Ok(Found::File(Arc::clone(contents)));
        }
        let below = match path {
            "" => return Ok(Found::Dir),
            path => format!("{path}/"),
        };
        let mut others = self.files.range(below.clone()..);
        let has_file = others
            .next()
            .is_some_and(|(other, _)| other.starts_with(&below));
        let mut attached = self.attached_paths();
        match has_file || attached.any(|other| other.starts_with(&below)) {
            true => Ok(Found::Dir),
            false => Err(Error::not_found()),
        }
    }

    /// Returns the guest's paths of attached directories, without a slash in front.
    fn attached_paths(&self) -> impl Iterator<Item = String> {
        let attached = self.attached.iter().flat_map(AttachedPaths::attachments);
        attached.map(|attachment| attachment.dir().guest.trim_start_matches('/').to_owned())
    }

    /// Returns the attached directory that a path leads into, and the path from there.
    fn attached<'p>(&self, path: &'p str) -> Result<Option<(Arc<MappedDir>, &'p str)>, Error> {
        let Some(attached) = &self.attached else {
            return Ok(None);
        };
        let Some((attachment, rest)) = attached.find(path.trim_end_matches('/')) else {
            return Ok(None);
        };
        let rest = if rest.is_empty() { "." } else { rest };
        let mut opened = self.opened.lock();
        opened.retain(|(attachment, _)| attachment.is_attached());
        if let Some((_, dir)) = opened.iter().find(|(other, _)| *other == attachment) {
            return Ok(Some((Arc::clone(dir), rest)));
        }
        let mapped = attachment.dir();
        let dir = Dir::open_ambient_dir(&mapped.host, ambient_authority())?;
        let dir = MappedDir::new(
            Box::new(dir::Dir::from_cap_std(dir)),
            mapped.access,
            self.open_files.clone(),
            Arc::clone(&self.usage),
            self.wait.clone(),
        );
        let dir = Arc::new(dir.attached(attachment.clone()));
        opened.push((attachment, Arc::clone(&dir)));
        Ok(Some((dir, rest)))
    }
}

/// A directory of a [`Tree`]. Attached directories in it are as they are on the host; the rest can be read.
pub(crate) struct MemoryDir {
    tree: Arc<Tree>,
    /// Its path, empty or with a slash at its end.
    path: String,
    /// `None` for the preopened directory, which does not count as an open file.
    _open: Option<OpenFile>,
}

/// Something in the tree.
enum Found {
    File(Arc<[u8]>),
    Dir,
}

impl MemoryDir {
    /// The root.
    pub(crate) fn root(tree: Tree) -> Self {
        Self {
            tree: Arc::new(tree),
            path: String::new(),
            _open: None,
        }
    }

    /// Returns the path in the tree of a path from here. It may not lead out of the directory.
    fn resolve(&self, path: &str) -> Result<String, Error> {
        if path.starts_with('/') {
            return Err(Error::perm());
        }
        let mut parts: Vec<&str> = vec![];
        for part in path.split('/') {
            match part {
                "" | "." => {}
                ".." => {
                    parts.pop().ok_or_else(Error::perm)?;
                }
                part => parts.push(part),
            }
        }
        Ok(format!("{}{}", self.path, parts.join("/")))
    }

    /// Returns the attached directory that a change is to be made in, and the path from there.
    fn changed<'p>(&self, path: &'p str) -> Result<(Arc<MappedDir>, &'p str), Error> {
        self.tree.attached(path)?.ok_or_else(Error::perm)
    }
}

/// A path without the slashes and dots that mean nothing.
fn normal(path: &str) -> String {
    let parts = path.split('/').filter(|part| !matches!(*part, "" | "."));
    parts.collect::<Vec<_>>().join("/")
}

fn stat(path: &str, found: &Found) -> Filestat {
    let (filetype, size) = match found {
        Found::File(contents) => (FileType::RegularFile, contents.len() as u64),
        Found::Dir => (FileType::Directory, 0),
    };
    Filestat {
        device_id: 0,
        inode: inode(path),
        filetype,
        nlink: 1,
        size,
        atim: None,
        mtim: None,
        ctim: None,
    }
}

/// A number for each path, the same in each instance.
fn inode(path: &str) -> u64 {
    BuildHasherDefault::<DefaultHasher>::default().hash_one(path.trim_end_matches('/'))
}

#[async_trait]
impl WasiDir for MemoryDir {
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
        let path = self.resolve(path)?;
        if let Some((dir, path)) = self.tree.attached(&path)? {
            let opened = dir.open_file(symlink_follow, path, oflags, read, write, fdflags);
            return opened.await;
        }
        let changes = OFlags::CREATE | OFlags::EXCLUSIVE | OFlags::TRUNCATE;
        if write || oflags.intersects(changes) || fdflags.contains(FdFlags::APPEND) {
            return Err(Error::perm());
        }
        let found = self.tree.find(&path)?;
        let open = self.tree.open_files.acquire()?;
        Ok(match found {
            Found::File(_) if oflags.contains(OFlags::DIRECTORY) => return Err(Error::not_dir()),
            Found::File(contents) => OpenResult::File(Box::new(OpenedFile {
                inode: inode(&path),
                contents,
                position: Mutex::new(0),
                _open: open,
            })),
            Found::Dir => OpenResult::Dir(Box::new(Self {
                tree: Arc::clone(&self.tree),
                path: match path.as_str() {
                    "" => path,
                    path => format!("{}/", path.trim_end_matches('/')),
                },
                _open: Some(open),
            })),
        })
    }

    async fn readdir(
        &self,
        cursor: ReaddirCursor,
    ) -> Result<Box<dyn Iterator<Item = Result<ReaddirEntity, Error>> + Send>, Error> {
        let mut names = BTreeMap::new();
        let files = self.tree.files.keys().cloned();
        let files = files.map(|path| (path, FileType::RegularFile));
        let attached = self.tree.attached_paths();
        let attached = attached.map(|path| (path, FileType::Directory));
        for (path, filetype) in files.chain(attached) {
            let Some(below) = path.strip_prefix(&self.path) else {
                continue;
            };
            let (name, filetype) = match below.split_once('/') {
                Some((dir, _)) => (dir, FileType::Directory),
                None => (below, filetype),
            };
            names.insert(name.to_owned(), filetype);
        }
        let dots = [".", ".."].map(|name| (name.to_owned(), FileType::Directory));
        let own = self.path.clone();
        let entries =
            dots.into_iter()
                .chain(names)
                .zip(1..)
                .map(move |((name, filetype), next)| {
                    Ok(ReaddirEntity {
                        next: ReaddirCursor::from(next),
                        inode: inode(&format!("{own}{name}")),
                        name,
                        filetype,
                    })
                });
        let skipped = usize::try_from(u64::from(cursor)).unwrap_or(usize::MAX);
        Ok(Box::new(entries.skip(skipped)))
    }

    async fn get_filestat(&self) -> Result<Filestat, Error> {
        Ok(stat(&self.path, &Found::Dir))
    }

    async fn get_path_filestat(
        &self,
        path: &str,
        follow_symlinks: bool,
    ) -> Result<Filestat, Error> {
        let path = self.resolve(path)?;
        match self.tree.attached(&path)? {
            Some((dir, path)) => dir.get_path_filestat(path, follow_symlinks).await,
            None => Ok(stat(&path, &self.tree.find(&path)?)),
        }
    }

    async fn read_link(&self, path: &str) -> Result<PathBuf, Error> {
        let path = self.resolve(path)?;
        match self.tree.attached(&path)? {
            Some((dir, path)) => dir.read_link(path).await,
            // There is no link here.
            None => self.tree.find(&path).and(Err(Error::invalid_argument())),
        }
    }

    async fn create_dir(&self, path: &str) -> Result<(), Error> {
        let path = self.resolve(path)?;
        let (dir, path) = self.changed(&path)?;
        dir.create_dir(path).await
    }

    async fn symlink(&self, target: &str, path: &str) -> Result<(), Error> {
        let path = self.resolve(path)?;
        let (dir, path) = self.changed(&path)?;
        dir.symlink(target, path).await
    }

    async fn remove_dir(&self, path: &str) -> Result<(), Error> {
        let path = self.resolve(path)?;
        let (dir, path) = self.changed(&path)?;
        dir.remove_dir(path).await
    }

    async fn unlink_file(&self, path: &str) -> Result<(), Error> {
        let path = self.resolve(path)?;
        let (dir, path) = self.changed(&path)?;
        dir.unlink_file(path).await
    }

    async fn rename(&self, path: &str, to: &dyn WasiDir, to_path: &str) -> Result<(), Error> {
        let path = self.resolve(path)?;
        let (dir, path) = self.changed(&path)?;
        let Some(to) = to.as_any().downcast_ref::<Self>() else {
            return dir.rename(path, to, to_path).await;
        };
        let to_path = to.resolve(to_path)?;
        let (to, to_path) = to.changed(&to_path)?;
        dir.rename(path, &*to, to_path).await
    }

    async fn hard_link(&self, path: &str, to: &dyn WasiDir, to_path: &str) -> Result<(), Error> {
        let path = self.resolve(path)?;
        let (dir, path) = self.changed(&path)?;
        let Some(to) = to.as_any().downcast_ref::<Self>() else {
            return dir.hard_link(path, to, to_path).await;
        };
        let to_path = to.resolve(to_path)?;
        let (to, to_path) = to.changed(&to_path)?;
        dir.hard_link(path, &*to, to_path).await
    }

    async fn set_times(
        &self,
        path: &str,
        accessed: Option<SystemTimeSpec>,
        modified: Option<SystemTimeSpec>,
        follow_symlinks: bool,
    ) -> Result<(), Error> {
        let path = self.resolve(path)?;
        let (dir, path) = self.changed(&path)?;
        let set = dir.set_times(path, accessed, modified, follow_symlinks);
        set.await
    }
}

/// A file that is open for reading.
struct OpenedFile {
    inode: u64,
    contents: Arc<[u8]>,
    position: Mutex<u64>,
    _open: OpenFile,
}

impl OpenedFile {
    /// Reads into the first buffer; `wasi_common` passes only one.
    fn read_at(&self, buffers: &mut [IoSliceMut<'_>], offset: u64) -> u64 {
        let start = usize::try_from(offset).unwrap_or(usize::MAX);
        let left = self.contents.get(start..).unwrap_or_default();
        let buffer: &mut [u8] = buffers.first_mut().map_or(&mut [], |buffer| buffer);
        let read = left.len().min(buffer.len()).min(MAX_BYTES_PER_CALL);
        for (to, from) in buffer.iter_mut().zip(left).take(read) {
            *to = *from;
        }
        read as u64
    }
}

#[async_trait]
impl WasiFile for OpenedFile {
    fn as_any(&self) -> &dyn Any {
        self
    }

    async fn get_filetype(&self) -> Result<FileType, Error> {
        Ok(FileType::RegularFile)
    }

    async fn get_filestat(&self) -> Result<Filestat, Error> {
        let file = Found::File(Arc::clone(&self.contents));
        Ok(Filestat {
            inode: self.inode,
            ..stat("", &file)
        })
    }

    async fn advise(&self, _offset: u64, _len: u64, _advice: Advice) -> Result<(), Error> {
        Ok(())
    }

    async fn read_vectored<'a>(&self, buffers: &mut [IoSliceMut<'a>]) -> Result<u64, Error> {
        let mut position = self.position.lock();
        let read = self.read_at(buffers, *position);
        *position = position.saturating_add(read);
        Ok(read)
    }

    async fn read_vectored_at<'a>(
        &self,
        buffers: &mut [IoSliceMut<'a>],
        offset: u64,
    ) -> Result<u64, Error> {
        Ok(self.read_at(buffers, offset))
    }

    async fn seek(&self, to: SeekFrom) -> Result<u64, Error> {
        let mut position = self.position.lock();
        let moved = match to {
            SeekFrom::Start(at) => Some(at),
            SeekFrom::Current(by) => position.checked_add_signed(by),
            SeekFrom::End(by) => (self.contents.len() as u64).checked_add_signed(by),
        };
        *position = moved.ok_or_else(Error::invalid_argument)?;
        Ok(*position)
    }

    async fn peek(&self, _buffer: &mut [u8]) -> Result<u64, Error> {
        Err(Error::badf())
    }

    fn num_ready_bytes(&self) -> Result<u64, Error> {
        Ok((self.contents.len() as u64).saturating_sub(*self.position.lock()))
    }
}
