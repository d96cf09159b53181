//! Tier-up over scripted guests.
#![expect(
    clippy::unwrap_used,
    reason = "what a test's own functions unwrap fails the test"
)]

use std::{
    error::Error as StdError,
    sync::{Arc, Barrier, mpsc},
    thread,
    time::{Duration, Instant},
};

use parking_lot::Mutex;

use super::*;
use crate::{
    CheckedOut, Error, ModuleState, Reuse, WapcHost,
    engine::{
        GuestInstance,
        scripted::{ScriptedProvider, answer},
    },
    error::{ErrorKind, ModuleError},
};

type Compiled = Result<Box<dyn WebAssemblyEngineProvider>, EngineError>;

/// Compiles guests that answer with `name` and their module.
fn tier(name: &'static str) -> impl Fn(&[u8]) -> Compiled {
    move |module| {
        let text = [name.as_bytes(), module].concat();
        Ok(Box::new(ScriptedProvider::new(move |guest, op, msg| {
            guest.request(op, msg)?;
            guest.respond(&text)
        })))
    }
}

/// Holds the compilation of each optimized tier until the test lets it go.
struct Gate {
    barrier: Arc<Barrier>,
    told: mpsc::Receiver<Result<(), String>>,
}

impl Gate {
    /// Waits until a compilation has begun.
    fn reach(&self) {
        self.barrier.wait();
    }

    /// Lets it go on, and waits for its outcome. The host may not have moved
    /// over yet.
    fn pass(&self) -> Result<(), String> {
        self.barrier.wait();
        self.told.recv().unwrap()
    }

    fn open(&self) -> Result<(), String> {
        self.reach();
        self.pass()
    }
}

/// Tiers whose optimized one waits for the gate.
fn gated(baseline: impl CompileTier, optimized: impl CompileTier) -> (Gate, Tiers) {
    let barrier = Arc::new(Barrier::new(2));
    let (tell, told) = mpsc::channel();
    let hold = Arc::clone(&barrier);
    let tiers = Tiers::new(baseline, move |module: &[u8]| {
        hold.wait();
        hold.wait();
        optimized(module)
    });
    let tiers = tiers.observer(move |outcome| {
        // The test may be over.
        _ = tell.send(outcome.map_err(ToString::to_string));
    });
    (Gate { barrier, told }, tiers)
}

fn host(module: &[u8], tiers: Tiers) -> WapcHost {
    let builder = WapcHost::tiered(module, tiers).unwrap();
    builder.build(answer).unwrap()
}

fn answer_of(host: &WapcHost) -> String {
    String::from_utf8(host.call("", b"").unwrap()).unwrap()
}

/// Waits until the host's thread has nothing to do.
fn settled(host: &WapcHost) -> Tier {
    let began = Instant::now();
    while !host.shared.tier_queue.is_idle() {
        assert!(began.elapsed() < Duration::from_secs(60), "it never ends");
        thread::yield_now();
    }
    host.stats().tier
}

/// Returns `true` if the tier is the baseline for good, for a reason of type `E`.
fn is_baseline_only<E: StdError + 'static>(tier: &Tier, expected: fn(&E) -> bool) -> bool {
    matches!(tier, Tier::BaselineOnly(why) if why.downcast_ref().is_some_and(expected))
}

#[test]
fn the_baseline_answers_until_the_optimized_tier_is_ready() {
    let (gate, tiers) = gated(tier("baseline "), tier("optimized "));
    let host = host(b"1", tiers);
    assert_eq!(answer_of(&host), "baseline 1");
    assert!(matches!(host.stats().tier, Tier::Baseline));
    gate.open().unwrap();
    assert!(matches!(settled(&host), Tier::Optimized));
    assert_eq!(answer_of(&host), "optimized 1");
    assert_eq!(host.generation(), 2);
    assert!(
        matches!(host.rollback(), Err(Error::NoPrevious)),
        "there was no other code"
    );
}

