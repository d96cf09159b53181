//! The values that a callback sees: the context of a call, the time left, the
//! generation.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

use conformance::{Engine, SHORT};
use wapc_host::{BoxError, CallOptions, HostCall, HostCallback, Interruption, Limits, WapcHost};

use super::{assert_good, text};
use crate::Case;

pub(super) fn cases() -> Vec<Case> {
    vec![
        Case::new("context_of_one_call", context_of_one_call),
        Case::new("what_a_callback_sees", what_a_callback_sees),
    ]
}

/// Answers with the name in the call's context, and counts the calls without one.
#[derive(Default)]
struct Whose {
    nobody: AtomicUsize,
}

struct Name(&'static str);

struct Shared(Arc<Whose>);

impl HostCallback for Shared {
    fn call(&self, call: HostCall<'_>, response: &mut Vec<u8>) -> Result<(), BoxError> {
        match call.context::<Name>() {
            Some(Name(name)) => response.extend_from_slice(name.as_bytes()),
            None => {
                self.0.nobody.fetch_add(1, Ordering::Relaxed);
                response.extend_from_slice(call.payload);
            }
        }
        Ok(())
    }
}

fn context_of_one_call(engine: &Engine) {
    let whose = Arc::new(Whose::default());
    let provider = engine.interruptible(text("echo_host"), Interruption::Off);
    let host = WapcHost::builder(provider)
        .limits(Limits::unlimited())
        .build_with(Shared(Arc::clone(&whose)))
        .expect("a host");
    for name in ["one", "another"] {
        let options = CallOptions::default().context(Arc::new(Name(name)));
        let response = host.with(&options).call("any", b"");
        assert_eq!(response.expect("an answer"), name.as_bytes());
        assert_eq!(host.call("any", b"none").expect("an answer"), b"none");
    }
    assert_eq!(whose.nobody.load(Ordering::Relaxed), 2);
    let other = CallOptions::default().context(Arc::new("of another type"));
    let response = host.with(&other).call("any", b"none");
    assert_eq!(response.expect("an answer"), b"none");
    assert_good(&host);
}

/// Answers with the values that it sees of the call.
struct Seer;

impl HostCallback for Seer {
    fn call(&self, call: HostCall<'_>, response: &mut Vec<u8>) -> Result<(), BoxError> {
        let time_left = call.time_left().map(|left| left <= SHORT);
        let name = call.context::<Name>().map(|name| name.0);
        let seen = (call.host_id, call.generation, time_left, name);
        response.extend_from_slice(format!("{seen:?}").as_bytes());
        Ok(())
    }
}

fn what_a_callback_sees(engine: &Engine) {
    let provider = engine.interruptible(text("echo_host"), Interruption::Time);
    let host = WapcHost::builder(provider)
        .limits(Limits::default().timeout(None))
        .build_with(Seer)
        .expect("a host");
    let timed = CallOptions::default()
        .timeout(SHORT)
        .context(Arc::new(Name("Ann")));
    for generation in 1..=3 {
        assert_eq!(host.generation(), generation);
        let seen = |left: Option<bool>, name: Option<&str>| {
            format!("{:?}", (host.id(), generation, left, name)).into_bytes()
        };
        let response = host.with(&timed).call("any", b"").expect("an answer");
        assert_eq!(response, seen(Some(true), Some("Ann")));
        let response = host.call("any", b"").expect("an answer");
        assert_eq!(response, seen(None, None));
        host.replace_module(text("echo_host")).expect("a guest");
    }
}
