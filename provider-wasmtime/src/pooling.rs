//! Slots for instances that are set out in advance.

use thiserror::Error as ThisError;
use wapc_host::Limits;
use wasmtime::{Config, PoolingAllocationConfig};

/// Memory for instances that is set out in advance and used again, in place of
/// memory that is mapped for each new instance and unmapped after it: wasmtime's
/// pooling allocator.
///
/// It pays where instances are many and short, above all with
/// [`Reuse::Fresh`](wapc_host::Reuse::Fresh), and where several threads make
/// them: to map memory contends in the kernel, to take a slot hardly does. It
/// does nothing for calls of an instance that stays.
///
/// A slot is cleared before the next guest gets it.
///
/// # What it costs
///
/// Address space, all of it at once: for each instance 4 GiB and guard pages
/// for each memory that [`Pooling::limits`] allow, and once more; with the
/// default of 8 memories, 37 GiB. The 128 TiB of a process on x86-64 are then
/// enough for some 3,500 instances; with `max_memories(1)` for 16,000. Physical
/// memory is used as guests use it, and up to [`Pooling::keep_resident`] of
/// each memory stays.
///
/// ```
/// use provider_wasmtime::{Pooling, WasmtimeEngineProvider};
/// use wapc_host::{Reuse, WapcHost};
///
/// # let module = br#"(module (memory (export "memory") 1)
/// #   (func (export "__guest_call") (param i32 i32) (result i32) (unreachable)))"#;
/// let provider = WasmtimeEngineProvider::builder()
///     .pooling(Pooling::new(64))
///     .build(module)?;
/// let host = WapcHost::builder(Box::new(provider))
///     .max_instances(16)
///     .reuse(Reuse::Fresh)
///     .build(|_, _, _, _, _| Ok(vec![]))?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug)]
pub struct Pooling {
    instances: u32,
    max_memories: usize,
    max_tables: usize,
    max_table_elements: usize,
    keep_resident: usize,
}

impl Pooling {
    /// Slots for so many instances: those of all hosts of the provider, and of
    /// the providers that take its place in a swap, together.
    ///
    /// One more cannot be made, until another goes: the host then reports
    /// [`Error::Init`](wapc_host::Error::Init) with [`PoolError::Exhausted`]. A
    /// swap makes new instances while those before it still live, so leave room
    /// for twice the instances of each host.
    #[must_use]
    pub fn new(instances: u32) -> Self {
        Self {
            instances,
            max_memories: 0,
            max_tables: 0,
            max_table_elements: 0,
            keep_resident: 2 << 20,
        }
        .limits(&Limits::default())
    }

    /// What each slot has to hold: as many memories, tables and table elements
    /// as these limits allow. By default those of [`Limits::default`]. A memory
    /// may always grow to the 4 GiB that WebAssembly allows.
    ///
    /// Give the limits of the host, or the largest of several hosts. Under
    /// limits that allow no more than that, all is as without a pool, but that
    /// a module with a table which begins larger is refused earlier, when the
    /// provider is built ([`ModuleError::Refused`]). Where limits allow more,
    /// the slots are what the engine can do: `table.grow` returns −1, and a
    /// module with more memories or tables gets no instance
    /// ([`PoolError::SlotTooSmall`]).
    ///
    /// [`ModuleError::Refused`]: wapc_host::error::ModuleError::Refused
    #[must_use]
    pub const fn limits(mut self, limits: &Limits) -> Self {
        self.max_memories = limits.max_memories;
        self.max_tables = limits.max_tables;
        self.max_table_elements = limits.max_table_elements;
        self
    }

    /// How many bytes of each memory and each table stay in physical memory
    /// when its instance goes. By default 2 MiB; 0 gives all of them back.
    ///
    /// What stays is set to zero, and what is beyond goes back to the system,
    /// to be fetched by page faults when the next guest touches it. As much as
    /// guests mostly touch is the best; on Linux alone does it matter.
    #[must_use]
    pub const fn keep_resident(mut self, bytes: usize) -> Self {
        self.keep_resident = bytes;
        self
    }

    /// Has engines of `config` take instances from a pool.
    pub(crate) fn configure(&self, config: &mut Config) {
        let each = |number| self.instances.saturating_mul(to_u32(number));
        let mut pool = PoolingAllocationConfig::new();
        pool.total_core_instances(self.instances)
            // One more, for the references that a guest holds to the host.
            .total_memories(each(self.max_memories.saturating_add(1)))
            .total_gc_heaps(self.instances)
            // The engine refuses modules with more than all slots have.
            .total_tables(each(self.max_tables).max(MAX_OF_A_MODULE))
            .table_elements(self.max_table_elements)
            // What one module has is under the host's limits. To drop a module
            // takes a step for each memory that it might have.
            .max_memories_per_module(MAX_OF_A_MODULE)
            .max_tables_per_module(MAX_OF_A_MODULE)
            .max_core_instance_size(MAX_INSTANCE_BYTES)
            .linear_memory_keep_resident(self.keep_resident)
            .table_keep_resident(self.keep_resident);
        // An instance that is refused for want of a slot had a stack before.
        #[cfg(feature = "async")]
        pool.total_stacks(each(2));
        config.allocation_strategy(pool);
    }

    /// Whether a module with so many memories and tables finds room in a slot.
    pub(crate) fn admit(&self, memories: usize, tables: usize) -> Result<(), PoolError> {
        for (what, needed, slot) in [
            ("memories", memories, self.max_memories),
            ("tables", tables, self.max_tables),
        ] {
            if needed > slot {
                return Err(PoolError::SlotTooSmall { what, needed, slot });
            }
        }
        Ok(())
    }

    /// All slots are taken.
    pub(crate) const fn exhausted(&self) -> PoolError {
        PoolError::Exhausted {
            instances: self.instances,
        }
    }
}

/// Why a pool has no slot for an instance: the cause in
/// [`EngineError::Other`](wapc_host::error::EngineError::Other), in
/// [`Error::Init`](wapc_host::Error::Init) mostly. Nothing has changed.
#[derive(Clone, Debug, PartialEq, Eq, ThisError)]
#[non_exhaustive]
pub enum PoolError {
    /// All slots are taken. When an instance goes, the next can be made.
    #[error("all {instances} instances of the pool are in use")]
    Exhausted {
        /// How many there are.
        instances: u32,
    },
    /// The module has more than a slot holds.
    #[error("the module has {needed} {what}, and an instance of the pool has room for {slot}")]
    SlotTooSmall {
        /// What there is not enough room for.
        what: &'static str,
        /// How many the module has.
        needed: usize,
        /// What [`Pooling::limits`] has made room for.
        slot: usize,
    },
}

/// The engine's own record of an instance: mostly its imports, functions and
/// globals. Without a pool there is no such limit.
const MAX_INSTANCE_BYTES: usize = 1 << 30;

/// More memories or tables than this no valid module has, for wasmtime.
const MAX_OF_A_MODULE: u32 = 100;

fn to_u32(number: usize) -> u32 {
    u32::try_from(number).unwrap_or(u32::MAX)
}
