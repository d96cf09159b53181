//! A guest that `export!` has made, under its own contract and under those of another day.

use conformance::{
    Capability::{AnyModule, Async},
    Engine, chain,
};
use guest_fixtures::{HELLO_RUST, TYPED};
use std::{future, sync::Arc, time::Duration};

use serde::{Deserialize, Serialize};
use wapc_host::{CallOptions, Error, Limits, WapcHost, WasiSettings};
use wapc_typed::{CallContext, CallError, CheckError, Describe, Descriptor, Router, service};

use crate::{Case, async_calls::on_a_runtime};

pub(super) fn cases() -> Vec<Case> {
    vec![
        Case::new("contract::guest", guest).needs(&[AnyModule]),
        Case::new("contract::guest_async", guest_async).needs(&[AnyModule, Async]),
        Case::new("contract::client_is_the_trait", client_is_the_trait).needs(&[AnyModule]),
        Case::new("contract::context", context).needs(&[AnyModule]),
        Case::new("contract::async_methods", async_methods).needs(&[AnyModule, Async]),
        Case::new("contract::dropped", dropped).needs(&[AnyModule, Async]),
        Case::new("contract::served_as_by_a_host", served_as_by_a_host).needs(&[AnyModule]),
        Case::new("contract::yesterday", yesterday).needs(&[AnyModule]),
        Case::new("contract::tomorrow", tomorrow).needs(&[AnyModule]),
    ]
}

#[derive(Describe, Serialize, Deserialize, Debug, PartialEq)]
struct Greeting {
    text: String,
    #[serde(default)]
    count: u32,
}

#[derive(Describe, Serialize, Deserialize, Debug, PartialEq)]
enum GreetError {
    Nobody,
    Busy { seconds: u32 },
}

impl From<CallError<Self>> for GreetError {
    fn from(error: CallError<Self>) -> Self {
        match error {
            CallError::Service(own) => own,
            other => panic!("{other:?}"),
        }
    }
}

#[service(namespace = "greeting.v1")]
trait Greeter {
    fn hello(&self, name: String, count: Option<u32>) -> Result<Greeting, GreetError>;
    fn sum(&self, numbers: Vec<f64>) -> Result<f64, String>;
}

#[service(namespace = "names.v1")]
trait Names {
    fn full(&self, name: String) -> Result<String, GreetError>;
}

struct Directory;

impl Names for Directory {
    fn full(&self, name: String) -> Result<String, GreetError> {
        match name.as_str() {
            "busy" => Err(GreetError::Busy { seconds: 7 }),
            name => Ok(format!("{name} the Great")),
        }
    }
}

fn router() -> Router {
    Router::new().service("names", NamesServer::new(Directory))
}

fn host(engine: &Engine) -> WapcHost {
    host_with(engine, router())
}

fn host_with(engine: &Engine, router: Router) -> WapcHost {
    let provider = engine.provider(TYPED, WasiSettings::new());
    let provider = provider.unwrap_or_else(|error| panic!("{}", chain(&error)));
    let limits = engine.enforceable(Limits::default());
    let host = WapcHost::builder(provider)
        .limits(limits)
        .build_with(router);
    host.unwrap_or_else(|error| panic!("{}", chain(&error)))
}

fn greeting(count: u32) -> Greeting {
    let text = "Hello, Ann the Great.".to_owned();
    Greeting { text, count }
}

