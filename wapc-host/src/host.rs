//! The service object: one guest module, called from any thread.

use std::{
    any::Any,
    fmt, mem,
    panic::{AssertUnwindSafe, catch_unwind, resume_unwind},
    sync::{Arc, Weak},
    time::{Duration, Instant},
};

use crate::{
    awaiting::block_on,
    builder::{HostBuilder, Reuse, Settings},
    callback::{BoxError, Callback, HostCallback, Within, is_within},
    clock,
    error::{EngineError, Error, ProtocolError, Spent, Stop},
    lent::{Loan, Sink},
    limits::Limits,
    module_state::{ModuleState, PanicSlot},
    options::CallOptions,
    pool::{Held, Place, Pool, Tenant},
    provider::{GuestInstance, Interruption, WebAssemblyEngineProvider},
    stats::{ErrorCounters, Stats},
    swap::Swaps,
    sync::{
        Mutex, MutexGuard,
        atomic::{AtomicU64, AtomicUsize, Ordering, fence},
    },
    tiers::Promotion,
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

/// What a host shares with the clock and with swaps in the background.
pub(crate) struct Inner {
    id: u64,
    callback: Callback,
    settings: Settings,
    limits: Arc<Limits>,
    /// Whether calls without options have a timeout.
    timed: bool,
    published: Mutex<Published>,
    /// The number of the current generation, so that a call sees a swap by one
    /// load.
    generation: AtomicU64,
    /// Held by a swap: one after the other.
    pub(crate) swaps: Swaps,
    pub(crate) pool: Pool,
    /// How many threads are making an instance or trying one out.
    working: AtomicUsize,
    errors: ErrorCounters,
    idle: Mutex<Vec<Idle>>,
    own: Weak<Self>,
}

/// The code that new instances are made of, and the code before it.
pub(crate) struct Published {
    pub(crate) current: Arc<Generation>,
    pub(crate) previous: Option<Arc<Generation>>,
}

/// One version of the guest's code.
pub(crate) struct Generation {
    pub(crate) number: u64,
    pub(crate) provider: Arc<dyn WebAssemblyEngineProvider>,
    /// Instances that were made before the version was published.
    pub(crate) ready: Mutex<Vec<Box<dyn GuestInstance>>>,
}

impl Generation {
    /// An instance that was made before.
    pub(crate) fn ready(&self) -> Option<Box<dyn GuestInstance>> {
        self.ready.lock().pop()
    }
}

/// Since when a place's number of calls has not changed.
#[derive(Clone, Copy)]
struct Idle {
    calls: u64,
    since: Instant,
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
        let inner = Arc::new_cyclic(|own| Inner {
            id: NEXT_ID.fetch_add(1, Ordering::Relaxed),
            callback,
            timed: limits.timeout.is_some(),
            limits: Arc::new(limits),
            published: Mutex::new(Published {
                current: Arc::new(Generation {
                    number: FIRST_GENERATION,
                    provider: provider.into(),
                    ready: Mutex::default(),
                }),
                previous: None,
            }),
            generation: AtomicU64::new(FIRST_GENERATION),
            swaps: Swaps::default(),
            pool: Pool::new(settings.max_instances),
            working: AtomicUsize::new(0),
            errors: ErrorCounters::default(),
            idle: Mutex::default(),
            settings,
            own: own.clone(),
        });
        let clocked: Weak<Inner> = Arc::downgrade(&inner);
        clock::register(clocked);
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
        let turn = self.inner.turn("(check-out)", options)?;
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

impl fmt::Debug for Inner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WapcHost")
            .field("id", &self.id)
            .field("generation", &self.generation())
            .finish_non_exhaustive()
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
            _within: Within::enter(turn.host.id),
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

impl Inner {
    pub(crate) fn generation(&self) -> u64 {
        self.generation.load(Ordering::Acquire)
    }

    pub(crate) fn published(&self) -> MutexGuard<'_, Published> {
        self.published.lock()
    }

    pub(crate) const fn settings(&self) -> &Settings {
        &self.settings
    }

    pub(crate) const fn id(&self) -> u64 {
        self.id
    }

    /// Offers the provider of `generation` to move over to better instances. To
    /// be called before it makes any, so that none is left behind.
    pub(crate) fn await_promotion(&self, generation: &Arc<Generation>) {
        let promotion = Promotion::new(self.own.clone(), Arc::downgrade(generation));
        generation.provider.promote(promotion);
    }

    /// Makes `generation` what calls run on from now on, and `previous` what a
    /// rollback goes back to.
    pub(crate) fn publish(&self, generation: Arc<Generation>, previous: Option<Arc<Generation>>) {
        let number = generation.number;
        let mut published = self.published();
        let old = mem::replace(&mut published.current, generation);
        let older = mem::replace(&mut published.previous, previous);
        self.generation.store(number, Ordering::SeqCst);
        drop(published);
        let unused = mem::take(&mut *old.ready.lock());
        drop((old, older, unused));
    }

    /// Waits for an instance and makes sure that it is of the current code.
    #[inline]
    fn turn(&self, operation: &str, options: Option<&CallOptions>) -> Result<Turn<'_>, Error> {
        let held = match self.pool.try_take() {
            Some(held) => held,
            None => self.wait(operation, options)?,
        };
        let mut turn = Turn::new(self, held);
        if turn.is_stale() {
            turn.fill().map_err(|error| self.counted(error))?;
        }
        Ok(turn)
    }

    #[cold]
    fn wait(&self, operation: &str, options: Option<&CallOptions>) -> Result<Held<'_>, Error> {
        self.not_within(operation)?;
        let give_up = || match options {
            Some(options) => not_begun(operation, options),
            None => Ok(()),
        };
        self.pool
            .take_in_turn(operation, self.settings.wait_limit, give_up)
            .map_err(|error| self.counted(error))
    }

    /// Refuses a caller that would wait for itself.
    pub(crate) fn not_within(&self, operation: &str) -> Result<(), Error> {
        if self.pool.places().len() == 1 && is_within(self.id) {
            return Err(self.counted(Error::Reentrant {
                operation: operation.to_owned(),
                host_id: self.id,
            }));
        }
        Ok(())
    }

    pub(crate) fn first_instance(&self) -> Result<(), Error> {
        self.turn("(first instance)", None).map(|_| ())
    }

    /// A new instance of `code`, whose start functions have run.
    pub(crate) fn instance(
        &self,
        code: &Generation,
        number: usize,
    ) -> Result<Box<dyn GuestInstance>, Error> {
        if matches!(self.callback, Callback::Async(_)) {
            // Its start functions may await the callback.
            return block_on(self.instance_async(code, number));
        }
        let _working = self.working()?;
        let state = self.new_state(code, number)?;
        let panic = Arc::clone(state.panic_slot());
        let instance = code.provider.init(state);
        instance.map_err(|error| not_made(error, &panic))
    }

    /// The state of a new instance of `code`, whose start functions are about
    /// to run.
    pub(crate) fn new_state(&self, code: &Generation, number: usize) -> Result<ModuleState, Error> {
        let limits = &self.limits;
        interruptible(
            code.provider.interruption(),
            limits.start_timeout.is_some() || limits.timeout.is_some(),
            limits.fuel.is_some(),
        )?;
        Ok(ModuleState::of_generation(
            code.number,
            self.id,
            number,
            self.callback.clone(),
            Arc::clone(limits),
        ))
    }

    /// Keeps the clock ticking while an instance is made or tried out.
    pub(crate) fn working(&self) -> Result<Working<'_>, Error> {
        self.working.fetch_add(1, Ordering::SeqCst);
        let working = Working(self);
        if self.timed || self.limits.start_timeout.is_some() {
            clock::wake().map_err(|error| Error::Init(EngineError::Other(error.into())))?;
        }
        Ok(working)
    }

    /// Counts an error that a caller is about to get.
    #[cold]
    pub(crate) fn counted(&self, error: Error) -> Error {
        self.errors.count(&error);
        error
    }

    pub(crate) fn stats(&self) -> Stats {
        let generation = self.generation();
        let places = self.pool.places();
        let live = places
            .iter()
            .filter(|place| place.live.load(Ordering::Relaxed))
            .count();
        let sum = |of: fn(&Place) -> &AtomicU64| {
            places
                .iter()
                .map(|place| of(place).load(Ordering::Relaxed))
                .fold(0, u64::wrapping_add)
        };
        let mut idle = 0;
        for place in places {
            if place.live.load(Ordering::Relaxed) && !place.is_taken() {
                idle += 1;
            }
        }
        Stats {
            generation,
            live,
            idle,
            waiting: self.pool.waiting(),
            calls: sum(|place| &place.calls),
            swaps: generation - FIRST_GENERATION,
            time_in_guest: clock::duration_of(sum(|place| &place.ticks)),
            errors: self.errors.read(),
        }
    }

    /// Drops, in this thread, the idle instances of code older than
    /// `generation`, and puts those that are ready into their places. Busy ones
    /// go when their caller leaves them.
    #[cold]
    pub(crate) fn retire_before(&self, mut generation: u64) {
        loop {
            // Whoever leaves a place that is seen taken from here on sees that
            // its code is old.
            fence(Ordering::SeqCst);
            self.pool.for_each_free(|held| self.renew(held, generation));
            fence(Ordering::SeqCst);
            // What was ready may be old by now, in a place that the next swap
            // has seen taken.
            match self.generation() {
                newer if newer > generation => generation = newer,
                _ => break,
            }
        }
    }

    /// Retires old code that a swap has found busy, and that its caller has
    /// left without seeing the swap. Returns whether there may be more.
    fn retire_left(&self) -> bool {
        let current = self.generation();
        let may_hold_old = |place: &Place| place.may_hold_before(current);
        if self.pool.places().iter().any(may_hold_old) {
            self.retire_before(current);
        }
        self.pool.places().iter().any(may_hold_old)
    }

    /// Retires what is older than `generation`, now and as callers leave it.
    pub(crate) fn retire_all_before(&self, generation: u64) {
        self.retire_before(generation);
        if self.retire_left() {
            // It looks again. If it cannot start, callers do as a rule.
            _ = clock::wake();
        }
    }

    /// Drops the instance of a free place if it is of code older than
    /// `generation`; one that is ready takes its place.
    pub(crate) fn renew(&self, mut held: Held<'_>, generation: u64) {
        if held.slot.generation >= generation {
            return;
        }
        let old = held.place.vacate(&mut held.slot);
        let code = Arc::clone(&self.published().current);
        if let Some(instance) = code.ready() {
            self.occupy(&mut held, &code, instance);
        }
        drop(held);
        drop(old);
    }

    fn occupy(&self, held: &mut Held<'_>, code: &Generation, instance: Box<dyn GuestInstance>) {
        let tenant = Tenant {
            instance,
            generation: code.number,
            interruption: code.provider.interruption(),
        };
        held.place.occupy(&mut held.slot, tenant);
        let settings = &self.settings;
        if settings.idle_timeout.is_some() && settings.max_instances > settings.min_idle {
            // It looks after what is idle. If it cannot start, nothing retires.
            _ = clock::wake();
        }
    }

    /// Drops instances that have been idle for too long, but for as many as
    /// are to be kept. Returns whether there may be more to drop later.
    fn retire_idle(&self) -> bool {
        let Some(after) = self.settings.idle_timeout else {
            return false;
        };
        let now = Instant::now();
        let mut idle = self.idle.lock();
        let places = self.pool.places();
        idle.resize(
            places.len(),
            Idle {
                calls: 0,
                since: now,
            },
        );
        let mut live = places
            .iter()
            .filter(|place| place.live.load(Ordering::Relaxed))
            .count();
        // The last places first: callers begin their search with the first.
        for (place, idle) in places.iter().zip(idle.iter_mut()).rev() {
            let calls = place.calls.load(Ordering::Relaxed);
            if calls != idle.calls {
                *idle = Idle { calls, since: now };
            } else if live > self.settings.min_idle
                && place.live.load(Ordering::Relaxed)
                && now.duration_since(idle.since) >= after
                && let Some(mut held) = self.pool.wait_for(place, now)
            {
                let old = held.place.vacate(&mut held.slot);
                drop(held);
                drop(old);
                live -= 1;
            }
        }
        live > self.settings.min_idle
    }
}

