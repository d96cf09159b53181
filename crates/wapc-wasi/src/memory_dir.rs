//! A directory whose files are in memory: the host's file system is not touched.

use std::{
    any::Any,
    collections::BTreeMap,
    hash::{BuildHasher, BuildHasherDefault, DefaultHasher},
    io::{IoSliceMut, SeekFrom},
    sync::Arc,
};

use parking_lot::Mutex;
use wapc_host::wasi::MemoryFile;
use wasi_common::{
    Error, ErrorExt, WasiDir, WasiFile,
    dir::{OpenResult, ReaddirCursor, ReaddirEntity},
    file::{Advice, FdFlags, FileType, Filestat, OFlags},
};
use wiggle::async_trait;

use crate::{
    open_files::{OpenFile, OpenFiles},
    output::MAX_BYTES_PER_CALL,
};

/// Files by their paths, without a slash in front.
type Files = BTreeMap<String, Arc<[u8]>>;

/// A directory that can be read.
pub(crate) struct MemoryDir {
    files: Arc<Files>,
    /// Its path, empty or with a slash at its end.
    path: String,
    open_files: OpenFiles,
    /// `None` for the preopened directory, which does not count as an open file.
    _open: Option<OpenFile>,
}

/// Something in the tree.
enum Found {
    File(Arc<[u8]>),
    Dir,
}

impl MemoryDir {
    /// The root. Of two files with one path the last one is there; a file with a path that leads
    /// through another file cannot be reached.
    pub(crate) fn root(files: &[MemoryFile], open_files: OpenFiles) -> Self {
        let files = files
            .iter()
            .map(|file| (normal(&file.path), Arc::clone(&file.contents)))
            .collect();
        Self {
            files: Arc::new(files),
            path: String::new(),
            open_files,
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

    fn find(&self, path: &str) -> Result<Found, Error> {
        let path = path.trim_end_matches('/');
        if let Some(contents) = self.files.get(path) {
            return Ok(Found::File(Arc::clone(contents)));
        }
        let below = match path {
            "" => String::new(),
            path => format!("{path}/"),
        };
        let mut others = self.files.range(below.clone()..);
        match others.next() {
            Some((other, _)) if other.starts_with(&below) => Ok(Found::Dir),
            _ if below.is_empty() => Ok(Found::Dir),
            _ => Err(Error::not_found()),
        }
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
        _symlink_follow: bool,
        path: &str,
        oflags: OFlags,
        _read: bool,
        write: bool,
        fdflags: FdFlags,
    ) -> Result<OpenResult, Error> {
        let changes = OFlags::CREATE | OFlags::EXCLUSIVE | OFlags::TRUNCATE;
        if write || oflags.intersects(changes) || fdflags.contains(FdFlags::APPEND) {
            return Err(Error::perm());
        }
        let path = self.resolve(path)?;
        let found = self.find(&path)?;
        let open = self.open_files.acquire()?;
        Ok(match found {
            Found::File(_) if oflags.contains(OFlags::DIRECTORY) => return Err(Error::not_dir()),
            Found::File(contents) => OpenResult::File(Box::new(OpenedFile {
                inode: inode(&path),
                contents,
                position: Mutex::new(0),
                _open: open,
            })),
            Found::Dir => OpenResult::Dir(Box::new(Self {
                files: Arc::clone(&self.files),
                path: match path.as_str() {
                    "" => path,
                    path => format!("{}/", path.trim_end_matches('/')),
                },
                open_files: self.open_files.clone(),
                _open: Some(open),
            })),
        })
    }

    async fn readdir(
        &self,
        cursor: ReaddirCursor,
    ) -> Result<Box<dyn Iterator<Item = Result<ReaddirEntity, Error>> + Send>, Error> {
        let mut names = BTreeMap::new();
        for (path, _) in self.files.range(self.path.clone()..) {
            let Some(below) = path.strip_prefix(&self.path) else {
                break;
            };
            let (name, filetype) = match below.split_once('/') {
                Some((dir, _)) => (dir, FileType::Directory),
                None => (below, FileType::RegularFile),
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
        _follow_symlinks: bool,
    ) -> Result<Filestat, Error> {
        let path = self.resolve(path)?;
        Ok(stat(&path, &self.find(&path)?))
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
