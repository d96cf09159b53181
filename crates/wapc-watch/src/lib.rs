//! Hot reload for [`wapc_host`]: swaps the code of a [`WapcHost`] whenever the
//! file of its module has new contents.
//!
//! A [`ModuleWatcher`] polls one file from a thread of its own. New contents go
//! through [`WapcHost::replace_module`], so calls continue during the swap, and
//! a module that is refused leaves the old code in service.
//!
//! ```
//! use std::{fs, sync::{Arc, mpsc}, time::Duration};
//!
//! use wapc_host::engine::scripted::ScriptedProvider;
//! use wapc_watch::{ModuleWatcher, WatchEvent};
//!
//! # let directory = tempfile::tempdir()?;
//! # let path = directory.path().join("guest");
//! // A guest whose code is a closure. A real program builds its host from the
//! // provider of an engine, and from the contents of `path`.
//! fs::write(&path, "old")?;
//! let host = Arc::new(ScriptedProvider::new(|guest, _, _| guest.respond(b"old")).host()?);
//!
//! let (sender, events) = mpsc::channel();
//! let guard = ModuleWatcher::new(&path)
//!     .interval(Duration::from_millis(5))
//!     .observer(move |event| {
//!         sender.send(matches!(event, WatchEvent::Swapped)).ok();
//!     })
//!     .start(&host)?;
//! assert_eq!(host.call("any", b"new")?, b"old");
//!
//! // A scripted provider accepts the module `echo`, and refuses all others.
//! fs::write(&path, "echo")?;
//! assert!(events.recv()?, "the host runs the new contents");
//! assert_eq!(host.call("any", b"new")?, b"new");
//!
//! drop(guard); // stops the thread
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! # Which changes are seen
//!
//! Every [`interval`](ModuleWatcher::interval) the watcher compares the file's
//! time of modification and its length with those of the last poll. Polling
//! works on every file system and for every way to write a file: in place, by
//! renaming, and through symbolic links that are moved.
//!
//! The watcher reads a file only after its metadata has been the same for one
//! interval, so that half-written modules are not read. Contents with the same
//! hash as the last ones are not swapped.
//!
//! # Failures
//!
//! A file that cannot be read, or a module that is refused, changes nothing: the
//! old code stays in service, the [`observer`](ModuleWatcher::observer) gets a
//! [`WatchEvent`], and a warning is logged through [`log`].
//!
//! # Swaps with conditions
//!
//! [`ModuleWatcher::swap`] replaces `replace_module` by a function of yours. The
//! usual reason is [`Swap::probe`](wapc_host::Swap::probe), which tries the new
//! code before it serves:
//!
//! ```
//! # use std::{fs, sync::{Arc, mpsc}, time::Duration};
//! # use wapc_host::engine::scripted::ScriptedProvider;
//! # use wapc_watch::{ModuleWatcher, WatchEvent};
//! # let directory = tempfile::tempdir()?;
//! # let path = directory.path().join("guest");
//! # fs::write(&path, "old")?;
//! # let host = Arc::new(ScriptedProvider::new(|guest, _, _| guest.respond(b"old")).host()?);
//! # let (sender, events) = mpsc::channel();
//! let guard = ModuleWatcher::new(&path)
//! #   .interval(Duration::from_millis(5))
//!     .swap(|host, module| {
//!         host.swap()
//!             .probe(|candidate| match candidate.call("health", b"")?.as_slice() {
//!                 b"ok" => Ok(()),
//!                 _ => Err("not healthy".into()),
//!             })
//!             .module(module)
//!     })
//! #   .observer(move |event| { sender.send(matches!(event, WatchEvent::Refused(_))).ok(); })
//!     .start(&host)?;
//!
//! fs::write(&path, "echo")?; // answers "health" with an empty response
//! # assert!(events.recv()?);
//! # drop(guard);
//! assert_eq!(host.call("any", b"new")?, b"old", "the old code is still in service");
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! [`WapcHost`]: wapc_host::WapcHost
//! [`WapcHost::replace_module`]: wapc_host::WapcHost::replace_module

#![forbid(unsafe_code)]

mod changes;
mod read;
mod stop_signal;
mod watcher;

pub use watcher::{ModuleWatcher, WatchEvent, WatchGuard};

/// The example in the README compiles.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
