//! Runs guest functions within the limits of their call.
//!
//! wasmi returns control as a value: a call has finished, has run out of fuel,
//! or waits for the host. That is an [`Event`]. [`decide`] turns it into the
//! next [`Action`], which either driver carries out: [`drive`] on the caller's
//! thread, [`drive_async`] in a future.

use std::{future::poll_fn, ops::ControlFlow};

use wapc_host::{engine::GuestReturn, error::EngineError};
use wasmi::{
    Error, Store, TypedFunc, TypedResumableCall, TypedResumableCallHostTrap,
    TypedResumableCallOutOfFuel, Val, WasmParams, WasmResults,
};

use crate::{
    errors::{engine_error, is_host_call_pending, is_out_of_fuel, no_return},
    functions::{Guest, val},
    linker::{Data, Pending, wasi},
    metering::Meter,
};

/// Runs a guest's `__guest_call` until it ends or must not continue.
#[inline(always)]
pub(crate) fn run(
    store: &mut Store<Data>,
    meter: &mut Meter,
    guest_call: TypedFunc<(i32, i32), i32>,
    lengths: (i32, i32),
) -> GuestReturn {
    if meter.is_off() {
        let returned = guest_call.call(store, lengths);
        return returned.map_err(|error| engine_error(&error)).into();
    }
    match run_first_slice(store, meter, guest_call, lengths) {
        ControlFlow::Break(returned) => Ok(returned).into(),
        ControlFlow::Continue(action) => drive(store, meter, action),
    }
}

/// Runs a guest function until it ends or must not continue. The call may await
/// the host, and yields to other tasks.
pub(crate) async fn run_async<P: WasmParams, R: WasmResults>(
    store: &mut Store<Data>,
    meter: &mut Meter,
    function: TypedFunc<P, R>,
    params: P,
) -> Result<R, EngineError> {
    match run_first_slice(store, meter, function, params) {
        ControlFlow::Break(results) => Ok(results),
        ControlFlow::Continue(action) => drive_async(store, meter, action).await,
    }
}

/// Runs `function` for one slice of fuel.
///
/// Breaks with the results if the function finishes within it. Most calls do,
/// so this path touches nothing that only longer calls need.
#[inline(always)]
pub(crate) fn run_first_slice<P: WasmParams, R: WasmResults>(
    store: &mut Store<Data>,
    meter: &mut Meter,
    function: TypedFunc<P, R>,
    params: P,
) -> ControlFlow<R, Action<R>> {
    if let Err(error) = meter.refuel(store, 0) {
        return ControlFlow::Continue(Action::Finish(Err(error)));
    }
    let outcome = function.call_resumable(&mut *store, params);
    if let Ok(TypedResumableCall::Finished(results)) = outcome {
        meter.settle(store);
        return ControlFlow::Break(results);
    }
    ControlFlow::Continue(decide(store, meter, Event::new(outcome)))
}

/// Carries out actions on this thread until the guest function has ended.
#[inline(never)]
fn drive(store: &mut Store<Data>, meter: &mut Meter, mut action: Action<i32>) -> GuestReturn {
    loop {
        let event = match action {
            Action::Finish(outcome) => return outcome.into(),
            Action::Resume(paused) => Event::new(paused.resume(&mut *store)),
            // Unreachable through the host: in a blocking call the state
            // refuses to start a host call that would have to be awaited.
            Action::AwaitHost(paused) => Event::Ended(Err(engine_error(paused.host_error()))),
        };
        action = decide(store, meter, event);
    }
}

