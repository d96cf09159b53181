//! Links the functions that the host provides to guests.

use wapc_host::{
    ModuleState,
    engine::{HostCallStart, PendingHostCall, for_each_import},
    error::ProtocolError,
    module::{ExternType, ValueType},
};
use wapc_wasi::{Wasi, for_each_function};
use wasmi::{Caller, Error, Extern, Linker, Memory, Module, ValType};

use crate::errors::{no_return, suspend, trap};

/// The data of a store.
pub(crate) struct Data {
    pub(crate) state: ModuleState,
    /// The guest's memory, cached because a look-up by name is slow. `None` while
    /// the start section of a module that the user has translated runs.
    pub(crate) memory: Option<Memory>,
    /// `Some` if the module imports WASI.
    pub(crate) wasi: Option<Wasi>,
    /// The answer to the host call that has suspended the guest.
    pub(crate) pending: Option<PendingHostCall>,
    /// The guest's slice of fuel has ended in a `table.grow`.
    pub(crate) out_of_fuel_in_table_growth: bool,
    /// The guest can be resumed there, since its module was rewritten.
    pub(crate) resumes_table_growth: bool,
}

/// Links the imports of [`wapc_host::engine::for_each_import`] to the methods of
/// [`ModuleState`].
macro_rules! link {
    (
        ($linker:ident)
        with_memory {
            $($import:ident => $method:ident($($number:ident),*) -> $result:ty;)*
        }
        without_memory {
            $($length:ident => $length_method:ident() -> $length_type:ty;)*
        }
    ) => {
        $($linker.func_wrap(
            "wapc",
            stringify!($import),
            |mut caller: Caller<'_, Data>, $($number: i32),*| -> Result<$result, Error> {
                let (memory, data) = memory_and_data(&mut caller, stringify!($import))?;
                data.state.$method(memory, $($number),*).map_err(trap)
            },
        )?;)*
        $($linker.func_wrap(
            "wapc",
            stringify!($length),
            |caller: Caller<'_, Data>| -> Result<$length_type, Error> {
                caller.data().state.$length_method().map_err(trap)
            },
        )?;)*
    };
}

/// Links the functions of [`wapc_wasi::for_each_function`].
macro_rules! link_wasi {
    (
        ($linker:ident) $import_module:literal $module:ident {
            $($function:ident($($number:ident: $type:ty),*) -> $result:ty;)*
        }
    ) => {
        $($linker.func_wrap(
            $import_module,
            stringify!($function),
            |mut caller: Caller<'_, Data>, $($number: $type),*| -> Result<$result, Error> {
                let (memory, data) = memory_and_data(&mut caller, stringify!($function))?;
                wapc_wasi::$module::$function(wasi(data), memory, $($number),*).map_err(no_return)
            },
        )?;)*
    };
}

/// Returns a linker of everything that a guest may import, with WASI only if
/// `wasi` is set.
pub(crate) fn linker(module: &Module, wasi: bool) -> Result<Linker<Data>, Error> {
    let mut linker = Linker::new(module.engine());
    for_each_import!(link!(linker));
    linker.allow_shadowing(true);
    link_host_call(&mut linker)?;
    linker.func_wrap(
        "env",
        "abort",
        |mut caller: Caller<'_, Data>, message: i32, file: i32, line: i32, column: i32| {
            let (memory, data) = memory_and_data(&mut caller, "abort")?;
            data.state.abort(memory, message, file, line, column);
            Ok::<(), Error>(())
        },
    )?;
    if wasi {
        for_each_function!(link_wasi!(linker));
    }
    Ok(linker)
}

/// Links `__host_call`, which suspends the guest while an async callback runs.
fn link_host_call(linker: &mut Linker<Data>) -> Result<(), Error> {
    linker.func_wrap(
        "wapc",
        "__host_call",
        |mut caller: Caller<'_, Data>,
         a: i32,
         b: i32,
         c: i32,
         d: i32,
         e: i32,
         f: i32,
         g: i32,
         h: i32|
         -> Result<i32, Error> {
            let (memory, data) = memory_and_data(&mut caller, "__host_call")?;
            match data.state.start_host_call(memory, [a, b, c, d, e, f, g, h]) {
                Ok(HostCallStart::Ready(answered)) => Ok(answered),
                Ok(HostCallStart::Pending(answer)) => {
                    data.pending = Some(answer);
                    Err(suspend())
                }
                Err(stop) => Err(trap(stop)),
            }
        },
    )?;
    Ok(())
}

/// Returns the guest's memory and the store's data.
///
/// Checks the call's time first: work that a guest causes in the host takes no
/// fuel.
#[inline(always)]
fn memory_and_data<'c>(
    caller: &'c mut Caller<'_, Data>,
    import: &'static str,
) -> Result<(&'c mut [u8], &'c mut Data), Error> {
    caller.data().state.check().map_err(trap)?;
    let memory = match caller.data().memory {
        Some(memory) => memory,
        None => look_up_memory(caller, import)?,
    };
    Ok(memory.data_and_store_mut(caller))
}

/// Looks up the memory of a guest whose start section runs.
#[cold]
fn look_up_memory(caller: &Caller<'_, Data>, import: &'static str) -> Result<Memory, Error> {
    match caller.get_export("memory") {
        Some(Extern::Memory(memory)) => Ok(memory),
        _ => Err(trap(ProtocolError::NoMemory { import }.into())),
    }
}

fn wasi(data: &mut Data) -> &mut Wasi {
    data.wasi
        .as_mut()
        .expect("WASI is linked only for a module that imports it, whose data has a context")
}

/// Translates the type of an import or export.
pub(crate) fn extern_type(extern_type: &wasmi::ExternType) -> ExternType {
    match extern_type {
        wasmi::ExternType::Func(function) => ExternType::Function(
            function.params().iter().map(value_type).collect(),
            function.results().iter().map(value_type).collect(),
        ),
        wasmi::ExternType::Memory(memory) if memory.is_64() => ExternType::OtherMemory,
        wasmi::ExternType::Memory(_) => ExternType::Memory,
        wasmi::ExternType::Table(_) => ExternType::Table,
        wasmi::ExternType::Global(_) => ExternType::Global,
    }
}

const fn value_type(value_type: &ValType) -> ValueType {
    match value_type {
        ValType::I32 => ValueType::I32,
        ValType::I64 => ValueType::I64,
        ValType::F32 => ValueType::F32,
        ValType::F64 => ValueType::F64,
        ValType::V128 => ValueType::V128,
        ValType::FuncRef | ValType::ExternRef => ValueType::Ref,
    }
}
