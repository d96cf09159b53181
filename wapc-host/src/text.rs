//! Text from guests, modules and files: escaped, and clipped.

use std::fmt::{self, Write};

/// Displays text with its control characters escaped, so that a guest can neither
/// control a terminal nor forge a line of a log.
///
/// Escaped are control characters but the tab, line and paragraph separators, and
/// the characters that control the direction of text, with which a line can be
/// made to read as another one.
///
/// ```
/// use wapc_host::error::Printable;
///
/// let line = "done\n[guest of host 2] forged\u{1b}[2J";
/// assert_eq!(
///     Printable::line(line).to_string(),
///     r"done\n[guest of host 2] forged\u{1b}[2J",
/// );
/// assert_eq!(Printable::lines("one\ntwo\n").to_string(), "one\n    two");
/// ```
#[derive(Clone, Copy, Debug)]
pub struct Printable<'t> {
    text: &'t str,
    /// The replacement for a line break; `None` escapes it.
    line_break: Option<&'static str>,
}

impl<'t> Printable<'t> {
    /// Displays the text on one line.
    #[must_use]
    pub const fn line(text: &'t str) -> Self {
        Self {
            text,
            line_break: None,
        }
    }

    /// Displays the lines of the text, all but the first indented by four
    /// spaces. Line breaks at the end are left out.
    #[must_use]
    pub const fn lines(text: &'t str) -> Self {
        Self {
            text,
            line_break: Some("\n    "),
        }
    }
}

impl fmt::Display for Printable<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = match self.line_break {
            Some(_) => self.text.trim_end_matches(['\n', '\r']),
            None => self.text,
        };
        for letter in text.chars() {
            match (letter, self.line_break) {
                ('\n', Some(line_break)) => f.write_str(line_break)?,
                ('\t', _) => f.write_char('\t')?,
                _ if letter.is_control() || is_layout(letter) => {
                    write!(f, "{}", letter.escape_default())?;
                }
                _ => f.write_char(letter)?,
            }
        }
        Ok(())
    }
}

/// Returns `true` for separators of lines and paragraphs, and for controls of the
/// direction of text. Source: Unicode's property `Bidi_Control`.
const fn is_layout(letter: char) -> bool {
    matches!(
        letter,
        '\u{61c}'
            | '\u{200e}'
            | '\u{200f}'
            | '\u{2028}'..='\u{202e}'
            | '\u{2066}'..='\u{2069}'
    )
}

/// Returns the first `bytes` of `text` at most, in whole characters.
pub(crate) fn clip(text: &str, bytes: usize) -> &str {
    let end = text.floor_char_boundary(bytes);
    text.get(..end).unwrap_or_default()
}

/// Returns `name`, or its beginning and `…` if it is long.
pub(crate) fn clip_name(name: &str) -> String {
    match clip(name, MAX_NAME_BYTES) {
        clipped if clipped.len() < name.len() => format!("{clipped}…"),
        whole => whole.to_owned(),
    }
}

/// Returns the name of a function as it stands in its source, if a compiler of Rust or C++ has mangled
/// it; clipped like [`clip_name`].
pub(crate) fn demangled(name: &str) -> String {
    // Demangled names can be far longer than what they are made of.
    let mut text = Clipped::default();
    let mangled = clip(name, MAX_MANGLED_BYTES);
    let written = if let Ok(rust) = rustc_demangle::try_demangle(mangled) {
        write!(text, "{rust:#}")
    } else if mangled.starts_with("_Z") {
        cpp_name(mangled, &mut text)
    } else {
        return clip_name(name);
    };
    match (written, text.is_full) {
        (Ok(()), _) | (Err(_), true) => text.text,
        (Err(_), false) => clip_name(name),
    }
}

fn cpp_name(mangled: &str, text: &mut Clipped) -> fmt::Result {
    let options = cpp_demangle::ParseOptions::default().recursion_limit(64);
    let symbol =
        cpp_demangle::Symbol::new_with_options(mangled, &options).map_err(|_| fmt::Error)?;
    let options = cpp_demangle::DemangleOptions::default().recursion_limit(64);
    symbol
        .structured_demangle(text, &options)
        .map_err(|_| fmt::Error)
}

/// Longer names are not demangled.
const MAX_MANGLED_BYTES: usize = 4096;

/// Text that takes no more than [`MAX_NAME_BYTES`].
#[derive(Default)]
struct Clipped {
    text: String,
    is_full: bool,
}

impl Write for Clipped {
    fn write_str(&mut self, more: &str) -> fmt::Result {
        let room = MAX_NAME_BYTES.saturating_sub(self.text.len());
        let fits = clip(more, room);
        self.text.push_str(fits);
        if fits.len() == more.len() {
            return Ok(());
        }
        self.text.push('…');
        self.is_full = true;
        // Ends the work of whoever writes.
        Err(fmt::Error)
    }
}

/// The greatest part of a module's name that an error repeats.
const MAX_NAME_BYTES: usize = 256;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn control_characters_are_escaped_and_the_rest_is_not() {
        let text = "a\u{1b}[31mb\r\n\tß\u{9b}\u{202e}\u{61c}\u{2028}\u{2029}\u{7f}";
        assert_eq!(
            Printable::line(text).to_string(),
            "a\\u{1b}[31mb\\r\\n\tß\\u{9b}\\u{202e}\\u{61c}\\u{2028}\\u{2029}\\u{7f}"
        );
        assert_eq!(Printable::lines("a\nb\n").to_string(), "a\n    b");
        assert_eq!(Printable::lines("a\u{2028}b").to_string(), "a\\u{2028}b");
    }

    #[test]
    fn long_names_are_clipped_at_a_character() {
        assert_eq!(clip_name("short"), "short");
        let long = "é".repeat(MAX_NAME_BYTES);
        assert_eq!(clip_name(&long), "é".repeat(MAX_NAME_BYTES / 2) + "…");
        assert_eq!(clip("é", 1), "");
    }

    #[test]
    #[cfg_attr(miri, ignore = "takes Miri minutes")]
    fn names_are_demangled_within_bounds() {
        for (mangled, name) in [
            ("_ZN5guest5parse17h0123456789abcdefE", "guest::parse"),
            ("_RNvCs1234_7mycrate3foo", "mycrate::foo"),
            ("_ZN3fooC1Ei", "foo::foo(int)"),
            ("__guest_call", "__guest_call"),
            ("_Znot a name", "_Znot a name"),
            ("", ""),
        ] {
            assert_eq!(demangled(mangled), name, "{mangled}");
        }
        // Each substitution doubles what it stands for.
        let doubling = (0..60).fold("_Z1fI1xE".to_owned(), |name, _| name + "S_S_");
        for long in [
            "x".repeat(30 << 20),
            format!("_ZN{}E", "1a".repeat(1 << 20)),
            doubling,
        ] {
            assert!(demangled(&long).len() <= MAX_NAME_BYTES + '…'.len_utf8());
        }
    }
}
