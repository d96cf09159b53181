//! Checked access to guest memory: bounds, lengths and UTF-8. No other code
//! slices it.

use std::str::Utf8Error;

use crate::{
    error::{ProtocolError, StopReason},
    limits::guest::{LimitError, Limits},
};

/// Returns the bytes of `memory` that a guest's pointer and length denote.
#[inline]
pub(super) fn read<'m>(
    memory: &'m [u8],
    ptr: i32,
    len: i32,
    import: &'static str,
    what: &'static str,
) -> Result<&'m [u8], StopReason> {
    let (pointer, length) = (ptr.cast_unsigned(), len.cast_unsigned() as usize);
    if length == 0 {
        return Ok(&[]);
    }
    let start = pointer as usize;
    start
        .checked_add(length)
        .and_then(|end| memory.get(start..end))
        .ok_or_else(|| out_of_bounds(memory, pointer, length, import, what).into())
}

/// Writes `bytes` at a guest's pointer.
#[inline]
pub(super) fn write(
    memory: &mut [u8],
    ptr: i32,
    bytes: &[u8],
    import: &'static str,
    what: &'static str,
) -> Result<(), StopReason> {
    if bytes.is_empty() {
        return Ok(());
    }
    let start = ptr.cast_unsigned() as usize;
    match start
        .checked_add(bytes.len())
        .and_then(|end| memory.get_mut(start..end))
    {
        Some(target) => {
            target.copy_from_slice(bytes);
            Ok(())
        }
        None => Err(out_of_bounds(memory, ptr.cast_unsigned(), bytes.len(), import, what).into()),
    }
}

/// Refuses a message from the guest that exceeds `max_outbound_bytes`.
#[inline]
pub(super) fn check_outbound(
    limits: &Limits,
    bytes: usize,
    import: &'static str,
    what: &'static str,
) -> Result<(), StopReason> {
    let limit = limits.max_outbound_bytes;
    if bytes <= limit {
        return Ok(());
    }
    Err(StopReason::Limit(LimitError::OutboundBytes {
        import,
        what,
        bytes,
        limit,
    }))
}

/// Converts a length to its form in the protocol: an unsigned 32-bit number in
/// an `i32`.
pub(super) fn length(
    bytes: usize,
    import: &'static str,
    what: &'static str,
) -> Result<i32, StopReason> {
    u32::try_from(bytes).map(u32::cast_signed).map_err(|_| {
        StopReason::Protocol(ProtocolError::TooLarge {
            import,
            what,
            bytes,
        })
    })
}

#[cold]
const fn out_of_bounds(
    memory: &[u8],
    pointer: u32,
    length: usize,
    import: &'static str,
    what: &'static str,
) -> ProtocolError {
    ProtocolError::OutOfBounds {
        import,
        what,
        pointer,
        length,
        memory: memory.len(),
    }
}

#[cold]
pub(super) const fn not_utf8(
    error: Utf8Error,
    import: &'static str,
    what: &'static str,
) -> StopReason {
    StopReason::Protocol(ProtocolError::NotUtf8 {
        import,
        what,
        valid_up_to: error.valid_up_to(),
    })
}

pub(super) fn assembly_script_string(memory: &[u8], ptr: i32) -> Option<String> {
    let start = ptr.cast_unsigned() as usize;
    let (before, from) = memory.split_at_checked(start)?;
    let bytes = u32::from_le_bytes(*before.last_chunk()?) as usize;
    let (units, _) = from.get(..bytes.min(MAX_ABORT_STRING_BYTES))?.as_chunks();
    let units = units.iter().copied().map(u16::from_le_bytes);
    Some(
        char::decode_utf16(units)
            .map(|unit| unit.unwrap_or('\u{fffd}'))
            .collect(),
    )
}

/// The greatest part of an abort message that is read, since a guest may claim
/// a length of 4 GiB.
const MAX_ABORT_STRING_BYTES: usize = 64 * 1024;
