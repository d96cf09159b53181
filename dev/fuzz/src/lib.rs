//! Seeded fuzzing on stable Rust: of the host, of both engines, of
//! `wapc inspect` and of typed calls.
//!
//! ```console
//! $ cargo run --release -p fuzz -- conversations --executions 1000000
//! ```
//!
//! An execution depends on its seed alone, so the seed of a failure reproduces it:
//! `--seed SEED --executions 1`.
//!
//! - [`conversations`]: the host and `ModuleState` under a scripted engine,
//!   against a model.
//! - [`bombs`]: modules that cost a compiler much, measured.
//! - [`guests`]: generated guests, compared between the engines.
//! - [`inspect`]: arbitrary bytes, which must have a report or be refused.
//! - [`typed`]: bad payloads, errors and descriptors of typed calls.
//! - [`runner`]: runs executions on all processors, and catches their panics.

#![forbid(unsafe_code)]

pub mod bombs;
pub mod conversations;
pub mod guests;
pub mod inspect;
mod log_lines;
pub mod random;
pub mod runner;
mod study;
pub mod typed;
