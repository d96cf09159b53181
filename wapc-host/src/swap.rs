//! Replacing a guest's code while it is called.

use std::{
    fmt,
    sync::Arc,
    time::{Duration, Instant},
};

use crate::{
    engine::provider::WebAssemblyEngineProvider,
    error::{BoxError, Error},
    host::{CheckedOut, Code, Generation, HostShared, Lease, Tiers, WapcHost},
    pool::Pool,
};

impl WapcHost {
    /// Replaces the guest's code by `module` (binary or text) on the same
    /// engine with the same settings.
    ///
    /// Everything slow or fallible happens first, while calls go on with the
    /// old code: compiling, linking, making as many instances as there are,
    /// their start functions. Then calls that begin after this returns run the
    /// new code. A call that is running finishes on the code it began on. The
    /// guest's state does not outlive its code. Two swaps at the same time are
    /// done one after the other.
    ///
    /// It blocks until all that is done. In async code, call it on a thread that
    /// may block, as those of tokio's `spawn_blocking`.
    ///
    /// A host of [`Tiers`] begins on the baseline again.
    ///
    /// [`WapcHost::swap`] does more: a probe, waiting for calls on the old code.
    ///
    /// # Errors
    ///
    /// [`Error::Init`]; [`Error::Reentrant`] from the probe of a swap of this
    /// host, or from a callback that a new instance calls at its start. Nothing
    /// has changed then.
    ///
    /// # Panics
    ///
    /// If a start function calls the host and the callback panics; nothing has
    /// changed then.
    pub fn replace_module(&self, module: &[u8]) -> Result<(), Error> {
        self.swap().module(module)
    }

    /// Replaces the guest's code by that of another provider, of another
    /// engine too, like [`WapcHost::replace_module`].
    ///
    /// A host of [`Tiers`] has one tier from then on, until a rollback or
    /// [`Swap::tiered`] brings tiers back.
    ///
    /// # Errors
    ///
    /// [`Error::Init`]; [`Error::NotInterruptible`] if the provider cannot keep
    /// the host's limits. Nothing has changed then.
    ///
    /// # Panics
    ///
    /// As [`WapcHost::replace_module`].
    pub fn swap_provider(&self, provider: Box<dyn WebAssemblyEngineProvider>) -> Result<(), Error> {
        self.swap().provider(provider)
    }

    /// Goes back to the code before the present one, without compiling it
    /// again. New instances are made of it, and the present code becomes the
    /// one before: a second rollback undoes the first.
    ///
    /// # Errors
    ///
    /// [`Error::NoPrevious`] before the first swap; [`Error::Init`]. Nothing
    /// has changed then.
    ///
    /// # Panics
    ///
    /// As [`WapcHost::replace_module`].
    pub fn rollback(&self) -> Result<(), Error> {
        self.swap().rollback()
    }

    /// A swap with more to it than [`WapcHost::replace_module`].
    ///
    /// ```no_run
    /// # use std::time::Duration;
    /// # fn example(host: &wapc_host::WapcHost, module: &[u8]) -> Result<(), wapc_host::Error> {
    /// host.swap()
    ///     .probe(|candidate| match candidate.call("health", b"")?.as_slice() {
    ///         b"ok" => Ok(()),
    ///         _ => Err("not healthy".into()),
    ///     })
    ///     .drain(Duration::from_secs(5))
    ///     .module(module)?;
    /// # Ok(())
    /// # }
    /// ```
    pub const fn swap(&self) -> Swap<'_> {
        Swap {
            host: self,
            probe: None,
            drain: None,
        }
    }
}

/// A swap about to be done; see [`WapcHost::swap`].
#[must_use = "a swap begins with `module`, `provider` or `rollback`"]
pub struct Swap<'h> {
    host: &'h WapcHost,
    probe: Option<Box<Probe<'h>>>,
    drain: Option<Duration>,
}

type Probe<'h> = dyn FnOnce(&mut CheckedOut<'_>) -> Result<(), BoxError> + 'h;

