//! Lists every `.wat` file below `wat/` for `WAT`, so that adding a fixture is adding a file.

use std::error::Error;
use std::path::{Path, PathBuf};
use std::{env, fs, io};

fn main() -> Result<(), Box<dyn Error>> {
    let folder = Path::new(&env::var("CARGO_MANIFEST_DIR")?).join("wat");
    println!("cargo:rerun-if-changed=build.rs");
    println!("cargo:rerun-if-changed={}", folder.display());

    let mut fixtures = Vec::new();
    for file in wat_files(&folder)? {
        let parts: Option<Vec<&str>> = file
            .strip_prefix(&folder)?
            .iter()
            .map(|part| part.to_str())
            .collect();
        let name = parts.ok_or("a path below wat/ is not UTF-8")?.join("/");
        let name = name.strip_suffix(".wat").unwrap_or(&name).to_owned();
        fixtures.push((name, file));
    }
    fixtures.sort();

    let rows: String = fixtures
        .iter()
        .map(|(name, file)| format!("    ({name:?}, include_str!({file:?})),\n"))
        .collect();
    let listing = Path::new(&env::var("OUT_DIR")?).join("wat.rs");
    fs::write(listing, format!("&[\n{rows}]\n"))?;
    Ok(())
}

fn wat_files(folder: &Path) -> io::Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        if path.is_dir() {
            found.extend(wat_files(&path)?);
        } else if path.extension().is_some_and(|extension| extension == "wat") {
            found.push(path);
        }
    }
    Ok(found)
}
