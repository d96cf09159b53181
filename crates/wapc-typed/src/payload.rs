//! Payloads by their type.

use serde::{Serialize, de::DeserializeOwned};

use crate::{Call, CallError, Codec, CodecError, rt};

/// Bytes that are sent as they are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[expect(clippy::exhaustive_structs, reason = "a wrapper")]
pub struct Raw<T>(pub T);

/// Something that can be a payload.
pub trait ToPayload {
    /// Appends the payload.
    ///
    /// # Errors
    ///
    /// [`CodecError`] if the encoding has no form for the value.
    fn to_payload(&self, out: &mut Vec<u8>) -> Result<(), CodecError>;
}

/// Something that a payload can be.
pub trait FromPayload: Sized {
    /// Reads a payload.
    ///
    /// # Errors
    ///
    /// [`CodecError`] if it is something else.
    fn from_payload(payload: &[u8]) -> Result<Self, CodecError>;
}

macro_rules! encoded {
    ($($(#[$attribute:meta])* $name:ident $codec:ident)*) => {
        $(
            $(#[$attribute])*
            #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
            #[expect(clippy::exhaustive_structs, reason = "a wrapper")]
            pub struct $name<T>(pub T);

            impl<T: Serialize> ToPayload for $name<T> {
                fn to_payload(&self, out: &mut Vec<u8>) -> Result<(), CodecError> {
                    crate::$codec::encode(&self.0, out)
                }
            }

            impl<T: DeserializeOwned> FromPayload for $name<T> {
                fn from_payload(payload: &[u8]) -> Result<Self, CodecError> {
                    crate::$codec::decode(payload).map(Self)
                }
            }
        )*
    };
}

encoded! {
    /// A value that is sent as JSON.
    Json JsonCodec

    /// A value that is sent as MessagePack with the names of fields.
    MsgPack MsgPackCodec
}

#[cfg(feature = "cbor")]
encoded! {
    /// A value that is sent as CBOR with the names of fields.
    Cbor CborCodec
}

#[cfg(feature = "postcard")]
encoded! {
    /// A value that is sent as postcard, without the names of fields.
    Postcard PostcardCodec
}

impl<T: AsRef<[u8]>> ToPayload for Raw<T> {
    fn to_payload(&self, out: &mut Vec<u8>) -> Result<(), CodecError> {
        out.extend_from_slice(self.0.as_ref());
        Ok(())
    }
}

impl FromPayload for Raw<Vec<u8>> {
    fn from_payload(payload: &[u8]) -> Result<Self, CodecError> {
        Ok(Self(payload.to_vec()))
    }
}

impl FromPayload for Raw<String> {
    fn from_payload(payload: &[u8]) -> Result<Self, CodecError> {
        match str::from_utf8(payload) {
            Ok(text) => Ok(Self(text.to_owned())),
            Err(_) => Err(CodecError::new("a text that is not UTF-8")),
        }
    }
}

/// Calls with payloads by their type, without a trait.
///
/// ```
/// use wapc_host::engine::scripted::ScriptedProvider;
/// use wapc_typed::{CallAs, Json};
///
/// let host = ScriptedProvider::echo().host()?;
/// let Json(numbers) = host.call_as::<Json<Vec<u32>>>("echo", &Json([1, 2]))?;
/// assert_eq!(numbers, [1, 2]);
/// let wrong = host.call_as::<Json<u32>>("echo", &Json("text")).unwrap_err();
/// assert_eq!(wrong.to_string(), "the result of `echo` cannot be decoded");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub trait CallAs: Call {
    /// Calls an operation.
    ///
    /// # Errors
    ///
    /// [`CallError`] without a service's own errors.
    fn call_as<R: FromPayload + Send>(
        &self,
        operation: &str,
        payload: &impl ToPayload,
    ) -> Result<R, CallError> {
        rt::call(
            self,
            operation,
            |out| payload.to_payload(out),
            R::from_payload,
            |_| None,
        )
    }
}

impl<T: Call + ?Sized> CallAs for T {}