impl<'h> Swap<'h> {
    /// Lets `probe` call an instance of the new code before anybody else does.
    /// If it returns an error, nothing is swapped. The instance that it called
    /// is dropped in any case.
    ///
    /// On a host of one instance, calling the host itself from the probe is
    /// refused ([`Error::Reentrant`]) if the instance is busy.
    pub fn probe(
        mut self,
        probe: impl FnOnce(&mut CheckedOut<'_>) -> Result<(), BoxError> + 'h,
    ) -> Self {
        self.probe = Some(Box::new(probe));
        self
    }

    /// Waits, after the swap has taken effect, until no call runs on the old
    /// code, for up to `limit` ([`Error::NotDrained`]).
    pub const fn drain(mut self, limit: Duration) -> Self {
        self.drain = Some(limit);
        self
    }

    /// Swaps to `module` as [`WapcHost::replace_module`] does.
    ///
    /// # Errors
    ///
    /// As [`WapcHost::replace_module`], and [`Error::Probe`]. After
    /// [`Error::NotDrained`], and only then, the new code serves.
    ///
    /// # Panics
    ///
    /// As [`WapcHost::replace_module`], and if the probe panics; nothing has
    /// changed then.
    pub fn module(self, module: &[u8]) -> Result<(), Error> {
        self.to(|current, _| current.code().replace(module).map_err(Error::Init))
    }

    /// Swaps to `provider` as [`WapcHost::swap_provider`] does.
    ///
    /// # Errors
    ///
    /// As [`WapcHost::swap_provider`], and as [`Swap::module`].
    ///
    /// # Panics
    ///
    /// As [`Swap::module`].
    pub fn provider(self, provider: Box<dyn WebAssemblyEngineProvider>) -> Result<(), Error> {
        self.to(|_, _| Ok(Code::single(provider)))
    }

    /// Swaps to the baseline of `module` (binary or text), and later to its
    /// optimized tier; see [`Tiers`]. The host has these tiers from then on.
    ///
    /// # Errors
    ///
    /// As [`WapcHost::swap_provider`], and as [`Swap::module`].
    ///
    /// # Panics
    ///
    /// As [`Swap::module`].
    pub fn tiered(self, module: &[u8], tiers: impl Into<Arc<Tiers>>) -> Result<(), Error> {
        self.to(|_, _| Code::baseline(module, tiers.into()).map_err(Error::Init))
    }

    /// Goes back as [`WapcHost::rollback`] does.
    ///
    /// # Errors
    ///
    /// As [`WapcHost::rollback`], and as [`Swap::module`].
    ///
    /// # Panics
    ///
    /// As [`Swap::module`].
    pub fn rollback(self) -> Result<(), Error> {
        self.to(|_, previous| match previous {
            Some(previous) => Ok(previous.code()),
            None => Err(Error::NoPrevious),
        })
    }

    fn to(
        self,
        choose: impl FnOnce(&Generation, Option<&Generation>) -> Result<Code, Error>,
    ) -> Result<(), Error> {
        let host = &*self.host.shared;
        host.swap(choose, self.probe)
            .and_then(|number| match self.drain {
                Some(limit) => host.drain(number, limit),
                None => Ok(()),
            })
            .map_err(|error| host.count_error(error))
    }
}

impl fmt::Debug for Swap<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Swap")
            .field("host", self.host)
            .field("probe", &self.probe.is_some())
            .field("drain", &self.drain)
            .finish_non_exhaustive()
    }
}

impl HostShared {
    /// Makes all that may fail, then publishes it. Returns its number.
    fn swap(
        &self,
        choose: impl FnOnce(&Generation, Option<&Generation>) -> Result<Code, Error>,
        probe: Option<Box<Probe<'_>>>,
    ) -> Result<u64, Error> {
        let _swapping = self.begin_swap()?;
        let (current, previous) = self.current_and_previous();
        let code = choose(&current, previous.as_deref())?;
        let candidate = current.next(code);
        if let Some(probe) = probe {
            self.try_out(&candidate, probe)?;
        }
        self.publish(candidate, Some(current))
    }

    /// Lets `probe` call an instance of `candidate`, in a slot that no other
    /// caller knows of.
    fn try_out(&self, candidate: &Arc<Generation>, probe: Box<Probe<'_>>) -> Result<(), Error> {
        let _working = self.working(false)?;
        let pool = Pool::new(1);
        let Some(guard) = pool.try_take() else {
            return Ok(());
        };
        let mut lease = Lease::new(self, guard);
        lease.code = Some(Arc::clone(candidate));
        lease.fill("(probe)", None)?;
        probe(&mut CheckedOut::new(lease, None)).map_err(Error::Probe)
    }

    /// Waits until no call runs on code before `generation`.
    fn drain(&self, generation: u64, limit: Duration) -> Result<(), Error> {
        // None is too far away to be a time: for ever.
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

/// How long to wait for a busy slot before looking whether it has moved on to
/// the new code by itself.
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