#[test]
fn a_swap_begins_on_the_baseline_and_a_rollback_skips_it() {
    let (gate, tiers) = gated(tier("baseline "), tier("optimized "));
    let host = host(b"1", tiers);
    gate.open().unwrap();
    assert!(matches!(settled(&host), Tier::Optimized));

    host.replace_module(b"2").unwrap();
    assert_eq!(answer_of(&host), "baseline 2");
    assert!(matches!(host.stats().tier, Tier::Baseline));
    gate.open().unwrap();
    assert!(matches!(settled(&host), Tier::Optimized));
    assert_eq!(answer_of(&host), "optimized 2");
    host.rollback().unwrap();
    assert_eq!(answer_of(&host), "optimized 1");
    assert!(matches!(host.stats().tier, Tier::Optimized));
    assert!(gate.told.try_recv().is_err(), "it is not compiled again");
}

#[test]
fn neither_the_baseline_nor_the_module_is_kept_once_the_host_has_moved_over() {
    let (gate, tiers) = gated(tier("baseline"), tier("optimized"));
    let host = host(b"", tiers);
    let (baseline, tier_up) = {
        let code = host.shared.published().current.code();
        let tier_up = Arc::downgrade(code.tier.tier_up().unwrap());
        (Arc::downgrade(&code.provider), tier_up)
    };
    assert!(baseline.strong_count() > 0 && tier_up.strong_count() > 0);
    gate.open().unwrap();
    settled(&host);
    assert_eq!((baseline.strong_count(), tier_up.strong_count()), (0, 0));
}

#[test]
fn a_host_that_has_swapped_meanwhile_is_left_alone() {
    let (gate, tiers) = gated(tier("baseline "), tier("optimized "));
    let host = host(b"1", tiers);
    gate.reach();
    host.swap_provider(tier("other ")(b"").unwrap()).unwrap();
    assert!(matches!(host.stats().tier, Tier::Single));
    gate.pass().unwrap();
    assert!(matches!(settled(&host), Tier::Single));
    assert_eq!(answer_of(&host), "other ");
    assert_eq!(host.generation(), 2);

    host.rollback().unwrap();
    assert!(matches!(settled(&host), Tier::Optimized));
    assert_eq!(answer_of(&host), "optimized 1");
    assert!(gate.told.try_recv().is_err(), "it is not compiled again");
}

#[test]
fn the_optimized_tier_waits_for_a_swap_however_long_that_takes() {
    let (gate, tiers) = gated(tier("baseline "), tier("optimized "));
    let builder = WapcHost::tiered(b"1", tiers).unwrap();
    let host = builder.wait_limit(Duration::ZERO).build(answer).unwrap();
    let (entered, leave) = (Barrier::new(2), Barrier::new(2));
    thread::scope(|scope| {
        let refused = scope.spawn(|| {
            let probe = |_: &mut CheckedOut<'_>| {
                entered.wait();
                leave.wait();
                Err("refused".into())
            };
            host.swap()
                .probe(probe)
                .provider(tier("other")(b"").unwrap())
        });
        entered.wait();
        gate.open().unwrap();
        // Time to give up.
        for _ in 0..1000 {
            thread::yield_now();
        }
        leave.wait();
        assert!(matches!(refused.join().unwrap(), Err(Error::Probe(_))));
    });
    assert!(matches!(settled(&host), Tier::Optimized));
    assert_eq!(answer_of(&host), "optimized 1");
}

#[test]
fn the_newest_module_is_optimized_first_and_one_that_no_longer_serves_not_before_a_rollback() {
    let optimized = Arc::new(Mutex::new(Vec::new()));
    let order = Arc::clone(&optimized);
    let (gate, tiers) = gated(tier("baseline "), move |module| {
        order.lock().push(module.to_vec());
        tier("optimized ")(module)
    });
    let host = host(b"1", tiers);
    gate.reach();
    for module in [b"2", b"3"] {
        host.replace_module(module).unwrap();
    }
    gate.pass().unwrap();
    gate.open().unwrap();
    assert!(matches!(settled(&host), Tier::Optimized));
    assert_eq!(answer_of(&host), "optimized 3");
    assert_eq!(*optimized.lock(), [b"1", b"3"]);

    host.rollback().unwrap();
    assert_eq!(answer_of(&host), "baseline 2");
    gate.open().unwrap();
    assert!(matches!(settled(&host), Tier::Optimized));
    assert_eq!(answer_of(&host), "optimized 2");
    assert_eq!(*optimized.lock(), [b"1", b"3", b"2"]);
}

