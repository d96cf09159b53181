//! Everything of the program's that the host calls may panic: the host answers the next call. The rows
//! are those of the table in `docs/callbacks.md`. Without a harness, since the logger is the process's.

use std::{
    error::Error as StdError,
    fmt,
    panic::{AssertUnwindSafe, catch_unwind, panic_any},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use conformance::{
    Capability::{AnyModule, Async},
    Engine, engines,
};
use log::{LevelFilter, Log, Metadata, Record};
use wapc_host::{
    BoxError, CallOptions, Error, OwnedHostCall, Tier, Tiers, WapcHost, error::EngineError,
    error::ModuleError,
};
use wapc_typed::{Raw, Router, service};

/// A guest that logs, calls its host with its payload, and answers.
const GUEST: &str = r#"(module
    (import "wapc" "__guest_request" (func $request (param i32 i32)))
    (import "wapc" "__guest_response" (func $respond (param i32 i32)))
    (import "wapc" "__console_log" (func $log (param i32 i32)))
    (import "wapc" "__host_call"
        (func $host_call (param i32 i32 i32 i32 i32 i32 i32 i32) (result i32)))
    (memory (export "memory") 1)
    (func (export "__guest_call") (param $operation i32) (param $length i32) (result i32)
        (call $request (i32.const 0) (i32.const 64))
        (call $log (i32.const 64) (local.get $length))
        (drop (call $host_call
            (i32.const 0) (i32.const 0) (i32.const 0) (i32.const 0)
            (i32.const 0) (i32.const 0) (i32.const 64) (local.get $length)))
        (call $respond (i32.const 64) (local.get $length))
        (i32.const 1)))"#;

static LOGGER_PANICS: AtomicBool = AtomicBool::new(false);

struct Logger;

impl Log for Logger {
    fn enabled(&self, _: &Metadata<'_>) -> bool {
        true
    }

    fn log(&self, record: &Record<'_>) {
        _ = record.args().to_string();
        assert!(!LOGGER_PANICS.load(Ordering::SeqCst), "the logger panics");
    }

    fn flush(&self) {}
}

/// A panic whose payload panics when it is dropped.
struct PanicsAgain;

impl Drop for PanicsAgain {
    fn drop(&mut self) {
        assert!(thread::panicking(), "a payload panics when it is dropped");
    }
}

/// An error whose text cannot be had.
#[derive(Debug)]
struct Unprintable;

impl fmt::Display for Unprintable {
    fn fmt(&self, _: &mut fmt::Formatter<'_>) -> fmt::Result {
        panic!("an error's text panics")
    }
}

impl StdError for Unprintable {}

fn main() {
    log::set_logger(&Logger).expect("no other logger");
    // wasmtime has lines of its own below this level, in the drop of an instance too.
    log::set_max_level(LevelFilter::Info);
    std::panic::set_hook(Box::new(|_| {}));
    for engine in engines(&[AnyModule, Async]) {
        callbacks(engine);
        services(engine);
        logger(engine);
        readers_and_probes(engine);
        contexts(engine);
        tiers(engine);
        spawners(engine);
    }
    println!("test result: ok. no panic of the program's has ended more than its call");
}

fn provider(engine: &Engine) -> Box<dyn wapc_host::WebAssemblyEngineProvider> {
    let provider = engine.provider(GUEST.as_bytes(), Default::default());
    provider.expect("a guest")
}

fn answer(payload: &[u8]) -> Result<Vec<u8>, BoxError> {
    match payload {
        b"panic" => panic!("a callback panics"),
        b"unprintable" => Err(Unprintable.into()),
        payload => Ok(payload.to_vec()),
    }
}

/// A host with a blocking callback, and one with an async callback.
fn hosts(engine: &Engine) -> [WapcHost; 2] {
    let blocking = WapcHost::new(provider(engine), |_, _, _, _, payload| answer(payload));
    let callback = |call: OwnedHostCall| async move {
        smol::future::yield_now().await;
        answer(call.payload())
    };
    let build = WapcHost::builder(provider(engine)).build_async(callback);
    [blocking, smol::block_on(build)].map(|host| host.expect("a host"))
}

/// Calls each host blocking, where its callback is, and async.
fn each(engine: &Engine, mut check: impl FnMut(&Call<'_>)) {
    let [blocking, asynchronous] = hosts(engine);
    check(&|payload| blocking.call("op", payload));
    check(&|payload| smol::block_on(blocking.call_async("op", payload)));
    check(&|payload| smol::block_on(asynchronous.call_async("op", payload)));
}

type Call<'c> = dyn Fn(&[u8]) -> Result<Vec<u8>, Error> + 'c;

/// Returns `true` if it panics.
fn panics<T>(work: impl FnOnce() -> T) -> bool {
    catch_unwind(AssertUnwindSafe(work)).is_err()
}

fn assert_answers(call: &Call<'_>) {
    assert_eq!(call(b"good").expect("an answer"), b"good");
}

fn callbacks(engine: &Engine) {
    each(engine, |call| {
        for payload in ["panic", "unprintable"] {
            assert!(
                panics(|| call(payload.as_bytes())),
                "{}: {payload}",
                engine.name
            );
            assert_answers(call);
        }
    });
}

#[service]
trait Now {
    #[wapc(op = "", unary)]
    fn answer(&self, payload: Raw<Vec<u8>>) -> Result<Raw<Vec<u8>>, String>;
}

#[service]
trait Later {
    #[wapc(op = "", unary)]
    async fn answer(&self, payload: Raw<Vec<u8>>) -> Result<Raw<Vec<u8>>, String>;
}

struct Panics;

impl Now for Panics {
    fn answer(&self, Raw(payload): Raw<Vec<u8>>) -> Result<Raw<Vec<u8>>, String> {
        answer(&payload).map(Raw).map_err(|error| error.to_string())
    }
}

impl Later for Panics {
    async fn answer(&self, payload: Raw<Vec<u8>>) -> Result<Raw<Vec<u8>>, String> {
        smol::future::yield_now().await;
        Now::answer(self, payload)
    }
}

fn services(engine: &Engine) {
    let hooked = |router: Router| {
        router.before(|call| {
            assert_ne!(call.payload, b"before", "a hook panics");
            Ok(())
        })
    };
    let now = || hooked(Router::new().service("", NowServer::new(Panics)));
    let later = hooked(Router::new().service("", LaterServer::new(Panics)));
    let blocking = WapcHost::builder(provider(engine)).build_with(now());
    let blocking = blocking.expect("a host");
    let asynchronous = [now(), later].map(|router| {
        let built = WapcHost::builder(provider(engine)).build_async_with(router.into_async());
        smol::block_on(built).expect("a host")
    });
    let check = |call: &Call<'_>| {
        for payload in ["panic", "before", "unprintable"] {
            assert!(panics(|| call(payload.as_bytes())), "{payload}");
            assert_answers(call);
        }
    };
    check(&|payload| blocking.call("op", payload));
    for host in &asynchronous {
        check(&|payload| smol::block_on(host.call_async("op", payload)));
    }
}

