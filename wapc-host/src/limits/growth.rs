//! The growth of an instance's memories and tables, counted.

use super::guest::{LimitError, Limits};

/// The memory and the table elements of an instance.
#[derive(Debug, Default)]
pub(crate) struct Growth {
    memory_bytes: usize,
    table_elements: usize,
    /// The most recent growth within `memory_bytes`.
    last_memory_bytes: usize,
    /// The most recent growth within `table_elements`.
    last_table_elements: usize,
}

impl Growth {
    pub(crate) fn grow_memory(
        &mut self,
        limits: &Limits,
        current: usize,
        desired: usize,
    ) -> Result<(), LimitError> {
        // The total is at least the size of this memory, even if the engine
        // has reported one failed growth too many.
        let counted = self.memory_bytes.max(current);
        let growth = desired.saturating_sub(current);
        let total = counted.saturating_add(growth);
        self.last_memory_bytes = 0;
        if desired > limits.max_memory_bytes {
            return Err(LimitError::Memory {
                bytes: desired,
                limit: limits.max_memory_bytes,
            });
        }
        if total > limits.max_total_memory_bytes {
            return Err(LimitError::TotalMemory {
                bytes: total,
                limit: limits.max_total_memory_bytes,
            });
        }
        self.memory_bytes = total;
        self.last_memory_bytes = growth;
        Ok(())
    }

    pub(crate) const fn memory_failed(&mut self) {
        self.memory_bytes -= self.last_memory_bytes;
        self.last_memory_bytes = 0;
    }

    pub(crate) fn grow_table(
        &mut self,
        limits: &Limits,
        current: usize,
        desired: usize,
    ) -> Result<(), LimitError> {
        let growth = desired.saturating_sub(current);
        let total = self.table_elements.max(current).saturating_add(growth);
        self.last_table_elements = 0;
        if total > limits.max_table_elements {
            return Err(LimitError::TableElements {
                elements: total,
                limit: limits.max_table_elements,
            });
        }
        self.table_elements = total;
        self.last_table_elements = growth;
        Ok(())
    }

    pub(crate) const fn table_failed(&mut self) {
        self.table_elements -= self.last_table_elements;
        self.last_table_elements = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memories_are_counted_each_and_together() {
        let limits = Limits::unlimited()
            .max_memory_bytes(10)
            .max_total_memory_bytes(15);
        let mut growth = Growth::default();
        assert_eq!(growth.grow_memory(&limits, 0, 10), Ok(()));
        assert_eq!(
            growth.grow_memory(&limits, 10, 11),
            Err(LimitError::Memory {
                bytes: 11,
                limit: 10
            })
        );
        assert_eq!(growth.grow_memory(&limits, 0, 5), Ok(()));
        assert_eq!(
            growth.grow_memory(&limits, 5, 6),
            Err(LimitError::TotalMemory {
                bytes: 16,
                limit: 15
            })
        );
    }

    #[test]
    fn a_growth_that_failed_is_not_counted() {
        let limits = Limits::unlimited().max_total_memory_bytes(15);
        let mut growth = Growth::default();
        assert!(growth.grow_memory(&limits, 0, 10).is_ok());
        assert!(growth.grow_memory(&limits, 10, 15).is_ok());
        growth.memory_failed();
        growth.memory_failed();
        assert!(growth.grow_memory(&limits, 10, 12).is_ok());
        assert!(growth.grow_memory(&limits, 12, 16).is_err());
        growth.memory_failed();
        assert!(growth.grow_memory(&limits, 0, 3).is_ok());
        assert!(growth.grow_memory(&limits, 3, 4).is_err());
    }

    #[test]
    fn tables_are_counted_together_and_the_bound_is_allowed() {
        let limits = Limits::unlimited().max_table_elements(10);
        let mut growth = Growth::default();
        assert!(growth.grow_table(&limits, 0, 4).is_ok());
        assert!(growth.grow_table(&limits, 0, 6).is_ok());
        assert!(growth.grow_table(&limits, 6, 7).is_err());
        assert!(growth.grow_table(&limits, 0, usize::MAX).is_err());
        growth.table_failed();
        assert!(growth.grow_table(&limits, 6, 7).is_err());
    }

    #[test]
    fn a_table_growth_that_failed_is_not_counted() {
        let limits = Limits::unlimited().max_table_elements(10);
        let mut growth = Growth::default();
        assert!(growth.grow_table(&limits, 0, 4).is_ok());
        assert!(growth.grow_table(&limits, 4, 10).is_ok());
        growth.table_failed();
        growth.table_failed();
        assert!(growth.grow_table(&limits, 4, 10).is_ok());
        assert!(growth.grow_table(&limits, 10, 11).is_err());
    }
}
