//! The command line.

use std::{path::PathBuf, time::Duration};

use clap::{Args, Parser, Subcommand};
use serde_json::Value;
use wapc_host::wasi::DirAccess;

#[cfg(feature = "wasmtime")]
pub use crate::cache::CacheCommand;
use crate::{engine::Engine, error::CommandError};

/// Calls waPC guests, and describes WebAssembly modules.
#[derive(Debug, Parser)]
#[command(name = "wapc", version, after_help = EXIT_CODES)]
#[non_exhaustive]
pub struct Arguments {
    /// The subcommand.
    #[command(subcommand)]
    pub command: Command,
}

/// The subcommands.
#[derive(Debug, Subcommand)]
#[non_exhaustive]
pub enum Command {
    /// Call an operation of a guest and print its response
    ///
    /// With --field a typed operation is called, whose arguments the guest describes: see `wapc inspect`.
    /// The response is printed as JSON then.
    ///
    /// A module of another dialect is adapted first; see `wapc adapt`. The payload of a WASI command is
    /// its standard input, and the response is its standard output.
    ///
    /// The response goes to standard output byte for byte, and nothing else does. The guest's log
    /// lines, and what it writes to its own standard output and standard error (up to 1 MiB, shown
    /// after the call), go to standard error.
    ///
    /// The guest has access to clocks and random numbers, and to the files, the environment and the
    /// arguments that are given here. Its standard input is empty, and there is no network.
    ///
    /// A guest that exceeds a limit is stopped: see --timeout, --max-memory and --fuel.
    #[command(after_help = EXIT_CODES)]
    Call(Box<CallArguments>),

    /// Turn a module of another dialect into a waPC guest
    ///
    /// WASI commands, guests of earlier waPC protocols, and plugins of some other systems are
    /// transformed. `wapc call` does this by itself. A module that is a guest, or of no dialect that is
    /// known, is written as it is. Other waPC hosts run the result too, if they know guests with several
    /// memories.
    #[command(after_help = EXIT_CODES)]
    Adapt(AdaptArguments),

    /// Show or empty the cache of compiled code
    ///
    /// `wapc call` keeps the machine code of a guest, so that the next call does not compile it: in
    /// `$XDG_CACHE_HOME/wapc`, by default `~/.cache/wapc`, at most 1 GiB. Nobody else may write to that
    /// directory.
    #[cfg(feature = "wasmtime")]
    #[command(subcommand, after_help = EXIT_CODES)]
    Cache(CacheCommand),

    /// Describe a module, and say which engines refuse it and why
    ///
    /// Shows imports (and which of them no host provides), exports, memories, tables, start functions,
    /// custom sections and the languages that the module was written in. Compiles the module with each
    /// engine of this command, and runs none of its code. The exit code is 0 for a module that is
    /// refused, and 4 for bytes that are no module.
    #[command(after_help = EXIT_CODES)]
    Inspect(InspectArguments),
}

/// Arguments of `wapc call`.
#[derive(Args, Debug)]
#[non_exhaustive]
pub struct CallArguments {
    /// The guest: a WebAssembly module, binary or text
    pub module: PathBuf,

    /// The operation's name
    pub operation: String,

    /// The way in which a module of another dialect is adapted.
    #[command(flatten)]
    pub dialect: DialectArguments,

    /// The grants of an Extism plugin.
    #[command(flatten)]
    pub plugin: PluginArguments,

    /// Say on standard error whether and how the module was adapted
    #[arg(short, long)]
    pub verbose: bool,

    /// The source of the payload.
    #[command(flatten)]
    pub payload: PayloadArguments,

    /// Print the response of a typed operation as JSON
    ///
    /// The guest's descriptor tells how the response is encoded. --field implies this flag.
    #[arg(long)]
    pub json: bool,

    /// The engine that runs the guest
    #[arg(long, value_enum, default_value_t)]
    pub engine: Engine,

    /// Write the guest's memory to this file after the call
    ///
    /// There is none if the call has ended the guest, as it ends a WASI command.
    #[arg(long, value_name = "PATH")]
    pub dump_memory: Option<PathBuf>,

    /// Compile the module whatever its size and however long it takes
    ///
    /// By default a module of more than 128 MiB is refused, and one that may take more than a minute to
    /// compile.
    #[arg(long)]
    pub trusted: bool,

    /// Compile the guest, and do not keep its machine code: see `wapc help cache`
    #[arg(long)]
    pub no_cache: bool,

    /// Answer a call that the guest makes to its host
    ///
    /// VALUE is the text after the first `=`. May be given several times; the last answer to a call
    /// counts. A call without an answer fails, with an error for the guest.
    #[arg(long, value_name = "BINDING/NAMESPACE/OPERATION=VALUE", value_parser = host_response)]
    pub host_response: Vec<HostResponse>,

