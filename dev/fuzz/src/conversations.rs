//! The host and `ModuleState`, driven by a scripted engine, against a model.
//!
//! One execution is one host: some calls in all their forms, check-outs and
//! swaps. Its guests call the methods of `ModuleState` in random order with
//! numbers near the edges; its callback answers, fails, gives large answers,
//! panics, calls the host again or swaps the module. An execution checks the
//! result of each method, the whole memory after it, the callback's arguments,
//! the caller's result, which instance has answered, which instances are alive,
//! and that the next good call is answered.

mod guest;
mod model;
mod world;

use std::{
    any::Any,
    fmt,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::Arc,
    thread,
    time::{Duration, Instant},
};

use conformance::chain;
use wapc_host::{CheckedOut, Error, Limits, WapcHost};

use self::{
    guest::Provider,
    world::{Callback, Ended, Ending, Started, World, is_on_purpose, panic_on_purpose, words_of},
};
use crate::{random::Random, runner::Tally};

/// One conversation.
///
/// # Errors
///
/// A description of the first difference from the model.
pub fn execute(seed: u64, tally: &mut Tally) -> Result<(), String> {
    let world = World::new(Random::new(seed));
    if let Some(host) = new_host(&world) {
        let mut driver = Driver {
            random: world.random(),
            world: &world,
            host: &host,
            tally,
        };
        driver.drive();
        drop(host);
    }
    // The clock's thread may be the last owner of the host for a moment.
    let begun = Instant::now();
    while !world.shared.lock().live.is_empty() && begun.elapsed() < LETTING_GO {
        thread::yield_now();
    }
    let mut shared = world.shared.lock();
    match shared.difference.take() {
        Some(difference) => Err(difference),
        None if shared.live.is_empty() => Ok(()),
        None => Err(format!(
            "these instances outlive their host: {:?}",
            shared.live
        )),
    }
}

/// The time within which the clock must drop a host: much more than it needs.
const LETTING_GO: Duration = Duration::from_secs(5);

/// A result of the host's, or its panic.
type Caught<T> = Result<Result<T, Error>, Box<dyn Any + Send>>;

fn new_host(world: &Arc<World>) -> Option<Arc<WapcHost>> {
    let provider = Box::new(Provider(Arc::clone(world)));
    let callback = Callback(Arc::clone(world));
    let result = catch_unwind(AssertUnwindSafe(|| {
        WapcHost::builder(provider)
            // Without timeouts the clock sleeps. The model has no periodic maintenance.
            .limits(Limits::default().timeout(None).start_timeout(None))
            .build_with(callback)
    }));
    let mut shared = world.shared.lock();
    let started = shared.started.pop();
    shared.model.slot = match &started {
        Some(Started::Instance(instance)) => Some(*instance),
        _ => None,
    };
    let host_id = shared.host_id;
    drop(shared);
    match result {
        Ok(Ok(host)) => {
            world.same("the host's id", &Some(host.id()), &host_id);
            if !matches!(started, Some(Started::Instance(_))) {
                world.differ(format!(
                    "a host was made of a guest whose start ended with {started:?}"
                ));
            }
            let host = Arc::new(host);
            world.host.get_or_init(|| Arc::downgrade(&host));
            Some(host)
        }
        failed => {
            check_start(world, started.as_ref(), &failed);
            None
        }
    }
}

/// Drives one host.
struct Driver<'c> {
    random: Random,
    world: &'c Arc<World>,
    host: &'c Arc<WapcHost>,
    tally: &'c mut Tally,
}

