//! Hand-written code on raw wasmtime: a lower bound for any waPC host on this engine.

use std::path::PathBuf;
use std::sync::Arc;

use tempfile::TempDir;
use wasmtime::{
    Caller, Config, Engine, InstancePre, Linker, Memory, Module, PoolingAllocationConfig, Store,
    Strategy, TypedFunc,
};

use super::conversation::Conversation;
use crate::guests::Dialect;
use crate::subject::{
    Action, Kind, Maker, OPERATION, Result, Subject, Task, maker, repeat, repeat_call, repeat_start,
};

pub fn subjects() -> Vec<Box<dyn Subject>> {
    use Action::*;
    let copied = Floor {
        name: "floor-wasmtime",
        about: "state in the store, memory handle cached, one copy in, one out",
        actions: &[Call, ColdStart, FreshInstance, Replace, FurtherHost],
        strategy: Strategy::Cranelift,
        allocation: Allocation::OnDemand,
        source: Source::Bytes,
        lent: false,
        interruptible: false,
    };
    let floors = [
        copied,
        Floor {
            name: "floor-wasmtime-lent",
            about: "the same, the response read inside `__guest_response`",
            actions: &[Call],
            lent: true,
            ..copied
        },
        Floor {
            name: "floor-wasmtime-epochs",
            about: "the same as `floor-wasmtime`, its guest asking at each loop whether it may go on",
            actions: &[Call],
            interruptible: true,
            ..copied
        },
        Floor {
            name: "floor-wasmtime-winch",
            about: "compiled by Winch, wasmtime's baseline compiler",
            actions: &[Call, ColdStart, Replace],
            strategy: Strategy::Winch,
            ..copied
        },
        Floor {
            name: "floor-wasmtime-aot-file",
            about: "compiled ahead of time, mapped from a file",
            actions: &[ColdStart, Replace],
            source: Source::ArtefactFile,
            ..copied
        },
        Floor {
            name: "floor-wasmtime-aot-epochs",
            about: "the same, of a guest that asks at each loop whether it may go on",
            actions: &[ColdStart],
            source: Source::ArtefactFile,
            interruptible: true,
            ..copied
        },
        Floor {
            name: "floor-wasmtime-aot-memory",
            about: "compiled ahead of time, copied from memory",
            actions: &[ColdStart, Replace],
            source: Source::ArtefactBytes,
            ..copied
        },
        Floor {
            name: "floor-wasmtime-pooling",
            about: "instances from wasmtime's pooling allocator",
            actions: &[FreshInstance],
            allocation: Allocation::Pooling { kept_bytes: 0 },
            ..copied
        },
        Floor {
            name: "floor-wasmtime-pooling-kept",
            about: "pooling, with 2 MiB of each memory kept resident",
            actions: &[FreshInstance],
            allocation: Allocation::Pooling {
                kept_bytes: 2 << 20,
            },
            ..copied
        },
    ];
    floors
        .into_iter()
        .map(|floor| Box::new(floor) as Box<dyn Subject>)
        .collect()
}

#[derive(Clone, Copy)]
struct Floor {
    name: &'static str,
    about: &'static str,
    actions: &'static [Action],
    strategy: Strategy,
    allocation: Allocation,
    source: Source,
    lent: bool,
    interruptible: bool,
}

#[derive(Clone, Copy)]
enum Allocation {
    OnDemand,
    Pooling { kept_bytes: usize },
}

#[derive(Clone, Copy)]
enum Source {
    Bytes,
    ArtefactFile,
    ArtefactBytes,
}