    /// Set a variable of the guest's environment
    #[arg(long, value_name = "NAME=VALUE", value_parser = variable)]
    pub env: Vec<(String, String)>,

    /// Let the guest open a directory
    ///
    /// GUEST is the path that the guest uses, by default HOST. With `ro`, the default, the guest may
    /// only read; with `rw` it may write as well.
    #[arg(long, value_name = "HOST[:GUEST][:ro|rw]", value_parser = directory)]
    pub dir: Vec<Directory>,

    /// Give the guest a program argument
    ///
    /// May be given several times. The module's file name comes before the first one, as the program's
    /// name. Without this flag the guest has no arguments.
    #[arg(long, value_name = "ARG", allow_hyphen_values = true)]
    pub arg: Vec<String>,

    /// End the call after this time: `500ms`, `10s`, `5m`, or `none`
    ///
    /// The same limit applies to the guest's start functions, separately.
    #[arg(long, value_name = "TIME", default_value = "10s", value_parser = timeout)]
    pub timeout: Timeout,

    /// Refuse the guest more memory than this: bytes, or `64KiB`, `256MiB`, `1GiB`
    #[arg(long, value_name = "BYTES", default_value = "256MiB", value_parser = bytes)]
    pub max_memory: usize,

    /// End the call when the guest has used this much fuel: about one unit for each instruction
    ///
    /// Counting makes guests slower. Each engine counts in its own way.
    #[arg(long, value_name = "UNITS")]
    pub fuel: Option<u64>,
}

/// The way in which a module of another dialect is adapted.
#[derive(Args, Debug)]
#[non_exhaustive]
pub struct DialectArguments {
    /// Give a WASI command the operation as its last argument
    #[arg(long)]
    pub operation_is_argument: bool,

    /// Link a library, a module that provides what the guest imports from NAME
    ///
    /// The library has a memory of its own, unless it imports `env.memory`: then it uses the guest's; one of an
    /// Extism plugin has its own. May be given several times.
    #[arg(long, value_name = "NAME=PATH", value_parser = library)]
    pub link: Vec<(String, PathBuf)>,
}

/// The grants of an Extism plugin, beside those of its manifest.
#[derive(Args, Debug)]
#[non_exhaustive]
pub struct PluginArguments {
    /// Set a key of an Extism plugin's configuration
    #[arg(long, value_name = "KEY=VALUE", value_parser = variable)]
    pub config: Vec<(String, String)>,

    /// Let an Extism plugin send HTTP requests to a host
    ///
    /// HOST may have `*`, `?`, `[…]` and `{…}`. Modules that a manifest has by URL are fetched from these
    /// hosts too. May be given several times.
    #[arg(long, value_name = "HOST")]
    pub allow_host: Vec<String>,

    /// Let an Extism plugin use a directory, behind `ro:` for reading only
    ///
    /// GUEST is the path that the plugin uses, by default HOST.
    #[arg(long, value_name = "[ro:]HOST[:GUEST]", value_parser = allowed_path)]
    pub allow_path: Vec<(String, String)>,
}

impl PluginArguments {
    /// Checks that none of them is given.
    ///
    /// # Errors
    ///
    /// [`CommandError::NoPlugin`] if one is.
    pub(crate) fn reject_for_a_guest(&self) -> Result<(), CommandError> {
        let flag = match (&self.config[..], &self.allow_host[..], &self.allow_path[..]) {
            ([], [], []) => return Ok(()),
            ([_, ..], ..) => "--config",
            (_, [_, ..], _) => "--allow-host",
            _ => "--allow-path",
        };
        Err(CommandError::NoPlugin { flag })
    }
}

/// Arguments of `wapc adapt`.
#[derive(Args, Debug)]
#[non_exhaustive]
pub struct AdaptArguments {
    /// The module, binary or text
    pub module: PathBuf,

    /// Write the guest to this file
    #[arg(short, long, value_name = "PATH")]
    pub output: PathBuf,

    /// The way in which the module is adapted.
    #[command(flatten)]
    pub dialect: DialectArguments,

    /// Give a WASI command a program argument, in each call
    ///
    /// May be given several times. The first one is the program's name.
    #[arg(long, value_name = "ARG", allow_hyphen_values = true)]
    pub arg: Vec<String>,

    /// Set a variable of a WASI command's environment, in each call
    #[arg(long, value_name = "NAME=VALUE", value_parser = variable)]
    pub env: Vec<(String, String)>,
}

/// A limit on time. `None` means no limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(clippy::exhaustive_structs, reason = "a newtype")]
pub struct Timeout(pub Option<Duration>);

