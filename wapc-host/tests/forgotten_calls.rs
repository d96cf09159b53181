//! A forgotten async call leaves an instance with nothing of its caller's, and
//! a blocking call takes back what it has lent or aborts the process.
//!
//! The engines here are in safe code and as unhelpful as that allows.

#![forbid(unsafe_code)]
#![expect(
    clippy::unwrap_used,
    reason = "what a test's own functions unwrap fails the test"
)]

use std::{
    env,
    future::pending,
    mem,
    ops::Range,
    panic::{AssertUnwindSafe, catch_unwind},
    pin::{Pin, pin},
    process::Command,
    sync::{Arc, Mutex},
    task::{Context, Poll, Waker},
};

use wapc_host::{
    BoxError, HostCall, HostCallback, Limits, ModuleState, WapcHost, WebAssemblyEngineProvider,
    engine::{AsyncCall, GuestInstance, GuestReturn},
    error::{EngineError, ProtocolError, StopReason},
};

type Instance = Box<dyn GuestInstance>;

/// An engine whose instances `make` makes.
#[derive(Clone)]
struct Engine(Arc<dyn Fn(ModuleState) -> Instance + Send + Sync>);

impl Engine {
    fn host(make: impl Fn(ModuleState) -> Instance + Send + Sync + 'static) -> WapcHost {
        WapcHost::builder(Box::new(Self(Arc::new(make))))
            .limits(Limits::unlimited())
            .build(|_, _, _, _, _| Ok(vec![]))
            .unwrap()
    }
}

impl WebAssemblyEngineProvider for Engine {
    fn init(&self, state: ModuleState) -> Result<Instance, EngineError> {
        Ok((self.0)(state))
    }

    fn replace(&self, _: &[u8]) -> Result<Box<dyn WebAssemblyEngineProvider>, EngineError> {
        Ok(Box::new(self.clone()))
    }
}

/// Is suspended for ever by each async call. Asks for a request and responds
/// when it is dropped, outside of all calls.
struct AsksLater {
    state: ModuleState,
    found: Arc<Mutex<Vec<Found>>>,
}

/// The results of `__guest_request`, of 16 bytes of payload, and of
/// `__guest_response`.
#[derive(Debug, PartialEq)]
struct Found {
    request: Result<Vec<u8>, StopReason>,
    response: Result<(), StopReason>,
}

impl GuestInstance for AsksLater {
    fn call(&mut self, _: i32, _: i32) -> GuestReturn {
        Ok(0).into()
    }

    fn call_async(&mut self, _: i32, _: i32) -> AsyncCall<'_> {
        AsyncCall::Running(Box::pin(pending()))
    }

    fn state(&mut self) -> &mut ModuleState {
        &mut self.state
    }
}

impl Drop for AsksLater {
    fn drop(&mut self) {
        let mut memory = [0; 32];
        let request = self.state.guest_request(&mut memory, 0, 16);
        let found = Found {
            request: request.map(|()| memory[16..].to_vec()),
            response: self.state.guest_response(&[1; 100], 0, 100),
        };
        self.found.lock().unwrap().push(found);
    }
}

fn asks_later() -> (WapcHost, Arc<Mutex<Vec<Found>>>) {
    let found: Arc<Mutex<Vec<Found>>> = Arc::default();
    let seen = Arc::clone(&found);
    let host = Engine::host(move |state| {
        let found = Arc::clone(&seen);
        Box::new(AsksLater { state, found })
    });
    (host, found)
}

/// Polls `future` once.
fn poll<F: Future>(future: Pin<&mut F>) -> Poll<F::Output> {
    future.poll(&mut Context::from_waker(Waker::noop()))
}

/// The output of a future that does not wait.
fn now<T>(future: impl Future<Output = T>) -> T {
    match poll(pin!(future)) {
        Poll::Ready(output) => output,
        Poll::Pending => panic!("it waits"),
    }
}

#[test]
#[expect(clippy::mem_forget, reason = "a future that is never dropped")]
fn a_forgotten_call_leaves_the_guest_its_own_copy_of_the_request() {
    let (host, found) = asks_later();
    let mut held = now(host.check_out_async()).unwrap();
    let (payload, mut response) = (vec![7_u8; 16], Vec::with_capacity(200));
    let mut call = Box::pin(held.call_into_async("op", &payload, &mut response));
    assert!(poll(call.as_mut()).is_pending());
    mem::forget(call);
    drop(payload);
    // In the place of the payload, more often than not.
    let other = vec![9_u8; 16];
    drop(held);
    let found = mem::take(&mut *found.lock().unwrap());
    let copy = Found {
        request: Ok(vec![7; 16]),
        response: Ok(()),
    };
    assert_eq!(found, [copy]);
    assert_eq!((response, other), (vec![], vec![9; 16]));
}

