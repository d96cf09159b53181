//! Names of a contract that the macro's own code has too.

use wapc_host::engine::scripted::ScriptedProvider;
use wapc_typed::{CallContext, Serve};

/// Traits and types of one letter, as type parameters usually are.
mod types {
    use serde::{Deserialize, Serialize};
    use wapc_typed::service;

    #[derive(Serialize, Deserialize, Debug, PartialEq)]
    pub(super) struct C(pub(super) u8);

    #[derive(Serialize, Deserialize, Debug, PartialEq)]
    pub(super) struct Arguments(pub(super) u8);

    #[service]
    pub(super) trait T {
        fn f(&self, c: C, arguments: Arguments) -> Result<C, String>;
    }

    pub(super) mod inner {
        use serde::{Deserialize, Serialize};

        #[derive(Serialize, Deserialize, Debug, PartialEq)]
        pub(crate) struct T(pub(crate) u8);

        #[wapc_typed::service]
        pub(crate) trait C {
            async fn f(&self, t: T) -> Result<T, String>;
        }
    }
}

#[wapc_typed::service]
trait Locals {
    fn f(
        &self,
        operation: String,
        payload: String,
        context: String,
        response: String,
        it: &CallContext,
    ) -> Result<String, String>;
    fn g(
        &self,
        out: String,
        encoded: &str,
        arguments: &str,
        called: String,
    ) -> Result<String, String>;
    fn h(
        &self,
        outcome: String,
        result: String,
        error: String,
        undecoded: String,
        source: &str,
    ) -> Result<String, String>;
    #[wapc(unary)]
    fn unary(&self, payload: &str) -> Result<String, String>;
    fn r#type(&self, r#struct: u8) -> Result<u8, String>;
}

struct All;

impl types::T for All {
    fn f(&self, c: types::C, arguments: types::Arguments) -> Result<types::C, String> {
        Ok(types::C(c.0 + arguments.0))
    }
}

impl types::inner::C for All {
    async fn f(&self, t: types::inner::T) -> Result<types::inner::T, String> {
        Ok(t)
    }
}

impl Locals for All {
    fn f(
        &self,
        operation: String,
        payload: String,
        context: String,
        response: String,
        _: &CallContext<'_>,
    ) -> Result<String, String> {
        Ok([operation, payload, context, response].concat())
    }

    fn g(
        &self,
        out: String,
        encoded: &str,
        arguments: &str,
        called: String,
    ) -> Result<String, String> {
        Ok([&out, encoded, arguments, &called].concat())
    }

    fn h(
        &self,
        outcome: String,
        result: String,
        error: String,
        undecoded: String,
        source: &str,
    ) -> Result<String, String> {
        Err([&outcome, &result, &error, &undecoded, source].concat())
    }

    fn unary(&self, payload: &str) -> Result<String, String> {
        Ok(payload.to_owned())
    }

    fn r#type(&self, r#struct: u8) -> Result<u8, String> {
        Ok(r#struct)
    }
}

fn guest(service: impl Serve + Send + Sync + 'static) -> ScriptedProvider {
    ScriptedProvider::new(move |guest, op_length, msg_length| {
        let (operation, payload) = guest.request(op_length, msg_length)?;
        let mut response = vec![];
        match service.serve(&CallContext::none(), &operation, &payload, &mut response) {
            Ok(()) => guest.respond(&response),
            Err(error) => guest.fail(error.to_string().as_bytes()),
        }
    })
}

#[test]
fn types_may_have_any_name() {
    let host = guest(types::TServer::new(All)).host().unwrap();
    let sum = types::TClient::over(&host).f(types::C(1), types::Arguments(2));
    assert_eq!(sum.unwrap(), types::C(3));
    let echo = types::inner::CClient::over(ScriptedProvider::echo().host().unwrap());
    assert!(echo.f(types::inner::T(1)).is_err());
}

#[test]
fn arguments_may_have_any_name() {
    let host = guest(LocalsServer::new(All)).host().unwrap();
    let client = LocalsClient::over(&host);
    let [a, b, c, d] = ["a", "b", "c", "d"].map(str::to_owned);
    let f = client.f(a.clone(), b.clone(), c.clone(), d.clone());
    assert_eq!(f.unwrap(), "abcd");
    assert_eq!(client.g(a.clone(), "b", "c", d.clone()).unwrap(), "abcd");
    let g = Locals::g(&client, a.clone(), "b", "c", d.clone());
    assert_eq!(g.unwrap(), "abcd");
    assert_eq!(client.h(a, b, c, d, "e").unwrap_err().to_string(), "abcde");
    assert_eq!(client.unary("a").unwrap(), "a");
    assert_eq!(client.r#type(7).unwrap(), 7);
    assert_eq!(LOCALS_OPERATIONS.last(), Some(&"Locals/type"));
}
