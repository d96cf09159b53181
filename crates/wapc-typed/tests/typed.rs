//! Typed calls of scripted guests, blocking and async, and guests that call a router.
#![expect(
    clippy::unwrap_used,
    reason = "what a test's own functions unwrap fails the test"
)]

use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use serde::{Deserialize, Serialize};
use wapc_host::{
    Error, Limits, WapcHost,
    engine::scripted::{ScriptedGuest, ScriptedProvider},
    error::EngineError,
};
use wapc_typed::{
    CallAs, CallContext, CallError, Descriptor, Function, Json, MsgPack, Raw, Router, Serve,
    service,
};

#[derive(Serialize, Deserialize, Debug, PartialEq)]
enum StoreError {
    Missing { key: String },
}

#[service(namespace = "store.v1")]
trait Store {
    /// Returns a value.
    fn get(&self, key: String) -> Result<u32, StoreError>;

    fn set(&self, key: String, value: u32) -> Result<(), String>;

    #[wapc(op = "ping", unary)]
    fn ping(&self, body: Vec<u8>) -> Result<Vec<u8>, String>;

    fn version(&self) -> Result<String, String>;
}

#[derive(Default)]
struct One;

impl Store for One {
    fn get(&self, key: String) -> Result<u32, StoreError> {
        match key.as_str() {
            "one" => Ok(1),
            _ => Err(StoreError::Missing { key }),
        }
    }

    fn set(&self, key: String, value: u32) -> Result<(), String> {
        Err(format!("{key} is not {value}"))
    }

    fn ping(&self, body: Vec<u8>) -> Result<Vec<u8>, String> {
        Ok(body)
    }

    fn version(&self) -> Result<String, String> {
        Ok("1".to_owned())
    }
}

/// A guest that serves the store.
fn store() -> WapcHost {
    ScriptedProvider::new(serve_store).host().unwrap()
}

fn serve_store(
    guest: &mut ScriptedGuest,
    op_length: i32,
    msg_length: i32,
) -> Result<i32, EngineError> {
    let (operation, payload) = guest.request(op_length, msg_length)?;
    let mut response = vec![];
    match StoreServer::new(One).serve(&CallContext::none(), &operation, &payload, &mut response) {
        Ok(()) => guest.respond(&response),
        Err(error) => guest.fail(error.to_string().as_bytes()),
    }
}

#[test]
fn a_client_calls_a_server_and_gets_its_errors() {
    assert_eq!(
        STORE_OPERATIONS,
        [
            "store.v1.Store/get",
            "store.v1.Store/set",
            "ping",
            "store.v1.Store/version"
        ]
    );
    let host = Arc::new(store());
    let client = StoreClient::over(Arc::clone(&host));
    assert_eq!(client.get("one".to_owned()).unwrap(), 1);
    assert_eq!(client.ping(vec![1, 2]).unwrap(), [1, 2]);
    assert_eq!(client.version().unwrap(), "1");
    match client.get("two".to_owned()) {
        Err(CallError::Service(StoreError::Missing { key })) => assert_eq!(key, "two"),
        other => panic!("{other:?}"),
    }
    match client.set("a".to_owned(), 2) {
        Err(CallError::Service(text)) => assert_eq!(text, "a is not 2"),
        other => panic!("{other:?}"),
    }
}

#[test]
fn each_method_has_an_async_twin() {
    let guest = ScriptedProvider::new_async(|guest, op_length, msg_length| {
        Box::pin(async move { serve_store(guest, op_length, msg_length) })
    });
    let host = guest.host().unwrap();
    pollster::block_on(async {
        let client = StoreClient::over(&host);
        assert_eq!(client.get_async("one".to_owned()).await.unwrap(), 1);
        assert!(client.get_async("two".to_owned()).await.is_err());
        assert_eq!(client.version_async().await.unwrap(), "1");
    });
}

