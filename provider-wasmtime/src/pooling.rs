//! Preallocated slots for instances: wasmtime's pooling allocator.

use thiserror::Error as ThisError;
use wapc_host::Limits;
use wasmtime::{Config, PoolingAllocationConfig};

/// Preallocated memory for instances, in place of memory that is mapped for each
/// new instance and unmapped after it: wasmtime's pooling allocator.
///
/// It pays off where instances are many and brief, above all with
/// [`Reuse::Fresh`](wapc_host::Reuse::Fresh), and where several threads create
/// them: mapping memory contends in the kernel, taking a slot hardly does. It
/// does not change the calls of an instance that is kept. A slot is cleared
/// before the next guest gets it.
///
/// ```
/// use provider_wasmtime::{Pooling, WasmtimeEngineProvider};
/// use wapc_host::{Reuse, WapcHost};
///
/// let guest = br#"(module
///     (import "wapc" "__guest_response" (func $respond (param i32 i32)))
///     (memory (export "memory") 1)
///     (func (export "__guest_call") (param i32 i32) (result i32)
///         (call $respond (i32.const 0) (i32.const 0))
///         (i32.const 1)))"#;
///
/// let provider = WasmtimeEngineProvider::builder()
///     .pooling(Pooling::new(64))
///     .build(guest)?;
/// let host = WapcHost::builder(Box::new(provider))
///     .max_instances(16)
///     .reuse(Reuse::Fresh)
///     .build(|_, _, _, _, _| Ok(vec![]))?;
/// assert_eq!(host.call("any", b"")?, b"");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// # Cost
///
/// All address space is reserved at once: for each instance, one memory more than
/// [`Pooling::limits`] allow, of 4 GiB and guard pages each. The default of 8
/// memories takes 37 GiB per instance, so that the 128 TiB of a process on x86-64
/// hold some 3,500 instances; with `max_memories(1)` they hold 16,000. Physical
/// memory is used as guests use it, and up to [`Pooling::keep_resident`] of each
/// memory stays resident.
#[derive(Clone, Debug)]
pub struct Pooling {
    instances: u32,
    max_memories: usize,
    max_tables: usize,
    max_table_elements: usize,
    keep_resident: usize,
}

impl Pooling {
    /// Creates a pool of `instances` slots, for all hosts of the provider and of
    /// its successors in swaps together.
    ///
    /// When all slots are taken, a host reports
    /// [`Error::Init`](wapc_host::Error::Init) with [`PoolError::Exhausted`]. A
    /// swap makes new instances while the old ones still live, so allow twice the
    /// instances of each host.
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

    /// Sets the size of a slot: as many memories, tables and table elements as
    /// these limits allow. By default those of [`Limits::default`]. A memory may
    /// always grow to the 4 GiB that WebAssembly allows.
    ///
    /// Pass the limits of the host, or the largest of several hosts. If a host's
    /// limits are not larger, guests behave as without a pool, except that a
    /// module whose initial table is larger is refused earlier, when the provider
    /// is built ([`ModuleError::Refused`]). If they are larger, the slot is the
    /// limit: `table.grow` returns −1, and a module with more memories or tables
    /// gets no instance ([`PoolError::SlotTooSmall`]).
    ///
    /// [`ModuleError::Refused`]: wapc_host::error::ModuleError::Refused
    #[must_use]
    pub const fn limits(mut self, limits: &Limits) -> Self {
        self.max_memories = limits.max_memories;
        self.max_tables = limits.max_tables;
        self.max_table_elements = limits.max_table_elements;
        self
    }

    /// Sets how many bytes of each memory and table stay in physical memory when
    /// their instance is dropped. By default 2 MiB; 0 returns all of them.
    ///
    /// Resident bytes are zeroed. The rest is returned to the system, and costs
    /// page faults when the next guest touches it. The best value is the size
    /// that guests mostly touch. It matters on Linux only.
    #[must_use]
    pub const fn keep_resident(mut self, bytes: usize) -> Self {
        self.keep_resident = bytes;
        self
    }

    /// Configures an engine to take instances from this pool.
    pub(crate) fn configure(&self, config: &mut Config, kills: bool) {
        let each = |number| self.instances.saturating_mul(to_u32(number));
        let mut pool = PoolingAllocationConfig::new();
        pool.total_core_instances(self.instances)
            // One more, for the heap of the references that a guest holds, and one for
            // the page of a guest that can be killed.
            .total_memories(each(
                self.max_memories.saturating_add(1 + usize::from(kills)),
            ))
            .total_gc_heaps(self.instances)
            // wasmtime refuses modules with more tables than the whole pool.
            .total_tables(each(self.max_tables).max(MAX_PER_MODULE))
            .table_elements(self.max_table_elements)
            // The host's limits bound a module further. These are bounded too,
            // since dropping a module takes a step per possible memory.
            .max_memories_per_module(MAX_PER_MODULE)
            .max_tables_per_module(MAX_PER_MODULE)
            .max_core_instance_size(MAX_INSTANCE_BYTES)
            .linear_memory_keep_resident(self.keep_resident)
            .table_keep_resident(self.keep_resident);
        // A stack is taken before the slot, also for an instance that then finds
        // no slot.
        #[cfg(feature = "async")]
        pool.total_stacks(each(2));
        config.allocation_strategy(pool);
    }

    /// Fails if a module with this many memories and tables does not fit a slot.
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

    /// Returns the error for a pool without free slots.
    pub(crate) const fn exhausted(&self) -> PoolError {
        PoolError::Exhausted {
            instances: self.instances,
        }
    }
}

/// The reason why a pool has no slot for an instance.
///
/// It is the source of an [`EngineError::Other`](wapc_host::error::EngineError::Other),
/// most often in [`Error::Init`](wapc_host::Error::Init). The pool is
/// unchanged.
#[derive(Clone, Debug, PartialEq, Eq, ThisError)]
#[non_exhaustive]
pub enum PoolError {
    /// All slots are taken. One becomes free when an instance is dropped.
    #[error("all {instances} instances of the pool are in use")]
    Exhausted {
        /// The number of slots.
        instances: u32,
    },
    /// The module has more memories or tables than a slot.
    #[error("the module has {needed} {what}, and an instance of the pool has room for {slot}")]
    SlotTooSmall {
        /// `"memories"` or `"tables"`.
        what: &'static str,
        /// The number that the module has.
        needed: usize,
        /// The number in a slot, set by [`Pooling::limits`].
        slot: usize,
    },
}

/// The limit on wasmtime's own record of an instance: mostly its imports,
/// functions and globals. There is none without a pool.
const MAX_INSTANCE_BYTES: usize = 1 << 30;

/// wasmtime accepts no module with more memories or tables.
const MAX_PER_MODULE: u32 = 100;

fn to_u32(number: usize) -> u32 {
    u32::try_from(number).unwrap_or(u32::MAX)
}
