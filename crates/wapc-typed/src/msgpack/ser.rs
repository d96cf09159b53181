//! Encoding.

use serde::{Serialize, ser};

use super::{error::Error, marker};

pub(super) struct Serializer<'o> {
    out: &'o mut Vec<u8>,
}

impl<'o> Serializer<'o> {
    pub(super) const fn new(out: &'o mut Vec<u8>) -> Self {
        Self { out }
    }

    #[inline]
    fn byte(&mut self, byte: u8) {
        self.out.push(byte);
    }

    #[inline]
    fn bytes(&mut self, bytes: &[u8]) {
        self.out.extend_from_slice(bytes);
    }

    /// Writes a marker and a number behind it, in as few bytes as it takes.
    fn sized(&mut self, [one, two, four]: [Option<u8>; 3], length: usize) -> Result<(), Error> {
        if let (Some(marker), Ok(length)) = (one, u8::try_from(length)) {
            self.bytes(&[marker, length]);
        } else if let (Some(marker), Ok(length)) = (two, u16::try_from(length)) {
            self.byte(marker);
            self.bytes(&length.to_be_bytes());
        } else if let (Some(marker), Ok(length)) = (four, u32::try_from(length)) {
            self.byte(marker);
            self.bytes(&length.to_be_bytes());
        } else {
            return Err(Error::new("more than 4 GiB"));
        }
        Ok(())
    }

    #[inline]
    fn text(&mut self, text: &str) -> Result<(), Error> {
        match u8::try_from(text.len()) {
            Ok(length) if length < 32 => self.byte(0xa0 | length),
            _ => self.sized(
                [Some(marker::STR8), Some(marker::STR16), Some(marker::STR32)],
                text.len(),
            )?,
        }
        self.bytes(text.as_bytes());
        Ok(())
    }

    #[inline]
    fn list(&mut self, length: usize) -> Result<(), Error> {
        match u8::try_from(length) {
            Ok(length) if length < 16 => {
                self.byte(0x90 | length);
                Ok(())
            }
            _ => self.sized([None, Some(marker::ARRAY16), Some(marker::ARRAY32)], length),
        }
    }

    #[inline]
    fn map(&mut self, length: usize) -> Result<(), Error> {
        match u8::try_from(length) {
            Ok(length) if length < 16 => {
                self.byte(0x80 | length);
                Ok(())
            }
            _ => self.sized([None, Some(marker::MAP16), Some(marker::MAP32)], length),
        }
    }

    #[inline]
    fn unsigned(&mut self, number: u64) {
        match u8::try_from(number) {
            Ok(byte) if byte < 0x80 => self.byte(byte),
            _ => self.large(number),
        }
    }

    fn large(&mut self, number: u64) {
        if let Ok(number) = u8::try_from(number) {
            self.bytes(&[marker::U8, number]);
        } else if let Ok(number) = u16::try_from(number) {
            self.byte(marker::U16);
            self.bytes(&number.to_be_bytes());
        } else if let Ok(number) = u32::try_from(number) {
            self.byte(marker::U32);
            self.bytes(&number.to_be_bytes());
        } else {
            self.byte(marker::U64);
            self.bytes(&number.to_be_bytes());
        }
    }

    #[inline]
    fn signed(&mut self, number: i64) {
        if let Ok(number) = u64::try_from(number) {
            self.unsigned(number);
        } else if let Ok(number) = i8::try_from(number) {
            if number < -32 {
                self.byte(marker::I8);
            }
            self.bytes(&number.to_be_bytes());
        } else if let Ok(number) = i16::try_from(number) {
            self.byte(marker::I16);
            self.bytes(&number.to_be_bytes());
        } else if let Ok(number) = i32::try_from(number) {
            self.byte(marker::I32);
            self.bytes(&number.to_be_bytes());
        } else {
            self.byte(marker::I64);
            self.bytes(&number.to_be_bytes());
        }
    }

    /// Begins a form of an enum that has contents.
    #[inline]
    fn variant(&mut self, name: &str) -> Result<(), Error> {
        self.map(1)?;
        self.text(name)
    }

