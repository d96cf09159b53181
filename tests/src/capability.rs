//! The parts of the conformance table that an engine may claim.

/// An ability that some conformance cases need.
///
/// An engine without any runs the cases of calls, host calls, swaps and threads, on
/// the guests of [`BASIC_GUESTS`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Capability {
    /// Compiles every module that [`wapc_host::module`] accepts, with the
    /// same results as other engines; refuses all others; keeps
    /// [`ModuleLimits`](wapc_host::ModuleLimits), and the limits on memory, tables and the stack.
    AnyModule,
    /// Provides WASI.
    Wasi,
    /// Ends guests by time: timeouts, deadlines and cancelling.
    Time,
    /// Counts fuel, and ends guests without any.
    Fuel,
    /// Suspends guests in async calls.
    Async,
    /// Pauses guests that compute in async calls, for the executor's other tasks.
    Yields,
    /// Names the functions on the stack of a guest that trapped.
    Backtraces,
}

impl Capability {
    /// All capabilities.
    pub const ALL: &[Self] = &[
        Self::AnyModule,
        Self::Wasi,
        Self::Time,
        Self::Fuel,
        Self::Async,
        Self::Yields,
        Self::Backtraces,
    ];
}

/// The names of the guests that every engine runs.
///
/// They import from `wapc` alone, and need no more of WebAssembly than one memory, a
/// mutable global, active data, integers of 32 bits, `if`, `loop`, branches, direct
/// calls and a start section.
pub const BASIC_GUESTS: &[&str] = &[
    "echo",
    "echo_host",
    "empty_response",
    "error_only_one",
    "error_then_one",
    "error_then_trap",
    "hostile/loop",
    "no_request",
    "release_1",
    "release_2",
    "request_twice",
    "respond_twice",
    "response_then_error",
    "start_calls_host",
    "start_logs",
    "start_order",
    "start_section",
    "stateful",
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn basic_guests_import_from_wapc_alone() {
        for name in BASIC_GUESTS {
            let text = guest_fixtures::wat(name).unwrap_or_else(|| panic!("no guest {name}"));
            let imports = text.matches("(import \"").count();
            assert_eq!(imports, text.matches("(import \"wapc\"").count(), "{name}");
        }
    }
}