impl Driver<'_> {
    fn drive(&mut self) {
        for _ in 0..=self.random.below(6) {
            match self.random.below(8) {
                0 => self.world.swap(self.host),
                1 => self.check_out(),
                _ => self.call(None),
            }
            self.check_instances();
        }
        self.world.shared.lock().good = true;
        self.call(None);
        self.check_instances();
    }

    fn check_out(&mut self) {
        let must_make = self.before(Step::CheckOut);
        let result = catch_unwind(AssertUnwindSafe(|| self.host.check_out()));
        let started = self.filled(must_make);
        let mut guest = match result {
            Ok(Ok(guest)) => guest,
            failed => {
                check_start(self.world, started.as_ref(), &failed);
                self.world.shared.lock().model.leave();
                return;
            }
        };
        if matches!(started, Some(Started::Failed(_) | Started::Panicked(_))) {
            self.world.differ(format!(
                "an instance was checked out whose start ended with {started:?}"
            ));
        }
        for _ in 0..self.random.below(5) {
            match self.random.below(6) {
                0 => self.world.swap(self.host),
                1 => self.world.reenter(self.host),
                _ => self.call(Some(&mut guest)),
            }
        }
        drop(guest);
        self.world.shared.lock().model.leave();
    }

    /// Calls the host, or the instance that it has handed out.
    fn call(&mut self, mut guest: Option<&mut CheckedOut<'_>>) {
        let random = &mut self.random;
        let operation = *random.pick(&["op", "", "äöü", "an operation with a long name"]);
        let size = match random.below(40) {
            0 => 65_536,
            _ => random.below(50),
        };
        let payload = vec![b'p'; size];
        self.world.shared.lock().lent = (operation.to_owned(), payload.clone());

        let checked_out = guest.is_some();
        let way = self.random.below(3);
        let reader = Reader {
            world: self.world,
            reenters: self.random.one_in(6),
            panics_at: self.random.one_in(10).then(|| self.random.below(2)),
            number: self.world.number(),
        };
        let must_make = self.before(match checked_out {
            true => Step::CallOfCheckedOut,
            false => Step::Call,
        });
        let mut seen = vec![];
        let result: Caught<Vec<u8>> = catch_unwind(AssertUnwindSafe(|| match (&mut guest, way) {
            (None, 0) => self.host.call(operation, &payload),
            (Some(guest), 0) => guest.call(operation, &payload),
            (guest, 1) => {
                let mut response = b"from the call before".to_vec();
                match guest {
                    None => self.host.call_into(operation, &payload, &mut response),
                    Some(guest) => guest.call_into(operation, &payload, &mut response),
                }
                .map(|()| response)
            }
            (guest, _) => {
                let read = |bytes: &[u8]| reader.read(bytes, self.host, &mut seen);
                match guest {
                    None => self.host.call_with(operation, &payload, read),
                    Some(guest) => guest.call_with(operation, &payload, read),
                }
            }
        }));
        let started = self.filled(must_make);
        let ended = {
            let mut shared = self.world.shared.lock();
            shared.model.busy = checked_out;
            shared.ended.take()
        };
        let Some(ended) = ended else {
            *self.tally.entry("no instance".to_owned()).or_default() += 1;
            check_start(self.world, started.as_ref(), &result);
            if !checked_out {
                self.world.shared.lock().model.leave();
            }
            return;
        };
        let reader = (way == 2).then_some((reader, seen));
        self.check_call(&ended, operation, &result, reader);
        if !checked_out {
            self.world.shared.lock().model.leave();
        }
        if self.world.shared.lock().good && !matches!(ended.ending, Ending::Responded) {
            self.world.differ("the last call was not answered");
        }
    }

    /// Updates the model for a call or a check-out. Returns the generation of which
    /// the host must make an instance first, if it must.
    fn before(&mut self, of: Step) -> Option<u64> {
        let mut shared = self.world.shared.lock();
        let model = &mut shared.model;
        model.busy = true;
        let stale = model.slot_generation != model.generation;
        let fills = match of {
            Step::CheckOut => stale,
            Step::Call => stale || model.slot.is_none(),
            Step::CallOfCheckedOut => model.slot.is_none(),
        };
        if !fills {
            return None;
        }
        model.poisoned = None;
        model.slot = model.first.take();
        if model.slot.is_none() {
            return Some(model.generation);
        }
        model.slot_generation = model.generation;
        None
    }

    /// Records the instance that was made, if one had to be: how it started, and
    /// whether the host has it.
    fn filled(&self, must_make: Option<u64>) -> Option<Started> {
        let mut shared = self.world.shared.lock();
        let started = shared.started.pop();
        if let Some(Started::Instance(instance)) = started
            && let Some(generation) = must_make
        {
            shared.model.slot = Some(instance);
            shared.model.slot_generation = generation;
        }
        drop(shared);
        let made = started.is_some();
        self.world
            .same("a new instance is made", &made, &must_make.is_some());
        started
    }

    /// Checks the caller's result against the end of the guest's call.
    fn check_call(
        &mut self,
        ended: &Ended,
        operation: &str,
        result: &Caught<Vec<u8>>,
        reader: Option<(Reader<'_>, Vec<Vec<u8>>)>,
    ) {
        let Ended {
            instance,
            ending,
            responses,
        } = ended;
        let mut shared = self.world.shared.lock();
        let slot = shared.model.slot;
        match ending {
            Ending::Responded | Ending::Guest(_) => {}
            Ending::EnginePanic(_) => shared.model.poisoned = shared.model.slot.take(),
            _ => shared.model.slot = None,
        }
        drop(shared);
        self.world
            .same("the instance that answers", &Some(*instance), &slot);

        // The result is that of the reader of the last response.
        let reader_panic = reader.and_then(|(reader, seen)| {
            self.world.same("what was read", &seen, responses);
            (reader.panics_at? + 1 == responses.len()).then_some(reader.number)
        });
        let is_operation = |its: &str| its == operation;
        let (met, as_expected) = match (ending, reader_panic, result) {
            (Ending::CallbackPanic(number), _, Err(panic)) => {
                ("callback panic", is_on_purpose(&**panic, *number))
            }
            (Ending::EnginePanic(number), _, Err(panic)) => {
                ("engine panic", is_on_purpose(&**panic, *number))
            }
            (_, Some(number), Err(panic)) => ("reader panic", is_on_purpose(&**panic, number)),
            (Ending::Responded, None, Ok(Ok(response))) => {
                ("response", responses.last() == Some(response))
            }
            (Ending::Guest(said), None, Ok(Err(Error::Guest { operation, message }))) => {
                ("guest error", is_operation(operation) && said.is(message))
            }
            (
                Ending::Trapped(its_trap, said),
                None,
                Ok(Err(Error::Trapped {
                    operation,
                    trap,
                    guest_error,
                    ..
                })),
            ) => {
                let said = match (said, guest_error) {
                    (Some(said), Some(text)) => said.is(text),
                    (said, text) => said.is_none() && text.is_none(),
                };
                ("trap", is_operation(operation) && trap == its_trap && said)
            }
            (
                Ending::Exited(its_code),
                None,
                Ok(Err(Error::Exited {
                    operation, code, ..
                })),
            ) => ("exit", is_operation(operation) && code == its_code),
            (
                Ending::Protocol(error),
                None,
                Ok(Err(Error::Protocol {
                    operation, source, ..
                })),
            ) => ("protocol", is_operation(operation) && source == error),
            (
                Ending::Engine(words),
                None,
                Ok(Err(Error::Engine {
                    operation, source, ..
                })),
            ) => ("engine", is_operation(operation) && chain(source) == *words),
            _ => ("something else", false),
        };
        *self.tally.entry(met.to_owned()).or_default() += 1;
        if !as_expected {
            self.world
                .differ(format!("{ended:?} gave {}", words_of(result)));
        }
    }

    /// Checks that the instances that must be alive are, and no others.
    fn check_instances(&self) {
        let shared = self.world.shared.lock();
        let model = &shared.model;
        let expected = [model.slot, model.poisoned, model.first]
            .into_iter()
            .flatten()
            .collect();
        let live = shared.live.clone();
        drop(shared);
        self.world.same("the living instances", &live, &expected);
    }
}

