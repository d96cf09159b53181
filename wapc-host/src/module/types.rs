//! The types of imports and exports, in the detail that a host needs.

use std::fmt;

/// The type of a value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(
    clippy::exhaustive_enums,
    reason = "engines map all their types to these"
)]
pub enum ValueType {
    /// A 32-bit integer.
    I32,
    /// A 64-bit integer.
    I64,
    /// A 32-bit float.
    F32,
    /// A 64-bit float.
    F64,
    /// A 128-bit vector.
    V128,
    /// A reference of any kind.
    Ref,
}

impl fmt::Display for ValueType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::I32 => "i32",
            Self::I64 => "i64",
            Self::F32 => "f32",
            Self::F64 => "f64",
            Self::V128 => "v128",
            Self::Ref => "ref",
        })
    }
}

/// The type of an import or export, in the detail that a host needs.
#[derive(Clone, Debug, PartialEq, Eq)]
#[expect(
    clippy::exhaustive_enums,
    reason = "engines map all their types to these"
)]
pub enum ExternType {
    /// A function with these parameters and results.
    Function(Vec<ValueType>, Vec<ValueType>),
    /// A memory with 32-bit addresses that is not shared.
    Memory,
    /// A memory of another kind: 64-bit or shared.
    OtherMemory,
    /// A table.
    Table,
    /// A global.
    Global,
    /// An exception tag.
    Tag,
}

impl fmt::Display for ExternType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (parameters, results) = match self {
            Self::Function(parameters, results) => (parameters, results),
            Self::Memory => return f.write_str("a memory"),
            Self::OtherMemory => return f.write_str("a 64-bit or shared memory"),
            Self::Table => return f.write_str("a table"),
            Self::Global => return f.write_str("a global"),
            Self::Tag => return f.write_str("a tag"),
        };
        let list = |f: &mut fmt::Formatter<'_>, types: &[ValueType]| {
            f.write_str("(")?;
            for (index, value_type) in types.iter().enumerate() {
                write!(f, "{}{value_type}", if index == 0 { "" } else { ", " })?;
            }
            f.write_str(")")
        };
        f.write_str("a function ")?;
        list(f, parameters)?;
        match results.as_slice() {
            [] => Ok(()),
            [result] => write!(f, " -> {result}"),
            results => {
                f.write_str(" -> ")?;
                list(f, results)
            }
        }
    }
}
