//! `poll_oneoff`, in both versions.

use wasi_common::{
    WasiCtx,
    snapshots::preview_1::{types::Errno, wasi_snapshot_preview1},
};
use wiggle::{GuestMemory, anyhow};

use crate::bounds::is_in_bounds;

/// The most subscriptions of one poll: more than a guest has files and timers.
const MAX_SUBSCRIPTIONS: u32 = 1024;

/// The sizes of structures in guest memory.
const SUBSCRIPTION_BYTES: usize = 48;
const UNSTABLE_SUBSCRIPTION_BYTES: usize = 56;
const EVENT_BYTES: usize = 32;
const COUNT_BYTES: usize = 4;
/// The alignment of all of them.
const ALIGNMENT: usize = 8;

const FAULT: i32 = Errno::Fault as i32;
const INVALID: i32 = Errno::Inval as i32;

/// Defines functions that check their arguments, so that a wrong one is reported
/// before the wait, and then poll.
macro_rules! check_arguments {
    ($(
        $(#[$doc:meta])*
        $function:ident($subscription_bytes:expr) => $poll:path;
    )*) => {$(
        $(#[$doc])*
        pub(crate) async fn $function(
            context: &mut WasiCtx,
            memory: &mut GuestMemory<'_>,
            subscriptions: i32,
            events: i32,
            count: i32,
            happened: i32,
        ) -> anyhow::Result<i32> {
            let places = (subscriptions, $subscription_bytes, events, happened);
            match argument_errno(memory, count, places) {
                Some(errno) => Ok(errno),
                None => $poll(context, memory, subscriptions, events, count, happened).await,
            }
        }
    )*};
}

check_arguments! {
    preview1(SUBSCRIPTION_BYTES) => wasi_snapshot_preview1::poll_oneoff;

    /// The older version, translated to the newer one, since the older one of
    /// `wasi_common` does not poll files. They differ in one field of
    /// subscriptions to a clock.
    unstable(UNSTABLE_SUBSCRIPTION_BYTES) => poll_translated;
}

async fn poll_translated(
    context: &mut WasiCtx,
    memory: &mut GuestMemory<'_>,
    subscriptions: i32,
    events: i32,
    count: i32,
    happened: i32,
) -> anyhow::Result<i32> {
    let polled = try_poll_translated(context, memory, subscriptions, events, count, happened).await;
    // The arguments have been checked: `None` is unreachable.
    polled.unwrap_or(Ok(FAULT))
}

/// Returns `None` if an argument is out of bounds.
async fn try_poll_translated(
    context: &mut WasiCtx,
    memory: &mut GuestMemory<'_>,
    subscriptions: i32,
    events: i32,
    count: i32,
    happened: i32,
) -> Option<anyhow::Result<i32>> {
    let number = count.cast_unsigned() as usize;
    let new_events = number * SUBSCRIPTION_BYTES;
    let new_happened = new_events + number * EVENT_BYTES;

    let mut buffer = vec![0; new_happened + COUNT_BYTES + ALIGNMENT];
    let aligned = buffer.as_ptr().align_offset(ALIGNMENT);
    let scratch = buffer.get_mut(aligned..)?;
    let old = bytes_mut(memory, subscriptions, number * UNSTABLE_SUBSCRIPTION_BYTES)?;
    for (old, new) in old
        .as_chunks::<UNSTABLE_SUBSCRIPTION_BYTES>()
        .0
        .iter()
        .zip(scratch.as_chunks_mut::<SUBSCRIPTION_BYTES>().0)
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
        let result = scratch.get(new_happened..)?.first_chunk::<COUNT_BYTES>()?;
        let used = (u32::from_le_bytes(*result) as usize).checked_mul(EVENT_BYTES)?;
        let from = scratch.get(new_events..)?.get(..used)?;
        bytes_mut(memory, events, used)?.copy_from_slice(from);
        bytes_mut(memory, happened, COUNT_BYTES)?.copy_from_slice(result);
    }
    Some(errno)
}

/// Translates an old subscription to a new one.
fn translate(
    old: &[u8; UNSTABLE_SUBSCRIPTION_BYTES],
    new: &mut [u8; SUBSCRIPTION_BYTES],
) -> Option<()> {
    const TAG: usize = 8;
    const CONTENTS: usize = 16;
    const CLOCK: u8 = 0;

    new.get_mut(..CONTENTS)?
        .copy_from_slice(old.get(..CONTENTS)?);
    let contents = new.get_mut(CONTENTS..)?;
    let skipped = match old.get(TAG)? {
        // The old clock has an identifier of its own.
        &CLOCK => UNSTABLE_SUBSCRIPTION_BYTES - SUBSCRIPTION_BYTES,
        _ => 0,
    };
    let from = old.get(CONTENTS + skipped..)?.get(..contents.len())?;
    contents.copy_from_slice(from);
    Some(())
}

/// Returns the errno of wrong arguments. The places are the subscriptions, their
/// size, the events, and the number of events.
fn argument_errno(
    memory: &GuestMemory<'_>,
    count: i32,
    (subscriptions, subscription_bytes, events, happened): (i32, usize, i32, i32),
) -> Option<i32> {
    let count = count.cast_unsigned();
    let array_fits =
        |pointer, bytes: usize| is_in_bounds(memory, pointer, u64::from(count) * bytes as u64);
    match () {
        () if count == 0 || count > MAX_SUBSCRIPTIONS => Some(INVALID),
        () if !array_fits(subscriptions, subscription_bytes)
            || !array_fits(events, EVENT_BYTES) =>
        {
            Some(FAULT)
        }
        () if !is_in_bounds(memory, happened, COUNT_BYTES as u64) => Some(FAULT),
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
