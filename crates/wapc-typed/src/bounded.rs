//! Bounds for decoders that have none of their own: of depth, and of elements that take no bytes.

use std::{cell::Cell, fmt};

use serde::de::{
    DeserializeSeed, Deserializer, EnumAccess, Error, MapAccess, SeqAccess, VariantAccess, Visitor,
    value::SeqDeserializer,
};

use crate::codec::MAX_DEPTH;

/// What the decoding of one payload may still take.
pub(crate) struct Bounds {
    depth: Cell<usize>,
    elements: Cell<usize>,
    /// The decoder tells what comes next, so that bytes and a list of numbers may stand for each other.
    is_self_describing: bool,
    exceeded: Cell<Option<&'static str>>,
}

impl Bounds {
    /// Bounds for a payload. A value may have more elements than bytes, since some take none, but not many.
    pub(crate) const fn of(payload: &[u8]) -> Self {
        const ELEMENTS_WITHOUT_BYTES: usize = 10_000;

        Self {
            depth: Cell::new(MAX_DEPTH),
            elements: Cell::new(payload.len().saturating_add(ELEMENTS_WITHOUT_BYTES)),
            is_self_describing: false,
            exceeded: Cell::new(None),
        }
    }

    /// Reads bytes where a list is expected, and a list where bytes are.
    #[cfg(feature = "cbor")]
    pub(crate) const fn self_describing(mut self) -> Self {
        self.is_self_describing = true;
        self
    }

    /// Returns the bound that was exceeded: the error of the decoder may not tell.
    pub(crate) const fn exceeded(&self) -> Option<&'static str> {
        self.exceeded.get()
    }

    /// Puts bounds on a decoder.
    pub(crate) const fn limit<T>(&self, inner: T) -> Bounded<'_, T> {
        Bounded {
            inner,
            bounds: self,
        }
    }

    /// Takes one of what is left.
    fn take<E: Error>(&self, left: &Cell<usize>, reason: &'static str) -> Result<(), E> {
        match left.get().checked_sub(1) {
            Some(fewer) => {
                left.set(fewer);
                Ok(())
            }
            None => {
                self.exceeded.set(Some(reason));
                Err(E::custom(reason))
            }
        }
    }

    fn deeper<T, E: Error>(&self, read: impl FnOnce() -> Result<T, E>) -> Result<T, E> {
        self.take(&self.depth, "the value is nested too deep")?;
        let value = read();
        self.depth.set(self.depth.get() + 1);
        value
    }

    fn element<E: Error>(&self) -> Result<(), E> {
        self.take(&self.elements, "the value has more elements than bytes")
    }
}

/// A part of a decoder, or a visitor of it, under bounds.
pub(crate) struct Bounded<'b, T> {
    inner: T,
    bounds: &'b Bounds,
}

macro_rules! deserialize {
    ($($method:ident($($name:ident: $ty:ty),*))*) => {
        $(fn $method<V: Visitor<'de>>(self, $($name: $ty,)* visitor: V) -> Result<V::Value, D::Error> {
            self.inner.$method($($name,)* self.bounds.limit(visitor))
        })*
    };
}

impl<'de, D: Deserializer<'de>> Deserializer<'de> for Bounded<'_, D> {
    type Error = D::Error;