/// The source of the payload. Without any of these it is standard input, or
/// empty if that is a terminal.
#[derive(Args, Debug)]
#[group(multiple = false)]
#[non_exhaustive]
pub struct PayloadArguments {
    /// Send this text
    ///
    /// Without --data, --file, --stdin and --field the payload is read from standard input, unless that is a
    /// terminal: then it is empty.
    #[arg(long, value_name = "TEXT", allow_hyphen_values = true)]
    pub data: Option<String>,

    /// Send the bytes of this file
    #[arg(long, value_name = "PATH")]
    pub file: Option<PathBuf>,

    /// Send standard input, even if it is a terminal
    #[arg(long)]
    pub stdin: bool,

    /// Send an argument of a typed operation: a text, or a value in JSON
    ///
    /// The guest's descriptor tells how it is encoded, and the response is printed as JSON. May be given
    /// several times; the last value of an argument counts.
    #[arg(long, value_name = "NAME=TEXT|NAME:=JSON", value_parser = field, allow_hyphen_values = true)]
    pub field: Vec<(String, Value)>,
}

/// Arguments of `wapc inspect`.
#[derive(Args, Debug)]
#[non_exhaustive]
pub struct InspectArguments {
    /// The module, binary or text
    pub module: PathBuf,

    /// Write JSON, for programs
    #[arg(long)]
    pub json: bool,
}

/// An answer to one of the guest's calls to its host.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct HostResponse {
    /// `BINDING/NAMESPACE/OPERATION`.
    pub call: String,
    /// The answer.
    pub value: String,
}

/// A directory that the guest may open.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Directory {
    /// The path on this machine.
    pub host: PathBuf,
    /// The guest's path.
    pub guest: String,
    /// Read-only or read-write.
    pub access: DirAccess,
}

fn host_response(text: &str) -> Result<HostResponse, &'static str> {
    let (call, value) = text.split_once('=').ok_or("there is no `=`")?;
    if call.matches('/').count() < 2 {
        return Err("the call must be BINDING/NAMESPACE/OPERATION");
    }
    Ok(HostResponse {
        call: call.to_owned(),
        value: value.to_owned(),
    })
}

fn field(text: &str) -> Result<(String, Value), String> {
    let (name, value) = text.split_once('=').ok_or("there is no `=`")?;
    let (name, value) = match name.strip_suffix(':') {
        Some(name) => {
            let json = serde_json::from_str(value);
            (
                name,
                json.map_err(|error| format!("it is not JSON: {error}"))?,
            )
        }
        None => (name, Value::from(value)),
    };
    match name {
        "" => Err("the name is empty".to_owned()),
        name => Ok((name.to_owned(), value)),
    }
}

fn library(text: &str) -> Result<(String, PathBuf), &'static str> {
    match text.split_once('=') {
        Some((name, path)) if !path.is_empty() => Ok((name.to_owned(), path.into())),
        _ => Err("it must be NAME=PATH"),
    }
}

fn variable(text: &str) -> Result<(String, String), &'static str> {
    match text.split_once('=') {
        Some(("", _)) => Err("the name is empty"),
        Some((name, value)) => Ok((name.to_owned(), value.to_owned())),
        None => Err("there is no `=`; variables of this process are not passed on"),
    }
}

fn directory(text: &str) -> Result<Directory, &'static str> {
    let (paths, access) = match text.rsplit_once(':') {
        Some((paths, "ro")) => (paths, DirAccess::ReadOnly),
        Some((paths, "rw")) => (paths, DirAccess::ReadWrite),
        _ => (text, DirAccess::default()),
    };
    let (host, guest) = host_and_guest(paths)?;
    Ok(Directory {
        host: host.into(),
        guest: guest.to_owned(),
        access,
    })
}

fn allowed_path(text: &str) -> Result<(String, String), &'static str> {
    let (access, paths) = match text.strip_prefix("ro:") {
        Some(paths) => ("ro:", paths),
        None => ("", text),
    };
    let (host, guest) = host_and_guest(paths)?;
    Ok((format!("{access}{host}"), guest.to_owned()))
}

/// Splits `HOST[:GUEST]`. GUEST is HOST by default.
fn host_and_guest(paths: &str) -> Result<(&str, &str), &'static str> {
    let both = match paths.rsplit_once(':') {
        // `C:\data` is one path, not two.
        Some((drive, _)) if cfg!(windows) && drive.len() == 1 => (paths, paths),
        Some(both) => both,
        None => (paths, paths),
    };
    match both.0.is_empty() || both.1.is_empty() {
        true => Err("a path is empty"),
        false => Ok(both),
    }
}

