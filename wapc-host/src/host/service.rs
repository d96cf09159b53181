//! The service object and its blocking calls.

use std::{
    fmt,
    sync::{Arc, Weak},
};

use super::{lease::Lease, shared::HostShared, stats::Stats};
use crate::{clock, error::Error, limits::call::CallOptions, limits::guest::Limits};

/// A guest module that is called by operation name, and whose code can be
/// replaced while it is called.
///
/// It is `Send + Sync` and called through `&self`; share it in an `Arc`. By
/// default it has one instance of the guest, which keeps its state from call to
/// call, and concurrent calls run one after the other. With a higher
/// [`HostBuilder::max_instances`](crate::HostBuilder::max_instances), a call
/// uses an idle instance, or makes a new one up to that number, or waits.
///
/// An instance that trapped, exited, broke the protocol, exceeded a limit, ran
/// out of time or was cancelled is dropped, and the next call gets a new one.
///
/// When the host is dropped, its instances, its code and its callback are dropped on
/// the same thread before that returns; one that is moving over to an optimized tier
/// at that moment is dropped by the thread of its [`Tiers`](crate::Tiers).
///
/// ```
/// use std::{sync::Arc, thread};
/// use wapc_host::engine::scripted::ScriptedProvider;
///
/// let host = Arc::new(ScriptedProvider::echo().host()?);
/// let callers = [b"one", b"two"].map(|payload| {
///     let host = Arc::clone(&host);
///     thread::spawn(move || host.call("echo", payload))
/// });
/// for caller in callers {
///     assert_eq!(caller.join().unwrap()?.len(), 3);
/// }
/// # Ok::<(), wapc_host::Error>(())
/// ```
pub struct WapcHost {
    /// Dropped first: nobody else holds the shared part then.
    _registration: clock::Registration,
    pub(crate) shared: Arc<HostShared>,
}

impl WapcHost {
    pub(super) fn registered(shared: Arc<HostShared>) -> Self {
        let client: Weak<HostShared> = Arc::downgrade(&shared);
        Self {
            _registration: clock::register(client),
            shared,
        }
    }

    /// Returns this host's number, which is unique in the process. The callback
    /// gets it as its first argument.
    #[must_use]
    pub fn id(&self) -> u64 {
        self.shared.id
    }

    /// Returns the number of the code that new calls run: 1 at first, and one
    /// more after each swap, rollback and tier-up.
    #[must_use]
    pub fn generation(&self) -> u64 {
        self.shared.generation()
    }

    /// Returns the limits of this host's guests.
    #[must_use]
    pub fn limits(&self) -> &Limits {
        &self.shared.limits
    }

    /// Returns the host's counters at this moment. Reading them does not slow
    /// calls down.
    #[must_use]
    pub fn stats(&self) -> Stats {
        self.shared.stats()
    }

    /// Calls the guest's `operation` with `payload` and returns its response.
    ///
    /// ```
    /// use wapc_host::{Error, engine::scripted::ScriptedProvider};
    ///
    /// let guest = ScriptedProvider::new(|guest, op_length, msg_length| {
    ///     let (operation, payload) = guest.request(op_length, msg_length)?;
    ///     match operation.as_str() {
    ///         "shout" => guest.respond(&payload.to_ascii_uppercase()),
    ///         _ => guest.fail(b"no such operation"),
    ///     }
    /// });
    /// let host = guest.host()?;
    ///
    /// assert_eq!(host.call("shout", b"hello")?, b"HELLO");
    /// assert!(matches!(host.call("sing", b""), Err(Error::Guest { .. })));
    /// # Ok::<(), Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// Any variant of [`Error`] that a call can end in. Each variant says
    /// whether the instance is kept.
    ///
    /// # Panics
    ///
    /// Resumes the panic of the host callback, if that panics. The host stays
    /// usable.
    pub fn call(&self, operation: &str, payload: &[u8]) -> Result<Vec<u8>, Error> {
        self.shared
            .lease(operation, None)?
            .call(operation, payload, None)
    }

    /// Calls the guest's `operation` with `payload` and writes its response to
    /// `response`, which is cleared first and grows as needed.
    ///
    /// A call allocates nothing if the buffer is large enough. After an error,
    /// its contents are unspecified.
    ///
    /// ```
    /// use wapc_host::engine::scripted::ScriptedProvider;
    ///
    /// let host = ScriptedProvider::echo().host()?;
    /// let mut response = Vec::with_capacity(1024);
    /// for payload in ["first", "second"] {
    ///     host.call_into("echo", payload.as_bytes(), &mut response)?;
    ///     assert_eq!(response, payload.as_bytes());
    /// }
    /// # Ok::<(), wapc_host::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// The same as of [`WapcHost::call`].
    ///
    /// # Panics
    ///
    /// Resumes the panic of the host callback, if that panics.
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

