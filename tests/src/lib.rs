//! The engines that every suite runs on, and helpers that the suites share.
//!
//! A new engine joins with one entry of [`ENGINES`], which claims the
//! [`Capability`]s that the engine has. It then runs the cases that need no others.

#![forbid(unsafe_code)]

/// The programs in the documents compile, and those that can run do.
#[cfg(doctest)]
mod documents {
    #[doc = include_str!("../../README.md")]
    struct Readme;
    #[doc = include_str!("../../docs/async.md")]
    struct Async;
    #[doc = include_str!("../../docs/callbacks.md")]
    struct Callbacks;
    #[doc = include_str!("../../docs/calling.md")]
    struct Calling;
    #[doc = include_str!("../../docs/dialects.md")]
    struct Dialects;
    #[doc = include_str!("../../docs/engines.md")]
    struct Engines;
    #[doc = include_str!("../../docs/extism.md")]
    struct Extism;
    #[doc = include_str!("../../docs/functions.md")]
    struct Functions;
    #[doc = include_str!("../../docs/limits.md")]
    struct Limits;
    #[doc = include_str!("../../docs/migrating-from-wapc.md")]
    struct Migrating;
    #[doc = include_str!("../../docs/swapping.md")]
    struct Swapping;
    #[doc = include_str!("../../docs/third-engine.md")]
    struct ThirdEngine;
    #[doc = include_str!("../../docs/typed.md")]
    struct Typed;
    #[doc = include_str!("../../docs/wasi.md")]
    struct Wasi;
    #[doc = include_str!("../conformance/dialects/precompiled.md")]
    struct PrecompiledDialects;
}

mod capability;
pub mod counted;
pub mod figures;
pub mod outcome;
pub mod own_process;

pub use capability::{BASIC_GUESTS, Capability};

use std::{fmt, future::poll_fn, mem, task::Poll, time::Duration};

use provider_wasmi::WasmiEngineProvider;
use provider_wasmtime::{Pooling, WasmtimeEngineProvider};
use toy_engine::ToyEngineProvider;
use wapc_host::{
    BoxError, HostFunctions, Interruption, Limits, ModuleLimits, WapcHost, WasiSettings,
    WebAssemblyEngineProvider, error::ModuleError,
};

/// wasmi reports no functions with its traps.
const WITHOUT_BACKTRACES: &[Capability] = &[
    Capability::AnyModule,
    Capability::Wasi,
    Capability::Time,
    Capability::Fuel,
    Capability::Async,
    Capability::Yields,
];

/// Guests that are killed are never paused.
const WITHOUT_YIELDS: &[Capability] = &[
    Capability::AnyModule,
    Capability::Wasi,
    Capability::Time,
    Capability::Fuel,
    Capability::Async,
    Capability::Backtraces,
];

/// The example of a third engine interprets [`BASIC_GUESTS`], with every limit on a
/// call.
const SMALL: &[Capability] = &[Capability::Time, Capability::Fuel];

/// All engines.
pub const ENGINES: &[Engine] = &[
    Engine::new(
        "wasmtime",
        Capability::ALL,
        |module, wasi, interruption, limits, functions| {
            Ok(Box::new(
                WasmtimeEngineProvider::builder()
                    .interruption(interruption)
                    .module_limits(limits)
                    .wasi(wasi)
                    .functions(functions)
                    .build(module)?,
            ))
        },
    ),
    Engine::new(
        "wasmi",
        WITHOUT_BACKTRACES,
        |module, wasi, interruption, limits, functions| {
            Ok(Box::new(
                WasmiEngineProvider::builder()
                    .interruption(interruption)
                    .module_limits(limits)
                    .wasi(wasi)
                    .functions(functions)
                    .build(module)?,
            ))
        },
    ),
    Engine::new(
        "toy",
        SMALL,
        |module, _, interruption, limits, functions| {
            let mut settings = toy_engine::Settings::default();
            settings.interruption = interruption;
            settings.module_limits = limits;
            settings.functions = functions;
            Ok(Box::new(ToyEngineProvider::with_settings(
                module, settings,
            )?))
        },
    ),
];

/// Engines with settings that guests cannot observe. They run the same cases.
pub const VARIANTS: &[Engine] = &[
    Engine::new(
        "wasmtime_pooling",
        Capability::ALL,
        |module, wasi, interruption, limits, functions| {
            Ok(Box::new(
                WasmtimeEngineProvider::builder()
                    .interruption(interruption)
                    .module_limits(limits)
                    .wasi(wasi)
                    .functions(functions)
                    .pooling(Pooling::new(64))
                    .build(module)?,
            ))
        },
    ),
    Engine::new(
        "wasmtime_kill",
        WITHOUT_YIELDS,
        |module, wasi, interruption, limits, functions| {
            Ok(Box::new(
                WasmtimeEngineProvider::builder()
                    .interruption(or_kill(interruption))
                    .module_limits(limits)
                    .wasi(wasi)
                    .functions(functions)
                    .build(module)?,
            ))
        },
    ),
    Engine::new(
        "wasmtime_kill_pooling",
        WITHOUT_YIELDS,
        |module, wasi, interruption, limits, functions| {
            Ok(Box::new(
                WasmtimeEngineProvider::builder()
                    .interruption(or_kill(interruption))
                    .module_limits(limits)
                    .wasi(wasi)
                    .functions(functions)
                    .pooling(Pooling::new(64))
                    .build(module)?,
            ))
        },
    ),
];

