//! Swapping when a module's file changes.

use std::{
    fmt, fs,
    hash::{DefaultHasher, Hash, Hasher},
    io,
    path::PathBuf,
    sync::{Arc, Weak},
    thread::{self, JoinHandle},
    time::{Duration, SystemTime},
};

use parking_lot::{Condvar, Mutex};

use wapc_host::{Error, WapcHost};

/// Swaps a host's code whenever a file has new contents.
///
/// It looks at the file from time to time, which works on every file system
/// and for every way to write a file: in place, by renaming, through symbolic
/// links that are moved. A file that has just changed is left alone until it
/// has been still for one interval, so that half-written modules are not read.
/// Contents that are the same as before are not swapped.
///
/// A file that cannot be read, or whose module is refused, changes nothing:
/// the observer hears of it, a warning is logged, and the old code serves on.
///
/// ```no_run
/// # use std::sync::Arc;
/// use wapc_watch::ModuleWatch;
///
/// # fn example(host: Arc<wapc_host::WapcHost>) -> std::io::Result<()> {
/// let watching = ModuleWatch::new("guest.wasm").start(&host)?;
/// // … serve; the watch ends with `watching`, or with the host …
/// # drop(watching);
/// # Ok(())
/// # }
/// ```
pub struct ModuleWatch {
    path: PathBuf,
    interval: Duration,
    swap: Box<SwapIn>,
    observer: Box<Observer>,
}

/// Swaps new contents in.
type SwapIn = dyn Fn(&WapcHost, &[u8]) -> Result<(), Error> + Send;

