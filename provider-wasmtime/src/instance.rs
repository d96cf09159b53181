//! Guest instances: instantiation, start functions and calls.

use std::sync::Arc;
#[cfg(feature = "async")]
use std::{
    pin::pin,
    sync::OnceLock,
    task::{Context, Poll, Waker},
};

#[cfg(feature = "async")]
use wapc_host::engine::AsyncCall;
use wapc_host::{
    HostFunctions, Interruption, ModuleState, WasiSettings,
    engine::{ArmedSwitch, GuestInstance, GuestReturn},
    error::{EngineError, ModuleError, StartFunction},
    module::{GuestShape, WAPC_MEMORY},
};
use wapc_wasi::Wasi;
use wasmtime::{
    Extern, Instance, InstancePre, Module, ModuleExport, PoolConcurrencyLimitError, Store,
    TypedFunc,
};

#[cfg(feature = "wasmtime-wasi")]
use crate::wasi_context::{self, WasiContexts};
use crate::{
    Pooling,
    errors::{engine_error, instantiation_error, killed},
    functions::link_functions,
    killable_store::KillableStore,
    linker::{Data, extern_type, linker},
    metering::Meter,
    page_checks::{PAGE, START},
};
#[cfg(feature = "async")]
use crate::{functions::link_awaiting_functions, linker::awaiting_linker};

/// A module with everything that its instances share.
pub(crate) struct Template {
    linked: InstancePre<Data>,
    shape: GuestShape,
    /// The module imports functions that may wait.
    waits: bool,
    memory: ModuleExport,
    wapc_memory: ModuleExport,
    guest_call: ModuleExport,
    /// The page of a guest that can be killed.
    page: Option<ModuleExport>,
    /// The start section's function was made an export, and instantiation runs none.
    starts_by_export: bool,
    memories: usize,
    tables: usize,
    interruption: Interruption,
    /// The stack of the calling thread that a blocking call may take.
    stack_bytes: usize,
    /// The pool that instances come from, if this crate has configured one.
    pooling: Option<Pooling>,
    wasi: Arc<WasiSettings>,
    #[cfg(feature = "wasmtime-wasi")]
    wasi_contexts: Option<WasiContexts>,
    #[cfg(feature = "async")]
    functions: Arc<HostFunctions>,
    /// Like `linked`, for instances that are suspended. Created on first use.
    #[cfg(feature = "async")]
    linked_awaiting: OnceLock<InstancePre<Data>>,
}

impl Template {
    pub(crate) fn new(
        module: Module,
        interruption: Interruption,
        guest_stack_bytes: usize,
        pooling: Option<Pooling>,
        wasi: Arc<WasiSettings>,
        functions: Arc<HostFunctions>,
        #[cfg(feature = "wasmtime-wasi")] wasi_contexts: Option<WasiContexts>,
    ) -> Result<Self, ModuleError> {
        let imports: Vec<_> = module.imports().collect();
        let exports: Vec<_> = module.exports().collect();
        let shape = functions.shape(
            imports
                .iter()
                .map(|import| (import.module(), import.name(), extern_type(&import.ty()))),
            exports
                .iter()
                .map(|export| (export.name(), extern_type(&export.ty()))),
        )?;
        #[cfg(feature = "wasmtime-wasi")]
        let linker = match &wasi_contexts {
            Some(_) => linker(&module, false).and_then(wasi_context::link),
            None => linker(&module, true),
        };
        #[cfg(not(feature = "wasmtime-wasi"))]
        let linker = linker(&module, true);
        let linked = linker
            .and_then(|linker| link_functions(linker, &module, &functions))
            .and_then(|linker| linker.instantiate_pre(&module))
            .map_err(|error| ModuleError::Refused(error.into()))?;
        let awaits = imports.iter().any(|import| {
            let function = functions.resolve(import.module(), import.name());
            function.is_some_and(|function| function.is_async())
        });
        let index = |name| {
            module
                .get_export_index(name)
                .expect("a guest's shape has this export")
        };
        let page = match interruption {
            Interruption::Kill => module.get_export_index(PAGE),
            _ => None,
        };
        let resources = module.resources_required();
        let number = |number| usize::try_from(number).unwrap_or(usize::MAX);
        Ok(Self {
            memories: number(resources.num_memories) - usize::from(page.is_some()),
            tables: number(resources.num_tables),
            memory: index("memory"),
            wapc_memory: module
                .get_export_index(WAPC_MEMORY)
                .unwrap_or_else(|| index("memory")),
            guest_call: index("__guest_call"),
            starts_by_export: page.is_some() && module.get_export_index(START).is_some(),
            page,
            linked,
            interruption,
            stack_bytes: guest_stack_bytes.saturating_add(HOST_STACK_BYTES),
            pooling,
            waits: shape.imports_wasi || awaits,
            shape,
            wasi,
            #[cfg(feature = "wasmtime-wasi")]
            wasi_contexts,
            #[cfg(feature = "async")]
            functions,
            #[cfg(feature = "async")]
            linked_awaiting: OnceLock::new(),
        })
    }

