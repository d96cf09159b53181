//! Decoding. Nothing is reserved by a length that the bytes claim, and deep values are refused.

use serde::{
    Deserializer as _, de,
    de::{DeserializeSeed, IntoDeserializer, Visitor, value::SeqDeserializer},
    forward_to_deserialize_any,
};

use super::{error::Error, marker};
use crate::codec::MAX_DEPTH;

/// With `JSON` the value was JSON, and may have numbers with a fraction as text. Their parser is in a
/// guest only for such types then.
pub(super) struct Deserializer<'de, const JSON: bool = false> {
    rest: &'de [u8],
    length: usize,
    /// The levels that the value may have below this one.
    depth: usize,
}

/// A value whose contents have not been read.
enum Head<'de> {
    Nil,
    Bool(bool),
    Unsigned(u64),
    Signed(i64),
    Float(f64),
    /// A number with a fraction in JSON.
    Decimal(&'de [u8]),
    Text(&'de [u8]),
    Bytes(&'de [u8]),
    List(usize),
    Map(usize),
}

#[cold]
fn ended() -> Error {
    Error::new("the value ends too early")
}

impl<'de, const JSON: bool> Deserializer<'de, JSON> {
    pub(super) const fn new(bytes: &'de [u8]) -> Self {
        Self {
            rest: bytes,
            length: bytes.len(),
            depth: MAX_DEPTH,
        }
    }

    /// Checks that nothing is behind the value.
    #[inline]
    pub(super) fn end(&self) -> Result<(), Error> {
        match self.rest {
            [] => Ok(()),
            _ => Err(Error::new("there are bytes behind the value")),
        }
    }

    /// Returns the number of bytes that have been read.
    pub(super) const fn position(&self) -> usize {
        self.length - self.rest.len()
    }

    #[inline]
    fn take(&mut self, length: usize) -> Result<&'de [u8], Error> {
        let (taken, rest) = self.rest.split_at_checked(length).ok_or_else(ended)?;
        self.rest = rest;
        Ok(taken)
    }

    #[inline]
    fn byte(&mut self) -> Result<u8, Error> {
        let (byte, rest) = self.rest.split_first().ok_or_else(ended)?;
        self.rest = rest;
        Ok(*byte)
    }

    #[inline]
    fn array<const N: usize>(&mut self) -> Result<[u8; N], Error> {
        let (array, rest) = self.rest.split_first_chunk().ok_or_else(ended)?;
        self.rest = rest;
        Ok(*array)
    }

    /// Reads a number of `bytes` bytes.
    fn number(&mut self, bytes: usize) -> Result<u64, Error> {
        let taken = self.take(bytes)?;
        Ok(taken
            .iter()
            .fold(0, |number, byte| number << 8 | u64::from(*byte)))
    }

    fn size(&mut self, bytes: usize) -> Result<usize, Error> {
        // More than can be addressed is not there.
        usize::try_from(self.number(bytes)?).map_err(|_| ended())
    }

    /// Reads a number of `bytes` bytes, of which the first bit is the sign.
    fn signed(&mut self, bytes: usize) -> Result<Head<'de>, Error> {
        let unused = 64 - 8 * bytes;
        let number = self.number(bytes)?.cast_signed() << unused >> unused;
        Ok(Head::Signed(number))
    }

    /// Reads the beginning of a value. Small numbers and short texts are the most.
    #[inline]
    fn head(&mut self) -> Result<Head<'de>, Error> {
        let marker = self.byte()?;
        match marker {
            0..0x80 => Ok(Head::Unsigned(marker.into())),
            0xa0..0xc0 => Ok(Head::Text(self.take(usize::from(marker & 0x1f))?)),
            _ => self.other_head(marker),
        }
    }

    fn other_head(&mut self, marker: u8) -> Result<Head<'de>, Error> {
        let small = usize::from(marker);
        Ok(match marker {
            0x80..0x90 => Head::Map(small & 0xf),
            0x90..0xa0 => Head::List(small & 0xf),
            0xe0.. => Head::Signed(marker.cast_signed().into()),
            marker::NIL => Head::Nil,
            marker::FALSE => Head::Bool(false),
            marker::TRUE => Head::Bool(true),
            marker::F32 => Head::Float(f32::from_be_bytes(self.array()?).into()),
            marker::F64 => Head::Float(f64::from_be_bytes(self.array()?)),
            marker::U8..=marker::U64 => Head::Unsigned(self.number(1 << (marker - marker::U8))?),
            marker::I8..=marker::I64 => self.signed(1 << (marker - marker::I8))?,
            marker::BIN8..=marker::BIN32 => {
                let length = self.size(1 << (marker - marker::BIN8))?;
                Head::Bytes(self.take(length)?)
            }
            marker::STR8..=marker::STR32 => {
                let length = self.size(1 << (marker - marker::STR8))?;
                Head::Text(self.take(length)?)
            }
            marker::ARRAY16..=marker::ARRAY32 => {
                Head::List(self.size(2 << (marker - marker::ARRAY16))?)
            }
            marker::MAP16..=marker::MAP32 => Head::Map(self.size(2 << (marker - marker::MAP16))?),
            marker::EXT8 if JSON => {
                let length = self.size(1)?;
                // The type, which is that of decimals.
                self.byte()?;
                Head::Decimal(self.take(length)?)
            }
            _ => return Err(Error::new("a value of a type that has no form here")),
        })
    }

    /// Reads the contents of a list, a map or a wrapper, unless they are too deep.
    fn deeper<R>(&mut self, read: impl FnOnce(&mut Self) -> Result<R, Error>) -> Result<R, Error> {
        self.depth = match self.depth.checked_sub(1) {
            Some(depth) => depth,
            None => return Err(Error::new("a value that is too deep")),
        };
        let read = read(self);
        self.depth += 1;
        read
    }

    fn list<V: Visitor<'de>>(&mut self, length: usize, visitor: V) -> Result<V::Value, Error> {
        self.deeper(|deserializer| {
            let mut values = Values {
                left: length,
                deserializer,
            };
            let read = visitor.visit_seq(&mut values)?;
            match values.left {
                0 => Ok(read),
                _ => Err(Error::new("a list with more values than are expected")),
            }
        })
    }

    fn map<V: Visitor<'de>>(&mut self, length: usize, visitor: V) -> Result<V::Value, Error> {
        self.deeper(|deserializer| {
            let mut values = Values {
                left: length,
                deserializer,
            };
            let read = visitor.visit_map(&mut values)?;
            match values.left {
                0 => Ok(read),
                _ => Err(Error::new("a map with more values than are expected")),
            }
        })
    }

    /// Passes over a value, without recursion.
    fn skip(&mut self) -> Result<(), Error> {
        let mut left: u64 = 1;
        while left > 0 {
            left -= 1;
            match self.rest.first() {
                // A value of an extension is passed over too.
                Some(&marker @ marker::EXT8..=marker::EXT32) => {
                    self.byte()?;
                    let length = self.size(1 << (marker - marker::EXT8))?;
                    self.take(length.saturating_add(1))?;
                }
                Some(&marker @ marker::FIXEXT1..=marker::FIXEXT16) => {
                    self.byte()?;
                    self.take((1 << (marker - marker::FIXEXT1)) + 1)?;
                }
                _ => {
                    left += match self.head()? {
                        Head::List(length) => length as u64,
                        Head::Map(length) => 2 * length as u64,
                        _ => 0,
                    };
                }
            }
        }
        Ok(())
    }

    #[inline]
    fn whole<V: Visitor<'de>>(&mut self, visitor: V) -> Result<V::Value, Error> {
        // Most numbers of a list of bytes.
        if let [number @ 0..0x80, rest @ ..] = self.rest {
            self.rest = rest;
            return visitor.visit_u64((*number).into());
        }
        match self.head()? {
            Head::Unsigned(number) => visitor.visit_u64(number),
            Head::Signed(number) => visitor.visit_i64(number),
            _ => Err(Error::new(
                "a value of another type, where a whole number is expected",
            )),
        }
    }
}

