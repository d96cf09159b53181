//! Hand-written code on raw wasmi's resumable calls: a host call leaves the guest, and
//! resumes it.

use std::fmt;
use std::future::ready;

use wasmi::errors::HostError;
use wasmi::{Caller, Engine, Error, Module, Store, TypedFunc, TypedResumableCall, Val};

use super::floor_wasmi::{State, linker, parts};
use crate::subject::{
    Action, Kind, Maker, OPERATION, Result, Subject, Task, awaited, maker, repeat_awaited,
};

pub fn subjects() -> Vec<Box<dyn Subject>> {
    vec![Box::new(Floor)]
}

struct Floor;

impl Subject for Floor {
    fn name(&self) -> &'static str {
        "floor-wasmi-async"
    }

    fn about(&self) -> &'static str {
        "`call_resumable`; `__host_call` traps, its future is ready at once, the guest resumes"
    }

    fn kind(&self) -> Kind {
        Kind::Floor
    }

    fn floor(&self) -> &'static str {
        "floor-wasmi"
    }

    fn prepare(&self, task: &Task) -> Result<Option<Maker>> {
        if task.action != Action::Call {
            return Ok(None);
        }
        let task = task.clone();
        maker(move || {
            let mut instance = Instance::new(&task.module())?;
            awaited(instance.call(OPERATION, &task.payload))?;
            task.check(instance.store.data().response())?;
            repeat_awaited(&task, async move |operation, payload| {
                instance.call(operation, payload).await
            })
        })
    }
}

/// A live guest.
struct Instance {
    store: Store<State>,
    guest_call: TypedFunc<(i32, i32), i32>,
}

impl Instance {
    fn new(module: &[u8]) -> Result<Self> {
        let engine = Engine::default();
        let mut linker = linker(&engine, false)?;
        linker.allow_shadowing(true);
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
                let answered = state
                    .host_call(memory, (bd, bd_len), (ns, ns_len), (op, op_len), (ptr, len))
                    .map_err(Error::host)?;
                Err(Error::host(Asking(answered)))
            },
        )?;
        let mut store = Store::new(&engine, State::default());
        let instance = linker.instantiate_and_start(&mut store, &Module::new(&engine, module)?)?;
        store.data_mut().memory = instance.get_memory(&store, "memory");
        let guest_call = instance.get_typed_func(&store, "__guest_call")?;
        Ok(Self { store, guest_call })
    }

    async fn call(&mut self, operation: &str, payload: &[u8]) -> Result<usize> {
        // SAFETY: both are borrowed until this future has ended, which the benchmark never
        // drops before, and `end` comes last.
        unsafe { self.store.data_mut().begin(operation, payload) };
        let outcome = self
            .run((operation.len() as i32, payload.len() as i32))
            .await;
        let responded = self.store.data_mut().end();
        match (outcome?, responded) {
            (1, Some(length)) => Ok(length),
            _ => Err("the guest failed".into()),
        }
    }

    async fn run(&mut self, lengths: (i32, i32)) -> Result<i32> {
        let mut step = self.guest_call.call_resumable(&mut self.store, lengths)?;
        loop {
            step = match step {
                TypedResumableCall::Finished(returned) => return Ok(returned),
                TypedResumableCall::HostTrap(trap) => {
                    let asking = trap.host_error().downcast_ref::<Asking>();
                    let answered = asking.ok_or("the guest has broken the protocol")?.0;
                    let answered = Val::I32(ready(answered).await);
                    trap.resume(&mut self.store, &[answered])?
                }
                TypedResumableCall::OutOfFuel(_) => return Err("nothing is metered".into()),
            }
        }
    }
}

/// The error by which a guest is suspended, with the host's answer.
#[derive(Debug)]
struct Asking(i32);

impl fmt::Display for Asking {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the guest waits for its host")
    }
}

impl HostError for Asking {}
