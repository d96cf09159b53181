//! The errors that callers get for calls that fail.

use std::{any::Any, panic::resume_unwind, time::Duration};

use crate::{
    error::{EngineError, Error, ProtocolError, Spent, StopReason},
    limits::call::CallOptions,
    limits::guest::Limits,
    protocol::panic_slot::PanicSlot,
    protocol::state::ModuleState,
};

/// Maps the error of an instance that could not be made to the caller's error.
/// If the call's own deadline or cancel handle has stopped the start functions,
/// that is [`Error::TimedOut`] or [`Error::Cancelled`].
pub(super) fn map_start_error(
    error: Error,
    operation: &str,
    options: Option<&CallOptions>,
    limits: &Limits,
) -> Error {
    let Error::Init(cause) = &error else {
        return error;
    };
    let cause = match cause {
        EngineError::Start { cause, .. } => cause,
        cause => cause,
    };
    let operation = operation.to_owned();
    let spent = Spent::default();
    match cause {
        EngineError::Stopped(StopReason::Cancelled) => Error::Cancelled { operation, spent },
        EngineError::Stopped(StopReason::TimedOut { timeout })
            if options.is_some_and(|options| options.deadline.is_some())
                && limits.start_timeout != Some(*timeout) =>
        {
            Error::TimedOut {
                operation,
                timeout: *timeout,
                began: false,
                waited: Duration::ZERO,
                spent,
            }
        }
        _ => error,
    }
}

/// The end of a call without a response.
pub(super) enum Failure {
    Error(Error),
    Panic(Box<dyn Any + Send>),
}

impl Failure {
    /// Returns `None` for a guest that has responded and then exited with code 0: that is an
    /// answer.
    #[cold]
    pub(super) fn classify(
        operation: &str,
        returned: Result<i32, EngineError>,
        state: &mut ModuleState,
    ) -> Option<Self> {
        if let Some(panic) = state.panic_slot().take() {
            return Some(Self::Panic(panic));
        }
        let has_responded = state.has_responded();
        let operation = operation.to_owned();
        let spent = state.spent();
        let guest_error = state.take_guest_error();
        let protocol = |operation, source| Error::Protocol {
            operation,
            source,
            spent,
        };
        Some(Self::Error(match (returned, guest_error) {
            (Err(EngineError::Exit(0)), None) if has_responded => return None,
            (Err(EngineError::Exit(0)), Some(message)) if has_responded => {
                Error::Guest { operation, message }
            }
            (Ok(0 | 1), Some(message)) => Error::Guest { operation, message },
            (Ok(0), None) => protocol(operation, ProtocolError::NoError),
            (Ok(1), None) => protocol(operation, ProtocolError::NoResponse),
            (Ok(other), _) => protocol(operation, ProtocolError::Returned(other)),
            (Err(EngineError::Trap(trap)), guest_error) => Error::Trapped {
                operation,
                trap,
                guest_error,
                refused: state.refused().cloned().map(Box::new),
                spent,
            },
            (Err(EngineError::Exit(code)), guest_error) => Error::Exited {
                operation,
                code,
                guest_error,
                spent,
            },
            (Err(EngineError::Stopped(stop)), _) => match stop {
                StopReason::Protocol(source) => protocol(operation, source),
                StopReason::Limit(source) => Error::Limit {
                    operation,
                    source,
                    spent,
                },
                StopReason::Function(source) => Error::Function {
                    operation,
                    source,
                    spent,
                },
                StopReason::TimedOut { timeout } => Error::TimedOut {
                    operation,
                    timeout,
                    began: true,
                    waited: Duration::ZERO,
                    spent,
                },
                StopReason::Cancelled => Error::Cancelled { operation, spent },
            },
            (Err(source), _) => Error::Engine {
                operation,
                source: Box::new(source),
                spent,
            },
        }))
    }
}

/// Returns the error of an instance that could not be made. Resumes the panic
/// of a host callback that a start function has called.
pub(super) fn init_error(error: EngineError, panic: &PanicSlot) -> Error {
    match panic.take() {
        Some(panic) => resume_unwind(panic),
        None => Error::Init(error),
    }
}

/// Returns the error of a slot that is empty although it was just filled. This
/// would be a bug of the host.
#[cold]
pub(crate) fn missing_instance() -> Error {
    Error::Init(EngineError::Other("the instance is gone".into()))
}