#[test]
fn sides_of_other_contracts_understand_each_other() {
    #[service(namespace = "store.v1")]
    trait Store {
        /// The key has a default that the older side does not send.
        fn get(&self, key: String, deep: Option<bool>) -> Result<u64, String>;
        fn drop_all(&self) -> Result<(), String>;
        fn version(&self) -> Result<u32, String>;
    }
    let host = store();
    let client = StoreClient::over(&host);
    // Of a field that the server does not know, nothing is left.
    assert_eq!(client.get("one".to_owned(), Some(true)).unwrap(), 1);
    match client.drop_all() {
        Err(CallError::UnknownOperation { operation }) => {
            assert_eq!(operation, "store.v1.Store/drop_all");
        }
        other => panic!("{other:?}"),
    }
    match client.version() {
        Err(CallError::Decode { operation, source }) => {
            assert_eq!(operation, "store.v1.Store/version");
            assert!(!source.to_string().contains('1'), "{source}");
        }
        other => panic!("{other:?}"),
    }
    // And the server that gets what it does not expect.
    let wrong = host.call_as::<Raw<Vec<u8>>>("store.v1.Store/get", &MsgPack(7));
    match wrong {
        Err(CallError::Text(text)) => {
            assert!(text.contains("cannot be decoded"), "{text}");
        }
        other => panic!("{other:?}"),
    }
}

/// A guest that passes its payload on to `bind/ns/op` of its host, and the answer back.
fn asks() -> ScriptedProvider {
    ScriptedProvider::new(|guest, op_length, msg_length| {
        let (_, payload) = guest.request(op_length, msg_length)?;
        match guest.ask(&payload)? {
            Ok(answer) => guest.respond(&answer),
            Err(error) => guest.fail(&error),
        }
    })
}

fn routed(router: Router) -> WapcHost {
    WapcHost::builder(Box::new(asks()))
        .build_with(router)
        .unwrap()
}

#[test]
fn a_router_finds_functions_and_names_those_that_are_near() {
    let ask: Function<u32, u32> = Function::named("any");
    let twice = |number: u32| Ok(number * 2);
    let host = routed(Router::new().function("bind", "ns", "op", twice));
    assert_eq!(ask.call(&host, &21).unwrap(), 42);
    let host = routed(Router::new().function("bind", "", "op", twice));
    assert_eq!(ask.call(&host, &1).unwrap(), 2);

    let near = Router::new()
        .function("bind", "other", "op", twice)
        .function("other", "", "opp", twice)
        .function("bind", "", "nothing", twice);
    let error = ask.call(&routed(near), &1).unwrap_err().to_string();
    assert_eq!(
        error,
        "there is no operation `op` of binding `bind`, namespace `ns`; is it `bind/other/op` or `other//opp`?"
    );
    let fallback = Router::new().fallback(|call, response| {
        response.extend_from_slice(call.payload);
        Ok(())
    });
    assert_eq!(ask.call(&routed(fallback), &5).unwrap(), 5);
    let wrong: Function<&str, u32> = Function::named("any");
    let host = routed(Router::new().function("bind", "ns", "op", twice));
    let error = wrong.call(&host, &"secret").unwrap_err().to_string();
    assert!(!error.contains("secret"), "{error}");
}

#[test]
fn an_operation_that_two_services_have_is_answered_by_neither() {
    let twice = Router::new()
        .service("bind", StoreServer::new(One))
        .service("bind", StoreServer::new(One));
    let taken = twice.checked().unwrap_err();
    assert_eq!(taken.binding, "bind");
    let one = |(): ()| Ok(1);
    let router = || Router::new().function("bind", "", "op", one);
    assert!(router().checked().is_ok());
    let host = routed(router().function("bind", "", "op", one));
    let refused = host.call("any", b"").unwrap_err().to_string();
    assert!(refused.contains("was given to a router twice"), "{refused}");
}

#[test]
fn a_handler_that_panics_ends_its_call_alone() {
    let router = Router::new().raw("bind", "", "op", |call, response| {
        assert_ne!(call.payload, b"panic", "on purpose");
        response.extend(b"fine");
        Ok(())
    });
    let host = routed(router);
    let call = AssertUnwindSafe(|| host.call("any", b"panic"));
    assert!(catch_unwind(call).is_err());
    assert_eq!(host.call("any", b"").unwrap(), b"fine");
}