    deserialize! {
        deserialize_any()
        deserialize_bool()
        deserialize_i8()
        deserialize_i16()
        deserialize_i32()
        deserialize_i64()
        deserialize_i128()
        deserialize_u8()
        deserialize_u16()
        deserialize_u32()
        deserialize_u64()
        deserialize_u128()
        deserialize_f32()
        deserialize_f64()
        deserialize_char()
        deserialize_str()
        deserialize_string()
        deserialize_option()
        deserialize_unit()
        deserialize_unit_struct(name: &'static str)
        deserialize_newtype_struct(name: &'static str)
        deserialize_tuple(len: usize)
        deserialize_tuple_struct(name: &'static str, len: usize)
        deserialize_map()
        deserialize_struct(name: &'static str, fields: &'static [&'static str])
        deserialize_enum(name: &'static str, variants: &'static [&'static str])
        deserialize_identifier()
        deserialize_ignored_any()
    }

    fn deserialize_bytes<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, D::Error> {
        let visitor = self.bounds.limit(visitor);
        match self.bounds.is_self_describing {
            true => self.inner.deserialize_any(visitor),
            false => self.inner.deserialize_bytes(visitor),
        }
    }

    fn deserialize_byte_buf<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, D::Error> {
        self.deserialize_bytes(visitor)
    }

    fn deserialize_seq<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, D::Error> {
        let visitor = self.bounds.limit(ListOrBytes(visitor));
        match self.bounds.is_self_describing {
            true => self.inner.deserialize_any(visitor),
            false => self.inner.deserialize_seq(visitor),
        }
    }

    fn is_human_readable(&self) -> bool {
        self.inner.is_human_readable()
    }
}

/// The visitor of a list, which takes bytes as numbers.
struct ListOrBytes<V>(V);

impl<'de, V: Visitor<'de>> Visitor<'de> for ListOrBytes<V> {
    type Value = V::Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.expecting(f)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, list: A) -> Result<V::Value, A::Error> {
        self.0.visit_seq(list)
    }

    fn visit_bytes<E: Error>(self, bytes: &[u8]) -> Result<V::Value, E> {
        let mut numbers = SeqDeserializer::new(bytes.iter().copied());
        let list = self.0.visit_seq(&mut numbers)?;
        numbers.end()?;
        Ok(list)
    }
}

macro_rules! visit {
    ($($method:ident($ty:ty))*) => {
        $(fn $method<E: Error>(self, value: $ty) -> Result<V::Value, E> {
            self.inner.$method(value)
        })*
    };
}

impl<'de, V: Visitor<'de>> Visitor<'de> for Bounded<'_, V> {
    type Value = V::Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.inner.expecting(f)
    }

    visit! {
        visit_bool(bool)
        visit_i8(i8)
        visit_i16(i16)
        visit_i32(i32)
        visit_i64(i64)
        visit_i128(i128)
        visit_u8(u8)
        visit_u16(u16)
        visit_u32(u32)
        visit_u64(u64)
        visit_u128(u128)
        visit_f32(f32)
        visit_f64(f64)
        visit_char(char)
        visit_str(&str)
        visit_borrowed_str(&'de str)
        visit_string(String)
        visit_bytes(&[u8])
        visit_borrowed_bytes(&'de [u8])
        visit_byte_buf(Vec<u8>)
    }

    fn visit_none<E: Error>(self) -> Result<V::Value, E> {
        self.inner.visit_none()
    }

    fn visit_unit<E: Error>(self) -> Result<V::Value, E> {
        self.inner.visit_unit()
    }

    fn visit_some<D: Deserializer<'de>>(self, inner: D) -> Result<V::Value, D::Error> {
        let Self {
            inner: visitor,
            bounds,
        } = self;
        // A type that contains itself does so by a struct or an enum too.
        visitor.visit_some(bounds.limit(inner))
    }

    fn visit_newtype_struct<D: Deserializer<'de>>(self, inner: D) -> Result<V::Value, D::Error> {
        let Self {
            inner: visitor,
            bounds,
        } = self;
        bounds.deeper(|| visitor.visit_newtype_struct(bounds.limit(inner)))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, inner: A) -> Result<V::Value, A::Error> {
        let Self {
            inner: visitor,
            bounds,
        } = self;
        bounds.deeper(|| visitor.visit_seq(bounds.limit(inner)))
    }

    fn visit_map<A: MapAccess<'de>>(self, inner: A) -> Result<V::Value, A::Error> {
        let Self {
            inner: visitor,
            bounds,
        } = self;
        bounds.deeper(|| visitor.visit_map(bounds.limit(inner)))
    }

    fn visit_enum<A: EnumAccess<'de>>(self, inner: A) -> Result<V::Value, A::Error> {
        let Self {
            inner: visitor,
            bounds,
        } = self;
        bounds.deeper(|| visitor.visit_enum(bounds.limit(inner)))
    }
}

impl<'de, S: DeserializeSeed<'de>> DeserializeSeed<'de> for Bounded<'_, S> {
    type Value = S::Value;

    fn deserialize<D: Deserializer<'de>>(self, inner: D) -> Result<S::Value, D::Error> {
        self.inner.deserialize(self.bounds.limit(inner))
    }
}

impl<'de, A: SeqAccess<'de>> SeqAccess<'de> for Bounded<'_, A> {
    type Error = A::Error;

    fn next_element_seed<S: DeserializeSeed<'de>>(
        &mut self,
        seed: S,
    ) -> Result<Option<S::Value>, A::Error> {
        self.bounds.element()?;
        self.inner.next_element_seed(self.bounds.limit(seed))
    }

    fn size_hint(&self) -> Option<usize> {
        self.inner.size_hint()
    }
}

impl<'de, A: MapAccess<'de>> MapAccess<'de> for Bounded<'_, A> {
    type Error = A::Error;

    fn next_key_seed<S: DeserializeSeed<'de>>(
        &mut self,
        seed: S,
    ) -> Result<Option<S::Value>, A::Error> {
        self.bounds.element()?;
        self.inner.next_key_seed(self.bounds.limit(seed))
    }

    fn next_value_seed<S: DeserializeSeed<'de>>(&mut self, seed: S) -> Result<S::Value, A::Error> {
        self.inner.next_value_seed(self.bounds.limit(seed))
    }

    fn size_hint(&self) -> Option<usize> {
        self.inner.size_hint()
    }
}

impl<'b, 'de, A: EnumAccess<'de>> EnumAccess<'de> for Bounded<'b, A> {
    type Error = A::Error;
    type Variant = Bounded<'b, A::Variant>;

    fn variant_seed<S: DeserializeSeed<'de>>(
        self,
        seed: S,
    ) -> Result<(S::Value, Self::Variant), A::Error> {
        let (value, variant) = self.inner.variant_seed(self.bounds.limit(seed))?;
        Ok((value, self.bounds.limit(variant)))
    }
}

impl<'de, A: VariantAccess<'de>> VariantAccess<'de> for Bounded<'_, A> {
    type Error = A::Error;

    fn unit_variant(self) -> Result<(), A::Error> {
        self.inner.unit_variant()
    }

    fn newtype_variant_seed<S: DeserializeSeed<'de>>(self, seed: S) -> Result<S::Value, A::Error> {
        self.inner.newtype_variant_seed(self.bounds.limit(seed))
    }

    fn tuple_variant<V: Visitor<'de>>(self, len: usize, visitor: V) -> Result<V::Value, A::Error> {
        self.inner.tuple_variant(len, self.bounds.limit(visitor))
    }

    fn struct_variant<V: Visitor<'de>>(
        self,
        fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, A::Error> {
        self.inner
            .struct_variant(fields, self.bounds.limit(visitor))
    }
}
