//! Generated guests, compared between the engines.
//!
//! One execution is one module of wasm-smith's, with the imports and exports
//! of a waPC guest, called three times on each engine, on wasmtime with and without
//! the checks of guests that can be killed, and on wasmi. Linked with another module it is
//! called on wasmi too, and every other one on wasmtime with the checks. It compares the outcomes of
//! starts and calls, the responses, the guest's host calls and log lines and, of a
//! softened module, its memory and globals. [`Guests`] lists the exceptions.

mod plan;
mod softener;

use std::{
    fmt,
    num::NonZeroUsize,
    path::{Path, PathBuf},
    sync::Arc,
};

use conformance::outcome::{outcome, words};
use parking_lot::Mutex;
use provider_wasmi::WasmiEngineProvider;
use provider_wasmtime::WasmtimeEngineProvider;
use wapc_dialects::{Memories, Options, adapt};
use wapc_host::{
    BoxError, Error, HostCall, HostCallback, Interruption, Limits, WapcHost,
    WebAssemblyEngineProvider, error::ModuleError,
};
use wasmtime::{Config, Engine, OptLevel};

use self::plan::Plan;
use crate::{log_lines, random::Random, runner::Tally, study::keep};

/// A library that nothing is bound to: its import moves the module's functions, and its start
/// section makes one of two.
const LIBRARY: &[u8] = br#"(module
    (import "wapc" "__console_log" (func $log (param i32 i32)))
    (memory 0) (table 1 funcref) (global (mut i64) (i64.const 0)) (data "") (elem func $begin)
    (func $begin)
    (start $begin))"#;

/// Returns the module, linked with another one. Small functions are put in place of the calls to them if `inlines` is
/// set.
fn linked(module: &[u8], inlines: bool) -> Result<Vec<u8>, ModuleError> {
    let options = Options::new().link("library", LIBRARY.to_vec(), Memories::Own);
    match adapt(module, &options.inlines(inlines)) {
        Ok(adapted) => Ok(adapted.binary.into_owned()),
        Err(error) => Err(ModuleError::Refused(Box::new(error))),
    }
}

/// Runs generated guests.
///
/// These may differ between engines, and are not compared:
///
/// - The bits of a NaN, which WebAssembly does not determine: modules canonicalise
///   them.
/// - The depth of calls: wasmi counts calls, wasmtime the bytes of its
///   stack. A module that exhausts either stack is not compared.
/// - The size to which a memory or table can grow: all have a small maximum.
/// - Backtraces, which only wasmtime has, and the text of engines' own failures.
///
/// Most modules count their steps and trap at a limit. The others run under the
/// engines' fuel, whose units differ: such a guest is compared up to the point at
/// which an engine ended it.
pub struct Guests {
    engine: Engine,
    metered: Engine,
    out: PathBuf,
}

impl fmt::Debug for Guests {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Guests")
            .field("out", &self.out)
            .finish_non_exhaustive()
    }
}

impl Guests {
    /// Writes modules whose engines differ into the folder `out`.
    #[must_use]
    pub fn new(out: &Path) -> Self {
        Self {
            engine: engine(false),
            metered: engine(true),
            out: out.to_owned(),
        }
    }

    /// Writes the module of this seed into the folder without running it, for
    /// modules that end the process.
    ///
    /// # Errors
    ///
    /// If this seed gives no module, or the file cannot be written.
    pub fn write(&self, seed: u64) -> Result<(), String> {
        let (plan, input) = plan(seed);
        let module = plan.module(&input).ok_or("this seed has no module")?;
        println!("{}", keep(&self.out, &file_name(seed), &module, "not run"));
        Ok(())
    }

