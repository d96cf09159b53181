//! The module of an execution: a function of its seed, and of the input that
//! shrinking makes smaller.

use arbitrary::Unstructured;
use wasm_smith::{Config, InstructionKind, InstructionKinds, MemoryOffsetChoices, Module};

use super::softener::{Soft, softened};
use crate::random::Random;

/// The settings from which a module is generated.
#[derive(Clone, Debug)]
pub(super) struct Plan {
    config: Config,
    /// The steps after which the module traps, if it counts them itself.
    own_fuel: u32,
    /// `true` if the engines count fuel, and end the module.
    metered: bool,
    /// Set for modules that are softened.
    soft: Option<Soft>,
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
        // All have a maximum, since the engines' own maxima differ.
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
            // The bits of a NaN differ between engines.
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
            // Engines may refuse large growths.
            max_memory32_bytes: 4 << 16,
            memory_max_size_required: true,
            max_table_elements: 300,
            table_max_size_required: true,
            max_tables: 1 + random.below(3),
            max_types: 12,
            min_funcs: 3,
            // Accesses out of bounds end the guest early.
            memory_offset_choices: MemoryOffsetChoices(90, 9, 1),
            // The features that `wapc_host::module` lists.
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

    /// The same plan with modules that need not end, under the engines' fuel.
    pub(super) fn metered(self) -> Self {
        Self {
            metered: true,
            ..self
        }
    }

    /// Generates the module of this input; `None` if there is none.
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

    /// Returns `true` if the engines count fuel.
    pub(super) const fn is_metered(&self) -> bool {
        self.metered
    }

    /// Returns `true` if the module is softened.
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
