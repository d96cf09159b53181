//! `poll_oneoff`, in both versions.

use wasi_common::{
    WasiCtx,
    snapshots::preview_1::{types::Errno, wasi_snapshot_preview1},
};
use wiggle::{GuestMemory, anyhow};

use crate::guarded::holds;

/// More than a guest can have files and timers to wait for.
const MOST_SUBSCRIPTIONS: u32 = 1024;

/// The sizes of structures in guest memory.
const SUBSCRIPTION: usize = 48;
const UNSTABLE_SUBSCRIPTION: usize = 56;
const EVENT: usize = 32;
const COUNT: usize = 4;
/// All of them are aligned so.
const ALIGNMENT: usize = 8;

const FAULT: i32 = Errno::Fault as i32;
const INVALID: i32 = Errno::Inval as i32;

pub(crate) async fn preview1(
    context: &mut WasiCtx,
    memory: &mut GuestMemory<'_>,
    subscriptions: i32,
    events: i32,
    count: i32,
    happened: i32,
) -> anyhow::Result<i32> {
    // What is wrong is told before the wait.
    match misplaced(memory, subscriptions, SUBSCRIPTION, events, count, happened) {
        Some(errno) => Ok(errno),
        None => {
            wasi_snapshot_preview1::poll_oneoff(
                context,
                memory,
                subscriptions,
                events,
                count,
                happened,
            )
            .await
        }
    }
}

/// The older version, by way of the newer: `wasi_common` leaves files out of
/// it. Only a subscription to a clock has changed, which had one more field.
pub(crate) async fn unstable(
    context: &mut WasiCtx,
    memory: &mut GuestMemory<'_>,
    subscriptions: i32,
    events: i32,
    count: i32,
    happened: i32,
) -> anyhow::Result<i32> {
    if let Some(errno) = misplaced(
        memory,
        subscriptions,
        UNSTABLE_SUBSCRIPTION,
        events,
        count,
        happened,
    ) {
        return Ok(errno);
    }
    let polled = poll_translated(context, memory, subscriptions, events, count, happened).await;
    // Nothing is out of bounds any more.
    polled.unwrap_or(Ok(FAULT))
}

/// `None` if something is out of bounds.
async fn poll_translated(
    context: &mut WasiCtx,
    memory: &mut GuestMemory<'_>,
    subscriptions: i32,
    events: i32,
    count: i32,
    happened: i32,
) -> Option<anyhow::Result<i32>> {
    let number = count.cast_unsigned() as usize;
    let new_events = number * SUBSCRIPTION;
    let new_happened = new_events + number * EVENT;

    let mut buffer = vec![0; new_happened + COUNT + ALIGNMENT];
    let aligned = buffer.as_ptr().align_offset(ALIGNMENT);
    let scratch = buffer.get_mut(aligned..)?;
    let old = bytes_mut(memory, subscriptions, number * UNSTABLE_SUBSCRIPTION)?;
    for (old, new) in old
        .as_chunks::<UNSTABLE_SUBSCRIPTION>()
        .0
        .iter()
        .zip(scratch.as_chunks_mut::<SUBSCRIPTION>().0)
    {
        translate(old, new)?;
    }
    let errno = wasi_snapshot_preview1::poll_oneoff(
        context,
        &mut GuestMemory::Unshared(scratch),
        0,
        i32::try_from(new_events).ok()?,
        count,
        i32::try_from(new_happened).ok()?,
    )
    .await;
    if let Ok(0) = errno {
        let result = scratch.get(new_happened..)?.first_chunk::<COUNT>()?;
        let used = (u32::from_le_bytes(*result) as usize).checked_mul(EVENT)?;
        let from = scratch.get(new_events..)?.get(..used)?;
        bytes_mut(memory, events, used)?.copy_from_slice(from);
        bytes_mut(memory, happened, COUNT)?.copy_from_slice(result);
    }
    Some(errno)
}

/// Writes an old subscription as a new one.
fn translate(old: &[u8; UNSTABLE_SUBSCRIPTION], new: &mut [u8; SUBSCRIPTION]) -> Option<()> {
    const TAG: usize = 8;
    const CONTENTS: usize = 16;
    const CLOCK: u8 = 0;

    new.get_mut(..CONTENTS)?
        .copy_from_slice(old.get(..CONTENTS)?);
    let contents = new.get_mut(CONTENTS..)?;
    let skipped = match old.get(TAG)? {
        // An identifier, beside the one that every subscription has.
        &CLOCK => UNSTABLE_SUBSCRIPTION - SUBSCRIPTION,
        _ => 0,
    };
    let from = old.get(CONTENTS + skipped..)?.get(..contents.len())?;
    contents.copy_from_slice(from);
    Some(())
}

/// The errno of a poll that cannot be.
fn misplaced(
    memory: &GuestMemory<'_>,
    subscriptions: i32,
    subscription_bytes: usize,
    events: i32,
    count: i32,
    happened: i32,
) -> Option<i32> {
    let count = count.cast_unsigned();
    let in_bounds = |pointer, bytes: usize| holds(memory, pointer, u64::from(count) * bytes as u64);
    match () {
        () if count == 0 || count > MOST_SUBSCRIPTIONS => Some(INVALID),
        () if !in_bounds(subscriptions, subscription_bytes) || !in_bounds(events, EVENT) => {
            Some(FAULT)
        }
        () if !holds(memory, happened, COUNT as u64) => Some(FAULT),
        () => None,
    }
}

fn bytes_mut<'m>(
    memory: &'m mut GuestMemory<'_>,
    pointer: i32,
    len: usize,
) -> Option<&'m mut [u8]> {
    match memory {
        GuestMemory::Unshared(bytes) => bytes
            .get_mut(pointer.cast_unsigned() as usize..)?
            .get_mut(..len),
        GuestMemory::Shared(_) => None,
    }
}
