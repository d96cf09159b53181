//! A guest that is served and calls by traits, `export!` included.

#![forbid(unsafe_code)]

use serde::{Deserialize, Serialize};
use wapc_typed::{CallError, Describe, guest, service};

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
    fn full(&self, name: String) -> Result<String, GreetError>;
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

wapc_typed::export!(GreeterServer<Polite>);
