//! Sets up wasmtime's WASI from the host's settings.

use bytes::Bytes;
use std::{
    io,
    pin::Pin,
    task::{Context, Poll},
};
use tokio::io::AsyncWrite;
use wapc_host::{Capture, DirAccess, EngineError, Stdin, Stdout, WasiSettings};
use wasmtime_wasi::{
    FsPerms, WasiCtxBuilder, async_trait,
    cli::{IsTerminal, StdoutStream},
    p1::WasiP1Ctx,
    p2::{OutputStream, Pollable, StreamResult, pipe::MemoryInputPipe},
};

/// A fresh context for one instance.
pub(crate) fn context(settings: &WasiSettings) -> Result<WasiP1Ctx, EngineError> {
    let mut builder = WasiCtxBuilder::new();
    // Files are read and written by the thread that calls the guest: without
    // it each operation would cost two switches of threads.
    builder.allow_blocking_current_thread(true);
    builder.args(&settings.args).envs(&settings.env);
    for dir in &settings.dirs {
        let perms = match dir.access {
            DirAccess::ReadWrite => FsPerms::ReadWrite,
            _ => FsPerms::ReadOnly,
        };
        builder
            .preopened_dir(&dir.host, &dir.guest, perms)
            .map_err(|error| dir.unusable(error))?;
    }
    match &settings.stdin {
        Stdin::Inherited => {
            builder.inherit_stdin();
        }
        Stdin::Bytes(bytes) => {
            builder.stdin(MemoryInputPipe::new(Bytes::from_owner(bytes.clone())));
        }
        _ => {}
    }
    match &settings.stdout {
        Stdout::Inherited => {
            builder.inherit_stdout();
        }
        Stdout::Captured(capture) => {
            builder.stdout(CaptureStream(capture.clone()));
        }
        _ => {}
    }
    match &settings.stderr {
        Stdout::Inherited => {
            builder.inherit_stderr();
        }
        Stdout::Captured(capture) => {
            builder.stderr(CaptureStream(capture.clone()));
        }
        _ => {}
    }
    Ok(builder.build_p1())
}

#[derive(Clone)]
struct CaptureStream(Capture);

impl IsTerminal for CaptureStream {
    fn is_terminal(&self) -> bool {
        false
    }
}

impl StdoutStream for CaptureStream {
    fn async_stream(&self) -> Box<dyn AsyncWrite + Send + Sync> {
        Box::new(self.clone())
    }

    fn p2_stream(&self) -> Box<dyn OutputStream> {
        Box::new(self.clone())
    }
}

impl OutputStream for CaptureStream {
    fn write(&mut self, bytes: Bytes) -> StreamResult<()> {
        self.0.write(&bytes);
        Ok(())
    }

    fn flush(&mut self) -> StreamResult<()> {
        Ok(())
    }

    fn check_write(&mut self) -> StreamResult<usize> {
        Ok(WRITE_PERMIT)
    }
}

/// How much wasmtime may hand over at once: it copies that much.
const WRITE_PERMIT: usize = 64 * 1024;

#[async_trait]
impl Pollable for CaptureStream {
    async fn ready(&mut self) {}
}

impl AsyncWrite for CaptureStream {
    fn poll_write(
        self: Pin<&mut Self>,
        _: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.0.write(bytes);
        Poll::Ready(Ok(bytes.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}
