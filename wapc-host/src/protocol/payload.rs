//! The payload of an async call, borrowed or owned.

use std::{borrow::Cow, fmt};

use bytes::Bytes;

/// The payload of an async call.
///
/// An async call owns the bytes that it sends. Owned bytes move into the call
/// without a copy; borrowed ones are copied once, when the call begins, into a
/// buffer that the instance keeps from call to call. The async methods take
/// whatever converts into a payload:
///
/// ```
/// use wapc_host::Payload;
///
/// let borrowed = [Payload::from(b"bytes"), Payload::from("text")];
/// let owned = [
///     Payload::from(vec![0; 1 << 20]),
///     Payload::from(String::from("text")),
///     Payload::from(bytes::Bytes::from_static(b"bytes")),
/// ];
/// assert_eq!(borrowed[1].as_ref(), owned[1].as_ref());
/// ```
pub struct Payload<'p>(pub(crate) PayloadBytes<'p>);

pub(crate) enum PayloadBytes<'p> {
    Borrowed(&'p [u8]),
    Owned(Vec<u8>),
    Shared(Bytes),
}

impl AsRef<[u8]> for Payload<'_> {
    fn as_ref(&self) -> &[u8] {
        match &self.0 {
            PayloadBytes::Borrowed(bytes) => bytes,
            PayloadBytes::Owned(bytes) => bytes,
            PayloadBytes::Shared(bytes) => bytes,
        }
    }
}

/// An empty payload.
impl Default for Payload<'_> {
    fn default() -> Self {
        Self(PayloadBytes::Borrowed(&[]))
    }
}

impl<'p> From<&'p [u8]> for Payload<'p> {
    fn from(bytes: &'p [u8]) -> Self {
        Self(PayloadBytes::Borrowed(bytes))
    }
}

impl<'p, const N: usize> From<&'p [u8; N]> for Payload<'p> {
    fn from(bytes: &'p [u8; N]) -> Self {
        Self::from(bytes.as_slice())
    }
}

impl<'p> From<&'p Vec<u8>> for Payload<'p> {
    fn from(bytes: &'p Vec<u8>) -> Self {
        Self::from(bytes.as_slice())
    }
}

impl<'p> From<&'p str> for Payload<'p> {
    fn from(text: &'p str) -> Self {
        Self::from(text.as_bytes())
    }
}

impl<'p> From<&'p String> for Payload<'p> {
    fn from(text: &'p String) -> Self {
        Self::from(text.as_bytes())
    }
}

impl<'p> From<Cow<'p, [u8]>> for Payload<'p> {
    fn from(bytes: Cow<'p, [u8]>) -> Self {
        match bytes {
            Cow::Borrowed(bytes) => Self::from(bytes),
            Cow::Owned(bytes) => Self::from(bytes),
        }
    }
}

impl From<Vec<u8>> for Payload<'_> {
    fn from(bytes: Vec<u8>) -> Self {
        Self(PayloadBytes::Owned(bytes))
    }
}

impl From<Box<[u8]>> for Payload<'_> {
    fn from(bytes: Box<[u8]>) -> Self {
        Self::from(bytes.into_vec())
    }
}

impl From<String> for Payload<'_> {
    fn from(text: String) -> Self {
        Self::from(text.into_bytes())
    }
}

impl From<Bytes> for Payload<'_> {
    fn from(bytes: Bytes) -> Self {
        Self(PayloadBytes::Shared(bytes))
    }
}

/// Shares the bytes, as a clone of them does.
impl From<&Bytes> for Payload<'_> {
    fn from(bytes: &Bytes) -> Self {
        Self::from(bytes.clone())
    }
}

impl fmt::Debug for Payload<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Payload")
            .field("bytes", &self.as_ref().len())
            .finish_non_exhaustive()
    }
}
