//! This project's host, in each form of call, on each engine.

use std::hint::black_box;
use std::sync::Arc;

use bytes::Bytes;
use provider_wasmi::WasmiEngineProvider;
use provider_wasmtime::WasmtimeEngineProvider;
use wapc_host::{
    BoxError, HostCall, HostCallback, Interruption, OwnedHostCall, Payload, WapcHost,
    WebAssemblyEngineProvider,
};

use super::conversation::read;
use crate::guests::Dialect;
use crate::subject::{
    Action, Kind, Maker, OPERATION, Result, Subject, Task, awaited, maker, repeat, repeat_awaited,
    repeat_call, repeat_start,
};

pub fn subjects() -> Vec<Box<dyn Subject>> {
    let ours = |name, about, engine, floor, form| {
        Box::new(Ours {
            name,
            about,
            engine,
            floor,
            form,
        }) as Box<dyn Subject>
    };
    vec![
        ours(
            "ours-wasmtime",
            "`WapcHost::call`, the callback a closure",
            Engine::Wasmtime,
            "floor-wasmtime",
            Form::Return,
        ),
        ours(
            "ours-wasmtime-into",
            "`WapcHost::call_into`, the callback a type",
            Engine::Wasmtime,
            "floor-wasmtime",
            Form::Fill,
        ),
        ours(
            "ours-wasmtime-held",
            "`CheckedOut::call_into`, the callback a type",
            Engine::Wasmtime,
            "floor-wasmtime",
            Form::Hold,
        ),
        ours(
            "ours-wasmtime-kill",
            "`WapcHost::call`, `Interruption::Kill`",
            Engine::WasmtimeKill,
            "floor-wasmtime",
            Form::Return,
        ),
        ours(
            "ours-wasmtime-kill-held",
            "`CheckedOut::call_into`, `Interruption::Kill`",
            Engine::WasmtimeKill,
            "floor-wasmtime",
            Form::Hold,
        ),
        ours(
            "ours-wasmtime-lent",
            "`WapcHost::call_with`, the callback a type",
            Engine::Wasmtime,
            "floor-wasmtime-lent",
            Form::Lend,
        ),
        ours(
            "ours-wasmtime-async",
            "`WapcHost::call_async`, the callback a closure that does not await",
            Engine::Wasmtime,
            "floor-wasmtime-async",
            Form::Async,
        ),
        ours(
            "ours-wasmtime-async-held",
            "`CheckedOutAsync::call_into_async`, the callback a type",
            Engine::Wasmtime,
            "floor-wasmtime-async",
            Form::AsyncHold,
        ),
        ours(
            "ours-wasmtime-awaiting",
            "`WapcHost::call_async`, the callback an async closure",
            Engine::Wasmtime,
            "floor-wasmtime-async",
            Form::Awaiting,
        ),
        ours(
            "ours-wasmi",
            "`WapcHost::call`, the callback a closure",
            Engine::Wasmi,
            "floor-wasmi",
            Form::Return,
        ),
        ours(
            "ours-wasmi-into",
            "`WapcHost::call_into`, the callback a type",
            Engine::Wasmi,
            "floor-wasmi",
            Form::Fill,
        ),
        ours(
            "ours-wasmi-held",
            "`CheckedOut::call_into`, the callback a type",
            Engine::Wasmi,
            "floor-wasmi",
            Form::Hold,
        ),
        ours(
            "ours-wasmi-async",
            "`WapcHost::call_async`, the callback a closure that does not await",
            Engine::Wasmi,
            "floor-wasmi-async",
            Form::Async,
        ),
        ours(
            "ours-wasmi-async-held",
            "`CheckedOutAsync::call_into_async`, the callback a type",
            Engine::Wasmi,
            "floor-wasmi-async",
            Form::AsyncHold,
        ),
        ours(
            "ours-wasmi-awaiting",
            "`WapcHost::call_async`, the callback an async closure",
            Engine::Wasmi,
            "floor-wasmi-async",
            Form::Awaiting,
        ),
    ]
}

struct Ours {
    name: &'static str,
    about: &'static str,
    engine: Engine,
    floor: &'static str,
    form: Form,
}

#[derive(Clone, Copy)]
enum Engine {
    Wasmtime,
    WasmtimeKill,
    Wasmi,
}

/// The form in which the caller gets the response.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Form {
    Return,
    Fill,
    Hold,
    Lend,
    Async,
    AsyncHold,
    /// Also in an async call.
    Awaiting,
}

impl Engine {
    fn provider(self, module: &[u8]) -> Result<Provider> {
        Ok(match self {
            Self::Wasmtime => Provider::Wasmtime(WasmtimeEngineProvider::new(module)?),
            Self::WasmtimeKill => {
                let builder = WasmtimeEngineProvider::builder();
                Provider::Wasmtime(builder.interruption(Interruption::Kill).build(module)?)
            }
            Self::Wasmi => Provider::Wasmi(WasmiEngineProvider::new(module)?),
        })
    }
}

/// A compiled module, cloned into each of its hosts.
#[derive(Clone)]
enum Provider {
    Wasmtime(WasmtimeEngineProvider),
    Wasmi(WasmiEngineProvider),
}

