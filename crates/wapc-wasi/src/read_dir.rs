//! `fd_readdir`: long directories in pieces.

use std::cell::Cell;

use parking_lot::Mutex;
use wasi_common::{
    Error, WasiDir,
    dir::{ReaddirCursor, ReaddirEntity},
};

use crate::interruptible_wait::InterruptibleWait;

/// The bytes of an entry before its name.
const HEADER_BYTES: usize = 24;

/// The entries that are read between two interrupt checks. Each takes a system call.
const ENTRIES_PER_PIECE: usize = 256;

thread_local! {
    /// The length of the guest's buffer, for the directory that `wasi_common` asks for
    /// entries. It asks at once, on the same thread, and does not tell the length.
    static BUFFER_BYTES: Cell<usize> = const { Cell::new(0) };
}

/// Announces the length of the buffer of the `fd_readdir` that is called next.
pub(crate) fn announce_buffer(len: i32) {
    BUFFER_BYTES.set(len.cast_unsigned() as usize);
}

/// The entries of an open directory, from where the last call has stopped.
///
/// A guest reads a directory in many calls. `wasi_common` reads it from its beginning to
/// the cookie in each, which takes the square of the time.
#[derive(Default)]
pub(crate) struct Listing(Mutex<Option<Open>>);

type Entries = Box<dyn Iterator<Item = Result<ReaddirEntity, Error>> + Send>;

/// A listing that has been begun.
struct Open {
    rest: Entries,
    /// The entry before `rest`, and its cookie: a buffer may have had no room for all of
    /// it, and then the guest asks for it again.
    last: Option<(u64, ReaddirEntity)>,
    /// The cookie of the first entry of `rest`.
    next: u64,
}

impl Listing {
    /// Returns the entries from `cursor` on that fill the guest's buffer, and no more.
    pub(crate) async fn read(
        &self,
        dir: &dyn WasiDir,
        cursor: ReaddirCursor,
        wait: &InterruptibleWait,
    ) -> Result<Entries, Error> {
        let buffer = BUFFER_BYTES.take();
        let cookie = u64::from(cursor);
        let known = self.0.lock().take().filter(|_| cookie > 0);
        let mut entries = Vec::new();
        let mut bytes = 0;
        let mut open = match known {
            Some(open) if open.next == cookie => open,
            Some(Open {
                rest,
                last: Some((number, last)),
                next,
            }) if number == cookie => {
                bytes += HEADER_BYTES + last.name.len();
                entries.push(Ok(copy(&last)));
                let last = Some((number, last));
                Open { rest, last, next }
            }
            _ => Open {
                rest: dir.readdir(cursor).await?,
                last: None,
                next: cookie,
            },
        };
        while bytes < buffer
            && let Some(entry) = open.rest.next()
        {
            let entry = entry?;
            bytes += HEADER_BYTES + entry.name.len();
            let next = u64::from(entry.next);
            open.last = Some((open.next, copy(&entry)));
            open.next = next;
            entries.push(Ok(entry));
            if entries.len() % ENTRIES_PER_PIECE == 0 {
                wait.end_piece().await?;
            }
        }
        *self.0.lock() = Some(open);
        Ok(Box::new(entries.into_iter()))
    }
}

fn copy(entry: &ReaddirEntity) -> ReaddirEntity {
    ReaddirEntity {
        next: entry.next,
        inode: entry.inode,
        name: entry.name.clone(),
        filetype: entry.filetype,
    }
}
