//! Commands whose input and output are streams.

use std::{
    future::ready,
    io::{self, Read, Write},
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use conformance::{
    Capability::{Async, Time},
    Engine, SHORT, chain, pause,
};
use parking_lot::Mutex;
use wapc_dialects::{
    AsyncStreams, Options, StreamError, Streaming, Streams, adapt, call_streaming,
};
use wapc_host::{
    BoxError, CallOptions, Error, HostBuilder, HostCall, HostCallback, Limits, OwnedHostCall,
    WapcHost, WasiSettings,
};

use crate::{Case, async_calls::on_a_runtime};

pub(crate) fn cases() -> Vec<Case> {
    vec![
        Case::new("copies", copies),
        Case::new("failures", failures),
        Case::new("without_streams", without_streams),
        Case::new("panics", panics),
        Case::new("time", time).needs(&[Time]),
        Case::new("async", copies_async).needs(&[Async]),
    ]
}

const CAT: &str = include_str!("dialects/cat.wat");

/// The most bytes that are read and not yet written: one chunk.
const MOST_AHEAD: usize = 64 << 10;

fn builder(engine: &Engine, streams: bool) -> HostBuilder {
    let options = Options::new().streams(streams).validates(true);
    let guest = adapt(CAT.as_bytes(), &options);
    let guest = guest.unwrap_or_else(|error| panic!("{}", chain(&error)));
    let provider = engine.provider(&guest.binary, WasiSettings::new());
    let provider = provider.unwrap_or_else(|error| panic!("{}", chain(&error)));
    WapcHost::builder(provider).limits(engine.enforceable(Limits::default()))
}

struct Refusing;

impl HostCallback for Refusing {
    fn call(&self, _: HostCall<'_>, _: &mut Vec<u8>) -> Result<(), BoxError> {
        Err("no such operation".into())
    }
}

fn host(engine: &Engine) -> WapcHost {
    let host = builder(engine, true).build_with(Streaming::new(Refusing));
    host.unwrap_or_else(|error| panic!("{}", chain(&error)))
}

fn input() -> Vec<u8> {
    (0..=u8::MAX).cycle().take(1_000_003).collect()
}

/// Both ends of a stream.
#[derive(Clone, Default)]
struct Pipe {
    input: Arc<Mutex<Vec<u8>>>,
    read: Arc<AtomicUsize>,
    output: Arc<Mutex<Vec<u8>>>,
}

impl Pipe {
    fn new(input: Vec<u8>) -> Self {
        Self {
            input: Arc::new(Mutex::new(input)),
            ..Self::default()
        }
    }

    /// Takes at most so many bytes, sometimes fewer.
    fn next(&self, most: usize) -> Vec<u8> {
        let mut input = self.input.lock();
        let read = self.read.load(Ordering::Relaxed);
        let bytes = most.min(input.len()).min(1 + read % 90_001);
        self.read.store(read + bytes, Ordering::Relaxed);
        input.drain(..bytes).collect()
    }

    fn append(&self, bytes: &[u8]) {
        let mut output = self.output.lock();
        let ahead = self.read.load(Ordering::Relaxed) - output.len();
        assert!(ahead <= MOST_AHEAD, "{ahead} bytes were read ahead");
        output.extend(bytes);
    }
}

impl Read for Pipe {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let bytes = self.next(buffer.len());
        buffer
            .get_mut(..bytes.len())
            .expect("no more was asked for")
            .copy_from_slice(&bytes);
        Ok(bytes.len())
    }
}