    /// Runs one generated guest.
    ///
    /// # Errors
    ///
    /// The first difference, with the name of the module's file.
    pub fn execute(&self, seed: u64, tally: &mut Tally) -> Result<(), String> {
        let (plan, input) = plan(seed);
        let mut count = |what: String| *tally.entry(what).or_default() += 1;
        let Some(module) = plan.module(&input) else {
            count("no module".to_owned());
            return Ok(());
        };
        count(format!(
            "modules, {}{}",
            if plan.is_soft() { "softened" } else { "raw" },
            if plan.is_metered() { ", by fuel" } else { "" }
        ));
        let difference = match self.compare(&plan, &module) {
            Compared::Same(events) => {
                for event in &events {
                    count(event.kind());
                }
                return Ok(());
            }
            Compared::Masked => {
                count("modules that exhausted the stack (not compared)".to_owned());
                return Ok(());
            }
            Compared::Different(difference) => difference,
        };

        let (module, difference) = self.shrink(&plan, input).unwrap_or((module, difference));
        Err(keep(&self.out, &file_name(seed), &module, &difference))
    }

    fn compare(&self, plan: &Plan, module: &[u8]) -> Compared {
        // The modules end by themselves, or by fuel.
        let limits = Limits::default().timeout(None).start_timeout(None);
        let (engine, interruption, limits) = match plan.is_metered() {
            true => (&self.metered, Interruption::Fuel, limits.fuel(FUEL)),
            false => (&self.engine, Interruption::Time, limits),
        };
        let wasmtime = WasmtimeEngineProvider::builder()
            .engine(engine.clone())
            .interruption(interruption)
            .build(module)
            .map(|provider| Box::new(provider) as _);
        let wasmi = WasmiEngineProvider::builder()
            .engines(NonZeroUsize::MIN)
            .interruption(interruption)
            .build(module)
            .map(|provider| Box::new(provider) as _);
        let mut wasmtime = events_of(wasmtime, &limits);
        let mut wasmi = events_of(wasmi, &limits);
        // A call that is not made takes no fuel.
        let linked_module = linked(module, !plan.is_metered());
        let linked_module = match &linked_module {
            Ok(linked) => linked,
            Err(error) => return Compared::Different(format!("linking failed: {error}")),
        };
        let linked = WasmiEngineProvider::builder()
            .engines(NonZeroUsize::MIN)
            .interruption(interruption)
            .build(linked_module)
            .map(|provider| Box::new(provider) as _);
        let linked = events_of(linked, &limits);
        let killable = (!plan.is_metered()).then(|| {
            let builder = WasmtimeEngineProvider::builder().interruption(Interruption::Kill);
            // Every other one is linked as well.
            let module = match module.len() % 2 {
                0 => linked_module,
                _ => module,
            };
            let provider = builder
                .build(module)
                .map(|provider| Box::new(provider) as _);
            events_of(provider, &limits)
        });
        let killable = killable.unwrap_or_default();
        let all = wasmtime
            .iter()
            .chain(&wasmi)
            .chain(&killable)
            .chain(&linked);
        if all.into_iter().any(Event::is_stack_overflow) {
            return Compared::Masked;
        }
        if let Some(difference) = difference(("wasmi", &wasmi), ("the linked module", &linked)) {
            return Compared::Different(difference);
        }
        if !plan.is_metered()
            && let Some(difference) =
                difference(("wasmtime", &wasmtime), ("its killable code", &killable))
        {
            return Compared::Different(difference);
        }
        let ended_by_fuel = |events: &[Event]| events.iter().position(Event::is_out_of_fuel);
        if let Some(first) = [&wasmtime, &wasmi]
            .into_iter()
            .filter_map(|events| ended_by_fuel(events))
            .min()
        {
            // The engines stopped at different points of the call.
            let same = |events: &[Event]| {
                let before = events.get(..first).unwrap_or(events);
                before
                    .iter()
                    .rposition(Event::is_end)
                    .map_or(0, |end| end + 1)
            };
            let same = same(&wasmtime).min(same(&wasmi));
            wasmtime.truncate(same);
            wasmi.truncate(same);
        }
        match difference(("wasmtime", &wasmtime), ("wasmi", &wasmi)) {
            Some(difference) => Compared::Different(difference),
            None => Compared::Same(wasmtime),
        }
    }

