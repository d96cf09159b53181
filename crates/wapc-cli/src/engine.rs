//! The engines that this command was built with.

use clap::ValueEnum;
#[cfg(feature = "wasmi")]
use provider_wasmi::WasmiEngineProvider;
#[cfg(feature = "wasmtime")]
use provider_wasmtime::WasmtimeEngineProvider;
use wapc_host::{
    HostFunctions, Interruption, ModuleLimits, WasiSettings, WebAssemblyEngineProvider,
    error::ModuleError,
};

#[cfg(feature = "wasmtime")]
use crate::cache;

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

/// The settings of guests, for [`Engine::provider`].
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct GuestSettings {
    /// The grants of the guest. By default none.
    pub wasi: WasiSettings,
    /// Functions that it may import. By default none.
    pub functions: HostFunctions,
    /// The ways in which it can be ended. By default none.
    pub interruption: Interruption,
    /// The limits on its module.
    pub module_limits: ModuleLimits,
    /// Machine code is looked for in the user's cache, and kept there. By default not.
    pub keeps_code: bool,
}

impl Default for GuestSettings {
    fn default() -> Self {
        Self {
            wasi: WasiSettings::new(),
            functions: HostFunctions::new(),
            interruption: Interruption::Off,
            module_limits: ModuleLimits::default(),
            keeps_code: false,
        }
    }
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

    /// Compiles `module`, binary or text, for guests with these settings.
    ///
    /// # Errors
    ///
    /// Any [`ModuleError`].
    pub fn provider(
        self,
        module: &[u8],
        settings: GuestSettings,
    ) -> Result<Box<dyn WebAssemblyEngineProvider>, ModuleError> {
        let GuestSettings {
            wasi,
            functions,
            interruption,
            module_limits,
            keeps_code,
        } = settings;
        #[cfg(not(feature = "wasmtime"))]
        let _ = keeps_code;
        Ok(match self {
            #[cfg(feature = "wasmtime")]
            Self::Wasmtime => {
                let mut builder = WasmtimeEngineProvider::builder()
                    .wasi(wasi)
                    .functions(functions)
                    .interruption(interruption)
                    .module_limits(module_limits);
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
                    .module_limits(module_limits)
                    .build(module)?,
            ),
        })
    }
}
