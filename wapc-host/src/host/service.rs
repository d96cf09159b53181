//! A guest module, called from any thread.

use std::{fmt, sync::Arc};

use super::{lease::Lease, shared::HostShared, stats::Stats};
use crate::{error::Error, limits::call::CallOptions, limits::guest::Limits};

/// A guest module that is called by operation name, and whose code can be
/// replaced while it is called.
///
/// It is `Send + Sync` and called through `&self`; share it in an `Arc`. By
/// default it has one instance of the guest, whose state lives on from call to
/// call, and threads that call at the same time take turns.
/// [`HostBuilder::max_instances`](crate::HostBuilder::max_instances) sets another number: then a call takes an
/// idle instance, or makes one while there are fewer, or waits its turn.
///
/// An instance that trapped, exited, broke the protocol, met a limit, ran out
/// of time or was cancelled is dropped, and the next call gets a new one.
pub struct WapcHost {
    pub(crate) shared: Arc<HostShared>,
}

impl WapcHost {
    /// This host's number, which no other host in the process has: the first
    /// argument of the callback.
    #[must_use]
    pub fn id(&self) -> u64 {
        self.shared.id
    }

    /// The number of the code that calls run on: 1, and one more after each
    /// swap and rollback.
    #[must_use]
    pub fn generation(&self) -> u64 {
        self.shared.generation()
    }

    /// What a guest may use.
    #[must_use]
    pub fn limits(&self) -> &Limits {
        &self.shared.limits
    }

    /// The host's numbers at this moment. Costs calls nothing.
    #[must_use]
    pub fn stats(&self) -> Stats {
        self.shared.stats()
    }

    /// Calls the guest's `operation` with `payload` and returns its response.
    ///
    /// # Errors
    ///
    /// Any variant of [`Error`]; each says what became of the instance.
    ///
    /// # Panics
    ///
    /// If the host callback panics, with its panic. The host stays usable.
    pub fn call(&self, operation: &str, payload: &[u8]) -> Result<Vec<u8>, Error> {
        self.shared
            .lease(operation, None)?
            .call(operation, payload, None)
    }

    /// Like [`WapcHost::call`], with the response in `response`: cleared
    /// first, and grown where it must be. After an error its contents are
    /// unspecified.
    ///
    /// A buffer that is used again and again makes calls without allocation.
    ///
    /// # Errors
    ///
    /// As [`WapcHost::call`].
    ///
    /// # Panics
    ///
    /// As [`WapcHost::call`].
    pub fn call_into(
        &self,
        operation: &str,
        payload: &[u8],
        response: &mut Vec<u8>,
    ) -> Result<(), Error> {
        self.shared
            .lease(operation, None)?
            .call_into(operation, payload, response, None)
    }

    /// Like [`WapcHost::call`], lending the response to `read` in the guest's
    /// memory, without copying it out. Returns what `read` returned.
    ///
    /// `read` runs inside the guest's call: while it does, the guest waits, and
    /// holds its instance. A guest that responds several times has each
    /// response read; the last result counts.
    ///
    /// # Errors
    ///
    /// As [`WapcHost::call`]. `read` may have run all the same: a guest can
    /// fail after its response.
    ///
    /// # Panics
    ///
    /// As [`WapcHost::call`], and if `read` panics, with its panic, after the
    /// guest has finished the call. The instance lives on then.
    pub fn call_with<R: Send>(
        &self,
        operation: &str,
        payload: &[u8],
        read: impl FnMut(&[u8]) -> R + Send,
    ) -> Result<R, Error> {
        self.shared
            .lease(operation, None)?
            .call_with(operation, payload, read, None)
    }

    /// Calls with options of their own: `host.with(&options).call(…)`.
    #[must_use]
    pub const fn with<'h>(&'h self, options: &'h CallOptions) -> CallWith<'h> {
        CallWith {
            host: self,
            options,
        }
    }
}

impl fmt::Debug for WapcHost {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.shared.fmt(f)
    }
}

/// A host with options for the calls through it; see [`WapcHost::with`].
#[derive(Clone, Copy, Debug)]
pub struct CallWith<'h> {
    host: &'h WapcHost,
    options: &'h CallOptions,
}

impl<'h> CallWith<'h> {
    /// As [`WapcHost::call`].
    ///
    /// # Errors
    ///
    /// As [`WapcHost::call`].
    ///
    /// # Panics
    ///
    /// As [`WapcHost::call`].
    pub fn call(&self, operation: &str, payload: &[u8]) -> Result<Vec<u8>, Error> {
        self.lease(operation)?
            .call(operation, payload, Some(self.options))
    }

    /// As [`WapcHost::call_into`].
    ///
    /// # Errors
    ///
    /// As [`WapcHost::call`].
    ///
    /// # Panics
    ///
    /// As [`WapcHost::call`].
    pub fn call_into(
        &self,
        operation: &str,
        payload: &[u8],
        response: &mut Vec<u8>,
    ) -> Result<(), Error> {
        self.lease(operation)?
            .call_into(operation, payload, response, Some(self.options))
    }

    /// As [`WapcHost::call_with`].
    ///
    /// # Errors
    ///
    /// As [`WapcHost::call_with`].
    ///
    /// # Panics
    ///
    /// As [`WapcHost::call_with`].
    pub fn call_with<R: Send>(
        &self,
        operation: &str,
        payload: &[u8],
        read: impl FnMut(&[u8]) -> R + Send,
    ) -> Result<R, Error> {
        self.lease(operation)?
            .call_with(operation, payload, read, Some(self.options))
    }

    pub(crate) const fn host(&self) -> &'h WapcHost {
        self.host
    }

    pub(crate) const fn options(&self) -> &'h CallOptions {
        self.options
    }

    fn lease(&self, operation: &str) -> Result<Lease<'h>, Error> {
        self.host.shared.lease(operation, Some(self.options))
    }
}
