//! Hand-written code on raw wasmi: a lower bound for any waPC host on this engine.

use std::sync::Arc;

use wasmi::errors::HostError;
use wasmi::{
    Caller, CompilationMode, Config, Engine, Error, Linker, Memory, Module, Store, TypedFunc,
};

use super::conversation::{Broken, Conversation};
use crate::guests::Dialect;
use crate::subject::{
    Action, Kind, Maker, OPERATION, Result, Subject, Task, maker, repeat, repeat_call, repeat_start,
};

pub fn subjects() -> Vec<Box<dyn Subject>> {
    use Action::*;
    let copied = Floor {
        name: "floor-wasmi",
        about: "as for wasmtime; validated at once, translated at first use",
        actions: &[Call, ColdStart, FreshInstance, Replace, FurtherHost],
        mode: CompilationMode::LazyTranslation,
        own_engine: false,
        lent: false,
    };
    let floors = [
        copied,
        Floor {
            name: "floor-wasmi-lent",
            about: "the same, the response read inside `__guest_response`",
            actions: &[Call],
            lent: true,
            ..copied
        },
        Floor {
            name: "floor-wasmi-own-engine",
            about: "an engine for each thread",
            actions: &[Call, FreshInstance],
            own_engine: true,
            ..copied
        },
        Floor {
            name: "floor-wasmi-eager",
            about: "validated and translated at once",
            actions: &[ColdStart, Replace, FurtherHost],
            mode: CompilationMode::Eager,
            ..copied
        },
        Floor {
            name: "floor-wasmi-lazy",
            about: "validated and translated at first use",
            actions: &[ColdStart, Replace],
            mode: CompilationMode::Lazy,
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
    mode: CompilationMode,
    own_engine: bool,
    lent: bool,
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
        "floor-wasmi"
    }

    fn prepare(&self, task: &Task) -> Result<Option<Maker>> {
        if !self.actions.contains(&task.action) {
            return Ok(None);
        }
        let floor = *self;
        let task = task.clone();
        let shared = Arc::new(floor.load(&floor.engine(), &task.module())?);
        let loaded = {
            let task = task.clone();
            move || {
                if floor.own_engine {
                    floor.load(&floor.engine(), &task.module()).map(Arc::new)
                } else {
                    Ok(shared.clone())
                }
            }
        };
        match task.action {
            Action::Call => maker(move || {
                let mut instance = loaded()?.instantiate()?;
                let length = instance.call(OPERATION, &task.payload)?;
                if !floor.lent {
                    task.check(instance.response())?;
                }
                assert_eq!(length, task.payload.len());
                repeat_call(&task, move |operation, payload| {
                    instance.call(operation, payload)
                })
            }),
            Action::ColdStart => maker(move || {
                let (module, task) = (task.module(), task.clone());
                repeat_start(move || {
                    let loaded = floor.load(&floor.engine(), &module)?;
                    Ok((loaded.answer(&task)?, loaded))
                })
            }),
            Action::FreshInstance => maker(move || {
                let (loaded, task) = (loaded()?, task.clone());
                repeat(move || loaded.answer(&task).map(drop))
            }),
            Action::Replace => maker(move || {
                let task = task.clone();
                let modules = task.modules(Dialect::Wapc);
                let engine = floor.engine();
                let mut running = floor.load(&engine, &modules[0])?.instantiate()?;
                let mut turn = 0;
                repeat(move || {
                    turn += 1;
                    let next = floor.load(&engine, &modules[turn % 2])?.instantiate()?;
                    drop(std::mem::replace(&mut running, next));
                    running.call(OPERATION, &task.payload)?;
                    task.check(running.response())
                })
            }),
            Action::FurtherHost => maker(move || {
                let (loaded, task) = (loaded()?, task.clone());
                let mut kept = Vec::new();
                repeat(move || {
                    let mut instance = loaded.instantiate()?;
                    instance.call(OPERATION, &task.payload)?;
                    task.check(instance.response())?;
                    kept.push(instance);
                    Ok(())
                })
            }),
        }
    }
}

impl Floor {
    fn engine(&self) -> Engine {
        let mut config = Config::default();
        config.compilation_mode(self.mode);
        Engine::new(&config)
    }

    fn load(&self, engine: &Engine, bytes: &[u8]) -> Result<Loaded> {
        Ok(Loaded {
            linker: linker(engine, self.lent)?,
            module: Module::new(engine, bytes)?,
        })
    }
}

struct Loaded {
    linker: Linker<State>,
    module: Module,
}

/// A live guest.
struct Instance {
    store: Store<State>,
    guest_call: TypedFunc<(i32, i32), i32>,
}

pub(super) type State = Conversation<Memory>;

impl Loaded {
    fn instantiate(&self) -> Result<Instance> {
        let mut store = Store::new(self.module.engine(), State::default());
        let instance = self
            .linker
            .instantiate_and_start(&mut store, &self.module)?;
        store.data_mut().memory = instance.get_memory(&store, "memory");
        let guest_call = instance.get_typed_func(&store, "__guest_call")?;
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

impl HostError for Broken {}

pub(super) fn linker(engine: &Engine, lent: bool) -> Result<Linker<State>> {
    let mut linker = Linker::new(engine);
    linker.func_wrap(
        "wapc",
        "__guest_request",
        |mut caller: Caller<'_, State>, op: i32, msg: i32| -> std::result::Result<(), Error> {
            let (memory, state) = parts(&mut caller)?;
            state.guest_request(memory, op, msg).map_err(Error::host)
        },
    )?;
    if lent {
        linker.func_wrap(
            "wapc",
            "__guest_response",
            |mut caller: Caller<'_, State>, ptr: i32, len: i32| -> std::result::Result<(), Error> {
                let (memory, state) = parts(&mut caller)?;
                state
                    .guest_response_lent(memory, ptr, len)
                    .map_err(Error::host)
            },
        )?;
    } else {
        linker.func_wrap(
            "wapc",
            "__guest_response",
            |mut caller: Caller<'_, State>, ptr: i32, len: i32| -> std::result::Result<(), Error> {
                let (memory, state) = parts(&mut caller)?;
                state.guest_response(memory, ptr, len).map_err(Error::host)
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
         -> std::result::Result<i32, Error> {
            let (memory, state) = parts(&mut caller)?;
            state
                .host_call(memory, (bd, bd_len), (ns, ns_len), (op, op_len), (ptr, len))
                .map_err(Error::host)
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
        |mut caller: Caller<'_, State>, ptr: i32| -> std::result::Result<(), Error> {
            let (memory, state) = parts(&mut caller)?;
            state.host_response(memory, ptr).map_err(Error::host)
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
) -> std::result::Result<(&'a mut [u8], &'a mut State), Error> {
    let memory = caller.data().memory;
    let memory = memory.ok_or_else(|| Error::new("the guest has no memory"))?;
    Ok(memory.data_and_store_mut(caller))
}
