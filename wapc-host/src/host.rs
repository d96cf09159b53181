//! The service object: one guest module, called from any thread.

mod inner;
mod turn;

use std::{fmt, sync::Arc};

pub(crate) use self::{
    inner::{Generation, Inner},
    turn::{Turn, no_instance, not_begun, not_made, over_or},
};
use crate::{
    builder::{HostBuilder, Settings},
    callback::{BoxError, Callback, HostCallback, Within},
    error::Error,
    limits::Limits,
    options::CallOptions,
    provider::WebAssemblyEngineProvider,
    stats::Stats,
};

/// A guest module that is called by operation name, and whose code can be
/// replaced while it is called.
///
/// It is `Send + Sync` and called through `&self`; share it in an `Arc`. By
/// default it has one instance of the guest, whose state lives on from call to
/// call, and threads that call at the same time take turns.
/// [`HostBuilder::max_instances`] sets another number: then a call takes an
/// idle instance, or makes one while there are fewer, or waits its turn.
///
/// An instance that trapped, exited, broke the protocol, met a limit, ran out
/// of time or was cancelled is dropped, and the next call gets a new one.
pub struct WapcHost {
    pub(crate) inner: Arc<Inner>,
}

impl WapcHost {
    /// A host of `provider`'s guest, whose calls `callback` answers: a closure
    /// over (host id, binding, namespace, operation, payload).
    ///
    /// Makes the first instance, so that its start functions have run. All
    /// settings are the default ones; see [`WapcHost::builder`].
    ///
    /// # Errors
    ///
    /// [`Error::Init`], [`Error::NotInterruptible`].
    ///
    /// # Panics
    ///
    /// If a start function calls the host and `callback` panics.
    pub fn new<F>(provider: Box<dyn WebAssemblyEngineProvider>, callback: F) -> Result<Self, Error>
    where
        F: Fn(u64, &str, &str, &str, &[u8]) -> Result<Vec<u8>, BoxError> + Send + Sync + 'static,
    {
        Self::builder(provider).build(callback)
    }

    /// The same as [`WapcHost::new`] for a type that implements
    /// [`HostCallback`].
    ///
    /// # Errors
    ///
    /// As [`WapcHost::new`].
    ///
    /// # Panics
    ///
    /// As [`WapcHost::new`].
    pub fn with_callback(
        provider: Box<dyn WebAssemblyEngineProvider>,
        callback: impl HostCallback + 'static,
    ) -> Result<Self, Error> {
        Self::builder(provider).build_with(callback)
    }

    /// Settings other than the default: limits, the number of instances, how
    /// long callers wait.
    #[must_use]
    pub fn builder(provider: Box<dyn WebAssemblyEngineProvider>) -> HostBuilder {
        HostBuilder::new(provider)
    }

    pub(crate) fn without_instance(
        provider: Box<dyn WebAssemblyEngineProvider>,
        callback: Callback,
        settings: Settings,
        limits: Limits,
    ) -> Self {
        let inner = Inner::new(provider, callback, settings, limits);
        let first = Arc::clone(&inner.published().current);
        inner.await_promotion(&first);
        Self { inner }
    }

    /// This host's number, which no other host in the process has: the first
    /// argument of the callback.
    #[must_use]
    pub fn id(&self) -> u64 {
        self.inner.id
    }

    /// The number of the code that calls run on: 1, and one more after each
    /// swap and rollback.
    #[must_use]
    pub fn generation(&self) -> u64 {
        self.inner.generation()
    }

    /// What a guest may use.
    #[must_use]
    pub fn limits(&self) -> &Limits {
        &self.inner.limits
    }

    /// The host's numbers at this moment. Costs calls nothing.
    #[must_use]
    pub fn stats(&self) -> Stats {
        self.inner.stats()
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
        self.inner
            .turn(operation, None)?
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
        self.inner
            .turn(operation, None)?
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
        self.inner
            .turn(operation, None)?
            .call_with(operation, payload, read, None)
    }

