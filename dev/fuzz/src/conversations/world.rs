//! The state that a conversation's parts share: the plan, the model of the host,
//! and the first difference.

use std::{
    any::Any,
    collections::BTreeSet,
    fmt,
    panic::{AssertUnwindSafe, catch_unwind, resume_unwind},
    sync::{Arc, OnceLock, Weak},
};

use conformance::chain;
use parking_lot::Mutex;
use wapc_host::{
    BoxError, Error, HostCall, HostCallback, WapcHost,
    error::{ProtocolError, Trap},
};

use super::model::{Call, Said};
use crate::random::Random;

/// The bytes that the scripted engine takes for a module, and those that it
/// refuses.
pub(super) const MODULE: &[u8] = b"module";
const NO_MODULE: &[u8] = b"no module";

/// A panic on purpose. It is raised without the panic hook.
struct OnPurpose(u64);

pub(super) struct World {
    pub(super) shared: Mutex<Shared>,
    pub(super) host: OnceLock<Weak<WapcHost>>,
}

/// A conversation runs on one thread; the lock is for the types, and is never held
/// while the host is called.
pub(super) struct Shared {
    pub(super) random: Random,
    /// From now on guests do nothing wrong.
    pub(super) good: bool,
    pub(super) difference: Option<String>,
    pub(super) model: HostModel,
    /// The request that the host's caller has lent.
    pub(super) lent: (String, Vec<u8>),
    /// The ends of start functions, until the code that caused them takes them.
    pub(super) started: Vec<Started>,
    /// The end of the guest's call.
    pub(super) ended: Option<Ended>,
    /// The next call of the callback, and its action.
    pub(super) expected_call: Option<(Call, Answer)>,
    /// The instances that are alive.
    pub(super) live: BTreeSet<u64>,
    pub(super) host_id: Option<u64>,
    numbers: u64,
    swaps_under_way: usize,
}

/// The model of the host.
#[derive(Debug)]
pub(super) struct HostModel {
    pub(super) generation: u64,
    /// The instance that the last swap made and no call has used yet.
    pub(super) first: Option<u64>,
    pub(super) slot: Option<u64>,
    /// The instance that a panic of the engine has left in the slot.
    pub(super) poisoned: Option<u64>,
    pub(super) slot_generation: u64,
    /// A call or a check-out is under way.
    pub(super) busy: bool,
}

impl HostModel {
    /// Ends a call or a check-out: instances of old code are dropped, and those that a
    /// panic has left.
    pub(super) fn leave(&mut self) {
        self.busy = false;
        self.poisoned = None;
        if self.slot_generation != self.generation {
            self.slot = None;
        }
    }
}

/// The end of an instance's start functions.
#[derive(Debug)]
pub(super) enum Started {
    Instance(u64),
    /// The text of the engine's error.
    Failed(String),
    Panicked(u64),
}

/// The end of a guest's call.
#[derive(Debug)]
pub(super) struct Ended {
    pub(super) instance: u64,
    pub(super) ending: Ending,
    pub(super) responses: Vec<Vec<u8>>,
}

#[derive(Debug)]
pub(super) enum Ending {
    Responded,
    Guest(Said),
    Trapped(Trap, Option<Said>),
    Exited(i32),
    Protocol(ProtocolError),
    /// The text of the engine's error.
    Engine(String),
    CallbackPanic(u64),
    EnginePanic(u64),
}

/// The callback's action.
#[derive(Clone, Debug)]
pub(super) struct Answer {
    pub(super) kind: AnswerKind,
    /// It calls the host before it answers.
    pub(super) reenters: bool,
    /// It swaps the module before it answers.
    pub(super) swaps: bool,
}

#[derive(Clone, Debug)]
pub(super) enum AnswerKind {
    Bytes(Vec<u8>),
    /// Fails with this text, after it has put these bytes into the response.
    Failure(String, Vec<u8>),
    Panic(u64),
}

impl World {
    pub(super) fn new(random: Random) -> Arc<Self> {
        Arc::new(Self {
            shared: Mutex::new(Shared {
                random,
                good: false,
                difference: None,
                model: HostModel {
                    generation: 1,
                    first: None,
                    slot: None,
                    poisoned: None,
                    slot_generation: 1,
                    busy: false,
                },
                lent: Default::default(),
                started: vec![],
                ended: None,
                expected_call: None,
                live: BTreeSet::new(),
                host_id: None,
                numbers: 0,
                swaps_under_way: 0,
            }),
            host: OnceLock::new(),
        })
    }

    /// Returns a random sequence for one part of the conversation.
    pub(super) fn random(&self) -> Random {
        self.shared.lock().random.fork()
    }

    /// Returns a number that is unique in this conversation.
    pub(super) fn number(&self) -> u64 {
        let mut shared = self.shared.lock();
        shared.numbers += 1;
        shared.numbers
    }

    /// Records a difference from the model. Only the first one is kept.
    pub(super) fn differ(&self, difference: impl Into<String>) {
        self.shared
            .lock()
            .difference
            .get_or_insert(difference.into());
    }

    pub(super) fn same<T: PartialEq + fmt::Debug>(&self, what: &str, found: &T, expected: &T) {
        if found != expected {
            self.differ(format!("{what}: expected {expected:?}, found {found:?}"));
        }
    }

