//! Lists the public API of every published crate, and compares it with the listings under `docs/api`.
//!
//! ```console
//! $ cargo run -p api             # fails with a diff when an API has changed
//! $ cargo run -p api -- --bless  # writes the listings anew
//! ```

#![forbid(unsafe_code)]

mod foreign;
mod listing;
mod rustdoc;

use std::{
    collections::BTreeSet,
    env,
    error::Error,
    fs,
    path::{Path, PathBuf},
    process::ExitCode,
};

/// A crate whose API is listed.
struct Listed {
    name: &'static str,
    /// The crates, other than the standard library's, whose types its API may show.
    may_show: &'static [&'static str],
}

impl Listed {
    /// Returns the name of its library.
    fn library(&self) -> String {
        self.name.replace('-', "_")
    }
}

const LISTED: &[Listed] = &[
    Listed {
        name: "wapc-host",
        may_show: &["bytes"],
    },
    Listed {
        name: "provider-wasmtime",
        may_show: &["wapc_host", "wasmtime", "wasmtime_wasi"],
    },
    Listed {
        name: "provider-wasmi",
        may_show: &["wapc_host", "wasmi"],
    },
    Listed {
        name: "wapc-wasi",
        may_show: &["wapc_host"],
    },
    Listed {
        name: "wapc-watch",
        may_show: &["wapc_host"],
    },
    Listed {
        name: "wapc-dialects",
        may_show: &["wapc_host"],
    },
    Listed {
        name: "wapc-net",
        may_show: &[],
    },
    Listed {
        name: "wapc-extism",
        may_show: &[
            "serde_core",
            "uuid",
            "wapc_dialects",
            "wapc_host",
            "wapc_net",
        ],
    },
    Listed {
        name: "wapc-typed",
        may_show: &["serde_core", "serde_json", "wapc_host", "wapc_macros"],
    },
    Listed {
        name: "wapc-cli",
        may_show: &[
            "clap_builder",
            "provider_wasmtime",
            "serde_core",
            "serde_json",
            "wapc_extism",
            "wapc_host",
            "wapc_typed",
        ],
    },
];

/// The compiler whose rustdoc writes the JSON. Another one may print the same API differently.
const COMPILER: &str = "rustc 1.95.";

fn main() -> ExitCode {
    if let Some(status) = rustdoc::run_as_wrapper() {
        return status;
    }
    let arguments: Vec<String> = env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let bless = match arguments.as_slice() {
        [] => false,
        ["--bless"] => true,
        _ => {
            eprintln!("usage: api [--bless]");
            return ExitCode::from(2);
        }
    };
    match run(bless) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}

/// Returns whether every listing is as it should be.
fn run(bless: bool) -> Result<bool, Box<dyn Error>> {
    let compiler = rustdoc::compiler_version()?;
    if !compiler.starts_with(COMPILER) {
        println!("left out: the listings are those of {COMPILER}x, and this is {compiler}");
        return Ok(true);
    }

    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let folder = rustdoc::json(&root)?;
    let mut good = true;
    for listed in LISTED {
        let library = listed.library();
        let lines = listing::lines(&folder.join(format!("{library}.json")), &library)?;

        for (line, foreign) in foreign::shown(&lines, listed) {
            eprintln!("{}: a type of `{foreign}` is public: {line}", listed.name);
            good = false;
        }

        let path = root.join(format!("docs/api/{}.txt", listed.name));
        if bless {
            write(&path, &lines)?;
        } else {
            good &= is_as_listed(&path, &lines);
        }
    }
    if good {
        println!("the public API is as docs/api lists it");
    }
    Ok(good)
}

fn write(path: &Path, lines: &[String]) -> Result<(), Box<dyn Error>> {
    if let Some(folder) = path.parent() {
        fs::create_dir_all(folder)?;
    }
    let mut text = lines.join("\n");
    text.push('\n');
    fs::write(path, text)?;
    Ok(())
}

fn is_as_listed(path: &Path, lines: &[String]) -> bool {
    let before = fs::read_to_string(path).unwrap_or_default();
    let before: Vec<&str> = before.lines().collect();
    if before == lines {
        return true;
    }

    let name = path.file_name().map(PathBuf::from).unwrap_or_default();
    eprintln!("the public API differs from docs/api/{}:", name.display());
    let is: BTreeSet<&str> = lines.iter().map(String::as_str).collect();
    let was: BTreeSet<&str> = before.iter().copied().collect();
    for line in was.difference(&is) {
        eprintln!("- {line}");
    }
    for line in is.difference(&was) {
        eprintln!("+ {line}");
    }
    eprintln!("if this is meant, write the listing anew: cargo run -p api -- --bless");
    false
}
