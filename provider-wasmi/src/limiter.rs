//! Enforces the host's limits when memories and tables grow.

use wasmi::{
    ResourceLimiter,
    errors::{MemoryError, TableError},
};
use wasmi_core::LimiterError;

use crate::linker::Data;

impl ResourceLimiter for Data {
    fn memory_growing(
        &mut self,
        current: usize,
        desired: usize,
        maximum: Option<usize>,
    ) -> Result<bool, LimiterError> {
        Ok(self.state.grow_memory(current, desired, maximum))
    }

    /// Called also if the slice of fuel is used up: then the guest grows again
    /// once it has been resumed.
    fn memory_grow_failed(&mut self, _error: &MemoryError) -> Result<(), LimiterError> {
        self.state.memory_growth_failed();
        Ok(())
    }

    fn table_growing(
        &mut self,
        current: usize,
        desired: usize,
        maximum: Option<usize>,
    ) -> Result<bool, LimiterError> {
        Ok(self.state.grow_table(current, desired, maximum))
    }

    fn table_grow_failed(&mut self, error: &TableError) -> Result<(), LimiterError> {
        self.state.table_growth_failed();
        self.out_of_fuel_in_table_growth = matches!(error, TableError::OutOfFuel { .. });
        Ok(())
    }

    fn instances(&self) -> usize {
        1
    }

    fn tables(&self) -> usize {
        self.state.limits().max_tables
    }

    fn memories(&self) -> usize {
        self.state.limits().max_memories
    }
}
