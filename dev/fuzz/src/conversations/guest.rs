//! An engine whose guests take their steps from a random sequence, and check the
//! results.

use std::{mem, sync::Arc};

use conformance::chain;
use wapc_host::{
    Interruption, ModuleState, WebAssemblyEngineProvider,
    engine::{GuestInstance, GuestReturn},
    error::{
        EngineError, ModuleError, Printable, ProtocolError, StartFunction, StopReason, Trap,
        TrapCode,
    },
};

use super::{
    model::{Call, Model},
    world::{Answer, AnswerKind, Ended, Ending, MODULE, Started, World, panic_on_purpose},
};
use crate::{
    log_lines,
    random::{Random, number},
};

/// The scripted engine.
pub(super) struct Provider(pub(super) Arc<World>);

impl WebAssemblyEngineProvider for Provider {
    fn init(&self, state: ModuleState) -> Result<Box<dyn GuestInstance>, EngineError> {
        let mut guest = Guest::new(&self.0, state);
        let outcome = guest.start();
        let started = match &outcome {
            Ok(()) => Started::Instance(guest.number),
            Err(_) if let Some(number) = guest.callback_panic => Started::Panicked(number),
            Err(error) => Started::Failed(chain(error)),
        };
        self.0.shared.lock().started.push(started);
        outcome.map(|()| Box::new(guest) as _)
    }

    fn replace(&self, module: &[u8]) -> Result<Box<dyn WebAssemblyEngineProvider>, EngineError> {
        match module == MODULE {
            true => Ok(Box::new(Self(Arc::clone(&self.0)))),
            false => Err(ModuleError::Empty.into()),
        }
    }

    /// Scripted guests end by themselves.
    fn interruption(&self) -> Interruption {
        Interruption::TimeAndFuel
    }
}

/// One scripted guest.
struct Guest {
    number: u64,
    world: Arc<World>,
    state: ModuleState,
    memory: Vec<u8>,
    model: Model,
    /// The callback has panicked.
    callback_panic: Option<u64>,
}

impl Guest {
    fn new(world: &Arc<World>, state: ModuleState) -> Self {
        let number = world.number();
        let memory = memory(&mut world.random());
        let mut shared = world.shared.lock();
        shared.live.insert(number);
        let host_id = *shared.host_id.get_or_insert(state.host_id());
        drop(shared);
        world.same("the state's host", &state.host_id(), &host_id);
        Self {
            number,
            world: Arc::clone(world),
            state,
            model: Model {
                memory: memory.clone(),
                ..Model::default()
            },
            memory,
            callback_panic: None,
        }
    }

    fn start(&mut self) -> Result<(), EngineError> {
        let mut random = self.world.random();
        if self.world.shared.lock().good || !random.one_in(3) {
            return Ok(());
        }
        let outcome = self
            .steps(&mut random)
            .and_then(|()| match random.below(6) {
                0 => Err(trap(&mut random).into()),
                1 => Err(EngineError::Exit(random.i32())),
                _ => Ok(()),
            });
        StartFunction::Wapc.outcome(outcome)
    }

    fn run(&mut self, random: &mut Random) -> Result<i32, EngineError> {
        self.steps(random)?;
        Ok(match random.below(16) {
            0..3 => 0,
            3 => return Err(trap(random).into()),
            4 => return Err(EngineError::Exit(random.i32())),
            5 => return Err(EngineError::Other("the engine is tired".into())),
            6 => random.i32(),
            _ => 1,
        })
    }

    /// Runs a guest without faults: it responds with its payload.
    fn run_well(&mut self) -> Result<i32, EngineError> {
        let (operation, payload) = self.model.call.clone().unwrap_or_default();
        let needed = operation.len() + payload.len();
        self.grow(needed.saturating_sub(self.memory.len()));
        self.guest_request(0, number(operation.len()))?;
        self.guest_response(number(operation.len()), number(payload.len()))?;
        Ok(1)
    }

    fn steps(&mut self, random: &mut Random) -> Result<(), EngineError> {
        for _ in 0..random.below(9) {
            self.step(random)?;
        }
        Ok(())
    }