    /// An instance, for as many calls as one likes without other callers in
    /// between: they share its state, and cost less than through the host.
    ///
    /// Waits until an instance is free. Until the returned value is dropped, no
    /// other caller uses the instance; on a host of one instance, a call from
    /// the thread that holds it is refused ([`Error::Reentrant`]). A swap
    /// meanwhile takes effect for the next check-out.
    ///
    /// # Errors
    ///
    /// [`Error::Init`], [`Error::Reentrant`], [`Error::Busy`].
    ///
    /// # Panics
    ///
    /// If a new instance must be made, its start functions call the host, and
    /// the callback panics.
    pub fn check_out(&self) -> Result<CheckedOut<'_>, Error> {
        self.check_out_with(None)
    }

    fn check_out_with(&self, options: Option<&CallOptions>) -> Result<CheckedOut<'_>, Error> {
        let turn = self.inner.turn(CHECK_OUT, options)?;
        Ok(CheckedOut::new(turn, options.cloned()))
    }

    /// Calls with options of their own: `host.with(&options).call(…)`.
    #[must_use]
    pub const fn with<'h>(&'h self, options: &'h CallOptions) -> With<'h> {
        With {
            host: self,
            options,
        }
    }
}

impl fmt::Debug for WapcHost {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.inner.fmt(f)
    }
}

/// A host with options for the calls through it; see [`WapcHost::with`].
#[derive(Clone, Copy, Debug)]
pub struct With<'h> {
    host: &'h WapcHost,
    options: &'h CallOptions,
}

impl<'h> With<'h> {
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
        self.turn(operation)?
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
        self.turn(operation)?
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
        self.turn(operation)?
            .call_with(operation, payload, read, Some(self.options))
    }

    /// As [`WapcHost::check_out`]; the options hold for each call of the
    /// returned value.
    ///
    /// # Errors
    ///
    /// As [`WapcHost::check_out`].
    ///
    /// # Panics
    ///
    /// As [`WapcHost::check_out`].
    pub fn check_out(&self) -> Result<CheckedOut<'h>, Error> {
        self.host.check_out_with(Some(self.options))
    }

    pub(crate) const fn host(&self) -> &'h WapcHost {
        self.host
    }

    pub(crate) const fn options(&self) -> &'h CallOptions {
        self.options
    }

    fn turn(&self, operation: &str) -> Result<Turn<'h>, Error> {
        self.host.inner.turn(operation, Some(self.options))
    }
}

/// An instance, held for a sequence of calls; see [`WapcHost::check_out`].
///
/// After a call that lost the instance, the next one gets a new one, of the
/// host's current code.
#[derive(Debug)]
pub struct CheckedOut<'h> {
    turn: Turn<'h>,
    options: Option<CallOptions>,
    _within: Within,
}

impl<'h> CheckedOut<'h> {
    pub(crate) fn new(turn: Turn<'h>, options: Option<CallOptions>) -> Self {
        Self {
            _within: Within::hold(turn.host.id),
            turn,
            options,
        }
    }

    /// The options of the calls from now on.
    pub fn set_options(&mut self, options: CallOptions) {
        self.options = Some(options);
    }

    /// As [`WapcHost::call`].
    ///
    /// # Errors
    ///
    /// As [`WapcHost::call`], but never [`Error::Reentrant`] and
    /// [`Error::Busy`].
    ///
    /// # Panics
    ///
    /// As [`WapcHost::call`].
    pub fn call(&mut self, operation: &str, payload: &[u8]) -> Result<Vec<u8>, Error> {
        self.turn.call(operation, payload, self.options.as_ref())
    }

    /// As [`WapcHost::call_into`].
    ///
    /// # Errors
    ///
    /// As [`CheckedOut::call`].
    ///
    /// # Panics
    ///
    /// As [`WapcHost::call`].
    pub fn call_into(
        &mut self,
        operation: &str,
        payload: &[u8],
        response: &mut Vec<u8>,
    ) -> Result<(), Error> {
        self.turn
            .call_into(operation, payload, response, self.options.as_ref())
    }

    /// As [`WapcHost::call_with`].
    ///
    /// # Errors
    ///
    /// As [`CheckedOut::call`]. `read` may have run all the same.
    ///
    /// # Panics
    ///
    /// As [`WapcHost::call_with`].
    pub fn call_with<R: Send>(
        &mut self,
        operation: &str,
        payload: &[u8],
        read: impl FnMut(&[u8]) -> R + Send,
    ) -> Result<R, Error> {
        self.turn
            .call_with(operation, payload, read, self.options.as_ref())
    }
}

/// What a check-out is called in errors.
pub(crate) const CHECK_OUT: &str = "(check-out)";

#[cfg(all(test, not(shuttle)))]
mod tests;
