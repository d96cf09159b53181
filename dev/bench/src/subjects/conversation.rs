//! The state of a hand-written host in the engine's store: the minimum for waPC.
//!
//! One copy of the request into the guest's memory, one copy of the response out (or
//! none, if it is lent), reused buffers, and all bounds checked.

use std::hint::black_box;
use std::ptr::NonNull;

/// The conversation of one instance whose engine names a memory by `M`.
pub struct Conversation<M> {
    /// Looked up once, after instantiation.
    pub memory: Option<M>,
    request: Option<Request>,
    response: Vec<u8>,
    /// The length of the response. A lent response leaves nothing else.
    responded: Option<usize>,
    host_response: Vec<u8>,
}

/// The caller's request, lent for the duration of one call.
struct Request {
    operation: NonNull<[u8]>,
    payload: NonNull<[u8]>,
}

// SAFETY: the pointers are read only between `begin` and `end`, inside a call that
// borrows what they point to, on the thread that makes that call.
unsafe impl Send for Request {}
// SAFETY: nothing reads a request through a shared reference.
unsafe impl Sync for Request {}

/// A violation of the protocol, which the engines wrap in their own errors.
#[derive(Debug)]
pub struct Broken(&'static str);

impl<M> Default for Conversation<M> {
    fn default() -> Self {
        Self {
            memory: None,
            request: None,
            response: Vec::new(),
            responded: None,
            host_response: Vec::new(),
        }
    }
}

impl<M> Conversation<M> {
    /// # Safety
    ///
    /// `operation` and `payload` must live until [`end`](Self::end).
    #[inline]
    pub unsafe fn begin(&mut self, operation: &str, payload: &[u8]) {
        self.request = Some(Request {
            operation: NonNull::from(operation.as_bytes()),
            payload: NonNull::from(payload),
        });
        self.responded = None;
    }

    /// The length of the response, if there was one.
    #[inline]
    pub fn end(&mut self) -> Option<usize> {
        self.request = None;
        self.responded
    }

    /// The response of the last call, if it was copied.
    #[inline]
    pub fn response(&self) -> &[u8] {
        &self.response
    }

    #[inline]
    pub fn guest_request(&self, memory: &mut [u8], op: i32, msg: i32) -> Result<(), Broken> {
        let request = self.request.as_ref().ok_or(Broken("no request"))?;
        // SAFETY: there is a request only from `begin` to `end`.
        let (operation, payload) =
            unsafe { (request.operation.as_ref(), request.payload.as_ref()) };
        copy_in(memory, op, operation)?;
        copy_in(memory, msg, payload)
    }

    #[inline]
    pub fn guest_response(&mut self, memory: &[u8], ptr: i32, len: i32) -> Result<(), Broken> {
        let response = slice(memory, ptr, len)?;
        self.response.clear();
        self.response.extend_from_slice(response);
        self.responded = Some(response.len());
        Ok(())
    }

    /// Reads the response in the guest's memory.
    #[inline]
    pub fn guest_response_lent(&mut self, memory: &[u8], ptr: i32, len: i32) -> Result<(), Broken> {
        let response = slice(memory, ptr, len)?;
        black_box(read(response));
        self.responded = Some(response.len());
        Ok(())
    }

    /// Answers each host call with its payload.
    #[inline]
    pub fn host_call(
        &mut self,
        memory: &[u8],
        binding: (i32, i32),
        namespace: (i32, i32),
        operation: (i32, i32),
        payload: (i32, i32),
    ) -> Result<i32, Broken> {
        for (ptr, len) in [binding, namespace, operation] {
            let name = str::from_utf8(slice(memory, ptr, len)?);
            black_box(name.map_err(|_| Broken("a name that is not UTF-8"))?);
        }
        let payload = slice(memory, payload.0, payload.1)?;
        self.host_response.clear();
        self.host_response.extend_from_slice(payload);
        Ok(1)
    }

    #[inline]
    pub fn host_response_len(&self) -> i32 {
        self.host_response.len() as i32
    }

    #[inline]
    pub fn host_response(&self, memory: &mut [u8], ptr: i32) -> Result<(), Broken> {
        copy_in(memory, ptr, &self.host_response)
    }
}

/// Reads a lent response, in every subject that lends: the minimum that proves its
/// presence.
#[inline]
pub fn read(response: &[u8]) -> (Option<u8>, Option<u8>) {
    (response.first().copied(), response.last().copied())
}

#[inline]
fn copy_in(memory: &mut [u8], ptr: i32, bytes: &[u8]) -> Result<(), Broken> {
    let start = ptr as u32 as usize;
    memory
        .get_mut(start..)
        .and_then(|memory| memory.get_mut(..bytes.len()))
        .ok_or(Broken("a pointer out of bounds"))?
        .copy_from_slice(bytes);
    Ok(())
}

#[inline]
fn slice(memory: &[u8], ptr: i32, len: i32) -> Result<&[u8], Broken> {
    let (start, len) = (ptr as u32 as usize, len as u32 as usize);
    memory
        .get(start..)
        .and_then(|memory| memory.get(..len))
        .ok_or(Broken("a pointer out of bounds"))
}

impl std::fmt::Display for Broken {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.0)
    }
}

impl std::error::Error for Broken {}