#[inline]
fn text<'de, V: Visitor<'de>>(bytes: &'de [u8], visitor: V) -> Result<V::Value, Error> {
    match str::from_utf8(bytes) {
        Ok(text) => visitor.visit_borrowed_str(text),
        Err(_) => Err(Error::new("a text that is not UTF-8")),
    }
}

fn decimal(digits: &[u8]) -> Result<f64, Error> {
    let number = str::from_utf8(digits)
        .ok()
        .and_then(|digits| digits.parse().ok());
    number.ok_or_else(|| Error::new("a number that is none"))
}

macro_rules! whole_numbers {
    ($($method:ident)+) => {
        $(fn $method<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
            self.whole(visitor)
        })+
    };
}

impl<'de, const JSON: bool> de::Deserializer<'de> for &mut Deserializer<'de, JSON> {
    type Error = Error;

    fn is_human_readable(&self) -> bool {
        JSON
    }

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        match self.head()? {
            Head::Nil => visitor.visit_unit(),
            Head::Bool(value) => visitor.visit_bool(value),
            Head::Unsigned(number) => visitor.visit_u64(number),
            Head::Signed(number) => visitor.visit_i64(number),
            Head::Float(number) => visitor.visit_f64(number),
            Head::Decimal(digits) if JSON => visitor.visit_f64(decimal(digits)?),
            Head::Decimal(_) => Err(Error::new("a number that is none")),
            Head::Text(bytes) => text(bytes, visitor),
            Head::Bytes(bytes) => visitor.visit_borrowed_bytes(bytes),
            Head::List(length) => self.list(length, visitor),
            Head::Map(length) => self.map(length, visitor),
        }
    }

    fn deserialize_f32<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        self.deserialize_f64(visitor)
    }

    fn deserialize_f64<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        match self.head()? {
            Head::Float(number) => visitor.visit_f64(number),
            Head::Decimal(digits) if JSON => visitor.visit_f64(decimal(digits)?),
            Head::Unsigned(number) => visitor.visit_u64(number),
            Head::Signed(number) => visitor.visit_i64(number),
            _ => Err(Error::new(
                "a value of another type, where a number is expected",
            )),
        }
    }

    whole_numbers! {
        deserialize_i8 deserialize_i16 deserialize_i32 deserialize_i64
        deserialize_u8 deserialize_u16 deserialize_u32 deserialize_u64
    }

    fn deserialize_bool<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        match self.head()? {
            Head::Bool(value) => visitor.visit_bool(value),
            _ => Err(Error::new(
                "a value of another type, where a truth value is expected",
            )),
        }
    }

    fn deserialize_str<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        match self.head()? {
            Head::Text(bytes) | Head::Bytes(bytes) => text(bytes, visitor),
            _ => Err(Error::new(
                "a value of another type, where a text is expected",
            )),
        }
    }

    fn deserialize_string<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        self.deserialize_str(visitor)
    }

    fn deserialize_char<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        self.deserialize_str(visitor)
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        match self.rest {
            [marker::NIL, rest @ ..] => {
                self.rest = rest;
                visitor.visit_none()
            }
            _ => self.deeper(|deserializer| visitor.visit_some(deserializer)),
        }
    }

    fn deserialize_unit_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        visitor: V,
    ) -> Result<V::Value, Error> {
        match self.head()? {
            Head::Nil | Head::List(0) => visitor.visit_unit(),
            _ => Err(Error::new(
                "a value of another type, where none is expected",
            )),
        }
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        visitor: V,
    ) -> Result<V::Value, Error> {
        self.deeper(|deserializer| visitor.visit_newtype_struct(deserializer))
    }

    fn deserialize_seq<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        match self.head()? {
            Head::List(length) => self.list(length, visitor),
            Head::Bytes(bytes) => {
                let mut numbers = SeqDeserializer::new(bytes.iter().copied());
                let read = visitor.visit_seq(&mut numbers)?;
                numbers.end()?;
                Ok(read)
            }
            _ => Err(Error::new(
                "a value of another type, where a list is expected",
            )),
        }
    }

    fn deserialize_tuple<V: Visitor<'de>>(self, _: usize, visitor: V) -> Result<V::Value, Error> {
        self.deserialize_seq(visitor)
    }

    fn deserialize_tuple_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        _: usize,
        visitor: V,
    ) -> Result<V::Value, Error> {
        self.deserialize_seq(visitor)
    }

    fn deserialize_map<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        match self.head()? {
            Head::Map(length) => self.map(length, visitor),
            _ => Err(Error::new(
                "a value of another type, where a map is expected",
            )),
        }
    }

    /// A struct may be a list of its fields, as other encoders send it.
    fn deserialize_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        _: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Error> {
        match self.head()? {
            Head::Map(length) => self.map(length, visitor),
            Head::List(length) => self.list(length, visitor),
            _ => Err(Error::new(
                "a value of another type, where a map is expected",
            )),
        }
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        _: &'static str,
        _: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Error> {
        match self.head()? {
            Head::Map(1) => {
                self.deeper(|deserializer| visitor.visit_enum(Variant { deserializer }))
            }
            Head::Text(bytes) => match str::from_utf8(bytes) {
                Ok(name) => visitor.visit_enum(name.into_deserializer()),
                Err(_) => Err(Error::new("a text that is not UTF-8")),
            },
            _ => Err(Error::new(
                "a value of another type, where a form of an enum is expected",
            )),
        }
    }

    fn deserialize_identifier<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        self.deserialize_str(visitor)
    }

    fn deserialize_ignored_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        self.skip()?;
        visitor.visit_unit()
    }

    forward_to_deserialize_any! { bytes byte_buf unit i128 u128 }
}