impl Subject for Floor {
    fn name(&self) -> &'static str {
        self.name
    }

    fn about(&self) -> &'static str {
        self.about
    }

    fn kind(&self) -> Kind {
        Kind::Floor
    }

    fn floor(&self) -> &'static str {
        "floor-wasmtime"
    }

    fn prepare(&self, task: &Task) -> Result<Option<Maker>> {
        if !self.actions.contains(&task.action) {
            return Ok(None);
        }
        let floor = *self;
        let task = task.clone();
        match task.action {
            Action::Call => {
                let loaded = floor.load_task(&task)?;
                maker(move || {
                    let mut instance = loaded.instantiate()?;
                    let length = instance.call(OPERATION, &task.payload)?;
                    if !floor.lent {
                        task.check(instance.response())?;
                    }
                    assert_eq!(length, task.payload.len());
                    repeat_call(&task, move |operation, payload| {
                        instance.call(operation, payload)
                    })
                })
            }
            Action::ColdStart => {
                let source = Arc::new(floor.artefact(&floor.engine()?, &task.module())?);
                maker(move || {
                    let (source, task) = (source.clone(), task.clone());
                    repeat_start(move || {
                        let engine = floor.engine()?;
                        let linker = linker(&engine, floor.lent)?;
                        let loaded = Loaded::new(&linker, source.load(&engine)?)?;
                        Ok((loaded.answer(&task)?, loaded, linker))
                    })
                })
            }
            Action::FreshInstance => {
                let loaded = Arc::new(floor.load_task(&task)?);
                maker(move || {
                    let (loaded, task) = (loaded.clone(), task.clone());
                    repeat(move || loaded.answer(&task).map(drop))
                })
            }
            Action::Replace => {
                let engine = floor.engine()?;
                let linker = Arc::new(linker(&engine, floor.lent)?);
                let [first, second] = task.modules(Dialect::Wapc);
                let sources = Arc::new([
                    floor.artefact(&engine, &first)?,
                    floor.artefact(&engine, &second)?,
                ]);
                maker(move || {
                    let (engine, linker) = (engine.clone(), linker.clone());
                    let (sources, task) = (sources.clone(), task.clone());
                    let mut running =
                        Loaded::new(&linker, sources[0].load(&engine)?)?.instantiate()?;
                    let mut turn = 0;
                    repeat(move || {
                        turn += 1;
                        let module = sources[turn % 2].load(&engine)?;
                        let next = Loaded::new(&linker, module)?.instantiate()?;
                        drop(std::mem::replace(&mut running, next));
                        running.call(OPERATION, &task.payload)?;
                        task.check(running.response())
                    })
                })
            }
            Action::FurtherHost => {
                let loaded = Arc::new(floor.load_task(&task)?);
                maker(move || {
                    let (loaded, task) = (loaded.clone(), task.clone());
                    let mut kept = Vec::new();
                    repeat(move || {
                        let mut instance = loaded.instantiate()?;
                        instance.call(OPERATION, &task.payload)?;
                        task.check(instance.response())?;
                        kept.push(instance);
                        Ok(())
                    })
                })
            }
        }
    }
}

impl Floor {
    fn engine(&self) -> Result<Engine> {
        let mut config = Config::new();
        config.strategy(self.strategy);
        config.epoch_interruption(self.interruptible);
        if let Allocation::Pooling { kept_bytes } = self.allocation {
            let mut pool = PoolingAllocationConfig::new();
            pool.total_core_instances(POOLED_INSTANCES)
                .total_memories(POOLED_INSTANCES)
                .total_tables(POOLED_INSTANCES)
                .linear_memory_keep_resident(kept_bytes)
                .table_keep_resident(kept_bytes);
            config.allocation_strategy(pool);
        }
        Ok(Engine::new(&config)?)
    }

    fn load_task(&self, task: &Task) -> Result<Loaded> {
        let engine = self.engine()?;
        let module = Module::new(&engine, task.module())?;
        Loaded::new(&linker(&engine, self.lent)?, module)
    }

    fn artefact(&self, engine: &Engine, bytes: &[u8]) -> Result<Artefact> {
        Ok(match self.source {
            Source::Bytes => Artefact::Wasm(bytes.into()),
            Source::ArtefactBytes => Artefact::Native(engine.precompile_module(bytes)?),
            Source::ArtefactFile => {
                let dir = tempfile::tempdir()?;
                let path = dir.path().join("module.cwasm");
                std::fs::write(&path, engine.precompile_module(bytes)?)?;
                Artefact::NativeFile { path, _dir: dir }
            }
        })
    }
}

const POOLED_INSTANCES: u32 = 16;

/// The source of a module.
enum Artefact {
    Wasm(Arc<[u8]>),
    Native(Vec<u8>),
    NativeFile { path: PathBuf, _dir: TempDir },
}

impl Artefact {
    fn load(&self, engine: &Engine) -> Result<Module> {
        Ok(match self {
            Self::Wasm(bytes) => Module::new(engine, bytes)?,
            // SAFETY: this process compiled them and nothing else has written them.
            Self::Native(bytes) => unsafe { Module::deserialize(engine, bytes)? },
            Self::NativeFile { path, .. } => unsafe { Module::deserialize_file(engine, path)? },
        })
    }
}

/// A compiled and linked module.
struct Loaded {
    linked: InstancePre<State>,
}

/// A live guest.
struct Instance {
    store: Store<State>,
    guest_call: TypedFunc<(i32, i32), i32>,
}

pub(super) type State = Conversation<Memory>;