impl clock::Clocked for Inner {
    fn running(&self) -> bool {
        self.working.load(Ordering::SeqCst) > 0
            || self
                .pool
                .places()
                .iter()
                .any(|place| place.running.load(Ordering::SeqCst))
    }

    fn tend(&self) -> bool {
        self.retire_left() | self.retire_idle()
    }
}

/// An instance is being made or tried out.
pub(crate) struct Working<'h>(&'h Inner);

impl Drop for Working<'_> {
    fn drop(&mut self) {
        self.0.working.fetch_sub(1, Ordering::SeqCst);
    }
}

/// The exclusive use of an instance.
pub(crate) struct Turn<'h> {
    pub(crate) host: &'h Inner,
    pub(crate) held: Held<'h>,
    /// What a lost instance is replaced from, if not from the current code.
    pub(crate) code: Option<Arc<Generation>>,
    // Dropped after `held`: a swap that has found the place taken is not
    // missed.
    _leave: RetireOld<'h>,
}

/// Retires what a caller has left if a swap has made it old.
struct RetireOld<'h> {
    host: &'h Inner,
    place: &'h Place,
}

impl Drop for RetireOld<'_> {
    #[inline]
    fn drop(&mut self) {
        // On processors that we know, this load comes after the unlocking. For
        // others the clock looks again; a fence would cost every call.
        let current = self.host.generation.load(Ordering::SeqCst);
        if self.place.holds_before(current) {
            self.host.retire_before(current);
        }
    }
}

