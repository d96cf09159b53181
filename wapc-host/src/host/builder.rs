//! The builder of hosts.

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
    error::{BoxError, EngineError, Error},
    limits::guest::Limits,
    pool::MAX_SLOTS,
    protocol::callback::{AsyncHostCallback, Callback, HostCallback, OverCall},
    protocol::host_call::{BoxFuture, HostCall, OwnedHostCall},
};

impl WapcHost {
    /// Creates a host with default settings for `provider`'s guest. `callback`
    /// answers the guest's calls: a closure over (host id, binding, namespace,
    /// operation, payload).
    ///
    /// The first instance is made at once, and its start functions run.
    ///
    /// ```
    /// use wapc_host::{WapcHost, engine::scripted::ScriptedProvider};
    ///
    /// let guest = ScriptedProvider::new(|guest, _, _| match guest.ask(b"6 * 7")? {
    ///     Ok(answer) => guest.respond(&answer),
    ///     Err(error) => guest.fail(&error),
    /// });
    /// let host = WapcHost::new(Box::new(guest), |_id, _binding, _namespace, _operation, payload| {
    ///     match payload {
    ///         b"6 * 7" => Ok(b"42".to_vec()),
    ///         _ => Err("cannot calculate this".into()),
    ///     }
    /// })?;
    /// assert_eq!(host.call("calculate", b"")?, b"42");
    /// # Ok::<(), wapc_host::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// [`Error::Init`] if no instance can be made, [`Error::NotInterruptible`]
    /// if the provider cannot enforce the default timeouts.
    ///
    /// # Panics
    ///
    /// Resumes the panic of `callback`, if a start function calls it and it
    /// panics.
    pub fn new<F>(provider: Box<dyn WebAssemblyEngineProvider>, callback: F) -> Result<Self, Error>
    where
        F: Fn(u64, &str, &str, &str, &[u8]) -> Result<Vec<u8>, BoxError> + Send + Sync + 'static,
    {
        Self::builder(provider).build(callback)
    }

    /// Creates a host like [`WapcHost::new`], with a type that implements
    /// [`HostCallback`].
    ///
    /// # Errors
    ///
    /// The same as of [`WapcHost::new`].
    ///
    /// # Panics
    ///
    /// Resumes the panic of `callback`, if a start function calls it and it
    /// panics.
    pub fn with_callback(
        provider: Box<dyn WebAssemblyEngineProvider>,
        callback: impl HostCallback + 'static,
    ) -> Result<Self, Error> {
        Self::builder(provider).build_with(callback)
    }

    /// Returns a builder for a host of `provider`'s guest with other settings
    /// than the default ones.
    #[must_use]
    pub fn builder(provider: Box<dyn WebAssemblyEngineProvider>) -> HostBuilder {
        HostBuilder::new(Code::single(provider))
    }

    /// Returns a builder for a host that runs the baseline of `module` (binary
    /// or text) at once, and its optimized tier when that is ready; see
    /// [`Tiers`].
    ///
    /// The baseline is compiled before this returns. The optimized tier is
    /// compiled afterwards on its own thread. If it is ready before the host is
    /// built, the host starts on it.
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

/// The builder of a [`WapcHost`]; see [`WapcHost::builder`].
///
/// ```
/// use std::time::Duration;
/// use wapc_host::{Limits, WapcHost, engine::scripted::ScriptedProvider};
///
/// let host = WapcHost::builder(Box::new(ScriptedProvider::echo()))
///     .max_instances(8)
///     .min_idle(2)
///     .idle_timeout(Duration::from_secs(30))
///     .wait_limit(Duration::from_secs(1))
///     .limits(Limits::default().timeout(Duration::from_secs(1)))
///     .build(|_id, _binding, _namespace, _operation, payload| Ok(payload.to_vec()))?;
/// assert_eq!(host.call("echo", b"hello")?, b"hello");
/// assert_eq!(host.stats().live, 1, "instances are made as calls need them");
/// # Ok::<(), wapc_host::Error>(())
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

    /// Sets the limits of the guests. Default: [`Limits::default`].
    #[must_use]
    pub fn limits(mut self, limits: Limits) -> Self {
        self.limits = limits;
        self
    }