impl Loaded {
    fn new(linker: &Linker<State>, module: Module) -> Result<Self> {
        Ok(Self {
            linked: linker.instantiate_pre(&module)?,
        })
    }

    fn instantiate(&self) -> Result<Instance> {
        let mut store = Store::new(self.linked.module().engine(), State::default());
        if store.engine().get_epoch_interruption() {
            // Never reached: the engine adds the current epoch.
            store.set_epoch_deadline(u64::MAX / 2);
        }
        let instance = self.linked.instantiate(&mut store)?;
        store.data_mut().memory = instance.get_memory(&mut store, "memory");
        let guest_call = instance.get_typed_func(&mut store, "__guest_call")?;
        Ok(Instance { store, guest_call })
    }

    /// Makes an instance and calls it once.
    fn answer(&self, task: &Task) -> Result<Instance> {
        let mut instance = self.instantiate()?;
        instance.call(OPERATION, &task.payload)?;
        task.check(instance.response())?;
        Ok(instance)
    }
}

impl Instance {
    #[inline]
    fn call(&mut self, operation: &str, payload: &[u8]) -> Result<usize> {
        // SAFETY: both are borrowed until this function returns, and `end` comes before.
        unsafe { self.store.data_mut().begin(operation, payload) };
        let lengths = (operation.len() as i32, payload.len() as i32);
        let outcome = self.guest_call.call(&mut self.store, lengths);
        let responded = self.store.data_mut().end();
        match (outcome?, responded) {
            (1, Some(length)) => Ok(length),
            _ => Err("the guest failed".into()),
        }
    }

    fn response(&self) -> &[u8] {
        self.store.data().response()
    }
}

pub(super) fn linker(engine: &Engine, lent: bool) -> Result<Linker<State>> {
    let mut linker = Linker::new(engine);
    linker.func_wrap(
        "wapc",
        "__guest_request",
        |mut caller: Caller<'_, State>, op: i32, msg: i32| -> wasmtime::Result<()> {
            let (memory, state) = parts(&mut caller)?;
            Ok(state.guest_request(memory, op, msg)?)
        },
    )?;
    if lent {
        linker.func_wrap(
            "wapc",
            "__guest_response",
            |mut caller: Caller<'_, State>, ptr: i32, len: i32| -> wasmtime::Result<()> {
                let (memory, state) = parts(&mut caller)?;
                Ok(state.guest_response_lent(memory, ptr, len)?)
            },
        )?;
    } else {
        linker.func_wrap(
            "wapc",
            "__guest_response",
            |mut caller: Caller<'_, State>, ptr: i32, len: i32| -> wasmtime::Result<()> {
                let (memory, state) = parts(&mut caller)?;
                Ok(state.guest_response(memory, ptr, len)?)
            },
        )?;
    }
    linker.func_wrap(
        "wapc",
        "__host_call",
        |mut caller: Caller<'_, State>,
         bd: i32,
         bd_len: i32,
         ns: i32,
         ns_len: i32,
         op: i32,
         op_len: i32,
         ptr: i32,
         len: i32|
         -> wasmtime::Result<i32> {
            let (memory, state) = parts(&mut caller)?;
            Ok(state.host_call(memory, (bd, bd_len), (ns, ns_len), (op, op_len), (ptr, len))?)
        },
    )?;
    linker.func_wrap(
        "wapc",
        "__host_response_len",
        |caller: Caller<'_, State>| caller.data().host_response_len(),
    )?;
    linker.func_wrap(
        "wapc",
        "__host_response",
        |mut caller: Caller<'_, State>, ptr: i32| -> wasmtime::Result<()> {
            let (memory, state) = parts(&mut caller)?;
            Ok(state.host_response(memory, ptr)?)
        },
    )?;
    define_unused(&mut linker)?;
    Ok(linker)
}

/// The imports that the guests declare and never call.
fn define_unused(linker: &mut Linker<State>) -> Result<()> {
    linker.func_wrap("wapc", "__guest_error", |_: i32, _: i32| ())?;
    linker.func_wrap("wapc", "__host_error_len", || 0)?;
    linker.func_wrap("wapc", "__host_error", |_: i32| ())?;
    linker.func_wrap("wapc", "__console_log", |_: i32, _: i32| ())?;
    Ok(())
}

#[inline]
pub(super) fn parts<'a>(
    caller: &'a mut Caller<'_, State>,
) -> wasmtime::Result<(&'a mut [u8], &'a mut State)> {
    let memory = caller.data().memory;
    let memory = memory.ok_or_else(|| wasmtime::Error::msg("the guest has no memory"))?;
    Ok(memory.data_and_store_mut(caller))
}
