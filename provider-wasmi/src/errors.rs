//! Translates wasmi's errors to the host's, and the host's to wasmi's.

use std::fmt;

use wapc_host::{EngineError, LimitError, ModuleState, Stop, Trap, TrapCode};
use wapc_wasi::Ended;
use wasmi::{
    Error,
    errors::{ErrorKind, HostError, InstantiationError, MemoryError, TableError},
};

/// A [`Stop`] on its way through the interpreter.
#[derive(Debug)]
pub(crate) struct Broken(pub(crate) Stop);

impl fmt::Display for Broken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl HostError for Broken {}

/// Ends the guest's call because it must not go on.
#[cold]
pub(crate) fn trap(error: Stop) -> Error {
    Error::host(Broken(error))
}

/// A guest's call is suspended until the host has answered.
#[derive(Debug)]
struct Asking;

impl fmt::Display for Asking {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the guest waits for the host's answer")
    }
}

impl HostError for Asking {}

/// Suspends the guest's call until the host has answered.
#[cold]
pub(crate) fn asking() -> Error {
    Error::host(Asking)
}

pub(crate) fn is_asking(error: &Error) -> bool {
    error.downcast_ref::<Asking>().is_some()
}

/// Ends the guest's call because a function of WASI does not return.
#[cold]
pub(crate) fn ended(ended: Ended) -> Error {
    match ended {
        Ended::Exit(code) => Error::i32_exit(code),
        Ended::Stopped(stop) => trap(stop),
        Ended::Failed(cause) => Error::new(cause.to_string()),
        ended => Error::new(ended.to_string()),
    }
}

/// Why a guest did not return.
#[cold]
pub(crate) fn engine_error(error: &Error) -> EngineError {
    if let Some(Broken(error)) = error.downcast_ref() {
        return EngineError::Stopped(error.clone());
    }
    if let Some(code) = error.i32_exit_status() {
        return EngineError::Exit(code);
    }
    match trap_code(error) {
        Some(code) => EngineError::Trap(Trap::new(code, vec![])),
        None => EngineError::Other(error.to_string().into()),
    }
}

/// Why a module did not become an instance: what the host's limits refuse it,
/// or what the guest did in its start section.
#[cold]
pub(crate) fn instantiation_error(error: &Error, state: &ModuleState) -> EngineError {
    let limits = state.limits();
    let limit = match error.kind() {
        ErrorKind::Instantiation(InstantiationError::TooManyMemories) => {
            Some(LimitError::Memories {
                limit: limits.max_memories,
            })
        }
        ErrorKind::Instantiation(InstantiationError::TooManyTables) => Some(LimitError::Tables {
            limit: limits.max_tables,
        }),
        ErrorKind::Instantiation(
            InstantiationError::FailedToInstantiateMemory(
                MemoryError::ResourceLimiterDeniedAllocation,
            )
            | InstantiationError::FailedToInstantiateTable(
                TableError::ResourceLimiterDeniedAllocation,
            ),
        ) => state.refused().cloned(),
        _ => None,
    };
    match limit {
        Some(limit) => EngineError::Stopped(limit.into()),
        None => engine_error(error).in_instantiation(),
    }
}

/// Whether a guest has run out of fuel where wasmi cannot let it go on.
pub(crate) fn is_out_of_fuel(error: &Error) -> bool {
    error.as_trap_code() == Some(wasmi::TrapCode::OutOfFuel)
}

fn trap_code(error: &Error) -> Option<TrapCode> {
    if let ErrorKind::Instantiation(InstantiationError::ElementSegmentDoesNotFit { .. }) =
        error.kind()
    {
        return Some(TrapCode::TableOutOfBounds);
    }
    error.as_trap_code().map(|code| match code {
        wasmi::TrapCode::UnreachableCodeReached => TrapCode::Unreachable,
        wasmi::TrapCode::MemoryOutOfBounds => TrapCode::MemoryOutOfBounds,
        wasmi::TrapCode::TableOutOfBounds => TrapCode::TableOutOfBounds,
        wasmi::TrapCode::IndirectCallToNull => TrapCode::IndirectCallToNull,
        wasmi::TrapCode::BadSignature => TrapCode::BadSignature,
        wasmi::TrapCode::IntegerOverflow => TrapCode::IntegerOverflow,
        wasmi::TrapCode::IntegerDivisionByZero => TrapCode::IntegerDivideByZero,
        wasmi::TrapCode::BadConversionToInteger => TrapCode::InvalidConversion,
        wasmi::TrapCode::StackOverflow => TrapCode::StackOverflow,
        _ => TrapCode::Other,
    })
}