    /// Searches for a smaller module on which the engines differ.
    fn shrink(&self, plan: &Plan, mut input: Vec<u8>) -> Option<(Vec<u8>, String)> {
        let mut smallest: Option<(Vec<u8>, String)> = None;
        let mut attempts = 0;
        let mut differs = |input: &[u8]| {
            attempts += 1;
            let module = plan.module(input).filter(|_| attempts <= MOST_ATTEMPTS);
            let Some(module) = module else { return false };
            if let Some((smallest, _)) = &smallest
                && module.len() >= smallest.len()
            {
                return false;
            }
            match self.compare(plan, &module) {
                Compared::Different(difference) => {
                    smallest = Some((module, difference));
                    true
                }
                _ => false,
            }
        };
        let mut cut = input.len() / 2;
        while cut > 0 {
            let (begin, _) = input.split_at(input.len() - cut);
            match differs(begin) {
                true => input.truncate(input.len() - cut),
                false => cut /= 2,
            }
            cut = cut.min(input.len() / 2);
        }
        let mut size = input.len() / 2;
        while size > 0 {
            let mut place = 0;
            while place < input.len() {
                let mut without = input.clone();
                without.drain(place..(place + size).min(input.len()));
                match differs(&without) {
                    true => input = without,
                    false => place += size,
                }
            }
            size /= 2;
        }
        smallest
    }
}

/// Returns the first difference between the events on two engines.
fn difference(
    (one_name, one): (&str, &[Event]),
    (other_name, other): (&str, &[Event]),
) -> Option<String> {
    let differing = one.iter().zip(other).find(|(one, other)| one != other);
    match differing {
        Some((one, other)) => {
            let place = one.first_difference(other).unwrap_or_default();
            Some(format!("{one_name} {one}, {other_name} {other}{place}"))
        }
        None if one.len() != other.len() => Some(format!(
            "{one_name} had {} events, {other_name} {}",
            one.len(),
            other.len()
        )),
        None => None,
    }
}

/// Returns the plan and the input of a seed.
fn plan(seed: u64) -> (Plan, Vec<u8>) {
    let mut random = Random::new(seed);
    let plan = Plan::new(&mut random);
    let size = 200 + random.below(6000);
    let input = random.bytes(size);
    match random.one_in(4) {
        true => (plan.metered(), input),
        false => (plan, input),
    }
}

fn file_name(seed: u64) -> String {
    format!("guest-{seed}.wasm")
}

/// The fuel of a call: more than most of these guests use, in little time.
const FUEL: u64 = 200_000;

/// The attempts to shrink a module; each takes two compilations.
const MOST_ATTEMPTS: usize = 1000;

enum Compared {
    Same(Vec<Event>),
    Different(String),
    Masked,
}

/// An observable event of a guest.
#[derive(PartialEq, Eq)]
enum Event {
    /// The end of a compilation, a start or a call.
    Ended {
        what: &'static str,
        outcome: String,
        words: String,
    },
    HostCall {
        names: [String; 3],
        payload: Vec<u8>,
    },
    Logged(String),
}

impl Event {
    fn is_stack_overflow(&self) -> bool {
        matches!(self, Self::Ended { outcome, .. } if outcome.ends_with(" stack-overflow"))
    }

    fn is_out_of_fuel(&self) -> bool {
        matches!(self, Self::Ended { outcome, .. } if outcome == "limit fuel-or-deadline")
    }

    const fn is_end(&self) -> bool {
        matches!(self, Self::Ended { .. })
    }

    /// Describes the first difference of the payloads of two host calls.
    fn first_difference(&self, other: &Self) -> Option<String> {
        let (Self::HostCall { payload: one, .. }, Self::HostCall { payload: other, .. }) =
            (self, other)
        else {
            return None;
        };
        let place = one
            .iter()
            .zip(other)
            .position(|(one, other)| one != other)?;
        let part = |bytes: &[u8]| bytes.iter().skip(place & !3).take(8).copied().collect();
        let (one, other): (Vec<u8>, Vec<u8>) = (part(one), part(other));
        Some(format!(
            " (they differ at byte {place:#x}: {one:02x?}, {other:02x?})"
        ))
    }

