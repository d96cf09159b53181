//! Links the host functions of the program's own.

#[cfg(feature = "async")]
use std::future::poll_fn;

use wapc_host::{
    HostFunctions, ModuleState,
    engine::{FunctionGuest, HostFunction, Value},
};
use wasmtime::{Caller, FuncType, ImportType, Linker, Memory, Module, Val};

use crate::{
    errors::trap,
    linker::{Data, MemoryOf, memory},
};

/// Links the program's functions that `module` imports. They replace those of `env`.
pub(crate) fn link_functions(
    mut linker: Linker<Data>,
    module: &Module,
    functions: &HostFunctions,
) -> wasmtime::Result<Linker<Data>> {
    linker.allow_shadowing(true);
    let memory_of = memory_of(functions);
    for (import, function_type) in imported(module) {
        let (module, name) = (import.module(), import.name());
        let Some(function) = functions.resolve(module, name) else {
            continue;
        };
        linker.func_new(
            module,
            name,
            function_type,
            move |mut caller, parameters, results| {
                let mut values = Values::new(parameters);
                let (parameters, returned) = values.split(parameters.len(), results.len());
                let mut guest = Guest::new(&mut caller, memory_of)?;
                let ended = function.call(&mut guest, parameters, returned);
                ended.map_err(trap)?;
                write(results, returned);
                Ok(())
            },
        )?;
    }
    Ok(linker)
}

/// Links the program's functions for an instance that is suspended in those that are async.
#[cfg(feature = "async")]
pub(crate) fn link_awaiting_functions(
    linker: Linker<Data>,
    module: &Module,
    functions: &HostFunctions,
) -> wasmtime::Result<Linker<Data>> {
    let mut linker = link_functions(linker, module, functions)?;
    let memory_of = memory_of(functions);
    for (import, function_type) in imported(module) {
        let (module, name) = (import.module(), import.name());
        let Some(function) = functions.resolve(module, name) else {
            continue;
        };
        if !function.is_async() {
            continue;
        }
        linker.func_new_async(
            module,
            name,
            function_type,
            move |mut caller, parameters, results| {
                let function = std::sync::Arc::clone(&function);
                Box::new(async move {
                    let mut values = Values::new(parameters);
                    let (parameters, returned) = values.split(parameters.len(), results.len());
                    let mut guest = Guest::new(&mut caller, memory_of)?;
                    let started = function.start(&mut guest, parameters, returned);
                    let Some(mut pending) = started.map_err(trap)? else {
                        write(results, returned);
                        return Ok(());
                    };
                    let memory = memory(&mut caller, memory_of, FUNCTION)?;
                    let ended = poll_fn(|context| {
                        let caller = &mut caller;
                        pending.poll(context, &mut Guest { memory, caller })
                    });
                    write(results, &ended.await.map_err(trap)?);
                    Ok(())
                })
            },
        )?;
    }
    Ok(linker)
}

const fn memory_of(functions: &HostFunctions) -> MemoryOf {
    match functions.uses_wapc_memory() {
        true => MemoryOf::Wapc,
        false => MemoryOf::Guest,
    }
}

fn imported(module: &Module) -> impl Iterator<Item = (ImportType<'_>, FuncType)> {
    module.imports().filter_map(|import| match import.ty() {
        wasmtime::ExternType::Func(function_type) => Some((import, function_type)),
        _ => None,
    })
}

/// A guest that waits for one of the program's functions.
struct Guest<'c, 'd> {
    memory: Memory,
    caller: &'c mut Caller<'d, Data>,
}

impl<'c, 'd> Guest<'c, 'd> {
    fn new(caller: &'c mut Caller<'d, Data>, memory_of: MemoryOf) -> wasmtime::Result<Self> {
        let memory = memory(caller, memory_of, FUNCTION)?;
        Ok(Self { memory, caller })
    }
}

impl FunctionGuest for Guest<'_, '_> {
    fn state(&mut self) -> &mut ModuleState {
        &mut self.caller.data_mut().state
    }

    fn memory(&mut self) -> &mut [u8] {
        self.memory.data_mut(&mut *self.caller)
    }

    fn grow_memory(&mut self, pages: u32) -> Option<u32> {
        let before = self.memory.grow(&mut *self.caller, pages.into()).ok()?;
        u32::try_from(before).ok()
    }

    fn memory_base(&mut self) -> *mut u8 {
        self.memory.data_ptr(&*self.caller)
    }
}

/// The program's functions, in the error of a guest without memory.
const FUNCTION: &str = "a host function";

/// The parameters of a call, and places for its results. A function that the host does not
/// provide may have more: it looks at none.
struct Values {
    parameters: [Value; HostFunction::MAX_VALUES],
    results: [Value; HostFunction::MAX_VALUES],
}

impl Values {
    fn new(parameters: &[Val]) -> Self {
        let mut values = Self {
            parameters: [Value::I32(0); _],
            results: [Value::I32(0); _],
        };
        for (value, parameter) in values.parameters.iter_mut().zip(parameters) {
            *value = match *parameter {
                Val::I32(number) => Value::I32(number),
                Val::I64(number) => Value::I64(number),
                Val::F32(bits) => Value::F32(f32::from_bits(bits)),
                Val::F64(bits) => Value::F64(f64::from_bits(bits)),
                _ => continue,
            };
        }
        values
    }

    fn split(&mut self, parameters: usize, results: usize) -> (&[Value], &mut [Value]) {
        (
            self.parameters.get(..parameters).unwrap_or_default(),
            self.results.get_mut(..results).unwrap_or_default(),
        )
    }
}

fn write(results: &mut [Val], values: &[Value]) {
    for (result, value) in results.iter_mut().zip(values) {
        *result = match *value {
            Value::I32(number) => Val::I32(number),
            Value::I64(number) => Val::I64(number),
            Value::F32(number) => Val::F32(number.to_bits()),
            Value::F64(number) => Val::F64(number.to_bits()),
        };
    }
}
