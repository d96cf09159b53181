//! An engine for tests whose guests are closures: the conversation without
//! WebAssembly.

use std::sync::Arc;

use crate::{
    EngineError, GuestInstance, Interruption, ModuleError, ModuleState, WapcHost,
    WebAssemblyEngineProvider, error::BoxError,
};

/// What a scripted guest does in `__guest_call`.
pub(crate) type Script = dyn Fn(&mut Guest, i32, i32) -> Result<i32, EngineError> + Send + Sync;

/// What a scripted guest does when it is made.
pub(crate) type StartScript = dyn Fn(&mut Guest) -> Result<(), EngineError> + Send + Sync;

/// One live scripted guest.
pub(crate) struct Guest {
    pub(crate) state: ModuleState,
    pub(crate) memory: Vec<u8>,
    /// How many calls this instance has had.
    pub(crate) calls: u64,
    script: Arc<Script>,
}

impl Guest {
    /// Reads the request the way guests do: the operation at 0, the payload
    /// behind it.
    pub(crate) fn request(&mut self, op: i32, msg: i32) -> Result<(String, Vec<u8>), EngineError> {
        let (op_end, end) = (op as usize, (op + msg) as usize);
        self.memory.resize(end.max(self.memory.len()), 0);
        self.state.guest_request(&mut self.memory, 0, op)?;
        let operation = String::from_utf8(self.memory[..op_end].to_vec()).unwrap();
        Ok((operation, self.memory[op_end..end].to_vec()))
    }

    pub(crate) fn respond(&mut self, response: &[u8]) -> Result<i32, EngineError> {
        let (ptr, len) = self.place(response);
        self.state.guest_response(&self.memory, ptr, len)?;
        Ok(1)
    }

    pub(crate) fn fail(&mut self, error: &[u8]) -> Result<i32, EngineError> {
        let (ptr, len) = self.place(error);
        self.state.guest_error(&self.memory, ptr, len)?;
        Ok(0)
    }

    /// Calls the host's `bind`/`ns`/`op`: its answer, or its error's text.
    pub(crate) fn ask(&mut self, payload: &[u8]) -> Result<Result<Vec<u8>, Vec<u8>>, EngineError> {
        let (ptr, len) = self.place(&[b"bindnsop", payload].concat());
        let (memory, state) = (&mut self.memory, &mut self.state);
        let answered = state.host_call(memory, ptr, 4, ptr + 4, 2, ptr + 6, 2, ptr + 8, len - 8)?;
        let answer_len = match answered {
            1 => state.host_response_len()?,
            _ => state.host_error_len()?,
        };
        memory.resize(memory.len().max(answer_len as usize), 0);
        if answered == 1 {
            state.host_response(memory, 0)?;
        } else {
            state.host_error(memory, 0)?;
        }
        let answer = memory[..answer_len as usize].to_vec();
        Ok(if answered == 1 {
            Ok(answer)
        } else {
            Err(answer)
        })
    }

    fn place(&mut self, bytes: &[u8]) -> (i32, i32) {
        self.memory.resize(bytes.len().max(self.memory.len()), 0);
        self.memory[..bytes.len()].copy_from_slice(bytes);
        (0, bytes.len() as i32)
    }
}

impl GuestInstance for Guest {
    fn call(&mut self, op_length: i32, msg_length: i32) -> Result<i32, EngineError> {
        self.calls += 1;
        Arc::clone(&self.script)(self, op_length, msg_length)
    }

    fn state(&mut self) -> &mut ModuleState {
        &mut self.state
    }
}

/// A module of scripted guests. `replace` takes the bytes `echo`, whose guests
/// echo, or `bad`, which is refused.
#[derive(Clone)]
pub(crate) struct ScriptedProvider {
    pub(crate) script: Arc<Script>,
    /// What start functions do.
    pub(crate) start: Arc<StartScript>,
}

impl ScriptedProvider {
    pub(crate) fn new(
        script: impl Fn(&mut Guest, i32, i32) -> Result<i32, EngineError> + Send + Sync + 'static,
    ) -> Self {
        Self {
            script: Arc::new(script),
            start: Arc::new(|_| Ok(())),
        }
    }

    pub(crate) fn echo() -> Self {
        Self::new(|guest, op, msg| {
            let (_, payload) = guest.request(op, msg)?;
            guest.respond(&payload)
        })
    }

    /// A host whose callback answers with what it was asked, unless that is
    /// `fail` or `panic`.
    pub(crate) fn host(self) -> WapcHost {
        WapcHost::new(Box::new(self), answer).unwrap()
    }
}

pub(crate) fn answer(
    _id: u64,
    binding: &str,
    namespace: &str,
    operation: &str,
    payload: &[u8],
) -> Result<Vec<u8>, BoxError> {
    match payload {
        b"fail" => Err("the host said no".into()),
        b"panic" => panic!("the callback panicked"),
        payload => Ok([
            format!("{binding}/{namespace}/{operation}:").as_bytes(),
            payload,
        ]
        .concat()),
    }
}

impl WebAssemblyEngineProvider for ScriptedProvider {
    fn init(&self, state: ModuleState) -> Result<Box<dyn GuestInstance>, EngineError> {
        let mut guest = Guest {
            state,
            memory: vec![0; 64],
            calls: 0,
            script: Arc::clone(&self.script),
        };
        (self.start)(&mut guest)?;
        Ok(Box::new(guest))
    }

    fn replace(&self, module: &[u8]) -> Result<Box<dyn WebAssemblyEngineProvider>, EngineError> {
        match module {
            b"echo" => Ok(Box::new(Self::echo())),
            _ => Err(ModuleError::Empty.into()),
        }
    }

    fn interruption(&self) -> Interruption {
        Interruption::TimeAndFuel
    }
}