impl Write for Pipe {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let bytes = bytes.get(..bytes.len().min(50_000)).unwrap_or_default();
        self.append(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn copies(engine: &Engine) {
    let host = host(engine);
    for bytes in [vec![], b"one".to_vec(), input()] {
        let pipe = Pipe::new(bytes.clone());
        call_streaming(&host, "any", pipe.clone(), pipe.clone()).expect("it copies");
        assert!(*pipe.output.lock() == bytes);
        // A call without streams, of the same guest.
        assert!(host.call("any", &bytes).expect("it copies") == bytes);
    }
}

struct Failing;

impl Read for Failing {
    fn read(&mut self, _: &mut [u8]) -> io::Result<usize> {
        Err(io::Error::other("no more"))
    }
}

impl Write for Failing {
    fn write(&mut self, _: &[u8]) -> io::Result<usize> {
        Err(io::Error::other("full"))
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn failures(engine: &Engine) {
    let host = host(engine);
    for _ in 0..2 {
        let failed = call_streaming(&host, "any", Failing, io::sink());
        assert!(matches!(failed, Err(StreamError::Read(_))), "{failed:?}");
        let failed = call_streaming(&host, "any", &b"text"[..], Failing);
        assert!(matches!(failed, Err(StreamError::Write(_))), "{failed:?}");
        call_streaming(&host, "any", &b"text"[..], io::sink()).expect("it copies");
    }
}

fn without_streams(engine: &Engine) {
    let adapted_without = builder(engine, false).build_with(Streaming::new(Refusing));
    let not_wrapped = builder(engine, true).build_with(Refusing);
    for host in [adapted_without, not_wrapped] {
        let host = host.unwrap_or_else(|error| panic!("{}", chain(&error)));
        let failed = call_streaming(&host, "any", &b"text"[..], io::sink());
        assert!(
            matches!(failed, Err(StreamError::NotStreamed)),
            "{failed:?}"
        );
        assert_eq!(host.call("any", b"text").expect("it copies"), b"text");
    }
}

fn panics(engine: &Engine) {
    struct Panicking;

    impl Read for Panicking {
        fn read(&mut self, _: &mut [u8]) -> io::Result<usize> {
            panic!("the reader panics")
        }
    }

    let host = host(engine);
    let call = || call_streaming(&host, "any", Panicking, io::sink());
    assert!(catch_unwind(AssertUnwindSafe(call)).is_err());
    call_streaming(&host, "any", &b"text"[..], io::sink()).expect("it copies");
}

fn time(engine: &Engine) {
    let host = host(engine);
    let endless = Streams::new(io::repeat(7), io::sink());
    let ended = endless
        .options(CallOptions::default().timeout(SHORT))
        .call(&host, "any");
    assert!(
        matches!(ended, Err(StreamError::Call(Error::TimedOut { .. }))),
        "{ended:?}"
    );
}

fn copies_async(engine: &Engine) {
    on_a_runtime(async {
        let callback = |_: OwnedHostCall| async { Err("no such operation".into()) };
        let host = builder(engine, true).build_async_with(Streaming::new(callback));
        let host = host
            .await
            .unwrap_or_else(|error| panic!("{}", chain(&error)));
        for bytes in [vec![], b"one".to_vec(), input()] {
            let pipe = Pipe::new(bytes.clone());
            let (reader, writer) = (pipe.clone(), pipe.clone());
            let streams = AsyncStreams::new(
                move |most| {
                    let reader = reader.clone();
                    async move {
                        pause().await;
                        Ok(reader.next(most))
                    }
                },
                move |bytes| {
                    let writer = writer.clone();
                    async move {
                        pause().await;
                        writer.append(&bytes);
                        Ok(())
                    }
                },
            );
            streams.call(&host, "any").await.expect("it copies");
            assert!(*pipe.output.lock() == bytes);
        }

        let full = || ready(Err(io::Error::other("full")));
        let failed = AsyncStreams::new(|_| ready(Ok(vec![1])), move |_| full());
        let failed = failed.call(&host, "any").await;
        assert!(matches!(failed, Err(StreamError::Write(_))), "{failed:?}");
        let too_much = AsyncStreams::new(|most| ready(Ok(vec![0; most + 1])), |_| ready(Ok(())));
        let failed = too_much.call(&host, "any").await;
        assert!(matches!(failed, Err(StreamError::Read(_))), "{failed:?}");
    });
}
