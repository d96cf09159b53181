//! What a host shares with its calls, its swaps and the clock.

use std::{
    fmt, mem,
    num::NonZeroU64,
    sync::{Arc, Weak},
    time::Instant,
};

use super::turn::{MAX_REQUEST_BYTES, Turn, interruptible, not_begun, not_made, over_or};
use crate::{
    awaiting::block_on,
    builder::Settings,
    callback::{Callback, is_within},
    clock,
    error::{EngineError, Error},
    limits::Limits,
    module_state::ModuleState,
    options::CallOptions,
    pool::{Held, Place, Pool, Tenant},
    provider::{GuestInstance, WebAssemblyEngineProvider},
    stats::{ErrorCounters, Stats},
    swap::Swaps,
    sync::{
        Mutex, MutexGuard, StaticU64,
        atomic::{AtomicU64, AtomicUsize, Ordering, fence},
    },
    tiers::Promotion,
};

/// What a host shares with the clock and with swaps in the background.
pub(crate) struct Inner {
    pub(super) id: u64,
    pub(super) callback: Callback,
    pub(super) settings: Settings,
    pub(crate) limits: Arc<Limits>,
    /// How long an operation's name and a payload may be together.
    pub(super) max_request: usize,
    /// Whether calls without options have a timeout.
    pub(super) timed: bool,
    /// The clock's ticks between the pauses of a guest in an async call.
    pub(crate) slice: NonZeroU64,
    published: Mutex<Published>,
    /// The number of the current generation, so that a call sees a swap by one
    /// load.
    pub(super) generation: AtomicU64,
    /// Held by a swap: one after the other.
    pub(crate) swaps: Swaps,
    pub(crate) pool: Pool,
    /// How many threads are making an instance or trying one out.
    working: AtomicUsize,
    pub(super) errors: ErrorCounters,
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

impl fmt::Debug for Inner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WapcHost")
            .field("id", &self.id)
            .field("generation", &self.generation())
            .finish_non_exhaustive()
    }
}

impl Inner {
    /// A host that the clock looks after; it has no instance yet.
    pub(super) fn new(
        provider: Box<dyn WebAssemblyEngineProvider>,
        callback: Callback,
        settings: Settings,
        limits: Limits,
    ) -> Arc<Self> {
        let inner = Arc::new_cyclic(|own| Self {
            id: NEXT_ID.fetch_add(1, Ordering::Relaxed),
            callback,
            timed: limits.timeout.is_some(),
            slice: NonZeroU64::new(clock::ticks_in(settings.slice)).unwrap_or(NonZeroU64::MIN),
            max_request: limits.max_bytes_in.min(MAX_REQUEST_BYTES),
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
        let clocked: Weak<Self> = Arc::downgrade(&inner);
        clock::register(clocked);
        inner
    }

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
        let promotion = Promotion::new(self.own.clone(), generation);
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
    // Inlined into each form of call: to return a turn in memory, and to read it
    // back from there, takes longer than to take the place.
    #[inline(always)]
    pub(super) fn turn(
        &self,
        operation: &str,
        options: Option<&CallOptions>,
    ) -> Result<Turn<'_>, Error> {
        let mut held = match self.pool.try_take() {
            Some(held) => held,
            None => self.wait(operation, options)?,
        };
        if self.is_stale(&held) {
            held = self.filled(held, operation, options)?;
        }
        Ok(Turn::new(self, held))
    }

    /// Whether the instance in a place is of other code than the current one.
    #[inline]
    pub(crate) fn is_stale(&self, held: &Held<'_>) -> bool {
        held.slot.generation != self.generation()
    }

    #[cold]
    fn filled<'h>(
        &'h self,
        mut held: Held<'h>,
        operation: &str,
        options: Option<&CallOptions>,
    ) -> Result<Held<'h>, Error> {
        self.fill(&mut held, None, operation, options)
            .map_err(|error| self.counted(error))?;
        Ok(held)
    }

    /// Puts a new instance into a place, of `code` or of the current code, for
    /// the next call.
    pub(super) fn fill(
        &self,
        held: &mut Held<'_>,
        code: Option<&Arc<Generation>>,
        operation: &str,
        options: Option<&CallOptions>,
    ) -> Result<(), Error> {
        let code = self.vacate(held, code);
        let instance = match code.ready() {
            Some(instance) => instance,
            None => self
                .instance(&code, held.place().number, options)
                .map_err(|error| over_or(error, operation, options, &self.limits))?,
        };
        self.occupy(held, &code, instance);
        Ok(())
    }

    /// Empties a place and returns what is to fill it.
    pub(crate) fn vacate(
        &self,
        held: &mut Held<'_>,
        code: Option<&Arc<Generation>>,
    ) -> Arc<Generation> {
        drop(held.place().vacate(&mut held.slot));
        let code = match code {
            Some(code) => Arc::clone(code),
            None => Arc::clone(&self.published().current),
        };
        held.place().expect(code.number);
        code
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

    /// A new instance of `code`, whose start functions have run: within the
    /// `options` of a call that waits for it.
    pub(crate) fn instance(
        &self,
        code: &Generation,
        number: usize,
        options: Option<&CallOptions>,
    ) -> Result<Box<dyn GuestInstance>, Error> {
        if matches!(self.callback, Callback::Async(_)) {
            // Its start functions may await the callback.
            return block_on(self.instance_async(code, number, options));
        }
        let _working = self.working(options.is_some())?;
        let state = self.new_state(code, number, options)?;
        let panic = Arc::clone(state.panic_slot());
        let instance = code.provider.init(state);
        instance.map_err(|error| not_made(error, &panic))
    }

    /// The state of a new instance of `code`, whose start functions are about
    /// to run.
    pub(crate) fn new_state(
        &self,
        code: &Generation,
        number: usize,
        options: Option<&CallOptions>,
    ) -> Result<ModuleState, Error> {
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
            options,
        ))
    }

    /// Keeps the clock ticking while an instance is made or tried out, if that
    /// is `timed` by more than the host's limits or by those.
    pub(crate) fn working(&self, timed: bool) -> Result<Working<'_>, Error> {
        self.working.fetch_add(1, Ordering::SeqCst);
        let working = Working(self);
        if timed || self.timed || self.limits.start_timeout.is_some() {
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
        let code = Arc::clone(&self.published().current);
        Stats {
            generation,
            tier: code.provider.tier(),
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
        let old = held.place().vacate(&mut held.slot);
        let code = Arc::clone(&self.published().current);
        if let Some(instance) = code.ready() {
            self.occupy(&mut held, &code, instance);
        }
        drop(held);
        drop(old);
    }

    pub(crate) fn occupy(
        &self,
        held: &mut Held<'_>,
        code: &Generation,
        instance: Box<dyn GuestInstance>,
    ) {
        let tenant = Tenant {
            instance,
            generation: code.number,
            interruption: code.provider.interruption(),
        };
        held.place().occupy(&mut held.slot, tenant);
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
                && let Some(mut held) = place.wait(now)
            {
                let old = held.place().vacate(&mut held.slot);
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

const FIRST_GENERATION: u64 = 1;

static NEXT_ID: StaticU64 = StaticU64::new(1);
