//! How many files one instance has open.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

use wasi_common::{Error, snapshots::preview_1::types::Errno};

/// A number of files that may be open at a time: descriptors are the host
/// process's own.
#[derive(Clone)]
pub(crate) struct OpenFiles {
    left: Arc<AtomicUsize>,
}

impl OpenFiles {
    pub(crate) fn new(most: usize) -> Self {
        Self {
            left: Arc::new(AtomicUsize::new(most)),
        }
    }

    /// Room for one more, until it is dropped.
    pub(crate) fn one_more(&self) -> Result<OpenFile, Error> {
        self.left
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| {
                left.checked_sub(1)
            })
            .map_err(|_| Error::from(Errno::Mfile))?;
        Ok(OpenFile(Arc::clone(&self.left)))
    }
}

pub(crate) struct OpenFile(Arc<AtomicUsize>);

impl Drop for OpenFile {
    fn drop(&mut self) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }
}