    fn step(&mut self, random: &mut Random) -> Result<(), StopReason> {
        let size = self.memory.len();
        match random.below(15) {
            0 | 1 => {
                let (op_ptr, _) = random.range(size);
                let (ptr, _) = random.range(size);
                self.guest_request(op_ptr, ptr)
            }
            2..5 => {
                let (ptr, len) = random.range(size);
                self.guest_response(ptr, len)
            }
            5 => {
                let (ptr, len) = random.range(size);
                let expected = self.model.guest_error(ptr, len);
                let found = self.state.guest_error(&self.memory, ptr, len);
                self.agree("guest_error", found, expected)
            }
            6..9 => self.host_call(random),
            9 => {
                let expected = Ok(number(self.model.host_response.len()));
                let found = self.state.host_response_len();
                self.agree("host_response_len", found, expected).map(drop)
            }
            10 => {
                let (ptr, _) = random.range(size);
                let expected = self.model.host_response(ptr);
                let found = self.state.host_response(&mut self.memory, ptr);
                self.agree("host_response", found, expected)
            }
            11 => {
                let expected = Ok(number(self.model.host_error.len()));
                let found = self.state.host_error_len();
                self.agree("host_error_len", found, expected).map(drop)
            }
            12 => {
                let (ptr, _) = random.range(size);
                let expected = self.model.host_error(ptr);
                let found = self.state.host_error(&mut self.memory, ptr);
                self.agree("host_error", found, expected)
            }
            13 => match random.below(3) {
                0 => {
                    self.grow(random.below(200));
                    Ok(())
                }
                1 => {
                    let (message, file) = (random.edge(size), random.edge(size));
                    let (line, column) = (random.i32(), random.i32());
                    self.state
                        .abort(&self.memory, message, file, line, column)?;
                    self.model.abort(line, column);
                    Ok(())
                }
                _ => Ok(()),
            },
            _ => {
                let (ptr, len) = random.range(size);
                let expected = self.model.console_log(ptr, len);
                let expected = expected.map(|line| Printable::line(&line).to_string());
                drop(log_lines::take());
                let found = self.state.console_log(&self.memory, ptr, len).map(|()| {
                    let prefix = format!("[guest of host {}] ", self.state.host_id());
                    let lines = log_lines::take().concat();
                    lines.strip_prefix(&prefix).unwrap_or(&lines).to_owned()
                });
                self.agree("console_log", found, expected).map(drop)
            }
        }
    }

    fn guest_request(&mut self, op_ptr: i32, ptr: i32) -> Result<(), StopReason> {
        let expected = self.model.guest_request(op_ptr, ptr);
        let found = self.state.guest_request(&mut self.memory, op_ptr, ptr);
        self.agree("guest_request", found, expected)
    }

    fn guest_response(&mut self, ptr: i32, len: i32) -> Result<(), StopReason> {
        let expected = self.model.guest_response(ptr, len);
        let found = self.state.guest_response(&self.memory, ptr, len);
        self.agree("guest_response", found, expected)
    }

    fn host_call(&mut self, random: &mut Random) -> Result<(), StopReason> {
        let ranges @ [(b, b_len), (n, n_len), (o, o_len), (p, p_len)] =
            [(); 4].map(|()| random.range(self.memory.len()));
        let planned = self.plan_call(ranges, random);
        let found = self
            .state
            .host_call(&self.memory, b, b_len, n, n_len, o, o_len, p, p_len);
        if self.world.shared.lock().expected_call.take().is_some() {
            self.world.differ("the callback was not called");
        }
        let expected = planned.map_err(Some).and_then(|kind| {
            self.model.host_response.clear();
            self.model.host_error.clear();
            match kind {
                AnswerKind::Bytes(bytes) => {
                    self.model.host_response = bytes;
                    Ok(1)
                }
                AnswerKind::Failure(text, _) => {
                    self.model.host_error = text;
                    Ok(0)
                }
                AnswerKind::Panic(number) => {
                    self.callback_panic = Some(number);
                    Err(None)
                }
            }
        });
        let expected = expected.map_err(|error| {
            error.unwrap_or(ProtocolError::CallbackPanicked {
                import: "__host_call",
            })
        });
        self.agree("host_call", found, expected).map(drop)
    }

    /// Tells the callback its next arguments and its answer, if the call will reach
    /// it.
    fn plan_call(
        &self,
        ranges: [(i32, i32); 4],
        random: &mut Random,
    ) -> Result<AnswerKind, ProtocolError> {
        let call: Call = self.model.host_call(ranges)?;
        let kind = match random.below(12) {
            0..3 => AnswerKind::Failure(
                (*random.pick(&["", "no", "the host refused: ß"])).to_owned(),
                random.bytes(8),
            ),
            3 if random.one_in(2) => AnswerKind::Panic(self.world.number()),
            4 if random.one_in(8) => {
                let size = *random.pick(&[65_535, 65_536, 65_537, 1 << 20]);
                AnswerKind::Bytes(vec![b'h'; size])
            }
            _ => {
                let size = random.below(100);
                AnswerKind::Bytes(random.bytes(size))
            }
        };
        let answer = Answer {
            kind: kind.clone(),
            reenters: random.one_in(8),
            swaps: random.one_in(12),
        };
        self.world.shared.lock().expected_call = Some((call, answer));
        Ok(kind)
    }