    pub(crate) fn module(&self) -> &Module {
        self.linked.module()
    }

    pub(crate) const fn interruption(&self) -> Interruption {
        self.interruption
    }

    /// Returns the start functions, in their order. A start section is one of them if it
    /// was made an export.
    fn start_functions(&self) -> impl Iterator<Item = StartFunction> {
        let section = self.starts_by_export.then_some(StartFunction::Section);
        let exports = self.shape.start_functions.iter().copied();
        section.into_iter().chain(exports)
    }

    pub(crate) const fn stack_bytes(&self) -> usize {
        self.stack_bytes
    }
}

/// The stack for the host's functions and the callback in a blocking call, beyond the guest's.
const HOST_STACK_BYTES: usize = 256 << 10;

/// One guest instance.
pub(crate) struct WasmtimeInstance {
    store: KillableStore,
    guest_call: TypedFunc<(i32, i32), i32>,
    meter: Meter,
    /// It is linked with functions that can suspend it.
    #[cfg(feature = "async")]
    suspends: bool,
}

impl WasmtimeInstance {
    pub(crate) fn new(template: &Template, mut state: ModuleState) -> Result<Self, EngineError> {
        if cfg!(feature = "async") && template.waits {
            state.set_waits_on_thread();
        }
        let (mut store, meter) = template.store(state)?;
        let made = template.linked.instantiate(&mut store);
        let instance = template.finish_instantiation(&mut store, made)?;
        for start in template.start_functions() {
            if let Some(function) = start_function(&mut store, instance, start)? {
                let (armed, context) = store.arm();
                let outcome = function.call(context, ());
                let was_killed = armed.is_some_and(ArmedSwitch::disarm);
                start_ended(&store, start, was_killed, outcome)?;
            }
        }
        template.finish_start(store, meter, instance)
    }

    /// Creates an instance whose start functions may await the host.
    #[cfg(feature = "async")]
    pub(crate) async fn new_async(
        template: &Template,
        state: ModuleState,
    ) -> Result<Self, EngineError> {
        let suspends = state.suspends();
        let linked = template.linked_for(&state)?;
        let (mut store, meter) = template.store(state)?;
        let made = linked.instantiate_async(&mut store).await;
        let instance = template.finish_instantiation(&mut store, made)?;
        for start in template.start_functions() {
            if let Some(function) = start_function(&mut store, instance, start)? {
                let (armed, context) = store.arm();
                let outcome = function.call_async(context, ()).await;
                let was_killed = armed.is_some_and(ArmedSwitch::disarm);
                start_ended(&store, start, was_killed, outcome)?;
            }
        }
        let instance = template.finish_start(store, meter, instance)?;
        Ok(Self {
            suspends,
            ..instance
        })
    }
}

