//! The cache of compiled code, and `wapc cache`.

use std::{env, fmt::Write as _, path::PathBuf, time::Duration};

use clap::Subcommand;
use provider_wasmtime::{CacheError, CompileCache};
use wapc_host::error::Report;

use crate::{error::CommandError, tell, write_output};

/// The subcommands of `wapc cache`.
#[derive(Clone, Copy, Debug, Subcommand)]
#[non_exhaustive]
pub enum CacheCommand {
    /// Print the directory
    Dir,
    /// List the entries, the one that was used last first
    List,
    /// Remove all entries
    Clear,
}

/// Shows or empties the cache.
pub(crate) fn run(command: &CacheCommand) -> Result<(), CommandError> {
    let directory = directory().ok_or(CommandError::NoCacheDirectory)?;
    let failed = |cause| {
        CommandError::Cache(CacheError::Io {
            directory: directory.clone(),
            cause,
        })
    };
    match command {
        CacheCommand::Dir => write_output(format!("{}\n", directory.display()).as_bytes()),
        CacheCommand::List => {
            let mut lines = String::new();
            for entry in CompileCache::open(&directory)?.entries().map_err(failed)? {
                let name = entry.path.file_name().unwrap_or_default().display();
                let age = age(entry.last_used.elapsed().unwrap_or_default());
                let _ = writeln!(lines, "{name}  {:>10} bytes  used {age} ago", entry.bytes);
            }
            write_output(lines.as_bytes())
        }
        CacheCommand::Clear => {
            let entries = CompileCache::open(&directory)?.clear().map_err(failed)?;
            tell(format_args!("{entries} entries removed"));
            Ok(())
        }
    }
}

/// Opens the cache. Without a directory for it there is none, and one that cannot be used is only
/// reported.
pub(crate) fn open() -> Option<CompileCache> {
    match CompileCache::open(directory()?) {
        Ok(cache) => Some(cache),
        Err(error) => {
            tell(format_args!(
                "note: compiled code is not kept: {:#}",
                Report::new(&error)
            ));
            None
        }
    }
}

/// Returns the user's directory for the cache.
///
/// <https://specifications.freedesktop.org/basedir-spec/latest/>
fn directory() -> Option<PathBuf> {
    let absolute = |name| {
        env::var_os(name)
            .map(PathBuf::from)
            .filter(|path| path.is_absolute())
    };
    let base = match cfg!(windows) {
        true => absolute("LOCALAPPDATA"),
        false => absolute("XDG_CACHE_HOME").or_else(|| Some(absolute("HOME")?.join(".cache"))),
    };
    Some(base?.join("wapc"))
}

fn age(time: Duration) -> String {
    let minutes = time.as_secs() / 60;
    match (minutes / 60 / 24, minutes / 60, minutes) {
        (0, 0, minutes) => format!("{minutes} min"),
        (0, hours, _) => format!("{hours} h"),
        (days, ..) => format!("{days} d"),
    }
}
