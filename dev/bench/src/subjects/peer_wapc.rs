//! `wapc` 2 with `wasmtime-provider` 2, blocking and async, as their documentation shows.

use std::path::Path;
use std::sync::Arc;

use wapc::{HostCallback, HostCallbackAsync, WapcHost, WapcHostAsync};
use wasmtime_provider::{WasmtimeEngineProviderBuilder, WasmtimeEngineProviderPre};

use crate::guests::Dialect;
use crate::subject::{
    Action, Kind, Maker, OPERATION, Result, Subject, Task, awaited, maker, repeat, repeat_awaited,
    repeat_call, repeat_start,
};

pub fn subjects() -> Vec<Box<dyn Subject>> {
    vec![Box::new(Blocking), Box::new(Cached), Box::new(Async)]
}

struct Blocking;

impl Subject for Blocking {
    fn name(&self) -> &'static str {
        "wapc"
    }

    fn about(&self) -> &'static str {
        "`wapc` 2.2 with `wasmtime-provider` 2.26"
    }

    fn kind(&self) -> Kind {
        Kind::Peer
    }

    fn floor(&self) -> &'static str {
        "floor-wasmtime"
    }

    fn prepare(&self, task: &Task) -> Result<Option<Maker>> {
        let task = task.clone();
        let linked = Arc::new(
            WasmtimeEngineProviderBuilder::new()
                .module_bytes(&task.module())
                .build_pre()?,
        );
        match task.action {
            Action::Call => maker(move || {
                let host = host(&linked)?;
                task.check(&host.call(OPERATION, &task.payload)?)?;
                repeat_call(&task, move |operation, payload| {
                    Ok(host.call(operation, payload)?.len())
                })
            }),
            Action::ColdStart => maker(move || {
                let (module, task) = (task.module(), task.clone());
                repeat_start(move || cold(&module, None, &task))
            }),
            Action::FreshInstance => maker(move || {
                let (linked, task) = (linked.clone(), task.clone());
                repeat(move || {
                    let answer = host(&linked)?.call(OPERATION, &task.payload)?;
                    task.check(&answer)
                })
            }),
            Action::Replace => maker(move || {
                let (host, task) = (host(&linked)?, task.clone());
                let modules = task.modules(Dialect::Wapc);
                let mut turn = 0;
                repeat(move || {
                    turn += 1;
                    host.replace_module(&modules[turn % 2])?;
                    task.check(&host.call(OPERATION, &task.payload)?)
                })
            }),
            Action::FurtherHost => maker(move || {
                let (linked, task) = (linked.clone(), task.clone());
                let mut kept = Vec::new();
                repeat(move || {
                    let host = host(&linked)?;
                    task.check(&host.call(OPERATION, &task.payload)?)?;
                    kept.push(host);
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
        "wapc-cached"
    }

    fn about(&self) -> &'static str {
        "`wapc`, with a warm cache on disk"
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
        let dir = Arc::new(tempfile::tempdir()?);
        drop(cold(&task.module(), Some(dir.path()), &task)?);
        maker(move || {
            let (module, dir, task) = (task.module(), dir.clone(), task.clone());
            repeat_start(move || cold(&module, Some(dir.path()), &task))
        })
    }
}

struct Async;

impl Subject for Async {
    fn name(&self) -> &'static str {
        "wapc-async"
    }

    fn about(&self) -> &'static str {
        "`wapc`, async, on a tokio runtime of one thread"
    }

    fn kind(&self) -> Kind {
        Kind::Peer
    }

    fn floor(&self) -> &'static str {
        "floor-wasmtime-async"
    }

    fn prepare(&self, task: &Task) -> Result<Option<Maker>> {
        if task.action != Action::Call {
            return Ok(None);
        }
        let task = task.clone();
        let linked = WasmtimeEngineProviderBuilder::new()
            .module_bytes(&task.module())
            .build_async_pre()?;
        maker(move || {
            let provider = linked.rehydrate()?;
            let host = awaited(WapcHostAsync::new(
                Box::new(provider),
                Some(answer_with_payload_async()),
            ))?;
            task.check(&awaited(host.call(OPERATION, &task.payload))?)?;
            repeat_awaited(&task, async move |operation, payload| {
                Ok(host.call(operation, payload).await?.len())
            })
        })
    }
}

fn host(linked: &WasmtimeEngineProviderPre) -> Result<WapcHost> {
    let provider = linked.rehydrate(None)?;
    Ok(WapcHost::new(
        Box::new(provider),
        Some(answer_with_payload()),
    )?)
}

/// Makes a host and calls it once.
fn cold(module: &[u8], cache: Option<&Path>, task: &Task) -> Result<WapcHost> {
    let mut builder = WasmtimeEngineProviderBuilder::new().module_bytes(module);
    if cache.is_some() {
        builder = builder.enable_cache(cache);
    }
    let host = WapcHost::new(Box::new(builder.build()?), Some(answer_with_payload()))?;
    task.check(&host.call(OPERATION, &task.payload)?)?;
    Ok(host)
}

fn answer_with_payload() -> Box<HostCallback> {
    Box::new(|_, _, _, _, payload| Ok(payload.to_vec()))
}

fn answer_with_payload_async() -> Box<HostCallbackAsync> {
    Box::new(|_, _, _, _, payload| Box::pin(async { Ok(payload) }))
}
