//! Guest instances: instantiation, start functions and calls.

use std::sync::Arc;

use wapc_host::{
    Interruption, ModuleState,
    engine::{GuestInstance, GuestReturn},
    error::{EngineError, TrapCode},
};

use crate::{
    interpreter::{Interpreter, broken, compile::Code, instruction::index, trap},
    linker::Data,
    metering::Meter,
};

/// A live guest.
pub(crate) struct ToyInstance {
    code: Arc<Code>,
    data: Data,
    interruption: Interruption,
}

impl ToyInstance {
    /// Makes an instance and runs its start functions.
    pub(crate) fn new(
        code: Arc<Code>,
        interruption: Interruption,
        state: ModuleState,
    ) -> Result<Self, EngineError> {
        let mut meter = Meter::new(interruption, &state);
        let data = Data::new(&code, state)?;
        let mut instance = Self {
            code,
            data,
            interruption,
        };
        let started = instance.start(&mut meter);
        meter.settle(&mut instance.data.state);
        started.map(|()| instance)
    }

    fn start(&mut self, meter: &mut Meter) -> Result<(), EngineError> {
        self.instantiate(meter)
            .map_err(EngineError::in_instantiation)?;
        for function in &self.code.start_functions {
            if let Some(name) = function.export() {
                let interpreter = Interpreter::new(&self.code, &mut self.data, meter);
                let outcome = interpreter.call_export(name, &[]);
                function.outcome(outcome.map(drop))?;
            }
        }
        Ok(())
    }

    /// Fills the memory and runs the start section.
    fn instantiate(&mut self, meter: &mut Meter) -> Result<(), EngineError> {
        for (address, bytes) in &self.code.data {
            let rest = self.data.memory.get_mut(index(*address)..);
            let target = rest.and_then(|rest| rest.get_mut(..bytes.len()));
            let target = target.ok_or_else(|| trap(TrapCode::MemoryOutOfBounds))?;
            target.copy_from_slice(bytes);
        }
        if let Some(function) = self.code.start_section {
            Interpreter::new(&self.code, &mut self.data, meter).call(function, &[])?;
        }
        Ok(())
    }
}

impl GuestInstance for ToyInstance {
    fn call(&mut self, op_length: i32, msg_length: i32) -> GuestReturn {
        let mut meter = Meter::new(self.interruption, &self.data.state);
        let interpreter = Interpreter::new(&self.code, &mut self.data, &mut meter);
        let returned = interpreter.call_export("__guest_call", &[op_length, msg_length]);
        meter.settle(&mut self.data.state);
        returned.and_then(|value| value.ok_or_else(broken)).into()
    }

    fn state(&mut self) -> &mut ModuleState {
        &mut self.data.state
    }

    fn memory(&mut self) -> Option<&[u8]> {
        Some(&self.data.memory)
    }
}