type Observer = dyn Fn(WatchEvent<'_>) + Send;

/// What a [`ModuleWatch`] has seen.
#[derive(Debug)]
#[non_exhaustive]
pub enum WatchEvent<'e> {
    /// The file had new contents, and the host runs them now.
    Swapped,
    /// The file had new contents, and the host refused them.
    Refused(&'e Error),
    /// The file cannot be read.
    Unreadable(&'e io::Error),
}

impl ModuleWatch {
    /// Watches the file at `path`, every half second.
    ///
    /// The contents that it has when the watch starts are taken for what the
    /// host runs.
    #[must_use]
    pub fn new(path: impl Into<PathBuf>) -> Self {
        Self {
            path: path.into(),
            interval: Duration::from_millis(500),
            swap: Box::new(WapcHost::replace_module),
            observer: Box::new(|_| {}),
        }
    }

    /// How often to look, and for how long a file must have been still. By
    /// default half a second.
    #[must_use]
    pub const fn interval(mut self, interval: Duration) -> Self {
        self.interval = interval;
        self
    }

    /// What to do with new contents, in place of
    /// [`WapcHost::replace_module`]: a swap with a probe, for example.
    #[must_use]
    pub fn swap(
        mut self,
        swap: impl Fn(&WapcHost, &[u8]) -> Result<(), Error> + Send + 'static,
    ) -> Self {
        self.swap = Box::new(swap);
        self
    }

    /// Who hears of what the watch has seen, on the watch's thread.
    #[must_use]
    pub fn observer(mut self, observer: impl Fn(WatchEvent<'_>) + Send + 'static) -> Self {
        self.observer = Box::new(observer);
        self
    }

    /// Starts to watch for `host`, on a thread of its own.
    ///
    /// # Errors
    ///
    /// The file cannot be read now, or the system refuses the thread.
    pub fn start(self, host: &Arc<WapcHost>) -> io::Result<Watching> {
        let known = hash(&fs::read(&self.path)?);
        let stop = Arc::new(Stop::default());
        let (host, stopped) = (Arc::downgrade(host), Arc::clone(&stop));
        let thread = thread::Builder::new()
            .name("wapc-watch".to_owned())
            .spawn(move || self.run(&host, &stopped, known))?;
        Ok(Watching {
            stop,
            thread: Some(thread),
        })
    }

    fn run(&self, host: &Weak<WapcHost>, stop: &Stop, known: u64) {
        let mut contents = known;
        let mut looks = Looks {
            seen: self.stamp().ok(),
            read: None,
        };
        while !stop.wait(self.interval) {
            let Some(host) = host.upgrade() else {
                return;
            };
            let stamp = match self.stamp() {
                Ok(stamp) => stamp,
                Err(error) => {
                    if looks.missed() {
                        self.report(WatchEvent::Unreadable(&error));
                    }
                    continue;
                }
            };
            if !looks.is_to_be_read(stamp) {
                continue;
            }
            let module = match fs::read(&self.path) {
                Ok(module) => module,
                Err(error) => {
                    looks.read = Some(stamp);
                    self.report(WatchEvent::Unreadable(&error));
                    continue;
                }
            };
            if self.stamp().ok() != Some(stamp) {
                continue;
            }
            looks.read = stamp.is_settled(SystemTime::now()).then_some(stamp);
            let new = hash(&module);
            if new == contents {
                continue;
            }
            contents = new;
            match (self.swap)(&host, &module) {
                Ok(()) => self.report(WatchEvent::Swapped),
                Err(error) => self.report(WatchEvent::Refused(&error)),
            }
        }
    }

    fn report(&self, event: WatchEvent<'_>) {
        let path = self.path.display();
        match &event {
            WatchEvent::Swapped => log::info!("`{path}` has new contents, which serve now"),
            WatchEvent::Refused(error) => {
                log::warn!("the new contents of `{path}` are refused: {error}");
            }
            WatchEvent::Unreadable(error) => log::warn!("`{path}` cannot be read: {error}"),
        }
        (self.observer)(event);
    }

    fn stamp(&self) -> io::Result<Stamp> {
        let metadata = fs::metadata(&self.path)?;
        Ok(Stamp {
            modified: metadata.modified().ok(),
            length: metadata.len(),
        })
    }
}

impl fmt::Debug for ModuleWatch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ModuleWatch")
            .field("path", &self.path)
            .field("interval", &self.interval)
            .finish_non_exhaustive()
    }
}

/// A watch at work, until it is dropped.
#[derive(Debug)]
#[must_use = "the watch ends when this is dropped"]
pub struct Watching {
    stop: Arc<Stop>,
    thread: Option<JoinHandle<()>>,
}

impl Drop for Watching {
    /// Ends the watch; waits for a swap that it has begun, unless it is the
    /// observer of that which drops it.
    fn drop(&mut self) {
        self.stop.stop();
        // The watch's own thread, in its observer or as the last that holds the
        // host, cannot wait for itself.
        if let Some(thread) = self.thread.take()
            && thread.thread().id() != thread::current().id()
        {
            // A panic of the observer was its thread's end, and is shown there.
            _ = thread.join();
        }
    }
}

/// What of a file's metadata changes with its contents.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Stamp {
    modified: Option<SystemTime>,
    length: u64,
}

impl Stamp {
    /// Whether a further write would show in the stamp: some file systems keep
    /// times to the second or two only.
    fn is_settled(&self, now: SystemTime) -> bool {
        self.modified
            .and_then(|modified| now.duration_since(modified).ok())
            .is_some_and(|age| age > COARSEST_TIME)
    }
}

/// What the looks at a file have shown.
struct Looks {
    /// The stamp at the last look; none if the file was not there.
    seen: Option<Stamp>,
    /// The stamp of the contents that were read last, if other contents would
    /// have another.
    read: Option<Stamp>,
}

impl Looks {
    /// Takes a look, and says whether to read the file: it has been still since
    /// the look before, and may have contents that are not known.
    fn is_to_be_read(&mut self, stamp: Stamp) -> bool {
        let still = self.seen.replace(stamp) == Some(stamp);
        still && self.read != Some(stamp)
    }

