//! The errors of values, which quote nothing of them.

use std::fmt;

use serde::{
    de::{self, Expected, Unexpected},
    ser,
};

/// The reason why a value cannot be encoded or decoded.
#[derive(Debug)]
pub(crate) struct Error {
    pub(crate) reason: String,
}

impl Error {
    pub(crate) fn new(reason: &str) -> Self {
        let reason = reason.to_owned();
        Self { reason }
    }

    /// What was expected is of the type. What was found is part of the payload: its kind is told.
    #[cold]
    fn unexpected(found: &Unexpected<'_>, expected: &dyn Expected) -> Self {
        let kind = match found {
            Unexpected::Bool(_) => "a truth value",
            Unexpected::Unsigned(_) | Unexpected::Signed(_) => "a whole number",
            Unexpected::Float(_) => "a number with a fraction",
            Unexpected::Char(_) | Unexpected::Str(_) => "a text",
            Unexpected::Bytes(_) => "bytes",
            Unexpected::Unit | Unexpected::Option => "nil",
            Unexpected::Seq => "a list",
            Unexpected::Map => "a map",
            _ => "a form of an enum",
        };
        let reason = format!("{kind}, where {expected} is expected");
        Self { reason }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.reason)
    }
}

impl std::error::Error for Error {}

impl ser::Error for Error {
    fn custom<T: fmt::Display>(reason: T) -> Self {
        let reason = reason.to_string();
        Self { reason }
    }
}

impl de::Error for Error {
    /// The words of a type's own code, which may quote what it does not like.
    fn custom<T: fmt::Display>(reason: T) -> Self {
        let mut reason = reason.to_string();
        if let Some(quote) = reason.find(['`', '"', '\'']) {
            reason.truncate(quote);
            reason.truncate(reason.trim_end().len());
        }
        Self { reason }
    }

    fn invalid_type(found: Unexpected<'_>, expected: &dyn Expected) -> Self {
        Self::unexpected(&found, expected)
    }

    fn invalid_value(found: Unexpected<'_>, expected: &dyn Expected) -> Self {
        Self::unexpected(&found, expected)
    }

    fn invalid_length(length: usize, expected: &dyn Expected) -> Self {
        let reason = format!("{length} values, where {expected} is expected");
        Self { reason }
    }

    fn unknown_variant(_: &str, expected: &'static [&'static str]) -> Self {
        let reason = format!("an unknown form; known are {}", expected.join(", "));
        Self { reason }
    }

    fn unknown_field(_: &str, expected: &'static [&'static str]) -> Self {
        let reason = format!("an unknown field; known are {}", expected.join(", "));
        Self { reason }
    }

    fn missing_field(field: &'static str) -> Self {
        let reason = format!("the field `{field}` is missing");
        Self { reason }
    }

    fn duplicate_field(field: &'static str) -> Self {
        let reason = format!("the field `{field}` is there twice");
        Self { reason }
    }
}
