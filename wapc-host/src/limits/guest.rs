//! Limits on the resources of guests.

use std::time::Duration;

use thiserror::Error as ThisError;

/// Limits on the resources of guests, with the same effect on each engine.
///
/// Limits belong to a host. They hold for each of its instances, and swaps do
/// not change them. The start functions of an instance run together under the
/// limits of one call, but for [`Limits::start_timeout`].
///
/// The depth of a guest's calls is limited by the engine, which alone knows the
/// size of its stack frames: see the builders of the providers.
///
/// ```
/// use std::time::Duration;
/// use wapc_host::{Error, Limits, WapcHost, engine::scripted::ScriptedProvider};
///
/// let limits = Limits::default()
///     .max_memory_bytes(64 << 20)
///     .max_outbound_bytes(1024)
///     .timeout(Duration::from_secs(1));
/// let host = WapcHost::builder(Box::new(ScriptedProvider::echo()))
///     .limits(limits)
///     .build(|_, _, _, _, _| Err("no such operation".into()))?;
///
/// assert_eq!(host.call("echo", &[7; 1024])?.len(), 1024);
/// let too_long = host.call("echo", &[7; 1025]);
/// assert!(matches!(too_long, Err(Error::Limit { .. })));
/// # Ok::<(), Error>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Limits {
    /// Bytes of each linear memory. Default: 256 MiB.
    ///
    /// A module with a larger initial memory is refused
    /// ([`LimitError::Memory`]). At run time, `memory.grow` beyond the limit
    /// returns −1.
    pub max_memory_bytes: usize,
    /// Bytes of all linear memories of an instance together. Default: 256 MiB.
    ///
    /// A module with larger initial memories is refused
    /// ([`LimitError::TotalMemory`]). At run time, `memory.grow` beyond the
    /// limit returns −1.
    pub max_total_memory_bytes: usize,
    /// Linear memories of a module. Default: 8. A module with more is refused
    /// ([`LimitError::Memories`]).
    pub max_memories: usize,
    /// Elements of all tables of an instance. Default: 1,000,000.
    ///
    /// A module with larger initial tables is refused
    /// ([`LimitError::TableElements`]). At run time, `table.grow` beyond the
    /// limit returns −1.
    pub max_table_elements: usize,
    /// Tables of a module. Default: 16. A module with more is refused
    /// ([`LimitError::Tables`]).
    pub max_tables: usize,
    /// Bytes of one message to the guest: the payload of a call with its
    /// operation, or the host's answer to a host call. Default: 64 MiB.
    ///
    /// A call with a larger request is refused before the guest is called
    /// ([`Error::TooLarge`](crate::Error::TooLarge)). For a larger answer, the
    /// guest gets an error from its host call.
    pub max_inbound_bytes: usize,
    /// Bytes of one message from the guest: its response, its error, or the
    /// payload of a host call. Default: 64 MiB. A larger one ends the call
    /// ([`LimitError::OutboundBytes`]).
    pub max_outbound_bytes: usize,
    /// Host calls in one call. Default: 100,000. One more ends the call
    /// ([`LimitError::HostCalls`]).
    pub max_host_calls: u64,
    /// Bytes of log lines in one call, as the guest gives them, each line with its
    /// end. Default: 1 MiB. More ends the call ([`LimitError::LogBytes`]). A
    /// control character is one to three of these bytes, and is printed escaped,
    /// in up to eight.
    pub max_log_bytes: u64,
    /// Files and directories that an instance may have open at a time through
    /// WASI, besides those that are mapped and the standard streams. Default:
    /// 64. Opening one more is answered by errno 33 (`mfile`).
    pub max_open_files: usize,
    /// The time of one call. It includes host calls, but not the wait for an
    /// instance. `None` is no limit. Default: 10 s.
    ///
    /// A call that exceeds it ends within a few milliseconds
    /// ([`Error::TimedOut`](crate::Error::TimedOut)). This limit needs a
    /// provider that can interrupt by time
    /// ([`Interruption`](crate::Interruption)).
    pub timeout: Option<Duration>,
    /// The time of all start functions of an instance together. `None` is no
    /// limit. Default: 10 s.
    pub start_timeout: Option<Duration>,
    /// The fuel of one call: about one unit for each instruction, counted by
    /// each engine in its own way. `None` is no limit, and the default.
    ///
    /// A guest that has used up its fuel is ended ([`LimitError::Fuel`]). wasmi
    /// ends it before the instructions that it has no fuel for, wasmtime at the
    /// next loop iteration or function entry. This limit needs a provider that
    /// counts fuel ([`Interruption`](crate::Interruption)).
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
    /// Returns settings without any limit, for guests that are trusted like the
    /// program itself. The engine's own limits remain.
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

/// The one of the [`Limits`] that a guest or its module exceeded.
#[derive(Clone, Debug, PartialEq, Eq, ThisError)]
#[non_exhaustive]
pub enum LimitError {
    /// A memory would be larger than
    /// [`max_memory_bytes`](Limits::max_memory_bytes).
    #[error("a memory of {bytes} bytes is above the limit of {limit} bytes")]
    Memory {
        /// The size that was refused.
        bytes: usize,
        /// The limit.
        limit: usize,
    },
    /// All memories together would be larger than
    /// [`max_total_memory_bytes`](Limits::max_total_memory_bytes).
    #[error("memories of {bytes} bytes together are above the limit of {limit} bytes")]
    TotalMemory {
        /// The total that was refused.
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
        /// The total that was refused.
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
        /// The argument of the host function.
        what: &'static str,
        /// The length of the message in bytes.
        bytes: usize,
        /// The limit.
        limit: usize,
    },
    /// The call made more host calls than
    /// [`max_host_calls`](Limits::max_host_calls).
    #[error("the guest called the host more than {limit} times")]
    HostCalls {
        /// The limit.
        limit: u64,
    },
    /// The call wrote more log bytes than
    /// [`max_log_bytes`](Limits::max_log_bytes).
    #[error("the guest logged more than {limit} bytes")]
    LogBytes {
        /// The limit.
        limit: u64,
    },
    /// Too many calls within calls on one thread, each on a stack of its own.
    #[error(
        "calls within calls of guests took more than {limit} stacks: call guests from callbacks \
         less deep, or on another thread"
    )]
    Nesting {
        /// The greatest number of stacks.
        limit: u64,
    },
    /// The guest has used up the call's fuel.
    #[error("the guest used up its {limit} units of fuel")]
    Fuel {
        /// The fuel of the call.
        limit: u64,
    },
}
