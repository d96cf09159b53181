//! Runs guest functions under the limits of their call.

use std::{future::poll_fn, mem, ops::ControlFlow, task::Poll};

use wapc_host::{EngineError, Returned};
use wasmi::{
    Error, Store, TypedFunc, TypedResumableCall, TypedResumableCallHostTrap,
    TypedResumableCallOutOfFuel, Val, WasmParams, WasmResults,
};

use crate::{
    errors::{engine_error, is_asking, is_out_of_fuel},
    linker::Data,
    metering::Meter,
};

/// Runs a guest's `__guest_call` to its end, or until it must not go on.
#[inline(always)]
pub(crate) fn run(
    store: &mut Store<Data>,
    meter: &mut Meter,
    guest_call: TypedFunc<(i32, i32), i32>,
    lengths: (i32, i32),
) -> Returned {
    if meter.is_off() {
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
