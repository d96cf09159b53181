//! The engine that the environment chooses.

use std::env;
#[cfg(feature = "wasmtime")]
use std::{
    ffi::OsString,
    sync::{Mutex, PoisonError},
};

#[cfg(feature = "wasmi")]
use provider_wasmi::WasmiEngineProvider;
#[cfg(feature = "wasmtime")]
use provider_wasmtime::{CompileCache, WasmtimeEngineProvider};
use wapc_extism::{Engine, EngineSettings};
#[cfg(feature = "wasmtime")]
use wapc_host::{Interruption, error::Report};
use wapc_host::{WasiSettings, wasi::Stdout};

/// Returns the engine that `WAPC_ENGINE` names, the default without.
///
/// # Errors
///
/// If no engine of the name is built in, or the directory of `WAPC_CACHE` cannot be used.
pub(crate) fn chosen() -> Result<Engine, String> {
    match env::var("WAPC_ENGINE") {
        Ok(name) if !name.is_empty() => named(&name),
        _ => default(),
    }
}

fn named(name: &str) -> Result<Engine, String> {
    match name {
        #[cfg(feature = "wasmtime")]
        "wasmtime" => wasmtime(),
        #[cfg(feature = "wasmi")]
        "wasmi" => Ok(wasmi()),
        other => Err(format!("WAPC_ENGINE: the engine `{other}` is not built in")),
    }
}

#[cfg(feature = "wasmtime")]
fn default() -> Result<Engine, String> {
    wasmtime()
}

#[cfg(not(feature = "wasmtime"))]
#[expect(clippy::unnecessary_wraps, reason = "the other engine can fail")]
fn default() -> Result<Engine, String> {
    Ok(wasmi())
}

#[cfg(feature = "wasmtime")]
fn wasmtime() -> Result<Engine, String> {
    let cache = cache()?;
    Ok(Engine::new(move |module, settings| {
        let mut builder = WasmtimeEngineProvider::builder()
            .wasi(wasi(settings))
            .functions(settings.functions.clone())
            .interruption(interruption(settings));
        if let Some(cache) = &cache {
            builder = builder.compile_cache(cache.clone());
        }
        Ok(Box::new(builder.build(module)?))
    }))
}

/// Returns the cache of compiled code in the directory that `WAPC_CACHE` names. By default nothing is kept.
#[cfg(feature = "wasmtime")]
fn cache() -> Result<Option<CompileCache>, String> {
    /// The one that was opened last: each has a thread.
    static OPEN: Mutex<Option<(OsString, CompileCache)>> = Mutex::new(None);
    let Some(directory) = env::var_os("WAPC_CACHE").filter(|directory| !directory.is_empty())
    else {
        return Ok(None);
    };
    let mut open = OPEN.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some((of, cache)) = &*open
        && *of == directory
    {
        return Ok(Some(cache.clone()));
    }
    let cache = CompileCache::open(&directory)
        .map_err(|error| format!("WAPC_CACHE: {}", Report::new(&error)))?;
    *open = Some((directory, cache.clone()));
    Ok(Some(cache))
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

/// Calls of this library block, so plugins need not be paused.
#[cfg(feature = "wasmtime")]
fn interruption(settings: &EngineSettings) -> Interruption {
    match settings.interruption {
        Interruption::Time => Interruption::Kill,
        other => other,
    }
}

fn wasi(settings: &EngineSettings) -> WasiSettings {
    let wasi = settings.wasi.clone();
    match env::var_os("EXTISM_ENABLE_WASI_OUTPUT") {
        None => wasi,
        Some(_) => wasi.stdout(Stdout::Inherited).stderr(Stdout::Inherited),
    }
}
