//! Standard input and output of a WASI command as streams.
//!
//! The kernel of a command that was adapted with `Options::streams` asks its host, at its beginning,
//! whether the call is streamed. If it is, it asks for more input when the command reads, and hands on
//! what the command writes, by host calls of which the guest awaits each.

use std::{
    fmt,
    future::Future,
    io::{self, Read, Write},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use thiserror::Error as ThisError;
use wapc_host::{
    AsyncHostCallback, BoxError, BoxFuture, CallOptions, Error, HostCall, HostCallback,
    OwnedHostCall, WapcHost,
};

/// The binding of a streamed command's host calls.
const BINDING: &str = "wapc:streams";

/// The names of its host calls, one after the other, as the kernel has them in its memory.
pub(crate) const NAMES: &str = "wapc:streamsopenreadwrite";

/// The most bytes that one host call moves.
const MAX_CHUNK: usize = 64 << 10;

/// Calls a WASI command that reads `reader` and writes to `writer` while it runs.
///
/// The short form of [`Streams`], which says what this needs.
///
/// # Errors
///
/// Those of [`Streams::call`].
pub fn call_streaming(
    host: &WapcHost,
    operation: &str,
    reader: impl Read + Send + 'static,
    writer: impl Write + Send + 'static,
) -> Result<(), StreamError> {
    Streams::new(reader, writer).call(host, operation)
}

/// Standard input and output of one call of a WASI command, as streams.
///
/// The command must be adapted with [`Options::streams`](crate::Options::streams), and the host's
/// callback wrapped in [`Streaming`]. The command's reads then wait for the reader, and its writes for
/// the writer, on the thread that runs it: neither side is ahead of the other by more than 64 KiB, and
/// memory does not grow with what is streamed. The call's limits hold as for any call; time spent in
/// reader and writer is the call's.
///
/// ```
/// use std::io::{self, Write};
/// use provider_wasmi::WasmiEngineProvider;
/// use wapc_dialects::{Adapting, Options, Streaming, Streams};
/// use wapc_host::{HostCall, WapcHost};
///
/// // Copies its input to its output, 1,000 bytes at a time.
/// let cat = br#"(module
///     (import "wasi_snapshot_preview1" "fd_read"
///         (func $read (param i32 i32 i32 i32) (result i32)))
///     (import "wasi_snapshot_preview1" "fd_write"
///         (func $write (param i32 i32 i32 i32) (result i32)))
///     (memory (export "memory") 1)
///     (func (export "_start")
///         (i32.store (i32.const 0) (i32.const 16))
///         (loop $more
///             (i32.store (i32.const 4) (i32.const 1000))
///             (drop (call $read (i32.const 0) (i32.const 0) (i32.const 1) (i32.const 4)))
///             (drop (call $write (i32.const 1) (i32.const 0) (i32.const 1) (i32.const 8)))
///             (br_if $more (i32.load (i32.const 4))))))"#;
///
/// let adapting = Adapting::new(
///     |module: &[u8]| Ok(Box::new(WasmiEngineProvider::new(module)?)),
///     Options::new().streams(true),
/// );
/// let callback = Streaming::new(|_: u64, _: &str, _: &str, _: &str, _: &[u8]| {
///     Err("no such operation".into())
/// });
/// let host = WapcHost::with_callback(Box::new(adapting.load(cat)?), callback)?;
///
/// let (mut answers, output) = io::pipe()?;
/// let (input, mut questions) = io::pipe()?;
/// std::thread::scope(|scope| {
///     let call = scope.spawn(|| Streams::new(input, output).call(&host, "any"));
///     for text in ["hello", "again"] {
///         let mut answer = [0; 5];
///         questions.write_all(text.as_bytes())?;
///         io::Read::read_exact(&mut answers, &mut answer)?;
///         assert_eq!(answer, text.as_bytes());
///     }
///     drop(questions);
///     call.join().unwrap()?;
///     Ok::<(), Box<dyn std::error::Error>>(())
/// })?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct Streams {
    ends: Ends,
    options: CallOptions,
}

/// [`Streams`] of an async host: reading and writing are futures.
///
/// ```
/// use std::sync::{Arc, Mutex};
/// use wapc_dialects::AsyncStreams;
///
/// let mut input = vec![b"hello ".to_vec(), b"world".to_vec()].into_iter();
/// let output = Arc::new(Mutex::new(vec![]));
/// let collected = Arc::clone(&output);
/// let streams = AsyncStreams::new(
///     move |_most| {
///         let next = input.next().unwrap_or_default();
///         async move { Ok(next) }
///     },
///     move |bytes: Vec<u8>| {
///         let output = Arc::clone(&output);
///         async move {
///             output.lock().unwrap().extend(bytes);
///             Ok(())
///         }
///     },
/// );
/// // streams.call(&host, "any").await?;
/// # drop(streams);
/// ```
pub struct AsyncStreams {
    ends: AsyncEnds,
    options: CallOptions,
}