/// The values of a list or a map.
struct Values<'d, 'de, const JSON: bool> {
    left: usize,
    deserializer: &'d mut Deserializer<'de, JSON>,
}

impl<const JSON: bool> Values<'_, '_, JSON> {
    /// The number of values that are there, whatever the length claims.
    fn plausible(&self) -> usize {
        self.left.min(self.deserializer.rest.len())
    }
}

impl<'de, const JSON: bool> de::SeqAccess<'de> for Values<'_, 'de, JSON> {
    type Error = Error;

    fn next_element_seed<T: DeserializeSeed<'de>>(
        &mut self,
        seed: T,
    ) -> Result<Option<T::Value>, Error> {
        let Some(left) = self.left.checked_sub(1) else {
            return Ok(None);
        };
        self.left = left;
        seed.deserialize(&mut *self.deserializer).map(Some)
    }

    fn size_hint(&self) -> Option<usize> {
        Some(self.plausible())
    }
}

impl<'de, const JSON: bool> de::MapAccess<'de> for Values<'_, 'de, JSON> {
    type Error = Error;

    fn next_key_seed<K: DeserializeSeed<'de>>(
        &mut self,
        seed: K,
    ) -> Result<Option<K::Value>, Error> {
        de::SeqAccess::next_element_seed(self, seed)
    }

    fn next_value_seed<V: DeserializeSeed<'de>>(&mut self, seed: V) -> Result<V::Value, Error> {
        seed.deserialize(&mut *self.deserializer)
    }

    fn size_hint(&self) -> Option<usize> {
        Some(self.plausible())
    }
}

