//! A typed call of a guest that makes a typed call of its host, beside the same call of bytes plus what the codec costs by
//! itself; and with the features `peer-tarpc` and `peer-extism` beside their typed calls, in one run.
//!
//! All subjects take turns in each round. A figure is the median of the rounds; ratios are those within a round.

#[path = "../allocations.rs"]
mod allocations;

use std::{
    error::Error,
    fmt,
    hint::black_box,
    time::{Duration, Instant},
};

use provider_wasmi::WasmiEngineProvider;
use provider_wasmtime::WasmtimeEngineProvider;
use serde::{Deserialize, Serialize};
use wapc_host::{BoxError, HostCall, HostCallback, WapcHost, WebAssemblyEngineProvider};
use wapc_typed::{Codec, MsgPackCodec, Router, service};

type Result<T, E = Box<dyn Error + Send + Sync>> = std::result::Result<T, E>;
type Work<'w> = Box<dyn FnMut() -> Result<()> + 'w>;

#[global_allocator]
static ALLOCATOR: allocations::Counting = allocations::Counting;

const ROUNDS: usize = 31;
const SLICE: Duration = Duration::from_millis(20);

#[derive(Serialize, Deserialize, Debug)]
pub struct Greeting {
    pub text: String,
    #[serde(default)]
    pub count: u32,
}

#[derive(Serialize, Deserialize, Debug)]
pub enum GreetError {
    Nobody,
    Busy { seconds: u32 },
}

impl fmt::Display for GreetError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self, f)
    }
}

impl Error for GreetError {}

/// The contract of `guest-fixtures/rust/typed`.
#[service(namespace = "greeting.v1")]
pub trait Greeter {
    fn hello(&self, name: &str, count: Option<u32>) -> Result<Greeting, GreetError>;
}

#[service(namespace = "names.v1")]
pub trait Names {
    fn full(&self, name: &str) -> Result<String, GreetError>;
}

struct Directory;

impl Names for Directory {
    fn full(&self, name: &str) -> Result<String, GreetError> {
        match name {
            "" => Err(GreetError::Nobody),
            name => Ok(name.to_owned()),
        }
    }
}

/// Answers as [`Directory`] does, by bytes.
struct Bytes(Vec<u8>);

impl HostCallback for Bytes {
    fn call(&self, _: HostCall<'_>, response: &mut Vec<u8>) -> Result<(), BoxError> {
        response.extend_from_slice(&self.0);
        Ok(())
    }
}

/// What the client sends.
#[derive(Serialize)]
struct Hello<'n> {
    name: &'n str,
    count: Option<u32>,
}

#[derive(Serialize, Deserialize)]
struct Full<'n> {
    name: &'n str,
}

const OPERATION: &str = "greeting.v1.Greeter/hello";
const NAME: &str = "World";

fn main() -> Result<()> {
    println!(
        "| typed hello | ns | of the call of bytes and the codec | allocations |\n|---|--:|--:|--:|"
    );
    let wasmtime = |module: &[u8]| -> Result<Box<dyn WebAssemblyEngineProvider>> {
        Ok(Box::new(WasmtimeEngineProvider::new(module)?))
    };
    let wasmi = |module: &[u8]| -> Result<Box<dyn WebAssemblyEngineProvider>> {
        Ok(Box::new(WasmiEngineProvider::new(module)?))
    };
    on_engine("wasmtime", wasmtime)?;
    on_engine("wasmi", wasmi)?;
    #[cfg(feature = "peer-tarpc")]
    peers::tarpc()?;
    #[cfg(feature = "peer-extism")]
    peers::extism()?;
    Ok(())
}

