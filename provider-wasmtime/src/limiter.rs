//! Enforces the host's limits when memories and tables grow.

use wasmtime::{Error, ResourceLimiter};

use crate::{killable_store::PAGE_BYTES, linker::Data};

impl ResourceLimiter for Data {
    fn memory_growing(
        &mut self,
        current: usize,
        desired: usize,
        maximum: Option<usize>,
    ) -> wasmtime::Result<bool> {
        // The page of the checks is the host's. A memory of the guest that is made in the
        // same way may take its turn, which changes no sum.
        if self.page_is_due && (current, desired, maximum) == (0, PAGE_BYTES, Some(PAGE_BYTES)) {
            self.page_is_due = false;
            return Ok(true);
        }
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
        // One more, for the page of the checks.
        self.state.limits().max_memories.saturating_add(1)
    }

    fn tables(&self) -> usize {
        self.state.limits().max_tables
    }
}
