//! The encoding, beside that of `rmp-serde`, and bad bytes.

use std::{collections::BTreeMap, fmt::Debug};

use serde::{Deserialize, Serialize, de::DeserializeOwned, ser::SerializeSeq};
use wapc_typed::{Codec, CodecError, MsgPackCodec};

#[derive(Serialize, Deserialize, Debug, PartialEq)]
struct Record {
    name: String,
    #[serde(default)]
    count: u32,
    inner: Option<Box<Self>>,
    kind: Kind,
    unit: Unit,
    pair: (i64, f64),
}

#[derive(Serialize, Deserialize, Debug, PartialEq)]
enum Kind {
    Unit,
    Newtype(u64),
    Tuple(bool, char),
    Struct {
        a: Vec<u8>,
        b: BTreeMap<String, f32>,
    },
}

#[derive(Serialize, Deserialize, Debug, PartialEq)]
struct Unit;

fn encoded<T: Serialize + ?Sized>(value: &T) -> Vec<u8> {
    let mut bytes = vec![];
    MsgPackCodec::encode(value, &mut bytes).expect("it has a form");
    bytes
}

/// Checks that the bytes are those of `rmp-serde`, and that each side reads them.
fn same<T: Serialize + DeserializeOwned + PartialEq + Debug>(value: T) {
    let ours = encoded(&value);
    let theirs = rmp_serde::to_vec_named(&value).expect("it has a form");
    assert_eq!(ours, theirs, "{value:?}");
    assert_eq!(
        rmp_serde::from_slice::<T>(&ours).expect("it is read"),
        value
    );
    assert_eq!(MsgPackCodec::decode::<T>(&ours), Ok(value));
    for end in 0..ours.len() {
        let cut = ours.get(..end).unwrap_or_default();
        assert!(MsgPackCodec::decode::<T>(cut).is_err(), "{ours:?} to {end}");
    }
}

#[test]
fn the_bytes_are_those_of_rmp_serde() {
    for shift in 0..64 {
        for number in [1_u64 << shift, (1 << shift) - 1, u64::MAX >> shift] {
            same(number);
            same(number.cast_signed());
            same(number.cast_signed().wrapping_neg());
        }
    }
    for length in [0, 1, 15, 16, 31, 32, 255, 256, 65_535, 65_536] {
        let text = "a".repeat(length);
        assert_eq!(
            encoded(&text),
            rmp_serde::to_vec_named(&text).expect("text")
        );
        assert_eq!(MsgPackCodec::decode(&encoded(&text)), Ok(text));
        let list = vec![7_u8; length];
        assert_eq!(
            encoded(&list),
            rmp_serde::to_vec_named(&list).expect("list")
        );
        assert_eq!(MsgPackCodec::decode(&encoded(&list)), Ok(list));
        let map: BTreeMap<usize, ()> = (0..length).map(|key| (key, ())).collect();
        assert_eq!(encoded(&map), rmp_serde::to_vec_named(&map).expect("map"));
        assert_eq!(MsgPackCodec::decode(&encoded(&map)), Ok(map));
    }
    same((true, 'ü', 1.5_f32, f64::MAX, ()));
    same([Some(1), None]);
    let record = |kind, inner| Record {
        name: "ü".to_owned(),
        count: 3,
        inner,
        kind,
        unit: Unit,
        pair: (-1, 0.1),
    };
    let structured = Kind::Struct {
        a: vec![0, 255],
        b: BTreeMap::from([("x".to_owned(), 0.5)]),
    };
    for kind in [
        Kind::Unit,
        Kind::Newtype(300),
        Kind::Tuple(false, 'x'),
        structured,
    ] {
        same(record(Kind::Unit, Some(Box::new(record(kind, None)))));
    }
}

#[test]
fn a_length_may_be_unknown_at_the_beginning() {
    struct Numbers;

    impl Serialize for Numbers {
        fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
            let mut list = serializer.serialize_seq(None)?;
            for number in 0..3 {
                list.serialize_element(&number)?;
            }
            list.end()
        }
    }
    assert_eq!(MsgPackCodec::decode(&encoded(&Numbers)), Ok(vec![0, 1, 2]));
}

