//! `extism`: another protocol for the same purpose, with its own kernel inside the guest.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use extism::{CompiledPlugin, PTR, Plugin, PluginBuilder, UserData};

use crate::guests::Dialect;
use crate::subject::{
    Action, Kind, Maker, OPERATION, Result, Subject, Task, maker, repeat, repeat_call, repeat_start,
};

pub fn subjects() -> Vec<Box<dyn Subject>> {
    vec![Box::new(Extism), Box::new(Cached)]
}

/// Reads the answer in place, which is the cheapest form that Extism has.
struct Extism;

impl Subject for Extism {
    fn name(&self) -> &'static str {
        "extism"
    }

    fn about(&self) -> &'static str {
        "`extism` 1.41, the answer lent, its cache on disk off"
    }

    fn kind(&self) -> Kind {
        Kind::Peer
    }

    fn floor(&self) -> &'static str {
        "floor-wasmtime"
    }

    fn prepare(&self, task: &Task) -> Result<Option<Maker>> {
        let task = task.clone();
        let module = task.guest.bytes(Dialect::Extism);
        let compiled = Arc::new(compile(&module, None)?);
        match task.action {
            Action::Call => maker(move || {
                let mut plugin = Plugin::new_from_compiled(&compiled)?;
                answer(&mut plugin, &task)?;
                repeat_call(&task, move |operation, payload| {
                    Ok(plugin.call::<&[u8], &[u8]>(operation, payload)?.len())
                })
            }),
            Action::ColdStart => maker(move || {
                let (module, task) = (module.clone(), task.clone());
                repeat_start(move || started(&module, None, &task))
            }),
            Action::FreshInstance => maker(move || {
                let (compiled, task) = (compiled.clone(), task.clone());
                repeat(move || answer(&mut Plugin::new_from_compiled(&compiled)?, &task))
            }),
            // Extism has no swap: a new plugin replaces the old one.
            Action::Replace => maker(move || {
                let task = task.clone();
                let modules = task.modules(Dialect::Extism);
                let mut running = load(&modules[0], None)?;
                let mut turn = 0;
                repeat(move || {
                    turn += 1;
                    drop(std::mem::replace(
                        &mut running,
                        load(&modules[turn % 2], None)?,
                    ));
                    answer(&mut running, &task)
                })
            }),
            Action::FurtherHost => maker(move || {
                let (compiled, task) = (compiled.clone(), task.clone());
                let mut kept = Vec::new();
                repeat(move || {
                    let mut plugin = Plugin::new_from_compiled(&compiled)?;
                    answer(&mut plugin, &task)?;
                    kept.push(plugin);
                    Ok(())
                })
            }),
        }
    }
}

/// The same with a warm cache of wasmtime on disk.
struct Cached;

impl Subject for Cached {
    fn name(&self) -> &'static str {
        "extism-cached"
    }

    fn about(&self) -> &'static str {
        "`extism`, with a warm cache on disk"
    }

    fn kind(&self) -> Kind {
        Kind::Peer
    }

    fn floor(&self) -> &'static str {
        "floor-wasmtime-aot-file"
    }

    fn prepare(&self, task: &Task) -> Result<Option<Maker>> {
        if task.action != Action::ColdStart {
            return Ok(None);
        }
        let task = task.clone();
        let module = task.guest.bytes(Dialect::Extism);
        let dir = Arc::new(tempfile::tempdir()?);
        let config = cache_config(dir.path())?;
        started(&module, Some(&config), &task)?;
        maker(move || {
            let (module, task) = (module.clone(), task.clone());
            let (config, dir) = (config.clone(), dir.clone());
            repeat_start(move || {
                debug_assert!(config.starts_with(dir.path()));
                started(&module, Some(&config), &task)
            })
        })
    }
}

fn compile(module: &[u8], cache: Option<&Path>) -> Result<CompiledPlugin> {
    let builder = PluginBuilder::new(module).with_function(
        "op",
        [PTR],
        [PTR],
        UserData::new(()),
        |plugin, inputs, outputs, _| {
            let payload: Vec<u8> = plugin.memory_get_val(&inputs[0])?;
            plugin.memory_set_val(&mut outputs[0], payload)
        },
    );
    let builder = match cache {
        Some(config) => builder.with_cache_config(config),
        None => builder.with_cache_disabled(),
    };
    Ok(builder.compile()?)
}

fn load(module: &[u8], cache: Option<&Path>) -> Result<Plugin> {
    Ok(Plugin::new_from_compiled(&compile(module, cache)?)?)
}

/// Makes a plugin and calls it once.
fn started(module: &[u8], cache: Option<&Path>, task: &Task) -> Result<Plugin> {
    let mut plugin = load(module, cache)?;
    answer(&mut plugin, task)?;
    Ok(plugin)
}

fn answer(plugin: &mut Plugin, task: &Task) -> Result<()> {
    task.check(plugin.call::<&[u8], &[u8]>(OPERATION, &task.payload)?)
}

/// Writes the file that gives wasmtime's cache its directory.
fn cache_config(dir: &Path) -> Result<PathBuf> {
    let path = dir.join("cache.toml");
    let directory = dir.join("entries");
    std::fs::write(&path, format!("[cache]\ndirectory = {directory:?}\n"))?;
    Ok(path)
}
