//! `wapc-pool` 1 with the versions that it needs: `wapc` 1 and `wasmtime-provider` 1, on
//! wasmtime 25.

use std::sync::Arc;

use wapc_pool::HostPoolBuilder;
use wapc1::WapcHost;
use wasmtime_provider1::WasmtimeEngineProviderBuilder;

use crate::subject::{
    Action, Kind, Maker, OPERATION, Result, Subject, Task, awaited, maker, repeat_awaited,
};

pub fn subjects() -> Vec<Box<dyn Subject>> {
    vec![Box::new(Pool)]
}

struct Pool;

impl Subject for Pool {
    fn name(&self) -> &'static str {
        "wapc-pool"
    }

    fn about(&self) -> &'static str {
        "`wapc-pool` 1.1 with `wapc` 1.1 on wasmtime 25, two workers, shared by all callers"
    }

    fn kind(&self) -> Kind {
        Kind::Peer
    }

    fn floor(&self) -> &'static str {
        "floor-wasmtime"
    }

    fn prepare(&self, task: &Task) -> Result<Option<Maker>> {
        if task.action != Action::Call {
            return Ok(None);
        }
        let task = task.clone();
        let linked = WasmtimeEngineProviderBuilder::new()
            .module_bytes(&task.module())
            .build_pre()?;
        let pool = HostPoolBuilder::new()
            .factory(move || {
                let provider = linked.rehydrate().expect("it was built before");
                let answer = |_, _: &str, _: &str, _: &str, payload: &[u8]| Ok(payload.to_vec());
                WapcHost::new(Box::new(provider), Some(Box::new(answer)))
                    .expect("the guest has no start function that could fail")
            })
            .min_threads(2)
            .max_threads(2)
            .build();
        let pool = Arc::new(pool);
        maker(move || {
            let call = pool.call(OPERATION, task.payload.to_vec());
            task.check(&awaited(call)?)?;
            let pool = pool.clone();
            repeat_awaited(&task, async move |operation, payload| {
                Ok(pool.call(operation, payload.to_vec()).await?.len())
            })
        })
    }
}
