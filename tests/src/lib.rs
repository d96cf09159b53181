//! The engines that every suite runs on, and how a call ended in words.
//!
//! A new engine joins all of them with one line in [`ENGINES`].

#![forbid(unsafe_code)]

/// The programs in the documents compile, and those that can run do.
#[cfg(doctest)]
mod documents {
    #[doc = include_str!("../../README.md")]
    struct Readme;
    #[doc = include_str!("../../docs/async.md")]
    struct Async;
    #[doc = include_str!("../../docs/calling.md")]
    struct Calling;
    #[doc = include_str!("../../docs/engines.md")]
    struct Engines;
    #[doc = include_str!("../../docs/limits.md")]
    struct Limits;
    #[doc = include_str!("../../docs/migrating-from-wapc.md")]
    struct Migrating;
    #[doc = include_str!("../../docs/swapping.md")]
    struct Swapping;
    #[doc = include_str!("../../docs/wasi.md")]
    struct Wasi;
}

pub mod counted;
pub mod figures;
pub mod outcome;
pub mod own_process;

use std::{fmt, future::poll_fn, mem, task::Poll, time::Duration};

use provider_wasmi::WasmiEngineProvider;
use provider_wasmtime::{Pooling, WasmtimeEngineProvider};
use wapc_host::{
    BoxError, Interruption, Limits, ModuleError, ModuleLimits, WapcHost, WasiSettings,
    WebAssemblyEngineProvider,
};

/// All engines.
pub const ENGINES: &[Engine] = &[
    Engine::new("wasmtime", |module, wasi, interruption, limits| {
        Ok(Box::new(
            WasmtimeEngineProvider::builder()
                .interruption(interruption)
                .module_limits(limits)
                .wasi(wasi)
                .build(module)?,
        ))
    }),
    Engine::new("wasmi", |module, wasi, interruption, limits| {
        Ok(Box::new(
            WasmiEngineProvider::builder()
                .interruption(interruption)
                .module_limits(limits)
                .wasi(wasi)
                .build(module)?,
        ))
    }),
];

/// Engines with settings that guests must not notice: they run all that
/// [`ENGINES`] run.
pub const VARIANTS: &[Engine] = &[Engine::new(
    "wasmtime_pooling",
    |module, wasi, interruption, limits| {
        Ok(Box::new(
            WasmtimeEngineProvider::builder()
                .interruption(interruption)
                .module_limits(limits)
                .wasi(wasi)
                .pooling(Pooling::new(64))
                .build(module)?,
        ))
    },
)];

/// Lets the executor run others once.
pub async fn pause() {
    let mut paused = false;
    poll_fn(|context| {
        if mem::replace(&mut paused, true) {
            return Poll::Ready(());
        }
        context.waker().wake_by_ref();
        Poll::Pending
    })
    .await;
}

/// One engine, as far as tests are concerned.
#[derive(Clone, Copy)]
pub struct Engine {
    /// Its name, the first half of each test's.
    pub name: &'static str,
    compile: Compile,
}

type Compile = fn(
    &[u8],
    WasiSettings,
    Interruption,
    ModuleLimits,
) -> Result<Box<dyn WebAssemblyEngineProvider>, ModuleError>;

impl Engine {
    const fn new(name: &'static str, compile: Compile) -> Self {
        Self { name, compile }
    }

    /// A provider of `module` with these settings.
    ///
    /// # Errors
    ///
    /// What the engine says of the module.
    pub fn provider(
        &self,
        module: &[u8],
        wasi: WasiSettings,
    ) -> Result<Box<dyn WebAssemblyEngineProvider>, ModuleError> {
        self.limited(module, wasi, ModuleLimits::default())
    }

    /// As [`Engine::provider`], of modules that may cost so much to compile.
    ///
    /// # Errors
    ///
    /// What the engine says of the module.
    pub fn limited(
        &self,
        module: &[u8],
        wasi: WasiSettings,
        limits: ModuleLimits,
    ) -> Result<Box<dyn WebAssemblyEngineProvider>, ModuleError> {
        (self.compile)(module, wasi, Interruption::default(), limits)
    }

    /// A provider of `module` whose guests can be interrupted so.
    ///
    /// # Panics
    ///
    /// If the engine refuses the module.
    #[must_use]
    pub fn interruptible(
        &self,
        module: &[u8],
        interruption: Interruption,
    ) -> Box<dyn WebAssemblyEngineProvider> {
        let limits = ModuleLimits::default();
        (self.compile)(module, WasiSettings::new(), interruption, limits)
            .unwrap_or_else(|error| panic!("{}", chain(&error)))
    }

    /// A host of `module` whose callback is [`answer`].
    ///
    /// # Panics
    ///
    /// If it cannot be made.
    #[must_use]
    pub fn host(&self, module: &[u8]) -> WapcHost {
        let provider = self
            .provider(module, WasiSettings::new())
            .unwrap_or_else(|error| panic!("{}", chain(&error)));
        WapcHost::new(provider, answer).unwrap_or_else(|error| panic!("{}", chain(&error)))
    }
}

impl fmt::Debug for Engine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name)
    }
}

/// Limits that a guest which is out to use up its host meets at once, and that
/// leave room for the guests of `guest-fixtures`.
#[must_use]
pub fn limits() -> Limits {
    Limits::default()
        .max_memory_bytes(66 << 20)
        .max_total_memory_bytes(66 << 20)
        .max_table_elements(100_000)
        .max_inbound_bytes(8 << 20)
        .max_outbound_bytes(8 << 20)
        .max_host_calls(1_000)
        .max_log_bytes(64 << 10)
        // A busy machine must not make a test fail.
        .timeout(Duration::from_secs(120))
        .start_timeout(Duration::from_secs(120))
}

/// The time for guests that never end.
pub const SHORT: Duration = Duration::from_millis(200);

/// A host callback that answers with what it was asked, and fails if that is
/// `refuse`.
///
/// # Errors
///
/// `the host refused` to the payload `refuse`.
pub fn answer(
    _id: u64,
    binding: &str,
    namespace: &str,
    operation: &str,
    payload: &[u8],
) -> Result<Vec<u8>, BoxError> {
    match payload {
        b"refuse" => Err("the host refused".into()),
        payload => Ok([
            format!("{binding}/{namespace}/{operation}:").as_bytes(),
            payload,
        ]
        .concat()),
    }
}

/// An error and its sources in one line.
#[must_use]
pub fn chain(error: &dyn std::error::Error) -> String {
    let mut words = error.to_string();
    let mut source = error.source();
    while let Some(error) = source {
        words = format!("{words}: {error}");
        source = error.source();
    }
    words
}
