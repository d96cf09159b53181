//! Which module an execution has: a function of its seed, and of the input
//! that shrinking makes smaller.

use arbitrary::Unstructured;
use wasm_smith::{Config, InstructionKind, InstructionKinds, MemoryOffsetChoices, Module};

use super::softener::softened;
use crate::random::Random;

/// How a module is generated.
#[derive(Clone, Debug)]
pub(super) struct Plan {
    config: Config,
    /// How much the module may do, if it is to count that itself.
    own_fuel: u32,
    /// Whether the engines count, and end it.
    metered: bool,
    /// Whether the guest's numbers are kept within its memory, so that it gets
    /// somewhere.
    soft: Option<Soft>,
}

/// What is done to a module to make it a guest that gets somewhere.
#[derive(Clone, Copy, Debug)]
pub(super) struct Soft {
    /// What remains of a pointer.
    pub(super) pointer_mask: i32,
    /// Whether each call responds with a part of the memory.
    pub(super) responds: bool,
    /// Whether each call returns 1, and not what the module says.
    pub(super) succeeds: bool,
}

impl Plan {
    pub(super) fn new(random: &mut Random) -> Self {
        let soft = (!random.one_in(4)).then(|| Soft {
            pointer_mask: *random.pick(&[0xfff, 0xffff, 0x1_ffff]),
            responds: !random.one_in(3),
            succeeds: !random.one_in(3),
        });
        let starts = *random.pick(&[
            "",
            "",
            "",
            "",
            r#"(export "wapc_init" (func $start))"#,
            r#"(export "_start" (func $start))"#,
            r#"(export "_initialize" (func $start)) (export "wapc_init" (func $start))"#,
        ]);
        // All have a maximum, since what lies beyond it differs by engine.
        let memory = match soft {
            Some(_) => *random.pick(&["1 1", "1 3", "2 4"]),
            None => *random.pick(&["0 0", "0 2", "1 1", "1 3"]),
        };
        let shape = format!(
            r#"(module {IMPORTS}
                (memory (export "memory") {memory})
                (func (export "__guest_call") (param i32 i32) (result i32) unreachable)
                (func $start) {starts})"#
        );
        let shape = wat::parse_str(shape).expect("the shape is a module");
        let mut config = Config {
            allowed_instructions: instructions(random),
            // Engines may choose among the bits of a NaN.
            canonicalize_nans: true,
            disallow_traps: random.one_in(2),
            allow_start_export: random.one_in(4),
            max_data_segments: 8,
            max_element_segments: 8,
            max_elements: 16,
            // Ten of them may be imported.
            max_funcs: 14 + random.below(14),
            max_globals: 10,
            max_instructions: *random.pick(&[20, 60, 150, 400]),
            max_memories: 1 + random.below(3),
            // Engines may refuse to grow by much.
            max_memory32_bytes: 4 << 16,
            memory_max_size_required: true,
            max_table_elements: 300,
            table_max_size_required: true,
            max_tables: 1 + random.below(3),
            max_types: 12,
            min_funcs: 3,
            // Reads and writes that miss say little.
            memory_offset_choices: MemoryOffsetChoices(90, 9, 1),
            // What `wapc_host::module` lists, and no more.
            bulk_memory_enabled: true,
            extended_const_enabled: true,
            multi_value_enabled: true,
            reference_types_enabled: true,
            saturating_float_to_int_enabled: true,
            sign_extension_ops_enabled: true,
            simd_enabled: true,
            tail_call_enabled: true,
            acquire_release_atomics_enabled: false,
            compact_imports_enabled: false,
            custom_descriptors_enabled: false,
            custom_page_sizes_enabled: false,
            exceptions_enabled: false,
            gc_enabled: false,
            memory64_enabled: false,
            multibyte_array_access_enabled: false,
            relaxed_simd_enabled: false,
            shared_everything_threads_enabled: false,
            threads_enabled: false,
            wide_arithmetic_enabled: false,
            ..Config::default()
        };
        match soft {
            // All the imports, in this order.
            Some(_) => config.module_shape = Some(shape),
            None => {
                config.available_imports = Some(shape.clone());
                config.exports = Some(shape);
            }
        }
        Self {
            config,
            // Less than the depth of calls that both engines have. The larger
            // one is for loops and for filling memory.
            own_fuel: *random.pick(&[900, 900, 20_000]),
            metered: false,
            soft,
        }
    }

    /// The same, with modules that may go on for ever, under the engines' fuel.
    pub(super) fn metered(self) -> Self {
        Self {
            metered: true,
            ..self
        }
    }

    /// The module that this input gives; `None` if it gives none.
    pub(super) fn module(&self, input: &[u8]) -> Option<Vec<u8>> {
        let mut input = Unstructured::new(input);
        let mut module = Module::new(self.config.clone(), &mut input).ok()?;
        if !self.metered {
            module.ensure_termination(self.own_fuel).ok()?;
        }
        let binary = module.to_bytes();
        Some(match self.soft {
            Some(soft) => softened(&binary, soft),
            None => binary,
        })
    }

    /// Whether the engines are to count fuel.
    pub(super) const fn is_metered(&self) -> bool {
        self.metered
    }

    /// Whether the module is softened.
    pub(super) const fn is_soft(&self) -> bool {
        self.soft.is_some()
    }
}

fn instructions(random: &mut Random) -> InstructionKinds {
    let mut kinds = vec![
        InstructionKind::Numeric,
        InstructionKind::Reference,
        InstructionKind::Parametric,
        InstructionKind::Variable,
        InstructionKind::Table,
        InstructionKind::Memory,
        InstructionKind::Control,
    ];
    if random.one_in(3) {
        kinds.push(InstructionKind::Vector);
    }
    InstructionKinds::new(&kinds)
}

const IMPORTS: &str = r#"
    (import "wapc" "__console_log" (func (param i32 i32)))
    (import "wapc" "__guest_error" (func (param i32 i32)))
    (import "wapc" "__guest_request" (func (param i32 i32)))
    (import "wapc" "__guest_response" (func (param i32 i32)))
    (import "wapc" "__host_call"
        (func (param i32 i32 i32 i32 i32 i32 i32 i32) (result i32)))
    (import "wapc" "__host_error" (func (param i32)))
    (import "wapc" "__host_error_len" (func (result i32)))
    (import "wapc" "__host_response" (func (param i32)))
    (import "wapc" "__host_response_len" (func (result i32)))
    (import "env" "abort" (func (param i32 i32 i32 i32)))
"#;
