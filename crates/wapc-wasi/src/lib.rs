//! WASI preview 1, and the older `wasi_unstable`, for the guests of
//! [`wapc_host`]: one implementation, so that a guest gets the same answer and
//! the same errno on every engine. For engines; this crate knows none.
//!
//! An instance of a guest that imports WASI has a [`Wasi`], made from
//! [`WasiSettings`]. Each function of WASI is a function here, in
//! [`preview1`] or [`unstable`], which takes the [`Wasi`], the guest's memory
//! as bytes and the numbers that the guest passed. [`for_each_function`] lists
//! them for an engine to link.
//!
//! ```
//! use wapc_host::WasiSettings;
//! use wapc_wasi::{Wasi, preview1};
//!
//! let settings = WasiSettings::new().arg("guest").arg("--verbose");
//! let mut wasi = Wasi::new(&settings, 64, None)?;
//!
//! let mut memory = vec![0; 65536];
//! let errno = preview1::args_sizes_get(&mut wasi, &mut memory, 0, 4)?;
//! assert_eq!((errno, &memory[..8]), (0, &[2, 0, 0, 0, 16, 0, 0, 0][..]));
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! What a guest can rely on beyond the standard:
//!
//! - A pointer that leaves the memory is answered by errno 21 (`fault`), a
//!   misaligned one by 28 (`inval`).
//! - One call reads or writes at most 16 MiB, from at most 1,024 vectors, and
//!   says how much it was.
//! - A path has at most 4,095 bytes, a poll at most 1,024 subscriptions.
//! - A FIFO or a socket in a mapped directory cannot be opened.
//!
//! The files are those of [`wasi_common`], which uses [cap-std] for its
//! sandbox. No function needs a runtime for asynchronous code, and each may be
//! called within one.
//!
//! [cap-std]: https://docs.rs/cap-std

#![forbid(unsafe_code)]

mod ended;
mod feed;
mod functions;
mod guarded;
mod input;
mod mapped_dir;
mod open_files;
mod output;
mod poll;
mod sched;
#[cfg(test)]
mod tests;
mod waits;

use std::{fmt, sync::Arc};

use wapc_host::{EngineError, ModuleState, Stdin, Stdout, WasiSettings};
use wasi_common::{
    StringArrayError, Table, WasiCtx,
    sync::{Dir, ambient_authority, clocks_ctx, dir, random_ctx},
};

pub use ended::Ended;
pub use functions::{preview1, unstable};
pub use waits::MayGoOn;

use crate::{
    input::Input, mapped_dir::MappedDir, open_files::OpenFiles, output::Output, sched::Sched,
    waits::Waits,
};

/// What one instance of a guest has of the outside world.
pub struct Wasi {
    context: WasiCtx,
}

impl Wasi {
    /// What `settings` grant to a fresh instance whose guest has `state`, and
    /// is under its limits. For engines.
    ///
    /// # Errors
    ///
    /// As [`Wasi::new`].
    pub fn for_guest(
        settings: &WasiSettings,
        state: &mut ModuleState,
    ) -> Result<Self, EngineError> {
        let monitor = state.monitor();
        let may_go_on: MayGoOn = Arc::new(move || monitor.check());
        Self::new(settings, state.limits().max_open_files, Some(may_go_on))
    }

    /// What `settings` grant, for a fresh instance: the directories are
    /// opened, and input that was given as bytes is at its beginning.
    ///
    /// The guest may have `max_open_files` open besides. `may_go_on` is asked,
    /// by the thread that runs the guest, at least every 5 ms while the guest
    /// sleeps, polls or waits for the program's standard input; without it, it
    /// may wait for ever.
    ///
    /// # Errors
    ///
    /// [`EngineError::Directory`] for a directory that cannot be opened, and
    /// [`EngineError::Other`] for arguments or an environment past 4 GiB.
    pub fn new(
        settings: &WasiSettings,
        max_open_files: usize,
        may_go_on: Option<MayGoOn>,
    ) -> Result<Self, EngineError> {
        let waits = Waits::new(may_go_on);
        let sched = Box::new(Sched::new(waits.clone()));
        let mut context = WasiCtx::new(random_ctx(), clocks_ctx(), sched, Table::new());

        let too_long = |error: StringArrayError| EngineError::Other(error.into());
        for arg in &settings.args {
            context.push_arg(arg).map_err(too_long)?;
        }
        for (name, value) in &settings.env {
            context.push_env(name, value).map_err(too_long)?;
        }

        context.set_stdin(Box::new(match &settings.stdin {
            Stdin::Inherited => Input::inherited(waits),
            Stdin::Bytes(bytes) => Input::bytes(bytes),
            _ => Input::bytes(&[].into()),
        }));
        context.set_stdout(Box::new(match &settings.stdout {
            Stdout::Inherited => Output::Stdout,
            Stdout::Captured(capture) => Output::Captured(capture.clone()),
            _ => Output::Closed,
        }));
        context.set_stderr(Box::new(match &settings.stderr {
            Stdout::Inherited => Output::Stderr,
            Stdout::Captured(capture) => Output::Captured(capture.clone()),
            _ => Output::Closed,
        }));

        let open_files = OpenFiles::new(max_open_files);
        for mapped in &settings.dirs {
            let opened = Dir::open_ambient_dir(&mapped.host, ambient_authority())
                .map_err(|error| mapped.unusable(error))?;
            let opened = Box::new(dir::Dir::from_cap_std(opened));
            let dir = MappedDir::new(opened, mapped.access, open_files.clone());
            context
                .push_preopened_dir(Box::new(dir), &mapped.guest)
                .map_err(|error| mapped.unusable(error.to_string()))?;
        }
        Ok(Self { context })
    }
}

impl fmt::Debug for Wasi {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Wasi").finish_non_exhaustive()
    }
}

/// The example in the README compiles.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