#[test]
fn an_answer_over_the_limits_is_an_error_on_both_sides() {
    let limits = Limits::default()
        .max_inbound_bytes(1000)
        .max_outbound_bytes(1000);
    let router = Router::new().raw("bind", "", "op", |_, response| {
        response.resize(1001, 0);
        Ok(())
    });
    let host = WapcHost::builder(Box::new(asks()))
        .limits(limits.clone())
        .build_with(router)
        .unwrap();
    let refused = host.call("any", b"").unwrap_err();
    assert!(matches!(refused, Error::Guest { .. }), "{refused}");

    let long = ScriptedProvider::new(|guest, op_length, msg_length| {
        guest.request(op_length, msg_length)?;
        guest.respond(&[0; 1001])
    });
    let host = WapcHost::builder(Box::new(long))
        .limits(limits)
        .build(|_, _, _, _, _| Ok(vec![]))
        .unwrap();
    let ended = StoreClient::over(&host).version();
    assert!(
        matches!(ended, Err(CallError::Host(Error::Limit { .. }))),
        "{ended:?}"
    );
}

#[test]
fn hooks_see_each_call() {
    let failed = Arc::new(AtomicUsize::new(0));
    let seen = Arc::clone(&failed);
    let router = Router::new()
        .raw("bind", "ns", "op", |_, _| Ok(()))
        .before(|call| match call.payload {
            b"deny" => Err("denied".into()),
            _ => Ok(()),
        })
        .after(move |_, outcome| {
            seen.fetch_add(usize::from(outcome.is_err()), Ordering::Relaxed);
        });
    let host = routed(router);
    let Raw(answer) = host.call_as::<Raw<Vec<u8>>>("any", &Raw("grant")).unwrap();
    assert!(answer.is_empty());
    let denied = host.call_as::<Raw<Vec<u8>>>("any", &Raw("deny"));
    assert_eq!(denied.unwrap_err().to_string(), "denied");
    assert_eq!(failed.load(Ordering::Relaxed), 1);
}

#[test]
fn a_router_awaits_in_async_calls() {
    let guest = ScriptedProvider::new_async(|guest, op_length, msg_length| {
        Box::pin(async move {
            let (_, payload) = guest.request(op_length, msg_length)?;
            match guest.ask_async(&payload).await? {
                Ok(answer) => guest.respond(&answer),
                Err(error) => guest.fail(&error),
            }
        })
    });
    let router =
        Router::new().function_async(
            "bind",
            "ns",
            "op",
            |number: u32| async move { Ok(number + 1) },
        );
    pollster::block_on(async {
        let builder = WapcHost::builder(Box::new(guest));
        let host = builder.build_async_with(router.into_async()).await.unwrap();
        let ask: Function<u32, u32> = Function::named("any");
        assert_eq!(ask.call_async(&host, &1).await.unwrap(), 2);
    });
    let router =
        Router::new().function_async("bind", "ns", "op", |number: u32| async move { Ok(number) });
    let ask: Function<u32, u32> = Function::named("any");
    let error = ask.call(&routed(router), &1).unwrap_err().to_string();
    assert!(error.contains("is async"), "{error}");
}

#[test]
fn a_service_is_served_to_guests() {
    let host = routed(Router::new().service("bind", StoreServer::new(One)));
    // The guest asks for `op`, which the store does not have.
    let error = host.call_as::<Json<u32>>("any", &Json(1)).unwrap_err();
    assert!(
        error.to_string().starts_with("there is no operation `op`"),
        "{error}"
    );
}

#[test]
fn a_trait_is_mocked_without_a_host() {
    fn sum(store: &impl Store) -> u32 {
        ["one", "two"]
            .into_iter()
            .map(|key| store.get(key.to_owned()).unwrap_or(0))
            .sum()
    }
    assert_eq!(sum(&One), 1);
}