    /// Begins a list or a map whose length may not be known yet.
    fn compound<'s>(
        &'s mut self,
        length: Option<usize>,
        long_marker: u8,
        begin: fn(&mut Self, usize) -> Result<(), Error>,
    ) -> Result<Compound<'s, 'o>, Error> {
        let unknown = match length {
            Some(length) => {
                begin(self, length)?;
                None
            }
            None => {
                self.bytes(&[long_marker, 0, 0, 0, 0]);
                Some((self.out.len() - 4, 0))
            }
        };
        Ok(Compound {
            serializer: self,
            unknown,
        })
    }

    const fn known<'s>(&'s mut self) -> Compound<'s, 'o> {
        Compound {
            serializer: self,
            unknown: None,
        }
    }
}

/// The values of a list or a map.
pub(super) struct Compound<'s, 'o> {
    serializer: &'s mut Serializer<'o>,
    /// The place of the length and the length so far, if it was not known at the beginning.
    unknown: Option<(usize, u32)>,
}

impl Compound<'_, '_> {
    fn item<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), Error> {
        if let Some((_, length)) = &mut self.unknown {
            *length = length
                .checked_add(1)
                .ok_or_else(|| Error::new("more than 4 GiB"))?;
        }
        value.serialize(&mut *self.serializer)
    }

    fn field<T: Serialize + ?Sized>(&mut self, name: &str, value: &T) -> Result<(), Error> {
        self.serializer.text(name)?;
        value.serialize(&mut *self.serializer)
    }

    fn finish(self) {
        if let Some((place, length)) = self.unknown
            && let Some(to) = self.serializer.out.get_mut(place..place + 4)
        {
            to.copy_from_slice(&length.to_be_bytes());
        }
    }
}

impl<'s, 'o> ser::Serializer for &'s mut Serializer<'o> {
    type Ok = ();
    type Error = Error;
    type SerializeSeq = Compound<'s, 'o>;
    type SerializeTuple = Compound<'s, 'o>;
    type SerializeTupleStruct = Compound<'s, 'o>;
    type SerializeTupleVariant = Compound<'s, 'o>;
    type SerializeMap = Compound<'s, 'o>;
    type SerializeStruct = Compound<'s, 'o>;
    type SerializeStructVariant = Compound<'s, 'o>;

    fn is_human_readable(&self) -> bool {
        false
    }

    fn serialize_bool(self, value: bool) -> Result<(), Error> {
        self.byte(if value { marker::TRUE } else { marker::FALSE });
        Ok(())
    }

    fn serialize_i8(self, value: i8) -> Result<(), Error> {
        self.serialize_i64(value.into())
    }

    fn serialize_i16(self, value: i16) -> Result<(), Error> {
        self.serialize_i64(value.into())
    }

    fn serialize_i32(self, value: i32) -> Result<(), Error> {
        self.serialize_i64(value.into())
    }

    fn serialize_i64(self, value: i64) -> Result<(), Error> {
        self.signed(value);
        Ok(())
    }

    fn serialize_u8(self, value: u8) -> Result<(), Error> {
        self.serialize_u64(value.into())
    }

    fn serialize_u16(self, value: u16) -> Result<(), Error> {
        self.serialize_u64(value.into())
    }

    fn serialize_u32(self, value: u32) -> Result<(), Error> {
        self.serialize_u64(value.into())
    }

    fn serialize_u64(self, value: u64) -> Result<(), Error> {
        self.unsigned(value);
        Ok(())
    }

    fn serialize_f32(self, value: f32) -> Result<(), Error> {
        self.byte(marker::F32);
        self.bytes(&value.to_be_bytes());
        Ok(())
    }

    fn serialize_f64(self, value: f64) -> Result<(), Error> {
        self.byte(marker::F64);
        self.bytes(&value.to_be_bytes());
        Ok(())
    }

    fn serialize_char(self, value: char) -> Result<(), Error> {
        self.text(value.encode_utf8(&mut [0; 4]))
    }

    fn serialize_str(self, value: &str) -> Result<(), Error> {
        self.text(value)
    }