impl Template {
    /// Creates a store with the limits of a guest.
    fn store(&self, mut state: ModuleState) -> Result<(KillableStore, Meter), EngineError> {
        state.admit(self.memories, self.tables)?;
        state.set_stack_bytes(self.stack_bytes);
        if let Some(pooling) = &self.pooling {
            let admitted = pooling.admit(self.memories, self.tables);
            admitted.map_err(|error| EngineError::Other(error.into()))?;
        }
        #[cfg(feature = "wasmtime-wasi")]
        let wasi_context = match &self.wasi_contexts {
            Some(contexts) if self.shape.imports_wasi => Some(contexts.context()?),
            _ => None,
        };
        #[cfg(feature = "wasmtime-wasi")]
        let has_context = wasi_context.is_some();
        #[cfg(not(feature = "wasmtime-wasi"))]
        let has_context = false;
        let wasi = match self.shape.imports_wasi && !has_context {
            true => Some(Wasi::for_guest(&self.wasi, &mut state)?),
            false => None,
        };
        let data = Data {
            state,
            memory: None,
            wapc_memory: None,
            page_is_due: self.page.is_some(),
            wasi,
            #[cfg(feature = "wasmtime-wasi")]
            wasi_context,
        };
        let mut store = Store::new(self.module().engine(), data);
        let meter = Meter::install(&mut store, self.interruption)?;
        Ok((KillableStore::new(store), meter))
    }

    /// Translates the outcome of an instantiation, and caches the memory.
    fn finish_instantiation(
        &self,
        store: &mut KillableStore,
        made: wasmtime::Result<Instance>,
    ) -> Result<Instance, EngineError> {
        let instance = made.map_err(|error| match &self.pooling {
            Some(pooling) if error.is::<PoolConcurrencyLimitError>() => {
                EngineError::Other(pooling.exhausted().into())
            }
            _ => instantiation_error(error, &store.data().state),
        })?;
        let [memory, wapc_memory] = [&self.memory, &self.wapc_memory].map(|export| {
            let export = instance.get_module_export(&mut *store, export);
            export.and_then(Extern::into_memory)
        });
        store.data_mut().memory = memory;
        store.data_mut().wapc_memory = wapc_memory;
        let page = self.page.as_ref().and_then(|page| {
            let export = instance.get_module_export(&mut *store, page);
            export.and_then(Extern::into_memory)
        });
        if let Some(page) = page {
            store.set_page(page);
        }
        Ok(instance)
    }

    fn finish_start(
        &self,
        mut store: KillableStore,
        meter: Meter,
        instance: Instance,
    ) -> Result<WasmtimeInstance, EngineError> {
        let guest_call = instance
            .get_module_export(&mut store, &self.guest_call)
            .and_then(Extern::into_func)
            .expect("a guest's shape has this function")
            .typed(&store)
            .map_err(|error| EngineError::Other(error.into()))?;
        Ok(WasmtimeInstance {
            store,
            guest_call,
            meter,
            #[cfg(feature = "async")]
            suspends: false,
        })
    }

    /// Returns the linked module for an instance that is suspended or is not.
    #[cfg(feature = "async")]
    fn linked_for(&self, state: &ModuleState) -> Result<&InstancePre<Data>, EngineError> {
        if !state.suspends() {
            return Ok(&self.linked);
        }
        if let Some(linked) = self.linked_awaiting.get() {
            return Ok(linked);
        }
        let module = self.module();
        #[cfg(feature = "wasmtime-wasi")]
        let linker = match &self.wasi_contexts {
            Some(_) => awaiting_linker(module, false).and_then(wasi_context::link_awaiting),
            None => awaiting_linker(module, true),
        };
        #[cfg(not(feature = "wasmtime-wasi"))]
        let linker = awaiting_linker(module, true);
        let linked = linker
            .and_then(|linker| link_awaiting_functions(linker, module, &self.functions))
            .and_then(|linker| linker.instantiate_pre(module))
            .map_err(|error| EngineError::Other(error.into()))?;
        Ok(self.linked_awaiting.get_or_init(|| linked))
    }
}

