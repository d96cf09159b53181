//! Detection of changed files from their metadata.

use std::{
    fs, io,
    path::Path,
    time::{Duration, SystemTime},
};

/// The metadata that changes with a file's contents.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct FileStamp {
    modified: Option<SystemTime>,
    length: u64,
    /// Files that take another's place may have its times and its length.
    identity: Option<Identity>,
}

/// The file itself, and the time of the last change to anything of it, which programs cannot
/// set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Identity {
    device: u64,
    inode: u64,
    changed: (i64, i64),
}

#[cfg(unix)]
fn identity(metadata: &fs::Metadata) -> Option<Identity> {
    use std::os::unix::fs::MetadataExt;

    Some(Identity {
        device: metadata.dev(),
        inode: metadata.ino(),
        changed: (metadata.ctime(), metadata.ctime_nsec()),
    })
}

/// Elsewhere the standard library does not tell.
#[cfg(not(unix))]
const fn identity(_: &fs::Metadata) -> Option<Identity> {
    None
}

impl FileStamp {
    pub(crate) fn read(path: &Path) -> io::Result<Self> {
        Ok(Self::of(&fs::metadata(path)?))
    }

    pub(crate) fn of(metadata: &fs::Metadata) -> Self {
        Self {
            modified: metadata.modified().ok(),
            length: metadata.len(),
            identity: identity(metadata),
        }
    }

    /// The time of the last change.
    fn changed(&self) -> Option<SystemTime> {
        let Some(identity) = &self.identity else {
            return self.modified;
        };
        let (seconds, nanoseconds) = identity.changed;
        let since = Duration::new(
            u64::try_from(seconds).ok()?,
            u32::try_from(nanoseconds).ok()?,
        );
        SystemTime::UNIX_EPOCH.checked_add(since).max(self.modified)
    }

    /// Returns whether a write after `now` is certain to change the stamp.
    ///
    /// Within [`COARSEST_TIMESTAMP`] of the last write, a second write of the
    /// same length can leave the stamp as it is.
    fn is_settled(&self, now: SystemTime) -> bool {
        self.changed()
            .and_then(|changed| now.duration_since(changed).ok())
            .is_some_and(|age| age > COARSEST_TIMESTAMP)
    }
}

/// Longer than the resolution of times on any common file system; that of FAT is
/// two seconds.
const COARSEST_TIMESTAMP: Duration = Duration::from_secs(3);

/// Decides from the stamps of successive polls when to read a file.
#[derive(Debug)]
pub(crate) struct ChangeDetector {
    /// The stamp at the last poll, or `None` if there was no file.
    last_seen: Option<FileStamp>,
    /// The stamp of the contents that were read last. `None` while a write could
    /// leave the stamp as it is: the file is then read at every poll.
    last_read: Option<FileStamp>,
}

impl ChangeDetector {
    pub(crate) const fn new(current: Option<FileStamp>) -> Self {
        Self {
            last_seen: current,
            last_read: None,
        }
    }

    /// Records the stamp of this poll. Returns whether to read the file: it has
    /// not changed since the last poll, and its contents may be unknown.
    pub(crate) fn record(&mut self, stamp: FileStamp) -> bool {
        let is_stable = self.last_seen.replace(stamp) == Some(stamp);
        is_stable && self.last_read != Some(stamp)
    }

    /// Records a poll that found no file. Returns `true` for the first of a row
    /// of such polls, so that the loss is reported once.
    pub(crate) const fn record_missing(&mut self) -> bool {
        self.last_seen.take().is_some()
    }

    /// Records that the contents with this stamp were read at `now`.
    pub(crate) fn record_read(&mut self, stamp: FileStamp, now: SystemTime) {
        self.last_read = stamp.is_settled(now).then_some(stamp);
    }

    /// Records that the contents with this stamp cannot be read. The file is not
    /// tried again before its stamp changes.
    pub(crate) const fn record_unreadable(&mut self, stamp: FileStamp) {
        self.last_read = Some(stamp);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: SystemTime = SystemTime::UNIX_EPOCH;

    fn stamp(age_seconds: u64, length: u64) -> FileStamp {
        FileStamp {
            modified: NOW.checked_sub(Duration::from_secs(age_seconds)),
            length,
            identity: None,
        }
    }

    #[test]
    #[cfg(unix)]
    fn a_file_in_the_place_of_another_is_another_one() {
        use std::{fs::File, path::PathBuf};

        let dir = tempfile::tempdir().unwrap();
        let make = |name: &str| -> PathBuf {
            let path = dir.path().join(name);
            fs::write(&path, name).unwrap();
            let file = File::open(&path).unwrap();
            file.set_modified(SystemTime::UNIX_EPOCH).unwrap();
            path
        };
        let (one, other) = (make("a"), make("b"));
        let before = FileStamp::read(&one).unwrap();
        assert!(!before.is_settled(SystemTime::now()), "it was just written");
        assert!(before.is_settled(SystemTime::now() + 2 * COARSEST_TIMESTAMP));
        fs::rename(&other, &one).unwrap();
        assert_ne!(FileStamp::read(&one).unwrap(), before);
    }

    #[test]
    fn a_file_is_read_once_it_has_not_changed_for_one_poll() {
        let (part, more, whole) = (stamp(10, 1), stamp(10, 2), stamp(9, 2));
        let mut detector = ChangeDetector::new(Some(stamp(20, 7)));
        assert!(!detector.record(part), "it has just changed");
        assert!(!detector.record(more), "it has grown");
        assert!(!detector.record(whole), "it was written again");
        assert!(detector.record(whole));
        assert!(detector.record(whole), "it was not read");
        detector.record_read(whole, NOW);
        assert!(!detector.record(whole));
    }

    #[test]
    fn a_file_that_returns_is_read_again() {
        let mut detector = ChangeDetector::new(Some(stamp(20, 7)));
        assert!(detector.record_missing());
        assert!(!detector.record_missing(), "it was reported already");
        assert!(!detector.record(stamp(10, 1)), "it is back");
        assert!(detector.record(stamp(10, 1)));
    }

    #[test]
    fn a_file_is_read_again_while_a_write_may_leave_its_stamp() {
        let (old, recent) = (stamp(4, 1), stamp(2, 1));
        let mut detector = ChangeDetector::new(Some(recent));
        detector.record_read(recent, NOW);
        assert!(detector.record(recent));

        let mut detector = ChangeDetector::new(Some(old));
        detector.record_read(old, NOW);
        assert!(!detector.record(old));

        let in_the_future = NOW - Duration::from_secs(9);
        assert!(!recent.is_settled(in_the_future), "the clock was set back");
    }

    #[test]
    fn an_unreadable_file_is_tried_again_after_it_has_changed() {
        let mut detector = ChangeDetector::new(Some(stamp(2, 1)));
        detector.record_unreadable(stamp(2, 1));
        assert!(!detector.record(stamp(2, 1)));
        assert!(!detector.record(stamp(1, 1)));
        assert!(detector.record(stamp(1, 1)));
    }
}
