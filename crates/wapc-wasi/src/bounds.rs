//! The bounds of guest memory.

use wiggle::GuestMemory;

/// Returns whether `len` bytes from `pointer` on are in the memory.
pub(crate) fn is_in_bounds(memory: &GuestMemory<'_>, pointer: i32, len: u64) -> bool {
    let size = match memory {
        GuestMemory::Unshared(bytes) => bytes.len(),
        GuestMemory::Shared(bytes) => bytes.len(),
    };
    u64::from(pointer.cast_unsigned())
        .checked_add(len)
        .is_some_and(|end| end <= size as u64)
}