#[test]
fn a_dropped_call_leaves_the_guest_nothing() {
    let (host, found) = asks_later();
    let mut response = b"before".to_vec();
    for payload in [&[7; 16], &[9; 16]] {
        {
            let mut call = pin!(host.call_into_async("op", payload, &mut response));
            assert!(poll(call.as_mut()).is_pending());
        }
        let found = mem::take(&mut *found.lock().unwrap());
        let no_call = |import| Err(StopReason::Protocol(ProtocolError::NoCall { import }));
        let nothing = Found {
            request: no_call("__guest_request").map(|()| vec![]),
            response: no_call("__guest_response"),
        };
        assert_eq!(found, [nothing]);
        assert!(response.capacity() > 0, "the buffer is back");
    }
}

/// Exchanges its state during a call, or panics when it is asked for its state.
struct Unhelpful {
    /// Its own one, and another.
    states: [ModuleState; 2],
    asked: usize,
    /// The times at which it panics.
    panics: Range<usize>,
    exchanges: bool,
}

impl GuestInstance for Unhelpful {
    fn call(&mut self, op_length: i32, msg_length: i32) -> GuestReturn {
        let mut memory = [0; 64];
        let [state, _] = &mut self.states;
        state.guest_request(&mut memory, 0, op_length).unwrap();
        state
            .guest_response(&memory, op_length, msg_length)
            .unwrap();
        if self.exchanges {
            self.states.reverse();
        }
        Ok(1).into()
    }

    fn state(&mut self) -> &mut ModuleState {
        self.asked += 1;
        assert!(!self.panics.contains(&self.asked), "no state this time");
        &mut self.states[0]
    }
}

fn unhelpful(panics: Range<usize>, exchanges: bool) -> WapcHost {
    Engine::host(move |state| {
        Box::new(Unhelpful {
            states: [state, ModuleState::new(0, Arc::new(Refuses))],
            asked: 0,
            panics: panics.clone(),
            exchanges,
        })
    })
}

struct Refuses;

impl HostCallback for Refuses {
    fn call(&self, _: HostCall<'_>, _: &mut Vec<u8>) -> Result<(), BoxError> {
        Err("not here".into())
    }
}

#[test]
fn a_state_that_cannot_be_had_once_is_asked_for_again() {
    let host = unhelpful(4..5, false);
    let called = catch_unwind(AssertUnwindSafe(|| host.call("op", b"payload")));
    assert!(called.is_err(), "the engine's panic");
    assert_eq!(host.stats().live, 0);
    assert_eq!(unhelpful(0..0, false).call("op", b"x").unwrap(), b"x");
}

/// Runs this test again in a process of its own, where `call` must abort.
fn assert_aborts(test: &str, call: impl FnOnce()) {
    const CHILD: &str = "WAPC_HOST_TEST_THAT_ABORTS";
    if env::var_os(CHILD).is_some() {
        _ = catch_unwind(AssertUnwindSafe(call));
        println!("it lives on");
        return;
    }
    let child = Command::new(env::current_exe().unwrap())
        .args(["--exact", test, "--nocapture"])
        .env(CHILD, "1")
        .output()
        .unwrap();
    let printed = String::from_utf8_lossy(&child.stdout);
    assert!(printed.contains("running 1 test"), "{printed}");
    assert!(!printed.contains("it lives on"), "{printed}");
    // A test that fails exits with a code.
    #[cfg(unix)]
    assert_eq!(child.status.code(), None, "{}", child.status);
    assert!(!child.status.success());
}

#[test]
#[cfg_attr(miri, ignore = "Miri cannot start processes")]
fn a_state_that_cannot_be_had_any_more_aborts_the_process() {
    let test = "a_state_that_cannot_be_had_any_more_aborts_the_process";
    assert_aborts(test, || _ = unhelpful(4..12, false).call("op", b"payload"));
}

#[test]
#[cfg_attr(miri, ignore = "Miri cannot start processes")]
fn a_state_that_is_exchanged_in_a_call_aborts_the_process() {
    let test = "a_state_that_is_exchanged_in_a_call_aborts_the_process";
    assert_aborts(test, || _ = unhelpful(0..0, true).call("op", b"payload"));
}
