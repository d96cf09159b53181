//! Encodings of values.

use serde::{Deserialize, Serialize};
use thiserror::Error;

/// An encoding of values as bytes.
pub trait Codec {
    /// The name, as in a service's description.
    const NAME: &'static str;

    /// Appends a value.
    ///
    /// # Errors
    ///
    /// [`CodecError`] if the encoding has no form for the value.
    fn encode<T: Serialize + ?Sized>(value: &T, out: &mut Vec<u8>) -> Result<(), CodecError>;

    /// Reads a value, which may borrow from the bytes.
    ///
    /// # Errors
    ///
    /// [`CodecError`] if the bytes are not such a value, or have more behind it.
    fn decode<'b, T: Deserialize<'b>>(bytes: &'b [u8]) -> Result<T, CodecError>;
}

/// The reason why a value cannot be encoded or decoded. It quotes no payload.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("{reason}")]
#[non_exhaustive]
pub struct CodecError {
    /// The reason.
    pub reason: String,
}

impl CodecError {
    pub(crate) fn new(reason: impl ToString) -> Self {
        let reason = reason.to_string();
        Self { reason }
    }
}

/// JSON.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub enum JsonCodec {}

/// Deeper values are refused: each level takes some of the stack.
pub(crate) const MAX_DEPTH: usize = 128;

/// Leaves out what serde quotes: it is part of the payload. What was expected is of the type.
fn unquoted(text: &str) -> String {
    let (found, expected) = match text.split_once(", expected ") {
        Some((found, expected)) => (found, Some(expected)),
        None => (text, None),
    };
    let kept = match found.split_once(['`', '"']) {
        // Names of fields that are missing are those of the type.
        Some(_) if found.starts_with("missing field") || found.starts_with("duplicate field") => {
            found
        }
        Some((kind, _)) => kind.trim_end(),
        None => found,
    };
    match expected {
        Some(expected) => format!("{kept}, expected {expected}"),
        None => kept.to_owned(),
    }
}

impl Codec for JsonCodec {
    const NAME: &'static str = "json";

    fn encode<T: Serialize + ?Sized>(value: &T, out: &mut Vec<u8>) -> Result<(), CodecError> {
        serde_json::to_writer(out, value).map_err(CodecError::new)
    }

    fn decode<'b, T: Deserialize<'b>>(bytes: &'b [u8]) -> Result<T, CodecError> {
        serde_json::from_slice(bytes).map_err(|error| {
            let place = format!("at line {} column {}", error.line(), error.column());
            let text = error.to_string();
            let text = text.split(" at line ").next().unwrap_or_default();
            CodecError::new(format!("{} {place}", unquoted(text)))
        })
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use serde::{Deserialize, Serialize};

    use super::*;
    use crate::MsgPackCodec;

    #[derive(Serialize, Deserialize, Debug, PartialEq)]
    struct Record {
        name: String,
        #[serde(default)]
        count: u32,
        body: Vec<u8>,
    }

    fn round_trip<C: Codec>() {
        let record = Record {
            name: "ü".to_owned(),
            count: 3,
            body: vec![0, 255],
        };
        let mut bytes = vec![];
        C::encode(&record, &mut bytes).unwrap();
        assert_eq!(C::decode::<Record>(&bytes), Ok(record));
        for end in 0..bytes.len() {
            assert!(
                C::decode::<Record>(bytes.get(..end).unwrap()).is_err(),
                "{end}"
            );
        }
        bytes.push(b'x');
        assert!(C::decode::<Record>(&bytes).is_err());
    }

    #[test]
    fn values_are_decoded_as_they_were_encoded() {
        round_trip::<MsgPackCodec>();
        round_trip::<JsonCodec>();
    }

    #[test]
    fn a_field_may_be_added() {
        let mut old = vec![];
        let fields = BTreeMap::from([("name", "a")]);
        MsgPackCodec::encode(&fields, &mut old).unwrap();
        #[derive(Deserialize)]
        struct New {
            name: String,
            #[serde(default)]
            count: u32,
        }
        let new: New = MsgPackCodec::decode(&old).unwrap();
        assert_eq!((new.name.as_str(), new.count), ("a", 0));
    }

    #[test]
    fn an_error_quotes_no_payload_and_a_length_reserves_nothing() {
        let secret = rmp_serde::to_vec("secret").unwrap();
        let error = MsgPackCodec::decode::<u32>(&secret).unwrap_err();
        assert!(!error.to_string().contains("secret"), "{error}");
        let error = JsonCodec::decode::<u32>(b"\"secret\"").unwrap_err();
        assert!(!error.to_string().contains("secret"), "{error}");
        // Arrays, strings and bytes of 4 GiB, of which nothing is there.
        for start in [0xdd, 0xdb, 0xc6, 0xdf] {
            let bytes = [start, 0xff, 0xff, 0xff, 0xff];
            assert!(MsgPackCodec::decode::<Vec<String>>(&bytes).is_err());
            assert!(MsgPackCodec::decode::<String>(&bytes).is_err());
            assert!(MsgPackCodec::decode::<BTreeMap<String, u8>>(&bytes).is_err());
        }
        #[derive(Deserialize, Debug)]
        #[expect(dead_code, reason = "it is only as deep as it is")]
        struct Deep(Vec<Self>);
        assert!(MsgPackCodec::decode::<Deep>(&vec![0x91; 100_000]).is_err());
    }
}