impl<'h> Turn<'h> {
    #[inline]
    pub(crate) fn new(host: &'h Inner, held: Held<'h>) -> Self {
        Self {
            host,
            code: None,
            _leave: RetireOld {
                host,
                place: held.place,
            },
            held,
        }
    }

    /// Whether the instance is of other code than the current one.
    #[inline]
    pub(crate) fn is_stale(&self) -> bool {
        self.held.slot.generation != self.host.generation()
    }

    #[inline]
    fn call(
        &mut self,
        operation: &str,
        payload: &[u8],
        options: Option<&CallOptions>,
    ) -> Result<Vec<u8>, Error> {
        let mut response = Vec::new();
        self.call_into(operation, payload, &mut response, options)?;
        Ok(response)
    }

    #[inline]
    fn call_into(
        &mut self,
        operation: &str,
        payload: &[u8],
        response: &mut Vec<u8>,
        options: Option<&CallOptions>,
    ) -> Result<(), Error> {
        self.converse(operation, payload, options, &mut |bytes| {
            response.clear();
            response.extend_from_slice(bytes);
        })
    }

    #[inline]
    fn call_with<R: Send>(
        &mut self,
        operation: &str,
        payload: &[u8],
        mut read: impl FnMut(&[u8]) -> R + Send,
        options: Option<&CallOptions>,
    ) -> Result<R, Error> {
        let host_id = self.host.id;
        let mut result = None;
        let outcome = self.converse(operation, payload, options, &mut |bytes| {
            // The guest has done nothing wrong: it finishes its call first.
            result = Some(catch_unwind(AssertUnwindSafe(|| {
                let _within = Within::enter(host_id);
                read(bytes)
            })));
        });
        match (outcome, result) {
            (_, Some(Err(panic))) => resume_unwind(panic),
            (Err(error), _) => Err(error),
            (Ok(()), Some(Ok(result))) => Ok(result),
            (Ok(()), None) => Err(Error::Protocol {
                operation: operation.to_owned(),
                source: ProtocolError::NoResponse,
                spent: Spent::default(),
            }),
        }
    }

