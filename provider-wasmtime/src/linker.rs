//! Links the functions that the host provides to guests.

#[cfg(feature = "async")]
use wapc_host::engine::HostCallStart;
use wapc_host::{
    ModuleState,
    engine::{IMPORT_MODULES, for_each_env_import, for_each_import},
    error::ProtocolError,
    module::{ExternType, ValueType, WAPC_MEMORY, wasi_memory},
};
#[cfg(feature = "async")]
use wapc_wasi::for_each_waiting_function;
use wapc_wasi::{Wasi, for_each_function};
use wasmtime::{Caller, Extern, Linker, Memory, Module, ValType};

use crate::errors::{no_return, trap};

/// The data of a store.
pub(crate) struct Data {
    pub(crate) state: ModuleState,
    /// The guest's memory, cached because a look-up by name costs more than the
    /// rest of a call. `None` while the module's start section runs.
    pub(crate) memory: Option<Memory>,
    /// The memory that waPC's functions use, which most guests do not have apart.
    pub(crate) wapc_memory: Option<Memory>,
    /// The next memory of one page that is made is not the guest's but that of the
    /// checks in its code.
    pub(crate) page_is_due: bool,
    /// `Some` if the module imports WASI, and the program provides no context for it.
    pub(crate) wasi: Option<Wasi>,
    /// `Some` if the program provides it.
    #[cfg(feature = "wasmtime-wasi")]
    pub(crate) wasi_context: Option<wasmtime_wasi::p1::WasiP1Ctx>,
}

/// Links the imports of [`wapc_host::engine::for_each_import`] to the methods of
/// [`ModuleState`].
macro_rules! link {
    (
        ($linker:ident, $imported:ident)
        with_memory {
            $($import:ident => $method:ident($($number:ident),*) -> $result:ty;)*
        }
        without_memory {
            $($length:ident => $length_method:ident() -> $length_type:ty;)*
        }
    ) => {
        for module in IMPORT_MODULES {
            $(if $imported(module, stringify!($import)) {
                $linker.func_wrap(
                    module,
                    stringify!($import),
                    |caller: Caller<'_, Data>, $($number: i32),*| -> wasmtime::Result<$result> {
                        let (memory, data) = memory_and_data(caller, MemoryOf::Wapc, stringify!($import))?;
                        data.state.$method(memory, $($number),*).map_err(trap)
                    },
                )?;
            })*
            $(if $imported(module, stringify!($length)) {
                $linker.func_wrap(
                    module,
                    stringify!($length),
                    |caller: Caller<'_, Data>| -> wasmtime::Result<$length_type> {
                        caller.data().state.$length_method().map_err(trap)
                    },
                )?;
            })*
        }
    };
}

/// Links the functions of [`wapc_host::engine::for_each_env_import`].
macro_rules! link_env {
    (
        ($linker:ident, $imported:ident)
        $($import:literal => |$state:ident, $memory:ident $(, $number:ident: $type:ty)*|
            -> $result:ty { $call:expr };)*
    ) => {
        $(if $imported("env", $import) {
            $linker.func_wrap(
                "env",
                $import,
                |caller: Caller<'_, Data>, $($number: $type),*| -> wasmtime::Result<$result> {
                    let ($memory, data) = memory_and_data(caller, MemoryOf::Guest, $import)?;
                    let $state = &mut data.state;
                    $call.map_err(trap)
                },
            )?;
        })*
    };
}

/// Links the functions of [`wapc_wasi::for_each_function`].
macro_rules! link_wasi {
    (
        ($linker:ident, $imported:ident) $import_module:literal $module:ident {
            $($function:ident($($number:ident: $type:ty),*) -> $result:ty;)*
        }
    ) => {
        $(if $imported($import_module, stringify!($function)) {
            $linker.func_wrap(
                $import_module,
                stringify!($function),
                |caller: Caller<'_, Data>, $($number: $type),*| -> wasmtime::Result<$result> {
                    let (memory, data) = memory_and_data(caller, MemoryOf::Guest, stringify!($function))?;
                    wapc_wasi::$module::$function(wasi(data), memory, $($number),*).map_err(no_return)
                },
            )?;
        })*
    };
}

/// Returns a linker of the functions that `module` imports, those of WASI only `with_wasi`. Unused
/// functions are left out, since each takes one to two microseconds to link.
pub(crate) fn linker(module: &Module, with_wasi: bool) -> wasmtime::Result<Linker<Data>> {
    let imports: Vec<_> = module
        .imports()
        .map(|import| (import.module(), import.name()))
        .collect();
    let imported = |module, name| imports.contains(&(module, name));
    let mut linker = Linker::new(module.engine());
    for_each_import!(link!(linker, imported));
    for_each_env_import!(link_env!(linker, imported));
    for module in IMPORT_MODULES {
        if imported(module, "__wasi_memory") {
            link_wasi_memory(&mut linker, module, with_wasi)?;
        }
    }
    if with_wasi {
        for_each_function!(link_wasi!(linker, imported));
    }
    Ok(linker)
}

/// Links `__wasi_memory`, by which a guest of several memories chooses the one that WASI's functions use.
/// A WASI of the program's own uses `memory`.
fn link_wasi_memory(
    linker: &mut Linker<Data>,
    module: &str,
    with_wasi: bool,
) -> wasmtime::Result<()> {
    linker.func_wrap(
        module,
        "__wasi_memory",
        move |mut caller: Caller<'_, Data>, number: i32| {
            let export = caller.get_export(&wasi_memory(number));
            let memory = export.and_then(Extern::into_memory).filter(|_| with_wasi);
            let Some(memory) = memory else { return 0 };
            caller.data_mut().memory = Some(memory);
            1
        },
    )?;
    Ok(())
}

