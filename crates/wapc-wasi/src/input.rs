//! A guest's standard input.

use std::{
    any::Any,
    future::poll_fn,
    io::{self, Cursor, IoSliceMut, IsTerminal, Read},
    pin::pin,
    sync::{Arc, LazyLock},
    task::Poll,
    time::Duration,
};

use parking_lot::Mutex;
use wasi_common::{Error, ErrorExt, WasiFile, file::FileType};
use wiggle::async_trait;

use crate::{interruptible_wait::InterruptibleWait, stdin_reader::StdinReader};

/// The program's standard input. Its thread starts when a guest first reads it.
static STDIN: LazyLock<io::Result<Arc<StdinReader>>> =
    LazyLock::new(|| StdinReader::start(io::stdin()));

pub(crate) struct Input(Source);

enum Source {
    Bytes(Mutex<Cursor<Arc<[u8]>>>),
    Inherited(InterruptibleWait),
}

impl Input {
    /// Creates an input of these bytes.
    pub(crate) fn bytes(bytes: &Arc<[u8]>) -> Self {
        Self(Source::Bytes(Mutex::new(Cursor::new(Arc::clone(bytes)))))
    }

    /// Creates an input that reads the program's own.
    pub(crate) const fn inherited(wait: InterruptibleWait) -> Self {
        Self(Source::Inherited(wait))
    }

    /// Returns whether a read would return at once.
    pub(crate) fn is_ready(&self) -> bool {
        match &self.0 {
            Source::Bytes(_) => true,
            Source::Inherited(_) => STDIN.as_ref().is_ok_and(|reader| reader.is_ready()),
        }
    }

    /// Waits until a read would return at once, for one step of a wait that ends in
    /// `left`.
    pub(crate) async fn wait(&self, wait: &InterruptibleWait, left: Option<Duration>) {
        if let (Source::Inherited(_), Ok(reader)) = (&self.0, &*STDIN) {
            match wait.awaits() {
                true => either(reader.arrival(), wait.sleep(left)).await,
                false => reader.wait(wait.step(left)),
            }
        }
    }
}

/// Waits for the first of two.
async fn either(one: impl Future<Output = ()>, other: impl Future<Output = ()>) {
    let (mut one, mut other) = (pin!(one), pin!(other));
    poll_fn(|context| {
        let ready =
            one.as_mut().poll(context).is_ready() || other.as_mut().poll(context).is_ready();
        if ready {
            Poll::Ready(())
        } else {
            Poll::Pending
        }
    })
    .await;
}

#[async_trait]
impl WasiFile for Input {
    fn as_any(&self) -> &dyn Any {
        self
    }

    fn isatty(&self) -> bool {
        matches!(self.0, Source::Inherited(_)) && io::stdin().is_terminal()
    }

    async fn get_filetype(&self) -> Result<FileType, Error> {
        Ok(match self.isatty() {
            true => FileType::CharacterDevice,
            false => FileType::Pipe,
        })
    }

    async fn read_vectored<'a>(&self, buffers: &mut [IoSliceMut<'a>]) -> Result<u64, Error> {
        let Some(buffer) = buffers.first_mut() else {
            return Ok(0);
        };
        let read = match &self.0 {
            Source::Bytes(bytes) => bytes.lock().read(buffer)?,
            Source::Inherited(wait) => {
                let reader = STDIN.as_ref().map_err(|_| Error::io())?;
                reader.read(buffer, wait).await?
            }
        };
        Ok(u64::try_from(read)?)
    }

    async fn seek(&self, _: io::SeekFrom) -> Result<u64, Error> {
        Err(Error::seek_pipe())
    }

    fn num_ready_bytes(&self) -> Result<u64, Error> {
        let ready = match &self.0 {
            Source::Bytes(bytes) => {
                let bytes = bytes.lock();
                let whole = u64::try_from(bytes.get_ref().len())?;
                return Ok(whole.saturating_sub(bytes.position()));
            }
            Source::Inherited(_) => STDIN.as_ref().map_or(0, |reader| reader.ready_bytes()),
        };
        Ok(u64::try_from(ready)?)
    }
}
