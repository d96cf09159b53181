//! A guest that is served and calls by traits, `export!` included.

#![forbid(unsafe_code)]

use std::future::pending;

use serde::{Deserialize, Serialize};
use wapc_typed::{CallContext, CallError, Describe, guest, service};

#[derive(Describe, Serialize, Deserialize)]
pub struct Greeting {
    pub text: String,
    #[serde(default)]
    pub count: u32,
}

#[derive(Describe, Serialize, Deserialize)]
pub enum GreetError {
    Nobody,
    Busy { seconds: u32 },
}

/// What the guest serves.
#[service(namespace = "greeting.v1")]
pub trait Greeter {
    /// Says hello to somebody, whose full name the host knows.
    fn hello(&self, name: String, count: Option<u32>) -> Result<Greeting, GreetError>;

    fn sum(&self, numbers: Vec<f64>) -> Result<f64, String>;
}

/// What the guest calls.
#[service(namespace = "names.v1")]
pub trait Names {
    async fn full(&self, name: String) -> Result<String, GreetError>;
}

/// What the guest serves too, as a host would.
#[service(namespace = "words.v1")]
pub trait Words {
    fn length(&self, context: &CallContext, word: &str, bytes: &[u8]) -> Result<u32, String>;

    async fn ready(&self, now: bool) -> Result<Tree, String>;
}

#[derive(Describe, Serialize, Deserialize)]
pub struct Tree {
    pub kids: Vec<Tree>,
}

#[derive(Default)]
struct Polite;

impl Greeter for Polite {
    fn hello(&self, name: String, count: Option<u32>) -> Result<Greeting, GreetError> {
        if name.is_empty() {
            return Err(GreetError::Nobody);
        }
        let names = NamesClient::over(guest::host("names"));
        match names.full(name) {
            Ok(full) => Ok(Greeting {
                text: format!("Hello, {full}."),
                count: count.unwrap_or(1),
            }),
            Err(CallError::Service(error)) => Err(error),
            Err(_) => Err(GreetError::Nobody),
        }
    }

    fn sum(&self, numbers: Vec<f64>) -> Result<f64, String> {
        match numbers.is_empty() {
            true => Err("there is nothing to add".to_owned()),
            false => Ok(numbers.iter().sum()),
        }
    }
}

impl Words for Polite {
    fn length(&self, context: &CallContext, word: &str, bytes: &[u8]) -> Result<u32, String> {
        match context.host_id() {
            Some(_) => Err("a guest does not know its host".to_owned()),
            None => u32::try_from(word.len() + bytes.len()).map_err(|error| error.to_string()),
        }
    }

    async fn ready(&self, now: bool) -> Result<Tree, String> {
        match now {
            true => Ok(Tree {
                kids: vec![Tree { kids: vec![] }],
            }),
            false => pending().await,
        }
    }
}

wapc_typed::export!(GreeterServer<Polite>, WordsServer<Polite>);