#[test]
fn a_host_of_another_provider_has_one_tier_until_it_is_given_tiers() {
    let (gate, tiers) = gated(tier("baseline "), tier("optimized "));
    let tiers = Arc::new(tiers);
    let host = ScriptedProvider::echo().host().unwrap();
    host.swap().tiered(b"1", Arc::clone(&tiers)).unwrap();
    assert_eq!(answer_of(&host), "baseline 1");
    gate.open().unwrap();
    assert!(matches!(settled(&host), Tier::Optimized));
    assert_eq!(answer_of(&host), "optimized 1");

    host.swap_provider(Box::new(ScriptedProvider::echo()))
        .unwrap();
    host.replace_module(b"echo").unwrap();
    assert!(matches!(host.stats().tier, Tier::Single));
    assert_eq!(host.call("", b"echoed").unwrap(), b"echoed");

    host.swap()
        .probe(|candidate| match candidate.call("", b"")?.as_slice() {
            b"baseline 2" => Ok(()),
            other => Err(format!("{other:?}").into()),
        })
        .tiered(b"2", tiers)
        .unwrap();
    gate.open().unwrap();
    assert!(matches!(settled(&host), Tier::Optimized));
    assert_eq!(answer_of(&host), "optimized 2");
    host.rollback().unwrap();
    assert!(matches!(host.stats().tier, Tier::Single));
}

#[test]
fn nothing_is_optimized_for_a_swap_that_fails() {
    let (gate, tiers) = gated(tier("baseline "), tier("optimized "));
    let host = host(b"1", tiers);
    gate.open().unwrap();
    settled(&host);
    let refused = host.swap().probe(|_| Err("no".into())).module(b"2");
    assert!(matches!(refused, Err(Error::Probe(_))), "{refused:?}");
    // One that was waiting for the gate would keep the thread from this.
    assert!(matches!(settled(&host), Tier::Optimized));
    assert_eq!(answer_of(&host), "optimized 1");
}

/// The optimized tier is compiled while the first instance is made.
#[test]
fn an_optimized_tier_that_is_ready_before_the_first_instance_serves() {
    let (compiling, compiled) = (Arc::new(Barrier::new(2)), Arc::new(Barrier::new(2)));
    let (hold, tell) = (Arc::clone(&compiling), Arc::clone(&compiled));
    let baseline = move |_: &[u8]| -> Compiled {
        let (compiling, compiled) = (Arc::clone(&compiling), Arc::clone(&compiled));
        let baseline = ScriptedProvider::new(|guest, _, _| guest.respond(b"baseline"));
        Ok(Box::new(baseline.with_start(move |_| {
            compiling.wait();
            compiled.wait();
            Ok(())
        })))
    };
    let tiers = Tiers::new(baseline, move |module: &[u8]| {
        hold.wait();
        tier("optimized")(module)
    });
    let tiers = tiers.observer(move |_| {
        tell.wait();
    });
    let host = host(b"", tiers);
    assert!(matches!(settled(&host), Tier::Optimized));
    assert_eq!(answer_of(&host), "optimized");
}

#[test]
fn a_host_that_is_built_late_begins_on_the_optimized_tier() {
    let (gate, tiers) = gated(tier("baseline"), tier("optimized"));
    let builder = WapcHost::tiered(b"", tiers).unwrap();
    gate.open().unwrap();
    while builder.code.tier.tier_up().unwrap().compiled().is_none() {
        thread::yield_now();
    }
    let host = builder.build(answer).unwrap();
    assert!(matches!(host.stats().tier, Tier::Optimized));
    assert_eq!(answer_of(&host), "optimized");
    assert_eq!(host.generation(), 1);
}

