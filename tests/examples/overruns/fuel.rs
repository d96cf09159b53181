//! Fuel, which each engine counts in its own units.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

use conformance::{
    Capability::{AnyModule, Fuel},
    Engine, engines,
};
use wapc_host::{Error, Interruption, Limits, WapcHost, error::LimitError};

use crate::{
    Verdict,
    guests::{MEMORY, guest},
};

/// The host calls in each turn of the guests' loop.
const IN_A_TURN: [usize; 2] = [1, 100];

const FUEL: u64 = 100_000;

/// Measures the fuel that a guest gets. The guest calls the host until it is out of
/// fuel. The same guest with more fuel traps after that many calls: the fuel it has
/// spent is what the first run got.
pub(crate) fn measure(verdict: &mut Verdict) {
    println!("| fuel | allowed | engine | the most that a guest got | past | one turn |");
    println!("|---|--:|---|--:|--:|--:|");
    for in_a_turn in IN_A_TURN {
        let calls = match in_a_turn {
            1 => "a loop of one host call".to_owned(),
            many => format!("a loop of {many} host calls"),
        };
        for engine in engines(&[AnyModule, Fuel]) {
            let meter = Meter::new(engine, in_a_turn);
            let most = meter.spent(meter.calls_with(FUEL));
            let turn = meter.spent(2 * in_a_turn) - meter.spent(in_a_turn);
            let past = most.saturating_sub(FUEL);
            println!(
                "| {calls} | {FUEL} units | {} | {most} | {past} | {turn} |",
                engine.name
            );
            // `Limits::fuel` documents these bounds.
            let documented = match engine.name {
                "wasmi" => 0,
                _ => turn,
            };
            verdict.expect(past <= documented, || {
                format!("fuel in {calls} on {}: {past} units past", engine.name)
            });
            verdict.expect(most + turn >= FUEL, || {
                format!("fuel in {calls} on {}: {most} units only", engine.name)
            });
        }
    }
}

/// A guest that calls the host for ever, or traps after as many calls as its payload
/// has bytes.
struct Meter<'e> {
    engine: &'e Engine,
    module: Vec<u8>,
}

impl<'e> Meter<'e> {
    fn new(engine: &'e Engine, in_a_turn: usize) -> Self {
        let call = "(call $ask)
            (local.set $count (i32.add (local.get $count) (i32.const 1)))
            (br_if $enough (i32.eq (local.get $count) (local.get $len)))";
        let calls = call.repeat(in_a_turn);
        let code = format!("(block $enough (loop $more {calls} (br $more))) (unreachable)");
        Self {
            engine,
            module: guest(MEMORY, &code),
        }
    }

    /// Returns the number of host calls that this fuel suffices for.
    fn calls_with(&self, fuel: u64) -> usize {
        let calls = Arc::new(AtomicUsize::new(0));
        let counted = Arc::clone(&calls);
        let result = self.call(fuel, &[], move || {
            counted.fetch_add(1, Ordering::Relaxed);
        });
        assert!(
            matches!(
                result,
                Error::Limit {
                    source: LimitError::Fuel { .. },
                    ..
                }
            ),
            "{result:?}"
        );
        calls.load(Ordering::Relaxed)
    }

    /// Returns the fuel that this many host calls use.
    fn spent(&self, calls: usize) -> u64 {
        match self.call(u64::MAX, &vec![0; calls], || {}) {
            Error::Trapped { spent, .. } => spent.fuel.expect("fuel is counted"),
            error => panic!("it must trap, and not: {error:?}"),
        }
    }

    fn call(&self, fuel: u64, payload: &[u8], called: impl Fn() + Send + Sync + 'static) -> Error {
        let provider = self.engine.interruptible(&self.module, Interruption::Fuel);
        let limits = Limits::unlimited().fuel(fuel);
        WapcHost::builder(provider)
            .limits(limits)
            .build(move |_, _, _, _, _| {
                called();
                Ok(vec![])
            })
            .expect("a host")
            .call("op", payload)
            .expect_err("it never responds")
    }
}
