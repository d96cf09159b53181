//! Races between threads: swaps beside calls, dropped calls, user code at
//! awkward moments.

use std::{
    future::{pending, poll_fn},
    pin::pin,
    sync::{
        atomic::{AtomicBool, AtomicI64},
        mpsc,
    },
    task::{Context, Poll, Waker},
};

use super::*;
use crate::{
    BoxFuture, CallOptions,
    block_on::block_on,
    engine::{AsyncCall, GuestReturn, scripted::ScriptedGuest},
};

/// Waits until `done`; fails after half a minute.
fn until(mut done: impl FnMut() -> bool) {
    let began = Instant::now();
    while !done() {
        assert!(
            began.elapsed() < Duration::from_secs(30),
            "it never comes true"
        );
        thread::yield_now();
    }
}

/// Waits until so many instances live, and so many are idle: the clock may be
/// renewing one at the moment.
fn until_there_are(host: &WapcHost, live: usize, idle: usize) {
    until(|| {
        let stats = host.stats();
        (stats.live, stats.idle) == (live, idle)
    });
}

/// Runs `body` on a thread of its own, so that a deadlock fails the test.
fn in_time(body: impl FnOnce() + Send + 'static) {
    let (tell, told) = mpsc::channel();
    thread::spawn(move || {
        body();
        tell.send(()).unwrap();
    });
    told.recv_timeout(Duration::from_secs(30))
        .expect("it ends, and well");
}

/// A provider whose instances wait, while they are made, for `gate` if `shut`.
fn slow_start(gate: &Arc<Gate>, shut: &Arc<AtomicBool>) -> ScriptedProvider {
    let (gate, shut) = (Arc::clone(gate), Arc::clone(shut));
    let mut provider = versatile();
    provider = provider.with_start(move |_| {
        if shut.swap(false, Ordering::SeqCst) {
            gate.entered.wait();
            gate.leave.wait();
        }
        Ok(())
    });
    provider
}

#[test]
fn draining_waits_for_a_call_that_is_making_an_instance_of_the_old_code() {
    let (gate, shut) = (gate(2), Arc::new(AtomicBool::new(false)));
    let host = slow_start(&gate, &shut).host().unwrap();
    host.call("trap", b"").unwrap_err();
    shut.store(true, Ordering::SeqCst);
    thread::scope(|scope| {
        let call = scope.spawn(|| host.call("count", b"old").unwrap());
        gate.entered.wait();
        let drained = host.swap().drain(Duration::from_millis(20)).module(b"echo");
        gate.leave.wait();
        assert_eq!(call.join().unwrap(), b"1", "it runs the old code");
        assert!(
            matches!(drained, Err(Error::NotDrained { .. })),
            "{drained:?}"
        );
    });
    assert_eq!(host.call("count", b"new").unwrap(), b"new");
}

#[test]
fn draining_may_take_for_ever() {
    let host = versatile().host().unwrap();
    host.swap().drain(Duration::MAX).module(b"echo").unwrap();
    assert_eq!(host.call("count", b"x").unwrap(), b"x");
}

#[test]
fn a_swap_within_a_swap_is_refused() {
    in_time(|| {
        let host = versatile().host().unwrap();
        let refused = host
            .swap()
            .probe(|_| Ok(host.replace_module(b"echo")?))
            .module(b"echo");
        let Err(Error::Probe(cause)) = refused else {
            panic!("{refused:?}");
        };
        assert!(matches!(
            cause.downcast_ref(),
            Some(Error::Reentrant { .. })
        ));
        assert_eq!(host.generation(), 1);
        host.replace_module(b"echo").unwrap();
    });
}

/// Makes `host` have as many instances as it may.
fn fill_all(host: &WapcHost) {
    thread::scope(|scope| {
        let instances = host.shared.pool.max();
        let all = Arc::new(Barrier::new(instances));
        for _ in 0..instances {
            let all = Arc::clone(&all);
            scope.spawn(move || {
                let mut held = host.check_out().unwrap();
                held.call("echo", b"").unwrap();
                all.wait();
            });
        }
    });
    assert_eq!(host.stats().live, host.shared.pool.max());
}

