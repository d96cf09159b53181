//! Replacing a guest's code while it is called.

mod offload;

use std::{
    fmt,
    sync::Arc,
    time::{Duration, Instant},
};

use self::offload::offload;
use crate::{
    block_on::block_on,
    engine::provider::WebAssemblyEngineProvider,
    error::{BoxError, Error},
    host::{
        CheckedOut, CheckedOutAsync, Code, Generation, HostShared, Lease, Tiers, WapcHost,
        missing_instance,
    },
    pool::Pool,
    protocol::host_call::BoxFuture,
    protocol::reentrancy::is_reentrant,
    timer::Timer,
};

impl WapcHost {
    /// Replaces the guest's code by `module` (binary or text) on the same
    /// engine with the same settings.
    ///
    /// All steps that are slow or may fail happen before the swap takes effect,
    /// while calls go on with the old code: compiling, linking, making as many
    /// instances as there are, and running their start functions. Calls that
    /// begin after this method returns run the new code. A running call
    /// finishes on the code that it began on. New instances start without the
    /// state of the old ones. Concurrent swaps are done one after the other.
    ///
    /// This method blocks until the swap has taken effect; in async code, use
    /// [`WapcHost::replace_module_async`]. Everything runs on the caller's thread, an async
    /// callback too, unless the host has a [`spawner`](crate::HostBuilder::spawner).
    ///
    /// A host of [`Tiers`] starts on the baseline of the new module.
    ///
    /// [`WapcHost::swap`] can also probe the new code, and wait for calls on the
    /// old code.
    ///
    /// ```
    /// use wapc_host::{Error, engine::scripted::ScriptedProvider};
    ///
    /// let host = ScriptedProvider::new(|guest, _, _| guest.respond(b"old")).host()?;
    /// assert!(matches!(host.replace_module(b"not a module"), Err(Error::Init(_))));
    /// assert_eq!(host.call("hello", b"world")?, b"old", "nothing has changed");
    ///
    /// // `ScriptedProvider` knows one module, whose guests echo.
    /// host.replace_module(b"echo")?;
    /// assert_eq!(host.call("hello", b"world")?, b"world");
    /// # Ok::<(), Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// [`Error::Init`] if the module is refused or no instance can be made;
    /// [`Error::Reentrant`] if the caller is the probe of a swap of this host,
    /// or a callback that a new instance calls from a start function. Nothing
    /// has changed after an error.
    ///
    /// # Panics
    ///
    /// Resumes the panic of the host callback, if a start function calls it and
    /// it panics. Nothing has changed then.
    pub fn replace_module(&self, module: &[u8]) -> Result<(), Error> {
        self.swap().module(module)
    }

    /// Replaces the guest's code like [`WapcHost::replace_module`], without blocking the
    /// thread.
    ///
    /// The module is compiled on another thread. Start functions run where this future is
    /// polled, and an async callback is awaited there. If the future is dropped before the
    /// swap has taken effect, nothing has changed.
    ///
    /// ```
    /// use wapc_host::engine::scripted::ScriptedProvider;
    ///
    /// let host = ScriptedProvider::new(|guest, _, _| guest.respond(b"old")).host()?;
    /// pollster::block_on(host.replace_module_async(b"echo"))?;
    /// assert_eq!(host.call("hello", b"world")?, b"world");
    /// # Ok::<(), wapc_host::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// The same as of [`WapcHost::replace_module`].
    ///
    /// # Panics
    ///
    /// Resumes the panic of the host callback, if a start function calls it and
    /// it panics. Nothing has changed then.
    pub async fn replace_module_async(&self, module: &[u8]) -> Result<(), Error> {
        self.swap().module_async(module).await
    }

