//! A provider of any engine that takes modules of any dialect.

use std::{fmt, sync::Arc};

use wapc_host::{
    BoxFuture, Interruption, ModuleState, WebAssemblyEngineProvider,
    engine::GuestInstance,
    error::EngineError,
    module::{self, ModuleError},
};

use crate::{Options, adapt};

/// Adapts modules before they reach a provider: at first, and in each swap, watch and tier.
///
/// [The crate's documentation](crate) has an example.
#[derive(Clone)]
pub struct Adapting {
    make_provider: Arc<MakeProvider>,
    options: Arc<Options>,
}

type MakeProvider =
    dyn Fn(&[u8]) -> Result<Box<dyn WebAssemblyEngineProvider>, EngineError> + Send + Sync;

impl Adapting {
    /// Adapts modules as `options` say, and has providers made for them by `make_provider`.
    pub fn new(
        make_provider: impl Fn(&[u8]) -> Result<Box<dyn WebAssemblyEngineProvider>, EngineError>
        + Send
        + Sync
        + 'static,
        options: Options,
    ) -> Self {
        Self {
            make_provider: Arc::new(make_provider),
            options: Arc::new(options),
        }
    }

    /// Adapts a module, and has a provider made for it. Bytes that are no module, such as
    /// precompiled code, are the provider's own.
    ///
    /// # Errors
    ///
    /// [`EngineError`] if the module cannot be [adapted](adapt), or no provider can be made.
    pub fn load(&self, module: &[u8]) -> Result<AdaptedProvider, EngineError> {
        let provider = match module::binary(module) {
            Err(ModuleError::NotWasm { .. }) => (self.make_provider)(module)?,
            _ => (self.make_provider)(&adapt(module, &self.options)?.binary)?,
        };
        Ok(AdaptedProvider {
            provider,
            adapting: self.clone(),
        })
    }
}

impl fmt::Debug for Adapting {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Adapting")
            .field("options", &self.options)
            .finish_non_exhaustive()
    }
}

/// A provider of an adapted module; see [`Adapting::load`].
pub struct AdaptedProvider {
    provider: Box<dyn WebAssemblyEngineProvider>,
    adapting: Adapting,
}

impl WebAssemblyEngineProvider for AdaptedProvider {
    fn init(&self, state: ModuleState) -> Result<Box<dyn GuestInstance>, EngineError> {
        self.provider.init(state)
    }

    fn replace(&self, module: &[u8]) -> Result<Box<dyn WebAssemblyEngineProvider>, EngineError> {
        // On the same engine with the same settings, which are the provider's to know.
        let provider = match module::binary(module) {
            Err(ModuleError::NotWasm { .. }) => self.provider.replace(module)?,
            _ => {
                let adapted = adapt(module, &self.adapting.options)?;
                self.provider.replace(&adapted.binary)?
            }
        };
        Ok(Box::new(Self {
            provider,
            adapting: self.adapting.clone(),
        }))
    }

    fn interruption(&self) -> Interruption {
        self.provider.interruption()
    }

    fn init_async(
        &self,
        state: ModuleState,
    ) -> BoxFuture<'_, Result<Box<dyn GuestInstance>, EngineError>> {
        self.provider.init_async(state)
    }
}

impl fmt::Debug for AdaptedProvider {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AdaptedProvider")
            .field("adapting", &self.adapting)
            .finish_non_exhaustive()
    }
}
