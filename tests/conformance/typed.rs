//! Typed calls of guests, and guests that call a router.

mod contract;

use conformance::{
    Capability::{AnyModule, Async, Wasi},
    Engine, chain,
};
use guest_fixtures::{WASM, wat};
use wapc_host::{WapcHost, WasiSettings};
use wapc_typed::{CallAs, CallError, Function, Json, Raw, Router, service};

use crate::{Case, async_calls::on_a_runtime};

pub(crate) fn cases() -> Vec<Case> {
    let mut cases = vec![
        Case::new("functions", functions),
        Case::new("functions_async", functions_async).needs(&[Async]),
        Case::new("router", router),
        Case::new("old_guests", old_guests).needs(&[AnyModule, Wasi]),
    ];
    cases.extend(contract::cases());
    cases
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

/// The operations of guests that were written without this crate.
#[service]
trait Guest {
    #[wapc(op = "hello", unary)]
    fn hello(&self, name: Raw<String>) -> Result<Raw<String>, String>;

    #[wapc(op = "echo", unary)]
    fn echo(&self, value: (u32, String)) -> Result<(u32, String), String>;

    #[wapc(op = "fail", unary)]
    fn fail(&self, text: Raw<String>) -> Result<(), String>;

    #[wapc(op = "ping_host", unary)]
    fn ping_host(&self, number: Option<u32>) -> Result<u32, String>;

    #[wapc(op = "missing", unary)]
    fn missing(&self, nothing: ()) -> Result<(), String>;
}

/// What they call.
#[service]
trait Pinged {
    #[wapc(op = "op", unary)]
    fn op(&self, number: Option<u32>) -> Result<u32, String>;
}

struct Host;

impl Pinged for Host {
    fn op(&self, number: Option<u32>) -> Result<u32, String> {
        number
            .map(|number| number + 1)
            .ok_or_else(|| "none".to_owned())
    }
}

/// Guests of the official kits and of other languages are called and served as they are.
fn old_guests(engine: &Engine) {
    let tinygo = guest("tinygo").as_bytes();
    for (name, module) in WASM.iter().copied().chain([("tinygo", tinygo)]) {
        let provider = engine.provider(module, WasiSettings::new());
        let provider = provider.unwrap_or_else(|error| panic!("{}", chain(&error)));
        let router = Router::new().service("bind", PingedServer::new(Host));
        let host = WapcHost::builder(provider)
            .limits(engine.enforceable(wapc_host::Limits::default()))
            .build_with(router);
        let host = host.unwrap_or_else(|error| panic!("{}", chain(&error)));
        let client = GuestClient::over(&host);
        let Raw(greeting) = client.hello(Raw("World".to_owned())).expect(name);
        assert_eq!(greeting, "Hello, World.", "{name}");
        let sent = (u32::MAX, "ü".to_owned());
        assert_eq!(client.echo(sent.clone()).expect(name), sent, "{name}");
        match (client.missing(()), name) {
            (
                Err(CallError::UnknownOperation { .. }),
                "hello_rust" | "hello_rust_wasi" | "hello_as",
            ) => {}
            (Err(CallError::Service(text)), _) => assert!(text.contains("unknown"), "{text}"),
            (other, _) => panic!("{name}: {other:?}"),
        }
        if name == "tinygo" {
            continue;
        }
        match client.fail(Raw("reason".to_owned())) {
            Err(CallError::Service(text)) => assert!(text.contains("reason"), "{name}: {text}"),
            other => panic!("{name}: {other:?}"),
        }
        assert_eq!(client.ping_host(Some(41)).expect(name), 42, "{name}");
        match client.ping_host(None) {
            Err(CallError::Service(text)) => assert!(text.contains("none"), "{name}: {text}"),
            other => panic!("{name}: {other:?}"),
        }
    }
}
