//! The outcome of a call, as `guest-fixtures/wat/README.md` writes it.

use wapc_host::{
    Error,
    error::{EngineError, LimitError, ModuleError, ProtocolError, StopReason, TrapCode},
};

use crate::chain;

/// Formats a result as `ok TEXT`, `trap KIND`, `protocol KIND` and so on.
#[must_use]
pub fn outcome(result: &Result<Vec<u8>, Error>) -> String {
    match result {
        Ok(response) => format!("ok {}", response.escape_ascii()).trim().to_owned(),
        Err(Error::Guest { message, .. }) => format!("guest-error {message}").trim().to_owned(),
        Err(Error::Trapped { trap, .. }) => format!("trap {}", trap_kind(trap.code)),
        Err(Error::Exited { code, .. }) => format!("exit {code}"),
        Err(Error::Protocol { source, .. }) => format!("protocol {}", protocol_kind(source)),
        Err(Error::Limit { source, .. }) => format!("limit {}", limit_kind(source)),
        Err(Error::TimedOut { .. }) => "limit fuel-or-deadline".to_owned(),
        Err(Error::Engine { .. }) => "engine".to_owned(),
        Err(Error::Init(error)) => init_outcome(error),
        Err(error) => format!("unexpected: {}", chain(error)),
    }
}

/// Formats an error and its causes, without the backtrace, which only some engines
/// have, and without the engine's own text.
#[must_use]
pub fn words(error: &Error) -> String {
    match error {
        Error::Trapped { trap, .. } => format!("{error}: {}", trap.code),
        Error::Engine { .. } => error.to_string(),
        Error::Init(EngineError::Start { function, cause }) => match &**cause {
            EngineError::Trap(trap) => format!("{error}: {function}: {}", trap.code),
            _ => chain(error),
        },
        error => chain(error),
    }
}

fn init_outcome(error: &EngineError) -> String {
    match error {
        EngineError::Module(error) => format!("module {}", module_kind(error)),
        EngineError::Start { cause, .. } => match &**cause {
            EngineError::Trap(trap) => format!("start {}", trap_kind(trap.code)),
            cause => init_outcome(cause),
        },
        EngineError::Exit(code) => format!("exit {code}"),
        EngineError::Stopped(StopReason::Protocol(error)) => {
            format!("protocol {}", protocol_kind(error))
        }
        EngineError::Stopped(StopReason::Limit(error)) => format!("limit {}", limit_kind(error)),
        EngineError::Stopped(StopReason::TimedOut { .. }) => "limit fuel-or-deadline".to_owned(),
        _ => "engine".to_owned(),
    }
}

fn module_kind(error: &ModuleError) -> String {
    match error {
        ModuleError::MissingExport { name, .. } => match *name {
            "memory" => "missing-memory".to_owned(),
            _ => "missing-guest-call".to_owned(),
        },
        ModuleError::ExportType { name, .. } => match *name {
            "memory" => "memory-not-a-memory".to_owned(),
            "__guest_call" => "guest-call-type".to_owned(),
            name => format!("export-type {name}"),
        },
        ModuleError::UnknownImport { module, name, .. } => {
            format!("unknown-import {module}.{name}")
        }
        ModuleError::ImportType { module, name, .. } => format!("import-type {module}.{name}"),
        ModuleError::Invalid { .. } | ModuleError::Component => "invalid".to_owned(),
        ModuleError::Limit(_) => "too-costly".to_owned(),
        ModuleError::Refused(_) => "refused".to_owned(),
        error => chain(error),
    }
}

const fn limit_kind(error: &LimitError) -> &'static str {
    match error {
        LimitError::Memory { .. }
        | LimitError::TotalMemory { .. }
        | LimitError::Memories { .. } => "memory",
        LimitError::TableElements { .. } | LimitError::Tables { .. } => "table",
        LimitError::OutboundBytes { .. } => "payload",
        LimitError::HostCalls { .. } => "host-calls",
        LimitError::LogBytes { .. } => "log",
        LimitError::Fuel { .. } => "fuel-or-deadline",
        LimitError::Nesting { .. } => "nesting",
        _ => "other",
    }
}

fn protocol_kind(error: &ProtocolError) -> String {
    match error {
        ProtocolError::OutOfBounds { .. } => "out-of-bounds",
        ProtocolError::NotUtf8 { .. } => "not-utf8",
        ProtocolError::NoCall { .. } => "no-call",
        ProtocolError::NoResponse => "no-response",
        ProtocolError::NoError => "no-error",
        ProtocolError::Returned(_) => "bad-return",
        error => return chain(error),
    }
    .to_owned()
}

fn trap_kind(code: TrapCode) -> String {
    match code {
        TrapCode::Unreachable => "unreachable",
        TrapCode::MemoryOutOfBounds => "memory-out-of-bounds",
        TrapCode::TableOutOfBounds => "table-out-of-bounds",
        TrapCode::IndirectCallToNull => "indirect-call-null",
        TrapCode::BadSignature => "bad-signature",
        TrapCode::IntegerOverflow => "integer-overflow",
        TrapCode::IntegerDivideByZero => "divide-by-zero",
        TrapCode::InvalidConversion => "bad-conversion",
        TrapCode::StackOverflow => "stack-overflow",
        code => return code.to_string(),
    }
    .to_owned()
}
