//! Making instances, and putting them into their slots.

use std::{
    future::{Future, poll_fn},
    panic::{AssertUnwindSafe, catch_unwind, resume_unwind},
    pin::pin,
    sync::{
        Arc,
        atomic::AtomicBool,
        mpsc::{self, RecvTimeoutError},
    },
    task::Poll,
    time::{Duration, Instant},
};

use super::{
    admission::require_interruption,
    failure::{init_error, map_start_error},
    generation::Generation,
    settings::Spawner,
    shared::HostShared,
};
use crate::{
    block_on::block_on,
    clock,
    engine::provider::GuestInstance,
    error::{EngineError, Error, StopReason},
    limits::call::CallOptions,
    pool::{NewInstance, SlotGuard},
    protocol::callback::Callback,
    protocol::state::ModuleState,
    stack::OnEnoughStack,
    sync::atomic::Ordering,
};

impl HostShared {
    /// Returns `true` if the slot has no instance of the current code.
    #[inline]
    pub(super) fn is_stale(&self, guard: &SlotGuard<'_>) -> bool {
        guard.state.generation != self.generation()
    }

    /// Makes sure that a slot has an instance of the current code.
    #[cold]
    pub(super) fn ensure_current<'h>(
        &'h self,
        mut guard: SlotGuard<'h>,
        operation: &str,
        options: Option<&CallOptions>,
    ) -> Result<SlotGuard<'h>, Error> {
        self.fill(&mut guard, None, operation, options)
            .map_err(|error| self.count_error(error))?;
        Ok(guard)
    }

    /// Puts a new instance into a slot, of `code` or of the current code, for
    /// the next call.
    pub(super) fn fill(
        &self,
        guard: &mut SlotGuard<'_>,
        code: Option<&Arc<Generation>>,
        operation: &str,
        options: Option<&CallOptions>,
    ) -> Result<(), Error> {
        let code = self.evict(guard, code);
        let instance = match code.ready() {
            Some(instance) => instance,
            None => self
                .instance(&code, guard.slot().number, options)
                .map_err(|error| map_start_error(error, operation, options, &self.limits))?,
        };
        self.install(guard, &code, instance);
        Ok(())
    }

    /// Drops a slot's instance. Announces and returns the code of the next one.
    pub(super) fn evict(
        &self,
        guard: &mut SlotGuard<'_>,
        code: Option<&Arc<Generation>>,
    ) -> Arc<Generation> {
        drop(guard.slot().take(&mut guard.state));
        let code = match code {
            Some(code) => Arc::clone(code),
            None => Arc::clone(&self.published().current),
        };
        guard.slot().announce(code.number);
        code
    }

    /// Makes an instance of `code` and runs its start functions, under the
    /// `options` of a call that waits for it, if there is one.
    pub(crate) fn instance(
        &self,
        code: &Arc<Generation>,
        number: usize,
        options: Option<&CallOptions>,
    ) -> Result<Box<dyn GuestInstance>, Error> {
        if matches!(self.callback, Callback::Async(_)) {
            // The start functions may call the async callback.
            return match (&self.settings.spawner, self.own.upgrade()) {
                (Some(spawner), Some(own)) => {
                    own.instance_in_task(&**spawner, Arc::clone(code), number, options.cloned())
                }
                _ => block_on(self.instance_async(code, number, options)),
            };
        }
        let _working = self.working(options.is_some())?;
        let state = self.new_state(code, number, options)?;
        let panic = Arc::clone(state.panic_slot());
        let instance = code.provider.init(state);
        instance.map_err(|error| init_error(error, &panic))
    }

    /// Makes an instance in a task of the program's executor, and waits for it on this thread.
    fn instance_in_task(
        self: Arc<Self>,
        spawner: &Spawner,
        code: Arc<Generation>,
        number: usize,
        options: Option<CallOptions>,
    ) -> Result<Box<dyn GuestInstance>, Error> {
        let wait_limit = self.settings.wait_limit;
        let caller = options.clone().unwrap_or_default();
        let (tell, told) = mpsc::sync_channel(1);
        let runs = Arc::new(AtomicBool::new(false));
        let is_run = Arc::clone(&runs);
        spawner(Box::pin(async move {
            is_run.store(true, Ordering::Relaxed);
            let mut making = pin!(self.instance_async(&code, number, options.as_ref()));
            let made = poll_fn(|context| {
                let polled = catch_unwind(AssertUnwindSafe(|| making.as_mut().poll(context)));
                match polled {
                    Ok(polled) => polled.map(Ok),
                    Err(panic) => Poll::Ready(Err(panic)),
                }
            });
            // The waiting thread may have given up.
            _ = tell.send(made.await);
        }));
        let began = Instant::now();
        loop {
            match told.recv_timeout(LOOK_AGAIN) {
                Ok(Ok(made)) => return made,
                Ok(Err(panic)) => resume_unwind(panic),
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => {
                    return Err(not_run("its executor has dropped it"));
                }
            }
            let waited = began.elapsed();
            if caller.is_cancelled() {
                return Err(Error::Init(StopReason::Cancelled.into()));
            }
            if caller.until_deadline() == Some(Duration::ZERO) {
                return Err(Error::Init(StopReason::TimedOut { timeout: waited }.into()));
            }
            // Once it runs, the time of start functions bounds it.
            if !runs.load(Ordering::Relaxed) && wait_limit.is_some_and(|limit| waited >= limit) {
                return Err(not_run("its executor has ended, or waits for this thread"));
            }
        }
    }

    /// Returns the state for a new instance of `code`, with the time of its
    /// start functions running.
    pub(super) fn new_state(
        &self,
        code: &Generation,
        number: usize,
        options: Option<&CallOptions>,
    ) -> Result<ModuleState, Error> {
        let limits = &self.limits;
        require_interruption(
            code.provider.interruption(),
            limits.start_timeout.is_some() || limits.timeout.is_some(),
            limits.fuel.is_some(),
        )?;
        Ok(ModuleState::for_generation(
            code.number,
            self.id,
            number,
            self.callback.clone(),
            Arc::clone(limits),
            options,
            self.suspends(),
        ))
    }

    /// Returns `true` if new instances have to be suspended in host functions.
    pub(super) fn suspends(&self) -> bool {
        self.has_async_callers.load(Ordering::Relaxed)
    }

    /// Marks this host as working while an instance is made or probed. Wakes
    /// the clock if the work is `timed` by options of a call or by the host's
    /// limits.
    pub(crate) fn working(&self, timed: bool) -> Result<Working<'_>, Error> {
        self.working.fetch_add(1, Ordering::SeqCst);
        let working = Working(self);
        if timed || self.timed || self.limits.start_timeout.is_some() {
            clock::wake().map_err(|error| Error::Init(EngineError::Other(error.into())))?;
        }
        Ok(working)
    }

    pub(super) async fn instance_async(
        &self,
        code: &Generation,
        number: usize,
        options: Option<&CallOptions>,
    ) -> Result<Box<dyn GuestInstance>, Error> {
        // The clock must tick for the guest to yield, with or without limits.
        let _working = self.working(true)?;
        let mut state = self.new_state(code, number, options)?;
        state.set_yield_ticks(self.yield_ticks);
        let panic = Arc::clone(state.panic_slot());
        let instance = OnEnoughStack(code.provider.init_async(state)).await;
        let refused = |limit| Err(EngineError::Stopped(StopReason::Limit(limit)));
        let instance = instance.unwrap_or_else(refused);
        instance.map_err(|error| init_error(error, &panic))
    }

    pub(super) fn install(
        &self,
        guard: &mut SlotGuard<'_>,
        code: &Generation,
        mut instance: Box<dyn GuestInstance>,
    ) {
        let new = NewInstance {
            waits_on_thread: instance.state().waits_on_thread(),
            instance,
            generation: code.number,
            interruption: code.provider.interruption(),
        };
        guard.slot().install(&mut guard.state, new);
        let settings = &self.settings;
        if settings.idle_timeout.is_some() && settings.max_instances > settings.min_idle {
            // The clock retires idle instances. If it cannot start, none retire.
            _ = clock::wake();
        }
    }
}

/// The interval at which a thread that waits for a task looks whether its call is over.
const LOOK_AGAIN: Duration = Duration::from_millis(5);

fn not_run(why: &str) -> Error {
    let reason = format!("the spawner has not run the task that makes an instance: {why}");
    Error::Init(EngineError::Other(reason.into()))
}

/// Marks a host as working, which keeps the clock ticking, until it is dropped.
pub(crate) struct Working<'h>(&'h HostShared);

impl Drop for Working<'_> {
    fn drop(&mut self) {
        self.0.working.fetch_sub(1, Ordering::SeqCst);
    }
}