    fn serialize_bytes(self, value: &[u8]) -> Result<(), Error> {
        self.sized(
            [Some(marker::BIN8), Some(marker::BIN16), Some(marker::BIN32)],
            value.len(),
        )?;
        self.bytes(value);
        Ok(())
    }

    fn serialize_none(self) -> Result<(), Error> {
        self.serialize_unit()
    }

    fn serialize_some<T: Serialize + ?Sized>(self, value: &T) -> Result<(), Error> {
        value.serialize(self)
    }

    fn serialize_unit(self) -> Result<(), Error> {
        self.byte(marker::NIL);
        Ok(())
    }

    fn serialize_unit_struct(self, _: &'static str) -> Result<(), Error> {
        self.list(0)
    }

    fn serialize_unit_variant(
        self,
        _: &'static str,
        _: u32,
        variant: &'static str,
    ) -> Result<(), Error> {
        self.text(variant)
    }

    fn serialize_newtype_struct<T: Serialize + ?Sized>(
        self,
        _: &'static str,
        value: &T,
    ) -> Result<(), Error> {
        value.serialize(self)
    }

    fn serialize_newtype_variant<T: Serialize + ?Sized>(
        self,
        _: &'static str,
        _: u32,
        variant: &'static str,
        value: &T,
    ) -> Result<(), Error> {
        self.variant(variant)?;
        value.serialize(self)
    }

    fn serialize_seq(self, length: Option<usize>) -> Result<Compound<'s, 'o>, Error> {
        self.compound(length, marker::ARRAY32, Serializer::list)
    }

    fn serialize_tuple(self, length: usize) -> Result<Compound<'s, 'o>, Error> {
        self.list(length)?;
        Ok(self.known())
    }

    fn serialize_tuple_struct(
        self,
        _: &'static str,
        length: usize,
    ) -> Result<Compound<'s, 'o>, Error> {
        self.serialize_tuple(length)
    }

    fn serialize_tuple_variant(
        self,
        _: &'static str,
        _: u32,
        variant: &'static str,
        length: usize,
    ) -> Result<Compound<'s, 'o>, Error> {
        self.variant(variant)?;
        self.serialize_tuple(length)
    }

    fn serialize_map(self, length: Option<usize>) -> Result<Compound<'s, 'o>, Error> {
        self.compound(length, marker::MAP32, Serializer::map)
    }

    fn serialize_struct(self, _: &'static str, length: usize) -> Result<Compound<'s, 'o>, Error> {
        self.map(length)?;
        Ok(self.known())
    }

    fn serialize_struct_variant(
        self,
        name: &'static str,
        _: u32,
        variant: &'static str,
        length: usize,
    ) -> Result<Compound<'s, 'o>, Error> {
        self.variant(variant)?;
        self.serialize_struct(name, length)
    }
}

macro_rules! items {
    ($($kind:ident::$method:ident)+) => {
        $(impl ser::$kind for Compound<'_, '_> {
            type Ok = ();
            type Error = Error;

            fn $method<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), Error> {
                self.item(value)
            }

            fn end(self) -> Result<(), Error> {
                self.finish();
                Ok(())
            }
        })+
    };
}

items! {
    SerializeSeq::serialize_element
    SerializeTuple::serialize_element
    SerializeTupleStruct::serialize_field
    SerializeTupleVariant::serialize_field
}

impl ser::SerializeMap for Compound<'_, '_> {
    type Ok = ();
    type Error = Error;

    fn serialize_key<T: Serialize + ?Sized>(&mut self, key: &T) -> Result<(), Error> {
        self.item(key)
    }

    fn serialize_value<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), Error> {
        value.serialize(&mut *self.serializer)
    }

    fn end(self) -> Result<(), Error> {
        self.finish();
        Ok(())
    }
}

macro_rules! fields {
    ($($kind:ident)+) => {
        $(impl ser::$kind for Compound<'_, '_> {
            type Ok = ();
            type Error = Error;

            fn serialize_field<T: Serialize + ?Sized>(
                &mut self,
                name: &'static str,
                value: &T,
            ) -> Result<(), Error> {
                self.field(name, value)
            }

            fn end(self) -> Result<(), Error> {
                Ok(())
            }
        })+
    };
}

fields!(SerializeStruct SerializeStructVariant);
