//! WASI preview 1, and the older `wasi_unstable`, for the guests of
//! [`wapc_host`].
//!
//! This is one implementation for all engines, so that a guest gets the same
//! result and the same errno on each. It is for authors of engines; programs
//! that call guests need only [`WasiSettings`].
//!
//! An instance of a guest that imports WASI owns a [`Wasi`], made from
//! [`WasiSettings`]. Each function of WASI is a function in [`preview1`] or
//! [`unstable`]. It takes the [`Wasi`], the guest's memory as bytes, and the
//! numbers that the guest passed. [`for_each_function`] lists them for an engine
//! to link.
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
//! # Limits
//!
//! A guest can rely on these rules beyond the standard:
//!
//! - A pointer outside the memory gives errno 21 (`fault`), a misaligned one 28
//!   (`inval`).
//! - One call reads or writes at most 16 MiB, from at most 1,024 vectors, and
//!   reports how many bytes it transferred.
//! - A path has at most 4,095 bytes, a poll at most 1,024 subscriptions.
//! - FIFOs and sockets in a mapped directory cannot be opened.
//!
//! # Implementation
//!
//! Files come from [`wasi_common`], which uses [cap-std] for its sandbox. Sleeps,
//! polls, standard streams and limits are implemented here. No function needs an
//! async runtime, and each may be called within one.
//!
//! [cap-std]: https://docs.rs/cap-std

#![forbid(unsafe_code)]

mod bounds;
mod functions;
mod guarded;
mod input;
mod interruptible_wait;
mod mapped_dir;
mod memory_dir;
mod no_return;
mod open_files;
mod output;
mod poll;
mod read_dir;
mod sched;
mod stdin_reader;
#[cfg(test)]
mod tests;

use std::{fmt, sync::Arc};

use wapc_host::{
    ModuleState, WasiSettings,
    engine::CallMonitor,
    error::EngineError,
    wasi::{Stdin, Stdout},
};
use wasi_common::{
    StringArrayError, Table, WasiCtx,
    sync::{Dir, ambient_authority, clocks_ctx, dir, random_ctx},
};

pub use functions::{preview1, preview1_async, unstable, unstable_async};
pub use interruptible_wait::InterruptCheck;
pub use no_return::NoReturn;

use crate::{
    input::Input,
    interruptible_wait::InterruptibleWait,
    mapped_dir::MappedDir,
    memory_dir::{MemoryDir, Tree},
    open_files::OpenFiles,
    output::Output,
    sched::Sched,
};

/// The WASI context of one instance: its arguments, environment, streams and open
/// files.
pub struct Wasi {
    context: WasiCtx,
    wait: InterruptibleWait,
    /// `None` if the context was made without a guest's state.
    monitor: Option<CallMonitor>,
}

impl Wasi {
    /// Creates the context of a new guest instance, with the limits and the
    /// interruption of `state`.
    ///
    /// # Errors
    ///
    /// The same as [`Wasi::new`].
    pub fn for_guest(
        settings: &WasiSettings,
        state: &mut ModuleState,
    ) -> Result<Self, EngineError> {
        let monitor = state.monitor();
        let checked = monitor.clone();
        let interrupt_check: InterruptCheck = Arc::new(move || checked.check());
        let max_open_files = state.limits().max_open_files;
        let wasi = Self::new(settings, max_open_files, Some(interrupt_check))?;
        Ok(Self {
            monitor: Some(monitor),
            ..wasi
        })
    }

    /// Creates a context with everything that `settings` grant: opens the mapped
    /// directories, and rewinds input that was given as bytes.
    ///
    /// The guest may open `max_open_files` files besides. While it sleeps, polls
    /// or waits for the program's standard input, its thread calls
    /// `interrupt_check` at least every 5 ms. Without one it may wait for ever.
    ///
    /// ```
    /// use std::sync::Arc;
    ///
    /// use wapc_host::{WasiSettings, wasi::{Capture, Stdout}};
    /// use wapc_wasi::{InterruptCheck, Wasi, preview1};
    ///
    /// let output = Capture::new(1024);
    /// let settings = WasiSettings::new().stdout(Stdout::Captured(output.clone()));
    /// let never: InterruptCheck = Arc::new(|| Ok(()));
    /// let mut wasi = Wasi::new(&settings, 0, Some(never))?;
    ///
    /// // One vector at address 0: 5 bytes at address 8.
    /// let mut memory = vec![0; 65536];
    /// memory[..8].copy_from_slice(&[8, 0, 0, 0, 5, 0, 0, 0]);
    /// memory[8..13].copy_from_slice(b"hello");
    /// let errno = preview1::fd_write(&mut wasi, &mut memory, 1, 0, 1, 16)?;
    ///
    /// assert_eq!(errno, 0);
    /// assert_eq!(output.take(), b"hello");
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    ///
    /// [`EngineError::Directory`] if a directory cannot be opened,
    /// [`EngineError::Other`] if the arguments or the environment exceed 4 GiB.
    pub fn new(
        settings: &WasiSettings,
        max_open_files: usize,
        interrupt_check: Option<InterruptCheck>,
    ) -> Result<Self, EngineError> {
        let wait = InterruptibleWait::new(interrupt_check);
        let sched = Box::new(Sched::new(wait.clone()));
        let for_functions = wait.clone();
        let mut context = WasiCtx::new(random_ctx(), clocks_ctx(), sched, Table::new());

        let too_long = |error: StringArrayError| EngineError::Other(error.into());
        for arg in &settings.args {
            context.push_arg(arg).map_err(too_long)?;
        }
        for (name, value) in &settings.env {
            context.push_env(name, value).map_err(too_long)?;
        }

        context.set_stdin(Box::new(match &settings.stdin {
            Stdin::Inherited => Input::inherited(wait),
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
            let usage = Arc::clone(settings.disk_usage());
            let (open_files, wait) = (open_files.clone(), for_functions.clone());
            let dir = MappedDir::new(opened, mapped.access, open_files, usage, wait);
            context
                .push_preopened_dir(Box::new(dir), &mapped.guest)
                .map_err(|error| mapped.unusable(error.to_string()))?;
        }
        if !settings.files.is_empty() || settings.attached_paths.is_some() {
            let tree = Tree::new(settings, open_files, for_functions.clone());
            let root = MemoryDir::root(tree);
            context
                .push_preopened_dir(Box::new(root), "/")
                .map_err(|error| EngineError::Other(error.to_string().into()))?;
        }
        Ok(Self {
            context,
            wait: for_functions,
            monitor: None,
        })
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