    /// Replaces the guest's code by that of `provider`, in the steps of
    /// [`WapcHost::replace_module`]. The provider may be of another engine.
    ///
    /// A host of [`Tiers`] has a single tier afterwards, until a rollback or
    /// [`Swap::tiered`].
    ///
    /// # Errors
    ///
    /// [`Error::Init`] if no instance can be made; [`Error::NotInterruptible`]
    /// if the provider cannot enforce the host's limits; [`Error::Reentrant`]
    /// from within a swap of this host. Nothing has changed after an error.
    ///
    /// # Panics
    ///
    /// Resumes the panic of the host callback, if a start function calls it and
    /// it panics. Nothing has changed then.
    pub fn swap_provider(&self, provider: Box<dyn WebAssemblyEngineProvider>) -> Result<(), Error> {
        self.swap().provider(provider)
    }

    /// Swaps back to the previous code, which is not compiled again. New
    /// instances are made of it. A second rollback undoes the first.
    ///
    /// ```
    /// use wapc_host::engine::scripted::ScriptedProvider;
    ///
    /// let [old, new] = [b"old", b"new"].map(|name| {
    ///     ScriptedProvider::new(move |guest, _, _| guest.respond(name))
    /// });
    /// let host = old.host()?;
    /// host.swap_provider(Box::new(new))?;
    /// assert_eq!(host.call("version", b"")?, b"new");
    ///
    /// host.rollback()?;
    /// assert_eq!(host.call("version", b"")?, b"old");
    /// assert_eq!(host.generation(), 3);
    /// # Ok::<(), wapc_host::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// [`Error::NoPrevious`] before the first swap; [`Error::Init`] if no
    /// instance can be made; [`Error::Reentrant`] from within a swap of this
    /// host. Nothing has changed after an error.
    ///
    /// # Panics
    ///
    /// Resumes the panic of the host callback, if a start function calls it and
    /// it panics. Nothing has changed then.
    pub fn rollback(&self) -> Result<(), Error> {
        self.swap().rollback()
    }

    /// Returns a builder for a swap with a probe, with waiting for calls on the
    /// old code, or with both.
    ///
    /// ```
    /// use std::time::Duration;
    /// use wapc_host::engine::scripted::ScriptedProvider;
    ///
    /// let host = ScriptedProvider::new(|guest, _, _| guest.respond(b"old")).host()?;
    /// host.swap()
    ///     .probe(|candidate| match candidate.call("health", b"ok")?.as_slice() {
    ///         b"ok" => Ok(()),
    ///         _ => Err("not healthy".into()),
    ///     })
    ///     .drain(Duration::from_secs(5))
    ///     .module(b"echo")?;
    /// assert_eq!(host.stats().swaps, 1);
    /// # Ok::<(), wapc_host::Error>(())
    /// ```
    pub const fn swap(&self) -> Swap<'_> {
        Swap {
            host: self,
            probe: None,
            async_probe: None,
            drain: None,
        }
    }
}

/// A builder for a swap; see [`WapcHost::swap`].
#[must_use = "a swap begins with `module`, `provider` or `rollback`"]
pub struct Swap<'h> {
    host: &'h WapcHost,
    probe: Option<Box<Probe<'h>>>,
    async_probe: Option<Box<AsyncProbe<'h>>>,
    drain: Option<Duration>,
}

type Probe<'h> = dyn FnOnce(&mut CheckedOut<'_>) -> Result<(), BoxError> + Send + 'h;

type AsyncProbe<'h> = dyn for<'c> FnOnce(&'c mut CheckedOutAsync<'_>) -> BoxFuture<'c, Result<(), BoxError>>
    + Send
    + 'h;

