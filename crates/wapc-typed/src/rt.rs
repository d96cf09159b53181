//! The functions that the macros' code calls. Not for programs.

use std::{
    cell::RefCell,
    pin::pin,
    task::{Context, Poll, Waker},
};

use serde::{Deserialize, Serialize, de::DeserializeOwned};

#[cfg(target_arch = "wasm32")]
pub use crate::Call as CallAwaited;
#[cfg(not(target_arch = "wasm32"))]
use crate::CallAsync;
#[cfg(not(target_arch = "wasm32"))]
pub use crate::CallAsync as CallAwaited;
use crate::{Call, Codec, CodecError, Failure, MsgPackCodec, ServeError};
pub use crate::{
    borrowed::{Bytes, Text},
    describe::{Known, Rope, Unknown, text},
    error::CallError,
};

/// An instance of new code, which a probe may call.
#[cfg(not(target_arch = "wasm32"))]
pub type Candidate<'h> = wapc_host::CheckedOut<'h>;

/// The outcome of a probe.
#[cfg(not(target_arch = "wasm32"))]
pub type Probed = Result<(), wapc_host::BoxError>;

/// Checks a module against the text of a client's own descriptor.
#[cfg(not(target_arch = "wasm32"))]
pub fn check(own: &str, module: &[u8]) -> Result<(), crate::CheckError> {
    crate::compare::check(own, module)
}

thread_local! {
    /// The buffer of the last payload, so that a call allocates none.
    static BUFFER: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
}

/// A buffer that is larger is not kept.
const MAX_KEPT_BYTES: usize = 64 << 10;

/// Calls an operation: encodes, calls, decodes from the guest's memory.
pub fn call<C: Call + ?Sized, R: Send, E>(
    caller: &C,
    operation: &str,
    encode: impl FnOnce(&mut Vec<u8>) -> Result<(), CodecError>,
    decode: impl Fn(&[u8]) -> Result<R, CodecError> + Send,
    own: impl FnOnce(&str) -> Option<E>,
) -> Result<R, CallError<E>> {
    // Taken and not borrowed: a callback may make another typed call meanwhile.
    let mut payload = BUFFER.with(RefCell::take);
    payload.clear();
    let called = match encode(&mut payload) {
        Ok(()) => caller.call_bytes(operation, &payload, decode),
        Err(source) => {
            return Err(CallError::Encode {
                operation: operation.to_owned(),
                source,
            });
        }
    };
    if payload.capacity() <= MAX_KEPT_BYTES {
        BUFFER.with(|buffer| buffer.replace(payload));
    }
    match called {
        Ok(decoded) => decoded.map_err(|source| CallError::Decode {
            operation: operation.to_owned(),
            source,
        }),
        Err(failure) => Err(failed(operation, failure, own)),
    }
}

/// Calls an operation like [`call`], and awaits it.
#[cfg(not(target_arch = "wasm32"))]
pub async fn call_async<C: CallAsync + ?Sized, R, E>(
    caller: &C,
    operation: &str,
    payload: Result<Vec<u8>, CodecError>,
    decode: impl Fn(&[u8]) -> Result<R, CodecError>,
    own: impl FnOnce(&str) -> Option<E>,
) -> Result<R, CallError<E>> {
    let payload = payload.map_err(|source| CallError::Encode {
        operation: operation.to_owned(),
        source,
    })?;
    match caller.call_bytes_async(operation, payload).await {
        Ok(response) => decode(&response).map_err(|source| CallError::Decode {
            operation: operation.to_owned(),
            source,
        }),
        Err(failure) => Err(failed(operation, failure, own)),
    }
}

/// An error that a client's method of the trait can end in: all that are `From<CallError<Self>>`.
///
/// The caller is a parameter, so that a client whose service has another error is without the trait, and
/// not refused by the compiler.
pub trait FromCall<C>: Sized {
    fn from_call(error: CallError<Self>) -> Self;
}

impl<C, E: From<CallError<E>>> FromCall<C> for E {
    fn from_call(error: CallError<E>) -> E {
        error.into()
    }
}

/// Polls an async method in a guest, which cannot wait.
pub fn poll_once<T>(operation: &str, future: impl Future<Output = T>) -> Result<T, ServeError> {
    match pin!(future).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(outcome) => Ok(outcome),
        Poll::Pending => Err(ServeError::Pending {
            operation: operation.to_owned(),
        }),
    }
}

fn failed<E>(
    operation: &str,
    failure: Failure,
    own: impl FnOnce(&str) -> Option<E>,
) -> CallError<E> {
    match failure {
        Failure::Text(text) => CallError::of_text(operation, text, own),
        #[cfg(not(target_arch = "wasm32"))]
        Failure::Host(error) => CallError::Host(error),
    }
}

/// Encodes by MessagePack.
pub fn encode<T: Serialize + ?Sized>(value: &T, out: &mut Vec<u8>) -> Result<(), CodecError> {
    MsgPackCodec::encode(value, out)
}

/// Decodes by MessagePack.
pub fn decode<'b, T: Deserialize<'b>>(bytes: &'b [u8]) -> Result<T, CodecError> {
    MsgPackCodec::decode(bytes)
}

/// An error of a service on the wire: one line of JSON.
#[derive(Serialize, Deserialize)]
struct OnTheWire<E> {
    error: E,
}

/// Returns the text of a service's own error.
pub fn error_text<E: Serialize>(error: E) -> String {
    serde_json::to_string(&OnTheWire { error })
        .unwrap_or_else(|_| "the service's error cannot be encoded".to_owned())
}

/// Returns the service's own error, if the text is one.
pub fn own_error<E: DeserializeOwned>(text: &str) -> Option<E> {
    let own: OnTheWire<E> = crate::msgpack::from_json(text, &mut Vec::new())?;
    Some(own.error)
}
