//! Sets up and links WASI from the host's settings.

use std::{
    io::{self, Cursor, Write},
    pin::pin,
    task::{Context, Poll, Waker},
};

use wapc_host::{Capture, EngineError, Stdin, Stdout, WasiSettings};
use wasmi::{Caller, Error, Linker};
use wasmi_wasi::{
    Dir, WasiCtx, WasiCtxBuilder, WasiFile, WasmiGuestMemory, ambient_authority, stdio,
    wasi_common::{
        I32Exit,
        pipe::{ReadPipe, WritePipe},
        snapshots::preview_0::wasi_unstable,
        sync::dir,
    },
};

use crate::{
    imports::{Data, conversation},
    mapped_dir::MappedDir,
};

/// A fresh context for one instance.
pub(crate) fn context(settings: &WasiSettings) -> Result<WasiCtx, EngineError> {
    let mut builder = WasiCtxBuilder::new();
    let too_long =
        |error: wasmi_wasi::wasi_common::StringArrayError| EngineError::Other(Box::new(error));
    builder
        .args(&settings.args)
        .and_then(|builder| builder.envs(&settings.env))
        .map_err(too_long)?;
    match &settings.stdin {
        Stdin::Inherited => {
            builder.inherit_stdin();
        }
        Stdin::Bytes(bytes) => {
            builder.stdin(Box::new(ReadPipe::new(Cursor::new(bytes.clone()))));
        }
        _ => {}
    }
    if let Some(stdout) = output(&settings.stdout, stdio::stdout) {
        builder.stdout(stdout);
    }
    if let Some(stderr) = output(&settings.stderr, stdio::stderr) {
        builder.stderr(stderr);
    }
    let context = builder.build();

    for mapped in &settings.dirs {
        let opened = Dir::open_ambient_dir(&mapped.host, ambient_authority())
            .map_err(|error| mapped.unusable(error))?;
        let opened = Box::new(dir::Dir::from_cap_std(opened));
        context
            .push_preopened_dir(
                Box::new(MappedDir::new(opened, mapped.access)),
                &mapped.guest,
            )
            .map_err(|error| mapped.unusable(error.to_string()))?;
    }
    Ok(context)
}

/// `None` for the default: swallow all.
fn output<F: WasiFile + 'static>(
    setting: &Stdout,
    inherited: fn() -> F,
) -> Option<Box<dyn WasiFile>> {
    match setting {
        Stdout::Inherited => Some(Box::new(inherited())),
        Stdout::Captured(capture) => Some(Box::new(WritePipe::new(CaptureWriter(capture.clone())))),
        _ => None,
    }
}

struct CaptureWriter(Capture);

