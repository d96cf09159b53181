//! MessagePack with the names of fields, in little code: a guest carries it.
//!
//! The bytes are those of `rmp-serde`, which a test compares. Source:
//! <https://github.com/msgpack/msgpack/blob/master/spec.md>.

mod de;
mod error;
mod json;
mod marker;
mod ser;

use serde::{Deserialize, Serialize};

pub(crate) use self::json::from_json;
use self::{de::Deserializer, ser::Serializer};
use crate::codec::{Codec, CodecError};

/// MessagePack, with the names of fields: the encoding of waPC's official guests. Fields may be
/// added to a struct that has defaults for them.
///
/// A list of numbers is read from bytes too, which is what guests in other languages send. Numbers with
/// a fraction are no whole numbers, whatever their value. Of a map with a key twice the last value
/// counts; a struct with a field twice is refused.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub enum MsgPackCodec {}

impl Codec for MsgPackCodec {
    const NAME: &'static str = "msgpack";

    fn encode<T: Serialize + ?Sized>(value: &T, out: &mut Vec<u8>) -> Result<(), CodecError> {
        value
            .serialize(&mut Serializer::new(out))
            .map_err(|error| CodecError::new(error.reason))
    }

    fn decode<'b, T: Deserialize<'b>>(bytes: &'b [u8]) -> Result<T, CodecError> {
        let mut deserializer = Deserializer::<false>::new(bytes);
        let decoded = T::deserialize(&mut deserializer).and_then(|value| {
            deserializer.end()?;
            Ok(value)
        });
        decoded.map_err(|error| {
            let mut reason = error.reason;
            reason.push_str(" (at byte ");
            reason.push_str(&deserializer.position().to_string());
            reason.push(')');
            CodecError::new(reason)
        })
    }
}