    /// The name under which the event is counted.
    fn kind(&self) -> String {
        match self {
            Self::Ended { what, outcome, .. } => {
                let words = match outcome.starts_with("ok") || outcome.starts_with("guest-error") {
                    true => 1,
                    false => 2,
                };
                let outcome: Vec<_> = outcome.split(' ').take(words).collect();
                format!("{what}: {}", outcome.join(" "))
            }
            Self::HostCall { .. } => "host call".to_owned(),
            Self::Logged(_) => "log line".to_owned(),
        }
    }
}

impl fmt::Display for Event {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let part = |text: &str| text.chars().take(SHOWN_CHARS).collect::<String>();
        match self {
            Self::Ended {
                what,
                outcome,
                words,
            } => write!(f, "{what}: {} ({})", part(outcome), part(words)),
            Self::HostCall { names, payload } => {
                let payload_text = payload.escape_ascii().to_string();
                write!(
                    f,
                    "host call {names:?} of {} bytes {}",
                    payload.len(),
                    part(&payload_text)
                )
            }
            Self::Logged(line) => write!(f, "logged {:?}", part(line)),
        }
    }
}

const SHOWN_CHARS: usize = 100;

type Events = Arc<Mutex<Vec<Event>>>;

/// Starts a guest and calls it.
fn events_of(
    provider: Result<Box<dyn WebAssemblyEngineProvider>, ModuleError>,
    limits: &Limits,
) -> Vec<Event> {
    let events = Events::default();
    let callback = Callback(Arc::clone(&events));
    drop(log_lines::take());
    let host = provider
        .map_err(|error| Error::Init(error.into()))
        .and_then(|provider| {
            WapcHost::builder(provider)
                .limits(limits.clone())
                .build_with(callback)
        });
    let note = |what, result: &Result<Vec<u8>, Error>| {
        let mut events = events.lock();
        // The host's id differs between the engines.
        events.extend(log_lines::take().iter().map(|line| {
            let line = line.split_once("] ").map_or(&**line, |(_, line)| line);
            Event::Logged(line.to_owned())
        }));
        events.push(Event::Ended {
            what,
            outcome: outcome(result),
            words: result.as_ref().map_or_else(words, |_| String::new()),
        });
    };
    match host {
        Err(error) => note("start", &Err(error)),
        Ok(host) => {
            note("start", &Ok(vec![]));
            for (operation, payload) in CALLS {
                note("call", &host.call(operation, payload));
            }
        }
    }
    std::mem::take(&mut *events.lock())
}

const CALLS: [(&str, &[u8]); 3] = [
    ("operation", b"payload"),
    ("", b""),
    ("another", &[0xa5; 300]),
];

/// A callback that records its arguments. Its answer depends on them alone.
struct Callback(Events);

impl HostCallback for Callback {
    fn call(&self, call: HostCall<'_>, response: &mut Vec<u8>) -> Result<(), BoxError> {
        self.0.lock().push(Event::HostCall {
            names: [call.binding, call.namespace, call.operation].map(str::to_owned),
            payload: call.payload.to_vec(),
        });
        if call.payload.len() % 4 == 3 {
            return Err(format!("refused {} bytes", call.payload.len()).into());
        }
        response.extend(call.payload.iter().rev().take(512));
        response.extend_from_slice(call.operation.as_bytes());
        Ok(())
    }
}

/// An engine with the settings of `provider-wasmtime`, except that it compiles
/// without optimisation and on one thread: the other threads run executions of their
/// own.
fn engine(metered: bool) -> Engine {
    let mut config = Config::new();
    config
        .consume_fuel(metered)
        .cranelift_opt_level(OptLevel::None)
        .parallel_compilation(false)
        .wasm_exceptions(false)
        .wasm_function_references(false)
        .wasm_gc(false)
        .wasm_memory64(false)
        .wasm_relaxed_simd(false)
        .wasm_wide_arithmetic(false)
        .wasm_custom_page_sizes(false);
    Engine::new(&config).expect("these settings go together, as in provider-wasmtime")
}
