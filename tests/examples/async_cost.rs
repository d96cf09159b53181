//! What async calls cost, on each engine beside blocking ones, and beside
//! wasmtime's own async calls; how others fare beside a guest that loops; and
//! what is left of calls that were dropped.
//!
//!     cargo run --release -p conformance --example async_cost

use std::{
    cell::{Cell, RefCell},
    future::poll_fn,
    mem,
    pin::pin,
    rc::Rc,
    task::{Context, Poll, Waker},
    time::{Duration, Instant},
};

use conformance::{ENGINES, Engine, counted::Counts};
use guest_fixtures::wat;
use tokio::{
    runtime::{Builder, Runtime},
    task::LocalSet,
    time::{MissedTickBehavior, interval},
};
use wapc_host::{
    BoxError, CallOptions, Interruption, OwnedHostCall, WapcHost, WebAssemblyEngineProvider,
};
use wasmtime::{Caller, Config, Linker, Memory, Module, Store, TypedFunc};

/// Makes as many host calls as the first byte of the payload says, with the
/// payload, and answers with what the host answered last.
const GUEST: &str = r#"(module
    (import "wapc" "__guest_request" (func $guest_request (param i32 i32)))
    (import "wapc" "__guest_response" (func $guest_response (param i32 i32)))
    (import "wapc" "__host_call"
      (func $host_call (param i32 i32 i32 i32 i32 i32 i32 i32) (result i32)))
    (import "wapc" "__host_response" (func $host_response (param i32)))
    (memory (export "memory") 1)
    (data (i32.const 0) "bindnsop")
    (func (export "__guest_call") (param $op_len i32) (param $len i32) (result i32)
      (local $left i32)
      (call $guest_request (i32.const 64) (i32.const 1024))
      (local.set $left (i32.load8_u (i32.const 1024)))
      (block $done
        (loop $again
          (br_if $done (i32.eqz (local.get $left)))
          (local.set $left (i32.sub (local.get $left) (i32.const 1)))
          (drop
            (call $host_call
              (i32.const 0) (i32.const 4)
              (i32.const 4) (i32.const 2)
              (i32.const 6) (i32.const 2)
              (i32.const 1024) (local.get $len)))
          (call $host_response (i32.const 1024))
          (br $again)))
      (call $guest_response (i32.const 1024) (local.get $len))
      (i32.const 1)))"#;

const HOST_CALLS: [u8; 3] = [0, 1, 10];
const PAYLOAD_BYTES: usize = 64;
const ROUNDS: u32 = 5;
const OPERATION: &str = "echo";

fn main() -> Result<(), BoxError> {
    let runtime = Builder::new_current_thread().enable_time().build()?;
    let (calls, dropped) = match cfg!(debug_assertions) {
        true => (500, 2_000),
        false => (50_000, 100_000),
    };
    println!("ns per call, {PAYLOAD_BYTES} bytes, the best of {ROUNDS} rounds of {calls} calls");
    println!(
        "{:<10} {:<26} {:>9} {:>9} {:>9}",
        "", "host calls:", "0", "1", "10"
    );
    for engine in ENGINES {
        cost(engine, &runtime, calls)?;
    }
    raw(&runtime, calls)?;
    println!("\na beat each 5 ms beside a guest that loops, under a deadline of 200 ms");
    for engine in ENGINES {
        heartbeat(engine, &runtime)?;
    }
    println!("\n{dropped} dropped futures");
    for engine in ENGINES {
        drop_many(engine, &runtime, dropped)?;
    }
    Ok(())
}

/// A payload that asks for so many host calls.
fn payload(host_calls: u8) -> [u8; PAYLOAD_BYTES] {
    let mut payload = [b'x'; PAYLOAD_BYTES];
    if let Some(first) = payload.first_mut() {
        *first = host_calls;
    }
    payload
}

fn provider(engine: &Engine) -> Box<dyn WebAssemblyEngineProvider> {
    engine.interruptible(GUEST.as_bytes(), Interruption::Time)
}

async fn echo(call: OwnedHostCall) -> Result<Vec<u8>, BoxError> {
    Ok(call.into_payload())
}

async fn echo_late(call: OwnedHostCall) -> Result<Vec<u8>, BoxError> {
    pause().await;
    Ok(call.into_payload())
}

/// Lets the executor run others once.
async fn pause() {
    let mut paused = false;
    poll_fn(|context| {
        if mem::replace(&mut paused, true) {
            return Poll::Ready(());
        }
        context.waker().wake_by_ref();
        Poll::Pending
    })
    .await;
}

