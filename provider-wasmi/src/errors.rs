//! Translates wasmi's errors to the host's, and the host's to wasmi's.

use std::fmt;

use wapc_host::{EngineError, Stop, Trap, TrapCode};
use wapc_wasi::Ended;
use wasmi::{
    Error,
    errors::{ErrorKind, HostError, InstantiationError},
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
pub(crate) fn engine_error(error: Error) -> EngineError {
    if let Some(Broken(error)) = error.downcast_ref() {
        return EngineError::Stopped(error.clone());
    }
    if let Some(code) = error.i32_exit_status() {
        return EngineError::Exit(code);
    }
    match trap_code(&error) {
        Some(code) => EngineError::Trap(Trap::new(code, vec![])),
        None => EngineError::Other(error.into()),
    }
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