/// Links the functions of [`wapc_wasi::for_each_waiting_function`].
#[cfg(feature = "async")]
macro_rules! link_waiting_wasi {
    (
        ($linker:ident, $imported:ident) $import_module:literal $module:ident {
            $($function:ident($($number:ident: $type:ty),*) -> $result:ty;)*
        }
    ) => {
        $(if $imported($import_module, stringify!($function)) {
            $linker.func_wrap_async(
                $import_module,
                stringify!($function),
                |mut caller: Caller<'_, Data>, ($($number,)*): ($($type,)*)| {
                    Box::new(async move {
                        let memory = memory(&mut caller, MemoryOf::Guest, stringify!($function))?;
                        let (memory, data) = memory.data_and_store_mut(&mut caller);
                        let function = wapc_wasi::$module::$function(wasi(data), memory, $($number),*);
                        function.await.map_err(no_return)
                    })
                },
            )?;
        })*
    };
}

/// Returns a linker for instances that are suspended in host functions: in
/// `__host_call`, and in those of WASI that wait.
#[cfg(feature = "async")]
pub(crate) fn awaiting_linker(module: &Module, with_wasi: bool) -> wasmtime::Result<Linker<Data>> {
    let imports: Vec<_> = module
        .imports()
        .map(|import| (import.module(), import.name()))
        .collect();
    let imported = |module, name| imports.contains(&(module, name));
    let mut linker = linker(module, with_wasi)?;
    linker.allow_shadowing(true);
    if with_wasi {
        for_each_waiting_function!(link_waiting_wasi!(linker, imported));
    }
    for module in IMPORT_MODULES {
        if !imported(module, "__host_call") {
            continue;
        }
        linker.func_wrap_async(
            module,
            "__host_call",
            |mut caller: Caller<'_, Data>, numbers| {
                let (a, b, c, d, e, f, g, h): (i32, i32, i32, i32, i32, i32, i32, i32) = numbers;
                Box::new(async move {
                    let memory = memory(&mut caller, MemoryOf::Wapc, "__host_call")?;
                    let (memory, data) = memory.data_and_store_mut(&mut caller);
                    let asked = data.state.start_host_call(memory, [a, b, c, d, e, f, g, h]);
                    let answered = match asked.map_err(trap)? {
                        HostCallStart::Pending(answer) => {
                            let answer = answer.await;
                            caller.data_mut().state.finish_host_call(answer)
                        }
                        HostCallStart::Ready(answered) => Ok(answered),
                    };
                    answered.map_err(trap)
                })
            },
        )?;
    }
    Ok(linker)
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
    const fn cached(self, data: &Data) -> Option<Memory> {
        match self {
            Self::Guest => data.memory,
            Self::Wapc => data.wapc_memory,
        }
    }
}

/// Returns the memory of a function, and the store's data.
#[inline(always)]
fn memory_and_data<'c>(
    caller: Caller<'c, Data>,
    of: MemoryOf,
    import: &'static str,
) -> wasmtime::Result<(&'c mut [u8], &'c mut Data)> {
    match of.cached(caller.data()) {
        Some(memory) => Ok(memory.data_and_store_mut(caller)),
        // Boxed on the cold path, so that the hot path keeps `Caller` in registers.
        None => look_up_memory_and_data(Box::new(caller), of, import),
    }
}

#[cold]
fn look_up_memory_and_data<'c>(
    mut caller: Box<Caller<'c, Data>>,
    of: MemoryOf,
    import: &'static str,
) -> wasmtime::Result<(&'c mut [u8], &'c mut Data)> {
    let memory = memory(&mut caller, of, import)?;
    Ok(memory.data_and_store_mut(*caller))
}

/// Returns the memory of a function, also while the guest's start section runs.
pub(crate) fn memory(
    caller: &mut Caller<'_, Data>,
    of: MemoryOf,
    import: &'static str,
) -> wasmtime::Result<Memory> {
    if let Some(memory) = of.cached(caller.data()) {
        return Ok(memory);
    }
    let export = match of {
        MemoryOf::Guest => None,
        MemoryOf::Wapc => caller.get_export(WAPC_MEMORY),
    };
    match export.or_else(|| caller.get_export("memory")) {
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
pub(crate) fn extern_type(extern_type: &wasmtime::ExternType) -> ExternType {
    match extern_type {
        wasmtime::ExternType::Func(function) => ExternType::Function(
            function.params().map(|ty| value_type(&ty)).collect(),
            function.results().map(|ty| value_type(&ty)).collect(),
        ),
        wasmtime::ExternType::Memory(memory) if memory.is_64() || memory.is_shared() => {
            ExternType::OtherMemory
        }
        wasmtime::ExternType::Memory(_) => ExternType::Memory,
        wasmtime::ExternType::Table(_) => ExternType::Table,
        wasmtime::ExternType::Global(_) => ExternType::Global,
        wasmtime::ExternType::Tag(_) => ExternType::Tag,
    }
}

const fn value_type(value_type: &ValType) -> ValueType {
    match value_type {
        ValType::I32 => ValueType::I32,
        ValType::I64 => ValueType::I64,
        ValType::F32 => ValueType::F32,
        ValType::F64 => ValueType::F64,
        ValType::V128 => ValueType::V128,
        ValType::Ref(_) => ValueType::Ref,
    }
}
