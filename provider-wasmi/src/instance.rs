//! Makes and calls live guests.

use wapc_host::{
    EngineError, GuestInstance, ModuleError, ModuleState, Start, WasiSettings, module::GuestShape,
};
use wapc_wasi::Wasi;
use wasmi::{Instance, Linker, Module, Store, TypedFunc};

use crate::{
    errors::engine_error,
    imports::{Data, extern_type, linker},
};

/// A module with everything that is the same for each of its instances.
pub(crate) struct Template {
    module: Module,
    linker: Linker<Data>,
    shape: GuestShape,
}

impl Template {
    pub(crate) fn new(module: Module) -> Result<Self, ModuleError> {
        let shape = GuestShape::of(
            module
                .imports()
                .map(|import| (import.module(), import.name(), extern_type(import.ty()))),
            module
                .exports()
                .map(|export| (export.name(), extern_type(export.ty()))),
        )?;
        let linker = linker(&module, shape.imports_wasi)
            .map_err(|error| ModuleError::Refused(error.into()))?;
        Ok(Self {
            module,
            linker,
            shape,
        })
    }

    pub(crate) const fn module(&self) -> &Module {
        &self.module
    }
}

/// One live guest.
pub(crate) struct WasmiInstance {
    store: Store<Data>,
    guest_call: TypedFunc<(i32, i32), i32>,
}

impl WasmiInstance {
    pub(crate) fn new(
        template: &Template,
        wasi: &WasiSettings,
        mut state: ModuleState,
    ) -> Result<Self, EngineError> {
        let wasi = match template.shape.imports_wasi {
            true => Some(Wasi::of_guest(wasi, &mut state)?),
            false => None,
        };
        let data = Data {
            state,
            memory: None,
            wasi,
        };
        let mut store = Store::new(template.module.engine(), data);
        let instance = template
            .linker
            .instantiate_and_start(&mut store, &template.module)
            .map_err(|error| engine_error(error).in_instantiation())?;
        store.data_mut().memory = instance.get_memory(&store, "memory");
        for start in &template.shape.start_functions {
            run_start(&mut store, instance, *start)?;
        }
        let guest_call = instance
            .get_typed_func(&store, "__guest_call")
            .map_err(|error| EngineError::Other(error.into()))?;
        Ok(Self { store, guest_call })
    }
}

impl GuestInstance for WasmiInstance {
    #[inline]
    fn call(&mut self, op_length: i32, msg_length: i32) -> Result<i32, EngineError> {
        self.guest_call
            .call(&mut self.store, (op_length, msg_length))
            .map_err(engine_error)
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
        .get_typed_func::<(), ()>(&*store, name)
        .and_then(|function| function.call(store, ()))
        .map_err(engine_error);
    start.outcome(outcome)
}
