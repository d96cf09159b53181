//! The settings of a host.

use std::{fmt, sync::Arc, time::Duration};

use super::{
    service::WapcHost,
    settings::{Reuse, Settings},
    shared::HostShared,
};
use crate::{
    engine::provider::WebAssemblyEngineProvider,
    error::{BoxError, Error},
    limits::guest::Limits,
    protocol::callback::{AsyncHostCallback, Callback, HostCallback},
};

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
        let shared = HostShared::new(provider, callback, settings, limits);
        let first = Arc::clone(&shared.published().current);
        shared.await_promotion(&first);
        Self { shared }
    }
}

/// The settings of a [`WapcHost`]; see [`WapcHost::builder`].
///
/// ```no_run
/// use std::time::Duration;
/// use wapc_host::{Limits, WapcHost};
///
/// # fn example(provider: Box<dyn wapc_host::WebAssemblyEngineProvider>) -> Result<(), wapc_host::Error> {
/// let host = WapcHost::builder(provider)
///     .max_instances(8)
///     .limits(Limits::default().timeout(Duration::from_millis(100)))
///     .build(|_id, _binding, _namespace, _operation, payload| Ok(payload.to_vec()))?;
/// # Ok(())
/// # }
/// ```
pub struct HostBuilder {
    provider: Box<dyn WebAssemblyEngineProvider>,
    limits: Limits,
    settings: Settings,
}

impl HostBuilder {
    pub(crate) fn new(provider: Box<dyn WebAssemblyEngineProvider>) -> Self {
        Self {
            provider,
            limits: Limits::default(),
            settings: Settings::default(),
        }
    }

    /// What a guest may use. By default [`Limits::default`].
    #[must_use]
    pub fn limits(mut self, limits: Limits) -> Self {
        self.limits = limits;
        self
    }

    /// How many instances there may be. By default 1, whose state all calls
    /// share; 0 counts as 1.
    ///
    /// With more, each call gets one of them, with the state that the calls
    /// before have left in it.
    #[must_use]
    pub fn max_instances(mut self, instances: usize) -> Self {
        self.settings.max_instances = instances.max(1);
        self
    }

    /// How many idle instances are kept however long they are idle. By default
    /// 1.
    #[must_use]
    pub const fn min_idle(mut self, instances: usize) -> Self {
        self.settings.min_idle = instances;
        self
    }

    /// After which time an instance that nobody calls is dropped, if there are
    /// more than [`HostBuilder::min_idle`]. By default a minute; `None` is
    /// never.
    #[must_use]
    pub fn idle_timeout(mut self, timeout: impl Into<Option<Duration>>) -> Self {
        self.settings.idle_timeout = timeout.into();
        self
    }

    /// How long a caller waits for an instance before [`Error::Busy`]. By
    /// default 30 s; `None` is for ever, zero not at all.
    #[must_use]
    pub fn wait_limit(mut self, limit: impl Into<Option<Duration>>) -> Self {
        self.settings.wait_limit = limit.into();
        self
    }

    /// For how many calls an instance is used. By default for as long as it
    /// works.
    #[must_use]
    pub const fn reuse(mut self, reuse: Reuse) -> Self {
        self.settings.reuse = reuse;
        self
    }

    /// For how long a guest in an async call computes before it lets the
    /// executor run others. By default 2 ms, which is also the least.
    ///
    /// Needs a provider that can interrupt by time
    /// ([`Interruption`](crate::Interruption)), else guests do not yield.
    #[must_use]
    pub const fn yield_interval(mut self, interval: Duration) -> Self {
        self.settings.yield_interval = interval;
        self
    }

    /// Makes the host, with a closure over (host id, binding, namespace,
    /// operation, payload) as its callback.
    ///
    /// # Errors
    ///
    /// [`Error::Init`]; [`Error::NotInterruptible`] if the limits ask for what
    /// the provider was built without.
    ///
    /// # Panics
    ///
    /// If a start function calls the host and `callback` panics.
    pub fn build<F>(self, callback: F) -> Result<WapcHost, Error>
    where
        F: Fn(u64, &str, &str, &str, &[u8]) -> Result<Vec<u8>, BoxError> + Send + Sync + 'static,
    {
        self.build_with(callback)
    }

    /// The same as [`HostBuilder::build`] for a type that implements
    /// [`HostCallback`].
    ///
    /// # Errors
    ///
    /// As [`HostBuilder::build`].
    ///
    /// # Panics
    ///
    /// As [`HostBuilder::build`].
    pub fn build_with(self, callback: impl HostCallback + 'static) -> Result<WapcHost, Error> {
        let host = WapcHost::without_instance(
            self.provider,
            Callback::Blocking(Arc::new(callback)),
            self.settings,
            self.limits,
        );
        host.shared.first_instance()?;
        Ok(host)
    }
}

impl HostBuilder {
    /// Makes the host, with a callback that may await: a closure
    /// `|call| async move { … }` over an
    /// [`OwnedHostCall`](crate::OwnedHostCall), or a type that implements
    /// [`AsyncHostCallback`](crate::AsyncHostCallback).
    ///
    /// Such a host is called by [`WapcHost::call_async`]. In a blocking call, a
    /// guest that calls its host has broken a rule
    /// ([`ProtocolError::CallbackAwaits`](crate::ProtocolError::CallbackAwaits)).
    ///
    /// # Errors
    ///
    /// As [`HostBuilder::build`].
    ///
    /// # Panics
    ///
    /// As [`HostBuilder::build`].
    pub async fn build_async(
        self,
        callback: impl AsyncHostCallback + 'static,
    ) -> Result<WapcHost, Error> {
        let host = WapcHost::without_instance(
            self.provider,
            Callback::Async(Arc::new(callback)),
            self.settings,
            self.limits,
        );
        host.shared.first_instance_async().await?;
        Ok(host)
    }
}

impl HostShared {
    pub(crate) fn first_instance(&self) -> Result<(), Error> {
        self.lease("(first instance)", None).map(|_| ())
    }

    pub(crate) async fn first_instance_async(&self) -> Result<(), Error> {
        let slot = self.pool.try_take();
        self.lease_async(slot, "(first instance)", None).await?;
        Ok(())
    }
}

impl fmt::Debug for HostBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HostBuilder")
            .field("limits", &self.limits)
            .field("settings", &self.settings)
            .finish_non_exhaustive()
    }
}
