//! Hand-written code on raw wasmtime's async calls: a fiber, and a host call that may
//! await.

use std::future::ready;

use wasmtime::{Caller, Engine, InstancePre, Module, Store, TypedFunc};

use super::floor_wasmtime::{State, linker, parts};
use crate::subject::{
    Action, Kind, Maker, OPERATION, Result, Subject, Task, awaited, maker, repeat_awaited,
};

pub fn subjects() -> Vec<Box<dyn Subject>> {
    vec![Box::new(Floor)]
}

struct Floor;

impl Subject for Floor {
    fn name(&self) -> &'static str {
        "floor-wasmtime-async"
    }

    fn about(&self) -> &'static str {
        "`call_async`; `__host_call` by `func_wrap_async`, its future ready at once"
    }

    fn kind(&self) -> Kind {
        Kind::Floor
    }

    fn floor(&self) -> &'static str {
        "floor-wasmtime"
    }

    fn prepare(&self, task: &Task) -> Result<Option<Maker>> {
        if task.action != Action::Call {
            return Ok(None);
        }
        let linked = load(&task.module())?;
        let task = task.clone();
        maker(move || {
            let mut instance = awaited(instantiate(&linked))?;
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
    async fn call(&mut self, operation: &str, payload: &[u8]) -> Result<usize> {
        // SAFETY: both are borrowed until this future has ended, which the benchmark never
        // drops before, and `end` comes last.
        unsafe { self.store.data_mut().begin(operation, payload) };
        let lengths = (operation.len() as i32, payload.len() as i32);
        let outcome = self.guest_call.call_async(&mut self.store, lengths).await;
        let responded = self.store.data_mut().end();
        match (outcome?, responded) {
            (1, Some(length)) => Ok(length),
            _ => Err("the guest failed".into()),
        }
    }
}

fn load(module: &[u8]) -> Result<InstancePre<State>> {
    let engine = Engine::default();
    let mut linker = linker(&engine, false)?;
    linker.allow_shadowing(true);
    linker.func_wrap_async(
        "wapc",
        "__host_call",
        |mut caller: Caller<'_, State>, numbers| {
            let (bd, bd_len, ns, ns_len, op, op_len, ptr, len) = numbers;
            Box::new(async move {
                let (memory, state) = parts(&mut caller)?;
                let answered = state.host_call(
                    memory,
                    (bd, bd_len),
                    (ns, ns_len),
                    (op, op_len),
                    (ptr, len),
                )?;
                wasmtime::Result::<i32>::Ok(ready(answered).await)
            })
        },
    )?;
    Ok(linker.instantiate_pre(&Module::new(&engine, module)?)?)
}

async fn instantiate(linked: &InstancePre<State>) -> Result<Instance> {
    let mut store = Store::new(linked.module().engine(), State::default());
    let instance = linked.instantiate_async(&mut store).await?;
    store.data_mut().memory = instance.get_memory(&mut store, "memory");
    let guest_call = instance.get_typed_func(&mut store, "__guest_call")?;
    Ok(Instance { store, guest_call })
}
