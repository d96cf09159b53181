//! The hosts that may be asked, by name, pattern or address.

use std::net::IpAddr;

use crate::addresses::is_public;

/// A list of the hosts that may be asked. The default is empty: no host may.
///
/// An entry is a name, a pattern, or an IP address. In a pattern, `*` stands for
/// any number of characters, dots included, `?` for one, `[a-z]` for one of a
/// set (`[!a-z]`: for one outside of it) and `{com,org}` for one of several
/// texts. Upper and lower case are the same; ports and schemes are not
/// looked at.
///
/// An address in a URL must be listed as an address: no pattern allows it. A
/// name must resolve to public addresses, unless its address is listed too, or
/// `localhost` is and the name resolves to the loopback.
///
/// ```
/// use wapc_net::AllowedHosts;
///
/// let allowed = AllowedHosts::new(["api.example.com", "*.example.{org,net}", "127.0.0.1"])?;
/// assert!(allowed.allows("API.example.com"));
/// assert!(allowed.allows("a.b.example.net"));
/// assert!(!allowed.allows("example.com"));
/// assert!(!AllowedHosts::new(["*"])?.allows("10.0.0.1"));
/// # Ok::<(), wapc_net::PatternError>(())
/// ```
#[derive(Clone, Debug, Default)]
pub struct AllowedHosts {
    patterns: Vec<Vec<Token>>,
    addresses: Vec<IpAddr>,
    loopback: bool,
}

/// The reason why an entry of [`AllowedHosts`] is refused.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum PatternError {
    /// A `[` or `{` without its end, or braces within braces.
    #[error("the host pattern `{pattern}` has brackets that do not match, or braces in braces")]
    Brackets {
        /// The entry.
        pattern: String,
    },
    /// Braces that stand for more than 256 patterns.
    #[error(
        "the host pattern `{pattern}` stands for more than 256 patterns; list its hosts instead"
    )]
    TooMany {
        /// The entry.
        pattern: String,
    },
}

#[derive(Clone, Debug)]
enum Token {
    One(char),
    AnyOne,
    AnyMany,
    Set {
        outside: bool,
        ranges: Vec<(char, char)>,
    },
}

const MAX_ALTERNATIVES: usize = 256;

impl AllowedHosts {
    /// Makes a list of these entries.
    ///
    /// # Errors
    ///
    /// [`PatternError`] for a pattern that cannot be read.
    pub fn new<S: AsRef<str>>(hosts: impl IntoIterator<Item = S>) -> Result<Self, PatternError> {
        let mut list = Self::default();
        for host in hosts {
            let host = normalized(host.as_ref());
            if let Some(address) = literal(&host) {
                list.addresses.push(address);
                continue;
            }
            list.loopback |= host == "localhost";
            for alternative in alternatives(&host)? {
                list.patterns.push(tokens(&alternative, &host)?);
            }
        }
        Ok(list)
    }

    /// Whether a URL may name this host.
    #[must_use]
    pub fn allows(&self, host: &str) -> bool {
        let host = normalized(host);
        if let Some(address) = literal(&host) {
            return self.addresses.contains(&address);
        }
        // The system reads `2130706433` and `0x7f.1` as addresses.
        let last = host.rsplit('.').next().unwrap_or_default();
        if last.is_empty() || last.starts_with(|first: char| first.is_ascii_digit()) {
            return false;
        }
        let host: Vec<char> = host.chars().collect();
        self.patterns.iter().any(|pattern| matches(pattern, &host))
    }

    /// Whether a connection for an allowed host may go to this address.
    #[must_use]
    pub fn allows_address(&self, address: IpAddr) -> bool {
        let address = address.to_canonical();
        is_public(address)
            || self.addresses.contains(&address)
            || (self.loopback && address.is_loopback())
    }
}

/// A host in one form: lower case, without a final dot.
fn normalized(host: &str) -> String {
    let host = host.strip_suffix('.').unwrap_or(host);
    host.to_ascii_lowercase()
}

