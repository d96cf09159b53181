//! Guest instances: instantiation, start functions and calls.

use std::ops::ControlFlow;

use wapc_host::{
    HostFunctions, Interruption, ModuleState, WasiSettings,
    engine::{AsyncCall, GuestInstance, GuestReturn},
    error::{EngineError, ModuleError},
    module::{GuestShape, WAPC_MEMORY},
};
use wapc_wasi::Wasi;
use wasmi::{Instance, Linker, Module, Store, TypedFunc};

use crate::{
    errors::{instantiation_error, is_out_of_fuel},
    functions::link_functions,
    linker::{Data, extern_type, linker},
    metering::Meter,
    rewrite::Translation,
    run::{drive_async, run, run_async, run_first_slice},
};

/// A module on one engine, with everything that its instances share.
pub(crate) struct Template {
    module: Module,
    linker: Linker<Data>,
    shape: GuestShape,
    interruption: Interruption,
    translation: Translation,
}

impl Template {
    pub(crate) fn new(
        module: Module,
        interruption: Interruption,
        translation: Translation,
        functions: &HostFunctions,
    ) -> Result<Self, ModuleError> {
        let shape = functions.shape(
            module
                .imports()
                .map(|import| (import.module(), import.name(), extern_type(import.ty()))),
            module
                .exports()
                .map(|export| (export.name(), extern_type(export.ty()))),
        )?;
        let linker = linker(&module, shape.imports_wasi)
            .and_then(|linker| link_functions(linker, &module, functions))
            .map_err(|error| ModuleError::Refused(error.into()))?;
        Ok(Self {
            module,
            linker,
            shape,
            interruption,
            translation,
        })
    }

    pub(crate) const fn module(&self) -> &Module {
        &self.module
    }

    fn start_section(&self) -> Option<&str> {
        match &self.translation {
            Translation::ByProvider { start_section } => start_section.as_deref(),
            Translation::ByUser => None,
        }
    }
}

/// One guest instance.
pub(crate) struct WasmiInstance {
    store: Store<Data>,
    instance: Instance,
    guest_call: TypedFunc<(i32, i32), i32>,
    interruption: Interruption,
}

impl WasmiInstance {
    /// Creates an instance whose start functions have not run, and the meter that
    /// they share.
    ///
    /// Boxed at once, because a store is large.
    pub(crate) fn new(
        template: &Template,
        wasi: &WasiSettings,
        mut state: ModuleState,
    ) -> Result<(Box<Self>, Meter), EngineError> {
        let wasi = match template.shape.imports_wasi {
            true => Some(Wasi::for_guest(wasi, &mut state)?),
            false => None,
        };
        let mut meter = Meter::new(template.interruption, &state);
        let data = Data {
            state,
            memory: None,
            wapc_memory: None,
            wasi,
            pending: None,
            out_of_fuel_in_table_growth: false,
            resumes_table_growth: matches!(template.translation, Translation::ByProvider { .. }),
        };
        let mut store = Store::new(template.module.engine(), data);
        store.limiter(|data| data);
        let instance = instantiate(&mut store, &mut meter, template)?;
        let guest_call = instance
            .get_typed_func(&store, "__guest_call")
            .map_err(|error| EngineError::Other(error.into()))?;
        let made = Box::new(Self {
            store,
            instance,
            guest_call,
            interruption: template.interruption,
        });
        Ok((made, meter))
    }

    /// Runs the start functions. Awaits only if the callback is async.
    pub(crate) async fn start(
        &mut self,
        template: &Template,
        mut meter: Meter,
    ) -> Result<(), EngineError> {
        if let Some(name) = template.start_section() {
            let outcome = self.run_start(&mut meter, name).await;
            outcome.map_err(EngineError::in_instantiation)?;
        }
        for start in &template.shape.start_functions {
            if let Some(name) = start.export() {
                start.outcome(self.run_start(&mut meter, name).await)?;
            }
        }
        Ok(())
    }

    async fn run_start(&mut self, meter: &mut Meter, name: &str) -> Result<(), EngineError> {
        let function = self
            .instance
            .get_typed_func::<(), ()>(&self.store, name)
            .map_err(|error| EngineError::Other(error.into()))?;
        run_async(&mut self.store, meter, function, ()).await
    }
}

impl GuestInstance for WasmiInstance {
    // Inlined into `drive`, the method that the host calls.
    #[inline(always)]
    fn call(&mut self, op_length: i32, msg_length: i32) -> GuestReturn {
        let mut meter = Meter::new(self.interruption, &self.store.data().state);
        run(
            &mut self.store,
            &mut meter,
            self.guest_call,
            (op_length, msg_length),
        )
    }

    fn call_async(&mut self, op_length: i32, msg_length: i32) -> AsyncCall<'_> {
        let store = &mut self.store;
        let mut meter = Meter::new(self.interruption, &store.data().state);
        match run_first_slice(store, &mut meter, self.guest_call, (op_length, msg_length)) {
            ControlFlow::Break(returned) => AsyncCall::Ended(Ok(returned).into()),
            ControlFlow::Continue(action) => AsyncCall::Running(Box::pin(async move {
                drive_async(store, &mut meter, action).await.into()
            })),
        }
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

/// Instantiates the module. Runs the start section of a module that the user has
/// translated.
fn instantiate(
    store: &mut Store<Data>,
    meter: &mut Meter,
    template: &Template,
) -> Result<Instance, EngineError> {
    if let Translation::ByUser = template.translation {
        meter.refuel_for_section(store)?;
    }
    let instance = template
        .linker
        .instantiate_and_start(&mut *store, &template.module)
        .map_err(|error| match is_out_of_fuel(&error) {
            true => meter
                .section_out_of_fuel(&store.data().state)
                .in_instantiation(),
            false => instantiation_error(&error, &store.data().state),
        })?;
    if let Translation::ByUser = template.translation {
        meter.settle(store);
    }
    let memory = instance.get_memory(&*store, "memory");
    let wapc_memory = instance.get_memory(&*store, WAPC_MEMORY).or(memory);
    store.data_mut().memory = memory;
    store.data_mut().wapc_memory = wapc_memory;
    Ok(instance)
}