fn cost(engine: &Engine, runtime: &Runtime, calls: u32) -> Result<(), BoxError> {
    let host = WapcHost::new(provider(engine), |_, _, _, _, payload| Ok(payload.to_vec()))?;
    row(engine.name, "blocking", |payload| {
        best(calls, || {
            for _ in 0..calls {
                assert_eq!(host.call(OPERATION, payload)?, payload);
            }
            Ok(())
        })
    })?;
    let on_runtime = |host: &WapcHost, payload: &[u8]| {
        best(calls, || {
            runtime.block_on(async {
                for _ in 0..calls {
                    assert_eq!(host.call_async(OPERATION, payload).await?, payload);
                }
                Ok(())
            })
        })
    };
    row(engine.name, "async, blocking callback", |payload| {
        on_runtime(&host, payload)
    })?;
    let host = runtime.block_on(WapcHost::builder(provider(engine)).build_async(echo))?;
    row(engine.name, "async, callback is ready", |payload| {
        on_runtime(&host, payload)
    })?;
    let host = runtime.block_on(WapcHost::builder(provider(engine)).build_async(echo_late))?;
    row(engine.name, "async, callback yields", |payload| {
        on_runtime(&host, payload)
    })
}

fn row(
    engine: &str,
    name: &str,
    measure: impl Fn(&[u8]) -> Result<u128, BoxError>,
) -> Result<(), BoxError> {
    print!("{engine:<10} {name:<26}");
    for host_calls in HOST_CALLS {
        print!(" {:>9}", measure(&payload(host_calls))?);
    }
    println!();
    Ok(())
}

/// The nanoseconds of one of `calls`, in the best round.
fn best(calls: u32, run: impl Fn() -> Result<(), BoxError>) -> Result<u128, BoxError> {
    let mut best = Duration::MAX;
    for _ in 0..ROUNDS {
        let begun = Instant::now();
        run()?;
        best = best.min(begun.elapsed());
    }
    Ok(best.as_nanos() / u128::from(calls))
}

/// What a store of wasmtime alone holds.
#[derive(Default)]
struct Raw {
    memory: Option<Memory>,
    payload: Vec<u8>,
    response: Vec<u8>,
    answer: Vec<u8>,
}

/// The same guest without a host, on an engine of the same settings.
fn raw(runtime: &Runtime, calls: u32) -> Result<(), BoxError> {
    let (store, guest_call) = runtime.block_on(raw_guest())?;
    let (store, guest_call) = (RefCell::new(store), &guest_call);
    row("wasmtime", "alone, call_async", |payload| {
        best(calls, || {
            let store = &mut *store.borrow_mut();
            runtime.block_on(async {
                for _ in 0..calls {
                    store.data_mut().payload.clear();
                    store.data_mut().payload.extend_from_slice(payload);
                    store.set_epoch_deadline(1);
                    let returned = guest_call.call_async(&mut *store, LENGTHS).await?;
                    assert_eq!(returned, 1);
                    assert_eq!(mem::take(&mut store.data_mut().response), payload);
                }
                Ok(())
            })
        })
    })
}

const LENGTHS: (i32, i32) = (4, 64);

type RawGuest = (Store<Raw>, TypedFunc<(i32, i32), i32>);

async fn raw_guest() -> Result<RawGuest, BoxError> {
    let mut config = Config::new();
    config.epoch_interruption(true);
    let engine = wasmtime::Engine::new(&config)?;
    let module = Module::from_binary(&engine, &wapc_host::module::binary(GUEST.as_bytes())?)?;
    let mut linker = Linker::new(&engine);
    linker.func_wrap(
        "wapc",
        "__guest_request",
        |mut caller: Caller<'_, Raw>, operation: i32, payload: i32| -> wasmtime::Result<()> {
            let (memory, data) = memory(&mut caller)?;
            write(memory, operation, OPERATION.as_bytes())?;
            write(memory, payload, &data.payload)
        },
    )?;
    linker.func_wrap(
        "wapc",
        "__guest_response",
        |mut caller: Caller<'_, Raw>, ptr: i32, len: i32| -> wasmtime::Result<()> {
            let (memory, data) = memory(&mut caller)?;
            data.response = read(memory, ptr, len)?.to_vec();
            Ok(())
        },
    )?;
    linker.func_wrap(
        "wapc",
        "__host_response",
        |mut caller: Caller<'_, Raw>, ptr: i32| -> wasmtime::Result<()> {
            let (memory, data) = memory(&mut caller)?;
            write(memory, ptr, &data.answer)
        },
    )?;
    linker.func_wrap_async(
        "wapc",
        "__host_call",
        |mut caller: Caller<'_, Raw>, numbers| {
            let (_, _, _, _, _, _, ptr, len): (i32, i32, i32, i32, i32, i32, i32, i32) = numbers;
            Box::new(async move {
                let (memory, data) = memory(&mut caller)?;
                data.answer = read(memory, ptr, len)?.to_vec();
                pause().await;
                wasmtime::Result::Ok(1)
            })
        },
    )?;
    let mut store = Store::new(&engine, Raw::default());
    store.set_epoch_deadline(1);
    store.epoch_deadline_async_yield_and_update(1);
    let instance = linker.instantiate_async(&mut store, &module).await?;
    store.data_mut().memory = instance.get_memory(&mut store, "memory");
    let guest_call = instance.get_typed_func(&mut store, "__guest_call")?;
    Ok((store, guest_call))
}