    fn grow(&mut self, bytes: usize) {
        let size = self.memory.len() + bytes;
        self.memory.resize(size, 0);
        self.model.memory.resize(size, 0);
    }

    /// Checks a method's result, and the whole memory after it. An engine ends
    /// the guest with the error.
    fn agree<T: PartialEq + std::fmt::Debug>(
        &self,
        method: &str,
        found: Result<T, StopReason>,
        expected: Result<T, ProtocolError>,
    ) -> Result<T, StopReason> {
        self.world
            .same(method, &found, &expected.map_err(StopReason::Protocol));
        if self.memory != self.model.memory {
            self.world
                .differ(format!("{method}: the memory differs from the model"));
        }
        found
    }
}

impl GuestInstance for Guest {
    fn call(&mut self, op_length: i32, msg_length: i32) -> GuestReturn {
        let (good, (operation, payload)) = {
            let shared = self.world.shared.lock();
            (shared.good, shared.lent.clone())
        };
        let lengths = (number(operation.len()), number(payload.len()));
        self.world
            .same("the lengths", &(op_length, msg_length), &lengths);
        self.model.begin(operation, payload);

        let mut random = self.world.random();
        let returned = match good {
            true => self.run_well(),
            false => self.run(&mut random),
        };
        let engine_panic = (!good && self.callback_panic.is_none() && random.one_in(40))
            .then(|| self.world.number());
        let ended = Ended {
            instance: self.number,
            ending: match engine_panic {
                Some(number) => Ending::EnginePanic(number),
                None => self.ending(&returned),
            },
            responses: mem::take(&mut self.model.responses),
        };
        self.model.call = None;
        self.world.shared.lock().ended = Some(ended);
        if let Some(number) = engine_panic {
            panic_on_purpose(number);
        }
        returned.into()
    }

    fn state(&mut self) -> &mut ModuleState {
        &mut self.state
    }
}

impl Guest {
    /// Returns the result that the host must give for this end of a call.
    fn ending(&self, returned: &Result<i32, EngineError>) -> Ending {
        let said = self.model.guest_error.clone();
        match (returned, said) {
            (Ok(1), _) if !self.model.responses.is_empty() => Ending::Responded,
            (Ok(0 | 1), Some(said)) => Ending::Guest(said),
            (Ok(0), None) => Ending::Protocol(ProtocolError::NoError),
            (Ok(1), None) => Ending::Protocol(ProtocolError::NoResponse),
            (Ok(returned), _) => Ending::Protocol(ProtocolError::Returned(*returned)),
            (Err(EngineError::Trap(trap)), said) => Ending::Trapped(trap.clone(), said),
            (Err(EngineError::Exit(code)), _) => Ending::Exited(*code),
            (Err(EngineError::Stopped(StopReason::Protocol(error))), _) => {
                match self.callback_panic {
                    Some(number) => Ending::CallbackPanic(number),
                    None => Ending::Protocol(error.clone()),
                }
            }
            (Err(error), _) => Ending::Engine(chain(error)),
        }
    }
}

impl Drop for Guest {
    fn drop(&mut self) {
        self.world.shared.lock().live.remove(&self.number);
        // No request is lent to the state between calls, not even after a panic.
        let requested = self.state.guest_request(&mut self.memory, 0, 0);
        let responded = self.state.guest_response(&[], 0, 0);
        for (result, import) in [
            (requested, "__guest_request"),
            (responded, "__guest_response"),
        ] {
            let expected = Err(StopReason::Protocol(ProtocolError::NoCall { import }));
            self.world.same("outside a call", &result, &expected);
        }
    }
}

fn trap(random: &mut Random) -> Trap {
    let code = *random.pick(&[
        TrapCode::Unreachable,
        TrapCode::MemoryOutOfBounds,
        TrapCode::StackOverflow,
        TrapCode::Other,
    ]);
    Trap::new(code, vec![])
}

/// Returns a memory of 0 bytes to a few pages. Most of it is text, so that many of
/// its parts are valid names.
fn memory(random: &mut Random) -> Vec<u8> {
    let size = match random.below(24) {
        0 => 0,
        1 => 1,
        2 => 65_536,
        3 => 65_535 + random.below(3),
        4 if random.one_in(4) => 3 * 65_536,
        _ => random.below(400),
    };
    let mut memory = vec![b'm'; size];
    for _ in 0..random.below(6) {
        let patch: &[u8] = match random.below(4) {
            0 => &random.bytes(5),
            _ => "ä€𐍈".as_bytes(),
        };
        let place = random.below(size);
        let target = memory.iter_mut().skip(place);
        target.zip(patch).for_each(|(byte, new)| *byte = *new);
    }
    memory
}
