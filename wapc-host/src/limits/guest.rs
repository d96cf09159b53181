//! What a guest may use up.

use std::time::Duration;

use thiserror::Error as ThisError;

/// What a guest may use up, the same on each engine.
///
/// They belong to a host, and hold for each of its instances, whatever module
/// and engine a swap brings. The start functions of an instance are together
/// under the same limits as one call.
///
/// ```
/// use std::time::Duration;
/// use wapc_host::Limits;
///
/// let limits = Limits::default()
///     .max_memory_bytes(64 << 20)
///     .timeout(Duration::from_millis(200));
/// ```
///
/// The depth of a guest's calls is bounded by the engine, since it alone knows
/// what a call takes of its stack: see the builders of the providers.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Limits {
    /// Bytes of each linear memory. Default: 256 MiB.
    ///
    /// A module whose memory begins larger is refused
    /// ([`LimitError::Memory`]). A guest that asks for more later is told that
    /// there is none: `memory.grow` returns −1.
    pub max_memory_bytes: usize,
    /// Bytes of all linear memories of an instance. Default: 256 MiB. The
    /// effect is that of `max_memory_bytes`.
    pub max_total_memory_bytes: usize,
    /// Linear memories of a module. Default: 8. A module with more is refused
    /// ([`LimitError::Memories`]).
    pub max_memories: usize,
    /// Elements of all tables of an instance. Default: 1,000,000.
    ///
    /// A module whose tables begin larger is refused
    /// ([`LimitError::TableElements`]); later `table.grow` returns −1.
    pub max_table_elements: usize,
    /// Tables of a module. Default: 16. A module with more is refused
    /// ([`LimitError::Tables`]).
    pub max_tables: usize,
    /// Bytes of one message to the guest: the payload of a call with its
    /// operation, or the host's answer to a host call. Default: 64 MiB.
    ///
    /// A larger payload is refused before the guest is called
    /// ([`Error::TooLarge`](crate::Error::TooLarge)); a larger answer is an
    /// error that the guest is told of.
    pub max_inbound_bytes: usize,
    /// Bytes of one message from the guest: its response, its error, or the
    /// payload of a host call. Default: 64 MiB. A larger one ends the call
    /// ([`LimitError::OutboundBytes`]).
    pub max_outbound_bytes: usize,
    /// Host calls in one call. Default: 100,000. One more ends the call
    /// ([`LimitError::HostCalls`]).
    pub max_host_calls: u64,
    /// Bytes of log lines in one call, each line with its end. Default: 1 MiB.
    /// More ends the call ([`LimitError::LogBytes`]).
    pub max_log_bytes: u64,
    /// Files and directories that an instance may have open at a time through
    /// WASI, besides those that are mapped and the standard streams. Default:
    /// 64. Opening one more is answered by errno 33 (`mfile`).
    pub max_open_files: usize,
    /// How long a call may take, host calls included and waiting for an
    /// instance not. `None` is for ever. Default: 10 s.
    ///
    /// It is noticed within a few milliseconds
    /// ([`Error::TimedOut`](crate::Error::TimedOut)). Needs a provider that can
    /// interrupt by time ([`Interruption`](crate::Interruption)).
    pub timeout: Option<Duration>,
    /// How long the start functions of an instance may take together. `None`
    /// is for ever. Default: 10 s.
    pub start_timeout: Option<Duration>,
    /// Fuel for one call: about one unit for each instruction, counted by each
    /// engine in its own way. `None` is without end, and the default.
    ///
    /// A guest without fuel is ended ([`LimitError::Fuel`]): by wasmi before it
    /// does more than it has fuel for, by wasmtime at the next turn of a loop or
    /// the next function. Needs a provider that counts fuel
    /// ([`Interruption`](crate::Interruption)).
    pub fuel: Option<u64>,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            max_memory_bytes: 256 << 20,
            max_total_memory_bytes: 256 << 20,
            max_memories: 8,
            max_table_elements: 1_000_000,
            max_tables: 16,
            max_inbound_bytes: 64 << 20,
            max_outbound_bytes: 64 << 20,
            max_host_calls: 100_000,
            max_log_bytes: 1 << 20,
            max_open_files: 64,
            timeout: Some(Duration::from_secs(10)),
            start_timeout: Some(Duration::from_secs(10)),
            fuel: None,
        }
    }
}