fn guest(engine: &Engine) {
    GreeterClient::check(TYPED).expect("it fits");
    let host = host(engine);
    let client = GreeterClient::over(&host);
    let hello = |name: &str, count| client.hello(name.to_owned(), count);
    assert_eq!(hello("Ann", Some(3)).expect("a greeting"), greeting(3));
    assert_eq!(hello("Ann", None).expect("a greeting"), greeting(1));
    for (name, expected) in [
        ("", GreetError::Nobody),
        ("busy", GreetError::Busy { seconds: 7 }),
    ] {
        match hello(name, None) {
            Err(CallError::Service(error)) => assert_eq!(error, expected),
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(client.sum(vec![0.5, 1.0]).expect("a sum"), 1.5);
    match client.sum(vec![]) {
        Err(CallError::Service(text)) => assert_eq!(text, "there is nothing to add"),
        other => panic!("{other:?}"),
    }
    host.swap()
        .probe(GreeterClient::probe(TYPED))
        .module(TYPED)
        .expect("a swap");

    let mut held = host.check_out().expect("an instance");
    let section = held.service_section().expect("it has a descriptor");
    let descriptor = Descriptor::parse(section).expect("a descriptor");
    assert!(descriptor.operation("greeting.v1.Greeter/hello").is_some());
    drop(held);
    let untyped = engine.host(HELLO_RUST);
    let mut held = untyped.check_out().expect("an instance");
    assert!(held.service_section().is_none());
}

fn guest_async(engine: &Engine) {
    let provider = engine.provider(TYPED, WasiSettings::new());
    let provider = provider.unwrap_or_else(|error| panic!("{}", chain(&error)));
    on_a_runtime(async {
        let host = WapcHost::builder(provider)
            .limits(engine.enforceable(Limits::default()))
            .build_async_with(router().into_async())
            .await;
        let host = host.unwrap_or_else(|error| panic!("{}", chain(&error)));
        let client = GreeterClient::over(&host);
        let hello = client.hello_async("Ann".to_owned(), Some(2)).await;
        assert_eq!(hello.expect("a greeting"), greeting(2));
        let busy = client.hello_async("busy".to_owned(), None).await;
        assert!(matches!(
            busy,
            Err(CallError::Service(GreetError::Busy { seconds: 7 }))
        ));
    });
}

/// Uses a service, and does not know whose.
fn greetings(greeter: &impl Greeter, names: [&str; 2]) -> [Result<Greeting, GreetError>; 2] {
    names.map(|name| greeter.hello(name.to_owned(), Some(2)))
}

fn client_is_the_trait(engine: &Engine) {
    struct Mock;
    impl Greeter for Mock {
        fn hello(&self, name: String, count: Option<u32>) -> Result<Greeting, GreetError> {
            match name.as_str() {
                "" => Err(GreetError::Nobody),
                _ => Ok(greeting(count.unwrap_or(1))),
            }
        }

        fn sum(&self, _: Vec<f64>) -> Result<f64, String> {
            Err("a mock".to_owned())
        }
    }
    let expected = || [Ok(greeting(2)), Err(GreetError::Nobody)];
    assert_eq!(greetings(&Mock, ["Ann", ""]), expected());
    let host = host(engine);
    let client = GreeterClient::over(&host);
    assert_eq!(greetings(&client, ["Ann", ""]), expected());
    let none = Greeter::sum(&client, vec![]);
    assert_eq!(none, Err("there is nothing to add".to_owned()));
}

/// The contract of [`Names`] with what its host knows of the call.
mod named {
    use super::{CallContext, GreetError, service};

    #[service(namespace = "names.v1")]
    pub(super) trait Names {
        fn full(&self, context: &CallContext, name: &str) -> Result<String, GreetError>;
    }
}

mod awaited {
    use super::{CallContext, GreetError, service};

    #[service(namespace = "names.v1")]
    pub(super) trait Names {
        async fn full(&self, name: String, context: &CallContext) -> Result<String, GreetError>;
    }
}

struct User(&'static str);

impl named::Names for Directory {
    fn full(&self, context: &CallContext<'_>, name: &str) -> Result<String, GreetError> {
        let user: Option<&User> = context.user_context();
        let title = user.map_or("the Unknown", |user| user.0);
        Ok(format!("{name} {title}"))
    }
}

impl awaited::Names for Directory {
    async fn full(&self, name: String, context: &CallContext<'_>) -> Result<String, GreetError> {
        tokio::time::sleep(Duration::from_millis(1)).await;
        assert_eq!(context.trace(), Some("00-1-2-03"));
        named::Names::full(self, context, &name)
    }
}

fn options() -> CallOptions {
    let user = Arc::new(User("the Great"));
    CallOptions::default().context(user).trace("00-1-2-03")
}

fn context(engine: &Engine) {
    let router = Router::new().service("names", named::NamesServer::new(Directory));
    let host = host_with(engine, router);
    let hello = |client: Result<Greeting, CallError<GreetError>>| client.expect("a greeting").text;
    let options = options();
    let known = GreeterClient::over(host.with(&options)).hello("Ann".to_owned(), None);
    assert_eq!(hello(known), "Hello, Ann the Great.");
    let unknown = GreeterClient::over(&host).hello("Ann".to_owned(), None);
    assert_eq!(hello(unknown), "Hello, Ann the Unknown.");
}

fn async_methods(engine: &Engine) {
    let router = || Router::new().service("names", awaited::NamesServer::new(Directory));
    let provider = engine.provider(TYPED, WasiSettings::new());
    let provider = provider.unwrap_or_else(|error| panic!("{}", chain(&error)));
    on_a_runtime(async {
        let host = WapcHost::builder(provider)
            .limits(engine.enforceable(Limits::default()))
            .build_async_with(router().into_async())
            .await;
        let host = host.unwrap_or_else(|error| panic!("{}", chain(&error)));
        let options = options();
        let client = GreeterClient::over(host.with(&options));
        let hello = client.hello_async("Ann".to_owned(), Some(2)).await;
        assert_eq!(hello.expect("a greeting"), greeting(2));
    });
    // In a blocking call the guest gets an error, and makes one of its own.
    let blocking = GreeterClient::over(host_with(engine, router())).hello("Ann".to_owned(), None);
    assert!(
        matches!(blocking, Err(CallError::Service(GreetError::Nobody))),
        "{blocking:?}"
    );
}

/// The end of a guest's call, by its caller or by its time, drops the method that it waits for.
fn dropped(engine: &Engine) {
    struct Running(Arc<()>);

    impl awaited::Names for Running {
        async fn full(&self, _: String, _: &CallContext<'_>) -> Result<String, GreetError> {
            let _running = Arc::clone(&self.0);
            future::pending().await
        }
    }

    let running = Arc::new(());
    let router =
        Router::new().service("names", awaited::NamesServer::new(Running(running.clone())));
    let provider = engine.provider(TYPED, WasiSettings::new());
    let provider = provider.unwrap_or_else(|error| panic!("{}", chain(&error)));
    on_a_runtime(async {
        let host = WapcHost::builder(provider)
            .limits(engine.enforceable(Limits::default()))
            .build_async_with(router.into_async())
            .await;
        let host = host.unwrap_or_else(|error| panic!("{}", chain(&error)));
        let alone = Arc::strong_count(&running);
        let client = GreeterClient::over(&host);
        let mut call = Box::pin(client.hello_async("Ann".to_owned(), None));
        let waits = async {
            while Arc::strong_count(&running) == alone {
                tokio::task::yield_now().await;
            }
        };
        tokio::select! {
            ended = &mut call => panic!("{ended:?}"),
            () = waits => {}
        }
        drop(call);
        assert_eq!(Arc::strong_count(&running), alone);

        let options = CallOptions::default().timeout(Duration::from_millis(20));
        let client = GreeterClient::over(host.with(&options));
        let late = client.hello_async("Ann".to_owned(), None).await;
        assert!(
            matches!(late, Err(CallError::Host(Error::TimedOut { .. }))),
            "{late:?}"
        );
        assert_eq!(Arc::strong_count(&running), alone);
    });
}

/// A guest that serves a trait as a host would: with a context, borrowed arguments and an async
/// method, which it polls once.
fn served_as_by_a_host(engine: &Engine) {
    #[derive(Describe, Serialize, Deserialize, Debug, PartialEq)]
    struct Tree {
        kids: Vec<Self>,
    }

    #[service(namespace = "words.v1")]
    trait Words {
        fn length(&self, word: &str, bytes: &[u8]) -> Result<u32, String>;
        fn ready(&self, now: bool) -> Result<Tree, String>;
    }

    WordsClient::check(TYPED).expect("it fits");
    let host = host(engine);
    let client = WordsClient::over(&host);
    assert_eq!(client.length("ü", &[0; 1000]).expect("a length"), 1002);
    let kids = vec![Tree { kids: vec![] }];
    assert_eq!(client.ready(true).expect("a tree"), Tree { kids });
    match client.ready(false) {
        Err(CallError::Service(text)) => assert_eq!(
            text,
            "the operation `words.v1.Words/ready` was not ready at once, and a guest cannot wait for it"
        ),
        other => panic!("{other:?}"),
    }
}

/// A client that knows neither the optional argument, nor a field of the result, nor an operation.
fn yesterday(engine: &Engine) {
    #[derive(Describe, Serialize, Deserialize)]
    struct Greeting {
        text: String,
    }

    #[service(namespace = "greeting.v1")]
    trait Greeter {
        fn hello(&self, name: String) -> Result<Greeting, GreetError>;
    }

    GreeterClient::check(TYPED).expect("it fits");
    let host = host(engine);
    let hello = GreeterClient::over(&host).hello("Ann".to_owned());
    assert_eq!(hello.expect("a greeting").text, "Hello, Ann the Great.");
}

/// A client that knows more than the guest: what may be missing is, and an operation is refused before
/// the swap.
fn tomorrow(engine: &Engine) {
    #[derive(Describe, Serialize, Deserialize)]
    struct Greeting {
        text: String,
        #[serde(default)]
        language: Option<String>,
    }

    #[service(namespace = "greeting.v1")]
    trait Greeter {
        fn hello(&self, name: String, polite: Option<bool>) -> Result<Greeting, GreetError>;
        fn goodbye(&self) -> Result<(), String>;
    }

    let host = host(engine);
    let client = GreeterClient::over(&host);
    let hello = client
        .hello("Ann".to_owned(), Some(true))
        .expect("a greeting");
    assert_eq!(
        (hello.text.as_str(), hello.language),
        ("Hello, Ann the Great.", None)
    );
    assert!(matches!(
        client.goodbye(),
        Err(CallError::UnknownOperation { .. })
    ));

    let refused = host.swap().probe(GreeterClient::probe(TYPED)).module(TYPED);
    match refused {
        Err(Error::Probe(cause)) => assert_eq!(
            cause.to_string(),
            "the guest does not have the operation `greeting.v1.Greeter/goodbye`"
        ),
        other => panic!("{other:?}"),
    }
    let descriptor = Descriptor::read(TYPED).expect("a descriptor");
    let own = Descriptor::parse(GREETER_DESCRIPTOR.as_bytes()).expect("a descriptor");
    let missing = descriptor.check(&own);
    assert!(matches!(missing, Err(CheckError::MissingOperation { .. })));
}