/// The reason why a streamed call failed.
#[derive(Debug, ThisError)]
#[non_exhaustive]
pub enum StreamError {
    /// The reader failed. The command saw errno 29 (`io`).
    #[error("the input of the command cannot be read")]
    Read(#[source] io::Error),
    /// The writer failed. The command saw errno 29 (`io`).
    #[error("the output of the command cannot be written")]
    Write(#[source] io::Error),
    /// The call failed, and neither reader nor writer did.
    #[error(transparent)]
    Call(#[from] Error),
    /// The guest has not asked for its streams: it was called without input, and its response is
    /// discarded.
    #[error(
        "the guest does not stream: adapt a WASI command with `Options::streams`, \
         and wrap the host's callback in `Streaming`"
    )]
    NotStreamed,
}

impl Streams {
    /// Takes the input from `reader`, and gives the output to `writer`.
    pub fn new(reader: impl Read + Send + 'static, writer: impl Write + Send + 'static) -> Self {
        Self {
            ends: Ends {
                shared: Shared::default(),
                reader: Mutex::new(Box::new(reader)),
                writer: Mutex::new(Box::new(writer)),
            },
            options: CallOptions::default(),
        }
    }

    /// Sets the options of the call. Its [`context`](CallOptions::context) is the streams' own and is
    /// ignored here.
    #[must_use]
    pub fn options(mut self, options: CallOptions) -> Self {
        self.options = options;
        self
    }

    /// Calls the guest, and returns when it has ended. The writer is flushed then; both are dropped.
    ///
    /// # Errors
    ///
    /// [`StreamError::Read`] and [`StreamError::Write`] if reader or writer failed, even if the command
    /// ended well; else [`StreamError::Call`] with any error of a call, or
    /// [`StreamError::NotStreamed`].
    pub fn call(self, host: &WapcHost, operation: &str) -> Result<(), StreamError> {
        let ends = Arc::new(self.ends);
        let mut options = self.options;
        options.context = Some(Arc::clone(&ends) as _);
        let called = host.with(&options).call(operation, b"");
        if called.is_ok()
            && let Err(error) = lock(&ends.writer).flush()
        {
            ends.shared.fail(StreamError::Write(error));
        }
        ends.shared.result(called)
    }
}

impl AsyncStreams {
    /// Takes the input from `read`, which gives at most so many bytes, none at the end; and gives the
    /// output to `write`. Each is asked again when its future has ended.
    pub fn new<R, W>(
        mut read: impl FnMut(usize) -> R + Send + 'static,
        mut write: impl FnMut(Vec<u8>) -> W + Send + 'static,
    ) -> Self
    where
        R: Future<Output = io::Result<Vec<u8>>> + Send + 'static,
        W: Future<Output = io::Result<()>> + Send + 'static,
    {
        Self {
            ends: AsyncEnds {
                shared: Shared::default(),
                read: Mutex::new(Box::new(move |most| Box::pin(read(most)))),
                write: Mutex::new(Box::new(move |bytes| Box::pin(write(bytes)))),
            },
            options: CallOptions::default(),
        }
    }

    /// Sets the options of the call. Its [`context`](CallOptions::context) is the streams' own and is
    /// ignored here.
    #[must_use]
    pub fn options(mut self, options: CallOptions) -> Self {
        self.options = options;
        self
    }

    /// Calls the guest, whose host must have an async callback.
    ///
    /// # Errors
    ///
    /// Those of [`Streams::call`].
    pub async fn call(self, host: &WapcHost, operation: &str) -> Result<(), StreamError> {
        let ends = Arc::new(self.ends);
        let mut options = self.options;
        options.context = Some(Arc::clone(&ends) as _);
        let called = host.with(&options).call_async(operation, vec![]).await;
        ends.shared.result(called)
    }
}

impl fmt::Debug for Streams {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Streams")
            .field("options", &self.options)
            .finish_non_exhaustive()
    }
}

impl fmt::Debug for AsyncStreams {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AsyncStreams")
            .field("options", &self.options)
            .finish_non_exhaustive()
    }
}

/// A host callback that answers streamed commands, and passes all other calls on.
///
/// [`Streams`] has an example.
#[derive(Clone, Debug)]
pub struct Streaming<C>(C);

impl<C> Streaming<C> {
    /// Wraps a callback, blocking or async.
    pub const fn new(callback: C) -> Self {
        Self(callback)
    }
}

