//! Translates errors between wasmi and the host.

use std::fmt;

use wapc_host::{
    ModuleState,
    error::{EngineError, LimitError, ProtocolError, StopReason, Trap, TrapCode},
};
use wapc_wasi::NoReturn;
use wasmi::{
    Error,
    errors::{ErrorKind, HostError, InstantiationError, MemoryError, TableError},
};

/// Carries a [`StopReason`] through the interpreter.
#[derive(Debug)]
struct Stopped(StopReason);

impl fmt::Display for Stopped {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl HostError for Stopped {}

/// Returns the error by which an import ends the guest's call.
#[cold]
pub(crate) fn trap(stop: StopReason) -> Error {
    Error::host(Stopped(stop))
}

/// Marks a guest that is suspended until the host has answered.
#[derive(Debug)]
struct HostCallPending;

impl fmt::Display for HostCallPending {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the guest waits for the host's answer")
    }
}

impl HostError for HostCallPending {}

/// Returns the error by which an import suspends the guest until the host has
/// answered.
#[cold]
pub(crate) fn suspend() -> Error {
    Error::host(HostCallPending)
}

pub(crate) fn is_host_call_pending(error: &Error) -> bool {
    error.downcast_ref::<HostCallPending>().is_some()
}

/// Returns the error by which a function of WASI ends the guest's call.
#[cold]
pub(crate) fn no_return(end: NoReturn) -> Error {
    match end {
        NoReturn::Exit(code) => Error::i32_exit(code),
        NoReturn::Stopped(stop) => trap(stop),
        NoReturn::Failed(cause) => Error::new(cause.to_string()),
        end => Error::new(end.to_string()),
    }
}

/// Translates the error of a guest function.
#[cold]
pub(crate) fn engine_error(error: &Error) -> EngineError {
    if let Some(Stopped(stop)) = error.downcast_ref() {
        return EngineError::Stopped(stop.clone());
    }
    if is_host_call_pending(error) {
        // wasmi cannot suspend the start section of a module that the provider
        // did not translate.
        let import = "__host_call";
        return EngineError::Stopped(ProtocolError::CallbackAwaits { import }.into());
    }
    if let Some(code) = error.i32_exit_status() {
        return EngineError::Exit(code);
    }
    match trap_code(error) {
        Some(code) => EngineError::Trap(Trap::new(code, vec![])),
        None => EngineError::Other(error.to_string().into()),
    }
}

/// Translates the error of an instantiation: a limit of the host refused it, or
/// the guest's start section failed.
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

/// Returns whether a guest has run out of fuel at a point from which wasmi cannot
/// resume it.
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
