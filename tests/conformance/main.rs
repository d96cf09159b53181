//! The conformance table: each case runs on each engine that has the capabilities
//! it needs, as `engine::subject::case`.
//!
//! A case is a function of an [`Engine`] that panics on failure. Add a case to the
//! file of its subject, and a subject to [`SUBJECTS`].

mod async_calls;
mod bad_input;
mod concurrency;
mod conversation;
mod dialects;
mod errors;
mod functions;
mod gallery;
mod generated;
mod limits;
mod log_lines;
mod operations;
mod streams;
mod typed;
mod wasi;

use std::panic;

use conformance::{
    Capability::{self, AnyModule, Async, Time, Wasi},
    ENGINES, Engine, VARIANTS,
};
use libtest_mimic::{Arguments, Trial};

/// A named case.
struct Case {
    name: String,
    needs: Vec<Capability>,
    run: Box<dyn Fn(&Engine) + Send + Sync>,
    ignored: bool,
}

impl Case {
    fn new(name: impl Into<String>, run: impl Fn(&Engine) + Send + Sync + 'static) -> Self {
        Self {
            name: name.into(),
            needs: vec![],
            run: Box::new(run),
            ignored: false,
        }
    }

    /// Adds capabilities to those that the subject needs.
    fn needs(mut self, needs: &[Capability]) -> Self {
        self.needs.extend_from_slice(needs);
        self
    }

    /// Lists the case without running it if `if_so` is set: `--ignored` runs it.
    fn ignored_if(mut self, if_so: bool) -> Self {
        self.ignored = if_so;
        self
    }
}

type Cases = fn() -> Vec<Case>;

/// The subjects: a name, the capabilities that all cases need, the cases.
const SUBJECTS: &[(&str, &[Capability], Cases)] = &[
    ("async_calls", &[Async, Time], async_calls::cases),
    ("bad_input", &[AnyModule], bad_input::cases),
    ("concurrency", &[], concurrency::cases),
    ("conversation", &[], conversation::cases),
    ("dialects", &[AnyModule, Wasi], dialects::cases),
    ("errors", &[AnyModule, Time], errors::cases),
    ("functions", &[], functions::cases),
    ("gallery", &[], gallery::cases),
    ("gallery_async", &[Async], gallery::async_cases),
    ("generated", &[AnyModule], generated::cases),
    ("limits", &[Time], limits::cases),
    ("operations", &[AnyModule, Wasi], operations::cases),
    (
        "operations_async",
        &[AnyModule, Async, Wasi],
        operations::async_cases,
    ),
    ("streams", &[AnyModule, Wasi], streams::cases),
    ("typed", &[], typed::cases),
    ("wasi", &[AnyModule, Wasi], wasi::cases),
];

/// Cases that are listed and not run: a pool has no room for such a table, so the
/// engine refuses the module before there is an instance.
const EXCEPTIONS: &[(&str, &str)] = &[
    ("wasmtime_pooling", "hostile/table_minimum_huge"),
    ("wasmtime_pooling", "hostile/table_minimum_large"),
    ("wasmtime_kill_pooling", "hostile/table_minimum_huge"),
    ("wasmtime_kill_pooling", "hostile/table_minimum_large"),
];

fn main() {
    log_lines::collect();
    // Callbacks panic on purpose: one line for each, without a backtrace.
    panic::set_hook(Box::new(|info| eprintln!("{info}")));
    let mut trials = vec![];
    for engine in ENGINES.iter().chain(VARIANTS) {
        for (subject, needs, cases) in SUBJECTS {
            let cases = cases().into_iter();
            let claimed = cases.filter(|case| engine.claims(needs) && engine.claims(&case.needs));
            trials.extend(claimed.map(|case| {
                let excepted = EXCEPTIONS.contains(&(engine.name, &case.name));
                Trial::test(
                    format!("{}::{subject}::{}", engine.name, case.name),
                    move || {
                        (case.run)(engine);
                        Ok(())
                    },
                )
                .with_ignored_flag(case.ignored || excepted)
            }));
        }
    }
    libtest_mimic::run(&Arguments::from_args(), trials).exit();
}
