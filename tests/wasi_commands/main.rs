//! WASI commands that were built elsewhere, on each engine.
//!
//! `guest-fixtures/commands/build.sh FOLDER` builds some, in several languages, and
//! `WASI_COMMANDS=FOLDER cargo test --test wasi_commands` runs them. Each writes its standard input to its
//! standard output in upper case. Without the variable there is nothing to run.

use std::{env, fs, path::PathBuf, time::Duration};

use conformance::{
    Capability::{AnyModule, Wasi},
    ENGINES, Engine, VARIANTS, chain,
};
use wapc_dialects::{Dialect, Format, Options, adapt};
use wapc_host::{BoxError, Limits, WapcHost, WasiSettings};

#[test]
fn commands_of_each_language_answer() {
    let Some(folder) = env::var_os("WASI_COMMANDS") else {
        eprintln!("nothing is run: WASI_COMMANDS names no folder");
        return;
    };
    let files = fs::read_dir(&folder).expect("the folder can be read");
    let paths = files.map(|file| file.expect("the folder can be read").path());
    let mut commands: Vec<PathBuf> = paths
        .filter(|path| {
            path.extension()
                .is_some_and(|extension| extension == "wasm")
        })
        .collect();
    commands.sort();
    assert!(!commands.is_empty(), "there are no commands in {folder:?}");
    for path in commands {
        let module = fs::read(&path).expect("the command can be read");
        let adapted = adapt(&module, &Options::new().args(["upper"]).validates(true));
        let adapted = adapted.unwrap_or_else(|error| panic!("{}", chain(&error)));
        assert_eq!(adapted.from.format, Format::Foreign(Dialect::WasiCommand));
        for engine in ENGINES.iter().chain(VARIANTS) {
            // A slot of a pool may be too small.
            if !engine.claims(&[AnyModule, Wasi]) || engine.name.ends_with("pooling") {
                continue;
            }
            let what = format!("{} on {}", path.display(), engine.name);
            let answers = answers(engine, &adapted.binary);
            assert!(
                answers.unwrap_or_else(|error| panic!("{what}: {}", chain(&*error))),
                "{what}"
            );
            println!("{what}");
        }
    }
}

fn answers(engine: &Engine, guest: &[u8]) -> Result<bool, BoxError> {
    let limits = Limits::default().timeout(Duration::from_secs(60));
    let host = WapcHost::builder(engine.provider(guest, WasiSettings::new())?)
        .limits(engine.enforceable(limits))
        .build(|_, _, _, _, _| Err("no such operation".into()))?;
    let long = "The quick brown fox. ".repeat(5000);
    for text in ["", "hello", &long, "again"] {
        if host.call("any", text.as_bytes())? != text.to_ascii_uppercase().into_bytes() {
            return Ok(false);
        }
    }
    Ok(true)
}
