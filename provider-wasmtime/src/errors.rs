//! Translates wasmtime's errors to the host's, and the host's to wasmtime's.

use wapc_host::{EngineError, Frame, ProtocolError, Trap, TrapCode};
use wapc_wasi::Stop;
use wasmtime::{Error, WasmBacktrace};

/// Ends the guest's call because it broke the protocol.
#[cold]
pub(crate) fn trap(error: ProtocolError) -> Error {
    error.into()
}

/// Ends the guest's call because a function of WASI does not return.
#[cold]
pub(crate) fn stop(stop: Stop) -> Error {
    match stop {
        Stop::Interrupted => wasmtime::Trap::Interrupt.into(),
        stop => stop.into(),
    }
}

/// Why a guest did not return.
#[cold]
pub(crate) fn engine_error(error: Error) -> EngineError {
    if let Some(error) = error.downcast_ref::<ProtocolError>() {
        return EngineError::Protocol(error.clone());
    }
    if let Some(Stop::Exit(code)) = error.downcast_ref() {
        return EngineError::Exit(*code);
    }
    match error.downcast_ref() {
        Some(trap) => EngineError::Trap(Trap::new(trap_code(*trap), backtrace(&error))),
        None => EngineError::Other(error.into()),
    }
}

const fn trap_code(trap: wasmtime::Trap) -> TrapCode {
    use wasmtime::Trap;

    match trap {
        Trap::UnreachableCodeReached => TrapCode::Unreachable,
        Trap::MemoryOutOfBounds => TrapCode::MemoryOutOfBounds,
        Trap::TableOutOfBounds => TrapCode::TableOutOfBounds,
        Trap::IndirectCallToNull => TrapCode::IndirectCallToNull,
        Trap::BadSignature => TrapCode::BadSignature,
        Trap::IntegerOverflow => TrapCode::IntegerOverflow,
        Trap::IntegerDivisionByZero => TrapCode::IntegerDivideByZero,
        Trap::BadConversionToInteger => TrapCode::InvalidConversion,
        Trap::StackOverflow => TrapCode::StackOverflow,
        _ => TrapCode::Other,
    }
}

fn backtrace(error: &Error) -> Vec<Frame> {
    error
        .downcast_ref::<WasmBacktrace>()
        .map(|backtrace| {
            backtrace
                .frames()
                .iter()
                .map(|frame| Frame::new(frame.func_index(), frame.func_name().map(str::to_owned)))
                .collect()
        })
        .unwrap_or_default()
}