#[test]
fn a_baseline_that_refuses_the_module_is_an_error() {
    let tiers = Tiers::new(|_| Err(ModuleError::Empty.into()), tier("optimized"));
    let refused = WapcHost::tiered(b"", tiers);
    assert!(matches!(
        refused,
        Err(Error::Init(EngineError::Module(ModuleError::Empty)))
    ));
}

/// New instances are of the baseline too, also while the host tries to move
/// over.
#[test]
fn an_optimized_tier_that_makes_no_instances_leaves_the_baseline() {
    let (begin, tried) = (Arc::new(Barrier::new(2)), Arc::new(Barrier::new(2)));
    let (hold, end) = (Arc::clone(&begin), Arc::clone(&tried));
    let (gate, tiers) = gated(tier("baseline"), move |_| {
        let (hold, end) = (Arc::clone(&hold), Arc::clone(&end));
        Ok(Box::new(ScriptedProvider::echo().with_start(move |_| {
            hold.wait();
            end.wait();
            Err(EngineError::Other("no more room".into()))
        })))
    });
    let host = WapcHost::tiered(b"", tiers)
        .unwrap()
        .reuse(Reuse::Fresh)
        .build(answer)
        .unwrap();
    gate.open().unwrap();
    begin.wait();
    assert_eq!(answer_of(&host), "baseline");
    assert!(matches!(host.stats().tier, Tier::Baseline));
    tried.wait();
    let tier = settled(&host);
    assert!(
        is_baseline_only(&tier, |why| matches!(
            why,
            Error::Init(EngineError::Start { .. })
        )),
        "{tier:?}"
    );
    assert_eq!(answer_of(&host), "baseline");
    assert_eq!(host.stats().errors.of(ErrorKind::Init), 1);
    assert_eq!(host.generation(), 1);
}

#[test]
fn an_optimized_tier_that_panics_leaves_the_baseline_and_the_next_one_is_tried() {
    let tiers = Tiers::new(tier("baseline "), |module: &[u8]| match module {
        b"bad" => panic!("on purpose"),
        good => tier("optimized ")(good),
    });
    let host = host(b"bad", tiers);
    let tier = settled(&host);
    let panicked = |why: &EngineError| match why {
        EngineError::Other(why) => why.is::<queue::Panicked>(),
        _ => false,
    };
    assert!(is_baseline_only(&tier, panicked), "{tier:?}");
    assert_eq!(answer_of(&host), "baseline bad");

    host.replace_module(b"good").unwrap();
    assert!(matches!(settled(&host), Tier::Optimized));
    assert_eq!(answer_of(&host), "optimized good");
}

#[test]
fn an_optimized_tier_that_refuses_the_module_leaves_the_baseline() {
    let (gate, tiers) = gated(tier("baseline"), |_| Err(ModuleError::Empty.into()));
    let host = host(b"", tiers);
    gate.open().unwrap_err();
    let tier = settled(&host);
    assert!(
        is_baseline_only(&tier, |why| matches!(why, EngineError::Module(_))),
        "{tier:?}"
    );
    assert_eq!(answer_of(&host), "baseline");
    assert_eq!(host.generation(), 1);
}

#[test]
fn an_optimized_tier_that_keeps_fewer_limits_is_refused() {
    struct Off(Box<dyn WebAssemblyEngineProvider>);
    impl WebAssemblyEngineProvider for Off {
        fn init(&self, state: ModuleState) -> Result<Box<dyn GuestInstance>, EngineError> {
            self.0.init(state)
        }

        fn replace(&self, module: &[u8]) -> Compiled {
            self.0.replace(module)
        }
    }

    let (gate, tiers) = gated(tier("baseline"), |module: &[u8]| {
        Ok(Box::new(Off(tier("optimized")(module)?)))
    });
    let host = host(b"", tiers);
    gate.open().unwrap_err();
    let tier = settled(&host);
    assert!(
        is_baseline_only(&tier, |why| matches!(why, EngineError::Other(_))),
        "{tier:?}"
    );
    assert_eq!(answer_of(&host), "baseline");
}
