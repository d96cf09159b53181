//! A policy engine: twenty policies, typed calls in JSON, a time limit for each call, and a swap of one
//! policy under load, checked before it.

use std::{
    sync::atomic::{AtomicBool, Ordering},
    thread,
    time::Duration,
};

use provider_wasmi::WasmiEngineProvider;
use serde::{Deserialize, Serialize};
use wapc_host::{BoxError, CallOptions, WapcHost};
use wapc_typed::{Describe, Json, service};

#[derive(Describe, Serialize, Deserialize)]
struct Request {
    user: String,
    action: String,
}

#[derive(Describe, Serialize, Deserialize)]
struct Decision {
    allow: bool,
    #[serde(default)]
    reason: String,
}

#[service(namespace = "policy.v1")]
trait Policy {
    /// Says whether the user may do it.
    #[wapc(unary)]
    fn decide(&self, request: Json<Request>) -> Result<Json<Decision>, String>;
}

fn main() -> Result<(), BoxError> {
    let policies = (0..20)
        .map(|number| load(&policy(number)))
        .collect::<Result<Vec<_>, _>>()?;
    let options = CallOptions::default().timeout(Duration::from_millis(500));
    let mut allowed = 0;
    for (number, host) in policies.iter().enumerate() {
        match PolicyClient::over(host.with(&options)).decide(request()) {
            Ok(Json(decision)) if decision.allow => allowed += 1,
            Ok(Json(decision)) => println!("policy {number} denies: {}", decision.reason),
            Err(error) => println!("policy {number} has no answer: {error}"),
        }
    }
    println!("{allowed} of {} policies allow it", policies.len());

    let Some(host) = policies.first() else {
        return Ok(());
    };
    let over = AtomicBool::new(false);
    thread::scope(|scope| {
        scope.spawn(|| {
            while !over.load(Ordering::Relaxed) {
                // The host counts failures.
                _ = PolicyClient::over(host).decide(request());
            }
        });
        for new in [policy(0).replace("/decide", "/judge"), policy(7)] {
            match PolicyClient::check(new.as_bytes()) {
                Ok(()) => host.replace_module(new.as_bytes())?,
                Err(error) => println!("not swapped: {error}"),
            }
        }
        let Json(decision) = PolicyClient::over(host).decide(request())?;
        println!("policy 0 allows it after the swap: {}", decision.allow);
        over.store(true, Ordering::Relaxed);
        Ok::<_, BoxError>(())
    })?;
    println!("{} calls failed meanwhile", host.stats().errors.total());
    Ok(())
}

fn load(module: &str) -> Result<WapcHost, BoxError> {
    let provider = WasmiEngineProvider::new(module.as_bytes())?;
    let nothing = |_, _: &str, _: &str, _: &str, _: &[u8]| Err("policies call nobody".into());
    Ok(WapcHost::new(Box::new(provider), nothing)?)
}

fn request() -> Json<Request> {
    let (user, action) = ("ann".to_owned(), "read".to_owned());
    Json(Request { user, action })
}

/// A policy that ignores the request: number 7 denies it, and number 13 thinks for ever.
fn policy(number: u32) -> String {
    let answer = match number {
        7 => r#"{"allow":false,"reason":"ann is on leave"}"#,
        _ => r#"{"allow":true}"#,
    };
    let thinks = if number == 13 { "(loop (br 0))" } else { "" };
    format!(
        r#"(module
            (import "wapc" "__guest_response" (func $respond (param i32 i32)))
            (memory (export "memory") 1)
            (data (i32.const 0) {answer:?})
            (@custom "wapc.service" {POLICY_DESCRIPTOR:?})
            (func (export "__guest_call") (param i32 i32) (result i32)
                {thinks} (call $respond (i32.const 0) (i32.const {})) (i32.const 1)))"#,
        answer.len()
    )
}
