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

/// Returns the first line of `rustdoc --version`, in the words of rustc.
pub(crate) fn compiler_version() -> Result<String, Box<dyn Error>> {
    let output = Command::new("rustc").arg("--version").output()?;
    Ok(String::from_utf8(output.stdout)?.trim().to_owned())
}

/// Documents the library of `package` with all of its features, and returns the file with the JSON.
pub(crate) fn json(root: &Path, package: &str) -> Result<PathBuf, Box<dyn Error>> {
    let target = env::var_os("CARGO_TARGET_DIR").map_or_else(|| root.join("target"), PathBuf::from);
    let status = Command::new("cargo")
        .current_dir(root)
        .args(["rustdoc", "--locked", "--quiet", "--lib", "--all-features"])
        .args(["--package", package])
        .args(["--", "-Z", "unstable-options", "--output-format", "json"])
        .args(["--cap-lints", "allow"])
        .env("RUSTDOC", env::current_exe()?)
        .env(AS_WRAPPER, "1")
        .status()?;
    if !status.success() {
        return Err(format!("cargo rustdoc --package {package}: {status}").into());
    }
    Ok(target
        .join("doc")
        .join(package.replace('-', "_"))
        .with_extension("json"))
}