impl<'h> Swap<'h> {
    /// Lets `probe` call an instance of the new code before the swap takes
    /// effect. If it returns an error, the swap fails with [`Error::Probe`] and
    /// nothing changes. The instance is dropped afterwards in either case.
    ///
    /// If the probe calls the host itself, the old code answers. On a host of
    /// one instance that is busy, such a call is refused
    /// ([`Error::Reentrant`]).
    ///
    /// ```
    /// use wapc_host::{Error, engine::scripted::ScriptedProvider};
    ///
    /// let host = ScriptedProvider::echo().host()?;
    /// let broken = ScriptedProvider::new(|guest, _, _| guest.fail(b"broken"));
    /// let refused = host
    ///     .swap()
    ///     .probe(|candidate| {
    ///         candidate.call("health", b"")?;
    ///         Ok(())
    ///     })
    ///     .provider(Box::new(broken));
    /// assert!(matches!(refused, Err(Error::Probe(_))));
    /// assert_eq!(host.call("echo", b"still here")?, b"still here");
    /// # Ok::<(), Error>(())
    /// ```
    pub fn probe(
        mut self,
        probe: impl FnOnce(&mut CheckedOut<'_>) -> Result<(), BoxError> + Send + 'h,
    ) -> Self {
        self.probe = Some(Box::new(probe));
        self
    }

    /// Lets `probe` call an instance of the new code like [`Swap::probe`], by async calls: the
    /// guest may call a host with an async callback. It is polled where the swap is, and a
    /// blocking swap blocks on it.
    ///
    /// ```
    /// use wapc_host::engine::scripted::ScriptedProvider;
    ///
    /// let host = ScriptedProvider::new(|guest, _, _| guest.respond(b"old")).host()?;
    /// let new = ScriptedProvider::new_async(|guest, _, _| {
    ///     Box::pin(async { guest.respond(b"well") })
    /// });
    /// let swap = host.swap().probe_async(|candidate| {
    ///     Box::pin(async {
    ///         match candidate.call_async("health", "").await?.as_slice() {
    ///             b"well" => Ok(()),
    ///             _ => Err("not healthy".into()),
    ///         }
    ///     })
    /// });
    /// pollster::block_on(swap.provider_async(Box::new(new)))?;
    /// # Ok::<(), wapc_host::Error>(())
    /// ```
    pub fn probe_async(
        mut self,
        probe: impl for<'c> FnOnce(&'c mut CheckedOutAsync<'_>) -> BoxFuture<'c, Result<(), BoxError>>
        + Send
        + 'h,
    ) -> Self {
        self.async_probe = Some(Box::new(probe));
        self
    }

    /// Waits, after the swap has taken effect, until no call runs on the old
    /// code. After `limit` it stops waiting and returns [`Error::NotDrained`].
    ///
    /// An instance of the old code that is checked out counts as one that runs: a task
    /// that holds one itself waits for the whole of `limit`.
    pub const fn drain(mut self, limit: Duration) -> Self {
        self.drain = Some(limit);
        self
    }

    /// Swaps to `module` (binary or text) on the same engine, in the steps of
    /// [`WapcHost::replace_module`].
    ///
    /// # Errors
    ///
    /// The same as of [`WapcHost::replace_module`], and [`Error::Probe`];
    /// nothing has changed after these. [`Error::NotDrained`] if the swap has
    /// taken effect, but calls on the old code go on.
    ///
    /// # Panics
    ///
    /// Resumes the panic of the probe, or of a host callback that a start
    /// function calls. Nothing has changed then.
    pub fn module(self, module: &[u8]) -> Result<(), Error> {
        self.to(|current, _| current.code().replace(module).map_err(Error::Init))
    }

    /// Swaps to `provider`, in the steps of [`WapcHost::swap_provider`].
    ///
    /// # Errors
    ///
    /// The same as of [`WapcHost::swap_provider`], and [`Error::Probe`];
    /// nothing has changed after these. [`Error::NotDrained`] if the swap has
    /// taken effect, but calls on the old code go on.
    ///
    /// # Panics
    ///
    /// Resumes the panic of the probe, or of a host callback that a start
    /// function calls. Nothing has changed then.
    pub fn provider(self, provider: Box<dyn WebAssemblyEngineProvider>) -> Result<(), Error> {
        self.to(|_, _| Ok(Code::single(provider)))
    }

    /// Swaps to the baseline of `module` (binary or text), and later to its
    /// optimized tier; see [`Tiers`]. Later swaps to a module use these tiers.
    ///
    /// # Errors
    ///
    /// The same as of [`WapcHost::swap_provider`], and [`Error::Probe`];
    /// nothing has changed after these. [`Error::NotDrained`] if the swap has
    /// taken effect, but calls on the old code go on.
    ///
    /// # Panics
    ///
    /// Resumes the panic of the probe, or of a host callback that a start
    /// function calls. Nothing has changed then.
    pub fn tiered(self, module: &[u8], tiers: impl Into<Arc<Tiers>>) -> Result<(), Error> {
        self.to(|_, _| Code::baseline(module, tiers.into()).map_err(Error::Init))
    }

    /// Swaps back to the previous code, like [`WapcHost::rollback`].
    ///
    /// # Errors
    ///
    /// The same as of [`WapcHost::rollback`], and [`Error::Probe`]; nothing has
    /// changed after these. [`Error::NotDrained`] if the rollback has taken
    /// effect, but calls on the code before it go on.
    ///
    /// # Panics
    ///
    /// Resumes the panic of the probe, or of a host callback that a start
    /// function calls. Nothing has changed then.
    pub fn rollback(self) -> Result<(), Error> {
        self.to(|_, previous| match previous {
            Some(previous) => Ok(previous.code()),
            None => Err(Error::NoPrevious),
        })
    }

    /// Swaps to `module` like [`Swap::module`], without blocking the thread; see
    /// [`WapcHost::replace_module_async`].
    ///
    /// # Errors
    ///
    /// The same as of [`Swap::module`].
    ///
    /// # Panics
    ///
    /// The same as of [`Swap::module`].
    pub async fn module_async(self, module: &[u8]) -> Result<(), Error> {
        let module = module.to_vec();
        let compile = move |current: &Generation| current.code().replace(&module);
        self.swap_async(|current, _| {
            Ok(Next::Compiled(offload(move || {
                compile(&current).map_err(Error::Init)
            })))
        })
        .await
    }

    /// Swaps to `provider` like [`Swap::provider`], without blocking the thread.
    ///
    /// # Errors
    ///
    /// The same as of [`Swap::provider`].
    ///
    /// # Panics
    ///
    /// The same as of [`Swap::provider`].
    pub async fn provider_async(
        self,
        provider: Box<dyn WebAssemblyEngineProvider>,
    ) -> Result<(), Error> {
        self.swap_async(|_, _| Ok(Next::Ready(Code::single(provider))))
            .await
    }

    /// Swaps to the baseline of `module` like [`Swap::tiered`], without blocking the thread.
    ///
    /// # Errors
    ///
    /// The same as of [`Swap::tiered`].
    ///
    /// # Panics
    ///
    /// The same as of [`Swap::tiered`].
    pub async fn tiered_async(
        self,
        module: &[u8],
        tiers: impl Into<Arc<Tiers>>,
    ) -> Result<(), Error> {
        let (module, tiers) = (module.to_vec(), tiers.into());
        self.swap_async(|_, _| {
            Ok(Next::Compiled(offload(move || {
                Code::baseline(&module, tiers).map_err(Error::Init)
            })))
        })
        .await
    }

    /// Swaps back to the previous code like [`Swap::rollback`], without blocking the thread.
    ///
    /// # Errors
    ///
    /// The same as of [`Swap::rollback`].
    ///
    /// # Panics
    ///
    /// The same as of [`Swap::rollback`].
    pub async fn rollback_async(self) -> Result<(), Error> {
        self.swap_async(|_, previous| match previous {
            Some(previous) => Ok(Next::Ready(previous.code())),
            None => Err(Error::NoPrevious),
        })
        .await
    }

    async fn swap_async(
        self,
        choose: impl FnOnce(Arc<Generation>, Option<Arc<Generation>>) -> Result<Next, Error>,
    ) -> Result<(), Error> {
        let host = &*self.host.shared;
        let swap = async {
            host.reject_drain_of_own_call(self.drain)?;
            let swapping = host.begin_swap_async().await?;
            let (current, previous) = host.current_and_previous();
            let code = match choose(Arc::clone(&current), previous)? {
                Next::Ready(code) => code,
                Next::Compiled(compiled) => compiled.await?,
            };
            let candidate = current.next(code);
            let try_and_publish = async {
                if let Some(probe) = self.probe {
                    host.try_out(&candidate, probe)?;
                }
                if let Some(probe) = self.async_probe {
                    host.try_out_async(&candidate, probe).await?;
                }
                host.publish_async(candidate, Some(current)).await
            };
            let number = swapping.run(try_and_publish).await?;
            drop(swapping);
            match self.drain {
                Some(limit) => host.drain_async(number, limit).await,
                None => Ok(()),
            }
        };
        swap.await.map_err(|error| host.count_error(error))
    }

    fn to(
        self,
        choose: impl FnOnce(&Generation, Option<&Generation>) -> Result<Code, Error>,
    ) -> Result<(), Error> {
        let host = &*self.host.shared;
        host.reject_drain_of_own_call(self.drain)
            .and_then(|()| host.swap(choose, self.probe, self.async_probe))
            .and_then(|number| match self.drain {
                Some(limit) => host.drain(number, limit),
                None => Ok(()),
            })
            .map_err(|error| host.count_error(error))
    }
}

/// The code to swap to.
enum Next {
    Ready(Code),
    Compiled(BoxFuture<'static, Result<Code, Error>>),
}

impl fmt::Debug for Swap<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Swap")
            .field("host", self.host)
            .field(
                "probe",
                &(self.probe.is_some() || self.async_probe.is_some()),
            )
            .field("drain", &self.drain)
            .finish_non_exhaustive()
    }
}

