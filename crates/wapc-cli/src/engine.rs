//! The engines that this command was built with.

#[cfg(feature = "wasmtime")]
use crate::cache;
use clap::ValueEnum;
#[cfg(feature = "wasmi")]
use provider_wasmi::WasmiEngineProvider;
#[cfg(feature = "wasmtime")]
use provider_wasmtime::WasmtimeEngineProvider;
use wapc_host::{
    HostFunctions, Interruption, WasiSettings, WebAssemblyEngineProvider, error::ModuleError,
};

/// An engine that this command was built with; the default is the first.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
#[non_exhaustive]
pub enum Engine {
    /// Compiles guests to machine code
    #[cfg(feature = "wasmtime")]
    #[default]
    Wasmtime,
    /// Interprets guests
    #[cfg(feature = "wasmi")]
    #[cfg_attr(not(feature = "wasmtime"), default)]
    Wasmi,
}

impl Engine {
    /// All engines.
    pub const ALL: &[Self] = &[
        #[cfg(feature = "wasmtime")]
        Self::Wasmtime,
        #[cfg(feature = "wasmi")]
        Self::Wasmi,
    ];

    /// The name for `--engine`.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            #[cfg(feature = "wasmtime")]
            Self::Wasmtime => "wasmtime",
            #[cfg(feature = "wasmi")]
            Self::Wasmi => "wasmi",
        }
    }

    /// Compiles `module`, binary or text, for guests with these settings. With `keeps_code`, code is
    /// looked for in the user's cache first and kept there, by an engine that compiles to machine code.
    ///
    /// # Errors
    ///
    /// Any [`ModuleError`].
    pub fn provider(
        self,
        module: &[u8],
        wasi: WasiSettings,
        functions: HostFunctions,
        interruption: Interruption,
        keeps_code: bool,
    ) -> Result<Box<dyn WebAssemblyEngineProvider>, ModuleError> {
        Ok(match self {
            #[cfg(feature = "wasmtime")]
            Self::Wasmtime => {
                let mut builder = WasmtimeEngineProvider::builder()
                    .wasi(wasi)
                    .functions(functions)
                    .interruption(interruption);
                if let Some(cache) = keeps_code.then(cache::open).flatten() {
                    builder = builder.compile_cache(cache);
                }
                Box::new(builder.build(module)?)
            }
            #[cfg(feature = "wasmi")]
            Self::Wasmi => Box::new(
                WasmiEngineProvider::builder()
                    .wasi(wasi)
                    .functions(functions)
                    .interruption(interruption)
                    .build(module)?,
            ),
        })
    }
}
