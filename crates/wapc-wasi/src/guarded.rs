//! Bounds arguments that `wasi_common` does not bound, and replaces functions that
//! it does not implement.
//!
//! A function that is defined here shadows the one of the same name that the glob
//! import brings.

use wasi_common::{WasiCtx, snapshots::preview_1::types::Errno};
use wiggle::{GuestMemory, anyhow};

use crate::{bounds::is_in_bounds, read_dir::announce_buffer};

/// The most vectors that one call reads or writes, as on Linux.
const MAX_VECTORS: u32 = 1024;
const VECTOR_BYTES: u64 = 8;

/// The number of random bytes generated between two interrupt checks.
const RANDOM_STEP_BYTES: u32 = 1024 * 1024;

const FAULT: i32 = Errno::Fault as i32;
const NOT_SUPPORTED: i32 = Errno::Notsup as i32;

/// Defines functions that pass on to `wasi_common` if all their vectors are in
/// the guest's memory.
macro_rules! check_vectors {
    ($($function:ident($($number:ident: $type:ty),*);)*) => {$(
        pub(crate) async fn $function(
            context: &mut WasiCtx,
            memory: &mut GuestMemory<'_>,
            fd: i32,
            vectors: i32,
            count: i32,
            $($number: $type),*
        ) -> anyhow::Result<i32> {
            match vector_count(memory, vectors, count) {
                Some(count) => {
                    theirs::$function(context, memory, fd, vectors, count, $($number),*).await
                }
                None => Ok(FAULT),
            }
        }
    )*};
}

/// Defines functions that pass on to `wasi_common` if the strings and the
/// pointers to them fit the guest's memory. `wasi_common` panics where strings
/// would wrap around at 4 GiB.
macro_rules! check_strings {
    ($($function:ident of $strings:ident;)*) => {$(
        pub(crate) async fn $function(
            context: &mut WasiCtx,
            memory: &mut GuestMemory<'_>,
            pointers: i32,
            bytes: i32,
        ) -> anyhow::Result<i32> {
            let strings = &context.$strings;
            let pointers_bytes = u64::from(strings.number_elements()) * 4;
            let strings_bytes = u64::from(strings.cumulative_size());
            match is_in_bounds(memory, pointers, pointers_bytes)
                && is_in_bounds(memory, bytes, strings_bytes)
            {
                true => theirs::$function(context, memory, pointers, bytes).await,
                false => Ok(FAULT),
            }
        }
    )*};
}

pub(crate) mod preview1 {
    #![allow(clippy::too_many_arguments, reason = "the signatures are WASI's")]

    use wasi_common::{I32Exit, snapshots::preview_1::wasi_snapshot_preview1 as theirs};

    use super::*;

    pub(crate) use crate::poll::preview1 as poll_oneoff;
    pub(crate) use theirs::*;

    check_strings! {
        args_get of args;
        environ_get of env;
    }

    check_vectors! {
        fd_read(read: i32);
        fd_pread(offset: i64, read: i32);
        fd_write(written: i32);
        fd_pwrite(offset: i64, written: i32);
        sock_recv(flags: i32, read: i32, read_flags: i32);
        sock_send(flags: i32, written: i32);
    }

    pub(crate) async fn fd_readdir(
        context: &mut WasiCtx,
        memory: &mut GuestMemory<'_>,
        fd: i32,
        buffer: i32,
        len: i32,
        cookie: i64,
        used: i32,
    ) -> anyhow::Result<i32> {
        if !is_in_bounds(memory, buffer, u64::from(len.cast_unsigned())) {
            return Ok(FAULT);
        }
        announce_buffer(len);
        theirs::fd_readdir(context, memory, fd, buffer, len, cookie, used).await
    }

    pub(crate) async fn random_get(
        context: &mut WasiCtx,
        memory: &mut GuestMemory<'_>,
        buffer: i32,
        len: i32,
    ) -> anyhow::Result<i32> {
        let (mut start, mut left) = (buffer.cast_unsigned(), len.cast_unsigned());
        if !is_in_bounds(memory, buffer, u64::from(left)) {
            return Ok(FAULT);
        }
        loop {
            let step = left.min(RANDOM_STEP_BYTES);
            let errno =
                theirs::random_get(context, memory, start.cast_signed(), step.cast_signed())
                    .await?;
            left -= step;
            if errno != 0 || left == 0 {
                return Ok(errno);
            }
            start = start.wrapping_add(step);
            if let Err(error) = context.sched.sched_yield().await {
                return error.downcast().map(|errno| errno as i32);
            }
        }
    }

    pub(crate) async fn proc_exit(
        _: &mut WasiCtx,
        _: &mut GuestMemory<'_>,
        code: i32,
    ) -> anyhow::Result<()> {
        Err(match code {
            0..126 => I32Exit(code).into(),
            code => anyhow::anyhow!("an exit code from 0 to 125 is needed, not {code}"),
        })
    }

    pub(crate) async fn proc_raise(
        _: &mut WasiCtx,
        _: &mut GuestMemory<'_>,
        _: i32,
    ) -> anyhow::Result<i32> {
        Ok(NOT_SUPPORTED)
    }
}

pub(crate) mod unstable {
    // These have the same signature and meaning in both versions.
    pub(crate) use crate::guarded::preview1::{
        args_get, environ_get, fd_pread, fd_pwrite, fd_read, fd_readdir, fd_write, proc_exit,
        proc_raise, random_get, sock_recv, sock_send, sock_shutdown,
    };
    pub(crate) use crate::poll::unstable as poll_oneoff;
    pub(crate) use wasi_common::snapshots::preview_0::wasi_unstable::*;
}

/// Returns how many of a guest's vectors to process, or `None` if they are not
/// all in its memory. `wasi_common` allocates a list of that length.
fn vector_count(memory: &GuestMemory<'_>, vectors: i32, count: i32) -> Option<i32> {
    let count = count.cast_unsigned();
    is_in_bounds(memory, vectors, u64::from(count) * VECTOR_BYTES)
        .then(|| count.min(MAX_VECTORS).cast_signed())
}
