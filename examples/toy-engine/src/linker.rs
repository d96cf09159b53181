//! The functions that a guest imports, each a method of [`ModuleState`].

use std::sync::Arc;

use wapc_host::{
    ModuleState,
    engine::{FunctionGuest, HostFunction, IMPORT_MODULES, Value, for_each_import},
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
pub(crate) enum Import {
    /// One of waPC's or AssemblyScript's.
    Own(OwnFunction),
    /// One of the program's own.
    Users(Arc<HostFunction>),
}

type OwnFunction = fn(&mut Data, &[i32]) -> Result<Option<i32>, EngineError>;

impl Import {
    pub(crate) fn call(
        &self,
        data: &mut Data,
        arguments: &[i32],
        returns_value: bool,
    ) -> Result<Option<i32>, EngineError> {
        let function = match self {
            Self::Own(function) => return function(data, arguments),
            Self::Users(function) => function,
        };
        let arguments: Vec<_> = arguments.iter().copied().map(Value::I32).collect();
        let mut result = [Value::I32(0)];
        let results = match returns_value {
            true => &mut result[..],
            false => &mut [],
        };
        function.call(data, &arguments, results)?;
        match result {
            [Value::I32(number)] if returns_value => Ok(Some(number)),
            _ => Ok(None),
        }
    }
}

impl FunctionGuest for Data {
    fn state(&mut self) -> &mut ModuleState {
        &mut self.state
    }

    fn memory(&mut self) -> &mut [u8] {
        &mut self.memory
    }

    fn grow_memory(&mut self, pages: u32) -> Option<u32> {
        let pages = usize::try_from(pages).ok()?;
        self.grow(pages)
            .and_then(|before| u32::try_from(before).ok())
    }
}

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
pub(crate) fn host_function(module: &str, name: &str) -> Option<OwnFunction> {
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