fn logger(engine: &Engine) {
    each(engine, |call| {
        LOGGER_PANICS.store(true, Ordering::SeqCst);
        let panicked = panics(|| call(b"good"));
        LOGGER_PANICS.store(false, Ordering::SeqCst);
        assert!(panicked, "{}", engine.name);
        assert_answers(call);
    });
}

fn readers_and_probes(engine: &Engine) {
    let [host, _] = hosts(engine);
    assert!(panics(|| host.call_with("op", b"good", |_| -> () {
        panic!("a reader panics")
    })));
    let probe = || host.swap().probe(|_| panic!("a probe panics"));
    assert!(panics(|| probe().module(GUEST.as_bytes())));
    let probe = || {
        host.swap()
            .probe_async(|_| Box::pin(async { panic!("a probe panics") }))
    };
    assert!(panics(|| probe().module(GUEST.as_bytes())));
    assert!(panics(|| smol::block_on(
        probe().module_async(GUEST.as_bytes())
    )));
    assert_eq!(host.generation(), 1);
    assert_answers(&|payload| host.call("op", payload));
}

/// The context of a call is dropped by a later call, at the latest.
fn contexts(engine: &Engine) {
    let [host, _] = hosts(engine);
    let options = CallOptions::default().context(Arc::new(PanicsAgain));
    _ = catch_unwind(AssertUnwindSafe(|| host.with(&options).call("op", b"good")));
    drop(catch_unwind(AssertUnwindSafe(move || drop(options))));
    _ = catch_unwind(AssertUnwindSafe(|| host.call("op", b"good")));
    assert_answers(&|payload| host.call("op", payload));
}

fn tiers(engine: &'static Engine) {
    let compile = |module: &[u8]| -> Result<_, EngineError> {
        Ok(engine.provider(module, Default::default())?)
    };
    LOGGER_PANICS.store(true, Ordering::SeqCst);
    for (what, tiers) in [
        (
            "compile",
            Tiers::new(compile, |_: &[u8]| panic_any("a tier panics")),
        ),
        (
            "refused",
            Tiers::new(compile, |_: &[u8]| {
                Err(EngineError::Module(ModuleError::Empty))
            }),
        ),
        (
            "observer",
            Tiers::new(compile, compile).observer(|_| panic!("an observer panics")),
        ),
    ] {
        let builder = WapcHost::tiered(GUEST.as_bytes(), tiers).expect("a guest");
        let host = builder
            .build(|_, _, _, _, payload| answer(payload))
            .expect("a host");
        wait_until(what, || !matches!(host.stats().tier, Tier::Baseline));
        // The queue goes on: a second module gets its tier.
        let swap = host
            .swap()
            .tiered(GUEST.as_bytes(), Tiers::new(compile, compile));
        swap.expect("a swap");
        wait_until(what, || matches!(host.stats().tier, Tier::Optimized));
        LOGGER_PANICS.store(false, Ordering::SeqCst);
        assert_answers(&|payload| host.call("op", payload));
        LOGGER_PANICS.store(true, Ordering::SeqCst);
    }
    LOGGER_PANICS.store(false, Ordering::SeqCst);
}

fn wait_until(what: &str, done: impl Fn() -> bool) {
    let began = Instant::now();
    while !done() {
        assert!(began.elapsed() < Duration::from_secs(60), "{what}");
        thread::sleep(Duration::from_millis(1));
    }
}

fn spawners(engine: &Engine) {
    let is_bad = Arc::new(AtomicBool::new(false));
    let bad = Arc::clone(&is_bad);
    let build = WapcHost::builder(provider(engine))
        .spawner(move |task| {
            assert!(!bad.load(Ordering::SeqCst), "a spawner panics");
            drop(thread::spawn(|| smol::block_on(task)));
        })
        .build_async(|call: OwnedHostCall| async move { answer(call.payload()) });
    let host = smol::block_on(build).expect("a host");
    is_bad.store(true, Ordering::SeqCst);
    assert!(panics(|| host.replace_module(GUEST.as_bytes())));
    is_bad.store(false, Ordering::SeqCst);
    host.replace_module(GUEST.as_bytes()).expect("a swap");
    assert_answers(&|payload| smol::block_on(host.call_async("op", payload)));
}
