//! The limit on the open files of one instance.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

use wasi_common::{Error, snapshots::preview_1::types::Errno};

/// A counter of the files that an instance may still open. Each takes a file
/// descriptor of the process.
#[derive(Clone)]
pub(crate) struct OpenFiles {
    left: Arc<AtomicUsize>,
}

impl OpenFiles {
    pub(crate) fn new(max: usize) -> Self {
        Self {
            left: Arc::new(AtomicUsize::new(max)),
        }
    }

    /// Counts one more file until the returned guard is dropped.
    pub(crate) fn acquire(&self) -> Result<OpenFile, Error> {
        self.left
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| {
                left.checked_sub(1)
            })
            .map_err(|_| Error::from(Errno::Mfile))?;
        Ok(OpenFile(Arc::clone(&self.left)))
    }
}

/// Counts as one open file until it is dropped.
pub(crate) struct OpenFile(Arc<AtomicUsize>);

impl Drop for OpenFile {
    fn drop(&mut self) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }
}