fn on_engine(
    name: &str,
    provider: impl Fn(&[u8]) -> Result<Box<dyn WebAssemblyEngineProvider>>,
) -> Result<()> {
    let module = guest_fixtures::TYPED;
    let encoded = |value: &dyn Fn(&mut Vec<u8>) -> Result<(), wapc_typed::CodecError>| {
        let mut bytes = vec![];
        value(&mut bytes).map(|()| bytes)
    };
    let hello = Hello {
        name: NAME,
        count: None,
    };
    let payload = encoded(&|out| MsgPackCodec::encode(&hello, out))?;
    let asked = encoded(&|out| MsgPackCodec::encode(&Full { name: NAME }, out))?;
    let answered = encoded(&|out| MsgPackCodec::encode(NAME, out))?;
    let bare = WapcHost::builder(provider(module)?).build_with(Bytes(answered.clone()))?;
    let router = Router::new().service("names", NamesServer::new(Directory));
    let typed = WapcHost::builder(provider(module)?).build_with(router)?;
    let response = bare.call(OPERATION, &payload)?;
    let greeter = GreeterClient::over(&typed);
    assert_eq!(greeter.hello(NAME, None)?.text, "Hello, World.");

    let mut out = Vec::with_capacity(1024);
    let codec: Work<'_> = Box::new(move || {
        out.clear();
        MsgPackCodec::encode(black_box(&hello), &mut out)?;
        let full: Full<'_> = MsgPackCodec::decode(black_box(&asked))?;
        let full = full.name.to_owned();
        out.clear();
        MsgPackCodec::encode(black_box(&full), &mut out)?;
        let greeting: Greeting = MsgPackCodec::decode(black_box(&response))?;
        black_box(greeting);
        Ok(())
    });
    let calls: Work<'_> = Box::new(|| {
        bare.call_with(OPERATION, &payload, |response| {
            black_box(response.len());
        })?;
        Ok(())
    });
    let typed_calls: Work<'_> = Box::new(|| {
        black_box(greeter.hello(black_box(NAME), None)?);
        Ok(())
    });
    let [calls, codec, typed] = &rows([calls, codec, typed_calls])?;
    let ratios = typed.times.iter().zip(calls.times.iter().zip(&codec.times));
    let ratio = median(ratios.map(|(typed, (calls, codec))| typed / (calls + codec)));
    println!(
        "| {name}: bytes | {:.0} | | {} |",
        calls.median(),
        calls.allocations
    );
    println!(
        "| {name}: the codec | {:.0} | | {} |",
        codec.median(),
        codec.allocations
    );
    println!(
        "| {name}: typed | {:.0} | {ratio:.2} | {} |",
        typed.median(),
        typed.allocations
    );

    let runtime = tokio::runtime::Builder::new_current_thread().build()?;
    let (bare, typed) = (&bare, GreeterClient::over(&bare));
    let calls: Work<'_> = Box::new(|| {
        black_box(runtime.block_on(bare.call_async(OPERATION, payload.clone()))?);
        Ok(())
    });
    let typed_calls: Work<'_> = Box::new(|| {
        black_box(runtime.block_on(typed.hello_async(black_box(NAME), None))?);
        Ok(())
    });
    let [calls, typed] = &rows([calls, typed_calls])?;
    println!(
        "| {name}, async: bytes | {:.0} | | {} |",
        calls.median(),
        calls.allocations
    );
    println!(
        "| {name}, async: typed | {:.0} | | {} |",
        typed.median(),
        typed.allocations
    );
    Ok(())
}

struct Row {
    /// Nanoseconds of a call, in each round.
    times: Vec<f64>,
    allocations: u64,
}

impl Row {
    fn median(&self) -> f64 {
        median(self.times.iter().copied())
    }
}

fn median(times: impl Iterator<Item = f64>) -> f64 {
    let mut times: Vec<f64> = times.collect();
    times.sort_by(f64::total_cmp);
    times[times.len() / 2]
}

