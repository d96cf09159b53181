//! The watcher, its thread, and the guard that stops it.

use std::{
    fmt,
    hash::{DefaultHasher, Hash, Hasher},
    io,
    panic::{AssertUnwindSafe, catch_unwind},
    path::PathBuf,
    process,
    sync::{Arc, Weak},
    thread::{self, JoinHandle},
    time::{Duration, SystemTime},
};

use wapc_host::{Error, ModuleLimits, WapcHost, error::Report};

use crate::{
    changes::{ChangeDetector, FileStamp},
    read::read_file,
    stop_signal::StopSignal,
};

/// Swaps the code of a host whenever a file has new contents.
///
/// Configure it, then call [`start`](Self::start). The [crate's docs](crate) say
/// which changes are seen, and what happens to files that cannot be read.
///
/// ```
/// use std::{fs, sync::Arc};
///
/// use wapc_host::engine::scripted::ScriptedProvider;
/// use wapc_watch::ModuleWatcher;
///
/// # let directory = tempfile::tempdir()?;
/// # let path = directory.path().join("guest.wasm");
/// fs::write(&path, "module")?;
/// let host = Arc::new(ScriptedProvider::echo().host()?);
/// let guard = ModuleWatcher::new(&path).start(&host)?;
/// // Serve. The watcher stops when `guard` or the last `Arc` of the host is dropped.
/// assert_eq!(host.call("any", b"payload")?, b"payload");
/// # drop(guard);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct ModuleWatcher {
    path: PathBuf,
    interval: Duration,
    max_bytes: usize,
    swap: Box<SwapFn>,
    observer: Box<Observer>,
}

type SwapFn = dyn Fn(&WapcHost, &[u8]) -> Result<(), Error> + Send;

