//! Clients that are the trait, contexts, async methods and borrowed arguments, without an engine.
#![expect(
    clippy::unwrap_used,
    reason = "what a test's own functions unwrap fails the test"
)]

use std::{
    cell::Cell,
    future::pending,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use serde::{Deserialize, Serialize};
use wapc_host::{
    CallOptions, Error, WapcHost,
    engine::scripted::{ScriptedGuest, ScriptedProvider},
};
use wapc_typed::{
    CallContext, CallError, Descriptor, Function, JsonCodec, Router, Serve, ServeError, service,
};

/// A guest that answers by a service.
fn served_by(service: impl Serve + Send + Sync + 'static) -> ScriptedProvider {
    ScriptedProvider::new(move |guest, op_length, msg_length| {
        let (operation, payload) = guest.request(op_length, msg_length)?;
        let mut response = vec![];
        match service.serve(&CallContext::none(), &operation, &payload, &mut response) {
            Ok(()) => guest.respond(&response),
            Err(error) => guest.fail(error.to_string().as_bytes()),
        }
    })
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

fn asks_async() -> ScriptedProvider {
    async fn ask(
        guest: &mut ScriptedGuest,
        op_length: i32,
        msg_length: i32,
    ) -> Result<i32, wapc_host::error::EngineError> {
        let (_, payload) = guest.request(op_length, msg_length)?;
        match guest.ask_async(&payload).await? {
            Ok(answer) => guest.respond(&answer),
            Err(error) => guest.fail(&error),
        }
    }
    ScriptedProvider::new_async(|guest, op_length, msg_length| {
        Box::pin(ask(guest, op_length, msg_length))
    })
}

async fn host_async(router: Router) -> WapcHost {
    let builder = WapcHost::builder(Box::new(asks_async()));
    builder.build_async_with(router.into_async()).await.unwrap()
}

#[derive(Serialize, Deserialize, Debug, PartialEq)]
enum StoreError {
    Missing { key: String },
    Call(String),
}

impl From<CallError<Self>> for StoreError {
    fn from(error: CallError<Self>) -> Self {
        let own = error.into_service();
        own.unwrap_or_else(|failed| Self::Call(failed.to_string()))
    }
}

#[service(namespace = "store.v1")]
trait Store: Send {
    fn get(&self, context: &CallContext, key: String) -> Result<u32, StoreError>;
    fn name(&self) -> Result<String, String>;
}

#[derive(Clone, Copy)]
struct One;

impl Store for One {
    fn get(&self, _: &CallContext<'_>, key: String) -> Result<u32, StoreError> {
        match key.as_str() {
            "one" => Ok(1),
            _ => Err(StoreError::Missing { key }),
        }
    }

    fn name(&self) -> Result<String, String> {
        Err("nameless".to_owned())
    }
}

/// Uses a store, and does not know whose.
fn missing(store: &dyn Store, keys: &[&str]) -> Vec<String> {
    let missing = |key: &&str| match store.get(&CallContext::none(), (*key).to_owned()) {
        Ok(_) => None,
        Err(StoreError::Missing { key }) => Some(key),
        Err(StoreError::Call(text)) => Some(text),
    };
    keys.iter().filter_map(missing).collect()
}

#[test]
fn a_client_is_the_trait() {
    struct Mock(Cell<u32>);
    impl Store for Mock {
        fn get(&self, _: &CallContext<'_>, _: String) -> Result<u32, StoreError> {
            self.0.set(self.0.get() + 1);
            Ok(0)
        }

        fn name(&self) -> Result<String, String> {
            Ok("mock".to_owned())
        }
    }
    fn named(store: &impl Store) -> Result<String, String> {
        store.name()
    }
    let mock = Mock(Cell::new(0));
    assert_eq!(missing(&mock, &["one", "two"]), Vec::<String>::new());
    assert_eq!((mock.0.get(), named(&mock)), (2, Ok("mock".to_owned())));
    assert_eq!(missing(&One, &["one", "two"]), ["two"]);

    let host = Arc::new(served_by(StoreServer::new(One)).host().unwrap());
    let client = StoreClient::over(Arc::clone(&host));
    assert_eq!(missing(&client, &["one", "two"]), ["two"]);
    assert_eq!(named(&client), Err("nameless".to_owned()));
    // And what only a call can end in.
    let client = StoreClient::over(ScriptedProvider::echo().host().unwrap());
    let text = "the result of `store.v1.Store/get` cannot be decoded";
    assert_eq!(missing(&client, &["one"]), [text]);
    let error = named(&client).unwrap_err();
    assert!(
        error.starts_with("the result of `store.v1.Store/name` cannot be decoded: "),
        "{error}"
    );
}

#[test]
fn a_client_of_another_error_has_its_own_methods_alone() {
    #[derive(Serialize, Deserialize, Debug)]
    struct Plain;

    #[service]
    trait Other {
        fn get(&self) -> Result<u32, Plain>;
    }
    struct Its;
    impl Other for Its {
        fn get(&self) -> Result<u32, Plain> {
            Ok(7)
        }
    }
    let host = served_by(OtherServer::new(Its)).host().unwrap();
    assert_eq!(OtherClient::over(&host).get().unwrap(), 7);
}

#[test]
fn a_context_is_not_sent() {
    let descriptor = Descriptor::parse(STORE_DESCRIPTOR.as_bytes()).unwrap();
    let get = descriptor.operation("store.v1.Store/get").unwrap();
    assert_eq!(
        get.to_string(),
        "store.v1.Store/get(key: string) -> u32, or StoreError"
    );
    let guest = ScriptedProvider::new(|guest, op_length, msg_length| {
        let (_, payload) = guest.request(op_length, msg_length)?;
        assert_eq!(payload, b"\x81\xa3key\xa3one");
        guest.respond(b"\x01")
    });
    let host = guest.host().unwrap();
    assert_eq!(StoreClient::over(&host).get("one".to_owned()).unwrap(), 1);
}

#[service]
trait Told {
    #[wapc(op = "op")]
    fn tell(&self, before: u8, context: &CallContext, after: u8) -> Result<Facts, String>;
}

#[service]
trait Awaited {
    #[wapc(op = "op")]
    async fn tell(&self, before: u8, after: u8, context: &CallContext) -> Result<Facts, String>;
    fn blocking(&self) -> Result<String, String>;
    async fn same(&self, number: u8) -> Result<u8, String> {
        Ok(number)
    }
}

#[derive(Serialize, Deserialize, Debug, PartialEq, Default)]
struct Facts {
    sum: u8,
    host_id: Option<u64>,
    generation: Option<u64>,
    has_time: bool,
    user: Option<String>,
    trace: Option<String>,
}

fn facts(sum: u8, context: &CallContext<'_>) -> Facts {
    assert!(!context.is_cancelled());
    Facts {
        sum,
        host_id: context.host_id(),
        generation: context.generation(),
        has_time: context.time_left().is_some(),
        user: context.user_context::<String>().cloned(),
        trace: context.trace().map(str::to_owned),
    }
}

struct Teller;

impl Told for Teller {
    fn tell(&self, before: u8, context: &CallContext<'_>, after: u8) -> Result<Facts, String> {
        Ok(facts(before + after, context))
    }
}

impl Awaited for Teller {
    async fn tell(
        &self,
        before: u8,
        after: u8,
        context: &CallContext<'_>,
    ) -> Result<Facts, String> {
        let mut was_polled = false;
        std::future::poll_fn(|waiting| {
            waiting.waker().wake_by_ref();
            match std::mem::replace(&mut was_polled, true) {
                true => std::task::Poll::Ready(()),
                false => std::task::Poll::Pending,
            }
        })
        .await;
        Ok(facts(before + after, context))
    }

    fn blocking(&self) -> Result<String, String> {
        Ok("blocking".to_owned())
    }
}

fn options() -> CallOptions {
    CallOptions::default()
        .timeout(Duration::from_secs(60))
        .context(Arc::new("Ada".to_owned()))
        .trace("00-1-2-03")
}

fn all_facts(host: &WapcHost) -> Facts {
    Facts {
        sum: 5,
        host_id: Some(host.id()),
        generation: Some(host.generation()),
        has_time: true,
        user: Some("Ada".to_owned()),
        trace: Some("00-1-2-03".to_owned()),
    }
}

#[test]
fn a_context_tells_of_the_guests_call() {
    let router = || Router::new().service("bind", ToldServer::new(Teller));
    let host = WapcHost::builder(Box::new(asks()))
        .build_with(router())
        .unwrap();
    let told = ToldClient::over(host.with(&options())).tell(2, 3).unwrap();
    assert_eq!(told, all_facts(&host));
    let plain = ToldClient::over(&host).tell(2, 3).unwrap();
    assert_eq!((plain.user, plain.trace), (None, None));

    pollster::block_on(async {
        let (host, options) = (host_async(router()).await, options());
        let client = ToldClient::over(host.with(&options));
        assert_eq!(client.tell_async(2, 3).await.unwrap(), all_facts(&host));
    });
    let none = Facts {
        sum: 3,
        ..Facts::default()
    };
    assert_eq!(Told::tell(&Teller, 1, &CallContext::none(), 2), Ok(none));
}

#[test]
fn an_async_method_is_awaited() {
    pollster::block_on(async {
        let router = Router::new()
            .service("bind", AwaitedServer::new(Teller))
            .function("other", "", "op", |(): ()| Ok(()));
        let host = host_async(router.checked().unwrap()).await;
        let options = options();
        let client = AwaitedClient::over(host.with(&options));
        assert_eq!(client.tell_async(2, 3).await.unwrap(), all_facts(&host));
        // The client is the trait, whose future may move to another thread.
        async fn told(by: &(impl Awaited + Sync)) -> Result<Facts, String> {
            by.tell(2, 3, &CallContext::none()).await
        }
        fn movable<T: Send>(future: T) -> T {
            future
        }
        assert_eq!(movable(told(&client)).await, Ok(all_facts(&host)));
        let unheard = movable(told(&Teller)).await.unwrap();
        assert_eq!((unheard.sum, unheard.host_id), (5, None));

        // A method may have a body in the trait.
        let (server, none) = (AwaitedServer::new(Teller), CallContext::none());
        let (payload, mut response) = (b"\x81\xa6number\x07", vec![]);
        let same = server.serve_async(&none, "Awaited/same", payload, &mut response);
        same.await.unwrap();
        assert_eq!(response, b"\x07");
    });
}

#[test]
fn an_async_method_fails_in_a_blocking_call_and_its_neighbour_answers() {
    let router = Router::new().service("bind", AwaitedServer::new(Teller));
    let host = WapcHost::builder(Box::new(asks()))
        .build_with(router)
        .unwrap();
    let failed = AwaitedClient::over(&host).tell(2, 3).unwrap_err();
    let text = "the operation `op` is async: call the host by an async call";
    assert_eq!(failed.to_string(), text);

    let server = AwaitedServer::new(Teller);
    let mut response = vec![];
    let none = CallContext::none();
    let failed = server.serve(&none, "op", b"", &mut response).unwrap_err();
    assert!(matches!(failed, ServeError::Awaits { .. }), "{failed:?}");
    server
        .serve(&none, "Awaited/blocking", b"", &mut response)
        .unwrap();
    assert_eq!(response, b"\xa8blocking");
}

#[test]
fn a_dropped_call_drops_the_async_method() {
    struct Waits(Arc<AtomicUsize>);
    struct Dropped<'d>(&'d AtomicUsize);
    impl Drop for Dropped<'_> {
        fn drop(&mut self) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }
    impl Awaited for Waits {
        async fn tell(&self, _: u8, _: u8, _: &CallContext<'_>) -> Result<Facts, String> {
            let _dropped = Dropped(&self.0);
            pending().await
        }

        fn blocking(&self) -> Result<String, String> {
            Ok(String::new())
        }
    }
    let dropped = Arc::new(AtomicUsize::new(0));
    pollster::block_on(async {
        let waits = Waits(Arc::clone(&dropped));
        let host = host_async(Router::new().service("bind", AwaitedServer::new(waits))).await;
        let client = AwaitedClient::over(&host);
        let mut call = Box::pin(client.tell_async(1, 2));
        let mut waiting = std::task::Context::from_waker(std::task::Waker::noop());
        assert!(call.as_mut().poll(&mut waiting).is_pending());
        assert_eq!(dropped.load(Ordering::Relaxed), 0);
        drop(call);
        assert_eq!(dropped.load(Ordering::Relaxed), 1);
        // And the end of the guest's call does.
        let options = CallOptions::default().timeout(Duration::from_millis(20));
        let client = AwaitedClient::over(host.with(&options));
        let late = client.tell_async(1, 2).await;
        assert!(
            matches!(late, Err(CallError::Host(Error::TimedOut { .. }))),
            "{late:?}"
        );
        assert_eq!(dropped.load(Ordering::Relaxed), 2);
    });
}

