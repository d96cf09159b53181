//! Traps: their reason, and their place in the guest.

use std::fmt;

use thiserror::Error as ThisError;

use crate::text::{Printable, demangled};

/// A trap: WebAssembly's way to end a guest that does something invalid.
///
/// Its `Display` names the reason and the guest's innermost functions.
///
/// ```
/// use wapc_host::error::{Frame, Trap, TrapCode};
///
/// let backtrace = vec![Frame::new(7, Some("parse")), Frame::new(2, None)];
/// let trap = Trap::new(TrapCode::IntegerDivideByZero, backtrace);
/// assert_eq!(trap.to_string(), "integer divide by zero in `parse` < function 2");
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Trap {
    /// The reason.
    pub code: TrapCode,
    /// The guest's call stack, innermost function first; empty if the engine
    /// does not record it.
    pub backtrace: Vec<Frame>,
}

impl Trap {
    /// Creates a trap with this reason and backtrace, innermost function first, of which
    /// at most 64 frames are kept.
    #[must_use]
    pub fn new(code: TrapCode, mut backtrace: Vec<Frame>) -> Self {
        backtrace.truncate(MAX_FRAMES);
        Self { code, backtrace }
    }
}

impl std::error::Error for Trap {}

impl fmt::Display for Trap {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.code)?;
        // A panic passes through functions of the language's runtime: those of the guest come
        // first, unless there are no others.
        let innermost = self
            .backtrace
            .iter()
            .position(|frame| !frame.is_of_runtime());
        let own = self.backtrace.get(innermost.unwrap_or_default()..);
        let own = own.unwrap_or_default();
        for (index, frame) in own.iter().take(DISPLAYED_FRAMES).enumerate() {
            f.write_str(if index == 0 { " in " } else { " < " })?;
            write!(f, "{frame}")?;
        }
        if own.len() > DISPLAYED_FRAMES {
            f.write_str(" < …")?;
        }
        Ok(())
    }
}

/// The greatest number of frames of a trap.
const MAX_FRAMES: usize = 64;

/// The number of frames that `Display` shows, to keep a trap on one line.
const DISPLAYED_FRAMES: usize = 4;

/// One guest function on the stack of a [`Trap`].
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Frame {
    /// The function's index in its module.
    pub function: u32,
    /// The function's name, if the module has a name section: as it stands in the source,
    /// if it was mangled by Rust or C++, and at most 256 bytes of it.
    pub name: Option<String>,
}

impl Frame {
    /// Creates a frame of the function with this index, and its name in the module.
    #[must_use]
    pub fn new(function: u32, name: Option<&str>) -> Self {
        Self {
            function,
            name: name.map(demangled),
        }
    }

    /// Returns `true` for a function of the language's runtime: the standard library's of Rust,
    /// with its ways into a panic.
    #[must_use]
    pub fn is_of_runtime(&self) -> bool {
        const CRATES: [&str; 3] = ["std::", "core::", "alloc::"];
        const FUNCTIONS: [&str; 6] = [
            "rust_panic",
            "rust_begin_unwind",
            "__rust_",
            "__rustc::",
            "abort",
            "__wasi_proc_exit",
        ];
        self.name.as_ref().is_some_and(|name| {
            let name = name.trim_start_matches(['<', '&']);
            CRATES
                .iter()
                .chain(&FUNCTIONS)
                .any(|prefix| name.starts_with(prefix))
        })
    }
}

impl fmt::Display for Frame {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.name {
            Some(name) => write!(f, "`{}`", Printable::line(name)),
            None => write!(f, "function {}", self.function),
        }
    }
}

/// The reason of a [`Trap`].
///
/// The texts are those of the WebAssembly specification's test suite.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, ThisError)]
#[non_exhaustive]
pub enum TrapCode {
    /// The guest executed an `unreachable` instruction. Most languages end a
    /// panic with it.
    #[error("unreachable")]
    Unreachable,
    /// A load, store or bulk operation accessed bytes outside of a memory.
    #[error("out of bounds memory access")]
    MemoryOutOfBounds,
    /// A table access was outside of the table.
    #[error("out of bounds table access")]
    TableOutOfBounds,
    /// An indirect call hit an empty table slot.
    #[error("uninitialized element")]
    IndirectCallToNull,
    /// An indirect call hit a function of another type.
    #[error("indirect call type mismatch")]
    BadSignature,
    /// The result of an integer operation does not fit its type.
    #[error("integer overflow")]
    IntegerOverflow,
    /// An integer was divided by zero.
    #[error("integer divide by zero")]
    IntegerDivideByZero,
    /// A float that is not a number was converted to an integer.
    #[error("invalid conversion to integer")]
    InvalidConversion,
    /// The guest's calls were nested too deep.
    #[error("call stack exhausted")]
    StackOverflow,
    /// A reason that only some engines have.
    #[error("trap")]
    Other,
}