/// A form of an enum with contents.
struct Variant<'d, 'de, const JSON: bool> {
    deserializer: &'d mut Deserializer<'de, JSON>,
}

impl<'de, const JSON: bool> de::EnumAccess<'de> for Variant<'_, 'de, JSON> {
    type Error = Error;
    type Variant = Self;

    fn variant_seed<V: DeserializeSeed<'de>>(self, seed: V) -> Result<(V::Value, Self), Error> {
        Ok((seed.deserialize(&mut *self.deserializer)?, self))
    }
}

impl<'de, const JSON: bool> de::VariantAccess<'de> for Variant<'_, 'de, JSON> {
    type Error = Error;

    fn unit_variant(self) -> Result<(), Error> {
        match self.deserializer.head()? {
            Head::Nil | Head::List(0) => Ok(()),
            _ => Err(Error::new("contents of a form of an enum that has none")),
        }
    }

    fn newtype_variant_seed<T: DeserializeSeed<'de>>(self, seed: T) -> Result<T::Value, Error> {
        seed.deserialize(&mut *self.deserializer)
    }

    fn tuple_variant<V: Visitor<'de>>(self, length: usize, visitor: V) -> Result<V::Value, Error> {
        self.deserializer.deserialize_tuple(length, visitor)
    }

    fn struct_variant<V: Visitor<'de>>(
        self,
        fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Error> {
        self.deserializer.deserialize_struct("", fields, visitor)
    }
}
