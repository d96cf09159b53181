//! Making instances, and putting them into their places.

use std::sync::Arc;

use super::{
    admission::interruptible,
    failure::{not_made, over_or},
    generation::Generation,
    inner::Inner,
};
use crate::{
    block_on::block_on,
    clock,
    engine::provider::GuestInstance,
    error::{EngineError, Error},
    limits::call::CallOptions,
    pool::{Held, Tenant},
    protocol::callback::Callback,
    protocol::state::ModuleState,
    sync::atomic::Ordering,
};

impl Inner {
    /// Whether the instance in a place is of other code than the current one.
    #[inline]
    pub(crate) fn is_stale(&self, held: &Held<'_>) -> bool {
        held.slot.generation != self.generation()
    }

    #[cold]
    pub(super) fn filled<'h>(
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

    pub(crate) async fn instance_async(
        &self,
        code: &Generation,
        number: usize,
        options: Option<&CallOptions>,
    ) -> Result<Box<dyn GuestInstance>, Error> {
        // The clock must tick for the pauses, with or without limits.
        let _working = self.working(true)?;
        let mut state = self.new_state(code, number, options)?;
        state.set_slice(self.slice);
        let panic = Arc::clone(state.panic_slot());
        let instance = code.provider.init_async(state).await;
        instance.map_err(|error| not_made(error, &panic))
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
}

/// An instance is being made or tried out.
pub(crate) struct Working<'h>(&'h Inner);

impl Drop for Working<'_> {
    fn drop(&mut self) {
        self.0.working.fetch_sub(1, Ordering::SeqCst);
    }
}