#[test]
fn an_async_method_that_panics_ends_its_call_alone() {
    struct Panics;
    impl Awaited for Panics {
        async fn tell(&self, sum: u8, _: u8, context: &CallContext<'_>) -> Result<Facts, String> {
            assert_ne!(sum, 0, "on purpose");
            Ok(facts(sum, context))
        }

        fn blocking(&self) -> Result<String, String> {
            Ok(String::new())
        }
    }
    pollster::block_on(async {
        let host = host_async(Router::new().service("bind", AwaitedServer::new(Panics))).await;
        let client = AwaitedClient::over(&host);
        let call = AssertUnwindSafe(|| pollster::block_on(client.tell_async(0, 0)));
        assert!(catch_unwind(call).is_err());
        assert_eq!(client.tell_async(1, 0).await.unwrap().sum, 1);
    });
}

#[service]
trait Borrows {
    fn length(&self, text: &str, body: &[u8], factor: u32) -> Result<usize, String>;
    #[wapc(op = "op", unary)]
    fn text(&self, text: &str) -> Result<String, String>;
    #[wapc(op = "bytes", unary)]
    fn bytes(&self, bytes: &[u8], context: &CallContext) -> Result<u32, String>;
}

#[service(codec = JsonCodec)]
trait BorrowsJson {
    fn length(&self, text: &str, body: &[u8]) -> Result<usize, String>;
}

