//! Translates wasmi's errors to the host's, and the host's to wasmi's.

use std::fmt;

use wapc_host::{EngineError, ProtocolError, Trap, TrapCode};
use wapc_wasi::Stop;
use wasmi::{
    Error,
    errors::{ErrorKind, HostError, InstantiationError},
};

/// A [`ProtocolError`] on its way through the interpreter.
#[derive(Debug)]
pub(crate) struct Broken(pub(crate) ProtocolError);

impl fmt::Display for Broken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl HostError for Broken {}

/// A function of WASI that was told to stop waiting.
#[derive(Debug)]
struct Interrupted;

impl fmt::Display for Interrupted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        Stop::Interrupted.fmt(f)
    }
}

impl HostError for Interrupted {}

/// Ends the guest's call because it broke the protocol.
#[cold]
pub(crate) fn trap(error: ProtocolError) -> Error {
    Error::host(Broken(error))
}

/// Ends the guest's call because a function of WASI does not return.
#[cold]
pub(crate) fn stop(stop: Stop) -> Error {
    match stop {
        Stop::Exit(code) => Error::i32_exit(code),
        Stop::Interrupted => Error::host(Interrupted),
        Stop::Failed(cause) => Error::new(cause.to_string()),
        stop => Error::new(stop.to_string()),
    }
}

/// Why a guest did not return.
#[cold]
pub(crate) fn engine_error(error: Error) -> EngineError {
    if let Some(Broken(error)) = error.downcast_ref() {
        return EngineError::Protocol(error.clone());
    }
    if let Some(code) = error.i32_exit_status() {
        return EngineError::Exit(code);
    }
    if error.downcast_ref::<Interrupted>().is_some() {
        return EngineError::Trap(Trap::new(TrapCode::Other, vec![]));
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
