//! An error with its causes.

use std::{error::Error, fmt};

use crate::text::Printable;

/// Displays an error with all its causes: on one line by `{}`, on a line for each
/// by `{:#}`. Control characters are escaped ([`Printable`]).
///
/// The errors of this crate have a method `report` for it.
///
/// ```
/// use wapc_host::{engine::scripted::ScriptedProvider, error::{Report, Trap, TrapCode}};
///
/// let guest = ScriptedProvider::new(|_, _, _| Err(Trap::new(TrapCode::Unreachable, vec![]).into()));
/// let error = guest.host()?.call("crash", b"").unwrap_err();
/// assert_eq!(
///     error.report().to_string(),
///     "the guest trapped in operation `crash`: unreachable",
/// );
/// assert_eq!(
///     format!("{:#}", error.report()),
///     "the guest trapped in operation `crash`\n  caused by: unreachable",
/// );
///
/// // Any error:
/// let error = "7x".parse::<u8>().unwrap_err();
/// assert_eq!(Report::new(&error).to_string(), "invalid digit found in string");
/// # Ok::<(), wapc_host::Error>(())
/// ```
#[derive(Clone, Copy, Debug)]
pub struct Report<'e>(&'e (dyn Error + 'static));

impl<'e> Report<'e> {
    /// Creates a report of `error`.
    #[must_use]
    pub const fn new(error: &'e (dyn Error + 'static)) -> Self {
        Self(error)
    }
}

impl fmt::Display for Report<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let several_lines = f.alternate();
        let mut next = Some(self.0);
        while let Some(error) = next {
            if !std::ptr::eq(error, self.0) {
                f.write_str(if several_lines {
                    "\n  caused by: "
                } else {
                    ": "
                })?;
            }
            let text = error.to_string();
            match several_lines {
                true => Printable::lines(&text).fmt(f)?,
                false => Printable::line(text.trim_end()).fmt(f)?,
            }
            next = error.source();
        }
        Ok(())
    }
}

/// Adds the method `report` to errors.
macro_rules! reports {
    ($($error:ty),*) => {$(
        impl $error {
            /// Displays this error with all its causes: on one line by `{}`, on a
            /// line for each by `{:#}`.
            #[must_use]
            pub const fn report(&self) -> Report<'_> {
                Report::new(self)
            }
        }
    )*};
}

reports!(
    super::Error,
    super::EngineError,
    super::ModuleError,
    super::StopReason
);

#[cfg(test)]
mod tests {
    use std::io;

    use crate::error::{EngineError, Error};

    #[test]
    fn each_cause_is_told_once_and_cannot_forge_a_line() {
        let cause = io::Error::other("first\nerror: forged\x1b[2J\n");
        let error = Error::Init(EngineError::Other(cause.into()));
        assert_eq!(
            error.report().to_string(),
            "no instance of the guest could be made: the engine failed: first\\nerror: forged\\u{1b}[2J"
        );
        assert_eq!(
            format!("{:#}", error.report()),
            "no instance of the guest could be made\n  caused by: the engine failed\n  \
             caused by: first\n    error: forged\\u{1b}[2J"
        );
    }
}