impl Provider {
    fn host(&self, form: Form) -> Result<WapcHost> {
        let provider: Box<dyn WebAssemblyEngineProvider> = match self {
            Self::Wasmtime(provider) => Box::new(provider.clone()),
            Self::Wasmi(provider) => Box::new(provider.clone()),
        };
        Ok(match form {
            Form::Return | Form::Async => WapcHost::new(provider, answer_with_payload)?,
            Form::Awaiting => awaited(
                WapcHost::builder(provider)
                    .build_async(|call: OwnedHostCall| async move { Ok(call.into_payload()) }),
            )?,
            _ => WapcHost::with_callback(provider, Echo)?,
        })
    }
}

/// A shared copy of a large payload: an async call owns what it sends, and copies
/// what is only borrowed.
fn shared(payload: &[u8]) -> Option<Bytes> {
    const LARGE: usize = 16 * 1024;
    (payload.len() > LARGE).then(|| Bytes::copy_from_slice(payload))
}

/// The form in which a caller who cares would send `payload`.
fn sent<'p>(payload: &'p [u8], shared: Option<&'p Bytes>) -> Payload<'p> {
    shared.map_or_else(|| payload.into(), Payload::from)
}

fn answer_with_payload(
    _: u64,
    _: &str,
    _: &str,
    _: &str,
    payload: &[u8],
) -> std::result::Result<Vec<u8>, BoxError> {
    Ok(payload.to_vec())
}

/// A callback that fills the instance's buffer.
pub struct Echo;

impl HostCallback for Echo {
    fn call(
        &self,
        call: HostCall<'_>,
        response: &mut Vec<u8>,
    ) -> std::result::Result<(), BoxError> {
        response.extend_from_slice(call.payload);
        Ok(())
    }
}

impl Subject for Ours {
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
        if task.action != Action::Call && self.form != Form::Return {
            return Ok(None);
        }
        let (engine, form) = (self.engine, self.form);
        let provider = engine.provider(&task.module())?;
        let task = task.clone();
        match task.action {
            Action::Call => maker(move || {
                let host = provider.host(form)?;
                task.check(&match form {
                    Form::Awaiting => awaited(host.call_async(OPERATION, &*task.payload))?,
                    _ => host.call(OPERATION, &task.payload)?,
                })?;
                let mut buffer = Vec::new();
                match form {
                    Form::Return => repeat_call(&task, move |operation, payload| {
                        Ok(host.call(operation, payload)?.len())
                    }),
                    Form::Fill => repeat_call(&task, move |operation, payload| {
                        host.call_into(operation, payload, &mut buffer)?;
                        Ok(buffer.len())
                    }),
                    Form::Hold => {
                        // Leaked on purpose, until the process ends.
                        let mut held = Box::leak(Box::new(host)).check_out()?;
                        repeat_call(&task, move |operation, payload| {
                            held.call_into(operation, payload, &mut buffer)?;
                            Ok(buffer.len())
                        })
                    }
                    Form::Lend => repeat_call(&task, move |operation, payload| {
                        Ok(host.call_with(operation, payload, |response| {
                            black_box(read(response));
                            response.len()
                        })?)
                    }),
                    Form::AsyncHold => {
                        // Leaked on purpose, until the process ends.
                        let mut held = awaited(Box::leak(Box::new(host)).check_out_async())?;
                        let shared = shared(&task.payload);
                        repeat_awaited(&task, async move |operation, payload| {
                            let payload = sent(payload, shared.as_ref());
                            held.call_into_async(operation, payload, &mut buffer)
                                .await?;
                            Ok(buffer.len())
                        })
                    }
                    Form::Async | Form::Awaiting => {
                        let shared = shared(&task.payload);
                        repeat_awaited(&task, async move |operation, payload| {
                            let payload = sent(payload, shared.as_ref());
                            Ok(host.call_async(operation, payload).await?.len())
                        })
                    }
                }
            }),
            Action::ColdStart => {
                let module = task.module();
                maker(move || {
                    let (module, task) = (module.clone(), task.clone());
                    repeat_start(move || {
                        let host = engine.provider(&module)?.host(form)?;
                        task.check(&host.call(OPERATION, &task.payload)?)?;
                        Ok(host)
                    })
                })
            }
            Action::FreshInstance => maker(move || {
                let (provider, task) = (provider.clone(), task.clone());
                repeat(move || {
                    let host = provider.host(form)?;
                    task.check(&host.call(OPERATION, &task.payload)?)
                })
            }),
            Action::Replace => {
                let modules = Arc::new(task.modules(Dialect::Wapc));
                maker(move || {
                    let (host, task) = (provider.host(form)?, task.clone());
                    let modules = modules.clone();
                    let mut turn = 0;
                    repeat(move || {
                        turn += 1;
                        host.replace_module(&modules[turn % 2])?;
                        task.check(&host.call(OPERATION, &task.payload)?)
                    })
                })
            }
            Action::FurtherHost => maker(move || {
                let (provider, task) = (provider.clone(), task.clone());
                let mut kept = Vec::new();
                repeat(move || {
                    let host = provider.host(form)?;
                    task.check(&host.call(OPERATION, &task.payload)?)?;
                    kept.push(host);
                    Ok(())
                })
            }),
        }
    }
}
