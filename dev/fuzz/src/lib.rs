//! Seeded fuzzing on stable Rust: of the host, of both engines and of
//! `wapc inspect`.
//!
//! ```console
//! $ cargo run --release -p fuzz -- conversations --executions 1000000
//! ```
//!
//! An execution is a function of its seed alone, so that the seed of a failure
//! is all that is needed to see it again: `--seed SEED --executions 1`.
//!
//! - [`conversations`]: the host and `ModuleState` under a scripted engine,
//!   against a model.
//! - [`guests`]: generated guests, on both engines alike.
//! - [`inspect`]: any bytes.
//! - [`runner`]: runs executions on all processors, and catches what they do.

#![forbid(unsafe_code)]

pub mod conversations;
pub mod guests;
pub mod inspect;
mod log_lines;
pub mod random;
pub mod runner;
mod study;