    /// Calls the guest's `operation` with `payload` and lets `read` borrow the
    /// response in the guest's memory, without a copy. Returns the result of
    /// `read`.
    ///
    /// `read` runs during the call, while the guest waits for it. If the guest
    /// responds several times, `read` runs for each response, and the last
    /// result is returned.
    ///
    /// ```
    /// use wapc_host::engine::scripted::ScriptedProvider;
    ///
    /// let host = ScriptedProvider::echo().host()?;
    /// let lines = host.call_with("echo", b"a\nb\n", |response| {
    ///     response.iter().filter(|byte| **byte == b'\n').count()
    /// })?;
    /// assert_eq!(lines, 2);
    /// # Ok::<(), wapc_host::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// The same as of [`WapcHost::call`]. `read` may have run before the error,
    /// since a guest can fail after its response.
    ///
    /// # Panics
    ///
    /// Resumes the panic of the host callback, if that panics. If `read`
    /// panics, the guest finishes its call and keeps its instance, and then the
    /// panic is resumed.
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

    /// Returns the forms of a call with `options`.
    ///
    /// ```
    /// use std::time::Duration;
    /// use wapc_host::{CallOptions, engine::scripted::ScriptedProvider};
    ///
    /// let host = ScriptedProvider::echo().host()?;
    /// let options = CallOptions::default().timeout(Duration::from_secs(1));
    /// assert_eq!(host.with(&options).call("echo", b"quick")?, b"quick");
    /// # Ok::<(), wapc_host::Error>(())
    /// ```
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

/// The forms of a call with options; see [`WapcHost::with`].
#[derive(Clone, Copy, Debug)]
pub struct CallWith<'h> {
    host: &'h WapcHost,
    options: &'h CallOptions,
}

impl<'h> CallWith<'h> {
    /// Calls the guest like [`WapcHost::call`], with these options.
    ///
    /// # Errors
    ///
    /// The same as of [`WapcHost::call`].
    ///
    /// # Panics
    ///
    /// Resumes the panic of the host callback, if that panics.
    pub fn call(&self, operation: &str, payload: &[u8]) -> Result<Vec<u8>, Error> {
        self.leased(operation, |lease, options| {
            lease.call(operation, payload, Some(options))
        })
    }

    /// Calls the guest and writes its response to `response` like
    /// [`WapcHost::call_into`], with these options.
    ///
    /// # Errors
    ///
    /// The same as of [`WapcHost::call`].
    ///
    /// # Panics
    ///
    /// Resumes the panic of the host callback, if that panics.
    pub fn call_into(
        &self,
        operation: &str,
        payload: &[u8],
        response: &mut Vec<u8>,
    ) -> Result<(), Error> {
        self.leased(operation, |lease, options| {
            lease.call_into(operation, payload, response, Some(options))
        })
    }

    /// Calls the guest and lets `read` borrow its response like
    /// [`WapcHost::call_with`], with these options.
    ///
    /// # Errors
    ///
    /// The same as of [`WapcHost::call_with`].
    ///
    /// # Panics
    ///
    /// Resumes the panic of the host callback or of `read`, if one panics.
    pub fn call_with<R: Send>(
        &self,
        operation: &str,
        payload: &[u8],
        read: impl FnMut(&[u8]) -> R + Send,
    ) -> Result<R, Error> {
        self.leased(operation, |lease, options| {
            lease.call_with(operation, payload, read, Some(options))
        })
    }

    pub(super) const fn host(&self) -> &'h WapcHost {
        self.host
    }

    pub(super) const fn options(&self) -> &'h CallOptions {
        self.options
    }

    /// Waits for an instance, and calls it with the time that is left after that.
    #[inline(always)]
    fn leased<R>(
        &self,
        operation: &str,
        call: impl FnOnce(&mut Lease<'h>, &CallOptions) -> Result<R, Error>,
    ) -> Result<R, Error> {
        let mut lease = self.host.shared.lease(operation, Some(self.options))?;
        let shorter = lease.after_wait(self.options);
        call(&mut lease, shorter.as_ref().unwrap_or(self.options))
    }
}