    /// Sets how the host starts tasks of the program's executor, for hosts with an async
    /// callback.
    ///
    /// Start functions may call the callback, and so may a probe. Where a thread makes
    /// instances outside of the executor (a blocking swap, a second tier, a watched file), the
    /// callback would run without the executor's timers and sockets. With a spawner it runs in a
    /// task, and the thread waits for that. A call to a blocking swap on the executor's only
    /// thread waits in vain, up to the wait limit: use
    /// [`WapcHost::replace_module_async`] there.
    ///
    /// ```
    /// use wapc_host::{OwnedHostCall, WapcHost, engine::scripted::ScriptedProvider};
    ///
    /// // In a program with tokio: `|task| drop(handle.spawn(task))`.
    /// let spawner = |task| drop(std::thread::spawn(|| pollster::block_on(task)));
    /// let build = WapcHost::builder(Box::new(ScriptedProvider::echo()))
    ///     .spawner(spawner)
    ///     .build_async(async |call: OwnedHostCall| Ok(call.into_payload()));
    /// let host = pollster::block_on(build)?;
    /// host.replace_module(b"echo")?;
    /// # Ok::<(), wapc_host::Error>(())
    /// ```
    #[must_use]
    pub fn spawner(
        mut self,
        spawner: impl Fn(BoxFuture<'static, ()>) + Send + Sync + 'static,
    ) -> Self {
        self.settings.spawner = Some(Arc::new(spawner));
        self
    }

    /// Sets the greatest number of instances, and so of calls at a time.
    /// Default: 1; 0 counts as 1. More than 16,777,216 are refused by
    /// [`HostBuilder::build`] with [`Error::Init`]. Memory is taken as instances are
    /// needed.
    ///
    /// All calls share the state of a single instance. With several, a call
    /// gets any of them, with the state that earlier calls have left in it.
    ///
    /// ```
    /// use std::{sync::Barrier, thread};
    /// use wapc_host::{WapcHost, engine::scripted::ScriptedProvider};
    ///
    /// let both_run = Barrier::new(2);
    /// let host = WapcHost::builder(Box::new(ScriptedProvider::echo()))
    ///     .max_instances(2)
    ///     .build(|_, _, _, _, _| Ok(vec![]))?;
    /// thread::scope(|scope| {
    ///     for _ in 0..2 {
    ///         scope.spawn(|| host.call_with("echo", b"", |_| both_run.wait()).unwrap());
    ///     }
    /// });
    /// assert_eq!(host.stats().live, 2);
    /// # Ok::<(), wapc_host::Error>(())
    /// ```
    #[must_use]
    pub fn max_instances(mut self, instances: usize) -> Self {
        self.settings.max_instances = instances.max(1);
        self
    }

    /// Sets the number of instances that are kept even if they are idle for
    /// longer than [`HostBuilder::idle_timeout`]. Default: 1.
    #[must_use]
    pub const fn min_idle(mut self, instances: usize) -> Self {
        self.settings.min_idle = instances;
        self
    }

    /// Sets the time after which an idle instance is dropped, if there are more
    /// than [`HostBuilder::min_idle`]. Default: one minute; `None` keeps all
    /// instances.
    #[must_use]
    pub fn idle_timeout(mut self, timeout: impl Into<Option<Duration>>) -> Self {
        self.settings.idle_timeout = timeout.into();
        self
    }

    /// Sets the time that a caller waits for an instance before it gets
    /// [`Error::Busy`]. Default: 30 s; with `None` it waits for ever, with zero
    /// not at all.
    ///
    /// ```
    /// use std::{thread, time::Duration};
    /// use wapc_host::{Error, WapcHost, engine::scripted::ScriptedProvider};
    ///
    /// let host = WapcHost::builder(Box::new(ScriptedProvider::echo()))
    ///     .wait_limit(Duration::ZERO)
    ///     .build(|_, _, _, _, _| Ok(vec![]))?;
    ///
    /// let _only_instance = host.check_out()?;
    /// let other = thread::scope(|scope| scope.spawn(|| host.call("echo", b"")).join().unwrap());
    /// assert!(matches!(other, Err(Error::Busy { .. })));
    /// # Ok::<(), Error>(())
    /// ```
    #[must_use]
    pub fn wait_limit(mut self, limit: impl Into<Option<Duration>>) -> Self {
        self.settings.wait_limit = limit.into();
        self
    }

    /// Sets the number of calls after which an instance is replaced. Default:
    /// [`Reuse::Keep`].
    #[must_use]
    pub const fn reuse(mut self, reuse: Reuse) -> Self {
        self.settings.reuse = reuse;
        self
    }

    /// Sets the time that a guest in an async call computes before it yields to
    /// the executor. Default: 2 ms, which is also the minimum.
    ///
    /// Guests yield only on a provider that can interrupt by time
    /// ([`Interruption`](crate::Interruption)).
    #[must_use]
    pub const fn yield_interval(mut self, interval: Duration) -> Self {
        self.settings.yield_interval = interval;
        self
    }

    /// Creates the host and its first instance. `callback` answers the guest's
    /// calls: a closure over (host id, binding, namespace, operation, payload).
    ///
    /// # Errors
    ///
    /// [`Error::Init`] if no instance can be made, [`Error::NotInterruptible`]
    /// if the provider cannot enforce the limits.
    ///
    /// # Panics
    ///
    /// Resumes the panic of `callback`, if a start function calls it and it
    /// panics.
    pub fn build<F>(self, callback: F) -> Result<WapcHost, Error>
    where
        F: Fn(u64, &str, &str, &str, &[u8]) -> Result<Vec<u8>, BoxError> + Send + Sync + 'static,
    {
        self.build_with(callback)
    }

    /// Creates the host like [`HostBuilder::build`], with a closure over the whole
    /// [`HostCall`]: its names and its payload, the generation, the time left, and the context of
    /// the call. It becomes the closure of [`HostBuilder::build_async`] by `async move`.
    ///
    /// ```
    /// use wapc_host::{WapcHost, engine::scripted::ScriptedProvider};
    ///
    /// let guest = ScriptedProvider::new(|guest, _, _| match guest.ask(b"a key")? {
    ///     Ok(answer) => guest.respond(&answer),
    ///     Err(error) => guest.fail(&error),
    /// });
    /// let host = WapcHost::builder(Box::new(guest)).build_fn(|call| {
    ///     let generation = call.generation;
    ///     Ok([call.payload, format!(" of code {generation}").as_bytes()].concat())
    /// })?;
    /// assert_eq!(host.call("get", b"")?, b"a key of code 1");
    /// # Ok::<(), wapc_host::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// The same as of [`HostBuilder::build`].
    ///
    /// # Panics
    ///
    /// Resumes the panic of `callback`, if a start function calls it and it
    /// panics.
    pub fn build_fn(
        self,
        callback: impl Fn(HostCall<'_>) -> Result<Vec<u8>, BoxError> + Send + Sync + 'static,
    ) -> Result<WapcHost, Error> {
        self.build_with(OverCall(callback))
    }

    /// Creates the host like [`HostBuilder::build`], with a type that
    /// implements [`HostCallback`].
    ///
    /// # Errors
    ///
    /// The same as of [`HostBuilder::build`].
    ///
    /// # Panics
    ///
    /// Resumes the panic of `callback`, if a start function calls it and it
    /// panics.
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
        // Pushed again: the optimized tier may have been compiled before there
        // was a host to move over to it.
        let current = Arc::clone(&shared.published().current);
        if let Some(tier_up) = current.tier.tier_up() {
            shared.tier_queue.push(tier_up);
        }
        WapcHost::registered(shared)
    }
}

impl HostBuilder {
    /// Creates the host and its first instance, with an async callback: a
    /// closure `|call| async move { … }` over an
    /// [`OwnedHostCall`](crate::OwnedHostCall).
    ///
    /// Call such a host by [`WapcHost::call_async`]. A blocking call works until
    /// the guest calls its host, and fails with
    /// [`ProtocolError::CallbackAwaits`](crate::error::ProtocolError::CallbackAwaits)
    /// then.
    ///
    /// ```
    /// use wapc_host::{Error, OwnedHostCall, WapcHost, engine::scripted::ScriptedProvider};
    ///
    /// let guest = ScriptedProvider::new_async(|guest, _, _| {
    ///     Box::pin(async {
    ///         let answer = guest.ask_async(b"question").await?;
    ///         guest.respond(&answer.unwrap_or_default())
    ///     })
    /// });
    /// let answer = |call: OwnedHostCall| async move { Ok(call.into_payload()) };
    /// let host = pollster::block_on(WapcHost::builder(Box::new(guest)).build_async(answer))?;
    ///
    /// assert_eq!(pollster::block_on(host.call_async("ask", ""))?, b"question");
    /// assert!(matches!(host.call("ask", b""), Err(Error::Protocol { .. })));
    /// # Ok::<(), Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// The same as of [`HostBuilder::build`].
    ///
    /// # Panics
    ///
    /// Resumes the panic of `callback`, if a start function calls it and it
    /// panics.
    pub async fn build_async<F, R>(self, callback: F) -> Result<WapcHost, Error>
    where
        F: Fn(OwnedHostCall) -> R + Send + Sync + 'static,
        R: Future<Output = Result<Vec<u8>, BoxError>> + Send + 'static,
    {
        self.build_async_with(callback).await
    }

    /// Creates the host like [`HostBuilder::build_async`], with a type that implements
    /// [`AsyncHostCallback`].
    ///
    /// # Errors
    ///
    /// The same as of [`HostBuilder::build`].
    ///
    /// # Panics
    ///
    /// Resumes the panic of `callback`, if a start function calls it and it
    /// panics.
    pub async fn build_async_with(
        self,
        callback: impl AsyncHostCallback + 'static,
    ) -> Result<WapcHost, Error> {
        let host = self.without_instance(Callback::Async(Arc::new(callback)));
        host.shared.first_instance_async().await?;
        Ok(host)
    }
}

impl HostShared {
    pub(super) fn first_instance(&self) -> Result<(), Error> {
        self.check_settings()?;
        self.lease("(first instance)", None).map(|_| ())
    }

    fn check_settings(&self) -> Result<(), Error> {
        let instances = self.settings.max_instances;
        if instances > MAX_SLOTS {
            let reason = format!("{instances} instances are too many: at most {MAX_SLOTS}");
            return Err(self.count_error(Error::Init(EngineError::Other(reason.into()))));
        }
        Ok(())
    }

    pub(super) async fn first_instance_async(&self) -> Result<(), Error> {
        self.check_settings()?;
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
