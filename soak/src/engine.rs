//! The engines under load, and the hosts over them.

use std::{fmt, sync::Arc};

use provider_wasmi::WasmiEngineProvider;
use provider_wasmtime::WasmtimeEngineProvider;
use wapc_host::{EngineError, HostBuilder, Tiers, WapcHost, WebAssemblyEngineProvider};

use crate::tally::Tally;

/// What runs the guests.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Engine {
    /// The compiler.
    Wasmtime,
    /// The interpreter.
    Wasmi,
    /// The interpreter first, and the compiler once it is through.
    Tiered,
}

type Provider = Result<Box<dyn WebAssemblyEngineProvider>, EngineError>;

impl Engine {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Wasmtime, Self::Wasmi, Self::Tiered];

    /// The name for `--engine`.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Wasmtime => "wasmtime",
            Self::Wasmi => "wasmi",
            Self::Tiered => "tiered",
        }
    }

    /// Another engine, for swaps from one to the other.
    #[must_use]
    pub(crate) const fn other(self) -> Self {
        match self {
            Self::Wasmtime | Self::Tiered => Self::Wasmi,
            Self::Wasmi => Self::Wasmtime,
        }
    }

    /// A provider of `module` that `tally` counts.
    ///
    /// # Errors
    ///
    /// What the engine says of the module.
    pub(crate) fn provider(self, module: &[u8], tally: &Arc<Tally>) -> Provider {
        match self {
            Self::Wasmtime => wasmtime(module, tally),
            Self::Wasmi => wasmi(module, tally),
            Self::Tiered => {
                let (first, second) = (Arc::clone(tally), Arc::clone(tally));
                let tiers = Tiers::new(
                    module,
                    move |module| wasmi(module, &first),
                    move |module| second.compiling(|| wasmtime(module, &second)),
                )?;
                Ok(Box::new(tiers))
            }
        }
    }
}

fn wasmtime(module: &[u8], tally: &Arc<Tally>) -> Provider {
    Ok(tally.count(Box::new(WasmtimeEngineProvider::new(module)?)))
}

fn wasmi(module: &[u8], tally: &Arc<Tally>) -> Provider {
    Ok(tally.count(Box::new(WasmiEngineProvider::new(module)?)))
}

/// The settings of every host here: the default limits, and an instance for
/// each of `threads` threads.
pub(crate) fn host(provider: Box<dyn WebAssemblyEngineProvider>, threads: usize) -> HostBuilder {
    WapcHost::builder(provider).max_instances(threads)
}

impl fmt::Display for Engine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}
