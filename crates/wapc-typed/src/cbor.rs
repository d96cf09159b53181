//! CBOR.

use std::convert::Infallible;

use cbor4ii::{
    core::{dec, enc::Write},
    serde::{DecodeError, Deserializer, EncodeError, Serializer},
};
use serde::{Deserialize, Serialize};

use crate::{
    bounded::Bounds,
    codec::{Codec, CodecError, MAX_DEPTH, unquoted},
};

/// CBOR ([RFC 8949](https://www.rfc-editor.org/rfc/rfc8949)) with the names of fields.
///
/// ```
/// use wapc_typed::{Codec, CborCodec};
///
/// let mut bytes = vec![];
/// CborCodec::encode(&(1_u8, "one"), &mut bytes)?;
/// assert_eq!(bytes, b"\x82\x01\x63one");
/// assert_eq!(CborCodec::decode::<(u8, &str)>(&bytes)?, (1, "one"));
/// # Ok::<(), wapc_typed::CodecError>(())
/// ```
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub enum CborCodec {}

impl Codec for CborCodec {
    const NAME: &'static str = "cbor";

    fn encode<T: Serialize + ?Sized>(value: &T, out: &mut Vec<u8>) -> Result<(), CodecError> {
        let encoded = value.serialize(&mut Serializer::new(Appending(out)));
        encoded.map_err(|error| match error {
            EncodeError::Custom(text) => CodecError::new(text),
            EncodeError::Core(error) => CodecError::new(error),
        })
    }

    fn decode<'b, T: Deserialize<'b>>(bytes: &'b [u8]) -> Result<T, CodecError> {
        let bounds = Bounds::of(bytes).self_describing();
        let mut deserializer = Deserializer::new(Reader::new(bytes));
        let value = T::deserialize(bounds.limit(&mut deserializer)).map_err(|error| {
            match (bounds.exceeded(), error) {
                (Some(exceeded), _) => CodecError::new(exceeded),
                (None, DecodeError::Custom(text)) => CodecError::new(unquoted(&text)),
                (None, DecodeError::Core(error)) => CodecError::new(reason(&error)),
            }
        })?;
        match dec::Read::fill(&mut deserializer.into_inner(), 1) {
            Ok(rest) if rest.as_ref().is_empty() => Ok(value),
            _ => Err(CodecError::new("bytes follow the value")),
        }
    }
}

/// The reason, without bytes of the payload.
fn reason(error: &dec::Error<Infallible>) -> String {
    match error {
        dec::Error::Mismatch { name, .. } => {
            format!("the value is of another type, expected {name}")
        }
        dec::Error::Unsupported { name, .. } => format!("no form of {name} that is known"),
        dec::Error::Eof { name, .. } => format!("the payload ends within {name}"),
        dec::Error::RequireLength { name, .. } => format!("another number of elements in {name}"),
        dec::Error::RequireUtf8 { .. } => "a text that is not UTF-8".to_owned(),
        dec::Error::DepthOverflow { .. } => "the value is nested too deep".to_owned(),
        _ => "a number or a length is too large".to_owned(),
    }
}

/// Reads a payload. The decoder counts its own steps, of which a list takes two and what may be missing
/// one; the bound of depth comes before.
struct Reader<'b> {
    rest: &'b [u8],
    steps: usize,
}

impl<'b> Reader<'b> {
    const fn new(rest: &'b [u8]) -> Self {
        let steps = 4 * MAX_DEPTH;
        Self { rest, steps }
    }
}

impl<'b> dec::Read<'b> for Reader<'b> {
    type Error = Infallible;

    fn fill<'r>(&'r mut self, want: usize) -> Result<dec::Reference<'b, 'r>, Infallible> {
        let filled = self.rest.get(..want).unwrap_or(self.rest);
        Ok(dec::Reference::Long(filled))
    }

    fn advance(&mut self, count: usize) {
        self.rest = self.rest.get(count..).unwrap_or_default();
    }

    fn step_in(&mut self) -> bool {
        let left = self.steps.checked_sub(1);
        self.steps = left.unwrap_or(0);
        left.is_some()
    }

    fn step_out(&mut self) {
        self.steps += 1;
    }
}

/// Appends to a vector.
struct Appending<'o>(&'o mut Vec<u8>);

impl Write for Appending<'_> {
    type Error = Infallible;

    fn push(&mut self, input: &[u8]) -> Result<(), Infallible> {
        self.0.extend_from_slice(input);
        Ok(())
    }
}
