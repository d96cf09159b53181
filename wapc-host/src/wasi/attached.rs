//! Directories that are given to guests, and taken away again, while they live.

use std::{
    collections::BTreeMap,
    fs, io,
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use thiserror::Error as ThisError;

use super::{DirAccess, MappedDir};
use crate::fork_safe::Mutex;

/// Directories that guests are given, and that are taken away again, while they live:
/// [`WasiSettings::attached_paths`](super::WasiSettings::attached_paths).
///
/// Guests see them in a directory `/`, which they have from their start; the one of
/// [`WasiSettings::file`](super::WasiSettings::file), if there are such files. What is attached is
/// there for all instances of all hosts with these settings, from their next look on, and across swaps.
/// What is removed is closed at once: paths into it are not found, and each operation on a file or
/// directory that a guest has open there fails with errno 43 (`nodev`). An operation that has begun
/// is completed.
///
/// Clones share the directories.
///
/// ```
/// use wapc_host::{WasiSettings, wasi::{AttachedPaths, DirAccess}};
///
/// let paths = AttachedPaths::new();
/// let wasi = WasiSettings::new().attached_paths(&paths);
/// // Guests of a provider with these settings live and are called.
/// let project = std::env::temp_dir();
/// paths.attach_path(&project, "/project", DirAccess::ReadOnly)?;
/// assert!(paths.remove_path("/project"));
/// assert!(!paths.remove_path("/project"));
/// # Ok::<(), wapc_host::wasi::AttachError>(())
/// ```
#[derive(Clone, Debug, Default)]
pub struct AttachedPaths(Arc<Mutex<BTreeMap<String, Attachment>>>);

/// A directory of [`AttachedPaths`], for authors of engines.
#[derive(Clone, Debug)]
pub struct Attachment {
    dir: Arc<MappedDir>,
    is_attached: Arc<AtomicBool>,
}

/// The reason why a directory is not attached.
#[derive(Debug, ThisError)]
#[non_exhaustive]
pub enum AttachError {
    /// The host's directory cannot be examined, or is none.
    #[error("the directory `{}` cannot be attached", .host.display())]
    Unusable {
        /// The host's path.
        host: PathBuf,
        /// The cause.
        #[source]
        cause: io::Error,
    },

    /// There is a directory at this path. Remove it first.
    #[error("the guest's path `{guest}` has a directory already: remove it first")]
    Taken {
        /// The guest's path.
        guest: String,
    },

    /// The guest's path is `/`, or leads upwards.
    #[error("the guest's path `{guest}` must be below `/`, without `..`")]
    Path {
        /// The guest's path.
        guest: String,
    },
}

impl AttachedPaths {
    /// Creates an empty set.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Gives guests the host's directory `host` at the path `guest`, below `/`.
    ///
    /// # Errors
    ///
    /// [`AttachError::Unusable`] if `host` is not a directory that can be looked at,
    /// [`AttachError::Taken`] if `guest` is in use, [`AttachError::Path`] if it is `/` or has `..`.
    pub fn attach_path(
        &self,
        host: impl Into<PathBuf>,
        guest: &str,
        access: DirAccess,
    ) -> Result<(), AttachError> {
        let host = host.into();
        let path = normal(guest).ok_or_else(|| AttachError::Path {
            guest: guest.to_owned(),
        })?;
        match fs::metadata(&host) {
            Ok(metadata) if metadata.is_dir() => {}
            Ok(_) => {
                let cause = io::ErrorKind::NotADirectory.into();
                return Err(AttachError::Unusable { host, cause });
            }
            Err(cause) => return Err(AttachError::Unusable { host, cause }),
        }
        let mut attached = self.0.lock();
        if attached.contains_key(&path) {
            return Err(AttachError::Taken {
                guest: guest.to_owned(),
            });
        }
        let dir = MappedDir {
            host,
            guest: format!("/{path}"),
            access,
        };
        let attachment = Attachment {
            dir: Arc::new(dir),
            is_attached: Arc::new(AtomicBool::new(true)),
        };
        attached.insert(path, attachment);
        Ok(())
    }

    /// Takes away what is at the path `guest`. Returns whether there was a directory.
    pub fn remove_path(&self, guest: &str) -> bool {
        let removed = normal(guest).and_then(|path| self.0.lock().remove(&path));
        removed.is_some_and(|attachment| {
            attachment.is_attached.store(false, Ordering::Release);
            true
        })
    }

    /// Returns the guest's paths with their directories, in alphabetical order.
    #[must_use]
    pub fn attachments(&self) -> Vec<Attachment> {
        self.0.lock().values().cloned().collect()
    }

    /// Returns the directory that `path`, without a slash in front, leads into, and the rest of the
    /// path. For authors of engines.
    #[must_use]
    pub fn find<'p>(&self, path: &'p str) -> Option<(Attachment, &'p str)> {
        let attached = self.0.lock();
        let ends = path.match_indices('/').map(|(at, _)| at);
        let mut ends: Vec<_> = ends.chain([path.len()]).collect();
        ends.reverse();
        ends.into_iter().find_map(|end| {
            let (guest, rest) = path.split_at_checked(end)?;
            let attachment = attached.get(guest)?;
            Some((attachment.clone(), rest.trim_start_matches('/')))
        })
    }
}

