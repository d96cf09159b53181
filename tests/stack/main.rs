//! No guest ends the process by its stack: guests that recurse, on threads of every size, in calls
//! within calls, blocking and async. A crash is this test's failure, so it has no harness.

use std::{
    sync::{Arc, OnceLock},
    thread,
};

use conformance::{
    Capability::{AnyModule, Async},
    Engine, engines,
};
use guest_fixtures::wat;
use wapc_host::{BoxError, Error, OwnedHostCall, WapcHost, error::TrapCode};

const KIB: usize = 1 << 10;

/// A guest that recurses as often as the first byte of its payload says, times 1,000, then calls its
/// host, and answers with 1 if that has answered.
const NESTING: &str = r#"(module
    (import "wapc" "__guest_request" (func $request (param i32 i32)))
    (import "wapc" "__guest_response" (func $respond (param i32 i32)))
    (import "wapc" "__host_call"
        (func $host_call (param i32 i32 i32 i32 i32 i32 i32 i32) (result i32)))
    (memory (export "memory") 1)
    (func $recurse (param $left i32) (result i32)
        (if (result i32) (local.get $left)
            (then (i32.add (i32.const 0) (call $recurse (i32.sub (local.get $left) (i32.const 1)))))
            (else (call $host_call
                (i32.const 0) (i32.const 0) (i32.const 0) (i32.const 0)
                (i32.const 0) (i32.const 0) (i32.const 64) (i32.const 1)))))
    (func (export "__guest_call") (param $operation i32) (param $length i32) (result i32)
        (call $request (i32.const 0) (i32.const 64))
        (i32.store8 (i32.const 128)
            (call $recurse (i32.mul (i32.load8_u (i32.const 64)) (i32.const 1000))))
        (call $respond (i32.const 128) (i32.const 1))
        (i32.const 1)))"#;

fn main() {
    for engine in engines(&[AnyModule, Async]) {
        for kib in [64, 128, 256, 512, 1024, 2048, 8192] {
            recursion(engine, kib * KIB);
            for driver in [Driver::Blocking, Driver::Async, Driver::Mixed] {
                nesting(engine, kib * KIB, driver);
            }
        }
    }
    println!("test result: ok. no guest has ended the process by its stack");
}

#[derive(Clone, Copy, Debug)]
enum Driver {
    /// Blocking calls within blocking calls.
    Blocking,
    /// Async calls, which are awaited in the callback.
    Async,
    /// Async calls, in whose callback the thread blocks on the next one.
    Mixed,
}

fn on_thread(bytes: usize, work: impl FnOnce() + Send) {
    thread::scope(|scope| {
        let thread = thread::Builder::new().stack_size(bytes);
        let thread = thread.spawn_scoped(scope, work).expect("a thread");
        thread.join().expect("no panic");
    });
}

fn recursion(engine: &Engine, bytes: usize) {
    on_thread(bytes, || {
        let guest = wat("hostile/recursion").expect("a fixture");
        let provider = engine.provider(guest.as_bytes(), Default::default());
        let host = WapcHost::new(provider.expect("a guest"), |_, _, _, _, _| Ok(vec![]));
        let host = host.expect("a host");
        for ended in [
            host.call("bad", b""),
            smol::block_on(host.call_async("bad", b"")),
        ] {
            match ended {
                Err(Error::Trapped { trap, .. }) => assert_eq!(trap.code, TrapCode::StackOverflow),
                other => panic!("{}: {other:?}", engine.name),
            }
        }
    });
}

/// Hosts that call each other from their callbacks, up to a depth.
struct Chain {
    hosts: Vec<OnceLock<WapcHost>>,
}

/// More than a thread has room for.
const DEPTH: usize = 100;

/// The recursion of each guest, in thousands: most of a stack of 512 KiB.
const THOUSANDS: &[u8] = &[6];

fn nesting(engine: &Engine, bytes: usize, driver: Driver) {
    let chain = Arc::new(Chain {
        hosts: (0..DEPTH).map(|_| OnceLock::new()).collect(),
    });
    let provider = engine.provider(NESTING.as_bytes(), Default::default());
    let provider: Arc<dyn wapc_host::WebAssemblyEngineProvider> = provider.expect("a guest").into();
    for (level, place) in chain.hosts.iter().enumerate() {
        let next = Arc::downgrade(&chain);
        let guest = provider.replace(NESTING.as_bytes()).expect("a guest");
        let builder = WapcHost::builder(guest);
        let deeper = move || next.upgrade().filter(|chain| level + 1 < chain.hosts.len());
        let host = match driver {
            Driver::Blocking => builder.build(move |_, _, _, _, _| match deeper() {
                Some(chain) => call(&chain, level + 1),
                None => Ok(vec![]),
            }),
            Driver::Mixed => builder.build(move |_, _, _, _, _| match deeper() {
                Some(chain) => smol::block_on(call_async(&chain, level + 1)),
                None => Ok(vec![]),
            }),
            Driver::Async => smol::block_on(builder.build_async(move |_: OwnedHostCall| {
                let deeper = deeper();
                async move {
                    match deeper {
                        Some(chain) => Box::pin(call_async(&chain, level + 1)).await,
                        None => Ok(vec![]),
                    }
                }
            })),
        };
        assert!(place.set(host.expect("a host")).is_ok());
    }
    on_thread(bytes, || {
        // The innermost calls may be refused. No other end but an answer is possible for the
        // outermost one.
        let answer = match driver {
            Driver::Blocking => call(&chain, 0),
            Driver::Async | Driver::Mixed => smol::block_on(call_async(&chain, 0)),
        };
        assert!(
            matches!(answer.as_deref(), Ok([0 | 1])),
            "{} {driver:?} on {bytes} bytes: {answer:?}",
            engine.name
        );
    });
}

fn host(chain: &Chain, level: usize) -> &WapcHost {
    let host = chain.hosts.get(level).and_then(OnceLock::get);
    host.expect("the chain is complete")
}

fn call(chain: &Chain, level: usize) -> Result<Vec<u8>, BoxError> {
    Ok(host(chain, level).call("any", THOUSANDS)?)
}

async fn call_async(chain: &Chain, level: usize) -> Result<Vec<u8>, BoxError> {
    Ok(host(chain, level).call_async("any", THOUSANDS).await?)
}