type Observer = dyn Fn(WatchEvent<'_>) + Send;

/// An event that a [`ModuleWatcher`] reports to its observer.
#[derive(Debug)]
#[non_exhaustive]
pub enum WatchEvent<'e> {
    /// The file had new contents, and the host runs them now.
    Swapped,
    /// The file had new contents, and the host refused them. The old code is
    /// still in service.
    Refused(&'e Error),
    /// The file had new contents, and the swap panicked. The old code is still in service.
    Panicked,
    /// The file cannot be read, is too long, or is no regular file. The old code is still in
    /// service.
    Unreadable(&'e io::Error),
}

impl ModuleWatcher {
    /// Creates a watcher of the file at `path`, which polls twice a second.
    ///
    /// The watcher takes the file's contents at [`start`](Self::start) for the
    /// code that the host runs, and does not swap them in.
    #[must_use]
    pub fn new(path: impl Into<PathBuf>) -> Self {
        Self {
            path: path.into(),
            interval: Duration::from_millis(500),
            max_bytes: ModuleLimits::default().max_bytes,
            swap: Box::new(WapcHost::replace_module),
            observer: Box::new(|_| {}),
        }
    }

    /// Sets the time between two polls. The default is 500 ms.
    ///
    /// A change is swapped in after one to two intervals, since the file must
    /// stay the same for one interval.
    #[must_use]
    pub const fn interval(mut self, interval: Duration) -> Self {
        self.interval = interval;
        self
    }

    /// Sets the greatest length of the file in bytes. The default is that of
    /// [`ModuleLimits`]: 128 MiB. A longer file is [`WatchEvent::Unreadable`], as is what is no
    /// regular file.
    #[must_use]
    pub const fn max_bytes(mut self, bytes: usize) -> Self {
        self.max_bytes = bytes;
        self
    }

    /// Sets the function that swaps new contents in. The default is
    /// [`WapcHost::replace_module`].
    ///
    /// It runs on the watcher's thread. An error is reported as
    /// [`WatchEvent::Refused`], a panic (of the host's callback in a start function, for
    /// example) as [`WatchEvent::Panicked`]; the old code is still in service, and the watcher
    /// goes on.
    ///
    /// ```
    /// use std::time::Duration;
    ///
    /// # let _watcher =
    /// wapc_watch::ModuleWatcher::new("guest.wasm")
    ///     .swap(|host, module| host.swap().drain(Duration::from_secs(5)).module(module));
    /// ```
    #[must_use]
    pub fn swap(
        mut self,
        swap: impl Fn(&WapcHost, &[u8]) -> Result<(), Error> + Send + 'static,
    ) -> Self {
        self.swap = Box::new(swap);
        self
    }

    /// Sets the function that is called with each [`WatchEvent`].
    ///
    /// It runs on the watcher's thread, and delays the next poll while it runs. After a
    /// panic the watcher goes on.
    ///
    /// ```
    /// use wapc_watch::{ModuleWatcher, WatchEvent};
    ///
    /// let _watcher = ModuleWatcher::new("guest.wasm").observer(|event| match event {
    ///     WatchEvent::Swapped => println!("new code is in service"),
    ///     WatchEvent::Refused(error) => eprintln!("the module is refused: {error}"),
    ///     WatchEvent::Unreadable(error) => eprintln!("the file cannot be read: {error}"),
    ///     _ => {}
    /// });
    /// ```
    #[must_use]
    pub fn observer(mut self, observer: impl Fn(WatchEvent<'_>) + Send + 'static) -> Self {
        self.observer = Box::new(observer);
        self
    }

    /// Starts to watch for `host`, on a thread of its own.
    ///
    /// The thread holds a weak reference to the host between polls, and ends
    /// when the host is dropped.
    ///
    /// # Errors
    ///
    /// If the file cannot be read now, or the thread cannot be spawned.
    pub fn start(self, host: &Arc<WapcHost>) -> io::Result<WatchGuard> {
        let (contents, _) = read_file(&self.path, self.max_bytes)?;
        let current = hash(&contents);
        let stop = Arc::new(StopSignal::default());
        let (host, thread_stop) = (Arc::downgrade(host), Arc::clone(&stop));
        let thread = thread::Builder::new()
            .name("wapc-watch".to_owned())
            .spawn(move || self.run(&host, &thread_stop, current))?;
        Ok(WatchGuard {
            stop,
            thread: Some(thread),
            process: process::id(),
        })
    }

    fn run(&self, host: &Weak<WapcHost>, stop: &StopSignal, mut current: u64) {
        let mut detector = ChangeDetector::new(FileStamp::read(&self.path).ok());
        while !stop.wait_timeout(self.interval) {
            let Some(host) = host.upgrade() else {
                return;
            };
            let Some(module) = self.poll(&mut detector) else {
                continue;
            };
            let new = hash(&module);
            if new == current {
                continue;
            }
            current = new;
            match catching(|| (self.swap)(&host, &module)) {
                Some(Ok(())) => self.report(WatchEvent::Swapped),
                Some(Err(error)) => self.report(WatchEvent::Refused(&error)),
                None => self.report(WatchEvent::Panicked),
            }
            // The last owner of the host may be this thread, and its callback may panic when it
            // is dropped.
            catching(|| drop(host));
        }
    }

    /// Returns the file's contents if they are complete and may be new.
    fn poll(&self, detector: &mut ChangeDetector) -> Option<Vec<u8>> {
        let stamp = match FileStamp::read(&self.path) {
            Ok(stamp) => stamp,
            Err(error) => {
                if detector.record_missing() {
                    self.report(WatchEvent::Unreadable(&error));
                }
                return None;
            }
        };
        if !detector.record(stamp) {
            return None;
        }
        let (module, read) = match read_file(&self.path, self.max_bytes) {
            Ok(read) => read,
            Err(error) => {
                detector.record_unreadable(stamp);
                self.report(WatchEvent::Unreadable(&error));
                return None;
            }
        };
        // A write during the read: the contents may be of two versions.
        if FileStamp::of(&read) != stamp || FileStamp::read(&self.path).ok() != Some(stamp) {
            return None;
        }
        detector.record_read(stamp, SystemTime::now());
        Some(module)
    }

    fn report(&self, event: WatchEvent<'_>) {
        // The program's logger and its observer may panic.
        catching(|| {
            let path = self.path.display();
            match &event {
                WatchEvent::Swapped => log::info!("swapped to the new contents of `{path}`"),
                WatchEvent::Refused(error) => {
                    let error = error.report();
                    log::warn!("the new contents of `{path}` are refused: {error}");
                }
                WatchEvent::Panicked => {
                    log::error!("the swap to the new contents of `{path}` has panicked");
                }
                WatchEvent::Unreadable(error) => {
                    log::warn!("`{path}` cannot be read: {}", Report::new(*error));
                }
            }
        });
        catching(|| (self.observer)(event));
    }
}

/// Runs code that may be the program's. Returns `None` after a panic, which the panic hook has
/// reported.
fn catching<T>(work: impl FnOnce() -> T) -> Option<T> {
    let caught = catch_unwind(AssertUnwindSafe(work));
    caught
        .map_err(|payload| {
            // The payload's own drop may panic as well; a second one's is left alone.
            if let Err(another) = catch_unwind(AssertUnwindSafe(|| drop(payload))) {
                #[expect(
                    clippy::mem_forget,
                    reason = "its drop may panic again, and so on for ever"
                )]
                std::mem::forget(another);
            }
        })
        .ok()
}

impl fmt::Debug for ModuleWatcher {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ModuleWatcher")
            .field("path", &self.path)
            .field("interval", &self.interval)
            .finish_non_exhaustive()
    }
}

