//! The growth of the guest's memory, within the host's limits.

use wapc_host::{
    ModuleState,
    error::{BoxError, EngineError},
};

use crate::{
    interpreter::compile::{Code, PAGE_BYTES},
    linker::Data,
};

impl Data {
    /// Makes the memory and the globals of an instance.
    pub(crate) fn new(code: &Code, state: ModuleState) -> Result<Self, EngineError> {
        const MEMORIES: usize = 1;
        const TABLES: usize = 0;
        state.admit(MEMORIES, TABLES)?;
        let mut data = Self {
            state,
            memory: vec![],
            max_memory_bytes: code.max_memory_bytes,
            globals: code.globals.clone(),
        };
        if data.grow_to(code.memory_bytes) {
            return Ok(data);
        }
        Err(match data.state.refused() {
            Some(limit) => EngineError::Stopped(limit.clone().into()),
            None => EngineError::Other(BoxError::from("there is no memory for the guest")),
        })
    }

    /// Returns the size of the memory in pages.
    pub(crate) fn pages(&self) -> usize {
        self.memory.len() / PAGE_BYTES
    }

    /// Grows the memory. Returns the pages before, or `None` if it cannot grow.
    pub(crate) fn grow(&mut self, pages: usize) -> Option<usize> {
        let before = self.pages();
        let bytes = before.checked_add(pages)?.checked_mul(PAGE_BYTES)?;
        (bytes <= ADDRESS_SPACE && self.grow_to(bytes)).then_some(before)
    }

    fn grow_to(&mut self, bytes: usize) -> bool {
        let before = self.memory.len();
        if !self.state.grow_memory(before, bytes, self.max_memory_bytes) {
            return false;
        }
        if self.memory.try_reserve_exact(bytes - before).is_err() {
            self.state.memory_growth_failed();
            return false;
        }
        self.memory.resize(bytes, 0);
        true
    }
}

/// The bytes that 32 bits can address.
const ADDRESS_SPACE: usize = 1 << 32;
