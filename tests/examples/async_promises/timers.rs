//! The delay of an executor's timers and sockets beside guests.

use std::{
    io::{Read, Write},
    net::{TcpListener, TcpStream},
    sync::{Arc, mpsc},
    thread,
    time::{Duration, Instant},
};

use conformance::{
    Capability::{AnyModule, Async, Time},
    Engine, engines,
};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use wapc_host::{BoxError, BoxFuture, CallOptions, WapcHost};

use super::provider;

/// The time between two beats of a timer.
const BEAT: Duration = Duration::from_millis(5);

/// The number of beats, and of round trips of a socket.
const BEATS: usize = 100;

/// Prints a row for each engine, executor and kind of guest.
pub(super) fn show() -> Result<(), BoxError> {
    println!("\na timer of 5 ms, and a round trip over a socket, beside guests: how late, in us");
    println!(
        "{:<10} {:<24} {:<10} {:>14} {:>14} {:>14} {:>14}",
        "engine", "executor", "guests", "timer median", "timer worst", "socket median", "worst"
    );
    for executor in EXECUTORS {
        for guests in executor.guests {
            row("-", executor, 0, "none", &[])?;
            for engine in engines(&[AnyModule, Async, Time]) {
                let hosts = hosts(engine, "hostile/loop", *guests)?;
                row(engine.name, executor, *guests, "looping", &hosts)?;
            }
        }
    }
    Ok(())
}

/// Returns hosts of a guest each.
fn hosts(engine: &Engine, guest: &str, guests: usize) -> Result<Vec<Arc<WapcHost>>, BoxError> {
    let host = || -> Result<_, BoxError> {
        let guest = provider(engine, guest)?;
        Ok(Arc::new(WapcHost::new(guest, |_, _, _, _, _| Ok(vec![]))?))
    };
    (0..guests).map(|_| host()).collect()
}

fn row(
    engine: &str,
    executor: &Executor,
    guests: usize,
    kind: &str,
    hosts: &[Arc<WapcHost>],
) -> Result<(), BoxError> {
    let calls = hosts.iter().map(Arc::clone).map(call).collect();
    let mut late = (executor.run)(calls)?;
    let (timer, timer_worst) = median_and_worst(&mut late.timer);
    let (socket, socket_worst) = median_and_worst(&mut late.socket);
    println!(
        "{engine:<10} {:<24} {:<10} {timer:>14} {timer_worst:>14} {socket:>14} {socket_worst:>14}",
        executor.name,
        format!("{guests} {kind}")
    );
    Ok(())
}

/// A guest that computes for as long as the beats take.
fn call(host: Arc<WapcHost>) -> BoxFuture<'static, ()> {
    Box::pin(async move {
        let time = 4 * BEAT * u32::try_from(BEATS).unwrap_or(u32::MAX);
        let options = CallOptions::default().timeout(time);
        drop(host.with(&options).call_async("bad", b"").await);
    })
}

/// The delay of each beat and each round trip.
#[derive(Default)]
struct Late {
    timer: Vec<Duration>,
    socket: Vec<Duration>,
}

fn median_and_worst(late: &mut [Duration]) -> (u128, u128) {
    late.sort_unstable();
    let at = |index: usize| late.get(index).map_or(0, Duration::as_micros);
    (at(late.len() / 2), at(late.len().saturating_sub(1)))
}

