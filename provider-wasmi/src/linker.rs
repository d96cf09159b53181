//! Links the functions that the host provides to guests.

use std::{
    pin::pin,
    task::{Context, Poll, Waker},
};

use wapc_host::{
    BoxFuture, ModuleState,
    engine::{
        HostCallStart, IMPORT_MODULES, PendingFunction, PendingHostCall, for_each_env_import,
        for_each_import,
    },
    error::ProtocolError,
    module::{ExternType, ValueType, WAPC_MEMORY, wasi_memory},
};
use wapc_wasi::{NoReturn, Wasi, for_each_function, for_each_waiting_function};
use wasmi::{Caller, Error, Extern, Linker, Memory, Module, ValType};

use crate::errors::{no_return, suspend, trap};

/// The data of a store.
pub(crate) struct Data {
    pub(crate) state: ModuleState,
    /// The guest's memory, cached because a look-up by name is slow. `None` while
    /// the start section of a module that the user has translated runs.
    pub(crate) memory: Option<Memory>,
    /// The memory that waPC's functions use, which most guests do not have apart.
    pub(crate) wapc_memory: Option<Memory>,
    /// `Some` if the module imports WASI.
    pub(crate) wasi: Option<Wasi>,
    /// The host function that has suspended the guest.
    pub(crate) pending: Option<Pending>,
    /// The guest's slice of fuel has ended in a `table.grow`.
    pub(crate) out_of_fuel_in_table_growth: bool,
    /// The guest can be resumed there, since its module was rewritten.
    pub(crate) resumes_table_growth: bool,
}

/// A host function that suspends its guest.
pub(crate) enum Pending {
    HostCall(PendingHostCall),
    Function(PendingFunction, Memory),
    Wasi(WasiFunction),
}

/// A function of WASI with its numbers.
pub(crate) type WasiFunction =
    Box<dyn for<'g> FnOnce(&'g mut Wasi, &'g mut [u8]) -> WasiFuture<'g> + Send>;

type WasiFuture<'g> = BoxFuture<'g, Result<i32, NoReturn>>;

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
        for module in IMPORT_MODULES {
            $($linker.func_wrap(
                module,
                stringify!($import),
                |mut caller: Caller<'_, Data>, $($number: i32),*| -> Result<$result, Error> {
                    let (memory, data) = memory_and_data(&mut caller, MemoryOf::Wapc, stringify!($import))?;
                    data.state.$method(memory, $($number),*).map_err(trap)
                },
            )?;)*
            $($linker.func_wrap(
                module,
                stringify!($length),
                |caller: Caller<'_, Data>| -> Result<$length_type, Error> {
                    caller.data().state.$length_method().map_err(trap)
                },
            )?;)*
        }
    };
}

/// Links the functions of [`wapc_host::engine::for_each_env_import`].
macro_rules! link_env {
    (
        ($linker:ident)
        $($import:literal => |$state:ident, $memory:ident $(, $number:ident: $type:ty)*|
            -> $result:ty { $call:expr };)*
    ) => {
        $($linker.func_wrap(
            "env",
            $import,
            |mut caller: Caller<'_, Data>, $($number: $type),*| -> Result<$result, Error> {
                let ($memory, data) = memory_and_data(&mut caller, MemoryOf::Guest, $import)?;
                let $state = &mut data.state;
                $call.map_err(trap)
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
                let (memory, data) = memory_and_data(&mut caller, MemoryOf::Guest, stringify!($function))?;
                wapc_wasi::$module::$function(wasi(data), memory, $($number),*).map_err(no_return)
            },
        )?;)*
    };
}

/// Links the functions of [`wapc_wasi::for_each_waiting_function`], which suspend the guest of an
/// async call, and replace those of [`for_each_function`].
macro_rules! link_waiting_wasi {
    (
        ($linker:ident) $import_module:literal $module:ident {
            $($function:ident($($number:ident: $type:ty),*) -> $result:ty;)*
        }
    ) => {
        $($linker.func_wrap(
            $import_module,
            stringify!($function),
            |mut caller: Caller<'_, Data>, $($number: $type),*| -> Result<$result, Error> {
                let (memory, data) = memory_and_data(&mut caller, MemoryOf::Guest, stringify!($function))?;
                if data.state.may_await() && data.memory.is_some() {
                    data.pending = Some(Pending::Wasi(Box::new(move |wasi, memory| {
                        Box::pin(wapc_wasi::$module::$function(wasi, memory, $($number),*))
                    })));
                    return Err(suspend());
                }
                let function = wapc_wasi::$module::$function(wasi(data), memory, $($number),*);
                at_once(function).map_err(no_return)
            },
        )?;)*
    };
}

