//! The space that guests take in directories of the host.

use std::{collections::HashMap, fmt, sync::MutexGuard};

use crate::fork_safe::Mutex;

/// The space that guests may take in directories that they may write to:
/// [`WasiSettings::disk_quota`](super::WasiSettings::disk_quota).
///
/// All instances of a host share it, across swaps too. Counted are the bytes by which
/// guests make files longer, and the files, directories and links that they create;
/// what they shorten and remove is given back, a file's bytes once it is closed too. A
/// guest that would take more gets the errno 19 (`dquot`), and nothing is written.
///
/// ```
/// use wapc_host::{WasiSettings, wasi::{DirAccess, DiskQuota}};
///
/// let quota = DiskQuota::default().bytes(16 << 20).entries(1_000);
/// let wasi = WasiSettings::new()
///     .dir("/srv/scratch", "/scratch", DirAccess::ReadWrite)
///     .disk_quota(quota);
/// assert_eq!(wasi.disk_quota.bytes, 16 << 20);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct DiskQuota {
    /// The bytes of files; by default 1 GiB.
    pub bytes: u64,
    /// The files, directories and links; by default 10,000.
    pub entries: u64,
}

impl DiskQuota {
    /// Sets the bytes by which guests may make files longer.
    #[must_use]
    pub const fn bytes(mut self, bytes: u64) -> Self {
        self.bytes = bytes;
        self
    }

    /// Sets the number of files, directories and links that guests may create.
    #[must_use]
    pub const fn entries(mut self, entries: u64) -> Self {
        self.entries = entries;
        self
    }
}

impl Default for DiskQuota {
    fn default() -> Self {
        Self {
            bytes: 1 << 30,
            entries: 10_000,
        }
    }
}

/// The use that guests make of a [`DiskQuota`]. For authors of engines.
///
/// Guests share files, so that one's change is counted right only if no other changes the
/// same file meanwhile: whoever changes something holds the [account](Self::lock) from
/// the look at what is there to the last number.
///
/// ```
/// use wapc_host::{WasiSettings, wasi::DiskQuota};
///
/// let wasi = WasiSettings::new().disk_quota(DiskQuota::default().bytes(100).entries(1));
/// let mut account = wasi.disk_usage().lock();
/// assert!(account.has_room(100, 1));
/// account.take(60, 1);
/// assert!(account.has_room(40, 0));
/// assert!(!account.has_room(41, 0) && !account.has_room(0, 1));
/// account.give_back(60, 1);
/// assert!(account.has_room(100, 1));
/// ```
#[derive(Debug, Default)]
pub struct DiskUsage {
    account: Mutex<Account>,
}

/// A file's identity on the host: the numbers of its device and of its inode.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[expect(clippy::exhaustive_structs, reason = "a file has no further name")]
pub struct FileId {
    /// The device.
    pub device: u64,
    /// The inode on it.
    pub inode: u64,
}

#[derive(Debug, Default)]
struct Account {
    quota: DiskQuota,
    bytes: u64,
    entries: u64,
    /// The files that guests have open.
    open: HashMap<FileId, Open>,
}

#[derive(Debug, Default)]
struct Open {
    handles: usize,
    /// Whether no name is left, so that the last handle holds the file's bytes.
    removed: bool,
}

impl DiskUsage {
    /// Returns the account, which nobody else uses meanwhile.
    pub fn lock(&self) -> DiskAccount<'_> {
        DiskAccount(self.account.lock())
    }

    pub(super) fn set_quota(&self, quota: DiskQuota) {
        self.account.lock().quota = quota;
    }
}

/// The account of a [`DiskUsage`], held by one change.
#[must_use = "it is free for others when this is dropped"]
pub struct DiskAccount<'u>(MutexGuard<'u, Account>);

impl DiskAccount<'_> {
    /// Returns whether so many more bytes and entries are within the quota. Nothing more
    /// always is, though the quota may be smaller than what is taken.
    #[must_use]
    pub fn has_room(&self, bytes: u64, entries: u64) -> bool {
        let Account { quota, .. } = *self.0;
        let fits = |more: u64, taken: u64, quota| more == 0 || taken.saturating_add(more) <= quota;
        fits(bytes, self.0.bytes, quota.bytes) && fits(entries, self.0.entries, quota.entries)
    }

    /// Counts bytes by which a file has grown, and entries that were created.
    pub fn take(&mut self, bytes: u64, entries: u64) {
        self.0.bytes = self.0.bytes.saturating_add(bytes);
        self.0.entries = self.0.entries.saturating_add(entries);
    }

    /// Gives back bytes by which a file has become shorter, and entries that were removed.
    /// What was there before the guests gives back no more than they took.
    pub fn give_back(&mut self, bytes: u64, entries: u64) {
        self.0.bytes = self.0.bytes.saturating_sub(bytes);
        self.0.entries = self.0.entries.saturating_sub(entries);
    }

    /// Notes that a guest has opened the file.
    pub fn opened(&mut self, file: FileId) {
        self.0.open.entry(file).or_default().handles += 1;
    }

    /// Gives back the bytes of a file whose last name was removed; at once if no guest has
    /// it open.
    pub fn removed(&mut self, file: FileId, bytes: u64) {
        match self.0.open.get_mut(&file) {
            Some(open) => open.removed = true,
            None => self.give_back(bytes, 0),
        }
    }

    /// Notes that a guest closes a file that it has [opened](Self::opened). Returns whether
    /// the file ends with that; then its bytes are to be given back.
    #[must_use]
    pub fn closed(&mut self, file: FileId) -> bool {
        let Some(open) = self.0.open.get_mut(&file) else {
            return false;
        };
        open.handles = open.handles.saturating_sub(1);
        let (last, removed) = (open.handles == 0, open.removed);
        if last {
            self.0.open.remove(&file);
        }
        last && removed
    }
}

impl fmt::Debug for DiskAccount<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_removed_file_is_given_back_by_its_last_handle() {
        let usage = DiskUsage::default();
        let file = FileId {
            device: 1,
            inode: 2,
        };
        let account = &mut usage.lock();
        account.take(10, 1);
        account.opened(file);
        account.opened(file);
        account.removed(file, 10);
        assert!(!account.closed(file));
        assert!(account.closed(file));
        assert!(!account.closed(file), "it is not open");
        account.removed(file, 10);
        assert_eq!((account.0.bytes, account.0.entries), (0, 1));
    }
}
