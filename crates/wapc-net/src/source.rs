//! Where a module's bytes come from.

use std::{fs::File, io::Read, path::PathBuf};

use sha2::{Digest, Sha256};

use crate::{HttpClient, HttpError, HttpLimits, HttpRequest};

/// Bytes by path or URL, or at hand, with the digest that they must have.
///
/// ```
/// use wapc_net::{Source, SourceError};
///
/// let source = Source::bytes(*b"hello");
/// assert_eq!(source.fetch(None, 100)?, b"hello");
/// let refused = source.sha256("00").fetch(None, 100);
/// assert!(matches!(refused, Err(SourceError::Digest { .. })));
/// # Ok::<(), SourceError>(())
/// ```
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Source {
    /// Where the bytes are.
    pub location: Location,
    /// The SHA-256 that they must have, in hexadecimal digits of either case.
    pub sha256: Option<String>,
}

/// Where the bytes of a [`Source`] are.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum Location {
    /// At hand.
    Bytes(Vec<u8>),
    /// In a file; a relative path is one from the process's directory.
    Path(PathBuf),
    /// At a URL. Only a status from 200 to 299 counts.
    Url(HttpRequest),
}

/// The reason why a [`Source`] gave no bytes.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SourceError {
    /// A file that cannot be read, or is none.
    #[error("unable to read {}", path.display())]
    File {
        /// The path.
        path: PathBuf,
        /// The cause.
        #[source]
        source: std::io::Error,
    },
    /// A URL where the caller allows none.
    #[error("fetching {url} is not allowed here; pass an HTTP client to allow it")]
    NoClient {
        /// The URL.
        url: String,
    },
    /// A request without a response.
    #[error("unable to fetch {url}")]
    Http {
        /// The URL.
        url: String,
        /// The cause.
        #[source]
        source: HttpError,
    },
    /// A response that is an error.
    #[error("{url} answered with status {status}")]
    Status {
        /// The URL.
        url: String,
        /// Its status, such as 404.
        status: u16,
    },
    /// More bytes than the limit.
    #[error("it has more than {limit} bytes")]
    TooLarge {
        /// The limit.
        limit: usize,
    },
    /// Other bytes than were meant.
    #[error("its SHA-256 is {found}, not {expected}")]
    Digest {
        /// The digest of the bytes.
        found: String,
        /// The digest that was asked for.
        expected: String,
    },
}

impl Source {
    /// A source that is at hand.
    #[must_use]
    pub fn bytes(bytes: impl Into<Vec<u8>>) -> Self {
        Self::at(Location::Bytes(bytes.into()))
    }

    /// A source in a file.
    #[must_use]
    pub fn path(path: impl Into<PathBuf>) -> Self {
        Self::at(Location::Path(path.into()))
    }

    /// A source that a request gets.
    #[must_use]
    pub const fn url(request: HttpRequest) -> Self {
        Self::at(Location::Url(request))
    }

    const fn at(location: Location) -> Self {
        Self {
            location,
            sha256: None,
        }
    }

    /// Sets the digest that the bytes must have.
    #[must_use]
    pub fn sha256(mut self, hexadecimal: impl Into<String>) -> Self {
        self.sha256 = Some(hexadecimal.into());
        self
    }

    /// Returns the bytes, at most `max_bytes` of them. URLs are fetched by
    /// `client`, and refused if there is none.
    ///
    /// # Errors
    ///
    /// [`SourceError`]; a limit and a digest hold for every location.
    pub fn fetch(
        &self,
        client: Option<&HttpClient>,
        max_bytes: usize,
    ) -> Result<Vec<u8>, SourceError> {
        let too_large = SourceError::TooLarge { limit: max_bytes };
        let bytes = match &self.location {
            Location::Bytes(bytes) if bytes.len() > max_bytes => return Err(too_large),
            Location::Bytes(bytes) => bytes.clone(),
            Location::Path(path) => {
                let failed = |source| SourceError::File {
                    path: path.clone(),
                    source,
                };
                let most = u64::try_from(max_bytes).unwrap_or(u64::MAX);
                let mut bytes = Vec::new();
                let file = open(path).map_err(failed)?;
                file.take(most.saturating_add(1))
                    .read_to_end(&mut bytes)
                    .map_err(failed)?;
                if bytes.len() > max_bytes {
                    return Err(too_large);
                }
                bytes
            }
            Location::Url(request) => {
                let url = || request.url.clone();
                let client = client.ok_or_else(|| SourceError::NoClient { url: url() })?;
                let limits = HttpLimits::default().max_response_bytes(max_bytes);
                let response = client
                    .send(request, &limits)
                    .map_err(|source| match source {
                        HttpError::TooLarge { .. } => too_large,
                        source => SourceError::Http { url: url(), source },
                    })?;
                if !(200..300).contains(&response.status) {
                    return Err(SourceError::Status {
                        url: url(),
                        status: response.status,
                    });
                }
                response.body
            }
        };
        self.check(&bytes)?;
        Ok(bytes)
    }

    fn check(&self, bytes: &[u8]) -> Result<(), SourceError> {
        let Some(expected) = &self.sha256 else {
            return Ok(());
        };
        let found: String = Sha256::digest(bytes)
            .iter()
            .map(|byte| format!("{byte:02x}"))
            .collect();
        if found.eq_ignore_ascii_case(expected) {
            return Ok(());
        }
        Err(SourceError::Digest {
            found,
            expected: expected.clone(),
        })
    }
}

/// A regular file: a pipe would be waited for, and a device never ends.
fn open(path: &std::path::Path) -> std::io::Result<File> {
    if !std::fs::metadata(path)?.is_file() {
        return Err(std::io::Error::other("it is not a regular file"));
    }
    File::open(path)
}

#[cfg(test)]
mod tests {
    use super::{Source, SourceError};
    use crate::HttpRequest;

    const HELLO: &str = "2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824";

    #[test]
    fn a_file_is_read_within_its_limit_and_must_have_its_digest() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("module");
        std::fs::write(&path, "hello").unwrap();
        assert_eq!(
            Source::path(&path).sha256(HELLO).fetch(None, 5).unwrap(),
            b"hello"
        );
        assert_eq!(
            Source::path(&path)
                .sha256(HELLO.to_uppercase())
                .fetch(None, 5)
                .unwrap(),
            b"hello"
        );
        let refused = Source::path(&path).fetch(None, 4);
        assert!(
            matches!(refused, Err(SourceError::TooLarge { limit: 4 })),
            "{refused:?}"
        );
        let refused = Source::path(&path)
            .sha256("------")
            .fetch(None, 5)
            .unwrap_err();
        assert_eq!(
            refused.to_string(),
            format!("its SHA-256 is {HELLO}, not ------")
        );
        let refused = Source::path(folder.path()).fetch(None, 5);
        assert!(
            matches!(refused, Err(SourceError::File { .. })),
            "{refused:?}"
        );
        let refused = Source::path(folder.path().join("none")).fetch(None, 5);
        assert!(
            matches!(refused, Err(SourceError::File { .. })),
            "{refused:?}"
        );
    }

    #[test]
    fn a_url_needs_a_client() {
        let refused = Source::url(HttpRequest::new("http://a.com/")).fetch(None, 5);
        assert!(
            matches!(refused, Err(SourceError::NoClient { .. })),
            "{refused:?}"
        );
        let refused = Source::bytes(*b"hello").fetch(None, 4);
        assert!(
            matches!(refused, Err(SourceError::TooLarge { .. })),
            "{refused:?}"
        );
    }
}
