//! All operations of the guests that were compiled from other languages.

use conformance::{Engine, answer, chain, pause};
use guest_fixtures::{WASM, wat};
use wapc_host::{Error, OwnedHostCall, WapcHost, WasiSettings};

use crate::{Case, async_calls::on_a_runtime, gallery::Driver};

pub(crate) fn cases() -> Vec<Case> {
    rows(&[Driver::Blocking])
}

/// The same operations in async calls, with both kinds of callback.
pub(crate) fn async_cases() -> Vec<Case> {
    rows(&[Driver::Async, Driver::Awaiting])
}

fn rows(drivers: &'static [Driver]) -> Vec<Case> {
    let text = wat("hello").expect("there is a guest in text form");
    WASM.iter()
        .map(|(name, bytes)| (*name, *bytes))
        .chain([("hello_wat", text.as_bytes())])
        .flat_map(|(guest, bytes)| {
            OPERATIONS.iter().map(move |(operation, check)| {
                Case::new(format!("{guest}::{operation}"), move |engine: &Engine| {
                    for driver in drivers {
                        check(guest, &Called::new(engine, bytes, *driver));
                    }
                })
            })
        })
        .collect()
}

/// A host, and the form of its calls.
struct Called {
    host: WapcHost,
    driver: Driver,
}

impl Called {
    fn new(engine: &Engine, module: &[u8], driver: Driver) -> Self {
        let host = match driver {
            Driver::Blocking | Driver::Async => engine.host(module),
            Driver::Awaiting => {
                let provider = engine.provider(module, WasiSettings::new());
                let provider = provider.unwrap_or_else(|error| panic!("{}", chain(&error)));
                let host =
                    WapcHost::builder(provider).build_async(|call: OwnedHostCall| async move {
                        pause().await;
                        answer(
                            call.host_id(),
                            call.binding(),
                            call.namespace(),
                            call.operation(),
                            call.payload(),
                        )
                    });
                on_a_runtime(host).unwrap_or_else(|error| panic!("{}", chain(&error)))
            }
        };
        Self { host, driver }
    }

    fn call(&self, operation: &str, payload: &[u8]) -> Result<Vec<u8>, Error> {
        self.driver.call(&self.host, operation, payload)
    }
}

type Check = fn(&str, &Called);

const OPERATIONS: &[(&str, Check)] = &[
    ("echo", |_, host| {
        let large = vec![b'x'; 8 << 20];
        for payload in [&b""[..], b"x", b"\0\xff\xfe", &large, b""] {
            let response = ok(host, "echo", payload);
            assert!(response == payload, "{} bytes", payload.len());
        }
    }),
    ("hello", |_, host| {
        assert_eq!(ok(host, "hello", b"World"), b"Hello, World.");
        assert_eq!(ok(host, "hello", b""), b"Hello, .");
    }),
    ("ping_host", |guest, host| {
        assert_eq!(ok(host, "ping_host", b"ping"), b"bind/ns/op:ping");
        assert_eq!(ok(host, "ping_host", b""), b"bind/ns/op:");
        let large = vec![b'x'; 1 << 20];
        assert_eq!(ok(host, "ping_host", &large).len(), large.len() + 11);
        let message = guest_error(host, "ping_host", b"refuse");
        assert_eq!(message, refusal_by(guest, "the host refused"));
    }),
    ("fail", |_, host| {
        assert_eq!(guest_error(host, "fail", b"boom"), "boom");
    }),
    ("log", |_, host| assert_eq!(ok(host, "log", b"a line"), b"")),
    ("panic", |guest, host| {
        let Err(Error::Trapped { guest_error, .. }) = host.call("panic", b"boom") else {
            panic!("it must trap");
        };
        match guest {
            "hello_as" => assert!(guest_error.is_some_and(|text| text.starts_with("boom"))),
            _ => assert_eq!(guest_error, None),
        }
        assert_eq!(ok(host, "hello", b"World"), b"Hello, World.");
    }),
    ("count", |_, host| {
        for count in [b"1", b"2", b"3"] {
            assert_eq!(ok(host, "count", b""), count);
        }
    }),
    ("unknown", |_, host| {
        assert!(guest_error(host, "unheard of", b"").contains("unheard of"));
    }),
    ("lent_and_filled", |_, host| {
        let mut buffer = vec![];
        let host = &host.host;
        host.call_into("echo", b"filled", &mut buffer)
            .expect("an answer");
        assert_eq!(buffer, b"filled");
        let lent = host.call_with("echo", b"lent", <[u8]>::to_vec);
        assert_eq!(lent.expect("an answer"), b"lent");
    }),
];

/// The text with which a guest's SDK reports an error of the host.
fn refusal_by(guest: &str, reason: &str) -> String {
    match guest {
        "hello_rust" | "hello_rust_wasi" => format!("Host error: {reason}"),
        _ => reason.to_owned(),
    }
}

fn ok(host: &Called, operation: &str, payload: &[u8]) -> Vec<u8> {
    host.call(operation, payload)
        .unwrap_or_else(|error| panic!("{}", chain(&error)))
}

fn guest_error(host: &Called, operation: &str, payload: &[u8]) -> String {
    match host.call(operation, payload) {
        Err(Error::Guest { message, .. }) => message,
        Err(error) => panic!("not a guest error: {}", chain(&error)),
        Ok(_) => panic!("`{operation}` must fail"),
    }
}