    /// One call: lends the caller's bytes, runs the guest, and looks at how it
    /// went.
    #[inline]
    fn converse(
        &mut self,
        operation: &str,
        payload: &[u8],
        options: Option<&CallOptions>,
        mut sink: &mut Sink<'_>,
    ) -> Result<(), Error> {
        if self.is_lost() {
            self.fill().map_err(|error| self.host.counted(error))?;
        }
        let lengths = self.begin(operation, payload, options, self.host.timed)?;
        let Some(instance) = &mut self.held.slot.instance else {
            return Err(no_instance());
        };
        let mut loan = Loan::new(&mut **instance, operation, payload, &mut sink, options);
        let returned = loan.instance().call(lengths.operation, lengths.payload);
        let responded = loan.end().responded();
        drop(loan);
        self.end(operation, returned, responded)
    }

    /// Whether the call before this one lost the instance.
    #[inline]
    pub(crate) fn is_lost(&self) -> bool {
        self.held.slot.instance.is_none() || self.held.slot.spoiled
    }

    /// What comes before the guest: the lengths, the options, the clock if the
    /// call is `timed`.
    #[inline]
    pub(crate) fn begin(
        &mut self,
        operation: &str,
        payload: &[u8],
        options: Option<&CallOptions>,
        timed: bool,
    ) -> Result<Lengths, Error> {
        let lengths = Lengths::of(operation, payload, &self.host.limits)
            .map_err(|error| self.host.counted(error))?;
        if let Some(options) = options {
            self.admit(operation, options)
                .map_err(|error| self.host.counted(error))?;
        }
        if timed || options.is_some() {
            let running = &self.held.place.running;
            running.store(true, Ordering::Relaxed);
            clock::wake().map_err(|error| {
                running.store(false, Ordering::Relaxed);
                Error::Engine {
                    operation: operation.to_owned(),
                    source: EngineError::Other(error.into()),
                    spent: Spent::default(),
                }
            })?;
        }
        self.held.slot.spoiled = true;
        Ok(lengths)
    }

