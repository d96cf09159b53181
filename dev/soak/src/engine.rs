//! The engines under load, and the hosts over them.

use std::fmt;

use charts::Line;
use conformance::counted::Counts;
use provider_wasmi::WasmiEngineProvider;
use provider_wasmtime::WasmtimeEngineProvider;
use wapc_host::{EngineError, HostBuilder, Tiers, WapcHost, WebAssemblyEngineProvider};

/// An engine, or two in tiers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Engine {
    /// The compiler.
    Wasmtime,
    /// The interpreter.
    Wasmi,
    /// The interpreter first, and compiled code once it is ready.
    Tiered,
}

/// The priority of wasmtime's compilations.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Compilation {
    /// On all cores, like any other work.
    #[default]
    Normal,
    /// On one thread of low priority.
    LowPriority,
}

type Provider = Result<Box<dyn WebAssemblyEngineProvider>, EngineError>;

impl Engine {
    /// All engines.
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

    /// A line of a chart in this engine's colour.
    pub(crate) fn line(self, name: impl Into<String>, points: Vec<(f64, f64)>) -> Line {
        // Distinct on white and on black, and for readers with impaired colour vision.
        let color = match self {
            Self::Wasmtime => "#0a84d6",
            Self::Wasmi => "#14a37f",
            Self::Tiered => "#d9480f",
        };
        Line::new(name, color, points)
    }

    /// Returns another engine, for swaps between engines.
    #[must_use]
    pub(crate) const fn other(self) -> Self {
        match self {
            Self::Wasmtime | Self::Tiered => Self::Wasmi,
            Self::Wasmi => Self::Wasmtime,
        }
    }

    /// Compiles `module` to a provider that `counts` counts.
    ///
    /// # Errors
    ///
    /// The engine's error, if it refuses the module.
    pub(crate) fn provider(self, module: &[u8], counts: &Counts) -> Provider {
        self.compiled(module, Compilation::Normal, counts)
    }

    /// Compiles `module` with this priority, to a provider that `counts` counts.
    pub(crate) fn compiled(
        self,
        module: &[u8],
        compilation: Compilation,
        counts: &Counts,
    ) -> Provider {
        match self {
            Self::Wasmtime => wasmtime(module, compilation, counts),
            Self::Wasmi => wasmi(module, counts),
            Self::Tiered => {
                let (first, second) = (counts.clone(), counts.clone());
                let tiers = Tiers::new(
                    module,
                    move |module| wasmi(module, &first),
                    move |module| second.compiling(|| wasmtime(module, compilation, &second)),
                )?;
                Ok(Box::new(tiers))
            }
        }
    }
}

fn wasmtime(module: &[u8], compilation: Compilation, counts: &Counts) -> Provider {
    let provider = WasmtimeEngineProvider::builder()
        .gentle_compilation(compilation == Compilation::LowPriority)
        .build(module)?;
    Ok(counts.count(Box::new(provider)))
}

fn wasmi(module: &[u8], counts: &Counts) -> Provider {
    Ok(counts.count(Box::new(WasmiEngineProvider::new(module)?)))
}

/// Starts a host with the settings of all runs: default limits, and one instance for
/// each of `threads` threads.
pub(crate) fn host(provider: Box<dyn WebAssemblyEngineProvider>, threads: usize) -> HostBuilder {
    WapcHost::builder(provider).max_instances(threads)
}

impl fmt::Display for Engine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}
