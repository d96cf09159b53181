//! The engine that the environment chooses.

use std::env;

#[cfg(feature = "wasmi")]
use provider_wasmi::WasmiEngineProvider;
#[cfg(feature = "wasmtime")]
use provider_wasmtime::WasmtimeEngineProvider;
use wapc_extism::{Engine, EngineSettings};
use wapc_host::{WasiSettings, wasi::Stdout};

/// Returns the engine that `WAPC_ENGINE` names, the default without.
///
/// # Errors
///
/// If no engine of the name is built in.
pub(crate) fn chosen() -> Result<Engine, String> {
    match env::var("WAPC_ENGINE") {
        Ok(name) if !name.is_empty() => named(&name),
        _ => Ok(default()),
    }
}

fn named(name: &str) -> Result<Engine, String> {
    match name {
        #[cfg(feature = "wasmtime")]
        "wasmtime" => Ok(wasmtime()),
        #[cfg(feature = "wasmi")]
        "wasmi" => Ok(wasmi()),
        other => Err(format!("WAPC_ENGINE: the engine `{other}` is not built in")),
    }
}

#[cfg(feature = "wasmtime")]
fn default() -> Engine {
    wasmtime()
}

#[cfg(not(feature = "wasmtime"))]
fn default() -> Engine {
    wasmi()
}

#[cfg(feature = "wasmtime")]
fn wasmtime() -> Engine {
    Engine::new(|module, settings| {
        let builder = WasmtimeEngineProvider::builder()
            .wasi(wasi(settings))
            .functions(settings.functions.clone())
            .interruption(settings.interruption);
        Ok(Box::new(builder.build(module)?))
    })
}

#[cfg(feature = "wasmi")]
fn wasmi() -> Engine {
    Engine::new(|module, settings| {
        let builder = WasmiEngineProvider::builder()
            .wasi(wasi(settings))
            .functions(settings.functions.clone())
            .interruption(settings.interruption);
        Ok(Box::new(builder.build(module)?))
    })
}

fn wasi(settings: &EngineSettings) -> WasiSettings {
    let wasi = settings.wasi.clone();
    match env::var_os("EXTISM_ENABLE_WASI_OUTPUT") {
        None => wasi,
        Some(_) => wasi.stdout(Stdout::Inherited).stderr(Stdout::Inherited),
    }
}