    #[cold]
    fn admit(&self, operation: &str, options: &CallOptions) -> Result<(), Error> {
        interruptible(
            self.held.slot.interruption,
            options.timeout.is_some() || options.deadline.is_some() || options.cancel.is_some(),
            options.fuel.is_some(),
        )?;
        not_begun(operation, options)
    }

    /// What comes after the guest: whether its instance lives on, and what the
    /// caller hears.
    #[inline]
    pub(crate) fn end(
        &mut self,
        operation: &str,
        returned: Result<i32, EngineError>,
        responded: bool,
    ) -> Result<(), Error> {
        let place = self.held.place;
        let slot = &mut *self.held.slot;
        place.running.store(false, Ordering::Relaxed);
        bump(&place.calls, 1);
        slot.uses += 1;
        let Some(instance) = &mut slot.instance else {
            return Err(no_instance());
        };
        let state = instance.state();
        let ticks = state.ticks();
        if ticks > 0 {
            bump(&place.ticks, ticks);
        }
        if matches!(returned, Ok(1)) && responded {
            slot.spoiled = false;
            return Ok(());
        }
        let failure = Failure::of(operation, returned, state);
        if matches!(failure, Failure::Error(Error::Guest { .. })) {
            slot.spoiled = false;
        } else {
            drop(place.vacate(slot));
        }
        match failure {
            Failure::Error(error) => Err(self.host.counted(error)),
            Failure::Panic(panic) => resume_unwind(panic),
        }
    }

    /// Puts a new instance into the place.
    #[cold]
    pub(crate) fn fill(&mut self) -> Result<(), Error> {
        let code = self.vacate();
        let instance = match code.ready() {
            Some(instance) => instance,
            None => self.host.instance(&code, self.held.number)?,
        };
        self.occupy(&code, instance);
        Ok(())
    }

    /// Empties the place and returns what is to fill it.
    pub(crate) fn vacate(&mut self) -> Arc<Generation> {
        drop(self.held.place.vacate(&mut self.held.slot));
        let code = match &self.code {
            Some(code) => Arc::clone(code),
            None => Arc::clone(&self.host.published().current),
        };
        self.held.place.expect(code.number);
        code
    }

    pub(crate) fn occupy(&mut self, code: &Generation, instance: Box<dyn GuestInstance>) {
        self.host.occupy(&mut self.held, code, instance);
    }
}

impl Drop for Turn<'_> {
    /// Drops an instance that must not be used again.
    #[inline]
    fn drop(&mut self) {
        let slot = &self.held.slot;
        let worn = match self.host.settings.reuse {
            Reuse::Keep => false,
            Reuse::Recycle(calls) => slot.uses >= calls.get(),
            Reuse::Fresh => slot.uses > 0,
        };
        if worn || slot.spoiled {
            self.held.place.running.store(false, Ordering::Relaxed);
            drop(self.held.place.vacate(&mut self.held.slot));
        }
    }
}

impl fmt::Debug for Turn<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Turn")
            .field("host", &self.host)
            .finish_non_exhaustive()
    }
}

/// Adds to a counter that only the holder of its place writes.
#[inline]
fn bump(counter: &AtomicU64, by: u64) {
    counter.store(
        counter.load(Ordering::Relaxed).wrapping_add(by),
        Ordering::Relaxed,
    );
}