fn memory<'c>(caller: &'c mut Caller<'_, Raw>) -> wasmtime::Result<(&'c mut [u8], &'c mut Raw)> {
    let memory = caller.data().memory;
    let memory = memory.ok_or_else(|| wasmtime::Error::msg("no memory"))?;
    Ok(memory.data_and_store_mut(caller))
}

fn read(memory: &[u8], ptr: i32, len: i32) -> wasmtime::Result<&[u8]> {
    let (start, len) = (usize::try_from(ptr)?, usize::try_from(len)?);
    let bytes = memory.get(start..start.saturating_add(len));
    bytes.ok_or_else(|| wasmtime::Error::msg("out of bounds"))
}

fn write(memory: &mut [u8], ptr: i32, bytes: &[u8]) -> wasmtime::Result<()> {
    let start = usize::try_from(ptr)?;
    let place = memory.get_mut(start..start.saturating_add(bytes.len()));
    place
        .ok_or_else(|| wasmtime::Error::msg("out of bounds"))?
        .copy_from_slice(bytes);
    Ok(())
}

/// The longest time between two beats on the guest's thread.
fn heartbeat(engine: &Engine, runtime: &Runtime) -> Result<(), BoxError> {
    const BEAT: Duration = Duration::from_millis(5);
    const DEADLINE: Duration = Duration::from_millis(200);

    let text = wat("hostile/loop").ok_or("no such guest")?;
    let provider = engine.interruptible(text.as_bytes(), Interruption::Time);
    let host = WapcHost::new(provider, |_, _, _, _, _| Ok(vec![]))?;
    let beats = Rc::new(Cell::new((0_u32, Duration::ZERO)));
    let seen = Rc::clone(&beats);
    let took = LocalSet::new().block_on(runtime, async {
        let heart = tokio::task::spawn_local(async move {
            let mut every = interval(BEAT);
            every.set_missed_tick_behavior(MissedTickBehavior::Delay);
            let mut last = Instant::now();
            loop {
                every.tick().await;
                let (beats, worst) = seen.get();
                seen.set((beats + 1, worst.max(last.elapsed())));
                last = Instant::now();
            }
        });
        pause().await;
        let begun = Instant::now();
        let options = CallOptions::default().deadline(begun + DEADLINE);
        let ended = host.with(&options).call_async("bad", b"").await;
        assert!(ended.is_err(), "the guest loops for ever");
        heart.abort();
        begun.elapsed()
    });
    let (beats, worst) = beats.get();
    println!(
        "{:<10} {beats:>4} beats, the longest gap {:>7} us, the call ended after {} ms",
        engine.name,
        worst.as_micros(),
        took.as_millis()
    );
    Ok(())
}

/// Drops calls where they stand, and counts what they leave.
fn drop_many(engine: &Engine, runtime: &Runtime, calls: usize) -> Result<(), BoxError> {
    let counts = Counts::default();
    let builder = WapcHost::builder(counts.count(provider(engine)));
    let host = runtime.block_on(builder.max_instances(8).build_async(echo_late))?;
    let payload = payload(3);
    let mut context = Context::from_waker(Waker::noop());
    let mut ended = 0;
    let begun = Instant::now();
    for call in 0..calls {
        let mut future = pin!(host.call_async(OPERATION, &payload));
        for _ in 0..=call % 4 {
            if future.as_mut().poll(&mut context).is_ready() {
                ended += 1;
                break;
            }
        }
    }
    let took = begun.elapsed();
    let stats = host.stats();
    println!(
        "{:<10} {ended} had ended; live {}, idle {}, waiting {}; {} ns each",
        engine.name,
        stats.live,
        stats.idle,
        stats.waiting,
        took.as_nanos() / u128::try_from(calls.max(1))?
    );
    drop(host);
    println!(
        "{:<10} {} instances made, {} dropped",
        "",
        counts.made(),
        counts.dropped()
    );
    Ok(())
}