fn start_function(
    store: &mut KillableStore,
    instance: Instance,
    start: StartFunction,
) -> Result<Option<TypedFunc<(), ()>>, EngineError> {
    let name = match start {
        StartFunction::Section => Some(START),
        start => start.export(),
    };
    name.map(|name| instance.get_typed_func(store, name))
        .transpose()
        .map_err(|error| EngineError::Other(error.into()))
}

fn start_ended(
    store: &KillableStore,
    start: StartFunction,
    was_killed: bool,
    outcome: wasmtime::Result<()>,
) -> Result<(), EngineError> {
    let state = &store.data().state;
    start.outcome(match was_killed {
        true => Err(killed(state)),
        false => outcome.map_err(|error| engine_error(error, state)),
    })
}

#[cfg(feature = "async")]
impl WasmtimeInstance {
    /// Calls a guest that is linked with functions which can suspend it, from a
    /// blocking caller. wasmtime requires the async API for such guests. It never
    /// suspends: the state refuses host calls that would have to be awaited, and
    /// WASI waits on the thread.
    #[cold]
    fn run_without_waiting(&mut self, op_length: i32, msg_length: i32) -> GuestReturn {
        let call = pin!(self.run_async((op_length, msg_length)));
        match call.poll(&mut Context::from_waker(Waker::noop())) {
            Poll::Ready(returned) => returned,
            Poll::Pending => Err(EngineError::Other("a blocking call has awaited".into())).into(),
        }
    }

    async fn run_async(&mut self, params: (i32, i32)) -> GuestReturn {
        let Self {
            store,
            guest_call,
            meter,
            ..
        } = self;
        let (armed, mut store) = store.arm();
        if let Err(error) = meter.refuel(&mut store) {
            return Err(error).into();
        }
        let returned = guest_call.call_async(&mut store, params).await;
        meter.settle(&mut store);
        let state = &store.data().state;
        match armed.is_some_and(ArmedSwitch::disarm) {
            true => Err(killed(state)).into(),
            false => returned.map_err(|error| engine_error(error, state)).into(),
        }
    }
}

impl GuestInstance for WasmtimeInstance {
    // Inlined into `drive`, the method that the host calls.
    #[inline(always)]
    fn call(&mut self, op_length: i32, msg_length: i32) -> GuestReturn {
        #[cfg(feature = "async")]
        if self.suspends {
            return self.run_without_waiting(op_length, msg_length);
        }
        let Self {
            store,
            guest_call,
            meter,
            ..
        } = self;
        let (armed, mut store) = store.arm();
        if let Err(error) = meter.refuel(&mut store) {
            return Err(error).into();
        }
        let returned = guest_call.call(&mut store, (op_length, msg_length));
        meter.settle(&mut store);
        if armed.is_some_and(ArmedSwitch::disarm) {
            return Err(killed(&store.data().state)).into();
        }
        // `map_err` would merge the two paths, and cost a second branch.
        match returned {
            Ok(returned) => Ok(returned).into(),
            Err(error) => Err(engine_error(error, &store.data().state)).into(),
        }
    }

    #[cfg(feature = "async")]
    fn call_async(&mut self, op_length: i32, msg_length: i32) -> AsyncCall<'_> {
        // The future is large, so it is constructed in its box instead of moved.
        let place = Box::new_uninit();
        let call = Box::write(place, self.run_async((op_length, msg_length)));
        AsyncCall::Running(Box::into_pin(call))
    }

    #[inline]
    fn state(&mut self) -> &mut ModuleState {
        &mut self.store.data_mut().state
    }

    fn memory(&mut self) -> Option<&[u8]> {
        let memory = self.store.data().memory?;
        Some(memory.data(&self.store))
    }
}
