//! The engines that the library was built with.

#[cfg(feature = "wasmi")]
use provider_wasmi::WasmiEngineProvider;
#[cfg(feature = "wasmtime")]
use provider_wasmtime::WasmtimeEngineProvider;
use serde::Deserialize;
use wapc_host::{
    HostFunctions, Interruption, WasiSettings, WebAssemblyEngineProvider, error::EngineError,
};

/// An engine that the library was built with; the default is the first.
#[derive(Clone, Copy, Debug, Default, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Engine {
    #[cfg(feature = "wasmtime")]
    #[default]
    Wasmtime,
    #[cfg(feature = "wasmi")]
    #[cfg_attr(not(feature = "wasmtime"), default)]
    Wasmi,
}

impl Engine {
    pub(crate) fn provider(
        self,
        module: &[u8],
        wasi: WasiSettings,
        interruption: Interruption,
        functions: HostFunctions,
    ) -> Result<Box<dyn WebAssemblyEngineProvider>, EngineError> {
        Ok(match self {
            #[cfg(feature = "wasmtime")]
            Self::Wasmtime => Box::new(
                WasmtimeEngineProvider::builder()
                    .wasi(wasi)
                    .interruption(interruption)
                    .functions(functions)
                    .build(module)?,
            ),
            #[cfg(feature = "wasmi")]
            Self::Wasmi => Box::new(
                WasmiEngineProvider::builder()
                    .wasi(wasi)
                    .interruption(interruption)
                    .functions(functions)
                    .build(module)?,
            ),
        })
    }
}
