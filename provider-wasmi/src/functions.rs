//! Links the host functions of the program's own.

use wapc_host::{
    HostFunctions, ModuleState,
    engine::{FunctionGuest, HostFunction, Value},
};
use wasmi::{AsContextMut, Caller, Error, Linker, Memory, Module, Val};

use crate::{
    errors::{suspend, trap},
    linker::{Data, MemoryOf, Pending, look_up_memory},
};

/// Links the program's functions that `module` imports. They replace those of `env`.
pub(crate) fn link_functions(
    mut linker: Linker<Data>,
    module: &Module,
    functions: &HostFunctions,
) -> Result<Linker<Data>, Error> {
    let memory_of = match functions.uses_wapc_memory() {
        true => MemoryOf::Wapc,
        false => MemoryOf::Guest,
    };
    for import in module.imports() {
        let wasmi::ExternType::Func(function_type) = import.ty() else {
            continue;
        };
        let (module, name) = (import.module(), import.name());
        let Some(function) = functions.resolve(module, name) else {
            continue;
        };
        linker.func_new(
            module,
            name,
            function_type.clone(),
            move |mut caller: Caller<'_, Data>, parameters: &[Val], results: &mut [Val]| {
                let mut values = Values::new(parameters);
                let (parameters, returned) = values.split(parameters.len(), results.len());
                let cached = memory_of.cached(caller.data());
                let memory = match cached {
                    Some(memory) => memory,
                    None => look_up_memory(&caller, memory_of, FUNCTION)?,
                };
                let mut guest = Guest {
                    memory,
                    context: &mut caller,
                };
                // The start section of a module that the user has translated is not suspended.
                let started = match cached {
                    Some(_) => function.start(&mut guest, parameters, returned),
                    None => function
                        .call(&mut guest, parameters, returned)
                        .map(|()| None),
                };
                if let Some(pending) = started.map_err(trap)? {
                    caller.data_mut().pending = Some(Pending::Function(pending, memory));
                    return Err(suspend());
                }
                write(results, returned);
                Ok(())
            },
        )?;
    }
    Ok(linker)
}

/// A guest that waits for one of the program's functions.
pub(crate) struct Guest<C> {
    pub(crate) memory: Memory,
    pub(crate) context: C,
}

impl<C: AsContextMut<Data = Data>> FunctionGuest for Guest<C> {
    fn state(&mut self) -> &mut ModuleState {
        let (_, data) = self.memory.data_and_store_mut(&mut self.context);
        &mut data.state
    }

    fn memory(&mut self) -> &mut [u8] {
        self.memory.data_mut(&mut self.context)
    }

    fn grow_memory(&mut self, pages: u32) -> Option<u32> {
        let before = self.memory.grow(&mut self.context, pages.into()).ok()?;
        u32::try_from(before).ok()
    }

    fn memory_base(&mut self) -> *mut u8 {
        self.memory.data_ptr(&self.context)
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
            *value = match parameter {
                Val::I32(number) => Value::I32(*number),
                Val::I64(number) => Value::I64(*number),
                Val::F32(number) => Value::F32(f32::from_bits(number.to_bits())),
                Val::F64(number) => Value::F64(f64::from_bits(number.to_bits())),
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
        *result = val(*value);
    }
}

pub(crate) fn val(value: Value) -> Val {
    match value {
        Value::I32(number) => Val::I32(number),
        Value::I64(number) => Val::I64(number),
        Value::F32(number) => Val::F32(wasmi::F32::from_bits(number.to_bits())),
        Value::F64(number) => Val::F64(wasmi::F64::from_bits(number.to_bits())),
    }
}