    /// Takes a look that finds no file, and says whether to tell of it: once
    /// for each time that it goes missing.
    const fn missed(&mut self) -> bool {
        self.seen.take().is_some()
    }
}

const COARSEST_TIME: Duration = Duration::from_secs(3);

fn hash(contents: &[u8]) -> u64 {
    let mut hasher = DefaultHasher::new();
    contents.hash(&mut hasher);
    hasher.finish()
}

#[derive(Debug, Default)]
struct Stop {
    stopped: Mutex<bool>,
    told: Condvar,
}

impl Stop {
    fn stop(&self) {
        *self.stopped.lock() = true;
        self.told.notify_all();
    }

    /// Waits for up to `time`. Returns whether it is over.
    fn wait(&self, time: Duration) -> bool {
        let mut stopped = self.stopped.lock();
        if !*stopped {
            self.told.wait_for(&mut stopped, time);
        }
        *stopped
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use super::*;
    use wapc_host::engine::scripted::ScriptedProvider;

    #[test]
    fn new_contents_are_swapped_in_and_bad_ones_are_not() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("guest");
        fs::write(&path, b"first").unwrap();
        let host = Arc::new(
            ScriptedProvider::new(|guest, _, _| guest.respond(b"first"))
                .host()
                .unwrap(),
        );
        let (tell, told) = mpsc::channel();
        let watching = ModuleWatch::new(&path)
            .interval(Duration::from_millis(2))
            .observer(move |event| tell.send(format!("{event:?}")).unwrap())
            .start(&host)
            .unwrap();
        let next = || told.recv_timeout(Duration::from_secs(60)).unwrap();

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
            "and no swap to what runs already"
        );
        drop(watching);
        assert!(told.recv().is_err(), "the watch is over");
        assert_eq!(host.generation(), 2);
    }

    #[test]
    fn a_file_is_read_once_it_is_still_and_again_until_a_write_would_show() {
        let now = SystemTime::UNIX_EPOCH + Duration::from_secs(100);
        let stamp = |age, length| Stamp {
            modified: now.checked_sub(Duration::from_secs(age)),
            length,
        };
        let (part, more, whole) = (stamp(10, 1), stamp(10, 2), stamp(9, 2));
        let mut looks = Looks {
            seen: Some(stamp(20, 7)),
            read: None,
        };
        assert!(!looks.is_to_be_read(part), "it has just changed");
        assert!(!looks.is_to_be_read(more), "it has grown");
        assert!(!looks.is_to_be_read(whole), "it was written again");
        assert!(looks.is_to_be_read(whole));
        assert!(looks.is_to_be_read(whole), "it was not read");
        looks.read = Some(whole);
        assert!(!looks.is_to_be_read(whole));

        assert!(looks.missed());
        assert!(!looks.missed(), "it was told already");
        assert!(!looks.is_to_be_read(part), "it is back");
        assert!(looks.is_to_be_read(part));

        assert!(stamp(4, 1).is_settled(now));
        assert!(!stamp(2, 1).is_settled(now), "another write may not show");
        assert!(!stamp(0, 1).is_settled(now - Duration::from_secs(9)));
    }

    #[test]
    fn an_observer_may_end_its_own_watch() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("guest");
        fs::write(&path, b"first").unwrap();
        let host = Arc::new(ScriptedProvider::echo().host().unwrap());
        let (give, given) = mpsc::channel::<Watching>();
        let (tell, told) = mpsc::channel();
        let watching = ModuleWatch::new(&path)
            .interval(Duration::from_millis(2))
            .observer(move |_| {
                drop(given.recv().unwrap());
                tell.send(()).unwrap();
            })
            .start(&host)
            .unwrap();
        give.send(watching).unwrap();
        fs::write(&path, b"echo").unwrap();
        told.recv_timeout(Duration::from_secs(60)).unwrap();
        assert!(told.recv().is_err(), "the watch is over");
    }
}