/// Runs a function that waits on this thread, since its call is not async.
fn at_once(function: impl Future<Output = Result<i32, NoReturn>>) -> Result<i32, NoReturn> {
    match pin!(function).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(result) => result,
        Poll::Pending => Err(NoReturn::Failed("a function of WASI did not end".into())),
    }
}

/// Returns a linker of everything that a guest may import, with WASI only if
/// `wasi` is set.
pub(crate) fn linker(module: &Module, wasi: bool) -> Result<Linker<Data>, Error> {
    let mut linker = Linker::new(module.engine());
    for_each_import!(link!(linker));
    linker.allow_shadowing(true);
    link_host_call(&mut linker)?;
    link_wasi_memory(&mut linker)?;
    for_each_env_import!(link_env!(linker));
    if wasi {
        for_each_function!(link_wasi!(linker));
        for_each_waiting_function!(link_waiting_wasi!(linker));
    }
    Ok(linker)
}

/// Links `__host_call`, which suspends the guest while an async callback runs.
fn link_host_call(linker: &mut Linker<Data>) -> Result<(), Error> {
    for module in IMPORT_MODULES {
        linker.func_wrap(
            module,
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
                let (memory, data) = memory_and_data(&mut caller, MemoryOf::Wapc, "__host_call")?;
                match data.state.start_host_call(memory, [a, b, c, d, e, f, g, h]) {
                    Ok(HostCallStart::Ready(answered)) => Ok(answered),
                    Ok(HostCallStart::Pending(answer)) => {
                        data.pending = Some(Pending::HostCall(answer));
                        Err(suspend())
                    }
                    Err(stop) => Err(trap(stop)),
                }
            },
        )?;
    }
    Ok(())
}

/// Links `__wasi_memory`, by which a guest of several memories chooses the one that WASI's functions use.
fn link_wasi_memory(linker: &mut Linker<Data>) -> Result<(), Error> {
    for module in IMPORT_MODULES {
        linker.func_wrap(
            module,
            "__wasi_memory",
            |mut caller: Caller<'_, Data>, number: i32| {
                let export = caller.get_export(&wasi_memory(number));
                let Some(memory) = export.and_then(Extern::into_memory) else {
                    return 0;
                };
                caller.data_mut().memory = Some(memory);
                1
            },
        )?;
    }
    Ok(())
}

/// The memory that a function of the host uses.
#[derive(Clone, Copy)]
pub(crate) enum MemoryOf {
    /// The guest's own, which WASI uses.
    Guest,
    /// The one of waPC's functions.
    Wapc,
}

impl MemoryOf {
    #[inline(always)]
    pub(crate) const fn cached(self, data: &Data) -> Option<Memory> {
        match self {
            Self::Guest => data.memory,
            Self::Wapc => data.wapc_memory,
        }
    }
}

/// Returns the memory of a function, and the store's data.
#[inline(always)]
fn memory_and_data<'c>(
    caller: &'c mut Caller<'_, Data>,
    of: MemoryOf,
    import: &'static str,
) -> Result<(&'c mut [u8], &'c mut Data), Error> {
    let memory = match of.cached(caller.data()) {
        Some(memory) => memory,
        None => look_up_memory(caller, of, import)?,
    };
    Ok(memory.data_and_store_mut(caller))
}

/// Looks up the memory of a guest whose start section runs.
#[cold]
pub(crate) fn look_up_memory(
    caller: &Caller<'_, Data>,
    of: MemoryOf,
    import: &'static str,
) -> Result<Memory, Error> {
    let export = match of {
        MemoryOf::Guest => None,
        MemoryOf::Wapc => caller.get_export(WAPC_MEMORY),
    };
    match export.or_else(|| caller.get_export("memory")) {
        Some(Extern::Memory(memory)) => Ok(memory),
        _ => Err(trap(ProtocolError::NoMemory { import }.into())),
    }
}

pub(crate) fn wasi(data: &mut Data) -> &mut Wasi {
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