/// Stops the watcher when it is dropped.
///
/// The drop waits for a swap that has begun. Dropped on the watcher's own thread,
/// in its observer for example, it does not wait.
#[derive(Debug)]
#[must_use = "the watcher stops when the guard is dropped"]
pub struct WatchGuard {
    stop: Arc<StopSignal>,
    thread: Option<JoinHandle<()>>,
    /// The process that has the thread: a forked one has not.
    process: u32,
}

impl Drop for WatchGuard {
    fn drop(&mut self) {
        self.stop.set();
        // A thread that joins itself would deadlock: the observer may own the
        // guard, and so may the last owner of the host.
        if let Some(thread) = self.thread.take()
            && thread.thread().id() != thread::current().id()
            && self.process == process::id()
        {
            // The panic hook has reported a panic of the observer already.
            _ = thread.join();
        }
    }
}

fn hash(contents: &[u8]) -> u64 {
    let mut hasher = DefaultHasher::new();
    contents.hash(&mut hasher);
    hasher.finish()
}

#[cfg(test)]
mod tests {
    use std::{fs, sync::mpsc};

    use super::*;
    use wapc_host::engine::scripted::ScriptedProvider;

    #[test]
    fn new_contents_are_swapped_in_and_bad_ones_are_refused() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("guest");
        fs::write(&path, b"first").unwrap();
        let host = Arc::new(
            ScriptedProvider::new(|guest, _, _| guest.respond(b"first"))
                .host()
                .unwrap(),
        );
        let (sender, events) = mpsc::channel();
        let guard = ModuleWatcher::new(&path)
            .interval(Duration::from_millis(2))
            .observer(move |event| sender.send(format!("{event:?}")).unwrap())
            .start(&host)
            .unwrap();
        let next = || events.recv_timeout(Duration::from_secs(60)).unwrap();

        fs::write(&path, b"bad").unwrap();
        assert!(next().starts_with("Refused"));
        assert_eq!(host.call("x", b"y").unwrap(), b"first");

        fs::remove_file(&path).unwrap();
        assert!(next().starts_with("Unreadable"));

        let beside = dir.path().join("new");
        fs::write(&beside, b"echo").unwrap();
        fs::rename(&beside, &path).unwrap();
        assert_eq!(next(), "Swapped");
        assert_eq!(host.call("x", b"y").unwrap(), b"y");