/// Setters for fields of the same name.
macro_rules! setters {
    ($($field:ident: $ty:ty as $parameter:ty),* $(,)?) => {
        $(
            #[doc = concat!("Sets [`", stringify!($field), "`](Self::", stringify!($field), ").")]
            #[must_use]
            pub fn $field(mut self, $field: $parameter) -> Self {
                self.$field = Into::<$ty>::into($field);
                self
            }
        )*
    };
}

impl Limits {
    /// No limits at all: for guests that are trusted like the program itself.
    /// What remains is what the engine cannot do.
    #[must_use]
    pub const fn unlimited() -> Self {
        Self {
            max_memory_bytes: usize::MAX,
            max_total_memory_bytes: usize::MAX,
            max_memories: usize::MAX,
            max_table_elements: usize::MAX,
            max_tables: usize::MAX,
            max_inbound_bytes: usize::MAX,
            max_outbound_bytes: usize::MAX,
            max_host_calls: u64::MAX,
            max_log_bytes: u64::MAX,
            max_open_files: usize::MAX,
            timeout: None,
            start_timeout: None,
            fuel: None,
        }
    }

    setters! {
        max_memory_bytes: usize as usize,
        max_total_memory_bytes: usize as usize,
        max_memories: usize as usize,
        max_table_elements: usize as usize,
        max_tables: usize as usize,
        max_inbound_bytes: usize as usize,
        max_outbound_bytes: usize as usize,
        max_host_calls: u64 as u64,
        max_log_bytes: u64 as u64,
        max_open_files: usize as usize,
        timeout: Option<Duration> as impl Into<Option<Duration>>,
        start_timeout: Option<Duration> as impl Into<Option<Duration>>,
        fuel: Option<u64> as impl Into<Option<u64>>,
    }
}

/// Which of the [`Limits`] a guest met.
#[derive(Clone, Debug, PartialEq, Eq, ThisError)]
#[non_exhaustive]
pub enum LimitError {
    /// A memory would be larger than
    /// [`max_memory_bytes`](Limits::max_memory_bytes).
    #[error("a memory of {bytes} bytes is above the limit of {limit} bytes")]
    Memory {
        /// What it would have come to.
        bytes: usize,
        /// The limit.
        limit: usize,
    },
    /// All memories together would be larger than
    /// [`max_total_memory_bytes`](Limits::max_total_memory_bytes).
    #[error("memories of {bytes} bytes together are above the limit of {limit} bytes")]
    TotalMemory {
        /// What they would have come to.
        bytes: usize,
        /// The limit.
        limit: usize,
    },
    /// The module has more memories than
    /// [`max_memories`](Limits::max_memories).
    #[error("the module has more memories than the limit of {limit}")]
    Memories {
        /// The limit.
        limit: usize,
    },
    /// All tables together would be larger than
    /// [`max_table_elements`](Limits::max_table_elements).
    #[error("tables of {elements} elements together are above the limit of {limit} elements")]
    TableElements {
        /// What they would have come to.
        elements: usize,
        /// The limit.
        limit: usize,
    },
    /// The module has more tables than [`max_tables`](Limits::max_tables).
    #[error("the module has more tables than the limit of {limit}")]
    Tables {
        /// The limit.
        limit: usize,
    },
    /// A message from the guest is larger than
    /// [`max_outbound_bytes`](Limits::max_outbound_bytes).
    #[error("`{import}`: {what} of {bytes} bytes is above the limit of {limit} bytes")]
    OutboundBytes {
        /// The host function.
        import: &'static str,
        /// Which of its arguments.
        what: &'static str,
        /// Its length in bytes.
        bytes: usize,
        /// The limit.
        limit: usize,
    },
    /// More host calls than [`max_host_calls`](Limits::max_host_calls).
    #[error("the guest called the host more than {limit} times")]
    HostCalls {
        /// The limit.
        limit: u64,
    },
    /// More log lines than [`max_log_bytes`](Limits::max_log_bytes).
    #[error("the guest logged more than {limit} bytes")]
    LogBytes {
        /// The limit.
        limit: u64,
    },
    /// The guest has used up the call's fuel.
    #[error("the guest used up its {limit} units of fuel")]
    Fuel {
        /// What it had.
        limit: u64,
    },
}