#[service]
trait Old {
    #[wapc(op = "hello", unary)]
    fn hello(&self, name: Raw<String>) -> Result<Raw<String>, String>;
    #[wapc(op = "sum", unary)]
    fn sum(&self, numbers: Json<Vec<u8>>) -> Result<MsgPack<u32>, String>;
}

impl Old for One {
    fn hello(&self, Raw(name): Raw<String>) -> Result<Raw<String>, String> {
        Ok(Raw(format!("Hello, {name}.")))
    }

    fn sum(&self, Json(numbers): Json<Vec<u8>>) -> Result<MsgPack<u32>, String> {
        Ok(MsgPack(numbers.into_iter().map(u32::from).sum()))
    }
}

#[test]
fn a_method_may_have_whole_payloads() {
    let guest = ScriptedProvider::new(|guest, op_length, msg_length| {
        let (operation, payload) = guest.request(op_length, msg_length)?;
        match (operation.as_str(), payload.as_slice()) {
            ("hello", b"World") | ("sum", b"[1,2]") => {}
            other => panic!("{other:?}"),
        }
        let mut response = vec![];
        OldServer::new(One)
            .serve(&CallContext::none(), &operation, &payload, &mut response)
            .unwrap();
        guest.respond(&response)
    });
    let host = guest.host().unwrap();
    let client = OldClient::over(&host);
    assert_eq!(
        client.hello(Raw("World".to_owned())).unwrap().0,
        "Hello, World."
    );
    assert_eq!(client.sum(Json(vec![1, 2])).unwrap().0, 3);

    let descriptor = Descriptor::parse(OLD_DESCRIPTOR.as_bytes()).unwrap();
    descriptor.check(&descriptor).unwrap();
    let hello = descriptor.operation("hello").unwrap();
    assert_eq!(
        hello.to_string(),
        "hello(name: raw string) -> raw string, or string"
    );
    let fields = serde_json::Map::from_iter([("name".to_owned(), "World".into())]);
    assert_eq!(hello.encode(fields).unwrap(), b"World");
    assert_eq!(hello.decode(b"Hello").unwrap(), "Hello");
}

mod json {
    use wapc_typed::{JsonCodec, service};

    #[service(codec = JsonCodec)]
    pub(super) trait Adder {
        fn add(&self, one: u32, other: u32) -> Result<u32, String>;
        fn nothing(&self) -> Result<(), String>;
    }
}

struct Adds;

impl json::Adder for Adds {
    fn add(&self, one: u32, other: u32) -> Result<u32, String> {
        Ok(one + other)
    }

    fn nothing(&self) -> Result<(), String> {
        Ok(())
    }
}

#[test]
fn a_service_may_be_encoded_as_json() {
    let guest = ScriptedProvider::new(|guest, op_length, msg_length| {
        let (operation, payload) = guest.request(op_length, msg_length)?;
        assert!(payload == br#"{"one":1,"other":2}"# || payload == b"{}");
        let mut response = vec![];
        json::AdderServer::new(Adds)
            .serve(&CallContext::none(), &operation, &payload, &mut response)
            .unwrap();
        guest.respond(&response)
    });
    let host = guest.host().unwrap();
    let client = json::AdderClient::over(&host);
    assert_eq!(client.add(1, 2).unwrap(), 3);
    client.nothing().unwrap();
    let descriptor = Descriptor::parse(json::ADDER_DESCRIPTOR.as_bytes()).unwrap();
    let add = descriptor.operation("Adder/add").unwrap();
    assert_eq!(add.codec, "json");
    assert_eq!(add.decode(b"3").unwrap(), 3);
    let other = json::ADDER_DESCRIPTOR.replace("json", "msgpack");
    let other = Descriptor::parse(other.as_bytes()).unwrap();
    assert_eq!(
        other.check(&descriptor).unwrap_err().to_string(),
        "the guest's operation `Adder/add` does not fit: the encoding: the caller uses json, the guest msgpack"
    );
}
