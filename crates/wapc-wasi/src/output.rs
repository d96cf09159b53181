//! A guest's standard output and standard error.

use std::{
    any::Any,
    io::{self, IoSlice, IsTerminal, Write},
};

use wapc_host::wasi::Capture;
use wasi_common::{
    Error, ErrorExt, WasiFile,
    file::{FdFlags, FileType},
};
use wiggle::async_trait;

/// The most that one call reads or writes. The vectors of a guest may overlap, so
/// that their sum far exceeds its memory.
pub(crate) const MAX_BYTES_PER_CALL: usize = 16 * 1024 * 1024;

/// The destination of an output.
pub(crate) enum Output {
    /// Discards the bytes.
    Closed,
    /// The program's standard output.
    Stdout,
    /// The program's standard error.
    Stderr,
    Captured(Capture),
}

#[async_trait]
impl WasiFile for Output {
    fn as_any(&self) -> &dyn Any {
        self
    }

    fn isatty(&self) -> bool {
        match self {
            Self::Stdout => io::stdout().is_terminal(),
            Self::Stderr => io::stderr().is_terminal(),
            Self::Closed | Self::Captured(_) => false,
        }
    }

    async fn get_filetype(&self) -> Result<FileType, Error> {
        Ok(match self.isatty() {
            true => FileType::CharacterDevice,
            false => FileType::Pipe,
        })
    }

    async fn get_fdflags(&self) -> Result<FdFlags, Error> {
        Ok(FdFlags::APPEND)
    }

    async fn write_vectored<'a>(&self, buffers: &[IoSlice<'a>]) -> Result<u64, Error> {
        let buffers = clip(buffers);
        let written = match self {
            Self::Closed => total(&buffers),
            Self::Stdout => write_through(&mut io::stdout().lock(), &buffers)?,
            Self::Stderr => write_through(&mut io::stderr().lock(), &buffers)?,
            Self::Captured(capture) => {
                for buffer in &buffers {
                    capture.write(buffer);
                }
                total(&buffers)
            }
        };
        Ok(u64::try_from(written)?)
    }

    async fn write_vectored_at<'a>(&self, _: &[IoSlice<'a>], _: u64) -> Result<u64, Error> {
        Err(Error::seek_pipe())
    }

    async fn seek(&self, _: io::SeekFrom) -> Result<u64, Error> {
        Err(Error::seek_pipe())
    }
}

/// Returns the first [`MAX_BYTES_PER_CALL`] bytes of `buffers`.
pub(crate) fn clip<'b>(buffers: &'b [IoSlice<'_>]) -> Vec<IoSlice<'b>> {
    let mut room = MAX_BYTES_PER_CALL;
    buffers
        .iter()
        .map_while(|buffer| {
            let (kept, _) = buffer.split_at_checked(room).unwrap_or((buffer, &[]));
            let more = room > 0;
            room -= kept.len();
            more.then(|| IoSlice::new(kept))
        })
        .collect()
}

fn total(buffers: &[IoSlice<'_>]) -> usize {
    buffers.iter().map(|buffer| buffer.len()).sum()
}

/// Writes and flushes: the guest has buffered already.
fn write_through(stream: &mut impl Write, buffers: &[IoSlice<'_>]) -> io::Result<usize> {
    let written = stream.write_vectored(buffers)?;
    stream.flush()?;
    Ok(written)
}
