//! Typed calls of guests, and guests that call a router.

use conformance::{Capability::Async, Engine, chain};
use guest_fixtures::wat;
use wapc_host::{WapcHost, WasiSettings};
use wapc_typed::{CallAs, CallError, Function, Json, Router};

use crate::{Case, async_calls::on_a_runtime};

pub(crate) fn cases() -> Vec<Case> {
    vec![
        Case::new("functions", functions),
        Case::new("functions_async", functions_async).needs(&[Async]),
        Case::new("router", router),
    ]
}

const ECHO: Function<(u32, String), (u32, String)> = Function::named("echo");

fn guest(name: &str) -> &'static str {
    wat(name).expect("there is such a guest")
}

fn functions(engine: &Engine) {
    let host = engine.host(guest("echo").as_bytes());
    for number in [0, u32::MAX] {
        let sent = (number, "text".repeat(1000));
        assert_eq!(ECHO.call(&host, &sent).expect("an echo"), sent);
    }
    let Json(numbers) = host
        .call_as::<Json<Vec<u8>>>("echo", &Json([1, 2]))
        .expect("an echo");
    assert_eq!(numbers, [1, 2]);
    let wrong: Function<&str, u32> = Function::named("echo");
    let undecoded = wrong.call(&host, &"text");
    assert!(
        matches!(undecoded, Err(CallError::Decode { .. })),
        "{undecoded:?}"
    );
}

fn functions_async(engine: &Engine) {
    let host = engine.host(guest("echo").as_bytes());
    on_a_runtime(async {
        let sent = (7, "text".to_owned());
        assert_eq!(ECHO.call_async(&host, &sent).await.expect("an echo"), sent);
    });
}

/// The guest passes its payload on to its host, and the answer back.
fn router(engine: &Engine) {
    let provider = engine.provider(guest("echo_host").as_bytes(), WasiSettings::new());
    let provider = provider.unwrap_or_else(|error| panic!("{}", chain(&error)));
    let router = Router::new().fallback(|call, response| {
        let Json(number): Json<u32> = wapc_typed::FromPayload::from_payload(call.payload)?;
        wapc_typed::ToPayload::to_payload(&Json(number + 1), response)?;
        Ok(())
    });
    let limits = engine.enforceable(wapc_host::Limits::default());
    let host = WapcHost::builder(provider)
        .limits(limits)
        .build_with(router);
    let host = host.unwrap_or_else(|error| panic!("{}", chain(&error)));
    let Json(answer) = host
        .call_as::<Json<u32>>("any", &Json(41))
        .expect("an answer");
    assert_eq!(answer, 42);
}
