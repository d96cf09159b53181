//! Settings that a module carries in a custom section.
//!
//! The section is a protobuf message: arguments in field 2, files in field 3 (each a message of a
//! path in field 1 and contents in field 2), the environment as `NAME=value` in field 4. buf's
//! plugins carry one without the environment, with the number of an ABI in field 1.

use std::str;

use thiserror::Error;
use wasm_encoder::{CustomSection, Encode, Section as _};

use crate::link::Unit;

/// Settings that a module suggests for itself in a custom section.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Settings {
    /// The arguments, the program's name first.
    pub args: Vec<String>,
    /// The environment, as pairs of name and value.
    pub env: Vec<(String, String)>,
    /// Files for the guest to read: path and contents.
    pub files: Vec<(String, Vec<u8>)>,
}

/// The custom section that holds [`Settings`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Section {
    /// `wapc.settings`.
    Wapc,
    /// `.bufplugin`, of plugins for buf. It has no environment.
    Buf,
}

impl Section {
    /// Returns the section's name.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Wapc => "wapc.settings",
            Self::Buf => ".bufplugin",
        }
    }
}

/// The reason why settings cannot be read or used.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum SettingsError {
    /// The section is not as it must be.
    #[error("the custom section `{section}` {reason} at byte {offset}")]
    Malformed {
        /// The section's name.
        section: &'static str,
        /// The mistake.
        reason: &'static str,
        /// The byte of the section.
        offset: usize,
    },

    /// A string for the guest contains a zero byte, which would end it.
    #[error("{what} {text:?} contains a zero byte")]
    ZeroByte {
        /// Its name, as in "the argument".
        what: &'static str,
        /// The string.
        text: String,
    },
}

const ABI: u64 = 1;
const ARGUMENT: u64 = 2;
const FILE: u64 = 3;
const VARIABLE: u64 = 4;

impl Settings {
    /// Reads the settings of a module: `wapc.settings`, or else `.bufplugin`.
    pub(crate) fn of(unit: &Unit<'_>) -> Result<Self, SettingsError> {
        for section in [Section::Wapc, Section::Buf] {
            let mut found = unit.custom_sections().iter();
            if let Some((_, contents)) = found.find(|(name, _)| *name == section.name()) {
                return Self::decode(section, contents);
            }
        }
        Ok(Self::default())
    }

    /// Decodes the contents of a section. Fields that are not known are passed over.
    ///
    /// ```
    /// use wapc_dialects::{Section, Settings};
    ///
    /// let settings = Settings::decode(Section::Wapc, b"\x12\x02tr\x22\x06LANG=C")?;
    /// assert_eq!(settings.args, ["tr"]);
    /// assert_eq!(settings.env, [("LANG".to_owned(), "C".to_owned())]);
    /// # Ok::<(), wapc_dialects::SettingsError>(())
    /// ```
    ///
    /// # Errors
    ///
    /// [`SettingsError::Malformed`] if it is no such message.
    pub fn decode(section: Section, contents: &[u8]) -> Result<Self, SettingsError> {
        let mut settings = Self::default();
        let mut message = Message::new(section, contents);
        while let Some((field, value)) = message.next()? {
            match (field, value) {
                (ARGUMENT, Value::Bytes(bytes)) => settings.args.push(message.text(bytes)?),
                (VARIABLE, Value::Bytes(bytes)) => {
                    let variable = message.text(bytes)?;
                    let (name, value) = variable
                        .split_once('=')
                        .ok_or_else(|| message.malformed("has a variable without `=`"))?;
                    settings.env.push((name.to_owned(), value.to_owned()));
                }
                (FILE, Value::Bytes(bytes)) => {
                    let (mut path, mut file) = (String::new(), vec![]);
                    let mut inner = Message::new(section, bytes);
                    while let Some((field, value)) = inner.next()? {
                        match (field, value) {
                            (1, Value::Bytes(bytes)) => path = inner.text(bytes)?,
                            (2, Value::Bytes(bytes)) => file = bytes.to_vec(),
                            _ => {}
                        }
                    }
                    settings.files.push((path, file));
                }
                _ => {}
            }
        }
        Ok(settings)
    }

    fn encode(&self, section: Section) -> Vec<u8> {
        let mut contents = vec![];
        if section == Section::Buf {
            // The first version of the ABI.
            write_number(&mut contents, ABI << 3);
            write_number(&mut contents, 1);
        }
        for arg in &self.args {
            write_field(&mut contents, ARGUMENT, arg.as_bytes());
        }
        for (path, file) in &self.files {
            let mut message = vec![];
            write_field(&mut message, 1, path.as_bytes());
            write_field(&mut message, 2, file);
            write_field(&mut contents, FILE, &message);
        }
        for (name, value) in &self.env {
            write_field(
                &mut contents,
                VARIABLE,
                format!("{name}={value}").as_bytes(),
            );
        }
        contents
    }
}

