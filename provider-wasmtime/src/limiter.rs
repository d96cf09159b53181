//! Enforces the host's limits when memories and tables grow.

use wasmtime::{Error, ResourceLimiter};

use crate::linker::Data;

impl ResourceLimiter for Data {
    fn memory_growing(
        &mut self,
        current: usize,
        desired: usize,
        maximum: Option<usize>,
    ) -> wasmtime::Result<bool> {
        Ok(self.state.grow_memory(current, desired, maximum))
    }

    fn memory_grow_failed(&mut self, _: Error) -> wasmtime::Result<()> {
        self.state.memory_growth_failed();
        Ok(())
    }

    fn table_growing(
        &mut self,
        current: usize,
        desired: usize,
        maximum: Option<usize>,
    ) -> wasmtime::Result<bool> {
        Ok(self.state.grow_table(current, desired, maximum))
    }

    fn instances(&self) -> usize {
        1
    }

    fn memories(&self) -> usize {
        self.state.limits().max_memories
    }

    fn tables(&self) -> usize {
        self.state.limits().max_tables
    }
}
