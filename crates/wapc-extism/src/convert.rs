//! Inputs and outputs that are not bytes.

use std::borrow::Cow;

use serde::{Serialize, de::DeserializeOwned};
use wapc_host::BoxError;

/// A value that a plugin's input can be made of.
pub trait ToBytes {
    /// Returns the bytes.
    ///
    /// # Errors
    ///
    /// Any, if there are none.
    fn to_bytes(&self) -> Result<Cow<'_, [u8]>, BoxError>;
}

/// A value that can be made of a plugin's output.
pub trait FromBytes: Sized {
    /// Makes it of the bytes.
    ///
    /// # Errors
    ///
    /// Any, if the bytes are not its.
    fn from_bytes(bytes: &[u8]) -> Result<Self, BoxError>;
}

/// A value as JSON.
///
/// ```
/// use wapc_extism::{FromBytes, Json, ToBytes};
///
/// assert_eq!(Json([1, 2]).to_bytes()?.as_ref(), b"[1,2]");
/// let Json(numbers) = Json::<Vec<u8>>::from_bytes(b"[1,2]")?;
/// assert_eq!(numbers, [1, 2]);
/// # Ok::<(), Box<dyn std::error::Error + Send + Sync>>(())
/// ```
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
#[expect(clippy::exhaustive_structs, reason = "it is a pattern too")]
pub struct Json<T>(pub T);

impl<T: Serialize> ToBytes for Json<T> {
    fn to_bytes(&self) -> Result<Cow<'_, [u8]>, BoxError> {
        Ok(serde_json::to_vec(&self.0)?.into())
    }
}

impl<T: DeserializeOwned> FromBytes for Json<T> {
    fn from_bytes(bytes: &[u8]) -> Result<Self, BoxError> {
        Ok(Self(serde_json::from_slice(bytes)?))
    }
}

impl<T: ToBytes + ?Sized> ToBytes for &T {
    fn to_bytes(&self) -> Result<Cow<'_, [u8]>, BoxError> {
        (**self).to_bytes()
    }
}

impl ToBytes for () {
    fn to_bytes(&self) -> Result<Cow<'_, [u8]>, BoxError> {
        Ok(Cow::Borrowed(&[]))
    }
}

impl FromBytes for () {
    fn from_bytes(_: &[u8]) -> Result<Self, BoxError> {
        Ok(())
    }
}

impl FromBytes for String {
    fn from_bytes(bytes: &[u8]) -> Result<Self, BoxError> {
        Ok(std::str::from_utf8(bytes)?.to_owned())
    }
}

impl FromBytes for Vec<u8> {
    fn from_bytes(bytes: &[u8]) -> Result<Self, BoxError> {
        Ok(bytes.to_vec())
    }
}

macro_rules! bytes {
    ($($of:ty),*) => {$(
        impl ToBytes for $of {
            fn to_bytes(&self) -> Result<Cow<'_, [u8]>, BoxError> {
                Ok(Cow::Borrowed(self.as_ref()))
            }
        }
    )*};
}

bytes!(str, String, [u8], Vec<u8>);

impl<const N: usize> ToBytes for [u8; N] {
    fn to_bytes(&self) -> Result<Cow<'_, [u8]>, BoxError> {
        Ok(Cow::Borrowed(self))
    }
}

/// Numbers are in little-endian bytes, as Extism has them.
macro_rules! numbers {
    ($($of:ty),*) => {$(
        impl ToBytes for $of {
            fn to_bytes(&self) -> Result<Cow<'_, [u8]>, BoxError> {
                Ok(self.to_le_bytes().to_vec().into())
            }
        }

        impl FromBytes for $of {
            fn from_bytes(bytes: &[u8]) -> Result<Self, BoxError> {
                Ok(Self::from_le_bytes(bytes.try_into()?))
            }
        }
    )*};
}

numbers!(u32, i32, u64, i64, f32, f64);
