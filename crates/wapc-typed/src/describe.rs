//! Types that can be described, for the descriptor of a service.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap, HashSet, VecDeque},
    marker::PhantomData,
};

/// A type whose form on the wire is known. A type of your own derives it:
///
/// ```
/// use serde::{Deserialize, Serialize};
/// use wapc_typed::Describe;
///
/// #[derive(Describe, Serialize, Deserialize)]
/// pub struct Greeting {
///     text: String,
///     #[serde(default)]
///     count: u32,
/// }
/// ```
///
/// The derive reads `rename`, `rename_all`, `default` and `skip` of serde. With another attribute of
/// serde, and without the derive, a descriptor has the type's name alone, which fits any type.
///
/// A type may contain itself, in an `Option`, a list, a map, a tuple or a pointer:
///
/// ```
/// use serde::{Deserialize, Serialize};
/// use wapc_typed::Describe;
///
/// #[derive(Describe, Serialize, Deserialize)]
/// pub struct Folder {
///     name: String,
///     folders: Vec<Folder>,
/// }
/// ```
///
/// In a wrapper of your own, and in a tuple `struct`, it has its name alone there. Of two types that
/// contain each other one leaves the derive out.
pub trait Describe {
    /// The type in JSON, in pieces.
    #[doc(hidden)]
    const SCHEMA: Rope;
}

/// Text in pieces, put together by the compiler.
#[doc(hidden)]
#[derive(Clone, Copy, Debug)]
#[expect(clippy::exhaustive_enums, reason = "the macros' code writes it")]
pub enum Rope {
    Text(&'static str),
    Many(&'static [Self]),
}

impl Rope {
    /// Returns the number of bytes.
    #[must_use]
    pub const fn length(&self) -> usize {
        match self {
            Self::Text(text) => text.len(),
            Self::Many(ropes) => {
                let (mut length, mut rest) = (0, *ropes);
                while let [rope, others @ ..] = rest {
                    length += rope.length();
                    rest = others;
                }
                length
            }
        }
    }

    /// Returns the text, of which `N` is the length.
    ///
    /// # Panics
    ///
    /// If it is not.
    #[must_use]
    pub const fn bytes<const N: usize>(&self) -> [u8; N] {
        let mut bytes = [0; N];
        assert!(self.write(&mut bytes).is_empty(), "N is the length");
        bytes
    }

    const fn write<'o>(&self, out: &'o mut [u8]) -> &'o mut [u8] {
        match self {
            Self::Text(text) => {
                let (place, rest) = out.split_at_mut(text.len());
                place.copy_from_slice(text.as_bytes());
                rest
            }
            Self::Many(ropes) => {
                let (mut out, mut rest) = (out, *ropes);
                while let [rope, others @ ..] = rest {
                    out = rope.write(out);
                    rest = others;
                }
                out
            }
        }
    }
}

/// Returns the text that [`Rope::bytes`] has made.
///
/// # Panics
///
/// If it is not UTF-8, which pieces of text are.
#[doc(hidden)]
#[must_use]
pub const fn text(bytes: &'static [u8]) -> &'static str {
    match str::from_utf8(bytes) {
        Ok(text) => text,
        Err(_) => panic!("pieces of text are text"),
    }
}

/// Asks whether a type is described: `<Known<T>>::SCHEMA`, with [`Unknown`] in scope.
#[doc(hidden)]
#[derive(Debug)]
pub struct Known<T>(PhantomData<T>);

impl<T: Describe> Known<T> {
    pub const SCHEMA: Option<Rope> = Some(T::SCHEMA);
}

/// The answer for types that are not.
#[doc(hidden)]
pub trait Unknown {
    const SCHEMA: Option<Rope> = None;
}

impl<T> Unknown for Known<T> {}

macro_rules! describe {
    ($($name:literal: $($type:ty),+;)+) => {
        $($(impl Describe for $type {
            const SCHEMA: Rope = Rope::Text(concat!("\"", $name, "\""));
        })+)+
    };
}

describe! {
    "unit": ();
    "bool": bool;
    "u8": u8;
    "u16": u16;
    "u32": u32;
    "u64": u64, usize;
    "i8": i8;
    "i16": i16;
    "i32": i32;
    "i64": i64, isize;
    "f32": f32;
    "f64": f64;
    "string": String, char;
}

macro_rules! describe_lists {
    ($($type:ident$(<$other:ident>)?),+) => {
        $(impl<T: Describe $(, $other)?> Describe for $type<T $(, $other)?> {
            const SCHEMA: Rope =
                Rope::Many(&[Rope::Text("{\"list\":"), T::SCHEMA, Rope::Text("}")]);
        })+
    };
}

describe_lists!(Vec, VecDeque, BTreeSet, HashSet<S>);

macro_rules! describe_maps {
    ($($type:ident$(<$other:ident>)?),+) => {
        $(impl<K: Describe, V: Describe $(, $other)?> Describe for $type<K, V $(, $other)?> {
            const SCHEMA: Rope = Rope::Many(&[
                Rope::Text("{\"map\":["),
                K::SCHEMA,
                Rope::Text(","),
                V::SCHEMA,
                Rope::Text("]}"),
            ]);
        })+
    };
}

describe_maps!(BTreeMap, HashMap<S>);

impl<T: Describe> Describe for Option<T> {
    const SCHEMA: Rope = Rope::Many(&[Rope::Text("{\"option\":"), T::SCHEMA, Rope::Text("}")]);
}

impl<T: Describe> Describe for Box<T> {
    const SCHEMA: Rope = T::SCHEMA;
}

macro_rules! describe_tuples {
    ($(($first:ident $(, $other:ident)*),)+) => {
        $(impl<$first: Describe $(, $other: Describe)*> Describe for ($first, $($other,)*) {
            const SCHEMA: Rope = Rope::Many(&[
                Rope::Text("{\"tuple\":["),
                $first::SCHEMA,
                $(Rope::Text(","), $other::SCHEMA,)*
                Rope::Text("]}"),
            ]);
        })+
    };
}

describe_tuples! {
    (A),
    (A, B),
    (A, B, C),
    (A, B, C, D),
    (A, B, C, D, E),
    (A, B, C, D, E, F),
}