fn literal(host: &str) -> Option<IpAddr> {
    let inner = host
        .strip_prefix('[')
        .and_then(|host| host.strip_suffix(']'));
    let address: IpAddr = inner.unwrap_or(host).parse().ok()?;
    Some(address.to_canonical())
}

/// What braces stand for, written out.
fn alternatives(pattern: &str) -> Result<Vec<String>, PatternError> {
    let brackets = || PatternError::Brackets {
        pattern: pattern.to_owned(),
    };
    let mut all = vec![String::new()];
    let mut rest = pattern;
    while let Some((before, braces)) = rest.split_once('{') {
        let (inside, after) = braces.split_once('}').ok_or_else(brackets)?;
        if before.contains('}') || inside.contains('{') {
            return Err(brackets());
        }
        let choices: Vec<&str> = inside.split(',').collect();
        if all.len().saturating_mul(choices.len()) > MAX_ALTERNATIVES {
            return Err(PatternError::TooMany {
                pattern: pattern.to_owned(),
            });
        }
        let with = |start: &String, choice: &&str| format!("{start}{before}{choice}");
        all = all
            .iter()
            .flat_map(|start| choices.iter().map(move |choice| with(start, choice)))
            .collect();
        rest = after;
    }
    if rest.contains('}') {
        return Err(brackets());
    }
    all.iter_mut().for_each(|pattern| pattern.push_str(rest));
    Ok(all)
}

fn tokens(alternative: &str, pattern: &str) -> Result<Vec<Token>, PatternError> {
    let brackets = || PatternError::Brackets {
        pattern: pattern.to_owned(),
    };
    let mut tokens = Vec::new();
    let mut rest = alternative.chars();
    while let Some(next) = rest.next() {
        tokens.push(match next {
            '*' => Token::AnyMany,
            '?' => Token::AnyOne,
            '[' => {
                let (inside, after) = rest.as_str().split_once(']').ok_or_else(brackets)?;
                rest = after.chars();
                set(inside)
            }
            ']' => return Err(brackets()),
            one => Token::One(one),
        });
    }
    Ok(tokens)
}

fn set(inside: &str) -> Token {
    let outside = inside.starts_with(['!', '^']);
    let mut rest: &[char] = &inside
        .chars()
        .skip(usize::from(outside))
        .collect::<Vec<_>>();
    let mut ranges = Vec::new();
    while let Some((first, after)) = rest.split_first() {
        if let ['-', last, after @ ..] = after {
            ranges.push((*first, *last));
            rest = after;
        } else {
            ranges.push((*first, *first));
            rest = after;
        }
    }
    Token::Set { outside, ranges }
}

impl Token {
    fn accepts(&self, found: char) -> bool {
        match self {
            Self::One(one) => *one == found,
            Self::AnyOne | Self::AnyMany => true,
            Self::Set { outside, ranges } => {
                *outside
                    != ranges
                        .iter()
                        .any(|(first, last)| (*first..=*last).contains(&found))
            }
        }
    }
}

/// Tries the shortest run for each `*`, and on a mismatch a longer one for the
/// last of them: at most pattern times text steps.
fn matches(pattern: &[Token], text: &[char]) -> bool {
    let (mut token, mut at) = (0, 0);
    let mut last_star: Option<(usize, usize)> = None;
    while let Some(found) = text.get(at) {
        match pattern.get(token) {
            Some(Token::AnyMany) => {
                last_star = Some((token, at));
                token += 1;
            }
            Some(one) if one.accepts(*found) => {
                token += 1;
                at += 1;
            }
            _ => match &mut last_star {
                Some((star, from)) => {
                    *from += 1;
                    (token, at) = (*star + 1, *from);
                }
                None => return false,
            },
        }
    }
    pattern
        .iter()
        .skip(token)
        .all(|rest| matches!(rest, Token::AnyMany))
}

