//! All that C sees, and all unsafe code of this crate.
#![expect(
    unsafe_code,
    reason = "C has addresses; what each must be is said once, in the crate's documentation and the header"
)]
#![expect(
    clippy::missing_safety_doc,
    reason = "the same for all functions: addresses are what the header says, or null"
)]
#![expect(missing_debug_implementations, reason = "C does not print them")]

pub mod boundary;
pub(crate) mod callbacks;
pub(crate) mod calls;
pub(crate) mod errors;
pub(crate) mod hosts;
pub(crate) mod settings;
#[cfg(test)]
mod tests;
