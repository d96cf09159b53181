//! The built command, as a user runs it.

#![expect(
    clippy::unwrap_used,
    reason = "clippy sees no tests in the functions that tests share"
)]

mod adapt;
mod call;
mod inspect;
mod support;
