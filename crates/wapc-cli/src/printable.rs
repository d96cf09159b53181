//! Text from guests with its control characters escaped.

use std::fmt::{self, Write};

/// Displays text with its control characters escaped, so that a guest can neither
/// control the terminal nor forge a line of the command.
#[derive(Debug)]
pub(crate) struct Printable<'t> {
    text: &'t str,
    /// The replacement for a line break; `None` escapes it.
    line_break: Option<&'static str>,
}

impl<'t> Printable<'t> {
    /// Displays the text on one line.
    pub(crate) const fn line(text: &'t str) -> Self {
        Self {
            text,
            line_break: None,
        }
    }

    /// Displays the lines of the text, all but the first indented.
    pub(crate) const fn lines(text: &'t str) -> Self {
        Self {
            text,
            line_break: Some("\n    "),
        }
    }
}

impl fmt::Display for Printable<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // A line break at the end would print an empty line.
        let text = match self.line_break {
            Some(_) => self.text.trim_end_matches(['\n', '\r']),
            None => self.text,
        };
        for letter in text.chars() {
            match (letter, self.line_break) {
                ('\n', Some(line_break)) => f.write_str(line_break)?,
                ('\t', _) => f.write_char('\t')?,
                _ if letter.is_control() || is_direction(letter) => {
                    write!(f, "{}", letter.escape_default())?;
                }
                _ => f.write_char(letter)?,
            }
        }
        Ok(())
    }
}

/// Returns whether `letter` controls the direction of text, with which a line can
/// be made to read as another one.
const fn is_direction(letter: char) -> bool {
    matches!(letter, '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn control_characters_are_escaped_and_the_rest_is_not() {
        let text = "a\u{1b}[31mb\r\n\tß\u{9b}\u{202e}";
        assert_eq!(
            Printable::line(text).to_string(),
            "a\\u{1b}[31mb\\r\\n\tß\\u{9b}\\u{202e}"
        );
        assert_eq!(Printable::lines("a\nb\n").to_string(), "a\n    b");
    }
}