fn rows<const N: usize>(mut works: [Work<'_>; N]) -> Result<[Row; N]> {
    let mut rows = [(); N].map(|()| Row {
        times: vec![],
        allocations: 0,
    });
    for (row, work) in rows.iter_mut().zip(&mut works) {
        work()?;
        let (done, allocations) = allocations::during(work);
        done?;
        row.allocations = allocations;
    }
    for round in 0..ROUNDS {
        for turn in 0..N {
            let subject = (round + turn) % N;
            let (work, begun) = (&mut works[subject], Instant::now());
            let mut calls = 0_u32;
            while begun.elapsed() < SLICE {
                for _ in 0..100 {
                    work()?;
                }
                calls += 100;
            }
            let nanoseconds = begun.elapsed().as_secs_f64() * 1e9;
            rows[subject].times.push(nanoseconds / f64::from(calls));
        }
    }
    Ok(rows)
}

#[cfg(any(feature = "peer-tarpc", feature = "peer-extism"))]
mod peers {
    use super::*;

    #[cfg(feature = "peer-tarpc")]
    mod service {
        use super::Greeting;

        #[tarpc::service]
        pub trait World {
            async fn hello(name: String, count: Option<u32>) -> Greeting;
        }
    }

    /// In one process, over its channel of values: nothing is encoded.
    #[cfg(feature = "peer-tarpc")]
    pub fn tarpc() -> Result<()> {
        use service::World;
        use tarpc::{
            client, context,
            server::{BaseChannel, Channel},
        };

        #[derive(Clone)]
        struct Polite;

        impl World for Polite {
            async fn hello(
                self,
                _: context::Context,
                name: String,
                count: Option<u32>,
            ) -> Greeting {
                Greeting {
                    text: format!("Hello, {name}."),
                    count: count.unwrap_or(1),
                }
            }
        }

        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .build()?;
        let client = runtime.block_on(async {
            let (ours, theirs) = tarpc::transport::channel::unbounded();
            let requests = BaseChannel::with_defaults(theirs).execute(Polite.serve());
            tokio::spawn(futures_util::StreamExt::for_each(
                requests,
                |answer| async {
                    tokio::spawn(answer);
                },
            ));
            service::WorldClient::new(client::Config::default(), ours).spawn()
        });
        let calls: Work<'_> = Box::new(|| {
            let hello = client.hello(context::current(), NAME.to_owned(), None);
            black_box(runtime.block_on(hello)?);
            Ok(())
        });
        let [row] = &rows([calls])?;
        println!(
            "| tarpc, in one process | {:.0} | | {} |",
            row.median(),
            row.allocations
        );
        Ok(())
    }

    /// A plugin that answers with a greeting in JSON. Its typed call has one argument, and the plugin calls no host.
    #[cfg(feature = "peer-extism")]
    const PLUGIN: &str = r#"(module
        (import "extism:host/env" "alloc" (func $alloc (param i64) (result i64)))
        (import "extism:host/env" "store_u64" (func $store (param i64 i64)))
        (import "extism:host/env" "output_set" (func $output (param i64 i64)))
        (memory (export "memory") 1)
        (data (i32.const 0) "{\"text\":\"Hello.\",\"count\":1}     ")
        (func (export "hello") (result i32) (local $at i64) (local $done i64)
            (local.set $at (call $alloc (i64.const 40)))
            (loop $more
                (call $store
                    (i64.add (local.get $at) (local.get $done))
                    (i64.load (i32.wrap_i64 (local.get $done))))
                (local.set $done (i64.add (local.get $done) (i64.const 8)))
                (br_if $more (i64.lt_u (local.get $done) (i64.const 32))))
            (call $output (local.get $at) (i64.const 32))
            (i32.const 0)))"#;

    #[cfg(feature = "peer-extism")]
    pub fn extism() -> Result<()> {
        #[derive(Serialize)]
        struct Hello<'n> {
            name: &'n str,
            count: Option<u32>,
        }

        let module = wat::parse_str(PLUGIN)?;
        let hello = || Hello {
            name: NAME,
            count: None,
        };
        let mut theirs = extism::PluginBuilder::new(&module[..])
            .with_cache_disabled()
            .build()?;
        let theirs: Work<'_> = Box::new(move || {
            let json = extism::convert::Json(hello());
            let extism::convert::Json(greeting) =
                theirs.call::<_, extism::convert::Json<Greeting>>("hello", json)?;
            black_box(greeting);
            Ok(())
        });
        let mut ours = wapc_extism::PluginBuilder::new(&module)?.build()?;
        let ours: Work<'_> = Box::new(move || {
            let json = wapc_extism::Json(hello());
            let wapc_extism::Json(greeting) =
                ours.call::<_, wapc_extism::Json<Greeting>>("hello", json)?;
            black_box(greeting);
            Ok(())
        });
        let [theirs, ours] = &rows([theirs, ours])?;
        println!(
            "| extism 1.41, JSON | {:.0} | | {} |",
            theirs.median(),
            theirs.allocations
        );
        println!(
            "| the same plugin by `wapc-extism` | {:.0} | | {} |",
            ours.median(),
            ours.allocations
        );
        Ok(())
    }
}