fn timeout(text: &str) -> Result<Timeout, &'static str> {
    const WRONG: &str = "a time is a whole number with `ms`, `s` or `m`, or `none`";
    if text == "none" {
        return Ok(Timeout(None));
    }
    let (number, milliseconds) =
        with_unit(text, &[("ms", 1), ("s", 1_000), ("m", 60_000)]).ok_or(WRONG)?;
    let milliseconds = number.checked_mul(milliseconds).ok_or("too long")?;
    Ok(Timeout(Some(Duration::from_millis(milliseconds))))
}

fn bytes(text: &str) -> Result<usize, &'static str> {
    const UNITS: &[(&str, u64)] = &[
        ("KiB", 1 << 10),
        ("MiB", 1 << 20),
        ("GiB", 1 << 30),
        ("", 1),
    ];
    let (number, unit) = with_unit(text, UNITS)
        .ok_or("a size is a whole number of bytes, or one with `KiB`, `MiB` or `GiB`")?;
    number
        .checked_mul(unit)
        .and_then(|bytes| usize::try_from(bytes).ok())
        .ok_or("too large")
}

/// Splits `text` into its number and the factor of its unit.
fn with_unit(text: &str, units: &[(&str, u64)]) -> Option<(u64, u64)> {
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let (number, unit) = text.split_at_checked(digits)?;
    let (_, value) = units.iter().find(|(name, _)| *name == unit)?;
    Some((number.parse().ok()?, *value))
}

const EXIT_CODES: &str = "\
Exit codes:
  0  success
  1  the engine failed for reasons of its own, or the output cannot be written
  2  the command line is wrong
  3  the module, the payload, a directory or the cache cannot be read
  4  the module is refused: not WebAssembly, not valid, or not a guest
  5  a start function of the guest failed
  6  the guest reported an error
  7  the guest trapped
  8  the guest broke the protocol
  9  the guest exited in the middle of the call
 10  the guest met a limit: time, fuel, memory, messages";

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Arguments::command().debug_assert();
    }

    #[test]
    fn directories_may_have_a_guest_path_and_an_access() {
        use DirAccess::{ReadOnly, ReadWrite};

        for (text, host, guest, access) in [
            ("data", "data", "data", ReadOnly),
            ("data:rw", "data", "data", ReadWrite),
            ("data:/in", "data", "/in", ReadOnly),
            ("a/data:/in:ro", "a/data", "/in", ReadOnly),
            ("a:b:/in:rw", "a:b", "/in", ReadWrite),
        ] {
            let directory = directory(text).unwrap();
            assert_eq!(
                (
                    directory.host.as_path(),
                    &*directory.guest,
                    directory.access
                ),
                (host.as_ref(), guest, access),
                "{text}"
            );
        }
        assert!(directory(":/in").is_err() && directory("data::ro").is_err());
    }

    #[test]
    fn a_host_response_may_hold_anything_after_the_first_equals_sign() {
        let response = host_response("b/n/o=x=/y").unwrap();
        assert_eq!((&*response.call, &*response.value), ("b/n/o", "x=/y"));
        assert_eq!(host_response("//o=").unwrap().value, "");
        assert!(host_response("b/n/o").is_err() && host_response("n/o=x").is_err());
    }

    #[test]
    fn times_and_sizes_have_units() {
        let time = |text| timeout(text).map(|timeout| timeout.0);
        assert_eq!(time("500ms"), Ok(Some(Duration::from_millis(500))));
        assert_eq!(time("2m"), Ok(Some(Duration::from_secs(120))));
        assert_eq!(time("none"), Ok(None));
        for wrong in [
            "",
            "10",
            "s",
            "-1s",
            "1.5s",
            "10 s",
            "99999999999999999999m",
        ] {
            assert!(time(wrong).is_err(), "{wrong}");
        }
        assert_eq!((bytes("65536"), bytes("64KiB")), (Ok(65_536), Ok(65_536)));
        assert!(bytes("64kb").is_err() && bytes("MiB").is_err());
        assert!(bytes("99999999999GiB").is_err());
    }

    #[test]
    fn a_field_is_a_text_or_json() {
        let field_of = |text| field(text).unwrap();
        assert_eq!(field_of("a=1"), ("a".to_owned(), "1".into()));
        assert_eq!(field_of("a:=1"), ("a".to_owned(), 1.into()));
        assert_eq!(field_of("a==:="), ("a".to_owned(), "=:=".into()));
        assert_eq!(field_of("a="), ("a".to_owned(), "".into()));
        for wrong in ["a", "=1", ":=1", "a:=", "a:=x"] {
            assert!(field(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_variable_needs_a_name_and_a_value() {
        assert_eq!(variable("A=b=c"), Ok(("A".to_owned(), "b=c".to_owned())));
        assert!(variable("HOME").is_err() && variable("=x").is_err());
    }
}
