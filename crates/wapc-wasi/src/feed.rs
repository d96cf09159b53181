//! Reads that can be given up.

use std::{
    collections::VecDeque,
    io::{self, Read},
    sync::Arc,
    thread,
    time::Duration,
};

use parking_lot::{Condvar, Mutex};
use wasi_common::Error;

use crate::waits::Waits;

/// A thread of its own that reads from a source which may keep it waiting for
/// ever, so that no thread that runs a guest does.
///
/// It reads once each time somebody asks. What comes for a guest that has
/// stopped waiting is kept for the next that asks.
pub(crate) struct Feed {
    state: Mutex<State>,
    asked: Condvar,
    arrived: Condvar,
}

#[derive(Default)]
struct State {
    asked: bool,
    /// What one read brought; no bytes mean the end, for one asker.
    arrived: Option<io::Result<VecDeque<u8>>>,
}

/// How much is read at once.
const CHUNK_BYTES: usize = 64 * 1024;

impl Feed {
    pub(crate) fn start(mut source: impl Read + Send + 'static) -> io::Result<Arc<Self>> {
        let feed = Arc::new(Self {
            state: Mutex::default(),
            asked: Condvar::new(),
            arrived: Condvar::new(),
        });
        let reader = Arc::clone(&feed);
        thread::Builder::new()
            .name("wapc-stdin".to_owned())
            .spawn(move || {
                let mut chunk = vec![0; CHUNK_BYTES];
                loop {
                    reader.await_request();
                    let read = read_once(&mut source, &mut chunk);
                    reader.state.lock().arrived = Some(read);
                    reader.arrived.notify_all();
                }
            })?;
        Ok(feed)
    }

    fn await_request(&self) {
        let mut state = self.state.lock();
        while !state.asked || state.arrived.is_some() {
            self.asked.wait(&mut state);
        }
        state.asked = false;
    }

    /// Waits until something has arrived, or for `longest`.
    pub(crate) fn wait(&self, longest: Duration) {
        let mut state = self.state.lock();
        if state.arrived.is_none() {
            state.asked = true;
            self.asked.notify_one();
            self.arrived.wait_for(&mut state, longest);
        }
    }

    /// Reads what has arrived into `buffer`, and waits for it if need be.
    pub(crate) fn read(&self, buffer: &mut [u8], waits: &Waits) -> Result<usize, Error> {
        loop {
            waits.check()?;
            if let Some(arrived) = self.state.lock().read(buffer) {
                return Ok(arrived?);
            }
            self.wait(waits.slice(None));
        }
    }

    /// Whether a read would not wait.
    pub(crate) fn is_ready(&self) -> bool {
        self.state.lock().arrived.is_some()
    }

    /// How many bytes can be read without waiting.
    pub(crate) fn ready_bytes(&self) -> usize {
        match &self.state.lock().arrived {
            Some(Ok(bytes)) => bytes.len(),
            _ => 0,
        }
    }
}

impl State {
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

    use super::*;

    #[test]
    fn what_comes_is_handed_on_up_to_the_end() {
        let (source, mut sink) = io::pipe().unwrap();
        let feed = Feed::start(source).unwrap();
        let waits = Waits::new(None);
        let mut buffer = [0; 4];

        sink.write_all(b"abcdef").unwrap();
        assert_eq!(feed.read(&mut buffer, &waits).unwrap(), 4);
        assert_eq!((&buffer, feed.ready_bytes()), (b"abcd", 2));
        assert_eq!(feed.read(&mut buffer, &waits).unwrap(), 2);
        drop(sink);
        for _ in 0..2 {
            assert_eq!(feed.read(&mut buffer, &waits).unwrap(), 0);
        }
    }

    #[test]
    fn a_silent_source_keeps_nobody_who_is_interrupted() {
        let (source, mut sink) = io::pipe().unwrap();
        let feed = Feed::start(source).unwrap();
        let asked = Arc::new(AtomicUsize::new(0));
        let counter = Arc::clone(&asked);
        let third_time: crate::MayGoOn =
            Arc::new(move || match counter.fetch_add(1, Ordering::Relaxed) {
                2 => Err(wapc_host::StopReason::Cancelled),
                _ => Ok(()),
            });

        let mut buffer = [0; 4];
        feed.read(&mut buffer, &Waits::new(Some(third_time)))
            .unwrap_err();
        assert_eq!(asked.load(Ordering::Relaxed), 3);

        // What comes too late is not lost.
        sink.write_all(b"late").unwrap();
        assert_eq!(feed.read(&mut buffer, &Waits::new(None)).unwrap(), 4);
        assert_eq!(&buffer, b"late");
    }
}