/// An executor with its timers and sockets.
struct Executor {
    name: &'static str,
    /// Numbers of guests.
    guests: &'static [usize],
    /// Runs the calls as tasks of their own beside the beats.
    run: fn(Vec<BoxFuture<'static, ()>>) -> Result<Late, BoxError>,
}

const EXECUTORS: &[Executor] = &[
    Executor {
        name: "tokio, one thread",
        guests: &[1, 4],
        run: |calls| {
            let mut runtime = tokio::runtime::Builder::new_current_thread();
            on_tokio(&runtime.enable_all().build()?, calls)
        },
    },
    Executor {
        name: "tokio, two workers",
        guests: &[2, 4],
        run: |calls| {
            let mut runtime = tokio::runtime::Builder::new_multi_thread();
            on_tokio(&runtime.worker_threads(2).enable_all().build()?, calls)
        },
    },
    Executor {
        name: "smol, one thread",
        guests: &[1, 4],
        run: on_smol,
    },
    Executor {
        name: "block_on and a thread",
        guests: &[1, 4],
        run: on_block_on,
    },
];

/// Measures how late `beat` is, again and again.
async fn beats<F: Future>(beat: impl Fn(Duration) -> F) -> Vec<Duration> {
    let mut late = Vec::with_capacity(BEATS);
    for _ in 0..BEATS {
        let due = Instant::now() + BEAT;
        beat(BEAT).await;
        late.push(due.elapsed());
    }
    late
}

/// Starts a thread that echoes bytes of one connection.
fn echo_server() -> Result<std::net::SocketAddr, BoxError> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let address = listener.local_addr()?;
    thread::spawn(move || -> std::io::Result<()> {
        let (mut peer, _) = listener.accept()?;
        peer.set_nodelay(true)?;
        let mut byte = [0];
        while peer.read(&mut byte)? > 0 {
            peer.write_all(&byte)?;
        }
        Ok(())
    });
    Ok(address)
}

fn on_tokio(
    runtime: &tokio::runtime::Runtime,
    calls: Vec<BoxFuture<'static, ()>>,
) -> Result<Late, BoxError> {
    let stream = TcpStream::connect(echo_server()?)?;
    stream.set_nodelay(true)?;
    stream.set_nonblocking(true)?;
    runtime.block_on(async {
        let calls: Vec<_> = calls.into_iter().map(tokio::spawn).collect();
        let mut stream = tokio::net::TcpStream::from_std(stream)?;
        let timer = tokio::spawn(beats(tokio::time::sleep));
        let socket = tokio::spawn(async move {
            let mut late = Vec::with_capacity(BEATS);
            for _ in 0..BEATS {
                let began = Instant::now();
                stream.write_all(b"x").await?;
                stream.read_exact(&mut [0]).await?;
                late.push(began.elapsed());
            }
            Ok::<_, std::io::Error>(late)
        });
        let late = Late {
            timer: timer.await?,
            socket: socket.await??,
        };
        calls.iter().for_each(|call| call.abort());
        Ok(late)
    })
}

fn on_smol(calls: Vec<BoxFuture<'static, ()>>) -> Result<Late, BoxError> {
    use smol::io::{AsyncReadExt, AsyncWriteExt};

    let address = echo_server()?;
    let executor = smol::LocalExecutor::new();
    smol::block_on(executor.run(async {
        let calls: Vec<_> = calls.into_iter().map(|call| executor.spawn(call)).collect();
        let timer = executor.spawn(beats(smol::Timer::after));
        let mut stream = smol::net::TcpStream::connect(address).await?;
        stream.set_nodelay(true)?;
        let mut late = Vec::with_capacity(BEATS);
        for _ in 0..BEATS {
            let began = Instant::now();
            stream.write_all(b"x").await?;
            stream.read_exact(&mut [0]).await?;
            late.push(began.elapsed());
        }
        let late = Late {
            timer: timer.await,
            socket: late,
        };
        drop(calls);
        Ok(late)
    }))
}

/// An executor that knows nothing but wakers: a thread wakes its timer.
fn on_block_on(calls: Vec<BoxFuture<'static, ()>>) -> Result<Late, BoxError> {
    let (ask, asked) = mpsc::channel::<(Duration, Arc<smol::lock::Semaphore>)>();
    thread::spawn(move || {
        for (time, told) in asked {
            thread::sleep(time);
            told.add_permits(1);
        }
    });
    let executor = smol::LocalExecutor::new();
    // This thread parks between polls: no reactor, no timers.
    let timer = smol::future::block_on(executor.run(async {
        let calls: Vec<_> = calls.into_iter().map(|call| executor.spawn(call)).collect();
        let late = beats(|time| {
            let told = Arc::new(smol::lock::Semaphore::new(0));
            drop(ask.send((time, Arc::clone(&told))));
            async move { drop(told.acquire_arc().await) }
        })
        .await;
        drop(calls);
        late
    }));
    Ok(Late {
        timer,
        socket: Vec::new(),
    })
}
