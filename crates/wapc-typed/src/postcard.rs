//! postcard: values without the names of their fields.

use postcard::{Deserializer, Serializer, ser_flavors::Flavor};
use serde::{Deserialize, Serialize};

use crate::{
    bounded::Bounds,
    codec::{Codec, CodecError},
};

/// [postcard](https://postcard.jamesmunns.com): small and fast, without the names of fields. Both sides
/// need the same types: a field that one of them adds is an error, or is taken for another one.
///
/// ```
/// use wapc_typed::{Codec, PostcardCodec};
///
/// let mut bytes = vec![];
/// PostcardCodec::encode(&(1_u8, "one"), &mut bytes)?;
/// assert_eq!(bytes, b"\x01\x03one");
/// assert_eq!(PostcardCodec::decode::<(u8, &str)>(&bytes)?, (1, "one"));
/// # Ok::<(), wapc_typed::CodecError>(())
/// ```
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub enum PostcardCodec {}

impl Codec for PostcardCodec {
    const NAME: &'static str = "postcard";
    const NAMES_FIELDS: bool = false;

    fn encode<T: Serialize + ?Sized>(value: &T, out: &mut Vec<u8>) -> Result<(), CodecError> {
        let mut serializer = Serializer {
            output: Appending(out),
        };
        value.serialize(&mut serializer).map_err(CodecError::new)
    }

    fn decode<'b, T: Deserialize<'b>>(bytes: &'b [u8]) -> Result<T, CodecError> {
        let bounds = Bounds::of(bytes);
        let mut deserializer = Deserializer::from_bytes(bytes);
        let value = T::deserialize(bounds.limit(&mut deserializer)).map_err(|error| {
            match (bounds.exceeded(), &error) {
                (Some(exceeded), _) => CodecError::new(exceeded),
                (None, postcard::Error::SerdeDeCustom) => {
                    CodecError::new("the value is of another type")
                }
                (None, error) => CodecError::new(error),
            }
        })?;
        match deserializer.finalize() {
            Ok([]) => Ok(value),
            _ => Err(CodecError::new("bytes follow the value")),
        }
    }
}

/// Appends to a vector.
struct Appending<'o>(&'o mut Vec<u8>);

impl Flavor for Appending<'_> {
    type Output = ();

    fn try_extend(&mut self, data: &[u8]) -> postcard::Result<()> {
        self.0.extend_from_slice(data);
        Ok(())
    }

    fn try_push(&mut self, data: u8) -> postcard::Result<()> {
        self.0.push(data);
        Ok(())
    }

    fn finalize(self) -> postcard::Result<()> {
        Ok(())
    }
}
