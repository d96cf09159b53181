//! Compares the headers of the C libraries with what cbindgen makes of their sources; `--bless` writes them.

use std::{env, error::Error, fs, path::Path};

const LIBRARIES: [(&str, &str); 2] = [("wapc-capi", "wapc.h"), ("wapc-libextism", "extism.h")];

fn main() -> Result<(), Box<dyn Error>> {
    let blesses = match env::args().nth(1).as_deref() {
        None => false,
        Some("--bless") => true,
        Some(other) => return Err(format!("unknown argument `{other}`: only `--bless` is").into()),
    };
    let crates = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../crates");
    let mut outdated = Vec::new();
    for (library, header) in LIBRARIES {
        let folder = crates.join(library);
        let path = folder.join("include").join(header);
        let config = cbindgen::Config::from_file(folder.join("cbindgen.toml"))?;
        let mut text = Vec::new();
        cbindgen::Builder::new()
            .with_config(config)
            .with_crate(&folder)
            .generate()?
            .write(&mut text);
        if blesses {
            fs::write(&path, text)?;
        } else if fs::read(&path).ok() != Some(text) {
            outdated.push(header);
        }
    }
    if outdated.is_empty() {
        return Ok(());
    }
    Err(format!(
        "out of date: {outdated:?}; run `cargo run --manifest-path dev/headers/Cargo.toml -- --bless`"
    )
    .into())
}
