//! What stands between a guest and `wasi_common` where that would do more than
//! a guest may ask for, or do nothing.
//!
//! A function that is defined here hides the one of the same name that the
//! glob import brings.

use wasi_common::{WasiCtx, snapshots::preview_1::types::Errno};
use wiggle::{GuestMemory, anyhow};

/// The most vectors that one call reads or writes, as on Linux.
const MOST_VECTORS: u32 = 1024;
const VECTOR_BYTES: u64 = 8;

/// How many random bytes are made between two questions whether the call has
/// to end.
const RANDOM_BYTES: u32 = 1024 * 1024;

const FAULT: i32 = Errno::Fault as i32;
const NOT_SUPPORTED: i32 = Errno::Notsup as i32;

pub(crate) mod preview1 {
    use wasi_common::{
        I32Exit, StringArray, snapshots::preview_1::wasi_snapshot_preview1 as theirs,
    };

    use super::*;

    pub(crate) use crate::poll::preview1 as poll_oneoff;
    pub(crate) use theirs::*;

    pub(crate) async fn args_get(
        context: &mut WasiCtx,
        memory: &mut GuestMemory<'_>,
        argv: i32,
        bytes: i32,
    ) -> anyhow::Result<i32> {
        match strings_fit(memory, &context.args, argv, bytes) {
            true => theirs::args_get(context, memory, argv, bytes).await,
            false => Ok(FAULT),
        }
    }

    pub(crate) async fn environ_get(
        context: &mut WasiCtx,
        memory: &mut GuestMemory<'_>,
        names: i32,
        bytes: i32,
    ) -> anyhow::Result<i32> {
        match strings_fit(memory, &context.env, names, bytes) {
            true => theirs::environ_get(context, memory, names, bytes).await,
            false => Ok(FAULT),
        }
    }

    /// `wasi_common` would panic where strings wrap round past 4 GiB.
    fn strings_fit(
        memory: &GuestMemory<'_>,
        strings: &StringArray,
        pointers: i32,
        bytes: i32,
    ) -> bool {
        holds(memory, pointers, u64::from(strings.number_elements()) * 4)
            && holds(memory, bytes, u64::from(strings.cumulative_size()))
    }

    pub(crate) async fn fd_read(
        context: &mut WasiCtx,
        memory: &mut GuestMemory<'_>,
        fd: i32,
        vectors: i32,
        count: i32,
        read: i32,
    ) -> anyhow::Result<i32> {
        match vector_count(memory, vectors, count) {
            Some(count) => theirs::fd_read(context, memory, fd, vectors, count, read).await,
            None => Ok(FAULT),
        }
    }

    pub(crate) async fn fd_pread(
        context: &mut WasiCtx,
        memory: &mut GuestMemory<'_>,
        fd: i32,
        vectors: i32,
        count: i32,
        offset: i64,
        read: i32,
    ) -> anyhow::Result<i32> {
        match vector_count(memory, vectors, count) {
            Some(count) => {
                theirs::fd_pread(context, memory, fd, vectors, count, offset, read).await
            }
            None => Ok(FAULT),
        }
    }

    pub(crate) async fn fd_write(
        context: &mut WasiCtx,
        memory: &mut GuestMemory<'_>,
        fd: i32,
        vectors: i32,
        count: i32,
        written: i32,
    ) -> anyhow::Result<i32> {
        match vector_count(memory, vectors, count) {
            Some(count) => theirs::fd_write(context, memory, fd, vectors, count, written).await,
            None => Ok(FAULT),
        }
    }

    pub(crate) async fn fd_pwrite(
        context: &mut WasiCtx,
        memory: &mut GuestMemory<'_>,
        fd: i32,
        vectors: i32,
        count: i32,
        offset: i64,
        written: i32,
    ) -> anyhow::Result<i32> {
        match vector_count(memory, vectors, count) {
            Some(count) => {
                theirs::fd_pwrite(context, memory, fd, vectors, count, offset, written).await
            }
            None => Ok(FAULT),
        }
    }

    #[expect(clippy::too_many_arguments, reason = "the signature is WASI's")]
    pub(crate) async fn sock_recv(
        context: &mut WasiCtx,
        memory: &mut GuestMemory<'_>,
        fd: i32,
        vectors: i32,
        count: i32,
        flags: i32,
        read: i32,
        read_flags: i32,
    ) -> anyhow::Result<i32> {
        match vector_count(memory, vectors, count) {
            Some(count) => {
                theirs::sock_recv(context, memory, fd, vectors, count, flags, read, read_flags)
                    .await
            }
            None => Ok(FAULT),
        }
    }

    pub(crate) async fn sock_send(
        context: &mut WasiCtx,
        memory: &mut GuestMemory<'_>,
        fd: i32,
        vectors: i32,
        count: i32,
        flags: i32,
        written: i32,
    ) -> anyhow::Result<i32> {
        match vector_count(memory, vectors, count) {
            Some(count) => {
                theirs::sock_send(context, memory, fd, vectors, count, flags, written).await
            }
            None => Ok(FAULT),
        }
    }

    pub(crate) async fn random_get(
        context: &mut WasiCtx,
        memory: &mut GuestMemory<'_>,
        buffer: i32,
        len: i32,
    ) -> anyhow::Result<i32> {
        let (mut start, mut left) = (buffer.cast_unsigned(), len.cast_unsigned());
        if !holds(memory, buffer, u64::from(left)) {
            return Ok(FAULT);
        }
        loop {
            let part = left.min(RANDOM_BYTES);
            let errno =
                theirs::random_get(context, memory, start.cast_signed(), part.cast_signed())
                    .await?;
            left -= part;
            if errno != 0 || left == 0 {
                return Ok(errno);
            }
            start = start.wrapping_add(part);
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
    // These take and return the same in both versions.
    pub(crate) use super::preview1::{
        args_get, environ_get, fd_pread, fd_pwrite, fd_read, fd_write, proc_exit, proc_raise,
        random_get, sock_recv, sock_send, sock_shutdown,
    };
    pub(crate) use crate::poll::unstable as poll_oneoff;
    pub(crate) use wasi_common::snapshots::preview_0::wasi_unstable::*;
}

/// Whether `len` bytes from `pointer` on are in the memory.
pub(crate) fn holds(memory: &GuestMemory<'_>, pointer: i32, len: u64) -> bool {
    let size = match memory {
        GuestMemory::Unshared(bytes) => bytes.len(),
        GuestMemory::Shared(bytes) => bytes.len(),
    };
    u64::from(pointer.cast_unsigned())
        .checked_add(len)
        .is_some_and(|end| end <= size as u64)
}

/// How many of a guest's vectors to look at; `None` if they are not all in its
/// memory. `wasi_common` makes lists as long as the guest's.
fn vector_count(memory: &GuestMemory<'_>, vectors: i32, count: i32) -> Option<i32> {
    let count = count.cast_unsigned();
    holds(memory, vectors, u64::from(count) * VECTOR_BYTES)
        .then(|| count.min(MOST_VECTORS).cast_signed())
}