    pub(super) fn host(&self) -> Option<Arc<WapcHost>> {
        self.host.get()?.upgrade()
    }

    /// Swaps the module, and checks the result.
    pub(super) fn swap(&self, host: &WapcHost) {
        let (refused, nested) = {
            let mut shared = self.shared.lock();
            if shared.swaps_under_way == MOST_NESTED_SWAPS {
                return;
            }
            shared.swaps_under_way += 1;
            let refused = !shared.good && shared.random.one_in(4);
            (refused, shared.swaps_under_way > 1)
        };
        let module = if refused { NO_MODULE } else { MODULE };
        let result = catch_unwind(AssertUnwindSafe(|| host.replace_module(module)));

        let mut shared = self.shared.lock();
        shared.swaps_under_way -= 1;
        if nested {
            drop(shared);
            if !matches!(result, Ok(Err(Error::Reentrant { .. }))) {
                self.differ("a swap within a swap was not refused");
            }
            return;
        }
        let started = if refused { None } else { shared.started.pop() };
        let as_expected = match (&started, &result) {
            (None, Ok(Err(Error::Init(_)))) => refused,
            (Some(Started::Instance(instance)), Ok(Ok(()))) => {
                let model = &mut shared.model;
                model.generation += 1;
                if model.busy {
                    model.first = Some(*instance);
                } else {
                    model.slot = Some(*instance);
                    model.slot_generation = model.generation;
                    model.first = None;
                    model.poisoned = None;
                }
                true
            }
            (Some(Started::Failed(words)), Ok(Err(Error::Init(error)))) => chain(error) == *words,
            (Some(Started::Panicked(number)), Err(panic)) => is_on_purpose(&**panic, *number),
            _ => false,
        };
        let generation = shared.model.generation;
        drop(shared);
        self.same("the generation", &host.generation(), &generation);
        if !as_expected {
            self.differ(format!(
                "a swap whose start ended with {started:?} gave {}",
                words_of(&result)
            ));
        }
    }

    /// Calls the host from within one of its calls. From the start functions of
    /// a swap it would be an ordinary call.
    pub(super) fn reenter(&self, host: &WapcHost) {
        if !self.shared.lock().model.busy {
            return;
        }
        let errors = [
            host.call("again", b"").err(),
            host.call_with("again", b"", |_| ()).err(),
            host.check_out().err(),
        ];
        for (error, its_operation) in errors.iter().zip(["again", "again", "(check-out)"]) {
            match error {
                Some(Error::Reentrant { operation, host_id })
                    if operation == its_operation && *host_id == host.id() => {}
                error => self.differ(format!("the host gave {error:?} to a re-entrant call")),
            }
        }
    }

    /// Answers a guest's call as planned.
    fn answer(&self, call: HostCall<'_>, response: &mut Vec<u8>) -> Result<(), BoxError> {
        let (expected, host_id) = {
            let mut shared = self.shared.lock();
            (shared.expected_call.take(), shared.host_id)
        };
        let Some((expected, answer)) = expected else {
            self.differ(format!("the callback was called unexpectedly: {call:?}"));
            return Ok(());
        };
        let found = Call {
            binding: call.binding.to_owned(),
            namespace: call.namespace.to_owned(),
            operation: call.operation.to_owned(),
            payload: call.payload.to_vec(),
        };
        self.same("the callback", &found, &expected);
        self.same("the callback's host", &Some(call.host_id), &host_id);
        if !response.is_empty() {
            self.differ("the callback's response was not empty");
        }
        if let Some(host) = self.host() {
            if answer.reenters {
                self.reenter(&host);
            }
            if answer.swaps {
                self.swap(&host);
            }
        }
        match answer.kind {
            AnswerKind::Bytes(bytes) => {
                response.extend_from_slice(&bytes);
                Ok(())
            }
            AnswerKind::Failure(text, bytes) => {
                response.extend_from_slice(&bytes);
                Err(text.into())
            }
            AnswerKind::Panic(number) => panic_on_purpose(number),
        }
    }
}

/// A start function may swap the module whose start functions may do so too.
const MOST_NESTED_SWAPS: usize = 2;

/// The callback that executes the [`World`]'s plan.
pub(super) struct Callback(pub(super) Arc<World>);

impl HostCallback for Callback {
    fn call(&self, call: HostCall<'_>, response: &mut Vec<u8>) -> Result<(), BoxError> {
        self.0.answer(call, response)
    }
}

pub(super) fn panic_on_purpose(number: u64) -> ! {
    resume_unwind(Box::new(OnPurpose(number)))
}

pub(super) fn is_on_purpose(panic: &(dyn Any + Send), number: u64) -> bool {
    matches!(panic.downcast_ref(), Some(OnPurpose(its_number)) if *its_number == number)
}

/// Describes a result or a panic.
pub(super) fn words_of<T: fmt::Debug>(
    result: &Result<Result<T, Error>, Box<dyn Any + Send>>,
) -> String {
    match result {
        Ok(Ok(value)) => format!("{value:?}"),
        Ok(Err(error)) => format!("the error: {}", chain(error)),
        Err(panic) => match panic.downcast_ref() {
            Some(OnPurpose(number)) => format!("the panic {number}"),
            None => "a panic that is not on purpose".to_owned(),
        },
    }
}