impl HostShared {
    /// Makes and probes the candidate, then publishes it. Returns its number.
    fn swap(
        &self,
        choose: impl FnOnce(&Generation, Option<&Generation>) -> Result<Code, Error>,
        probe: Option<Box<Probe<'_>>>,
        async_probe: Option<Box<AsyncProbe<'_>>>,
    ) -> Result<u64, Error> {
        let _swapping = self.begin_swap()?;
        let (current, previous) = self.current_and_previous();
        let code = choose(&current, previous.as_deref())?;
        let candidate = current.next(code);
        if let Some(probe) = probe {
            self.try_out(&candidate, probe)?;
        }
        if let Some(probe) = async_probe {
            block_on(self.try_out_async(&candidate, probe))?;
        }
        self.publish(candidate, Some(current))
    }

    /// Refuses to wait for a call that waits for this swap: the caller is its callback.
    fn reject_drain_of_own_call(&self, drain: Option<Duration>) -> Result<(), Error> {
        if drain.is_some() && is_reentrant(self.id) {
            return Err(Error::Reentrant {
                operation: "(drain)".to_owned(),
                host_id: self.id,
            });
        }
        Ok(())
    }

    /// Like [`HostShared::try_out`], by async calls.
    async fn try_out_async(
        &self,
        candidate: &Arc<Generation>,
        probe: Box<AsyncProbe<'_>>,
    ) -> Result<(), Error> {
        let _working = self.working(true)?;
        let pool = Pool::new(1);
        let guard = pool.try_take().ok_or_else(missing_instance)?;
        let mut lease = Lease::new(self, guard);
        lease.code = Some(Arc::clone(candidate));
        lease.fill_async("(probe)", None).await?;
        let mut candidate = CheckedOutAsync::new(lease, None);
        probe(&mut candidate).await.map_err(Error::Probe)
    }

