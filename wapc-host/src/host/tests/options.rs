//! Limits of a host and options of a call.

use super::*;

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
