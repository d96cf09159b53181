//! The request of an async call, which the guest's state owns.
//!
//! The future of an async call may be forgotten, and then nothing takes back
//! what it has lent. So it lends nothing: the state owns the request and the
//! response until the call ends, or until the instance is dropped.

use std::{fmt, mem};

use bytes::Bytes;

use crate::protocol::payload::{Payload, PayloadBytes};

/// The request and the response of the state's async call, if one is running.
#[derive(Default)]
pub(crate) struct OwnedRequest {
    is_running: bool,
    operation: String,
    /// The payload, unless it is shared.
    payload: Vec<u8>,
    shared: Option<Bytes>,
    response: Vec<u8>,
}

impl OwnedRequest {
    /// Begins a call: takes the payload, and the buffer for the response.
    #[inline]
    pub(crate) fn begin(
        &mut self,
        operation: &str,
        payload: &mut Payload<'_>,
        response: &mut Vec<u8>,
    ) {
        self.operation.clear();
        self.operation.push_str(operation);
        self.shared = None;
        match &mut payload.0 {
            PayloadBytes::Borrowed(bytes) => fill(&mut self.payload, bytes),
            PayloadBytes::Owned(bytes) => mem::swap(&mut self.payload, bytes),
            PayloadBytes::Shared(bytes) => self.shared = Some(mem::take(bytes)),
        }
        // The state's own is empty, and swapping two costs less than to take
        // one and to drop the other.
        mem::swap(&mut self.response, response);
        self.is_running = true;
    }

    /// Ends the call, if one is running, and gives the response.
    #[inline]
    pub(crate) fn end(&mut self, response: &mut Vec<u8>) {
        self.is_running = false;
        let kept = self.payload.capacity().max(self.operation.capacity());
        if kept > MAX_KEPT_BYTES || self.shared.is_some() {
            self.release();
        }
        mem::swap(&mut self.response, response);
    }

    /// Frees what is not kept for the next call.
    #[cold]
    fn release(&mut self) {
        self.shared = None;
        if self.payload.capacity() > MAX_KEPT_BYTES {
            self.payload = Vec::new();
        }
        if self.operation.capacity() > MAX_KEPT_BYTES {
            self.operation = String::new();
        }
    }

    /// Returns the operation's name and the payload, or `None` outside a call.
    #[inline]
    pub(crate) fn request(&self) -> Option<(&[u8], &[u8])> {
        self.is_running.then(|| {
            let payload = self.shared.as_deref().unwrap_or(&self.payload);
            (self.operation.as_bytes(), payload)
        })
    }

    /// Returns the buffer for the response, or `None` outside a call.
    #[inline]
    pub(crate) fn response(&mut self) -> Option<&mut Vec<u8>> {
        self.is_running.then_some(&mut self.response)
    }
}

/// Replaces the contents of `buffer`.
#[inline]
pub(crate) fn fill(buffer: &mut Vec<u8>, bytes: &[u8]) {
    // `to_vec` allocates exactly as much as is needed.
    if buffer.capacity() == 0 {
        *buffer = bytes.to_vec();
    } else {
        buffer.clear();
        buffer.extend_from_slice(bytes);
    }
}

impl fmt::Debug for OwnedRequest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("OwnedRequest")
            .field(
                "payload_bytes",
                &self.request().map(|(_, payload)| payload.len()),
            )
            .finish_non_exhaustive()
    }
}

/// The largest buffers for names and payloads that an instance keeps between
/// calls.
const MAX_KEPT_BYTES: usize = 64 * 1024;

#[cfg(test)]
mod tests {
    use super::*;

    fn begin(owned: &mut OwnedRequest, operation: &str, mut payload: Payload<'_>) {
        owned.begin(operation, &mut payload, &mut vec![]);
    }

    fn end(owned: &mut OwnedRequest) -> Vec<u8> {
        let mut response = vec![];
        owned.end(&mut response);
        response
    }

    #[test]
    fn outside_a_call_there_is_nothing() {
        let mut owned = OwnedRequest::default();
        assert!(owned.request().is_none() && owned.response().is_none());
        let mut buffer = b"before".to_vec();
        owned.begin("op", &mut Payload::from(b"payload"), &mut buffer);
        assert_eq!(buffer.capacity(), 0);
        assert_eq!(owned.request(), Some((&b"op"[..], &b"payload"[..])));
        fill(owned.response().unwrap(), b"response");
        assert_eq!(end(&mut owned), b"response");
        assert!(owned.request().is_none() && owned.response().is_none());
        assert_eq!(end(&mut owned), b"");
    }

    #[test]
    fn owned_and_shared_payloads_are_not_copied() {
        let mut owned = OwnedRequest::default();
        let vec = vec![7; 1 << 20];
        let bytes = Bytes::from(vec![9; 1 << 20]);
        for (place, payload) in [
            (vec.as_ptr(), Payload::from(vec)),
            (bytes.as_ptr(), Payload::from(bytes)),
        ] {
            begin(&mut owned, "op", payload);
            let (_, payload) = owned.request().unwrap();
            assert_eq!((payload.as_ptr(), payload.len()), (place, 1 << 20));
            end(&mut owned);
            // So large a buffer is not kept.
            assert_eq!(owned.payload.capacity(), 0);
            assert!(owned.shared.is_none());
        }
    }

    #[test]
    fn borrowed_payloads_share_a_buffer() {
        let mut owned = OwnedRequest::default();
        begin(&mut owned, "first", Payload::from(&[7; 100]));
        let place = owned.payload.as_ptr();
        end(&mut owned);
        begin(&mut owned, "other", Payload::from(&[9; 50]));
        assert_eq!(owned.payload.as_ptr(), place);
        assert_eq!(owned.request(), Some((&b"other"[..], &[9; 50][..])));
        end(&mut owned);
        // A shared payload goes before what is left in the buffer.
        begin(&mut owned, "op", Payload::from(Bytes::from_static(b"")));
        assert_eq!(owned.request(), Some((&b"op"[..], &b""[..])));
        end(&mut owned);
        begin(&mut owned, "op", Payload::default());
        assert_eq!(owned.request(), Some((&b"op"[..], &b""[..])));
    }
}
