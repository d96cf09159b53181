//! JSON as MessagePack. A service's error is a line of JSON, and a guest that reads one needs no
//! decoder for it but this.

use super::{de::Deserializer, marker};
use crate::codec::MAX_DEPTH;

/// The type of an extension that holds a number with a fraction as text: its parser is in a guest
/// only if one of its types has such numbers.
pub(super) const DECIMAL: u8 = 0;

/// Decodes a value from JSON; `None` if it is none.
pub(crate) fn from_json<'b, T: serde::Deserialize<'b>>(
    json: &str,
    packed: &'b mut Vec<u8>,
) -> Option<T> {
    let mut reader = Reader {
        rest: json.as_bytes(),
        out: packed,
    };
    reader.value(MAX_DEPTH)?;
    reader.space();
    if !reader.rest.is_empty() {
        return None;
    }
    let packed: &'b [u8] = packed;
    let mut deserializer = Deserializer::<true>::new(packed);
    T::deserialize(&mut deserializer).ok()
}

struct Reader<'j, 'o> {
    rest: &'j [u8],
    out: &'o mut Vec<u8>,
}

impl Reader<'_, '_> {
    fn space(&mut self) {
        self.rest = self.rest.trim_ascii_start();
    }

    fn byte(&mut self) -> Option<u8> {
        let (byte, rest) = self.rest.split_first()?;
        self.rest = rest;
        Some(*byte)
    }

    /// Takes the next byte if it is this one, after space.
    fn takes(&mut self, byte: u8) -> bool {
        self.space();
        let rest = self.rest.strip_prefix(&[byte]);
        self.rest = rest.unwrap_or(self.rest);
        rest.is_some()
    }

    fn value(&mut self, depth: usize) -> Option<()> {
        let depth = depth.checked_sub(1)?;
        self.space();
        match self.rest.first()? {
            b'"' => self.text(),
            b'[' => self.items(b']', marker::ARRAY32, |reader| reader.value(depth)),
            b'{' => self.items(b'}', marker::MAP32, |reader| {
                reader.space();
                reader.text()?;
                reader.takes(b':').then_some(())?;
                reader.value(depth)
            }),
            b'n' => self.word(b"null", marker::NIL),
            b't' => self.word(b"true", marker::TRUE),
            b'f' => self.word(b"false", marker::FALSE),
            _ => self.number(),
        }
    }

    fn word(&mut self, word: &[u8], value: u8) -> Option<()> {
        self.rest = self.rest.strip_prefix(word)?;
        self.out.push(value);
        Some(())
    }

    /// Reads the items of a list or a map.
    fn items(&mut self, end: u8, marker: u8, item: impl Fn(&mut Self) -> Option<()>) -> Option<()> {
        self.byte()?;
        self.out.push(marker);
        let place = self.out.len();
        self.out.extend([0; 4]);
        let mut length: u32 = 0;
        if !self.takes(end) {
            loop {
                item(self)?;
                length = length.checked_add(1)?;
                if self.takes(end) {
                    break;
                }
                self.takes(b',').then_some(())?;
            }
        }
        let to = self.out.get_mut(place..place + 4)?;
        to.copy_from_slice(&length.to_be_bytes());
        Some(())
    }

    fn text(&mut self) -> Option<()> {
        self.rest = self.rest.strip_prefix(b"\"")?;
        self.out.push(marker::STR32);
        let place = self.out.len();
        self.out.extend([0; 4]);
        loop {
            match self.byte()? {
                b'"' => break,
                b'\\' => {
                    let letter = match self.byte()? {
                        b'n' => '\n',
                        b't' => '\t',
                        b'r' => '\r',
                        b'b' => '\u{8}',
                        b'f' => '\u{c}',
                        b'u' => self.escaped()?,
                        byte @ (b'"' | b'\\' | b'/') => byte.into(),
                        _ => return None,
                    };
                    self.out
                        .extend_from_slice(letter.encode_utf8(&mut [0; 4]).as_bytes());
                }
                byte if byte < b' ' => return None,
                byte => self.out.push(byte),
            }
        }
        let length = u32::try_from(self.out.len() - place - 4).ok()?;
        let to = self.out.get_mut(place..place + 4)?;
        to.copy_from_slice(&length.to_be_bytes());
        Some(())
    }

    /// Reads the four digits of `\u`, or those of two surrogates.
    fn escaped(&mut self) -> Option<char> {
        let first = self.hex()?;
        if !(0xd800..0xdc00).contains(&first) {
            return char::from_u32(first);
        }
        self.rest = self.rest.strip_prefix(b"\\u")?;
        let second = self.hex()?.checked_sub(0xdc00).filter(|it| *it < 0x400)?;
        char::from_u32(0x10000 + ((first - 0xd800) << 10 | second))
    }

    fn hex(&mut self) -> Option<u32> {
        (0..4).try_fold(0, |number, _| {
            let digit = char::from(self.byte()?).to_digit(16)?;
            Some(number << 4 | digit)
        })
    }

    fn number(&mut self) -> Option<()> {
        let is_part = |byte: &u8| matches!(byte, b'0'..=b'9' | b'-' | b'+' | b'.' | b'e' | b'E');
        let length = self.rest.iter().take_while(|byte| is_part(byte)).count();
        let (text, rest) = self.rest.split_at_checked(length)?;
        self.rest = rest;
        let digits = str::from_utf8(text).ok()?;
        if let Ok(number) = digits.parse::<u64>() {
            self.out.push(marker::U64);
            self.out.extend_from_slice(&number.to_be_bytes());
        } else if let Ok(number) = digits.parse::<i64>() {
            self.out.push(marker::I64);
            self.out.extend_from_slice(&number.to_be_bytes());
        } else {
            let length = u8::try_from(text.len()).ok().filter(|length| *length > 0)?;
            self.out.extend([marker::EXT8, length, DECIMAL]);
            self.out.extend_from_slice(text);
        }
        Some(())
    }
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;
    use crate::value::AnyValue;

    fn read(json: &str) -> Option<Value> {
        from_json(json, &mut Vec::new()).map(|AnyValue(value)| value)
    }

    #[test]
    fn json_is_read_as_serde_json_reads_it() {
        for json in [
            r#"{"error":{"Busy":{"seconds":-3,"most":18446744073709551615}}}"#,
            r#" [ 1 , 2.5 , -1e3, true , false , null , "" ] "#,
            r#""\n\t\r\b\f\"\\\/\u00fc\ud83d\ude00ü""#,
            "{}",
            "[]",
            "[[[]],{\"a\":[]}]",
            "-9223372036854775808",
            "0.1",
        ] {
            assert_eq!(
                read(json),
                Some(serde_json::from_str(json).unwrap()),
                "{json}"
            );
        }
        for json in [
            "",
            "nul",
            "[",
            "[1",
            "[1,",
            "[1,]",
            "{1:2}",
            "{\"a\"}",
            "{\"a\":1,}",
            "\"",
            "\"\\x\"",
            "\"\\ud800\"",
            "\"\\ud800\\u0041\"",
            "\"\\u12\"",
            "1 2",
            "-",
            "1.2.3",
            "\"\n\"",
        ] {
            assert_eq!(read(json), None, "{json}");
        }
        assert_eq!(read(&"[".repeat(1000)), None);
    }
}
