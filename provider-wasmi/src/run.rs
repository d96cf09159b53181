//! Runs guest functions under the limits of their call.

use std::{future::poll_fn, mem, ops::ControlFlow, task::Poll};

use wapc_host::{EngineError, Interruption, ModuleState, Returned, Stop};
use wasmi::{
    Error, Store, TypedFunc, TypedResumableCall, TypedResumableCallHostTrap,
    TypedResumableCallOutOfFuel, Val, WasmParams, WasmResults,
};

use crate::{
    errors::{engine_error, is_asking, is_out_of_fuel},
    imports::Data,
};

/// The fuel after which a timed guest is asked whether it may go on.
///
/// A unit is about one instruction, or 64 bytes of a bulk operation: a slice
/// takes a tenth of a millisecond or less, and going on costs it a few parts in
/// a thousand. It is not larger because of what wasmi does not count: a call
/// that clears 30,000 locals takes a thousand times as long as others of its
/// price (<https://github.com/wasmi-labs/wasmi/issues/2038>), and a slice of
/// nothing else some tens of milliseconds.
const SLICE: u64 = 20_000;

/// What a guest uses up in a millisecond, roughly.
const FUEL_IN_A_MILLISECOND: u64 = 500_000;

/// Runs a guest's `__guest_call` to its end, or until it must not go on.
#[inline(always)]
pub(crate) fn run(
    store: &mut Store<Data>,
    meter: &mut Meter,
    guest_call: TypedFunc<(i32, i32), i32>,
    lengths: (i32, i32),
) -> Returned {
    if meter.interruption == Interruption::Off {
        let returned = guest_call.call(store, lengths);
        return returned.map_err(|error| engine_error(&error)).into();
    }
    match begin(store, meter, guest_call, lengths) {
        ControlFlow::Break(returned) => Ok(returned).into(),
        ControlFlow::Continue(next) => finish(store, meter, next),
    }
}

/// Goes on with what [`begin`] has begun.
#[inline(never)]
fn finish(store: &mut Store<Data>, meter: &mut Meter, mut next: Next<i32>) -> Returned {
    loop {
        let step = match next {
            Next::Ended(outcome) => return outcome.into(),
            Next::Resume(paused) => Step::of(paused.resume(&mut *store)),
            // The state has refused to ask a callback that awaits.
            Next::Await(paused) => Step::Ended(Err(engine_error(paused.host_error()))),
        };
        next = after(store, meter, step);
    }
}

/// Runs `function` likewise, in a call that may await the host and lets others
/// run.
pub(crate) async fn run_async<P: WasmParams, R: WasmResults>(
    store: &mut Store<Data>,
    meter: &mut Meter,
    function: TypedFunc<P, R>,
    params: P,
) -> Result<R, EngineError> {
    match begin(store, meter, function, params) {
        ControlFlow::Break(results) => Ok(results),
        ControlFlow::Continue(next) => go_on(store, meter, next).await,
    }
}

/// Begins to run `function`: breaks with its results if it ends well within
/// the first slice. So do most calls, and nothing of what others may come to is
/// looked at for them.
#[inline(always)]
pub(crate) fn begin<P: WasmParams, R: WasmResults>(
    store: &mut Store<Data>,
    meter: &mut Meter,
    function: TypedFunc<P, R>,
    params: P,
) -> ControlFlow<R, Next<R>> {
    if let Err(error) = meter.fill(store, 0) {
        return ControlFlow::Continue(Next::Ended(Err(error)));
    }
    let outcome = function.call_resumable(&mut *store, params);
    if let Ok(TypedResumableCall::Finished(results)) = outcome {
        meter.empty(store);
        return ControlFlow::Break(results);
    }
    ControlFlow::Continue(after(store, meter, Step::of(outcome)))
}

/// Goes on with what [`begin`] has begun, in a call that may await the host and
/// lets others run.
pub(crate) async fn go_on<R: WasmResults>(
    store: &mut Store<Data>,
    meter: &mut Meter,
    mut next: Next<R>,
) -> Result<R, EngineError> {
    loop {
        let step = match next {
            Next::Ended(outcome) => return outcome,
            Next::Resume(paused) => {
                if store.data_mut().state.pause_due() {
                    pause().await;
                }
                Step::of(paused.resume(&mut *store))
            }
            Next::Await(paused) => {
                let Some(asked) = store.data_mut().asked.take() else {
                    return Err(engine_error(paused.host_error()));
                };
                let answer = asked.await;
                match store.data_mut().state.host_answered(answer) {
                    Ok(answered) => Step::of(paused.resume(&mut *store, &[Val::I32(answered)])),
                    Err(stop) => Step::Ended(Err(stop.into())),
                }
            }
        };
        next = after(store, meter, step);
    }
}

/// Lets the executor run others once.
async fn pause() {
    let mut paused = false;
    poll_fn(|context| {
        if mem::replace(&mut paused, true) {
            return Poll::Ready(());
        }
        context.waker().wake_by_ref();
        Poll::Pending
    })
    .await;
}

/// What to do with a guest function that has come to `step`.
fn after<R>(store: &mut Store<Data>, meter: &mut Meter, step: Step<R>) -> Next<R> {
    let outcome = match step {
        Step::Ended(outcome) => outcome,
        Step::OutOfFuel(paused) => match meter.go_on(store, paused.required_fuel()) {
            Ok(()) => return Next::Resume(paused),
            Err(error) => Err(error),
        },
        Step::Starved => Err(meter.starved(store.data())),
        Step::Asked(paused) => return Next::Await(paused),
    };
    meter.empty(store);
    Next::Ended(outcome)
}

