//! The engines under load, and the hosts over them.

use std::fmt;

use charts::Line;
use conformance::counted::Counts;
use provider_wasmi::WasmiEngineProvider;
use provider_wasmtime::WasmtimeEngineProvider;
use wapc_host::{
    CompileTier, Error, HostBuilder, Tiers, WapcHost, WebAssemblyEngineProvider, error::EngineError,
};

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

    /// Returns the settings of every run over `module`, which `counts` counts:
    /// default limits, and one instance for each of `threads` threads.
    ///
    /// # Errors
    ///
    /// [`Error::Init`] if the engine refuses the module.
    pub(crate) fn host(
        self,
        module: &[u8],
        threads: usize,
        counts: &Counts,
    ) -> Result<HostBuilder, Error> {
        self.host_compiled(module, threads, Compilation::Normal, counts)
    }

    /// Returns the same settings, over a module compiled with this priority.
    pub(crate) fn host_compiled(
        self,
        module: &[u8],
        threads: usize,
        compilation: Compilation,
        counts: &Counts,
    ) -> Result<HostBuilder, Error> {
        let builder = match self.code(compilation, counts) {
            Code::Single(compile) => WapcHost::builder(compile(module).map_err(Error::Init)?),
            Code::Tiered(tiers) => WapcHost::tiered(module, tiers)?,
        };
        Ok(builder.max_instances(threads))
    }

    /// Swaps a host to `module` on this engine.
    ///
    /// # Errors
    ///
    /// [`Error::Init`] if the engine refuses the module.
    pub(crate) fn swap(self, host: &WapcHost, module: &[u8], counts: &Counts) -> Result<(), Error> {
        match self.code(Compilation::Normal, counts) {
            Code::Single(compile) => host.swap_provider(compile(module).map_err(Error::Init)?),
            Code::Tiered(tiers) => host.swap().tiered(module, tiers),
        }
    }

    fn code(self, compilation: Compilation, counts: &Counts) -> Code {
        let (first, second) = (counts.clone(), counts.clone());
        let interpret = move |module: &[u8]| wasmi(module, &first);
        let compile = move |module: &[u8]| wasmtime(module, compilation, &second);
        match self {
            Self::Wasmtime => Code::Single(Box::new(compile)),
            Self::Wasmi => Code::Single(Box::new(interpret)),
            Self::Tiered => {
                let counts = counts.clone();
                let compile = move |module: &[u8]| counts.compiling(|| compile(module));
                Code::Tiered(Tiers::new(interpret, compile))
            }
        }
    }
}

/// The compilation of a module on an engine, or on two.
enum Code {
    Single(Box<dyn CompileTier>),
    Tiered(Tiers),
}

fn wasmtime(module: &[u8], compilation: Compilation, counts: &Counts) -> Provider {
    let provider = WasmtimeEngineProvider::builder()
        .low_priority_compilation(compilation == Compilation::LowPriority)
        .build(module)?;
    Ok(counts.count(Box::new(provider)))
}

fn wasmi(module: &[u8], counts: &Counts) -> Provider {
    Ok(counts.count(Box::new(WasmiEngineProvider::new(module)?)))
}

impl fmt::Display for Engine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}