    /// Like [`HostShared::drain`], without blocking the thread.
    async fn drain_async(&self, generation: u64, limit: Duration) -> Result<(), Error> {
        let deadline = Instant::now().checked_add(limit);
        for slot in self.pool.slots() {
            while !slot.has_reached(generation) {
                let now = Instant::now();
                if let Some(guard) = slot.wait(now) {
                    self.refresh(guard, generation);
                    break;
                }
                if deadline.is_some_and(|deadline| now >= deadline) {
                    return Err(Error::NotDrained { waited: limit });
                }
                Timer::new(now + LOOK_AGAIN).await;
            }
        }
        Ok(())
    }

    /// Lets `probe` call an instance of `candidate`, in a slot that no other
    /// caller knows of.
    fn try_out(&self, candidate: &Arc<Generation>, probe: Box<Probe<'_>>) -> Result<(), Error> {
        let _working = self.working(false)?;
        let pool = Pool::new(1);
        let guard = pool.try_take().ok_or_else(missing_instance)?;
        let mut lease = Lease::new(self, guard);
        lease.code = Some(Arc::clone(candidate));
        lease.fill("(probe)", None)?;
        probe(&mut CheckedOut::new(lease, None)).map_err(Error::Probe)
    }

    /// Waits until no call runs on code before `generation`.
    fn drain(&self, generation: u64, limit: Duration) -> Result<(), Error> {
        // `None` if the limit exceeds the range of `Instant`: wait for ever.
        let deadline = Instant::now().checked_add(limit);
        for slot in self.pool.slots() {
            while !slot.has_reached(generation) {
                let now = Instant::now();
                let look_again = now + LOOK_AGAIN;
                let until = deadline.map_or(look_again, |deadline| deadline.min(look_again));
                match slot.wait(until) {
                    Some(guard) => {
                        self.refresh(guard, generation);
                        break;
                    }
                    None if deadline.is_some_and(|deadline| now >= deadline) => {
                        return Err(Error::NotDrained { waited: limit });
                    }
                    None => {}
                }
            }
        }
        Ok(())
    }
}

