//! The host over scripted guests: every way in which a call can end.
#![expect(
    clippy::unwrap_used,
    reason = "what a test's own functions unwrap fails the test"
)]

use std::{
    mem,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{
        Arc, Barrier,
        atomic::{AtomicUsize, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use super::*;
use crate::{CallOptions, Error, Limits};
use crate::{
    CancelHandle, Interruption, ModuleState, Reuse,
    block_on::block_on,
    clock,
    engine::{
        GuestInstance,
        scripted::{ScriptedProvider, answer},
    },
    error::{EngineError, ProtocolError, StopReason, Trap, TrapCode},
    sync::Mutex,
};
use crate::{
    engine::provider::WebAssemblyEngineProvider, error::BoxError, protocol::callback::HostCallback,
    protocol::host_call::HostCall,
};

/// Compiles if a `WapcHost` may be shared between threads.
const _: fn() = || {
    const fn shared<T: Send + Sync>() {}
    shared::<WapcHost>();
};

/// A guest whose operations are the ways in which a call can end.
fn versatile() -> ScriptedProvider {
    ScriptedProvider::new(|guest, op, msg| {
        let (operation, payload) = guest.request(op, msg)?;
        match operation.as_str() {
            "echo" => guest.respond(&payload),
            "count" => guest.respond(guest.calls().to_string().as_bytes()),
            "empty" => guest.respond(b""),
            "twice" => {
                guest.respond(b"first")?;
                guest.respond(b"second")
            }
            "fail" => guest.fail(&payload),
            "respond then fail" => {
                guest.respond(b"never mind")?;
                guest.fail(&payload)
            }
            "fail then respond" => {
                guest.fail(b"never mind")?;
                guest.respond(&payload)
            }
            "fail and return 1" => {
                guest.fail(&payload)?;
                Ok(1)
            }
            "trap" => Err(Trap::new(TrapCode::Unreachable, vec![]).into()),
            "fail then trap" => {
                guest.fail(&payload)?;
                Err(Trap::new(TrapCode::Unreachable, vec![]).into())
            }
            "exit" => Err(EngineError::Exit(7)),
            "no response" => Ok(1),
            "no error" => Ok(0),
            "return 2" => Ok(2),
            "ask" => match guest.ask(&payload)? {
                Ok(response) => guest.respond(&response),
                Err(error) => guest.fail(&error),
            },
            "engine" => Err(EngineError::Other("out of order".into())),
            other => guest.fail(format!("unknown operation: {other}").as_bytes()),
        }
    })
}

#[test]
fn each_way_to_end_a_call_has_its_answer_or_its_error() {
    let host = versatile().host().unwrap();
    type Case = (
        &'static str,
        &'static [u8],
        Result<&'static [u8], &'static str>,
    );
    let cases: &[Case] = &[
        ("echo", b"hello", Ok(b"hello")),
        ("echo", b"", Ok(b"")),
        ("empty", b"x", Ok(b"")),
        ("twice", b"", Ok(b"second")),
        ("ask", b"x", Ok(b"bind/ns/op:x")),
        (
            "ask",
            b"fail",
            Err("the guest's operation `ask` failed: the host said no"),
        ),
        (
            "fail",
            b"boom",
            Err("the guest's operation `fail` failed: boom"),
        ),
        (
            "respond then fail",
            b"boom",
            Err("the guest's operation `respond then fail` failed: boom"),
        ),
        ("fail then respond", b"fine", Ok(b"fine")),
        (
            "fail and return 1",
            b"boom",
            Err("the guest's operation `fail and return 1` failed: boom"),
        ),
        ("trap", b"", Err("the guest trapped in operation `trap`")),
        (
            "fail then trap",
            b"boom",
            Err("the guest trapped in operation `fail then trap`, after it reported: boom"),
        ),
        (
            "exit",
            b"",
            Err("the guest exited with code 7 in operation `exit`"),
        ),
        (
            "no response",
            b"",
            Err("the guest broke the protocol in operation `no response`"),
        ),
        (
            "no error",
            b"",
            Err("the guest broke the protocol in operation `no error`"),
        ),
        (
            "return 2",
            b"",
            Err("the guest broke the protocol in operation `return 2`"),
        ),
        (
            "engine",
            b"",
            Err("the engine failed in operation `engine`"),
        ),
    ];
    for (operation, payload, expected) in cases {
        let answer = host
            .call(operation, payload)
            .map_err(|error| error.to_string());
        assert_eq!(answer.as_deref().map_err(String::as_str), *expected);
        assert_eq!(host.call("echo", b"still here").unwrap(), b"still here");
    }
}

#[test]
fn an_instance_survives_what_the_guest_reports_and_nothing_else() {
    let host = versatile().host().unwrap();
    let count = || String::from_utf8(host.call("count", b"").unwrap()).unwrap();
    assert_eq!(count(), "1");
    for harmless in ["echo", "fail", "unheard of"] {
        let before: u64 = count().parse().unwrap();
        _ = host.call(harmless, b"x");
        assert_eq!(count(), (before + 2).to_string(), "{harmless}");
    }
    for fatal in [
        "trap",
        "exit",
        "no response",
        "no error",
        "return 2",
        "engine",
    ] {
        host.call(fatal, b"").unwrap_err();
        assert_eq!(count(), "1", "{fatal}");
    }
}

#[test]
fn the_forms_that_fill_and_lend_give_the_same_response() {
    let host = versatile().host().unwrap();
    let mut buffer = b"what was there before".to_vec();
    host.call_into("echo", b"hello", &mut buffer).unwrap();
    assert_eq!(buffer, b"hello");
    let capacity = buffer.capacity();
    host.call_into("echo", b"again", &mut buffer).unwrap();
    assert_eq!(
        (buffer.as_slice(), buffer.capacity()),
        (&b"again"[..], capacity)
    );

    let length = host.call_with("echo", b"hello", <[u8]>::len).unwrap();
    assert_eq!(length, 5);
    let last = host.call_with("twice", b"", <[u8]>::to_vec).unwrap();
    assert_eq!(last, b"second");
    let error = host.call_with("respond then fail", b"boom", <[u8]>::to_vec);
    assert!(matches!(error, Err(Error::Guest { .. })));
}

#[test]
fn a_panic_in_the_callback_reaches_the_caller_and_the_host_stays_usable() {
    let host = versatile().host().unwrap();
    let panic = catch_unwind(AssertUnwindSafe(|| host.call("ask", b"panic"))).unwrap_err();
    assert_eq!(panic.downcast_ref(), Some(&"the callback panicked"));
    assert_eq!(
        host.call("count", b"").unwrap(),
        b"1",
        "the instance is new"
    );
}

#[test]
fn a_panic_in_the_reader_reaches_the_caller_and_the_instance_lives_on() {
    let host = versatile().host().unwrap();
    let panic = catch_unwind(AssertUnwindSafe(|| {
        host.call_with("echo", b"x", |_| -> () { panic!("the reader panicked") })
    }))
    .unwrap_err();
    assert_eq!(panic.downcast_ref(), Some(&"the reader panicked"));
    assert_eq!(host.call("count", b"").unwrap(), b"2");
}

#[test]
fn a_panic_of_the_engine_leaves_neither_the_request_nor_the_instance() {
    let host = ScriptedProvider::new(|guest, op, msg| {
        let (operation, _) = guest.request(op, msg)?;
        assert_ne!(operation, "panic", "on purpose");
        guest.respond(guest.calls().to_string().as_bytes())
    })
    .host()
    .unwrap();
    assert_eq!(host.call("count", b"").unwrap(), b"1");
    catch_unwind(AssertUnwindSafe(|| host.call("panic", b"x"))).unwrap_err();
    assert_eq!(host.call("count", b"").unwrap(), b"1");
}

#[test]
fn calling_the_own_host_from_its_callback_is_refused_and_another_host_is_not() {
    let other = ScriptedProvider::echo().host().unwrap();
    let slot: Arc<std::sync::OnceLock<WapcHost>> = Arc::default();
    let own = Arc::downgrade(&slot);
    let host = WapcHost::new(Box::new(versatile()), move |_, _, _, _, payload| {
        assert_eq!(other.call("echo", payload)?, payload);
        let own = own.upgrade().unwrap();
        let own = own.get().unwrap();
        let refused = own.call("echo", payload).unwrap_err();
        assert!(matches!(refused, Error::Reentrant { host_id, .. } if host_id == own.id()));
        assert!(own.check_out().is_err());
        Err(refused.into())
    })
    .unwrap();
    let host = slot.get_or_init(|| host);
    let Error::Guest { message, .. } = host.call("ask", b"x").unwrap_err() else {
        panic!("the guest reports what the host said");
    };
    assert!(message.contains("`echo` was called on host"), "{message}");

    let refused = host.call_with("echo", b"x", |_| host.call("echo", b"y").is_err());
    assert!(refused.unwrap());
    let count = || host.stats().errors.of(crate::error::ErrorKind::Reentrant);
    let before = count();
    let refused = host.call_with("echo", b"x", |_| {
        block_on(host.call_async("echo", b"y")).is_err()
    });
    assert!(refused.unwrap());
    assert_eq!(count(), before + 1);
}

#[test]
fn start_functions_may_ask_the_host_but_there_is_no_call_to_answer() {
    let mut provider = ScriptedProvider::echo();
    provider = provider.with_start(|guest| {
        assert_eq!(guest.ask(b"x")?, Ok(b"bind/ns/op:x".to_vec()));
        let refused = guest.request(0, 0).unwrap_err();
        assert!(matches!(
            refused,
            EngineError::Stopped(StopReason::Protocol(ProtocolError::NoCall { .. }))
        ));
        let refused = guest.respond(b"x").unwrap_err();
        assert!(matches!(
            refused,
            EngineError::Stopped(StopReason::Protocol(ProtocolError::NoCall { .. }))
        ));
        Ok(())
    });
    assert_eq!(provider.host().unwrap().call("echo", b"x").unwrap(), b"x");
}

#[test]
fn a_start_function_that_fails_says_so_and_a_panic_goes_on_in_the_caller() {
    let mut provider = ScriptedProvider::echo();
    provider = provider.with_start(|_| Err(Trap::new(TrapCode::Unreachable, vec![]).into()));
    let error = WapcHost::new(Box::new(provider.clone()), answer).unwrap_err();
    let cause = std::error::Error::source(&error).unwrap();
    assert_eq!(cause.to_string(), "the guest failed in `wapc_init`");
    assert_eq!(cause.source().unwrap().to_string(), "unreachable");

    provider = provider.with_start(|guest| guest.ask(b"panic").map(|_| ()));
    let panic = catch_unwind(AssertUnwindSafe(|| {
        WapcHost::new(Box::new(provider), answer)
    }))
    .unwrap_err();
    assert_eq!(panic.downcast_ref(), Some(&"the callback panicked"));
}

/// A guest that waits in its call until the test lets it go on.
struct Gate {
    entered: Barrier,
    leave: Barrier,
}

fn gated(gate: &Arc<Gate>) -> ScriptedProvider {
    let gate = Arc::clone(gate);
    ScriptedProvider::new(move |guest, op, msg| {
        let (operation, _) = guest.request(op, msg)?;
        if operation == "wait" {
            gate.entered.wait();
            gate.leave.wait();
        }
        guest.respond(guest.calls().to_string().as_bytes())
    })
}

fn gate(parties: usize) -> Arc<Gate> {
    Arc::new(Gate {
        entered: Barrier::new(parties),
        leave: Barrier::new(parties),
    })
}

mod async_calls;
mod instances;
mod options;
mod races;
mod swaps;
#[cfg(not(miri))]
mod waits;
