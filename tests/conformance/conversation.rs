//! The host's side of a call: swaps, panics, re-entrancy, start functions, log lines.

use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{Arc, OnceLock},
};

use conformance::{Capability::AnyModule, Engine, answer};
use guest_fixtures::{HELLO_C, HELLO_RUST, wat};
use wapc_host::{Error, Limits, WapcHost, WasiSettings};

use crate::{Case, log_lines};

pub(crate) fn cases() -> Vec<Case> {
    vec![
        Case::new("memory_is_lent", memory_is_lent),
        Case::new("replace_module", replace_module),
        Case::new("replace_during_a_check_out", replace_during_a_check_out).needs(&[AnyModule]),
        Case::new("panic_in_the_callback", panic_in_the_callback).needs(&[AnyModule]),
        Case::new("panic_in_the_reader", panic_in_the_reader).needs(&[AnyModule]),
        Case::new("panic_while_starting", panic_while_starting),
        Case::new("reentrancy", reentrancy).needs(&[AnyModule]),
        Case::new("another_host_from_the_callback", another_host).needs(&[AnyModule]),
        Case::new("state_is_new_after_a_trap", state_is_new_after_a_trap),
        Case::new("log_lines_carry_the_host_id", log_lines_carry_the_host_id).needs(&[AnyModule]),
        Case::new("guest_error_before_a_trap", guest_error_before_a_trap),
        Case::new("assembly_script_abort", assembly_script_abort).needs(&[AnyModule]),
        Case::new("host_calls_in_order", host_calls_in_order),
    ]
}

fn text(name: &str) -> &'static [u8] {
    wat(name).expect("a guest of this name").as_bytes()
}

fn replace_module(engine: &Engine) {
    let host = engine.host(text("respond_twice"));
    assert_eq!(host.call("any", b"").expect("an answer"), b"last");
    for generation in 2..20 {
        let (module, response): (_, &[u8]) = match generation % 2 {
            0 => (text("echo"), b"payload"),
            _ => (text("respond_twice"), b"last"),
        };
        host.replace_module(module).expect("a good module");
        assert_eq!(host.generation(), generation);
        assert_eq!(host.call("any", b"payload").expect("an answer"), response);
    }
}

fn replace_during_a_check_out(engine: &Engine) {
    let host = engine.host(HELLO_C);
    let mut held = host.check_out().expect("the instance");
    assert_eq!(held.call("count", b"").expect("an answer"), b"1");
    host.replace_module(HELLO_RUST).expect("a good module");
    assert_eq!(
        held.call("count", b"").expect("an answer"),
        b"2",
        "still the old code"
    );
    drop(held);
    assert_eq!(host.call("count", b"").expect("an answer"), b"1");
}

/// Starts a host whose callback panics for the payloads `panic` and `start`.
fn panicking(engine: &Engine, module: &[u8]) -> Result<WapcHost, Error> {
    let provider = engine
        .provider(module, WasiSettings::new())
        .expect("a guest");
    WapcHost::builder(provider)
        .limits(engine.enforceable(Limits::default()))
        .build(|_, _, _, _, payload| match payload {
            b"panic" | b"start" => panic!("the callback panicked"),
            payload => Ok(payload.to_vec()),
        })
}

fn panic_in_the_callback(engine: &Engine) {
    let host = panicking(engine, HELLO_RUST).expect("a host");
    for _ in 0..3 {
        let panic = catch_unwind(AssertUnwindSafe(|| host.call("ping_host", b"panic")));
        let panic = panic.expect_err("it goes on in the caller");
        assert_eq!(panic.downcast_ref(), Some(&"the callback panicked"));
        assert_eq!(host.call("ping_host", b"fine").expect("an answer"), b"fine");
    }
}

fn panic_in_the_reader(engine: &Engine) {
    let host = engine.host(HELLO_RUST);
    let panic = catch_unwind(AssertUnwindSafe(|| {
        host.call_with("count", b"", |_| -> () { panic!("the reader panicked") })
    }));
    let panic = panic.expect_err("it goes on in the caller");
    assert_eq!(panic.downcast_ref(), Some(&"the reader panicked"));
    assert_eq!(
        host.call("count", b"").expect("an answer"),
        b"2",
        "the same instance"
    );
}

