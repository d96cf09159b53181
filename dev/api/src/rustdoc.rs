//! rustdoc, asked for JSON.
//!
//! The JSON is unstable, so a stable rustdoc writes it only with `RUSTC_BOOTSTRAP`. Cargo would build the
//! dependencies anew with that variable. Hence this program is cargo's rustdoc as well, and sets it there alone.

use std::{
    env,
    error::Error,
    path::{Path, PathBuf},
    process::{Command, ExitCode},
};

/// Set for the processes that stand in for rustdoc.
const AS_WRAPPER: &str = "API_LISTING_RUSTDOC";

/// Runs rustdoc if cargo has started this process in its place.
pub(crate) fn run_as_wrapper() -> Option<ExitCode> {
    env::var_os(AS_WRAPPER)?;
    let status = Command::new("rustdoc")
        .args(env::args_os().skip(1))
        .env("RUSTC_BOOTSTRAP", "1")
        .status();
    Some(match status {
        Ok(status) if status.success() => ExitCode::SUCCESS,
        Ok(_) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("rustdoc: {error}");
            ExitCode::FAILURE
        }
    })
}

/// Returns the version that `rustc --version` prints.
pub(crate) fn compiler_version() -> Result<String, Box<dyn Error>> {
    let output = Command::new("rustc").arg("--version").output()?;
    Ok(String::from_utf8(output.stdout)?.trim().to_owned())
}

/// Documents the libraries of the workspace with all of their features, and returns the folder with the JSON.
///
/// All in one run: cargo would choose other features of the dependencies for a package alone, and compile the
/// engines anew.
pub(crate) fn json(root: &Path) -> Result<PathBuf, Box<dyn Error>> {
    let target = env::var_os("CARGO_TARGET_DIR").map_or_else(|| root.join("target"), PathBuf::from);
    let status = Command::new("cargo")
        .current_dir(root)
        .args(["doc", "--locked", "--quiet", "--workspace", "--lib"])
        .args(["--no-deps", "--all-features"])
        .env(
            "RUSTDOCFLAGS",
            "-Z unstable-options --output-format json --cap-lints allow",
        )
        .env("RUSTDOC", env::current_exe()?)
        .env(AS_WRAPPER, "1")
        .status()?;
    if !status.success() {
        return Err(format!("cargo doc: {status}").into());
    }
    Ok(target.join("doc"))
}
