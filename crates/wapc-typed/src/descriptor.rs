//! The descriptor of a guest: which typed operations it has.

use std::{collections::HashSet, fmt};

use serde::{Deserialize, Serialize};
use thiserror::Error;
use wapc_host::error::ModuleError;
use wasmparser::{Parser, Payload};

use crate::schema::{Argument, Type};

/// The typed operations of a guest, from the custom sections that [`export!`](crate::export) writes.
///
/// ```
/// use wapc_typed::Descriptor;
///
/// let descriptor = Descriptor::read(b"(module)")?;
/// assert!(descriptor.operations.is_empty());
/// # Ok::<(), wapc_typed::DescriptorError>(())
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Descriptor {
    /// The operations of all services. Each has a name of its own.
    pub operations: Vec<Operation>,
}

/// An operation of a service. Its `Display` is its signature, for people.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Operation {
    /// The operation's name in calls.
    pub name: String,
    /// The service, with its namespace.
    pub service: String,
    /// The encoding of arguments and results; see [`Codec::NAME`](crate::Codec::NAME).
    pub codec: String,
    /// The first paragraph of the method's documentation.
    pub doc: String,
    /// The arguments.
    pub arguments: Vec<Argument>,
    /// `true` if the only argument is the payload itself; else the payload is a map of the arguments by
    /// their names.
    pub is_unary: bool,
    /// The type of the result.
    pub result: Type,
    /// The type of the service's own error.
    pub error: Type,
}

/// The reason why a descriptor cannot be read.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum DescriptorError {
    /// The bytes are no module.
    #[error("a module that has no sections to read")]
    Module(#[from] ModuleError),

    /// The descriptors are longer than any that the macros write.
    #[error("the custom section `{SECTION}` has {bytes} bytes, above the limit of {MAX_BYTES}")]
    TooLong {
        /// Their length.
        bytes: usize,
    },

    /// The section is not what the macros write.
    #[error(
        "the custom section `{SECTION}` is not a descriptor, line {line} column {column}: {reason}"
    )]
    Malformed {
        /// The reason. It quotes nothing of the section.
        reason: &'static str,
        /// The line, from 1.
        line: usize,
        /// The column.
        column: usize,
    },

    /// A later version of the macros has written it.
    #[error("the descriptor of `{service}` is of version {version}; this reader knows {VERSION}")]
    Version {
        /// The service.
        service: String,
        /// Its version.
        version: u32,
    },

    /// Two operations have one name.
    #[error("the descriptor has the operation `{operation}` twice")]
    Duplicate {
        /// The operation.
        operation: String,
    },

    /// An operation's payload is its only argument, and it does not have one.
    #[error("the descriptor gives the unary operation `{operation}` {arguments} arguments")]
    Unary {
        /// The operation.
        operation: String,
        /// The number of its arguments.
        arguments: usize,
    },
}

/// The custom section with the descriptors of a guest's services, a line of JSON each.
const SECTION: &str = "wapc.service";

/// A descriptor of a thousand operations has a tenth of it.
const MAX_BYTES: usize = 4 << 20;

/// The version of descriptors.
const VERSION: u32 = 1;

impl Descriptor {
    /// Reads the descriptor of a module, binary or text. That of a module without one is empty.
    ///
    /// A module may claim anything here: an operation that it does not have fails when it is called.
    ///
    /// # Errors
    ///
    /// [`DescriptorError`] if the bytes are no module, or its section is no descriptor.
    pub fn read(module: &[u8]) -> Result<Self, DescriptorError> {
        let binary = wapc_host::module::binary(module)?;
        let mut text = Vec::new();
        for payload in Parser::new(0).parse_all(&binary) {
            let payload = payload.map_err(|error| ModuleError::Invalid {
                reason: error.message().to_owned(),
                offset: error.offset(),
            })?;
            match payload {
                Payload::CustomSection(section) if section.name() == SECTION => {
                    text.extend_from_slice(section.data());
                }
                _ => {}
            }
        }
        Self::parse(&text)
    }

    /// Reads the contents of the custom sections `wapc.service`, one after the other.
    ///
    /// # Errors
    ///
    /// [`DescriptorError`] if they are no descriptor.
    pub fn parse(text: &[u8]) -> Result<Self, DescriptorError> {
        if text.len() > MAX_BYTES {
            let bytes = text.len();
            return Err(DescriptorError::TooLong { bytes });
        }
        let mut operations = Vec::new();
        let mut names = HashSet::new();
        for service in serde_json::Deserializer::from_slice(text).into_iter::<ServiceText>() {
            let ServiceText {
                version,
                service,
                codec,
                operations: its,
            } = service.map_err(malformed)?;
            if version != VERSION {
                return Err(DescriptorError::Version { service, version });
            }
            for operation in its {
                let OperationText { op, args, .. } = operation;
                if !names.insert(op.clone()) {
                    return Err(DescriptorError::Duplicate { operation: op });
                }
                if operation.unary && args.len() != 1 {
                    return Err(DescriptorError::Unary {
                        operation: op,
                        arguments: args.len(),
                    });
                }
                operations.push(Operation {
                    name: op,
                    service: service.clone(),
                    codec: codec.clone(),
                    doc: operation.doc,
                    arguments: args,
                    is_unary: operation.unary,
                    result: operation.result,
                    error: operation.error,
                });
            }
        }
        Ok(Self { operations })
    }

    /// Returns an operation by its name.
    #[must_use]
    pub fn operation(&self, name: &str) -> Option<&Operation> {
        self.operations.iter().find(|it| it.name == name)
    }
}

impl fmt::Display for Operation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}(", self.name)?;
        for (number, argument) in self.arguments.iter().enumerate() {
            let separator = if number == 0 { "" } else { ", " };
            write!(f, "{separator}{argument}")?;
        }
        write!(f, ") -> {}, or {}", self.result, self.error)
    }
}

#[derive(Deserialize)]
struct ServiceText {
    version: u32,
    service: String,
    codec: String,
    operations: Vec<OperationText>,
}

#[derive(Deserialize)]
struct OperationText {
    op: String,
    #[serde(default)]
    doc: String,
    #[serde(default)]
    unary: bool,
    args: Vec<Argument>,
    result: Type,
    error: Type,
}

fn malformed(error: serde_json::Error) -> DescriptorError {
    use serde_json::error::Category;
    let reason = match error.classify() {
        Category::Io => "it cannot be read",
        Category::Syntax => "it is not JSON",
        Category::Data => "a part of it is missing or of another kind",
        Category::Eof => "it ends too early",
    };
    DescriptorError::Malformed {
        reason,
        line: error.line(),
        column: error.column(),
    }
}