/// Carries out actions in a future until the guest function has ended.
pub(crate) async fn drive_async<R: WasmResults>(
    store: &mut Store<Data>,
    meter: &mut Meter,
    mut action: Action<R>,
) -> Result<R, EngineError> {
    loop {
        let event = match action {
            Action::Finish(outcome) => return outcome,
            Action::Resume(paused) => {
                if let Some(pause) = store.data_mut().state.pause() {
                    pause.await;
                }
                Event::new(paused.resume(&mut *store))
            }
            Action::AwaitHost(paused) => {
                let Some(pending) = store.data_mut().pending.take() else {
                    return Err(engine_error(paused.host_error()));
                };
                match await_host(store, pending).await {
                    Ok(returned) => Event::new(paused.resume(&mut *store, &returned)),
                    Err(error) => Event::Ended(Err(error)),
                }
            }
        };
        action = decide(store, meter, event);
    }
}

/// Awaits a host function, and returns the numbers that it returns to its guest.
async fn await_host(store: &mut Store<Data>, pending: Pending) -> Result<Vec<Val>, EngineError> {
    let returned = match pending {
        Pending::HostCall(call) => {
            let answer = call.await;
            store.data_mut().state.finish_host_call(answer)?
        }
        Pending::Function(mut function, memory) => {
            let returned = poll_fn(|context| {
                let store = &mut *store;
                let mut guest = Guest {
                    memory,
                    context: store,
                };
                function.poll(context, &mut guest)
            });
            return Ok(returned.await?.into_iter().map(val).collect());
        }
        Pending::Wasi(function) => {
            let memory = store.data().memory;
            let (memory, data) = match memory {
                Some(memory) => memory.data_and_store_mut(&mut *store),
                // Only a guest whose memory is known is suspended by WASI.
                None => (&mut [][..], store.data_mut()),
            };
            let returned = function(wasi(data), memory).await;
            returned.map_err(|end| engine_error(&no_return(end)))?
        }
    };
    Ok(vec![Val::I32(returned)])
}

/// Decides how a guest function continues after `event`. Settles its fuel if it
/// does not.
fn decide<R>(store: &mut Store<Data>, meter: &mut Meter, event: Event<R>) -> Action<R> {
    let outcome = match event {
        Event::Ended(outcome) => outcome,
        Event::OutOfFuel(paused) => match meter.next_slice(store, paused.required_fuel()) {
            Ok(()) => return Action::Resume(paused),
            Err(error) => Err(error),
        },
        Event::StuckWithoutFuel => Err(meter.stuck_without_fuel(store.data())),
        Event::HostCallPending(paused) => return Action::AwaitHost(paused),
    };
    meter.settle(store);
    Action::Finish(outcome)
}

/// The driver's next step.
pub(crate) enum Action<R> {
    /// Return this outcome.
    Finish(Result<R, EngineError>),
    /// Resume the guest, which has been refuelled.
    Resume(TypedResumableCallOutOfFuel<R>),
    /// Await the host's answer, then resume the guest with it.
    AwaitHost(TypedResumableCallHostTrap<R>),
}

/// The reason why wasmi has returned control.
enum Event<R> {
    /// The function has returned, or has failed.
    Ended(Result<R, EngineError>),
    /// The slice of fuel is used up. The guest can be resumed.
    OutOfFuel(TypedResumableCallOutOfFuel<R>),
    /// The slice of fuel is used up where wasmi cannot resume a guest.
    StuckWithoutFuel,
    /// A host call waits for its answer. The guest can be resumed.
    HostCallPending(TypedResumableCallHostTrap<R>),
}

impl<R> Event<R> {
    #[inline]
    fn new(outcome: Result<TypedResumableCall<R>, Error>) -> Self {
        match outcome {
            Ok(TypedResumableCall::Finished(results)) => Self::Ended(Ok(results)),
            Ok(TypedResumableCall::OutOfFuel(paused)) => Self::OutOfFuel(paused),
            Ok(TypedResumableCall::HostTrap(trap)) if is_host_call_pending(trap.host_error()) => {
                Self::HostCallPending(trap)
            }
            Ok(TypedResumableCall::HostTrap(trap)) => {
                Self::Ended(Err(engine_error(trap.host_error())))
            }
            Err(error) if is_out_of_fuel(&error) => Self::StuckWithoutFuel,
            Err(error) => Self::Ended(Err(engine_error(&error))),
        }
    }
}