        fs::write(&path, b"echo").unwrap();
        fs::write(&path, b"bad").unwrap();
        assert!(
            next().starts_with("Refused"),
            "the same contents are not swapped in again"
        );
        drop(guard);
        assert!(events.recv().is_err(), "the watcher has stopped");
        assert_eq!(host.generation(), 2);
    }

    #[test]
    fn an_observer_may_drop_the_guard_of_its_watcher() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("guest");
        fs::write(&path, b"first").unwrap();
        let host = Arc::new(ScriptedProvider::echo().host().unwrap());
        let (give, given) = mpsc::channel::<WatchGuard>();
        let (sender, dropped) = mpsc::channel();
        let guard = ModuleWatcher::new(&path)
            .interval(Duration::from_millis(2))
            .observer(move |_| {
                drop(given.recv().unwrap());
                sender.send(()).unwrap();
            })
            .start(&host)
            .unwrap();
        give.send(guard).unwrap();
        fs::write(&path, b"echo").unwrap();
        dropped.recv_timeout(Duration::from_secs(60)).unwrap();
        assert!(dropped.recv().is_err(), "the watcher has stopped");
    }

    /// Starts a watcher of `path` whose events go to the receiver.
    fn watch(watcher: ModuleWatcher, host: &Arc<WapcHost>) -> (WatchGuard, impl Fn() -> String) {
        let (sender, events) = mpsc::channel();
        let guard = watcher
            .interval(Duration::from_millis(2))
            .observer(move |event| {
                sender.send(format!("{event:?}")).unwrap();
                panic!("an observer may panic");
            })
            .start(host)
            .unwrap();
        (guard, move || {
            events.recv_timeout(Duration::from_secs(60)).unwrap()
        })
    }

    #[test]
    fn panics_of_the_program_do_not_end_the_watcher() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("guest");
        fs::write(&path, b"first").unwrap();
        let host = Arc::new(ScriptedProvider::echo().host().unwrap());
        let watcher = ModuleWatcher::new(&path).swap(|host, module| match module {
            b"panic" => panic!("a swap may panic"),
            module => host.replace_module(module),
        });
        let (_guard, next) = watch(watcher, &host);
        fs::write(&path, b"panic").unwrap();
        assert_eq!(next(), "Panicked");
        assert_eq!(host.call("x", b"y").unwrap(), b"y");
        fs::write(&path, b"echo").unwrap();
        assert_eq!(next(), "Swapped");
    }

    #[test]
    #[cfg(unix)]
    fn what_takes_the_files_place_has_an_answer() {
        use std::{fs::File, os::unix::fs::symlink, process::Command, time::SystemTime};

        let dir = tempfile::tempdir().unwrap();
        let (path, beside) = (dir.path().join("guest"), dir.path().join("new"));
        let put = |contents: &[u8]| {
            fs::write(&beside, contents).unwrap();
            // As in reproducible images: each file has the same time, and these the same length.
            let file = File::open(&beside).unwrap();
            file.set_modified(SystemTime::UNIX_EPOCH + Duration::from_secs(1))
                .unwrap();
            fs::rename(&beside, &path).unwrap();
        };
        put(b"bad1");
        let host = Arc::new(ScriptedProvider::echo().host().unwrap());
        let (guard, next) = watch(ModuleWatcher::new(&path).max_bytes(100), &host);
        put(b"echo");
        assert_eq!(next(), "Swapped");

        symlink("/dev/zero", &beside).unwrap();
        fs::rename(&beside, &path).unwrap();
        assert!(next().contains("not a regular file"));
        assert!(
            Command::new("mkfifo")
                .arg(&beside)
                .status()
                .unwrap()
                .success()
        );
        fs::rename(&beside, &path).unwrap();
        assert!(next().contains("not a regular file"));
        put(&[7; 101]);
        assert!(next().contains("more than 100 bytes"));
        put(b"echO");
        assert!(next().starts_with("Refused"));
        drop(guard);
    }
}
