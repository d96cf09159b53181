//! Translates errors between wasmtime and the host.

use wapc_host::{
    ModuleState,
    error::{EngineError, Frame, StopReason, Trap, TrapCode},
};
use wapc_wasi::NoReturn;
use wasmtime::{Error, WasmBacktrace};

/// Returns the error by which an import ends the guest's call.
#[cold]
pub(crate) fn trap(error: StopReason) -> Error {
    error.into()
}

/// Returns the error by which a function of WASI ends the guest's call.
#[cold]
pub(crate) fn no_return(end: NoReturn) -> Error {
    match end {
        NoReturn::Stopped(stop) => trap(stop),
        end => end.into(),
    }
}

/// Translates the error of a guest function.
#[cold]
pub(crate) fn engine_error(error: Error, state: &ModuleState) -> EngineError {
    if let Some(error) = error.downcast_ref::<StopReason>() {
        return EngineError::Stopped(error.clone());
    }
    if let Some(NoReturn::Exit(code)) = error.downcast_ref() {
        return EngineError::Exit(*code);
    }
    #[cfg(feature = "wasmtime-wasi")]
    if let Some(wasmtime_wasi::I32Exit(code)) = error.downcast_ref() {
        return EngineError::Exit(*code);
    }
    match error.downcast_ref() {
        Some(wasmtime::Trap::OutOfFuel) => EngineError::Stopped(state.out_of_fuel()),
        Some(trap) => EngineError::Trap(Trap::new(trap_code(*trap), backtrace(&error))),
        None => EngineError::Other(error.into()),
    }
}

/// Returns the error of a guest that was killed, whatever it has made of it.
#[cold]
pub(crate) fn killed(state: &ModuleState) -> EngineError {
    match state.check() {
        Err(stop) => EngineError::Stopped(stop),
        Ok(()) => EngineError::Other("the guest was killed before its time was over".into()),
    }
}

/// Translates the error of an instantiation.
pub(crate) fn instantiation_error(error: Error, state: &ModuleState) -> EngineError {
    // Without a backtrace the guest has not run. If a limit has refused something
    // by then, that is the cause.
    let has_run = error.is::<WasmBacktrace>();
    match (engine_error(error, state), state.refused()) {
        (EngineError::Other(_), Some(refused)) if !has_run => {
            EngineError::Stopped(StopReason::Limit(refused.clone()))
        }
        (error, _) => error.in_instantiation(),
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
                .map(|frame| Frame::new(frame.func_index(), frame.func_name()))
                .collect()
        })
        .unwrap_or_default()
}
