//! Interruptible reads of the program's standard input.

use std::{
    collections::{HashMap, VecDeque},
    future::poll_fn,
    io::{self, Read},
    mem,
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError},
    task::{Poll, Waker},
    thread,
    time::Duration,
};

use wasi_common::Error;

use crate::interruptible_wait::InterruptibleWait;

/// A thread that reads from a source which may block for ever, so that no thread
/// that runs a guest is blocked.
///
/// It reads once per request. Input that arrives after its guest has stopped
/// waiting is kept for the next request.
pub(crate) struct StdinReader {
    state: Mutex<State>,
    requested: Condvar,
    arrived: Condvar,
}

#[derive(Default)]
struct State {
    requested: bool,
    /// The result of one read. An empty queue is the end of the input, reported
    /// to one reader.
    arrived: Option<io::Result<VecDeque<u8>>>,
    /// Futures that wait for input, by the number of each.
    wakers: HashMap<u64, Waker>,
    next_number: u64,
}

/// The most that is read at once.
const CHUNK_BYTES: usize = 64 * 1024;

impl StdinReader {
    pub(crate) fn start(mut source: impl Read + Send + 'static) -> io::Result<Arc<Self>> {
        let reader = Arc::new(Self {
            state: Mutex::default(),
            requested: Condvar::new(),
            arrived: Condvar::new(),
        });
        let on_thread = Arc::clone(&reader);
        thread::Builder::new()
            .name("wapc-stdin".to_owned())
            .spawn(move || {
                let mut chunk = vec![0; CHUNK_BYTES];
                loop {
                    on_thread.await_request();
                    let read = read_once(&mut source, &mut chunk);
                    on_thread.arrive(read);
                }
            })?;
        Ok(reader)
    }

    /// The locks are the standard library's: a forked process can use them.
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn arrive(&self, read: io::Result<VecDeque<u8>>) {
        let mut state = self.lock();
        state.arrived = Some(read);
        let wakers = mem::take(&mut state.wakers);
        drop(state);
        self.arrived.notify_all();
        wakers.into_values().for_each(Waker::wake);
    }

    fn await_request(&self) {
        let mut state = self.lock();
        while !state.requested || state.arrived.is_some() {
            let waited = self.requested.wait(state);
            state = waited.unwrap_or_else(PoisonError::into_inner);
        }
        state.requested = false;
    }

    /// Waits until input has arrived, at most for `timeout`.
    pub(crate) fn wait(&self, timeout: Duration) {
        let mut state = self.lock();
        if state.arrived.is_none() {
            state.requested = true;
            self.requested.notify_one();
            drop(self.arrived.wait_timeout(state, timeout));
        }
    }

    /// Waits until input has arrived.
    pub(crate) fn arrival(&self) -> impl Future<Output = ()> + Send {
        let mut waiting = None;
        poll_fn(move |context| {
            let mut state = self.lock();
            if state.arrived.is_some() {
                return Poll::Ready(());
            }
            state.requested = true;
            self.requested.notify_one();
            let Waiting { number, .. } = *waiting.get_or_insert_with(|| state.enqueue(self));
            // Of several waiters each asks for itself, and all are woken.
            let before = state.wakers.insert(number, context.waker().clone());
            drop(state);
            drop(before);
            Poll::Pending
        })
    }

    /// Reads into `buffer`, and waits for input if there is none.
    pub(crate) async fn read(
        &self,
        buffer: &mut [u8],
        wait: &InterruptibleWait,
    ) -> Result<usize, Error> {
        loop {
            wait.check()?;
            if let Some(arrived) = self.lock().read(buffer) {
                return Ok(arrived?);
            }
            match wait.awaits() {
                true => self.arrival().await,
                false => self.wait(wait.step(None)),
            }
        }
    }

    /// Returns whether a read would return at once.
    pub(crate) fn is_ready(&self) -> bool {
        self.lock().arrived.is_some()
    }

    /// Returns how many bytes can be read without waiting.
    pub(crate) fn ready_bytes(&self) -> usize {
        match &self.lock().arrived {
            Some(Ok(bytes)) => bytes.len(),
            _ => 0,
        }
    }
}