#[cfg(test)]
mod tests {
    use super::{AllowedHosts, PatternError};

    fn allows(pattern: &str, host: &str) -> bool {
        AllowedHosts::new([pattern]).unwrap().allows(host)
    }

    #[test]
    fn patterns() {
        for (pattern, host, allowed) in [
            ("example.com", "example.com", true),
            ("example.com", "EXAMPLE.COM.", true),
            ("Example.com", "example.com", true),
            ("example.com", "example.com.evil.org", false),
            ("example.com", "www.example.com", false),
            ("*.example.com", "www.example.com", true),
            ("*.example.com", "a.b.example.com", true),
            ("*.example.com", "example.com", false),
            ("*.example.com", "evilexample.com", false),
            (
                "jsonplaceholder.*.com",
                "jsonplaceholder.typicode.com",
                true,
            ),
            ("a?c.com", "abc.com", true),
            ("a?c.com", "ac.com", false),
            ("[a-c]x.com", "bx.com", true),
            ("[!a-c]x.com", "bx.com", false),
            ("[a-]x.com", "-x.com", true),
            ("x.{com,org}", "x.org", true),
            ("x.{com,org}", "x.net", false),
            ("{a,b}.{c,d}.com", "b.c.com", true),
            ("*", "anything.example", true),
            ("*", "", false),
            ("*a*b*c*", "xxaxxbxxcxx", true),
            ("*a*b*c*", "xxaxxcxxbxx", false),
            ("", "", false),
        ] {
            assert_eq!(allows(pattern, host), allowed, "{pattern} {host}");
        }
    }

    #[test]
    fn no_pattern_allows_an_address() {
        for host in [
            "127.0.0.1",
            "[::1]",
            "10.0.0.1",
            "2130706433",
            "0x7f.1",
            "127.1",
            "017700000001",
            "a.0x7f",
        ] {
            assert!(!allows("*", host), "{host}");
            assert!(!allows("**", host), "{host}");
        }
        assert!(allows("127.0.0.1", "127.0.0.1"));
        assert!(allows("::1", "[::1]"));
        assert!(allows("[::1]", "[0:0:0:0:0:0:0:1]"));
        assert!(allows("10.0.0.1", "[::ffff:10.0.0.1]"));
        assert!(!allows("127.0.0.1", "2130706433"));
    }

    #[test]
    fn inner_addresses_must_be_listed() {
        let allowed = |list: &[&str], address: &str| {
            AllowedHosts::new(list)
                .unwrap()
                .allows_address(address.parse().unwrap())
        };
        assert!(allowed(&["a.com"], "1.1.1.1"));
        assert!(!allowed(&["a.com"], "127.0.0.1"));
        assert!(!allowed(&["a.com", "*"], "::1"));
        assert!(allowed(&["a.com", "localhost"], "127.0.0.1"));
        assert!(allowed(&["a.com", "localhost"], "::ffff:127.0.0.1"));
        assert!(!allowed(&["a.com", "localhost"], "10.0.0.1"));
        assert!(allowed(&["a.com", "10.0.0.1"], "10.0.0.1"));
        assert!(!allowed(&["a.com", "10.0.0.1"], "10.0.0.2"));
    }

    #[test]
    fn what_cannot_be_read_is_refused() {
        for pattern in ["a[b", "a]b", "a{b", "a}b", "{a,{b,c}}", "a{b}}"] {
            let refused = AllowedHosts::new([pattern]).unwrap_err();
            assert_eq!(
                refused,
                PatternError::Brackets {
                    pattern: pattern.into()
                }
            );
        }
        let many = "{a,b}".repeat(9);
        assert!(matches!(
            AllowedHosts::new([many]),
            Err(PatternError::TooMany { .. })
        ));
        assert!(AllowedHosts::new(["{a,b}".repeat(8)]).is_ok());
    }
}