fn panic_while_starting(engine: &Engine) {
    for guest in ["start_section", "start_calls_host"] {
        let panic = catch_unwind(AssertUnwindSafe(|| panicking(engine, text(guest)).is_ok()));
        let panic = panic.expect_err("it goes on in the caller");
        assert_eq!(
            panic.downcast_ref(),
            Some(&"the callback panicked"),
            "{guest}"
        );
    }
}

fn reentrancy(engine: &Engine) {
    let host = Arc::new(OnceLock::<WapcHost>::new());
    let own = Arc::downgrade(&host);
    let provider = engine
        .provider(HELLO_RUST, WasiSettings::new())
        .expect("a guest");
    let made = WapcHost::new(provider, move |_, _, _, _, payload| {
        let own = own.upgrade().ok_or("the host is gone")?;
        let own = own.get().ok_or("the host is not made yet")?;
        Ok(own.call("echo", payload)?)
    })
    .expect("a host");
    let host = host.get_or_init(|| made);
    for _ in 0..3 {
        let Err(Error::Guest { message, .. }) = host.call("ping_host", b"x") else {
            panic!("the guest reports what the host said");
        };
        assert!(message.contains("`echo` was called on host"), "{message}");
    }
}

fn another_host(engine: &Engine) {
    let inner = engine.host(HELLO_C);
    let provider = engine
        .provider(HELLO_RUST, WasiSettings::new())
        .expect("a guest");
    let outer = WapcHost::new(provider, move |_, _, _, _, payload| {
        Ok(inner.call("hello", payload)?)
    })
    .expect("a host");
    assert_eq!(
        outer.call("ping_host", b"you").expect("an answer"),
        b"Hello, you."
    );
}

fn state_is_new_after_a_trap(engine: &Engine) {
    let host = engine.host(text("stateful"));
    assert_eq!(host.call("keep", b"first").expect("an answer"), b"");
    assert_eq!(host.call("keep", b"second").expect("an answer"), b"first");
    assert!(matches!(
        host.call("trap", b"third"),
        Err(Error::Trapped { .. })
    ));
    assert_eq!(host.call("keep", b"fourth").expect("an answer"), b"");
}

fn log_lines_carry_the_host_id(engine: &Engine) {
    let host = engine.host(HELLO_RUST);
    let line = format!("a line of {engine:?}");
    host.call("log", line.as_bytes()).expect("an answer");
    let expected = format!("[guest of host {}] {line}", host.id());
    assert!(log_lines::contain(&expected), "{expected}");
}

fn guest_error_before_a_trap(engine: &Engine) {
    let error = engine.host(text("error_then_trap")).call("any", b"");
    let Err(Error::Trapped { guest_error, .. }) = error else {
        panic!("it traps");
    };
    assert_eq!(guest_error.as_deref(), Some("boom"));
}

fn assembly_script_abort(engine: &Engine) {
    let host = engine.host(text("abort"));
    let Err(Error::Trapped { guest_error, .. }) = host.call("abort", b"") else {
        panic!("it traps");
    };
    assert_eq!(
        guest_error.as_deref(),
        Some("over the edge at guest.ts:12:5")
    );
    assert!(matches!(
        host.call("abort_wild", b""),
        Err(Error::Trapped { .. })
    ));
    assert_eq!(host.call("any", b"").expect("an answer"), b"alive");
}

fn host_calls_in_order(engine: &Engine) {
    let host = engine.host(text("echo_host"));
    for call in 0..100 {
        let payload = format!("call {call}");
        let expected = answer(0, "bind", "ns", "op", payload.as_bytes()).expect("an answer");
        assert_eq!(
            host.call("any", payload.as_bytes()).expect("an answer"),
            expected
        );
    }
}

/// A held instance lends its memory between calls, and none after a call that has lost it.
fn memory_is_lent(engine: &Engine) {
    let host = engine.host(wat("echo").expect("there is such a guest").as_bytes());
    let mut held = host.check_out().expect("an instance");
    let pages = held.memory().expect("it lives").len();
    assert!(pages > 0 && pages.is_multiple_of(65536));
    held.call("echo", b"a rare text").expect("an echo");
    let memory = held.memory().expect("it lives");
    assert!(memory.windows(11).any(|bytes| bytes == b"a rare text"));
    drop(held);

    let host = engine.host(
        wat("error_then_trap")
            .expect("there is such a guest")
            .as_bytes(),
    );
    let mut held = host.check_out().expect("an instance");
    assert!(held.call("any", b"").is_err());
    assert!(held.memory().is_none());
}
