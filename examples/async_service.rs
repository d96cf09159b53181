//! A host callback that awaits: many calls are in flight on one thread, over a few
//! instances, and each waits for a lookup by the host.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use provider_wasmtime::WasmtimeEngineProvider;
use tokio::{runtime, task::JoinSet, time::sleep};
use wapc_host::{BoxError, OwnedHostCall, WapcHost};

const CALLS: u32 = 100;
const INSTANCES: usize = 10;
const LOOKUP: Duration = Duration::from_millis(10);

fn main() -> Result<(), BoxError> {
    runtime::Builder::new_current_thread()
        .enable_time()
        .build()?
        .block_on(serve())
}

async fn serve() -> Result<(), BoxError> {
    let provider = WasmtimeEngineProvider::new(guest_fixtures::HELLO_RUST)?;
    let host = WapcHost::builder(Box::new(provider))
        .max_instances(INSTANCES)
        .build_async(|call: OwnedHostCall| async move {
            sleep(LOOKUP).await; // A real host would query a database here.
            Ok(call.into_payload())
        })
        .await?;
    let host = Arc::new(host);

    let start = Instant::now();
    let mut calls = JoinSet::new();
    for number in 0..CALLS {
        let host = Arc::clone(&host);
        calls.spawn(async move {
            let question = number.to_string();
            let answer = host.call_async("ping_host", question.as_bytes()).await;
            answer.is_ok_and(|answer| answer == question.as_bytes())
        });
    }
    let right = calls.join_all().await.into_iter().filter(|right| *right);

    println!("{} of {CALLS} answers are right", right.count());
    println!(
        "{} ms on {} instances; the lookups one after the other take {} ms",
        start.elapsed().as_millis(),
        host.stats().live,
        (LOOKUP * CALLS).as_millis()
    );
    Ok(())
}