/// The time to wait for a busy slot before checking again that its holder has
/// not moved it to the new code itself.
const LOOK_AGAIN: Duration = Duration::from_millis(5);

#[cfg(all(test, not(shuttle)))]
mod tests {
    use std::sync::{
        Arc, Barrier,
        atomic::{AtomicU64, Ordering},
    };

    use crate::engine::scripted::ScriptedProvider;

    fn answering(text: &'static str) -> ScriptedProvider {
        ScriptedProvider::new(move |guest, _, _| guest.respond(text.as_bytes()))
    }

    #[test]
    fn of_two_swaps_at_once_the_later_one_waits_and_wins() {
        let host = Arc::new(answering("first").host().unwrap());
        let (entered, leave) = (Arc::new(Barrier::new(2)), Arc::new(Barrier::new(2)));
        let mut second = answering("second");
        let (enter, go) = (Arc::clone(&entered), Arc::clone(&leave));
        second = second.with_start(move |_| {
            enter.wait();
            go.wait();
            Ok(())
        });
        let mut third = answering("third");
        let (seen, of) = (Arc::new(AtomicU64::new(0)), Arc::downgrade(&host));
        let see = Arc::clone(&seen);
        third = third.with_start(move |_| {
            let generation = of.upgrade().map_or(0, |host| host.generation());
            see.store(generation, Ordering::SeqCst);
            Ok(())
        });

        std::thread::scope(|scope| {
            scope.spawn(|| host.swap_provider(Box::new(second)).unwrap());
            entered.wait();
            let later = scope.spawn(|| host.swap_provider(Box::new(third)).unwrap());
            // Time for the later swap to go wrong.
            for _ in 0..100 {
                std::thread::yield_now();
            }
            assert!(!later.is_finished());
            assert_eq!(host.call("", b"").unwrap(), b"first");
            leave.wait();
        });
        assert_eq!(seen.load(Ordering::SeqCst), 2, "the first swap was done");
        assert_eq!((host.generation(), host.stats().swaps), (3, 2));
        assert_eq!(host.call("", b"").unwrap(), b"third");
    }
}
