//! The names by which guests call their host.

use std::str::{Utf8Error, from_utf8};

/// The names of a guest's last host call.
#[derive(Default)]
pub(crate) struct Names {
    pub(crate) binding: Name,
    pub(crate) namespace: Name,
    pub(crate) operation: Name,
}

/// A name that was found to be UTF-8. The next one is mostly the same, and need
/// only be compared with it.
#[derive(Default)]
pub(crate) struct Name(String);

impl Name {
    /// The text of `bytes`.
    #[inline]
    pub(crate) fn text<'n>(&'n mut self, bytes: &'n [u8]) -> Result<&'n str, Utf8Error> {
        if self.0.as_bytes() == bytes {
            return Ok(&self.0);
        }
        self.look_through(bytes)
    }

    #[inline(never)]
    fn look_through<'n>(&mut self, bytes: &'n [u8]) -> Result<&'n str, Utf8Error> {
        let text = from_utf8(bytes)?;
        if text.len() <= KEPT_BYTES {
            self.0.clear();
            self.0.push_str(text);
        }
        Ok(text)
    }
}

/// How long a name may be that an instance keeps.
const KEPT_BYTES: usize = 64;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_what_the_guest_says_each_time() {
        let mut name = Name::default();
        let long = "a".repeat(KEPT_BYTES + 1);
        for text in ["", "a", "a", "b", "ab", "a", &long, &long, "é", ""] {
            assert_eq!(name.text(text.as_bytes()), Ok(text));
            assert!(name.text(b"\xff").is_err());
        }
    }
}