#[test]
fn a_swap_leaves_as_many_instances_as_there_were() {
    let host = WapcHost::builder(Box::new(versatile()))
        .max_instances(3)
        .build(answer)
        .unwrap();
    fill_all(&host);
    for _ in 0..2 {
        host.replace_module(b"echo").unwrap();
        until_there_are(&host, 3, 3);
        assert!(host.shared.published().current.ready.lock().is_empty());
    }

    let held = host.check_out().unwrap();
    host.rollback().unwrap();
    // One runs the old code.
    until_there_are(&host, 3, 2);
    drop(held);
    until_there_are(&host, 3, 3);
    assert!(host.shared.published().current.ready.lock().is_empty());
}

#[test]
#[cfg_attr(miri, ignore = "waits for real time")]
fn idle_instances_of_a_host_without_limits_retire_too() {
    let host = WapcHost::builder(Box::new(versatile()))
        .limits(Limits::unlimited())
        .max_instances(3)
        .idle_timeout(Duration::ZERO)
        .build(answer)
        .unwrap();
    fill_all(&host);
    until(|| host.stats().live == 1);
}

/// An engine whose guests answer with what [`TellsGeneration`] tells them, and
/// which counts how many there are. In async calls, they suspend twice.
struct Numbered {
    scripted: ScriptedProvider,
    made: Arc<AtomicUsize>,
    alive: Arc<AtomicI64>,
}

/// A callback that tells guests the number of their code.
struct TellsGeneration;

impl HostCallback for TellsGeneration {
    fn call(&self, call: HostCall<'_>, response: &mut Vec<u8>) -> Result<(), BoxError> {
        response.extend(call.generation.to_string().into_bytes());
        Ok(())
    }
}

struct NumberedGuest {
    guest: Box<dyn GuestInstance>,
    alive: Arc<AtomicI64>,
}

impl Numbered {
    fn new() -> Self {
        let scripted = ScriptedProvider::new(|guest: &mut ScriptedGuest, op, msg| {
            let (operation, _) = guest.request(op, msg)?;
            match operation.as_str() {
                "trap" => return Err(Trap::new(TrapCode::Unreachable, vec![]).into()),
                "spin" => loop {
                    guest.state.check()?;
                    thread::yield_now();
                },
                _ => {}
            }
            match guest.ask(b"")? {
                Ok(generation) => guest.respond(&generation),
                Err(error) => guest.fail(&error),
            }
        });
        Self {
            scripted,
            made: Arc::default(),
            alive: Arc::default(),
        }
    }
}

impl WebAssemblyEngineProvider for Numbered {
    fn init(&self, state: ModuleState) -> Result<Box<dyn GuestInstance>, EngineError> {
        self.made.fetch_add(1, Ordering::SeqCst);
        self.alive.fetch_add(1, Ordering::SeqCst);
        Ok(Box::new(NumberedGuest {
            guest: self.scripted.init(state)?,
            alive: Arc::clone(&self.alive),
        }))
    }

    fn replace(&self, _: &[u8]) -> Result<Box<dyn WebAssemblyEngineProvider>, EngineError> {
        Ok(Box::new(Self {
            scripted: self.scripted.clone(),
            made: Arc::clone(&self.made),
            alive: Arc::clone(&self.alive),
        }))
    }

    fn interruption(&self) -> Interruption {
        Interruption::TimeAndFuel
    }
}

impl GuestInstance for NumberedGuest {
    fn call(&mut self, op_length: i32, msg_length: i32) -> GuestReturn {
        self.guest.call(op_length, msg_length)
    }

