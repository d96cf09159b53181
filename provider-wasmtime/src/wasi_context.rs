//! A WASI of the program's own, by `wasmtime_wasi`, in place of `wapc_wasi`.

use std::{fmt, sync::Arc};

use wapc_host::error::{BoxError, EngineError};
use wasmtime::Linker;
use wasmtime_wasi::p1::{self, WasiP1Ctx};

use crate::linker::Data;

/// The program's function that makes the context of an instance.
#[derive(Clone)]
pub(crate) struct WasiContexts(Arc<dyn Fn() -> Result<WasiP1Ctx, BoxError> + Send + Sync>);

impl WasiContexts {
    pub(crate) fn new(
        make: impl Fn() -> Result<WasiP1Ctx, BoxError> + Send + Sync + 'static,
    ) -> Self {
        Self(Arc::new(make))
    }

    pub(crate) fn context(&self) -> Result<WasiP1Ctx, EngineError> {
        (self.0)().map_err(EngineError::Other)
    }
}

impl fmt::Debug for WasiContexts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("WasiContexts(_)")
    }
}

/// Links all functions of preview 1, for instances that wait on their thread.
pub(crate) fn link(mut linker: Linker<Data>) -> wasmtime::Result<Linker<Data>> {
    p1::add_to_linker_sync(&mut linker, context)?;
    Ok(linker)
}

/// Links all functions of preview 1, for instances that are suspended.
#[cfg(feature = "async")]
pub(crate) fn link_awaiting(mut linker: Linker<Data>) -> wasmtime::Result<Linker<Data>> {
    p1::add_to_linker_async(&mut linker, context)?;
    Ok(linker)
}

fn context(data: &mut Data) -> &mut WasiP1Ctx {
    data.wasi_context
        .as_mut()
        .expect("these functions are linked only for instances that have a context")
}