/// Appends a custom section with settings to a module in binary format.
///
/// ```
/// use wapc_dialects::{Section, Settings, append_section};
///
/// let mut settings = Settings::default();
/// settings.args = vec!["tr".to_owned(), "a-z".to_owned(), "A-Z".to_owned()];
/// let mut module = wat::parse_str("(module)")?;
/// append_section(&mut module, Section::Wapc, &settings);
/// assert_eq!(module.get(8..24), Some(&b"\0\x1c\x0dwapc.settings"[..16]));
/// # Ok::<(), wat::Error>(())
/// ```
pub fn append_section(module: &mut Vec<u8>, section: Section, settings: &Settings) {
    let custom = CustomSection {
        name: section.name().into(),
        data: settings.encode(section).into(),
    };
    module.push(custom.id());
    custom.encode(module);
}

/// A reader of a protobuf message.
struct Message<'m> {
    section: Section,
    bytes: &'m [u8],
    at: usize,
}

enum Value<'m> {
    Bytes(&'m [u8]),
    Other,
}

impl<'m> Message<'m> {
    const fn new(section: Section, bytes: &'m [u8]) -> Self {
        let at = 0;
        Self { section, bytes, at }
    }

    const fn malformed(&self, reason: &'static str) -> SettingsError {
        SettingsError::Malformed {
            section: self.section.name(),
            reason,
            offset: self.at,
        }
    }

    /// Returns the next field and its value.
    fn next(&mut self) -> Result<Option<(u64, Value<'m>)>, SettingsError> {
        if self.at == self.bytes.len() {
            return Ok(None);
        }
        let key = self.number()?;
        let value = match key & 7 {
            0 => {
                self.number()?;
                Value::Other
            }
            1 => {
                self.take(8)?;
                Value::Other
            }
            2 => {
                let length = self.number()?;
                Value::Bytes(self.take(length)?)
            }
            5 => {
                self.take(4)?;
                Value::Other
            }
            _ => return Err(self.malformed("has a field of an unknown kind")),
        };
        Ok(Some((key >> 3, value)))
    }

    fn number(&mut self) -> Result<u64, SettingsError> {
        let mut number = 0_u64;
        for shift in (0..64).step_by(7) {
            let Some(byte) = self.bytes.get(self.at) else {
                return Err(self.malformed("ends in the middle of a number"));
            };
            self.at += 1;
            number |= u64::from(byte & 0x7f) << shift;
            if byte & 0x80 == 0 {
                return Ok(number);
            }
        }
        Err(self.malformed("has a number that is too long"))
    }

    fn take(&mut self, length: u64) -> Result<&'m [u8], SettingsError> {
        let end = usize::try_from(length)
            .ok()
            .and_then(|length| self.at.checked_add(length));
        let taken = end.and_then(|end| self.bytes.get(self.at..end));
        let taken = taken.ok_or_else(|| self.malformed("ends in the middle of a field"))?;
        self.at += taken.len();
        Ok(taken)
    }

    fn text(&self, bytes: &[u8]) -> Result<String, SettingsError> {
        match str::from_utf8(bytes) {
            Ok(text) => Ok(text.to_owned()),
            Err(_) => Err(self.malformed("has text that is not UTF-8")),
        }
    }
}

fn write_number(out: &mut Vec<u8>, number: u64) {
    number.encode(out);
}

fn write_field(out: &mut Vec<u8>, field: u64, bytes: &[u8]) {
    write_number(out, field << 3 | 2);
    write_number(out, bytes.len() as u64);
    out.extend(bytes);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_are_read_as_they_were_written() {
        let settings = Settings {
            args: vec!["a".to_owned(), "ü".repeat(100)],
            env: vec![("NAME".to_owned(), "x=y".to_owned())],
            files: vec![
                ("/etc/x".to_owned(), vec![0; 1000]),
                (String::new(), vec![]),
            ],
        };
        let encoded = settings.encode(Section::Wapc);
        assert_eq!(
            Settings::decode(Section::Wapc, &encoded),
            Ok(settings.clone())
        );
        let buf = settings.encode(Section::Buf);
        assert_eq!(buf.get(..2), Some(&[8, 1][..]));
        for end in 0..encoded.len() {
            // Cut anywhere it is an error or less, and no panic.
            drop(Settings::decode(
                Section::Wapc,
                encoded.get(..end).unwrap_or_default(),
            ));
        }
        for wrong in [
            &b"\x12\xff\xff\xff\xff\x0f"[..],
            b"\x12\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01",
            b"\x13",
            b"\x12\x01\xff",
            b"\x22\x01a",
            b"\x80",
        ] {
            assert!(Settings::decode(Section::Wapc, wrong).is_err(), "{wrong:?}");
        }
    }
}
