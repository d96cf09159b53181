//! The command's errors, their text, and the exit codes.

use std::{io, path::PathBuf, process::ExitCode};

#[cfg(feature = "wasmtime")]
use provider_wasmtime::CacheError;
use thiserror::Error as ThisError;
use wapc_extism::{Error as PluginError, ManifestError};
use wapc_host::{
    Error as HostError,
    error::{EngineError, ModuleError, Report, StopReason},
};

use wapc_typed::{DescriptorError, ValueError};

use crate::tell;

/// An error of the command.
#[derive(Debug, ThisError)]
#[non_exhaustive]
pub enum CommandError {
    /// A file cannot be read.
    #[error("{subject} `{}` cannot be read", .path.display())]
    Read {
        /// The purpose of the file.
        subject: Subject,
        /// The file's path.
        path: PathBuf,
        /// The cause.
        #[source]
        cause: io::Error,
    },

    /// Standard input cannot be read.
    #[error("the payload cannot be read from standard input")]
    Stdin(#[source] io::Error),

    /// Standard output cannot be written.
    #[error("standard output cannot be written")]
    Write(#[source] io::Error),

    /// The guest's memory cannot be written.
    #[error("the guest's memory cannot be written to `{}`", .path.display())]
    Dump {
        /// The file's path.
        path: PathBuf,
        /// The cause.
        #[source]
        cause: io::Error,
    },

    /// The bytes are no module, or the engine cannot run the module as a guest.
    #[error("the module `{}` is refused", .path.display())]
    Module {
        /// The file's path.
        path: PathBuf,
        /// The cause.
        #[source]
        cause: ModuleError,
    },

    /// A flag of Extism plugins was given for another module.
    #[error("{flag} is for Extism plugins and their manifests, and the module is neither")]
    NoPlugin {
        /// The flag.
        flag: &'static str,
    },

    /// A plugin or its manifest is refused, or the call failed.
    #[error(transparent)]
    Plugin(#[from] PluginError),

    /// The environment names no directory for the cache.
    #[cfg(feature = "wasmtime")]
    #[error(
        "there is no directory for the cache: set XDG_CACHE_HOME, or HOME (on Windows LOCALAPPDATA), to an absolute path"
    )]
    NoCacheDirectory,

    /// The cache cannot be used.
    #[cfg(feature = "wasmtime")]
    #[error(transparent)]
    Cache(#[from] CacheError),

    /// The guest's descriptor cannot be read.
    #[error("the guest's descriptor cannot be read")]
    Descriptor(#[source] DescriptorError),

    /// The guest does not describe the operation.
    #[error("the guest does not describe `{operation}`; {}", described(.typed))]
    NotTyped {
        /// The operation.
        operation: String,
        /// The operations that it describes.
        typed: Vec<String>,
    },

    /// The arguments do not fit the guest's descriptor.
    #[error("the arguments are wrong")]
    Arguments(#[source] ValueError),

    /// The response does not fit the guest's descriptor.
    #[error("the response is not what the guest's descriptor says")]
    Response(#[source] ValueError),

    /// The call failed.
    #[error(transparent)]
    Call(#[from] HostError),
}

/// The purpose of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ThisError)]
#[non_exhaustive]
pub enum Subject {
    /// The guest.
    #[error("the module")]
    Module,
    /// The payload of the call.
    #[error("the payload")]
    Payload,
}

impl CommandError {
    /// Returns the code to exit with.
    #[must_use]
    pub fn status(&self) -> ExitStatus {
        match self {
            Self::Read { .. } | Self::Stdin(_) => ExitStatus::Unreadable,
            #[cfg(feature = "wasmtime")]
            Self::NoCacheDirectory | Self::Cache(_) => ExitStatus::Unreadable,
            Self::Write(_) | Self::Dump { .. } => ExitStatus::Failed,
            Self::Module { .. } | Self::Descriptor(_) => ExitStatus::Refused,
            Self::NoPlugin { .. } | Self::NotTyped { .. } | Self::Arguments(_) => ExitStatus::Usage,
            Self::Plugin(error) => plugin_status(error),
            Self::Response(_) => ExitStatus::Protocol,
            Self::Call(error) => call_status(error),
        }
    }

    /// Writes the error and its causes to standard error.
    ///
    /// Prints nothing for a broken pipe of standard output: its reader has closed it on
    /// purpose.
    pub fn show(&self) {
        if !matches!(self, Self::Write(cause) if cause.kind() == io::ErrorKind::BrokenPipe) {
            tell(self.report());
        }
    }

    /// Formats the error and its causes for a terminal, one line each, with the
    /// control characters of guests' text escaped.
    pub(crate) fn report(&self) -> String {
        format!("error: {:#}", Report::new(self))
    }
}

/// The operations that a guest describes, for people.
fn described(operations: &[String]) -> String {
    match operations {
        [] => "it has no descriptor, as `wapc_typed::export!` writes one".to_owned(),
        operations => format!("it describes `{}`", operations.join("`, `")),
    }
}

fn call_status(error: &HostError) -> ExitStatus {
    match error {
        HostError::Guest { .. } => ExitStatus::GuestError,
        HostError::Trapped { .. } => ExitStatus::Trapped,
        HostError::Exited { .. } => ExitStatus::Exited,
        HostError::Protocol { .. } => ExitStatus::Protocol,
        HostError::Limit { .. } | HostError::TimedOut { .. } | HostError::TooLarge { .. } => {
            ExitStatus::Limit
        }
        HostError::Init(error) => init_status(error),
        // The remaining errors, of later versions too, are not the guest's fault.
        _ => ExitStatus::Failed,
    }
}

fn plugin_status(error: &PluginError) -> ExitStatus {
    match error {
        PluginError::Manifest(ManifestError::File { .. } | ManifestError::Source { .. }) => {
            ExitStatus::Unreadable
        }
        PluginError::Build(error) => call_status(error),
        PluginError::Call(error) => match &error.source {
            // A function without an answer, as in a guest.
            Some(error) if matches!(**error, HostError::Function { .. }) => ExitStatus::GuestError,
            Some(error) => call_status(error),
            // A code without an error.
            None => ExitStatus::GuestError,
        },
        PluginError::Convert { .. } => ExitStatus::Failed,
        _ => ExitStatus::Refused,
    }
}

fn init_status(error: &EngineError) -> ExitStatus {
    match error {
        EngineError::Module(_) => ExitStatus::Refused,
        EngineError::Directory { .. } => ExitStatus::Unreadable,
        EngineError::Stopped(StopReason::Limit(_) | StopReason::TimedOut { .. }) => {
            ExitStatus::Limit
        }
        EngineError::Start { cause, .. } => match init_status(cause) {
            ExitStatus::Limit => ExitStatus::Limit,
            _ => ExitStatus::Start,
        },
        _ => ExitStatus::Failed,
    }
}

/// The command's exit codes, a part of its interface.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
#[non_exhaustive]
pub enum ExitStatus {
    /// The engine failed, or the response could not be written.
    Failed = 1,
    /// The command line is wrong.
    Usage = 2,
    /// The module, the payload, a directory or the cache cannot be read.
    Unreadable = 3,
    /// The module is refused: not WebAssembly, not valid, not a guest.
    Refused = 4,
    /// A start function of the guest failed.
    Start = 5,
    /// The guest reported an error.
    GuestError = 6,
    /// The guest trapped.
    Trapped = 7,
    /// The guest broke the protocol.
    Protocol = 8,
    /// The guest exited in the middle of the call.
    Exited = 9,
    /// The guest met a limit.
    Limit = 10,
}

impl From<ExitStatus> for ExitCode {
    fn from(status: ExitStatus) -> Self {
        Self::from(status as u8)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_report_has_a_line_for_each_cause() {
        let error = CommandError::Read {
            subject: Subject::Payload,
            path: "a.json".into(),
            cause: io::Error::other("no such luck"),
        };
        assert_eq!(
            error.report(),
            "error: the payload `a.json` cannot be read\n  caused by: no such luck"
        );
    }

    #[test]
    fn a_guest_cannot_forge_a_line_of_a_report() {
        let error = CommandError::Write(io::Error::other("first\nerror: forged\x1b[2J"));
        assert_eq!(
            error.report(),
            "error: standard output cannot be written\n  caused by: first\n    error: forged\\u{1b}[2J"
        );
    }
}