/// Knows whether what it gets is a part of the payload.
struct Lent;

impl Borrows for Lent {
    fn length(&self, text: &str, body: &[u8], factor: u32) -> Result<usize, String> {
        Ok((text.len() + body.len()) * factor as usize)
    }

    fn text(&self, text: &str) -> Result<String, String> {
        Ok(format!("{:p} {text}", text.as_ptr()))
    }

    fn bytes(&self, bytes: &[u8], _: &CallContext<'_>) -> Result<u32, String> {
        Ok(bytes.iter().copied().map(u32::from).sum())
    }
}

impl BorrowsJson for Lent {
    fn length(&self, text: &str, body: &[u8]) -> Result<usize, String> {
        Ok(text.len() + body.len())
    }
}

#[test]
fn arguments_are_lent_from_the_payload() {
    let host = served_by(BorrowsServer::new(Lent)).host().unwrap();
    let client = BorrowsClient::over(&host);
    assert_eq!(client.length("ü", b"123", 2).unwrap(), 10);
    assert!(client.text("lent").unwrap().ends_with(" lent"));
    assert_eq!(client.bytes(&[1, 255]).unwrap(), 256);
    // Bytes are sent as bytes, and not as a list of numbers.
    let guest = ScriptedProvider::new(|guest, op_length, msg_length| {
        let (_, payload) = guest.request(op_length, msg_length)?;
        assert_eq!(payload, b"\xc4\x02\x01\xff");
        guest.respond(b"\x00")
    });
    let sent = BorrowsClient::over(guest.host().unwrap()).bytes(&[1, 255]);
    assert_eq!(sent.unwrap(), 0);

    let server = BorrowsServer::new(Lent);
    let serve = |operation: &str, payload: &[u8]| {
        let mut response = vec![];
        let none = CallContext::none();
        let served = server.serve(&none, operation, payload, &mut response);
        served.map(|()| response)
    };
    let payload = b"\xa4lent";
    let response = serve("op", payload).unwrap();
    let expected = format!("{:p} lent", payload.as_ptr().wrapping_add(1));
    assert!(
        response.ends_with(expected.as_bytes()),
        "{}",
        response.escape_ascii()
    );
    // Of a caller that knows them as a list of numbers.
    assert_eq!(
        serve("bytes", b"\x92\x01\xcc\xff").unwrap(),
        b"\xcd\x01\x00"
    );
    for wrong in [
        &b"\x01"[..],
        b"\xa1\xff",
        b"\xc6\xff\xff\xff\xff",
        b"\xdd\xff\xff\xff\xff",
    ] {
        for operation in ["op", "bytes"] {
            let refused = serve(operation, wrong).unwrap_err();
            assert!(matches!(refused, ServeError::Decode { .. }), "{refused:?}");
        }
    }
    let descriptor = Descriptor::parse(BORROWS_DESCRIPTOR.as_bytes()).unwrap();
    assert_eq!(
        descriptor.operation("Borrows/length").unwrap().to_string(),
        "Borrows/length(text: string, body: [u8], factor: u32) -> u64, or string"
    );

    // An escaped text is not there as it is, and bytes are a list.
    let host = served_by(BorrowsJsonServer::new(Lent)).host().unwrap();
    let client = BorrowsJsonClient::over(&host);
    assert_eq!(client.length("\n\"", b"12").unwrap(), 4);
}

