//! The settings of adapting.

/// The settings by which a module is adapted.
///
/// ```
/// use wapc_dialects::Options;
///
/// let options = Options::new()
///     .args(["tr", "a-z", "A-Z"])
///     .env("LANG", "C");
/// assert_eq!(options.args.len(), 3);
/// ```
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct Options {
    /// The arguments of a WASI command, the program's name first. If there are none, those that the
    /// module suggests in its [settings](crate::Settings), and else those of the host's WASI.
    pub args: Vec<String>,
    /// The environment of a WASI command, as pairs of name and value, with the same rule.
    pub env: Vec<(String, String)>,
    /// The operation is the last argument of a WASI command. By default it is ignored.
    pub operation_is_argument: bool,
    /// The input and output of a WASI command may be [`Streams`](crate::Streams). By default they are the
    /// payload and the response, as they are in a call without streams.
    pub streams: bool,
    /// The guest is validated before it is returned. By default that is left to the engine.
    pub validates: bool,
    /// Small functions of the module and of its libraries are put in place of the calls to them, where
    /// libraries are linked. By default they are not, so that backtraces name them.
    pub inlines: bool,
    pub(crate) libraries: Vec<(String, Vec<u8>, Memories)>,
}

/// The memory of a library that is linked to a module.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Memories {
    /// The library has its own.
    #[default]
    Own,
    /// Where the library imports `env.memory`, it gets the export `memory` of the module.
    Shared,
}

impl Options {
    /// Returns the default options.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Sets the arguments of a WASI command, the program's name first.
    #[must_use]
    pub fn args(mut self, args: impl IntoIterator<Item = impl Into<String>>) -> Self {
        self.args = args.into_iter().map(Into::into).collect();
        self
    }

    /// Adds a variable to the environment of a WASI command.
    #[must_use]
    pub fn env(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.env.push((name.into(), value.into()));
        self
    }

    /// Sets whether the operation is the last argument of a WASI command.
    #[must_use]
    pub const fn operation_is_argument(mut self, is_argument: bool) -> Self {
        self.operation_is_argument = is_argument;
        self
    }

    /// Sets whether the input and output of a WASI command may be streams.
    #[must_use]
    pub const fn streams(mut self, streams: bool) -> Self {
        self.streams = streams;
        self
    }

    /// Sets whether the guest is validated before it is returned.
    #[must_use]
    pub const fn validates(mut self, validates: bool) -> Self {
        self.validates = validates;
        self
    }

    /// Sets whether small functions are put in place of the calls to them, where libraries are linked.
    #[must_use]
    pub const fn inlines(mut self, inlines: bool) -> Self {
        self.inlines = inlines;
        self
    }

    /// Links a library (binary or text), which provides what the module imports from `name`.
    /// Libraries may import from each other, and the host provides the rest.
    ///
    /// ```
    /// use wapc_dialects::{Memories, Options, adapt};
    ///
    /// let guest = br#"(module
    ///     (import "math" "double" (func $double (param i32) (result i32)))
    ///     (memory (export "memory") 1)
    ///     (func (export "__guest_call") (param i32 i32) (result i32)
    ///         (call $double (i32.const 0))))"#;
    /// let math = br#"(module (func (export "double") (param i32) (result i32)
    ///     (i32.mul (local.get 0) (i32.const 2))))"#;
    /// let options = Options::new().link("math", math.to_vec(), Memories::Own);
    /// adapt(guest, &options.validates(true))?;
    /// # Ok::<(), wapc_dialects::AdaptError>(())
    /// ```
    #[must_use]
    pub fn link(mut self, name: impl Into<String>, library: Vec<u8>, memories: Memories) -> Self {
        self.libraries.push((name.into(), library, memories));
        self
    }
}