impl<C: HostCallback> HostCallback for Streaming<C> {
    fn call(&self, call: HostCall<'_>, response: &mut Vec<u8>) -> Result<(), BoxError> {
        if call.binding != BINDING {
            return self.0.call(call, response);
        }
        let ends = call.context::<Ends>().ok_or(NOT_STREAMED)?;
        match call.operation {
            "open" => {
                ends.shared.open();
                response.push(1);
            }
            "read" => {
                response.resize(wanted(call.payload)?, 0);
                match read(&ends.reader, response) {
                    Ok(bytes) => response.truncate(bytes),
                    Err(error) => return Err(ends.shared.fail(StreamError::Read(error))),
                }
            }
            "write" => {
                if let Err(error) = lock(&ends.writer).write_all(call.payload) {
                    return Err(ends.shared.fail(StreamError::Write(error)));
                }
            }
            other => return Err(unknown(other)),
        }
        Ok(())
    }
}

impl<C: AsyncHostCallback> AsyncHostCallback for Streaming<C> {
    fn call(&self, call: OwnedHostCall) -> BoxFuture<'static, Result<Vec<u8>, BoxError>> {
        if call.binding() != BINDING {
            return self.0.call(call);
        }
        Box::pin(async move {
            let ends = call.context::<AsyncEnds>().ok_or(NOT_STREAMED)?;
            match call.operation() {
                "open" => {
                    ends.shared.open();
                    Ok(vec![1])
                }
                "read" => {
                    let most = wanted(call.payload())?;
                    let next = lock(&ends.read)(most);
                    match next.await {
                        Ok(bytes) if bytes.len() > most => {
                            let error = format!("{} bytes were read of {most}", bytes.len());
                            let error = io::Error::new(io::ErrorKind::InvalidData, error);
                            Err(ends.shared.fail(StreamError::Read(error)))
                        }
                        Ok(bytes) => Ok(bytes),
                        Err(error) => Err(ends.shared.fail(StreamError::Read(error))),
                    }
                }
                "write" => {
                    let written = lock(&ends.write)(call.payload().to_vec());
                    match written.await {
                        Ok(()) => Ok(vec![]),
                        Err(error) => Err(ends.shared.fail(StreamError::Write(error))),
                    }
                }
                other => Err(unknown(other)),
            }
        })
    }
}

const NOT_STREAMED: &str = "this call is not streamed";

fn unknown(operation: &str) -> BoxError {
    format!("streams have no operation `{operation}`").into()
}

/// The context of a streamed call.
struct Ends {
    shared: Shared,
    reader: Mutex<Box<dyn Read + Send>>,
    writer: Mutex<Box<dyn Write + Send>>,
}

/// The context of a streamed call of an async host.
struct AsyncEnds {
    shared: Shared,
    read: Mutex<Box<StartRead>>,
    write: Mutex<Box<StartWrite>>,
}

type StartRead = dyn FnMut(usize) -> BoxFuture<'static, io::Result<Vec<u8>>> + Send;
type StartWrite = dyn FnMut(Vec<u8>) -> BoxFuture<'static, io::Result<()>> + Send;

#[derive(Default)]
struct Shared(Mutex<Outcome>);

#[derive(Default)]
struct Outcome {
    is_open: bool,
    failure: Option<StreamError>,
}

impl Shared {
    fn open(&self) {
        lock(&self.0).is_open = true;
    }

    /// Keeps the first failure for the caller, and returns the text for the command.
    fn fail(&self, error: StreamError) -> BoxError {
        let text = error.to_string();
        lock(&self.0).failure.get_or_insert(error);
        text.into()
    }

    fn result(&self, called: Result<Vec<u8>, Error>) -> Result<(), StreamError> {
        let mut outcome = lock(&self.0);
        match (outcome.failure.take(), called) {
            (Some(failure), _) => Err(failure),
            (None, Err(error)) => Err(error.into()),
            (None, Ok(_)) if !outcome.is_open => Err(StreamError::NotStreamed),
            (None, Ok(_)) => Ok(()),
        }
    }
}

/// Locks what only one call uses. A reader or writer that has panicked is asked again.
fn lock<T: ?Sized>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Returns how many bytes a command asks for.
fn wanted(payload: &[u8]) -> Result<usize, BoxError> {
    let bytes = payload.try_into().map_err(|_| "a read has four bytes")?;
    let wanted = u32::from_le_bytes(bytes);
    Ok(usize::try_from(wanted).unwrap_or(MAX_CHUNK).min(MAX_CHUNK))
}

fn read(reader: &Mutex<Box<dyn Read + Send>>, buffer: &mut [u8]) -> io::Result<usize> {
    loop {
        match lock(reader).read(buffer) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            // A reader must not say that it has read more.
            read => return read.map(|bytes| bytes.min(buffer.len())),
        }
    }
}