/// The next step of a driver.
#[derive(Clone, Copy)]
enum Step {
    CheckOut,
    Call,
    CallOfCheckedOut,
}

/// Reads a lent response.
struct Reader<'c> {
    world: &'c World,
    reenters: bool,
    /// The index of the response at which it panics.
    panics_at: Option<usize>,
    number: u64,
}

impl Reader<'_> {
    fn read(&self, response: &[u8], host: &WapcHost, seen: &mut Vec<Vec<u8>>) -> Vec<u8> {
        let index = seen.len();
        seen.push(response.to_vec());
        if self.reenters {
            self.world.reenter(host);
        }
        if self.panics_at == Some(index) {
            panic_on_purpose(self.number);
        }
        response.to_vec()
    }
}

/// Checks the host's error for an instance that failed to start.
fn check_start<T: fmt::Debug>(world: &World, started: Option<&Started>, result: &Caught<T>) {
    let as_expected = match (started, result) {
        (Some(Started::Failed(words)), Ok(Err(Error::Init(error)))) => chain(error) == *words,
        (Some(Started::Panicked(number)), Err(panic)) => is_on_purpose(&**panic, *number),
        _ => false,
    };
    if !as_expected {
        world.differ(format!(
            "a start that ended with {started:?} gave {}",
            words_of(result)
        ));
    }
}
