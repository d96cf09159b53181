//! Traps: their reason, and where in the guest they happened.

use std::fmt;

use thiserror::Error as ThisError;

/// A trap: the guest did what WebAssembly does not permit.
///
/// Its `Display` names the reason and the guest's innermost functions.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Trap {
    /// The reason.
    pub code: TrapCode,
    /// The guest's functions at that moment, innermost first; empty where the
    /// engine does not know.
    pub backtrace: Vec<Frame>,
}

impl Trap {
    /// A trap with this reason and backtrace, innermost function first.
    #[must_use]
    pub const fn new(code: TrapCode, backtrace: Vec<Frame>) -> Self {
        Self { code, backtrace }
    }
}

impl std::error::Error for Trap {}

impl fmt::Display for Trap {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.code)?;
        for (index, frame) in self.backtrace.iter().take(DISPLAYED_FRAMES).enumerate() {
            f.write_str(if index == 0 { " in " } else { " < " })?;
            write!(f, "{frame}")?;
        }
        if self.backtrace.len() > DISPLAYED_FRAMES {
            f.write_str(" < …")?;
        }
        Ok(())
    }
}

/// Enough to see where a trap came from on one line.
const DISPLAYED_FRAMES: usize = 4;

/// One guest function on the stack of a [`Trap`].
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Frame {
    /// The function's index in its module.
    pub function: u32,
    /// Its name, where the module has a name section.
    pub name: Option<String>,
}

impl Frame {
    /// A frame of the function with this index and name.
    #[must_use]
    pub const fn new(function: u32, name: Option<String>) -> Self {
        Self { function, name }
    }
}

impl fmt::Display for Frame {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.name {
            Some(name) => write!(f, "`{name}`"),
            None => write!(f, "function {}", self.function),
        }
    }
}

/// The reason of a [`Trap`].
///
/// The words are those of the WebAssembly specification's test suite.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, ThisError)]
#[non_exhaustive]
pub enum TrapCode {
    /// The guest ran into an `unreachable` instruction; how most languages
    /// end a panic.
    #[error("unreachable")]
    Unreachable,
    /// A load, store or bulk operation left its memory.
    #[error("out of bounds memory access")]
    MemoryOutOfBounds,
    /// A table access left its table.
    #[error("out of bounds table access")]
    TableOutOfBounds,
    /// An indirect call hit an empty table slot.
    #[error("uninitialized element")]
    IndirectCallToNull,
    /// An indirect call hit a function of another type.
    #[error("indirect call type mismatch")]
    BadSignature,
    /// An integer operation's result does not fit.
    #[error("integer overflow")]
    IntegerOverflow,
    /// An integer was divided by zero.
    #[error("integer divide by zero")]
    IntegerDivideByZero,
    /// A float without an integer value was converted to one.
    #[error("invalid conversion to integer")]
    InvalidConversion,
    /// The guest called too deep.
    #[error("call stack exhausted")]
    StackOverflow,
    /// A reason that only some engines know.
    #[error("trap")]
    Other,
}