/// What to do with a guest function.
pub(crate) enum Next<R> {
    /// It is over.
    Ended(Result<R, EngineError>),
    /// It may go on.
    Resume(TypedResumableCallOutOfFuel<R>),
    /// It may go on when the host has answered.
    Await(TypedResumableCallHostTrap<R>),
}

/// What a guest function has come to after it ran for a while.
enum Step<R> {
    /// It is over.
    Ended(Result<R, EngineError>),
    /// It wants more fuel, and goes on with it.
    OutOfFuel(TypedResumableCallOutOfFuel<R>),
    /// It wants more fuel, and cannot go on in any case.
    Starved,
    /// It waits for the host's answer.
    Asked(TypedResumableCallHostTrap<R>),
}

impl<R> Step<R> {
    #[inline]
    fn of(outcome: Result<TypedResumableCall<R>, Error>) -> Self {
        match outcome {
            Ok(TypedResumableCall::Finished(results)) => Self::Ended(Ok(results)),
            Ok(TypedResumableCall::OutOfFuel(paused)) => Self::OutOfFuel(paused),
            Ok(TypedResumableCall::HostTrap(trap)) if is_asking(trap.host_error()) => {
                Self::Asked(trap)
            }
            Ok(TypedResumableCall::HostTrap(trap)) => {
                Self::Ended(Err(engine_error(trap.host_error())))
            }
            Err(error) if is_out_of_fuel(&error) => Self::Starved,
            Err(error) => Self::Ended(Err(engine_error(&error))),
        }
    }
}

/// The fuel of one call, or of all start functions of one instance.
pub(crate) struct Meter {
    interruption: Interruption,
    /// The most that the store gets at once.
    slice: u64,
    total: u64,
    /// The part of what is left that is not in the store.
    reserve: u64,
}

impl Meter {
    /// That of the call, or of the start functions, that `state` says is
    /// about to begin.
    #[inline]
    pub(crate) fn new(interruption: Interruption, state: &ModuleState) -> Self {
        let timed = interruption.by_time() && state.is_timed();
        let total = match interruption.by_fuel() {
            true => state.fuel().unwrap_or(u64::MAX),
            false => u64::MAX,
        };
        Self {
            interruption,
            slice: if timed { SLICE } else { u64::MAX },
            total,
            reserve: total,
        }
    }

    /// Puts a slice into the store, and more if the next operation needs more.
    #[inline]
    fn fill(&mut self, store: &mut Store<Data>, needed: u64) -> Result<(), EngineError> {
        if self.interruption == Interruption::Off {
            return Ok(());
        }
        let slice = self.slice.max(needed).min(self.reserve);
        self.reserve -= slice;
        let metered = store.set_fuel(slice);
        metered.map_err(|error| engine_error(&error))
    }

    /// Lets a start section run that wasmi runs to its end: by time, it gets
    /// what a guest uses up in about the time that it may take.
    pub(crate) fn fill_for_section(&mut self, store: &mut Store<Data>) -> Result<(), EngineError> {
        if self.interruption == Interruption::Off {
            return Ok(());
        }
        let slice = match store.data().state.limits().start_timeout {
            Some(timeout) if self.interruption.by_time() => u64::try_from(timeout.as_millis())
                .unwrap_or(u64::MAX)
                .saturating_mul(FUEL_IN_A_MILLISECOND),
            _ => u64::MAX,
        };
        let usual = mem::replace(&mut self.slice, slice);
        let filled = self.fill(store, 0);
        self.slice = usual;
        filled
    }

    /// Why such a start section was out of fuel.
    pub(crate) fn section_out_of_fuel(&self, state: &ModuleState) -> EngineError {
        EngineError::Stopped(match state.limits().start_timeout {
            Some(timeout) if self.reserve > 0 => Stop::TimedOut { timeout },
            _ => state.out_of_fuel(),
        })
    }

    /// Takes back what is left in the store, and notes what was used.
    #[inline]
    pub(crate) fn empty(&mut self, store: &mut Store<Data>) {
        if self.interruption.by_fuel() {
            self.take_back(store);
            let used = self.total - self.reserve;
            store.data_mut().state.set_fuel_used(used);
        } else {
            self.reserve = self.total;
        }
    }

    /// `reserve` never comes to more than `total`, whoever fills the store.
    fn take_back(&mut self, store: &mut Store<Data>) {
        let left = store.get_fuel().unwrap_or_default();
        self.reserve = self.reserve.saturating_add(left).min(self.total);
        let _ = store.set_fuel(0);
    }

    /// Decides about a guest that has used up its slice, and whose next
    /// operation needs so much fuel.
    #[cold]
    fn go_on(&mut self, store: &mut Store<Data>, needed: u64) -> Result<(), EngineError> {
        let data = store.data_mut();
        data.state.check().map_err(EngineError::Stopped)?;
        let in_table_growth = mem::take(&mut data.table_starved);
        self.take_back(store);
        if in_table_growth && !store.data().resumes_table_growth {
            return Err(self.starved(store.data()));
        }
        if needed > self.reserve {
            return Err(EngineError::Stopped(store.data().state.out_of_fuel()));
        }
        self.fill(store, needed)
    }

    /// Why a guest cannot go on that has run out of fuel in the middle of
    /// something.
    #[cold]
    fn starved(&self, data: &Data) -> EngineError {
        if self.reserve == 0 {
            return EngineError::Stopped(data.state.out_of_fuel());
        }
        EngineError::Other(STARVED.into())
    }
}

/// Neither happens to a module that the provider has translated for engines of
/// its own.
const STARVED: &str = "wasmi cannot go on after a slice of fuel has run out in the translation of \
                       a function, or in `table.grow` in a module that was translated elsewhere";
