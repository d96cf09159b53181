//! Other modes of this project's host: fresh instances, and on wasmtime a pool of them,
//! code compiled ahead of time, the baseline compiler.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use provider_wasmi::WasmiEngineProvider;
use provider_wasmtime::{Builder, Pooling, WasmtimeEngineProvider};
use tempfile::TempDir;
use wapc_host::{Interruption, Reuse, WapcHost, WebAssemblyEngineProvider, error::ModuleError};
use wasmtime::{Config, Engine, Module};

use super::ours::Echo;
use crate::subject::{
    Action, Kind, Maker, OPERATION, Result, Subject, Task, maker, repeat, repeat_start,
};

pub fn subjects() -> Vec<Box<dyn Subject>> {
    let modes = [
        Mode {
            name: "ours-wasmtime-fresh",
            about: "one host with `Reuse::Fresh`, whatever the number of threads",
            floor: "floor-wasmtime",
            prepare: |task| fresh(WasmtimeEngineProvider::new, task),
        },
        Mode {
            name: "ours-wasmtime-fresh-pooling",
            about: "the same with `Pooling`, 2 MiB of each memory kept resident",
            floor: "floor-wasmtime-pooling-kept",
            prepare: |task| {
                let pooling = Pooling::new(POOLED_INSTANCES);
                let builder = WasmtimeEngineProvider::builder().pooling(pooling);
                fresh(|module| builder.build(module), task)
            },
        },
        Mode {
            name: "ours-wasmtime-fresh-kill",
            about: "`ours-wasmtime-fresh` with `Interruption::Kill`",
            floor: "floor-wasmtime",
            prepare: |task| {
                let builder = WasmtimeEngineProvider::builder().interruption(Interruption::Kill);
                fresh(|module| builder.build(module), task)
            },
        },
        Mode {
            name: "ours-wasmtime-fresh-pooling-kill",
            about: "`ours-wasmtime-fresh-pooling` with `Interruption::Kill`",
            floor: "floor-wasmtime-pooling-kept",
            prepare: |task| {
                let builder = WasmtimeEngineProvider::builder()
                    .pooling(Pooling::new(POOLED_INSTANCES))
                    .interruption(Interruption::Kill);
                fresh(|module| builder.build(module), task)
            },
        },
        Mode {
            name: "ours-wasmi-fresh",
            about: "one host with `Reuse::Fresh`, whatever the number of threads",
            floor: "floor-wasmi",
            prepare: |task| fresh(WasmiEngineProvider::new, task),
        },
        Mode {
            name: "ours-wasmtime-precompiled",
            about: "an artefact read, checked and mapped from a file",
            floor: "floor-wasmtime-aot-epochs",
            prepare: precompiled,
        },
        Mode {
            name: "ours-wasmtime-winch",
            about: "compiled by Winch",
            floor: "floor-wasmtime-winch",
            prepare: winch,
        },
    ];
    modes
        .into_iter()
        .map(|mode| Box::new(mode) as Box<dyn Subject>)
        .collect()
}

const POOLED_INSTANCES: u32 = 16;

struct Mode {
    name: &'static str,
    about: &'static str,
    floor: &'static str,
    prepare: fn(&Task) -> Result<Option<Maker>>,
}

impl Subject for Mode {
    fn name(&self) -> &'static str {
        self.name
    }

    fn about(&self) -> &'static str {
        self.about
    }

    fn kind(&self) -> Kind {
        Kind::Ours
    }

    fn floor(&self) -> &'static str {
        self.floor
    }

    fn prepare(&self, task: &Task) -> Result<Option<Maker>> {
        (self.prepare)(task)
    }
}

fn fresh<P>(
    provider: impl FnOnce(&[u8]) -> std::result::Result<P, ModuleError>,
    task: &Task,
) -> Result<Option<Maker>>
where
    P: WebAssemblyEngineProvider + 'static,
{
    if task.action != Action::FreshInstance {
        return Ok(None);
    }
    let host = WapcHost::builder(Box::new(provider(&task.module())?))
        .max_instances(2)
        .reuse(Reuse::Fresh)
        .build_with(Echo)?;
    let host = Arc::new(host);
    let task = task.clone();
    maker(move || {
        let (host, task) = (host.clone(), task.clone());
        let mut response = Vec::new();
        repeat(move || {
            host.call_into(OPERATION, &task.payload, &mut response)?;
            task.check(&response)
        })
    })
}

fn winch(task: &Task) -> Result<Option<Maker>> {
    if task.action != Action::ColdStart {
        return Ok(None);
    }
    let (module, task) = (task.module(), task.clone());
    maker(move || {
        let (module, task) = (module.clone(), task.clone());
        repeat_start(move || {
            let builder = WasmtimeEngineProvider::builder().winch();
            answer(builder.build(&module)?, &task)
        })
    })
}

fn precompiled(task: &Task) -> Result<Option<Maker>> {
    if task.action != Action::ColdStart {
        return Ok(None);
    }
    let file = Arc::new(File::of(&task.module())?);
    let task = task.clone();
    maker(move || {
        let (file, task) = (file.clone(), task.clone());
        repeat_start(move || answer(load(builder()?, &file.path)?, &task))
    })
}

/// Uses a new engine each time, as the floor does.
fn builder() -> Result<Builder> {
    let engine = Engine::new(Config::new().epoch_interruption(true))?;
    Ok(WasmtimeEngineProvider::builder().engine(engine))
}

/// Loads the artefact in the way that `provider_wasmtime::Precompiled` documents.
fn load(builder: Builder, path: &Path) -> Result<WasmtimeEngineProvider> {
    let checked = builder.check_precompiled(fs::File::open(path)?, None)?;
    // SAFETY: this process has written the file, and nothing else writes it.
    let loaded = unsafe { Module::deserialize_file(checked.engine(), path)? };
    Ok(checked.build(loaded)?)
}

struct File {
    path: PathBuf,
    _dir: TempDir,
}

impl File {
    fn of(module: &[u8]) -> Result<Self> {
        let dir = tempfile::tempdir()?;
        let path = dir.path().join("module.cwasm");
        fs::write(&path, builder()?.precompile(module)?)?;
        Ok(Self { path, _dir: dir })
    }
}

/// Makes a host and calls it once.
fn answer(provider: WasmtimeEngineProvider, task: &Task) -> Result<WapcHost> {
    let host = WapcHost::with_callback(Box::new(provider), Echo)?;
    task.check(&host.call(OPERATION, &task.payload)?)?;
    Ok(host)
}
