//! What must hold on every engine: each case runs on each of them, as
//! `engine::subject::case`.
//!
//! A case is a function of an [`Engine`] that panics if something is wrong.
//! Add one to its subject's file; add a subject to [`SUBJECTS`].

mod async_calls;
mod bad_input;
mod concurrency;
mod conversation;
mod errors;
mod gallery;
mod generated;
mod limits;
mod log_lines;
mod operations;
mod wasi;

use std::panic;

use conformance::{ENGINES, Engine, VARIANTS};
use libtest_mimic::{Arguments, Trial};

/// A named case.
struct Case {
    name: String,
    run: Box<dyn Fn(&Engine) + Send + Sync>,
    ignored: bool,
}

impl Case {
    fn new(name: impl Into<String>, run: impl Fn(&Engine) + Send + Sync + 'static) -> Self {
        Self {
            name: name.into(),
            run: Box::new(run),
            ignored: false,
        }
    }

    /// The case; `if_so` it is listed but not run, unless it is asked for by
    /// `--ignored`: it takes long.
    fn ignored_if(mut self, if_so: bool) -> Self {
        self.ignored = if_so;
        self
    }
}

type Cases = fn() -> Vec<Case>;

/// The subjects, each with its cases.
const SUBJECTS: &[(&str, Cases)] = &[
    ("async_calls", async_calls::cases),
    ("bad_input", bad_input::cases),
    ("concurrency", concurrency::cases),
    ("conversation", conversation::cases),
    ("errors", errors::cases),
    ("gallery", gallery::cases),
    ("gallery_async", gallery::async_cases),
    ("generated", generated::cases),
    ("limits", limits::cases),
    ("operations", operations::cases),
    ("operations_async", operations::async_cases),
    ("wasi", wasi::cases),
];

/// Cases that are listed and not run: a pool has no room for such a table, so
/// that the engine refuses the module before there is an instance.
const APART: &[(&str, &str)] = &[
    ("wasmtime_pooling", "hostile/table_minimum_huge"),
    ("wasmtime_pooling", "hostile/table_minimum_large"),
];

fn main() {
    log_lines::collect();
    // Callbacks panic on purpose here: a line each is enough.
    panic::set_hook(Box::new(|info| eprintln!("{info}")));
    let mut trials = vec![];
    for engine in ENGINES.iter().chain(VARIANTS) {
        for (subject, cases) in SUBJECTS {
            trials.extend(cases().into_iter().map(|case| {
                let apart = APART.contains(&(engine.name, &case.name));
                Trial::test(
                    format!("{}::{subject}::{}", engine.name, case.name),
                    move || {
                        (case.run)(engine);
                        Ok(())
                    },
                )
                .with_ignored_flag(case.ignored || apart)
            }));
        }
    }
    libtest_mimic::run(&Arguments::from_args(), trials).exit();
}
