//! Access to the memory of a guest that a host function has suspended, by messages: the
//! function's future cannot borrow it, so that who polls the future serves its requests.

use std::{
    future::poll_fn,
    mem,
    sync::Arc,
    task::{Poll, Waker},
};

use parking_lot::Mutex;

use super::call::FunctionGuest;
use crate::error::MemoryError;

/// Returns a range of the guest's memory. An empty one may be anywhere, as everywhere in waPC.
pub(super) fn range(
    memory: &mut [u8],
    pointer: u32,
    length: usize,
) -> Result<&mut [u8], MemoryError> {
    let error = MemoryError::OutOfBounds {
        pointer,
        length,
        memory: memory.len(),
    };
    if length == 0 {
        return Ok(&mut []);
    }
    let start = pointer as usize;
    let end = start.checked_add(length).ok_or(error)?;
    memory.get_mut(start..end).ok_or(error)
}

/// The requests of a host function that its guest's driver serves.
#[derive(Default)]
pub(crate) struct Mailbox(Mutex<Mail>);

#[derive(Default)]
struct Mail {
    requests: Vec<Request>,
    /// Wakes the driver.
    driver: Option<Waker>,
    is_closed: bool,
}

/// Called with the guest, or with `None` if there is none any more.
type Request = Box<dyn FnOnce(Option<&mut dyn FunctionGuest>) + Send>;

/// The place of a reply.
struct Reply<T> {
    /// `Some(None)` if the guest is gone.
    value: Option<Option<T>>,
    waker: Waker,
}

impl Mailbox {
    /// Has the driver run `access`, and returns its result.
    pub(super) async fn access<T: Send + 'static>(
        &self,
        access: impl FnOnce(&mut dyn FunctionGuest) -> T + Send + 'static,
    ) -> Result<T, MemoryError> {
        let mut access = Some(access);
        let mut awaited: Option<Arc<Mutex<Reply<T>>>> = None;
        poll_fn(move |context| {
            if let Some(reply) = &awaited {
                let mut reply = reply.lock();
                if let Some(value) = reply.value.take() {
                    return Poll::Ready(value.ok_or(MemoryError::Gone));
                }
                reply.waker.clone_from(context.waker());
                return Poll::Pending;
            }
            let Some(access) = access.take() else {
                return Poll::Ready(Err(MemoryError::Gone));
            };
            let reply = Arc::new(Mutex::new(Reply {
                value: None,
                waker: context.waker().clone(),
            }));
            let replied = Arc::clone(&reply);
            let request: Request = Box::new(move |guest| {
                let value = guest.map(access);
                let mut reply = replied.lock();
                reply.value = Some(value);
                let waker = reply.waker.clone();
                drop(reply);
                waker.wake();
            });
            if !self.post(request) {
                return Poll::Ready(Err(MemoryError::Gone));
            }
            awaited = Some(reply);
            Poll::Pending
        })
        .await
    }

    /// Returns `false` if nobody will serve the request.
    fn post(&self, request: Request) -> bool {
        let mut mail = self.0.lock();
        if mail.is_closed {
            return false;
        }
        mail.requests.push(request);
        let driver = mail.driver.clone();
        drop(mail);
        if let Some(driver) = driver {
            driver.wake();
        }
        true
    }

    /// Sets the waker for requests that come while nobody serves.
    pub(super) fn set_driver(&self, waker: &Waker) {
        let mut mail = self.0.lock();
        match &mut mail.driver {
            Some(driver) => driver.clone_from(waker),
            None => mail.driver = Some(waker.clone()),
        }
    }

    /// Serves all requests. Returns `false` if there were none.
    pub(super) fn serve(&self, guest: &mut dyn FunctionGuest) -> bool {
        let requests = mem::take(&mut self.0.lock().requests);
        let has_some = !requests.is_empty();
        for request in requests {
            request(Some(guest));
        }
        has_some
    }

    /// Refuses all requests from now on.
    pub(super) fn close(&self) {
        let mut mail = self.0.lock();
        mail.is_closed = true;
        mail.driver = None;
        let requests = mem::take(&mut mail.requests);
        drop(mail);
        for request in requests {
            request(None);
        }
    }
}
