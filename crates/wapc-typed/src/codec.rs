//! Encodings of values.

use serde::{Deserialize, Serialize};
use thiserror::Error;

/// An encoding of values as bytes.
pub trait Codec {
    /// The name, as in a service's description.
    const NAME: &'static str;

    /// Whether values have the names of their fields, so that a field may be added or left out. `true`
    /// unless said otherwise.
    const NAMES_FIELDS: bool = true;

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
pub(crate) fn unquoted(text: &str) -> String {
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
    use std::{collections::BTreeMap, fmt::Debug};

    use serde::{Deserialize, Serialize, de::DeserializeOwned};

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

    /// Runs a test for each codec.
    macro_rules! of_each_codec {
        ($test:ident) => {
            $test::<MsgPackCodec>();
            $test::<JsonCodec>();
            #[cfg(feature = "cbor")]
            $test::<crate::CborCodec>();
            #[cfg(feature = "postcard")]
            $test::<crate::PostcardCodec>();
        };
    }

    #[test]
    fn values_are_decoded_as_they_were_encoded() {
        of_each_codec!(round_trip);
    }

    fn same<C: Codec, T: Serialize + DeserializeOwned + PartialEq + Debug>(value: T) {
        let mut bytes = vec![];
        C::encode(&value, &mut bytes).unwrap();
        assert_eq!(C::decode::<T>(&bytes), Ok(value), "by {}", C::NAME);
    }

    #[derive(Serialize, Deserialize, Debug, PartialEq)]
    enum Shape {
        Nothing,
        Number(i64),
        Pair(u8, String),
        Fields { at: Option<Box<Self>>, name: char },
    }

    fn odd_values<C: Codec>() {
        same::<C, _>((u64::MAX, i64::MIN, u8::MAX, i8::MIN));
        same::<C, _>((f32::MIN_POSITIVE, f64::MAX, -0.0_f64, true));
        same::<C, _>(vec![Some(1), None]);
        same::<C, _>((String::new(), "\u{0}\u{10ffff}".to_owned(), 'ß'));
        same::<C, _>(BTreeMap::from([(1_u32, 'a'), (7, 'b')]));
        same::<C, _>(BTreeMap::from([("a".to_owned(), vec![Shape::Nothing])]));
        for shape in [
            Shape::Nothing,
            Shape::Number(-1),
            Shape::Pair(1, "p".to_owned()),
            Shape::Fields {
                at: Some(Box::new(Shape::Number(1 << 40))),
                name: 'x',
            },
        ] {
            same::<C, _>(shape);
        }
    }

    #[test]
    fn odd_values_are_decoded_as_they_were_encoded() {
        of_each_codec!(odd_values);
    }

    /// A type that contains itself, and has nothing but depth.
    #[derive(Serialize, Deserialize, Debug)]
    struct Nested(Vec<Self>);

    fn depth_is_bounded<C: Codec>() {
        let nested = |depth| (1..depth).fold(Nested(vec![]), |inner, _| Nested(vec![inner]));
        let mut bytes = vec![];
        C::encode(&nested(50), &mut bytes).unwrap();
        C::decode::<Nested>(&bytes).unwrap();
        bytes.clear();
        C::encode(&nested(200), &mut bytes).unwrap();
        let error = C::decode::<Nested>(&bytes).unwrap_err();
        assert!(
            error.reason.contains("deep") || error.reason.contains("recursion"),
            "by {}: {error}",
            C::NAME
        );
    }

    #[test]
    fn a_value_that_is_nested_too_deep_is_refused() {
        of_each_codec!(depth_is_bounded);
    }

    #[cfg(feature = "postcard")]
    #[test]
    fn postcard_bounds_what_takes_no_bytes() {
        use crate::PostcardCodec;

        // One byte per level, and elements without any.
        assert!(PostcardCodec::decode::<Nested>(&vec![1; 1 << 20]).is_err());
        let many = [0xff, 0xff, 0xff, 0xff, 0x0f];
        let error = PostcardCodec::decode::<Vec<()>>(&many).unwrap_err();
        assert_eq!(error.reason, "the value has more elements than bytes");
        same::<PostcardCodec, _>(vec![(); 1_000]);
        assert!(PostcardCodec::decode::<Vec<u64>>(&many).is_err());
        assert!(PostcardCodec::decode::<String>(&many).is_err());
        let error = PostcardCodec::decode::<bool>(&[2]).unwrap_err();
        assert_eq!(error.reason, "Found a bool that wasn't 0 or 1");
        let error = PostcardCodec::decode::<Shape>(&[9]).unwrap_err();
        assert_eq!(error.reason, "the value is of another type");
    }

    #[cfg(feature = "cbor")]
    #[test]
    fn cbor_lends_and_says_no_payload() {
        use crate::CborCodec;

        assert_eq!(CborCodec::decode::<&str>(b"\x66secret"), Ok("secret"));
        for (bytes, reason) in [
            (
                &b"\x66secret"[..],
                "the value is of another type, expected u32",
            ),
            (b"\x1a\x00", "the payload ends within u32"),
            (
                b"\x1b\xff\xff\xff\xff\xff\xff\xff\xff",
                "the value is of another type, expected u32",
            ),
        ] {
            assert_eq!(CborCodec::decode::<u32>(bytes).unwrap_err().reason, reason);
        }
        let wrong = CborCodec::decode::<Shape>(b"\x66secret").unwrap_err();
        assert!(!wrong.reason.contains("secret"), "{wrong}");
        let twice = CborCodec::decode::<Record>(b"\xa2\x64name\x60\x64name\x60").unwrap_err();
        assert_eq!(twice.reason, "duplicate field `name`");
        // Arrays, strings, bytes and maps of 4 GiB, of which nothing is there.
        for start in [0x9a, 0x7a, 0x5a, 0xba] {
            let bytes = [start, 0xff, 0xff, 0xff, 0xff];
            assert!(CborCodec::decode::<Vec<u8>>(&bytes).is_err());
            assert!(CborCodec::decode::<String>(&bytes).is_err());
            assert!(CborCodec::decode::<BTreeMap<String, u8>>(&bytes).is_err());
        }
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