#[test]
fn owned_and_borrowed_arguments_are_the_same_contract() {
    mod owned {
        #[wapc_typed::service]
        pub(super) trait Borrows {
            fn length(&self, text: String, body: Vec<u8>, factor: u32) -> Result<usize, String>;
        }
    }
    use owned::Borrows as _;
    struct Owns;
    impl owned::Borrows for Owns {
        fn length(&self, text: String, body: Vec<u8>, factor: u32) -> Result<usize, String> {
            Ok((text.len() + body.len()) * factor as usize)
        }
    }
    let host = served_by(owned::BorrowsServer::new(Owns)).host().unwrap();
    let borrows = BorrowsClient::over(&host);
    assert_eq!(borrows.length("a", &[255, 0], 1).unwrap(), 3);
    let host = served_by(BorrowsServer::new(Lent)).host().unwrap();
    let owns = owned::BorrowsClient::over(&host);
    assert_eq!(Owns.length(String::new(), vec![], 1), Ok(0));
    assert_eq!(owns.length("a".to_owned(), vec![255, 0], 1).unwrap(), 3);
}

#[test]
fn a_guest_polls_an_async_method_once() {
    use wapc_typed::rt::poll_once;
    assert_eq!(poll_once("op", async { 1 }), Ok(1));
    let waits = poll_once("op", pending::<()>()).unwrap_err();
    assert_eq!(
        waits.to_string(),
        "the operation `op` was not ready at once, and a guest cannot wait for it"
    );
}

#[test]
fn hooks_of_a_router_see_the_context() {
    let router = Router::new()
        .service("bind", ToldServer::new(Teller))
        .before(|call| match call.context.user_context::<String>() {
            Some(_) => Ok(()),
            None => Err("nobody is logged in".into()),
        });
    let host = WapcHost::builder(Box::new(asks()))
        .build_with(router)
        .unwrap();
    let refused = ToldClient::over(&host).tell(1, 1).unwrap_err();
    assert_eq!(refused.to_string(), "nobody is logged in");
    let options = options();
    assert_eq!(
        ToldClient::over(host.with(&options))
            .tell(1, 1)
            .unwrap()
            .sum,
        2
    );
    let unknown: Function<(), ()> = Function::named("any");
    assert!(unknown.call(&host.with(&options), &()).is_err());
}