#[test]
fn what_other_encoders_send_is_read() {
    // Bytes for a list of numbers, a list for a struct, a null for no value.
    assert_eq!(
        MsgPackCodec::decode(b"\xc4\x02\x01\xff"),
        Ok(vec![1_u8, 255])
    );
    #[derive(Deserialize, Debug, PartialEq)]
    struct Two {
        a: u8,
        b: Option<u8>,
    }
    let two = Two { a: 1, b: None };
    assert_eq!(MsgPackCodec::decode(b"\x92\x01\xc0"), Ok(two));
    assert_eq!(MsgPackCodec::decode(b"\xc0"), Ok(Unit));
    assert_eq!(MsgPackCodec::decode(b"\x07"), Ok(7.0_f64));
    // A field of an extension type is passed over with the others that are not known.
    let two = Two { a: 1, b: None };
    assert_eq!(
        MsgPackCodec::decode(
            b"\x83\xa1x\xc7\x02\x05\x00\x00\xa1y\xd6\x05\x00\x00\x00\x00\xa1a\x01"
        ),
        Ok(two)
    );
}

fn reason<T: DeserializeOwned + Debug>(bytes: &[u8]) -> String {
    let error: CodecError = MsgPackCodec::decode::<T>(bytes).expect_err("it is bad");
    assert!(!error.reason.contains("secret"), "{error}");
    error.reason
}

#[test]
fn bad_bytes_have_a_reason_and_a_place() {
    #[derive(Deserialize, Debug)]
    #[serde(deny_unknown_fields)]
    #[expect(dead_code, reason = "it is not read")]
    struct Strict {
        a: u8,
    }
    #[derive(Deserialize, Debug)]
    #[expect(dead_code, reason = "it is only as deep as it is")]
    struct Deep(Vec<Self>);

    let deep = reason::<Deep>(&vec![0x91; 100_000]);
    let table: &[(String, &str)] = &[
        (
            reason::<u32>(b"\xa6secret"),
            "a value of another type, where a whole number is expected (at byte 7)",
        ),
        (
            reason::<u8>(b"\xcd\x01\x00"),
            "a whole number, where u8 is expected (at byte 3)",
        ),
        (
            reason::<u8>(b"\xca\x00\x00\x00\x00"),
            "where a whole number is expected (at byte 5)",
        ),
        (
            reason::<u8>(b"\xff"),
            "a whole number, where u8 is expected (at byte 1)",
        ),
        (
            reason::<String>(b"\xa1\xff"),
            "a text that is not UTF-8 (at byte 2)",
        ),
        (
            reason::<String>(b"\x93"),
            "where a text is expected (at byte 1)",
        ),
        (
            reason::<bool>(b"\x01"),
            "where a truth value is expected (at byte 1)",
        ),
        (
            reason::<(u8, u8)>(b"\x93\x01\x02\x03"),
            "a list with more values than are expected (at byte 3)",
        ),
        (
            reason::<(u8, u8)>(b"\x91\x01"),
            "1 values, where a tuple of size 2 is expected (at byte 2)",
        ),
        (
            reason::<Strict>(b"\x81\xa6secret\x01"),
            "an unknown field; known are a (at byte 8)",
        ),
        (
            reason::<Strict>(b"\x82\xa1a\x01\xa1a\x01"),
            "the field `a` is there twice (at byte 6)",
        ),
        (
            reason::<Strict>(b"\x80"),
            "the field `a` is missing (at byte 1)",
        ),
        (
            reason::<Kind>(b"\xa6secret"),
            "an unknown form; known are Unit, Newtype, Tuple, Struct (at byte 7)",
        ),
        (
            reason::<Kind>(b"\x82\xa4Unit\xc0\xa4Unit\xc0"),
            "where a form of an enum is expected (at byte 1)",
        ),
        (
            reason::<u8>(b"\x01\x01"),
            "there are bytes behind the value (at byte 1)",
        ),
        (
            reason::<u8>(b"\xc1"),
            "a value of a type that has no form here (at byte 1)",
        ),
        (reason::<u8>(b""), "the value ends too early (at byte 0)"),
        (deep, "a value that is too deep"),
    ];
    for (reason, expected) in table {
        assert!(reason.contains(expected), "{reason}, not {expected}");
    }
    // Lengths of 4 GiB, of which nothing is there.
    for start in [0xdd, 0xdb, 0xc6, 0xdf] {
        let bytes = [start, 0xff, 0xff, 0xff, 0xff];
        reason::<Vec<String>>(&bytes);
        reason::<String>(&bytes);
        reason::<BTreeMap<String, u8>>(&bytes);
        reason::<serde::de::IgnoredAny>(&bytes);
    }
}