impl Write for CaptureWriter {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.write(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Links WASI under both of its names.
pub(crate) fn link(linker: &mut Linker<Data>) -> Result<(), Error> {
    wasmi_wasi::add_to_linker(linker, wasi_context)
        .map_err(|error| Error::new(error.to_string()))?;
    link_unstable(linker)
}

fn wasi_context(data: &mut Data) -> &mut WasiCtx {
    data.wasi
        .as_mut()
        .expect("WASI is linked only for a module that imports it, whose data has a context")
}

/// Links each function of `wasi_unstable`, which `wasmi_wasi` leaves out, to
/// its implementation in `wasi_common`.
macro_rules! link_unstable_functions {
    ($linker:ident, {
        $($name:ident($($number:ident: $ty:ty),*) -> $result:ty;)*
    }) => {
        $($linker.func_wrap(
            "wasi_unstable",
            stringify!($name),
            |mut caller: Caller<'_, Data>, $($number: $ty),*| -> Result<$result, Error> {
                let (memory, data) = conversation(&mut caller, stringify!($name))?;
                let mut memory = WasmiGuestMemory::Unshared(memory);
                ready(wasi_unstable::$name(wasi_context(data), &mut memory, $($number),*))?
                    .map_err(|error| match error.downcast_ref() {
                        Some(I32Exit(code)) => Error::i32_exit(*code),
                        None => Error::new(error.to_string()),
                    })
            },
        )?;)*
    };
}

fn link_unstable(linker: &mut Linker<Data>) -> Result<(), Error> {
    link_unstable_functions!(linker, {
        args_get(a: i32, b: i32) -> i32;
        args_sizes_get(a: i32, b: i32) -> i32;
        clock_res_get(a: i32, b: i32) -> i32;
        clock_time_get(a: i32, b: i64, c: i32) -> i32;
        environ_get(a: i32, b: i32) -> i32;
        environ_sizes_get(a: i32, b: i32) -> i32;
        fd_advise(a: i32, b: i64, c: i64, d: i32) -> i32;
        fd_allocate(a: i32, b: i64, c: i64) -> i32;
        fd_close(a: i32) -> i32;
        fd_datasync(a: i32) -> i32;
        fd_fdstat_get(a: i32, b: i32) -> i32;
        fd_fdstat_set_flags(a: i32, b: i32) -> i32;
        fd_fdstat_set_rights(a: i32, b: i64, c: i64) -> i32;
        fd_filestat_get(a: i32, b: i32) -> i32;
        fd_filestat_set_size(a: i32, b: i64) -> i32;
        fd_filestat_set_times(a: i32, b: i64, c: i64, d: i32) -> i32;
        fd_pread(a: i32, b: i32, c: i32, d: i64, e: i32) -> i32;
        fd_prestat_dir_name(a: i32, b: i32, c: i32) -> i32;
        fd_prestat_get(a: i32, b: i32) -> i32;
        fd_pwrite(a: i32, b: i32, c: i32, d: i64, e: i32) -> i32;
        fd_read(a: i32, b: i32, c: i32, d: i32) -> i32;
        fd_readdir(a: i32, b: i32, c: i32, d: i64, e: i32) -> i32;
        fd_renumber(a: i32, b: i32) -> i32;
        fd_seek(a: i32, b: i64, c: i32, d: i32) -> i32;
        fd_sync(a: i32) -> i32;
        fd_tell(a: i32, b: i32) -> i32;
        fd_write(a: i32, b: i32, c: i32, d: i32) -> i32;
        path_create_directory(a: i32, b: i32, c: i32) -> i32;
        path_filestat_get(a: i32, b: i32, c: i32, d: i32, e: i32) -> i32;
        path_filestat_set_times(a: i32, b: i32, c: i32, d: i32, e: i64, f: i64, g: i32) -> i32;
        path_link(a: i32, b: i32, c: i32, d: i32, e: i32, f: i32, g: i32) -> i32;
        path_open(a: i32, b: i32, c: i32, d: i32, e: i32, f: i64, g: i64, h: i32, i: i32) -> i32;
        path_readlink(a: i32, b: i32, c: i32, d: i32, e: i32, f: i32) -> i32;
        path_remove_directory(a: i32, b: i32, c: i32) -> i32;
        path_rename(a: i32, b: i32, c: i32, d: i32, e: i32, f: i32) -> i32;
        path_symlink(a: i32, b: i32, c: i32, d: i32, e: i32) -> i32;
        path_unlink_file(a: i32, b: i32, c: i32) -> i32;
        poll_oneoff(a: i32, b: i32, c: i32, d: i32) -> i32;
        proc_exit(a: i32) -> ();
        proc_raise(a: i32) -> i32;
        random_get(a: i32, b: i32) -> i32;
        sched_yield() -> i32;
        sock_recv(a: i32, b: i32, c: i32, d: i32, e: i32, f: i32) -> i32;
        sock_send(a: i32, b: i32, c: i32, d: i32, e: i32) -> i32;
        sock_shutdown(a: i32, b: i32) -> i32;
    });
    Ok(())
}

/// The result of a future of `wasi_common`'s blocking implementation, which is
/// ready at once.
fn ready<T>(future: impl Future<Output = T>) -> Result<T, Error> {
    match pin!(future).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(result) => Ok(result),
        Poll::Pending => Err(Error::new("a blocking WASI function did not block")),
    }
}
