//! Checks before a guest is called.

use std::time::{Duration, Instant};

use crate::{
    engine::guest_call::Lengths,
    error::{Error, Spent},
    limits::call::CallOptions,
    limits::interruption::Interruption,
};

/// Refuses a call whose options its instance cannot enforce, or whose time is
/// over.
#[cold]
pub(super) fn admit(
    interruption: Interruption,
    operation: &str,
    options: &CallOptions,
) -> Result<(), Error> {
    require_interruption(
        interruption,
        options.timeout.is_some() || options.deadline.is_some() || options.cancel.is_some(),
        options.fuel.is_some(),
    )?;
    reject_if_over(operation, options)
}

/// Refuses limits or options that a provider cannot enforce.
pub(super) fn require_interruption(
    interruption: Interruption,
    time: bool,
    fuel: bool,
) -> Result<(), Error> {
    if time && !interruption.by_time() {
        return Err(Error::NotInterruptible { what: "time" });
    }
    if fuel && !interruption.by_fuel() {
        return Err(Error::NotInterruptible { what: "fuel" });
    }
    Ok(())
}

/// Refuses a call that is cancelled or whose deadline has passed.
pub(super) fn reject_if_over(operation: &str, options: &CallOptions) -> Result<(), Error> {
    if options.is_cancelled() {
        return Err(Error::Cancelled {
            operation: operation.to_owned(),
            spent: Spent::default(),
        });
    }
    match options.deadline {
        Some(deadline) if deadline <= Instant::now() => Err(no_time(operation)),
        _ if options.timeout == Some(Duration::ZERO) => Err(no_time(operation)),
        _ => Ok(()),
    }
}

/// Returns the error of a call that has no time.
#[cold]
pub(super) fn no_time(operation: &str) -> Error {
    Error::TimedOut {
        operation: operation.to_owned(),
        timeout: Duration::ZERO,
        began: false,
        waited: Duration::ZERO,
        spent: Spent::default(),
    }
}

impl Lengths {
    #[inline]
    pub(super) fn new(operation: &str, payload: &[u8], limit: usize) -> Result<Self, Error> {
        // No overflow: the length of a slice is at most `isize::MAX`.
        let bytes = operation.len() + payload.len();
        if bytes > limit {
            return Err(Error::TooLarge { bytes, limit });
        }
        Ok(Self {
            operation: to_wire(operation.len()),
            payload: to_wire(payload.len()),
        })
    }
}

/// Converts a length of at most [`MAX_REQUEST_BYTES`] to its form in the
/// protocol: an unsigned 32-bit number in an `i32`.
#[expect(
    clippy::cast_possible_truncation,
    reason = "the caller has checked the length against a limit of at most `MAX_REQUEST_BYTES`"
)]
const fn to_wire(length: usize) -> i32 {
    (length as u32).cast_signed()
}

/// The size of a guest's address space.
pub(super) const MAX_REQUEST_BYTES: usize = u32::MAX as usize;