/// A future's place among those that wait for input, which it leaves when it is dropped.
struct Waiting<'r> {
    reader: &'r StdinReader,
    number: u64,
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        let waker = self.reader.lock().wakers.remove(&self.number);
        // Not under the lock: it is the executor's code.
        drop(waker);
    }
}

impl State {
    fn enqueue<'r>(&mut self, reader: &'r StdinReader) -> Waiting<'r> {
        let number = self.next_number;
        self.next_number += 1;
        Waiting { reader, number }
    }

    fn read(&mut self, buffer: &mut [u8]) -> Option<io::Result<usize>> {
        let mut bytes = match self.arrived.take()? {
            Ok(bytes) => bytes,
            Err(error) => return Some(Err(error)),
        };
        let read = bytes.read(buffer);
        if !bytes.is_empty() {
            self.arrived = Some(Ok(bytes));
        }
        Some(read)
    }
}

fn read_once(source: &mut impl Read, chunk: &mut [u8]) -> io::Result<VecDeque<u8>> {
    loop {
        match source.read(chunk) {
            Ok(read) => return Ok(chunk.iter().take(read).copied().collect()),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{
        io::Write,
        sync::atomic::{AtomicUsize, Ordering},
    };

    use std::{pin::pin, task::Context};

    use super::*;

    /// The result of a future that is not pending.
    fn at_once<T>(future: impl Future<Output = T>) -> T {
        match pin!(future).poll(&mut Context::from_waker(Waker::noop())) {
            Poll::Ready(result) => result,
            Poll::Pending => panic!("it is pending"),
        }
    }

    #[test]
    fn input_is_read_up_to_its_end() {
        let (source, mut sink) = io::pipe().unwrap();
        let reader = StdinReader::start(source).unwrap();
        let wait = InterruptibleWait::new(None);
        let mut buffer = [0; 4];

        sink.write_all(b"abcdef").unwrap();
        assert_eq!(at_once(reader.read(&mut buffer, &wait)).unwrap(), 4);
        assert_eq!((&buffer, reader.ready_bytes()), (b"abcd", 2));
        assert_eq!(at_once(reader.read(&mut buffer, &wait)).unwrap(), 2);
        drop(sink);
        for _ in 0..2 {
            assert_eq!(at_once(reader.read(&mut buffer, &wait)).unwrap(), 0);
        }
    }

    #[test]
    fn a_wait_that_is_given_up_leaves_no_waker() {
        let (source, _sink) = io::pipe().unwrap();
        let reader = StdinReader::start(source).unwrap();
        let context = &mut Context::from_waker(Waker::noop());
        let mut kept = pin!(reader.arrival());
        assert!(kept.as_mut().poll(context).is_pending());
        for _ in 0..3 {
            assert!(pin!(reader.arrival()).poll(context).is_pending());
        }
        assert!(kept.as_mut().poll(context).is_pending());
        assert_eq!(reader.lock().wakers.len(), 1);
    }

    #[test]
    fn a_read_from_a_silent_source_is_interrupted() {
        let (source, mut sink) = io::pipe().unwrap();
        let reader = StdinReader::start(source).unwrap();
        let asked = Arc::new(AtomicUsize::new(0));
        let counter = Arc::clone(&asked);
        let third_time: crate::InterruptCheck =
            Arc::new(move || match counter.fetch_add(1, Ordering::Relaxed) {
                2 => Err(wapc_host::error::StopReason::Cancelled),
                _ => Ok(()),
            });

        let mut buffer = [0; 4];
        at_once(reader.read(&mut buffer, &InterruptibleWait::new(Some(third_time)))).unwrap_err();
        assert_eq!(asked.load(Ordering::Relaxed), 3);

        // Late input is not lost.
        sink.write_all(b"late").unwrap();
        assert_eq!(
            at_once(reader.read(&mut buffer, &InterruptibleWait::new(None))).unwrap(),
            4
        );
        assert_eq!(&buffer, b"late");
    }
}
