//! Makes and calls live guests.

use wapc_host::{
    EngineError, GuestInstance, Interruption, ModuleError, ModuleState, Start, WasiSettings,
    module::GuestShape,
};
use wapc_wasi::Wasi;
use wasmtime::{Extern, Instance, InstancePre, Module, ModuleExport, Store, TypedFunc};

use crate::{
    errors::{engine_error, instantiation_error},
    imports::{Data, extern_type, linker},
    limits,
};

/// A module with everything that is the same for each of its instances.
pub(crate) struct Template {
    linked: InstancePre<Data>,
    shape: GuestShape,
    memory: ModuleExport,
    guest_call: ModuleExport,
    memories: usize,
    tables: usize,
}

impl Template {
    pub(crate) fn new(module: Module) -> Result<Self, ModuleError> {
        let imports: Vec<_> = module.imports().collect();
        let exports: Vec<_> = module.exports().collect();
        let shape = GuestShape::of(
            imports
                .iter()
                .map(|import| (import.module(), import.name(), extern_type(&import.ty()))),
            exports
                .iter()
                .map(|export| (export.name(), extern_type(&export.ty()))),
        )?;
        let linked = linker(&module, shape.imports_wasi)
            .and_then(|linker| linker.instantiate_pre(&module))
            .map_err(|error| ModuleError::Refused(error.into()))?;
        let index = |name| {
            module
                .get_export_index(name)
                .expect("a guest's shape has this export")
        };
        let resources = module.resources_required();
        let number = |number| usize::try_from(number).unwrap_or(usize::MAX);
        Ok(Self {
            memories: number(resources.num_memories),
            tables: number(resources.num_tables),
            memory: index("memory"),
            guest_call: index("__guest_call"),
            linked,
            shape,
        })
    }

    pub(crate) fn module(&self) -> &Module {
        self.linked.module()
    }
}

/// One live guest.
pub(crate) struct WasmtimeInstance {
    store: Store<Data>,
    guest_call: TypedFunc<(i32, i32), i32>,
    interruption: Interruption,
}

impl WasmtimeInstance {
    pub(crate) fn new(
        template: &Template,
        wasi: &WasiSettings,
        interruption: Interruption,
        mut state: ModuleState,
    ) -> Result<Self, EngineError> {
        state.admit(template.memories, template.tables)?;
        let wasi = match template.shape.imports_wasi {
            true => Some(Wasi::of_guest(wasi, &mut state)?),
            false => None,
        };
        let data = Data {
            state,
            memory: None,
            wasi,
        };
        let mut store = Store::new(template.module().engine(), data);
        limits::install(&mut store, interruption)?;
        let instance = template
            .linked
            .instantiate(&mut store)
            .map_err(|error| instantiation_error(error, &store.data().state))?;
        store.data_mut().memory = instance
            .get_module_export(&mut store, &template.memory)
            .and_then(Extern::into_memory);
        for start in &template.shape.start_functions {
            run_start(&mut store, instance, *start)?;
        }
        let guest_call = instance
            .get_module_export(&mut store, &template.guest_call)
            .and_then(Extern::into_func)
            .expect("a guest's shape has this function")
            .typed(&store)
            .map_err(|error| EngineError::Other(error.into()))?;
        Ok(Self {
            store,
            guest_call,
            interruption,
        })
    }
}

impl GuestInstance for WasmtimeInstance {
    #[inline]
    fn call(&mut self, op_length: i32, msg_length: i32) -> Result<i32, EngineError> {
        let Self {
            store,
            guest_call,
            interruption,
        } = self;
        limits::arm(store, *interruption)?;
        let returned = guest_call.call(&mut *store, (op_length, msg_length));
        limits::count_fuel(store, *interruption);
        returned.map_err(|error| engine_error(error, &store.data().state))
    }

    #[inline]
    fn state(&mut self) -> &mut ModuleState {
        &mut self.store.data_mut().state
    }
}

fn run_start(store: &mut Store<Data>, instance: Instance, start: Start) -> Result<(), EngineError> {
    let Some(name) = start.export() else {
        return Ok(());
    };
    let outcome = instance
        .get_typed_func::<(), ()>(&mut *store, name)
        .and_then(|function| function.call(&mut *store, ()))
        .map_err(|error| engine_error(error, &store.data().state));
    start.outcome(outcome)
}
