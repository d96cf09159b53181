//! The engine that runs plugins.

use std::{fmt, sync::Arc};

use wapc_host::{
    HostFunctions, Interruption, WasiSettings, WebAssemblyEngineProvider, error::EngineError,
};

/// The engine that runs plugins: a function that makes a provider of a module.
///
/// ```
/// # #[cfg(feature = "wasmi")] {
/// use provider_wasmi::WasmiEngineProvider;
/// use wapc_extism::Engine;
///
/// let engine = Engine::new(|module, settings| {
///     let builder = WasmiEngineProvider::builder()
///         .wasi(settings.wasi.clone())
///         .functions(settings.functions.clone())
///         .interruption(settings.interruption);
///     Ok(Box::new(builder.build(module)?))
/// });
/// # }
/// ```
#[derive(Clone)]
pub struct Engine(Arc<MakeProvider>);

type Provider = Box<dyn WebAssemblyEngineProvider>;
type MakeProvider = dyn Fn(&[u8], &EngineSettings) -> Result<Provider, EngineError> + Send + Sync;

/// The wishes of a plugin to its engine.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct EngineSettings {
    /// The directories of the manifest, and nothing else.
    pub wasi: WasiSettings,
    /// The interruption of the plugin: by time, and by fuel if it has a limit.
    pub interruption: Interruption,
    /// The functions of the plugin's host.
    pub functions: HostFunctions,
}

impl Engine {
    /// Makes providers by this function.
    pub fn new(
        make_provider: impl Fn(&[u8], &EngineSettings) -> Result<Provider, EngineError>
        + Send
        + Sync
        + 'static,
    ) -> Self {
        Self(Arc::new(make_provider))
    }

    /// The compiler.
    #[cfg(feature = "wasmtime")]
    #[must_use]
    pub fn wasmtime() -> Self {
        Self::new(|module, settings| {
            let builder = provider_wasmtime::WasmtimeEngineProvider::builder()
                .wasi(settings.wasi.clone())
                .functions(settings.functions.clone())
                .interruption(settings.interruption);
            Ok(Box::new(builder.build(module)?))
        })
    }

    /// The interpreter.
    #[cfg(feature = "wasmi")]
    #[must_use]
    pub fn wasmi() -> Self {
        Self::new(|module, settings| {
            let builder = provider_wasmi::WasmiEngineProvider::builder()
                .wasi(settings.wasi.clone())
                .functions(settings.functions.clone())
                .interruption(settings.interruption);
            Ok(Box::new(builder.build(module)?))
        })
    }

    pub(crate) fn provider(
        &self,
        module: &[u8],
        settings: &EngineSettings,
    ) -> Result<Provider, EngineError> {
        (self.0)(module, settings)
    }
}

#[cfg(feature = "wasmtime")]
impl Default for Engine {
    fn default() -> Self {
        Self::wasmtime()
    }
}

#[cfg(all(feature = "wasmi", not(feature = "wasmtime")))]
impl Default for Engine {
    fn default() -> Self {
        Self::wasmi()
    }
}

impl fmt::Debug for Engine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Engine").finish_non_exhaustive()
    }
}