    fn call_async(&mut self, op_length: i32, msg_length: i32) -> AsyncCall<'_> {
        AsyncCall::Running(Box::pin(async move {
            breathe().await;
            let returned = self.guest.call(op_length, msg_length);
            breathe().await;
            returned
        }))
    }

    fn state(&mut self) -> &mut ModuleState {
        self.guest.state()
    }
}

impl Drop for NumberedGuest {
    fn drop(&mut self) {
        self.alive.fetch_sub(1, Ordering::SeqCst);
    }
}

/// Lets others run once.
async fn breathe() {
    let mut polled = false;
    poll_fn(|context| {
        context.waker().wake_by_ref();
        match mem::replace(&mut polled, true) {
            false => Poll::Pending,
            true => Poll::Ready(()),
        }
    })
    .await;
}

/// A call answers by code that was there while it ran.
fn answers_by_its_code(host: &WapcHost, call: impl FnOnce() -> Result<Vec<u8>, Error>) {
    let before = host.generation();
    let ran: u64 = String::from_utf8(call().unwrap()).unwrap().parse().unwrap();
    assert!((before..=host.generation()).contains(&ran), "{ran}");
}

#[test]
fn callers_swaps_cancelling_and_dropped_futures_leave_nothing_behind() {
    let (callers, rounds) = if cfg!(miri) { (2, 3) } else { (8, 300) };
    let provider = Numbered::new();
    let (made, alive) = (Arc::clone(&provider.made), Arc::clone(&provider.alive));
    let host = WapcHost::builder(Box::new(provider))
        .max_instances(3)
        .build_with(TellsGeneration)
        .unwrap();
    let begin = Barrier::new(callers + 3);
    thread::scope(|scope| {
        for caller in 0..callers {
            let (host, begin) = (&host, &begin);
            scope.spawn(move || {
                begin.wait();
                for round in 0..rounds {
                    match (caller + round) % 4 {
                        0 => answers_by_its_code(host, || block_on(host.call_async("count", b""))),
                        1 => _ = host.call("trap", b"").unwrap_err(),
                        _ => answers_by_its_code(host, || host.call("count", b"")),
                    }
                }
            });
        }
        scope.spawn(|| {
            begin.wait();
            for round in 0..rounds {
                let drained = match round % 3 {
                    0 => host.replace_module(b""),
                    1 => host.swap().drain(Duration::from_secs(60)).module(b""),
                    _ => host.rollback(),
                };
                drained.unwrap();
            }
        });
        scope.spawn(|| {
            begin.wait();
            for round in 0..rounds {
                let handle = CancelHandle::new();
                let options = CallOptions::default().cancel(&handle);
                let call = host.with(&options);
                thread::scope(|scope| {
                    let ended = scope.spawn(move || match round % 2 {
                        0 => call.call("spin", b""),
                        _ => block_on(call.call_async("spin", b"")),
                    });
                    handle.cancel();
                    let ended = ended.join().unwrap();
                    assert!(matches!(ended, Err(Error::Cancelled { .. })), "{ended:?}");
                });
            }
        });
        scope.spawn(|| {
            begin.wait();
            let mut context = Context::from_waker(Waker::noop());
            for round in 0..rounds {
                let mut call = pin!(host.call_async("count", b""));
                // As far as it gets, from not begun to answered.
                for _ in 0..round % 7 {
                    if call.as_mut().poll(&mut context).is_ready() {
                        break;
                    }
                    thread::yield_now();
                }
            }
        });
    });
    // The clock may be looking at a slot.
    until(|| {
        let stats = host.stats();
        (stats.waiting, stats.idle) == (0, stats.live)
    });
    let generation = host.generation();
    assert_eq!(generation, 1 + rounds as u64);
    if cfg!(miri) {
        // It tries memory orders too for which the clock looks again.
        clock::ClockClient::maintain(&*host.shared);
    }
    assert!(
        !host
            .shared
            .pool
            .slots()
            .any(|slot| slot.holds_before(generation)),
        "old code is left"
    );
    assert!(
        !clock::ClockClient::running(&*host.shared),
        "the clock may sleep"
    );
    drop(host);
    until(|| alive.load(Ordering::SeqCst) == 0);
    assert!(made.load(Ordering::SeqCst) > 0);
}

