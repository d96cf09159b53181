//! The settings of a host.

use std::{
    fmt,
    sync::{Arc, Weak},
    time::Duration,
};

use super::{
    service::WapcHost,
    settings::{Reuse, Settings},
    shared::HostShared,
    tiers::{Code, TierQueue, Tiers},
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
        HostBuilder::new(Code::single(provider))
    }

    /// Settings for a host that answers with the baseline of `module` (binary or
    /// text) at once, and moves over to its optimized tier when that is ready;
    /// see [`Tiers`].
    ///
    /// The baseline is compiled before this returns, and the optimized tier from
    /// then on, on a thread of its own. A host that is built after that is
    /// compiled begins on it.
    ///
    /// # Errors
    ///
    /// [`Error::Init`] if the baseline refuses the module.
    pub fn tiered(module: &[u8], tiers: impl Into<Arc<Tiers>>) -> Result<HostBuilder, Error> {
        let code = Code::baseline(module, tiers.into()).map_err(Error::Init)?;
        let builder = HostBuilder::new(code);
        if let Some(tier_up) = builder.code.tier.tier_up() {
            builder.tier_queue.push(tier_up);
        }
        Ok(builder)
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
    pub(super) code: Code,
    tier_queue: Arc<TierQueue>,
    limits: Limits,
    settings: Settings,
}

impl HostBuilder {
    fn new(code: Code) -> Self {
        Self {
            code,
            tier_queue: Arc::default(),
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
        let host = self.without_instance(Callback::Blocking(Arc::new(callback)));
        host.shared.first_instance()?;
        Ok(host)
    }

    fn without_instance(self, callback: Callback) -> WapcHost {
        let shared = HostShared::new(
            self.code.best(),
            self.tier_queue,
            callback,
            self.settings,
            self.limits,
        );
        let weak: Weak<HostShared> = Arc::downgrade(&shared);
        shared.tier_queue.set_host(weak);
        // Again: it may have been compiled since, with no host to move over.
        let current = Arc::clone(&shared.published().current);
        if let Some(tier_up) = current.tier.tier_up() {
            shared.tier_queue.push(tier_up);
        }
        WapcHost { shared }
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
    /// ([`ProtocolError::CallbackAwaits`](crate::error::ProtocolError::CallbackAwaits)).
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
        let host = self.without_instance(Callback::Async(Arc::new(callback)));
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
