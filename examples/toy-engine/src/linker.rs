//! The functions that a guest imports, each a method of [`ModuleState`].

use wapc_host::{
    ModuleState,
    engine::{IMPORT_MODULES, for_each_import},
    error::EngineError,
};

/// Everything that belongs to one instance.
pub(crate) struct Data {
    pub(crate) state: ModuleState,
    pub(crate) memory: Vec<u8>,
    /// The maximum that the guest's own memory type sets.
    pub(crate) max_memory_bytes: Option<usize>,
    pub(crate) globals: Vec<i32>,
}

/// A function of the host, called with the guest's arguments.
pub(crate) type HostFunction = fn(&mut Data, &[i32]) -> Result<Option<i32>, EngineError>;

/// Matches a name with the imports of [`for_each_import`].
macro_rules! link {
    (
        ($name:ident)
        with_memory {
            $($import:ident => $method:ident($($number:ident),*) -> $result:ty;)*
        }
        without_memory {
            $($length:ident => $length_method:ident() -> $length_type:ty;)*
        }
    ) => {
        match $name {
            $(stringify!($import) => Some(|data, arguments| {
                let [$($number),*] = numbers(arguments)?;
                let Data { state, memory, .. } = data;
                let result: $result = state.$method(memory, $($number),*)?;
                Ok(result.into_value())
            }),)*
            $(stringify!($length) => Some(|data, _| {
                let result: $length_type = data.state.$length_method()?;
                Ok(result.into_value())
            }),)*
            _ => None,
        }
    };
}

/// Returns the host function `module.name`, if this engine has it.
pub(crate) fn host_function(module: &str, name: &str) -> Option<HostFunction> {
    match module {
        module if IMPORT_MODULES.contains(&module) => for_each_import!(link!(name)),
        "env" if name == "abort" => Some(|data, arguments| {
            let [message, file, line, column] = numbers(arguments)?;
            let Data { state, memory, .. } = data;
            state.abort(memory, message, file, line, column)?;
            Ok(None)
        }),
        _ => None,
    }
}

/// Returns the arguments of a host function. The validator has counted them.
fn numbers<const N: usize>(arguments: &[i32]) -> Result<[i32; N], EngineError> {
    let numbers = arguments.try_into();
    numbers.map_err(|error| EngineError::Other(Box::new(error)))
}

/// The result of a host function.
trait HostResult {
    fn into_value(self) -> Option<i32>;
}

impl HostResult for () {
    fn into_value(self) -> Option<i32> {
        None
    }
}

impl HostResult for i32 {
    fn into_value(self) -> Option<i32> {
        Some(self)
    }
}
