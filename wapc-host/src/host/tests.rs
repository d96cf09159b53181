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
    error::{EngineError, ProtocolError, StartFunction, StopReason, Trap, TrapCode},
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
fn a_panic_of_the_engine_leaves_neither_a_loan_nor_the_instance() {
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
fn a_check_out_holds_the_state_and_refuses_its_own_thread() {
    let host = versatile().host().unwrap();
    let mut held = host.check_out().unwrap();
    assert_eq!(held.call("count", b"").unwrap(), b"1");
    assert!(matches!(
        host.call("echo", b""),
        Err(Error::Reentrant { .. })
    ));
    held.call("trap", b"").unwrap_err();
    assert_eq!(held.call("count", b"").unwrap(), b"1", "a new instance");
    let mut buffer = vec![];
    held.call_into("count", b"", &mut buffer).unwrap();
    assert_eq!(buffer, b"2");
    assert_eq!(held.call_with("count", b"", <[u8]>::len).unwrap(), 1);
    drop(held);
    assert_eq!(host.call("count", b"").unwrap(), b"4");
}

#[test]
fn a_swap_takes_effect_for_the_next_call_and_a_failed_one_changes_nothing() {
    let host = versatile().host().unwrap();
    assert_eq!(host.call("count", b"").unwrap(), b"1");
    host.replace_module(b"bad").unwrap_err();
    assert_eq!(
        (host.generation(), host.call("count", b"").unwrap()),
        (1, b"2".to_vec())
    );
    host.replace_module(b"echo").unwrap();
    assert_eq!(
        (host.generation(), host.call("count", b"x").unwrap()),
        (2, b"x".to_vec())
    );
}

#[test]
fn a_swap_during_a_check_out_waits_for_nobody_and_takes_effect_after_it() {
    let host = versatile().host().unwrap();
    let mut held = host.check_out().unwrap();
    thread::scope(|scope| {
        scope.spawn(|| host.replace_module(b"echo").unwrap());
    });
    assert_eq!(held.call("count", b"x").unwrap(), b"1");
    drop(held);
    assert_eq!(host.call("count", b"x").unwrap(), b"x");
}

#[test]
fn a_swap_retires_old_code_and_not_what_a_quicker_caller_runs_already() {
    let host = versatile().host().unwrap();
    assert_eq!(host.call("count", b"").unwrap(), b"1");
    host.shared.retire_before(1);
    assert_eq!(host.call("count", b"").unwrap(), b"2", "of this very code");
    host.shared.retire_before(2);
    assert_eq!(host.call("count", b"").unwrap(), b"1");
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
    provider = provider.with_start(|_| {
        StartFunction::Wapc.outcome(Err(Trap::new(TrapCode::Unreachable, vec![]).into()))
    });
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

#[test]
fn threads_take_turns_and_each_gets_its_own_answer() {
    let (threads, calls) = if cfg!(miri) { (3, 5) } else { (8, 2_000) };
    let host = versatile().host().unwrap();
    let barrier = Barrier::new(threads);
    let answered = AtomicUsize::new(0);
    thread::scope(|scope| {
        for thread in 0..threads {
            let (host, barrier, answered) = (&host, &barrier, &answered);
            scope.spawn(move || {
                barrier.wait();
                for call in 0..calls {
                    let payload = format!("{thread}/{call}");
                    assert_eq!(
                        host.call("echo", payload.as_bytes()).unwrap(),
                        payload.as_bytes()
                    );
                    answered.fetch_add(1, Ordering::Relaxed);
                }
            });
        }
    });
    assert_eq!(answered.into_inner(), threads * calls);
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

#[test]
fn as_many_calls_run_at_once_as_there_may_be_instances_and_no_more_exist() {
    let gate = gate(4);
    let host = WapcHost::builder(Box::new(gated(&gate)))
        .max_instances(3)
        .wait_limit(Duration::ZERO)
        .build(answer)
        .unwrap();
    assert_eq!(
        host.stats().live,
        1,
        "the first one, and no other in advance"
    );
    for _ in 0..10 {
        host.call("count", b"").unwrap();
    }
    assert_eq!(host.stats().live, 1, "one caller needs one");
    thread::scope(|scope| {
        for _ in 0..3 {
            scope.spawn(|| host.call("wait", b"").unwrap());
        }
        gate.entered.wait();
        let stats = host.stats();
        assert_eq!((stats.live, stats.idle), (3, 0));
        assert!(matches!(host.call("count", b""), Err(Error::Busy { .. })));
        gate.leave.wait();
    });
    let stats = host.stats();
    assert_eq!((stats.live, stats.idle, stats.calls), (3, 3, 13));
    assert_eq!(stats.errors.of(crate::error::ErrorKind::Busy), 1);
}

#[test]
fn whoever_waits_is_served_in_the_order_of_coming() {
    let gate = gate(2);
    let host = WapcHost::builder(Box::new(gated(&gate)))
        .build(answer)
        .unwrap();
    let served = Mutex::new(vec![]);
    thread::scope(|scope| {
        scope.spawn(|| host.call("wait", b"").unwrap());
        gate.entered.wait();
        for number in 0..4 {
            let (host, served) = (&host, &served);
            scope.spawn(move || {
                let mut held = host.check_out().unwrap();
                served.lock().push(number);
                held.call("count", b"").unwrap();
            });
            while host.stats().waiting <= number {
                thread::yield_now();
            }
        }
        gate.leave.wait();
    });
    assert_eq!(served.into_inner(), [0, 1, 2, 3]);
}

#[test]
fn a_call_of_the_own_host_takes_another_instance_if_there_may_be_one() {
    let slot: Arc<std::sync::OnceLock<WapcHost>> = Arc::default();
    let own = Arc::downgrade(&slot);
    let host = WapcHost::builder(Box::new(versatile()))
        .max_instances(2)
        .build(move |_, _, _, _, payload| {
            let own = own.upgrade().unwrap();
            Ok(own.get().unwrap().call("echo", payload)?)
        })
        .unwrap();
    let host = slot.get_or_init(|| host);
    assert_eq!(host.call("ask", b"x").unwrap(), b"x");
    assert_eq!(host.stats().live, 2);
}

#[test]
fn an_instance_is_used_for_as_many_calls_as_the_host_says() {
    let count = |reuse| {
        let host = WapcHost::builder(Box::new(versatile()))
            .reuse(reuse)
            .build(answer)
            .unwrap();
        [(); 5].map(|()| String::from_utf8(host.call("count", b"").unwrap()).unwrap())
    };
    assert_eq!(count(Reuse::Keep), ["1", "2", "3", "4", "5"]);
    assert_eq!(
        count(Reuse::Recycle(2.try_into().unwrap())),
        ["1", "2", "1", "2", "1"]
    );
    assert_eq!(count(Reuse::Fresh), ["1"; 5]);
}

#[test]
fn idle_instances_retire_but_for_the_least_number() {
    let gate = gate(4);
    let host = WapcHost::builder(Box::new(gated(&gate)))
        .max_instances(3)
        .idle_timeout(Duration::ZERO)
        .build(answer)
        .unwrap();
    thread::scope(|scope| {
        for _ in 0..3 {
            scope.spawn(|| host.call("wait", b"").unwrap());
        }
        gate.entered.wait();
        gate.leave.wait();
    });
    let shared = &host.shared;
    clock::ClockClient::maintain(&**shared);
    clock::ClockClient::maintain(&**shared);
    assert_eq!(host.stats().live, 1);
    host.call("count", b"").unwrap();
}

#[test]
fn a_probe_decides_whether_a_swap_happens_and_leaves_no_trace() {
    let host = versatile().host().unwrap();
    host.call("count", b"").unwrap();
    let refused = host
        .swap()
        .probe(|candidate| {
            assert_eq!(candidate.call("count", b"probe")?, b"probe");
            Err("not good enough".into())
        })
        .module(b"echo");
    assert!(matches!(refused, Err(Error::Probe(_))));
    assert_eq!(
        (host.generation(), host.call("count", b"").unwrap()),
        (1, b"2".to_vec())
    );

    let new = versatile();
    host.swap()
        .probe(|candidate| {
            assert_eq!(candidate.call("count", b"")?, b"1");
            candidate.call("trap", b"").unwrap_err();
            assert_eq!(
                candidate.call("count", b"")?,
                b"1",
                "another instance of it"
            );
            Ok(())
        })
        .provider(Box::new(new))
        .unwrap();
    assert_eq!(
        (host.generation(), host.call("count", b"").unwrap()),
        (2, b"1".to_vec())
    );
}

#[test]
fn a_rollback_brings_the_code_before_back_and_another_one_undoes_it() {
    let host = versatile().host().unwrap();
    assert!(matches!(host.rollback(), Err(Error::NoPrevious)));
    host.replace_module(b"echo").unwrap();
    host.rollback().unwrap();
    assert_eq!(
        (host.generation(), host.call("count", b"x").unwrap()),
        (3, b"1".to_vec())
    );
    host.rollback().unwrap();
    assert_eq!(
        (host.generation(), host.call("count", b"x").unwrap()),
        (4, b"x".to_vec())
    );
    assert_eq!(host.stats().swaps, 3);
}

#[test]
fn draining_waits_for_calls_on_the_old_code_and_for_no_others() {
    let gate = gate(2);
    let host = WapcHost::builder(Box::new(gated(&gate)))
        .max_instances(2)
        .build(answer)
        .unwrap();
    thread::scope(|scope| {
        let call = scope.spawn(|| host.call("wait", b"").unwrap());
        gate.entered.wait();
        let drained = host.swap().drain(Duration::from_millis(20)).module(b"echo");
        assert!(matches!(drained, Err(Error::NotDrained { .. })));
        assert_eq!(
            host.call("count", b"new").unwrap(),
            b"new",
            "the swap has happened"
        );
        let drain = scope.spawn(|| host.swap().drain(Duration::from_secs(60)).module(b"echo"));
        gate.leave.wait();
        assert_eq!(call.join().unwrap(), b"1", "on the code it began on");
        drain.join().unwrap().unwrap();
    });
}

#[test]
fn limits_that_the_provider_cannot_keep_are_refused() {
    struct Unstoppable(ScriptedProvider);
    impl WebAssemblyEngineProvider for Unstoppable {
        fn init(&self, state: ModuleState) -> Result<Box<dyn GuestInstance>, EngineError> {
            self.0.init(state)
        }
        fn replace(&self, _: &[u8]) -> Result<Box<dyn WebAssemblyEngineProvider>, EngineError> {
            Ok(Box::new(Self(self.0.clone())))
        }
    }
    let provider = || Box::new(Unstoppable(versatile()));
    let refused = WapcHost::new(provider(), answer).unwrap_err();
    assert!(matches!(refused, Error::NotInterruptible { what: "time" }));
    let host = WapcHost::builder(provider())
        .limits(Limits::unlimited())
        .build(answer)
        .unwrap();
    host.call("echo", b"").unwrap();
    let refused = |options: CallOptions| {
        host.with(&options)
            .call("echo", b"")
            .unwrap_err()
            .to_string()
    };
    for options in [
        CallOptions::default().timeout(Duration::MAX),
        CallOptions::default().cancel(&CancelHandle::new()),
    ] {
        assert_eq!(
            refused(options),
            "the provider was built without interruption of guests by time"
        );
    }
    assert!(refused(CallOptions::default().fuel(1)).contains("by fuel"));
    let timed = versatile().host().unwrap();
    let refused = timed.swap_provider(provider()).unwrap_err();
    assert!(matches!(refused, Error::NotInterruptible { .. }));
    assert_eq!(timed.generation(), 1);
}

#[test]
fn a_call_that_is_over_before_it_begins_does_not_reach_the_guest() {
    let host = versatile().host().unwrap();
    let handle = CancelHandle::new();
    let options = CallOptions::default().cancel(&handle);
    assert_eq!(host.with(&options).call("count", b"").unwrap(), b"1");
    handle.cancel();
    let refused = host.with(&options).call("count", b"");
    assert!(matches!(refused, Err(Error::Cancelled { .. })));
    let past = CallOptions::default().deadline(Instant::now());
    let refused = host.with(&past).call("count", b"");
    assert!(matches!(refused, Err(Error::TimedOut { .. })));
    assert_eq!(host.call("count", b"").unwrap(), b"2", "the same instance");
}

#[test]
fn messages_and_host_calls_are_counted_and_bounded() {
    let bounded = |limits: Limits| {
        WapcHost::builder(Box::new(versatile()))
            .limits(limits)
            .build(answer)
            .unwrap()
    };
    let host = bounded(Limits::default().max_inbound_bytes(12));
    assert_eq!(host.call("echo", b"12345678").unwrap(), b"12345678");
    let refused = host.call("echo", b"123456789").unwrap_err();
    assert!(matches!(
        refused,
        Error::TooLarge {
            bytes: 13,
            limit: 12
        }
    ));
    let Error::Guest { message, .. } = host.call("ask", b"12").unwrap_err() else {
        panic!("the guest hears of an answer that is too long");
    };
    assert!(message.contains("above the limit of 12 bytes"), "{message}");
    let host = bounded(Limits::default().max_outbound_bytes(12));
    assert_eq!(host.call("echo", b"123456789012").unwrap(), b"123456789012");
    let refused = host.call("ask", b"12345").unwrap_err();
    assert!(matches!(
        refused,
        Error::Limit {
            source: crate::error::LimitError::OutboundBytes { bytes: 13, .. },
            ..
        }
    ));
}

#[test]
fn a_callback_sees_the_context_of_its_own_call() {
    struct Whose;
    impl HostCallback for Whose {
        fn call(&self, call: HostCall<'_>, response: &mut Vec<u8>) -> Result<(), BoxError> {
            assert_eq!(call.context::<u8>(), None);
            assert_eq!(call.generation, 1);
            assert!(call.time_left().unwrap() <= Duration::from_secs(10));
            response.extend_from_slice(call.context::<String>().ok_or("nobody's")?.as_bytes());
            Ok(())
        }
    }
    let host = WapcHost::with_callback(Box::new(versatile()), Whose).unwrap();
    let options = CallOptions::default().context(Arc::new("Ann's".to_owned()));
    assert_eq!(host.with(&options).call("ask", b"").unwrap(), b"Ann's");
    let refused = host.call("ask", b"").unwrap_err();
    assert!(refused.to_string().ends_with("nobody's"));
}

/// Async calls of guests that cannot be suspended: they run on a thread of
/// their own.
mod on_a_thread {
    use std::{
        future::{pending, poll_fn},
        pin::pin,
        sync::atomic::AtomicBool,
        task::{Context, Poll, Waker},
    };

    use super::*;
    use crate::{CheckedOutAsync, HostBuilder, OwnedHostCall, block_on::block_on};

    /// Answers with what it was asked, after having been polled twice.
    async fn slow_answer(call: OwnedHostCall) -> Result<Vec<u8>, BoxError> {
        let mut polled = false;
        poll_fn(|context| {
            context.waker().wake_by_ref();
            match mem::replace(&mut polled, true) {
                false => Poll::Pending,
                true => Poll::Ready(()),
            }
        })
        .await;
        answer(
            call.host_id(),
            call.binding(),
            call.namespace(),
            call.operation(),
            call.payload(),
        )
    }

    fn host() -> WapcHost {
        block_on(WapcHost::builder(Box::new(versatile())).build_async(slow_answer)).unwrap()
    }

    #[test]
    fn a_call_ends_as_a_blocking_one_does() {
        let host = host();
        let call = |operation: &str, payload: &[u8]| {
            block_on(host.call_async(operation, payload)).map_err(|error| error.to_string())
        };
        assert_eq!(call("echo", b"x").unwrap(), b"x");
        assert_eq!(call("ask", b"x").unwrap(), b"bind/ns/op:x");
        assert_eq!(
            call("ask", b"fail").unwrap_err(),
            "the guest's operation `ask` failed: the host said no"
        );
        assert_eq!(call("count", b"").unwrap(), b"4");
        assert_eq!(
            call("trap", b"").unwrap_err(),
            "the guest trapped in operation `trap`"
        );
        assert_eq!(call("count", b"").unwrap(), b"1");
        let panic = catch_unwind(AssertUnwindSafe(|| call("ask", b"panic"))).unwrap_err();
        assert_eq!(panic.downcast_ref(), Some(&"the callback panicked"));
        assert_eq!(call("count", b"").unwrap(), b"1");
    }

    #[test]
    fn a_blocking_call_of_a_guest_whose_host_awaits_is_refused_at_its_host_call() {
        let host = host();
        assert_eq!(host.call("echo", b"x").unwrap(), b"x");
        let refused = host.call("ask", b"x").unwrap_err();
        assert!(matches!(
            refused,
            Error::Protocol {
                source: ProtocolError::CallbackAwaits { .. },
                ..
            }
        ));
    }

    #[test]
    fn a_callback_that_never_answers_ends_with_the_call() {
        let never = |_: OwnedHostCall| pending();
        let host = block_on(WapcHost::builder(Box::new(versatile())).build_async(never)).unwrap();
        let options = CallOptions::default().timeout(Duration::from_millis(10));
        let ended = block_on(host.with(&options).call_async("ask", b""));
        assert!(matches!(ended, Err(Error::TimedOut { .. })));

        let handle = CancelHandle::new();
        let options = CallOptions::default().cancel(&handle);
        thread::scope(|scope| {
            let call = scope.spawn(|| block_on(host.with(&options).call_async("ask", b"")));
            while host.stats().idle > 0 {
                thread::yield_now();
            }
            handle.cancel();
            assert!(matches!(call.join().unwrap(), Err(Error::Cancelled { .. })));
        });
        assert_eq!(block_on(host.call_async("count", b"")).unwrap(), b"1");
    }

    #[test]
    fn dropping_a_call_gives_its_place_to_the_next_and_drops_the_answer() {
        static DROPPED: AtomicBool = AtomicBool::new(false);
        struct OnDrop;
        impl Drop for OnDrop {
            fn drop(&mut self) {
                DROPPED.store(true, Ordering::SeqCst);
            }
        }
        let asked = Arc::new(AtomicBool::new(false));
        let seen = Arc::clone(&asked);
        let never = move |_: OwnedHostCall| {
            seen.store(true, Ordering::SeqCst);
            let guard = OnDrop;
            async move {
                let _guard = guard;
                pending().await
            }
        };
        let host = block_on(WapcHost::builder(Box::new(versatile())).build_async(never)).unwrap();
        {
            let mut call = pin!(host.call_async("ask", b""));
            let mut context = Context::from_waker(Waker::noop());
            while !asked.load(Ordering::SeqCst) {
                assert!(call.as_mut().poll(&mut context).is_pending());
            }
        }
        assert_eq!(block_on(host.call_async("count", b"")).unwrap(), b"1");
        while !DROPPED.load(Ordering::SeqCst) {
            thread::yield_now();
        }
    }

    #[test]
    fn many_calls_wait_their_turn_on_one_thread() {
        let host = block_on(
            WapcHost::builder(Box::new(versatile()))
                .max_instances(2)
                .build_async(slow_answer),
        )
        .unwrap();
        let calls = if cfg!(miri) { 4 } else { 50 };
        let mut waiting: Vec<_> = (0..calls)
            .map(|_| Box::pin(host.call_async("ask", b"x")))
            .collect();
        block_on(poll_fn(|context| {
            waiting.retain_mut(|call| match call.as_mut().poll(context) {
                Poll::Pending => true,
                Poll::Ready(answer) => {
                    assert_eq!(answer.unwrap(), b"bind/ns/op:x");
                    false
                }
            });
            match waiting.is_empty() {
                true => Poll::Ready(()),
                false => Poll::Pending,
            }
        }));
        let stats = host.stats();
        assert_eq!(
            (stats.calls, stats.idle, stats.waiting),
            (calls, stats.live, 0)
        );
    }

    /// Compiles if async calls may move between threads, and what they hold.
    const _: fn(HostBuilder, &WapcHost, &CallOptions, CheckedOutAsync<'_>) =
        |builder, host, options, mut held| {
            const fn sent<T: Send>(_: &T) {}
            sent(&builder.build_async(slow_answer));
            sent(&host.call_async("", b""));
            sent(&host.with(options).call_async("", b""));
            let mut buffer = vec![];
            sent(&host.call_into_async("", b"", &mut buffer));
            sent(&host.with(options).call_into_async("", b"", &mut buffer));
            sent(&held.call_into_async("", b"", &mut buffer));
            sent(&host.check_out_async());
            sent(&host.with(options).check_out_async());
            sent(&held.call_async("", b""));
            sent(&held);
        };
}

mod races;