impl PartialEq for AttachedPaths {
    /// Compares by identity: equal sets share their directories.
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }
}

impl Eq for AttachedPaths {}

impl Attachment {
    /// Returns the directory.
    #[must_use]
    pub fn dir(&self) -> &MappedDir {
        &self.dir
    }

    /// Returns whether it has not been removed.
    #[must_use]
    pub fn is_attached(&self) -> bool {
        self.is_attached.load(Ordering::Acquire)
    }
}

impl PartialEq for Attachment {
    /// Compares by identity: the same directory, attached again, is another one.
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.dir, &other.dir)
    }
}

impl Eq for Attachment {}

/// A path without the slashes and dots that mean nothing. `None` if nothing is left, or if it leads
/// upwards.
fn normal(path: &str) -> Option<String> {
    let parts = path.split('/').filter(|part| !matches!(*part, "" | "."));
    let parts: Vec<_> = parts.collect();
    (!parts.is_empty() && !parts.contains(&"..")).then(|| parts.join("/"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[cfg_attr(miri, ignore = "Miri has no directories")]
    fn a_path_leads_into_the_innermost_directory() {
        let (paths, here) = (AttachedPaths::new(), std::env::temp_dir());
        for guest in ["/a", "a/./b/"] {
            let attached = paths.attach_path(&here, guest, DirAccess::ReadOnly);
            assert!(attached.is_ok(), "{attached:?}");
        }
        let found = |path| {
            let (attachment, rest) = paths.find(path)?;
            Some((attachment.dir().guest.clone(), rest.to_owned()))
        };
        let in_dir = |guest: &str, rest: &str| Some((guest.to_owned(), rest.to_owned()));
        assert_eq!(found("a"), in_dir("/a", ""));
        assert_eq!(found("a/c/d"), in_dir("/a", "c/d"));
        assert_eq!(found("a/b/c"), in_dir("/a/b", "c"));
        assert_eq!(found("ab"), None);
        assert_eq!(found(""), None);
        assert!(paths.remove_path("/a/b"));
        assert_eq!(found("a/b/c"), in_dir("/a", "b/c"));
    }

    #[test]
    #[cfg_attr(miri, ignore = "Miri has no directories")]
    fn what_cannot_be_attached_says_why() {
        let (paths, here) = (AttachedPaths::new(), std::env::temp_dir());
        let attach = |host: PathBuf, guest| paths.attach_path(host, guest, DirAccess::ReadOnly);
        for guest in ["", "/", "/./", "/a/../b", ".."] {
            let refused = attach(here.clone(), guest);
            assert!(matches!(refused, Err(AttachError::Path { .. })), "{guest}");
        }
        let missing = attach(here.join("is/not/there"), "/a");
        assert!(matches!(missing, Err(AttachError::Unusable { .. })));
        assert!(attach(here.clone(), "/a").is_ok());
        let taken = attach(here, "a/");
        assert!(matches!(taken, Err(AttachError::Taken { .. })));
    }
}