/// Returns the way to interrupt guests of the engines that kill them.
fn or_kill(interruption: Interruption) -> Interruption {
    match interruption {
        Interruption::Time => Interruption::Kill,
        other => other,
    }
}

/// Returns the engines of [`ENGINES`] that have all the capabilities in `needs`.
///
/// ```
/// use conformance::{Capability, engines};
///
/// assert!(engines(&[Capability::Async, Capability::Fuel]).any(|engine| engine.name == "wasmi"));
/// ```
pub fn engines(needs: &[Capability]) -> impl Iterator<Item = &'static Engine> {
    ENGINES.iter().filter(move |engine| engine.claims(needs))
}

/// Yields to the executor once.
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

/// An engine under test.
#[derive(Clone, Copy)]
pub struct Engine {
    /// The engine's name, with which the names of its tests begin.
    pub name: &'static str,
    claims: &'static [Capability],
    compile: Compile,
}

type Compile = fn(
    &[u8],
    WasiSettings,
    Interruption,
    ModuleLimits,
    HostFunctions,
) -> Result<Box<dyn WebAssemblyEngineProvider>, ModuleError>;

impl Engine {
    const fn new(name: &'static str, claims: &'static [Capability], compile: Compile) -> Self {
        Self {
            name,
            claims,
            compile,
        }
    }

    /// Returns `true` if the engine has all the capabilities in `needs`.
    #[must_use]
    pub fn claims(&self, needs: &[Capability]) -> bool {
        needs.iter().all(|need| self.claims.contains(need))
    }

    /// Returns `limits` without those that the engine cannot enforce.
    #[must_use]
    pub fn enforceable(&self, limits: Limits) -> Limits {
        let limits = match self.claims(&[Capability::Time]) {
            true => limits,
            false => limits.timeout(None).start_timeout(None),
        };
        match self.claims(&[Capability::Fuel]) {
            true => limits,
            false => limits.fuel(None),
        }
    }

    /// Compiles `module` with the default limits on modules.
    ///
    /// # Errors
    ///
    /// The engine's error, if it refuses the module.
    pub fn provider(
        &self,
        module: &[u8],
        wasi: WasiSettings,
    ) -> Result<Box<dyn WebAssemblyEngineProvider>, ModuleError> {
        self.limited(module, wasi, ModuleLimits::default())
    }

    /// Compiles `module` with `limits` on the module.
    ///
    /// # Errors
    ///
    /// The engine's error, if it refuses the module.
    pub fn limited(
        &self,
        module: &[u8],
        wasi: WasiSettings,
        limits: ModuleLimits,
    ) -> Result<Box<dyn WebAssemblyEngineProvider>, ModuleError> {
        (self.compile)(
            module,
            wasi,
            Interruption::default(),
            limits,
            HostFunctions::new(),
        )
    }

    /// Compiles `module`, with the given interruption of its guests.
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
        let functions = HostFunctions::new();
        (self.compile)(module, WasiSettings::new(), interruption, limits, functions)
            .unwrap_or_else(|error| panic!("{}", chain(&error)))
    }

    /// Compiles `module` for a program with host functions of its own.
    ///
    /// # Errors
    ///
    /// The engine's error, if it refuses the module.
    pub fn with_functions(
        &self,
        module: &[u8],
        functions: HostFunctions,
    ) -> Result<Box<dyn WebAssemblyEngineProvider>, ModuleError> {
        (self.compile)(
            module,
            WasiSettings::new(),
            Interruption::TimeAndFuel,
            ModuleLimits::default(),
            functions,
        )
    }

    /// Starts a host of `module` whose callback is [`answer`].
    ///
    /// # Panics
    ///
    /// If the host cannot be made.
    #[must_use]
    pub fn host(&self, module: &[u8]) -> WapcHost {
        let provider = self
            .provider(module, WasiSettings::new())
            .unwrap_or_else(|error| panic!("{}", chain(&error)));
        let limits = self.enforceable(Limits::default());
        WapcHost::builder(provider)
            .limits(limits)
            .build(answer)
            .unwrap_or_else(|error| panic!("{}", chain(&error)))
    }
}

impl fmt::Debug for Engine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name)
    }
}

/// Low limits, which stop hostile guests soon, and suffice for the honest guests of
/// `guest-fixtures`.
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
        // Long enough for a busy machine.
        .timeout(Duration::from_secs(120))
        .start_timeout(Duration::from_secs(120))
}

/// The timeout of guests that never end.
pub const SHORT: Duration = Duration::from_millis(200);

/// A host callback that answers with the call's names and payload. Fails for the
/// payload `refuse`.
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

/// Formats an error and its sources on one line.
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
