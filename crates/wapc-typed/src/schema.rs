//! Types of arguments and results, as descriptors have them.

use std::{collections::HashMap, fmt, ptr};

use serde::{Deserialize, Serialize};

/// An argument of an operation.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Argument {
    /// Its name.
    pub name: String,
    /// Its type.
    #[serde(rename = "type")]
    pub ty: Type,
}

/// The type of a value.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum Type {
    /// No value.
    Unit,
    /// A truth value.
    Bool,
    /// A number of 8 bits without a sign.
    U8,
    /// A number of 16 bits without a sign.
    U16,
    /// A number of 32 bits without a sign.
    U32,
    /// A number of 64 bits without a sign.
    U64,
    /// A number of 8 bits with a sign.
    I8,
    /// A number of 16 bits with a sign.
    I16,
    /// A number of 32 bits with a sign.
    I32,
    /// A number of 64 bits with a sign.
    I64,
    /// A number with a fraction, of 32 bits.
    F32,
    /// A number with a fraction, of 64 bits.
    F64,
    /// Text.
    String,
    /// A value or none.
    Option(Box<Self>),
    /// Any number of values.
    List(Box<Self>),
    /// Values by keys.
    Map(Box<(Self, Self)>),
    /// One value of each type.
    Tuple(Vec<Self>),
    /// Values by names.
    Record(Record),
    /// One of several forms.
    Enum(Enum),
    /// A whole payload that is text or bytes as they are.
    Raw(Box<Self>),
    /// A whole payload in JSON.
    Json(Box<Self>),
    /// The nearest enclosing [`Record`] or [`Enum`] of this name: a type that contains itself. One that
    /// encloses nothing has the name alone, as [`Type::Other`].
    Ref(String),
    /// A type of which the descriptor has the name alone.
    Other(String),
}

/// Values by names: a `struct`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Record {
    /// The type's name.
    pub name: String,
    /// The fields.
    pub fields: Vec<Field>,
}

/// A field of a [`Record`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Field {
    /// The name on the wire.
    pub name: String,
    /// The type.
    #[serde(rename = "type")]
    pub ty: Type,
    /// `true` if the field has a default, so that it need not be sent.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub default: bool,
}

impl Field {
    /// Returns `true` if the field need not be sent.
    #[must_use]
    pub const fn is_optional(&self) -> bool {
        self.default || matches!(self.ty, Type::Option(_))
    }
}

/// One of several forms: an `enum`, in serde's usual representation.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Enum {
    /// The type's name.
    pub name: String,
    /// The forms.
    pub variants: Vec<Variant>,
}

/// A form of an [`Enum`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Variant {
    /// The name on the wire.
    pub name: String,
    /// The type of its contents.
    #[serde(rename = "type", default, skip_serializing_if = "Option::is_none")]
    pub ty: Option<Type>,
}

/// What each [`Type::Ref`] within a type stands for.
pub(crate) struct References<'t>(HashMap<*const Type, &'t Type>);

impl<'t> References<'t> {
    pub(crate) fn new(ty: &'t Type) -> Self {
        let mut references = Self(HashMap::new());
        references.add(ty, &mut Vec::new());
        references
    }

    /// Returns the type, or the one that it stands for; `None` for one that encloses nothing.
    pub(crate) fn resolve<'r>(&self, ty: &'r Type) -> Option<&'r Type>
    where
        't: 'r,
    {
        match ty {
            Type::Ref(_) => self.0.get(&ptr::from_ref(ty)).copied(),
            ty => Some(ty),
        }
    }

    /// A type is as deep as the reader of descriptors allows.
    fn add(&mut self, ty: &'t Type, enclosing: &mut Vec<(&'t str, &'t Type)>) {
        match ty {
            Type::Ref(name) => {
                let named = enclosing.iter().rev().find(|(its, _)| its == name);
                if let Some((_, named)) = named {
                    self.0.insert(ty, named);
                }
            }
            Type::Option(ty) | Type::List(ty) | Type::Raw(ty) | Type::Json(ty) => {
                self.add(ty, enclosing);
            }
            Type::Map(map) => {
                self.add(&map.0, enclosing);
                self.add(&map.1, enclosing);
            }
            Type::Tuple(types) => types.iter().for_each(|ty| self.add(ty, enclosing)),
            Type::Record(Record { name, fields }) => {
                enclosing.push((name, ty));
                fields
                    .iter()
                    .for_each(|field| self.add(&field.ty, enclosing));
                enclosing.pop();
            }
            Type::Enum(Enum { name, variants }) => {
                enclosing.push((name, ty));
                let contents = variants.iter().filter_map(|variant| variant.ty.as_ref());
                contents.for_each(|ty| self.add(ty, enclosing));
                enclosing.pop();
            }
            _ => {}
        }
    }
}

/// The type as a line of text, for people.
impl fmt::Display for Type {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unit => f.write_str("()"),
            Self::Bool => f.write_str("bool"),
            Self::U8 => f.write_str("u8"),
            Self::U16 => f.write_str("u16"),
            Self::U32 => f.write_str("u32"),
            Self::U64 => f.write_str("u64"),
            Self::I8 => f.write_str("i8"),
            Self::I16 => f.write_str("i16"),
            Self::I32 => f.write_str("i32"),
            Self::I64 => f.write_str("i64"),
            Self::F32 => f.write_str("f32"),
            Self::F64 => f.write_str("f64"),
            Self::String => f.write_str("string"),
            Self::Option(ty) => write!(f, "{ty}?"),
            Self::List(ty) => write!(f, "[{ty}]"),
            Self::Map(map) => write!(f, "{{{}: {}}}", map.0, map.1),
            Self::Tuple(types) => write!(f, "({})", Listed(types, ", ")),
            Self::Record(Record { name, fields }) => {
                write!(f, "{name} {{ {} }}", Listed(fields, ", "))
            }
            Self::Enum(Enum { name, variants }) => {
                write!(f, "{name} {{ {} }}", Listed(variants, " | "))
            }
            Self::Raw(ty) => write!(f, "raw {ty}"),
            Self::Json(ty) => write!(f, "{ty} in JSON"),
            Self::Ref(name) | Self::Other(name) => f.write_str(name),
        }
    }
}

impl fmt::Display for Argument {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.name, self.ty)
    }
}

impl fmt::Display for Field {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let sign = if self.default { "?" } else { "" };
        write!(f, "{}{sign}: {}", self.name, self.ty)
    }
}

impl fmt::Display for Variant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.ty {
            Some(ty) => write!(f, "{}({ty})", self.name),
            None => f.write_str(&self.name),
        }
    }
}

struct Listed<'l, T>(&'l [T], &'static str);

impl<T: fmt::Display> fmt::Display for Listed<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (number, item) in self.0.iter().enumerate() {
            let separator = if number == 0 { "" } else { self.1 };
            write!(f, "{separator}{item}")?;
        }
        Ok(())
    }
}