/// A guest that asks for its payload, and then is suspended for ever.
struct Stuck(Box<dyn GuestInstance>);

impl GuestInstance for Stuck {
    fn call(&mut self, _: i32, _: i32) -> GuestReturn {
        unreachable!("it is called by `call_async`")
    }

    fn call_async(&mut self, op_length: i32, msg_length: i32) -> AsyncCall<'_> {
        AsyncCall::Running(Box::pin(async move {
            _ = self.0.call(op_length, msg_length);
            pending().await
        }))
    }

    fn state(&mut self) -> &mut ModuleState {
        self.0.state()
    }
}

struct StuckProvider(ScriptedProvider);

impl WebAssemblyEngineProvider for StuckProvider {
    fn init(&self, state: ModuleState) -> Result<Box<dyn GuestInstance>, EngineError> {
        Ok(Box::new(Stuck(self.0.init(state)?)))
    }

    fn replace(&self, _: &[u8]) -> Result<Box<dyn WebAssemblyEngineProvider>, EngineError> {
        Ok(Box::new(Self(self.0.clone())))
    }

    fn interruption(&self) -> Interruption {
        Interruption::TimeAndFuel
    }
}

/// Polls a call of a guest that gets stuck once, with what it lends gone as
/// soon as `end` has had the future.
fn get_stuck(host: &WapcHost, end: impl FnOnce(BoxFuture<'_, Result<Vec<u8>, Error>>)) {
    let (operation, payload) = ("stuck".to_owned(), vec![7; 100]);
    let mut call: BoxFuture<'_, _> = Box::pin(host.call_async(&operation, &payload));
    let polled = call.as_mut().poll(&mut Context::from_waker(Waker::noop()));
    assert!(polled.is_pending());
    end(call);
}

#[test]
fn a_suspended_call_that_is_dropped_costs_its_instance() {
    let host = WapcHost::new(Box::new(StuckProvider(ScriptedProvider::echo())), answer).unwrap();
    for _ in 0..2 {
        get_stuck(&host, |call| drop(call));
        assert_eq!(host.stats().live, 0);
    }
}

#[test]
#[expect(clippy::mem_forget, reason = "a future that is never dropped")]
fn a_suspended_call_that_is_forgotten_costs_its_holder_the_instance() {
    let host = WapcHost::new(Box::new(StuckProvider(ScriptedProvider::echo())), answer).unwrap();
    let mut held = block_on(host.check_out_async()).unwrap();
    for _ in 0..2 {
        let (payload, mut response) = (vec![7; 100], vec![]);
        let mut call: BoxFuture<'_, _> =
            Box::pin(held.call_into_async("stuck", &payload, &mut response));
        let polled = call.as_mut().poll(&mut Context::from_waker(Waker::noop()));
        assert!(polled.is_pending());
        mem::forget(call);
    }
    assert_eq!(host.stats().live, 1);
    drop(held);
    assert_eq!(host.stats().live, 0);
}

#[test]
#[expect(clippy::mem_forget, reason = "a future that is never dropped")]
fn a_suspended_call_that_is_forgotten_keeps_its_place_for_ever() {
    let host = WapcHost::builder(Box::new(StuckProvider(ScriptedProvider::echo())))
        .wait_limit(Duration::ZERO)
        .build(answer)
        .unwrap();
    get_stuck(&host, |call| mem::forget(call));
    assert!(matches!(host.call("", b""), Err(Error::Busy { .. })));
    host.replace_module(b"").unwrap();
    assert!(matches!(host.call("", b""), Err(Error::Busy { .. })));
    drop(host);
}