/// Refuses limits or options that a provider cannot keep: a guest that was
/// thought to be stopped in time must be.
fn interruptible(interruption: Interruption, time: bool, fuel: bool) -> Result<(), Error> {
    if time && !interruption.by_time() {
        return Err(Error::NotInterruptible { what: "time" });
    }
    if fuel && !interruption.by_fuel() {
        return Err(Error::NotInterruptible { what: "fuel" });
    }
    Ok(())
}

/// Refuses a call that is over before the guest is called.
pub(crate) fn not_begun(operation: &str, options: &CallOptions) -> Result<(), Error> {
    if options.is_cancelled() {
        return Err(Error::Cancelled {
            operation: operation.to_owned(),
            spent: Spent::default(),
        });
    }
    match options.deadline {
        Some(deadline) if deadline <= Instant::now() => Err(Error::TimedOut {
            operation: operation.to_owned(),
            timeout: Duration::ZERO,
            spent: Spent::default(),
        }),
        _ => Ok(()),
    }
}

/// Lengths as they travel: unsigned 32-bit numbers in an `i32`.
#[derive(Clone, Copy)]
pub(crate) struct Lengths {
    pub(crate) operation: i32,
    pub(crate) payload: i32,
}

impl Lengths {
    #[inline]
    fn of(operation: &str, payload: &[u8], limits: &Limits) -> Result<Self, Error> {
        let bytes = operation.len().saturating_add(payload.len());
        let limit = limits.max_bytes_in.min(MAX_REQUEST_BYTES);
        match (u32::try_from(operation.len()), u32::try_from(payload.len())) {
            (Ok(operation), Ok(payload)) if bytes <= limit => Ok(Self {
                operation: operation.cast_signed(),
                payload: payload.cast_signed(),
            }),
            _ => Err(Error::TooLarge { bytes, limit }),
        }
    }
}

/// What fits the address space of a guest.
const MAX_REQUEST_BYTES: usize = u32::MAX as usize;

/// How a call went that has no response to show.
enum Failure {
    Error(Error),
    Panic(Box<dyn Any + Send>),
}

impl Failure {
    #[cold]
    fn of(operation: &str, returned: Result<i32, EngineError>, state: &mut ModuleState) -> Self {
        if let Some(panic) = state.panic_slot().take() {
            return Self::Panic(panic);
        }
        let operation = operation.to_owned();
        let spent = state.spent();
        let guest_error = state.take_guest_error();
        let protocol = |operation, source| Error::Protocol {
            operation,
            source,
            spent,
        };
        Self::Error(match (returned, guest_error) {
            (Ok(0 | 1), Some(message)) => Error::Guest { operation, message },
            (Ok(0), None) => protocol(operation, ProtocolError::NoError),
            (Ok(1), None) => protocol(operation, ProtocolError::NoResponse),
            (Ok(other), _) => protocol(operation, ProtocolError::Returned(other)),
            (Err(EngineError::Trap(trap)), guest_error) => Error::Trapped {
                operation,
                trap,
                guest_error,
                refused: state.refused().cloned(),
                spent,
            },
            (Err(EngineError::Exit(code)), _) => Error::Exited {
                operation,
                code,
                spent,
            },
            (Err(EngineError::Stopped(stop)), _) => match stop {
                Stop::Protocol(source) => protocol(operation, source),
                Stop::Limit(source) => Error::Limit {
                    operation,
                    source,
                    spent,
                },
                Stop::TimedOut { timeout } => Error::TimedOut {
                    operation,
                    timeout,
                    spent,
                },
                Stop::Cancelled => Error::Cancelled { operation, spent },
            },
            (Err(source), _) => Error::Engine {
                operation,
                source,
                spent,
            },
        })
    }
}

/// Why an instance could not be made; or the panic of the callback that its
/// start functions called, which goes on.
pub(crate) fn not_made(error: EngineError, panic: &PanicSlot) -> Error {
    match panic.take() {
        Some(panic) => resume_unwind(panic),
        None => Error::Init(error),
    }
}

/// A place that was filled a moment ago is empty: never seen.
#[cold]
pub(crate) fn no_instance() -> Error {
    Error::Init(EngineError::Other("the instance is gone".into()))
}

const FIRST_GENERATION: u64 = 1;

static NEXT_ID: AtomicU64 = AtomicU64::new(1);

#[cfg(all(test, not(shuttle)))]
mod tests;
