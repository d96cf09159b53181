//! Changes generated modules so that their calls of the host succeed.
//!
//! Random pointers are nearly always out of bounds, so a generated guest would end
//! at its first import. Each import is replaced by a function that masks the numbers
//! and calls the import. `__guest_call` is wrapped by a function that fetches the
//! request, and at the end writes the globals to memory and passes the memory's first
//! page to the host, so that any difference in them is seen.

use std::convert::Infallible;

use wasm_encoder::{
    CodeSection, ExportKind, ExportSection, Function, FunctionSection, MemArg, MemArgTarget,
    Module,
    reencode::{Error, Reencode, utils},
};
use wasmparser::{
    CodeSectionReader, Export, FunctionSectionReader, Parser, Payload, TypeRef, ValType,
};

/// Changes that keep a guest's numbers within its memory, so that its calls
/// succeed.
#[derive(Clone, Copy, Debug)]
pub(super) struct Soft {
    /// The mask of pointers.
    pub(super) pointer_mask: i32,
    /// `true` if each call responds with a part of the memory.
    pub(super) responds: bool,
    /// `true` if each call returns 1, whatever the module returns.
    pub(super) succeeds: bool,
}

/// The module, softened; it must have all imports.
pub(super) fn softened(binary: &[u8], soft: Soft) -> Vec<u8> {
    let mut softener = Softener::new(binary, soft).expect("generated modules can be parsed");
    let mut module = Module::new();
    softener
        .parse_core_module(&mut module, Parser::new(0), binary)
        .expect("generated modules can be written again");
    module.finish()
}

struct Softener {
    soft: Soft,
    imports: Vec<Import>,
    defined_functions: u32,
    guest_call: u32,
    guest_call_type: u32,
    memory: u32,
    globals: Vec<ValType>,
}

struct Import {
    name: String,
    type_index: u32,
}

impl Softener {
    fn new(binary: &[u8], soft: Soft) -> wasmparser::Result<Self> {
        let mut softener = Self {
            soft,
            imports: vec![],
            defined_functions: 0,
            guest_call: 0,
            guest_call_type: 0,
            memory: 0,
            globals: vec![],
        };
        let mut function_types = vec![];
        for payload in Parser::new(0).parse_all(binary) {
            match payload? {
                Payload::ImportSection(section) => {
                    for import in section.into_imports() {
                        let import = import?;
                        if let TypeRef::Func(type_index) = import.ty {
                            softener.imports.push(Import {
                                name: import.name.to_owned(),
                                type_index,
                            });
                            function_types.push(type_index);
                        }
                    }
                }
                Payload::FunctionSection(section) => {
                    softener.defined_functions = section.count();
                    for type_index in section {
                        function_types.push(type_index?);
                    }
                }
                Payload::GlobalSection(section) => {
                    for global in section {
                        softener.globals.push(global?.ty.content_type);
                    }
                }
                Payload::ExportSection(section) => {
                    for export in section {
                        let export = export?;
                        match export.name {
                            "__guest_call" => softener.guest_call = export.index,
                            "memory" => softener.memory = export.index,
                            _ => {}
                        }
                    }
                }
                _ => {}
            }
        }
        let guest_call = usize::try_from(softener.guest_call).expect("a small number");
        softener.guest_call_type = *function_types
            .get(guest_call)
            .expect("an exported function exists");
        Ok(softener)
    }

    fn imported(&self) -> u32 {
        u32::try_from(self.imports.len()).expect("a small number")
    }

    /// The first of the functions that are added: those of the imports, then
    /// the one around `__guest_call`.
    fn first_added(&self) -> u32 {
        self.imported() + self.defined_functions
    }

    fn index_of(&self, import: &str) -> u32 {
        let index = self.imports.iter().position(|its| its.name == import);
        u32::try_from(index.expect("all imports are there")).expect("a small number")
    }

    /// Masks the numbers and calls the import.
    fn shim(&self, index: u32, import: &str) -> Function {
        let pointer = self.soft.pointer_mask;
        let masks: &[i32] = match import {
            "__console_log" | "__guest_error" => &[pointer, 0x1f],
            "__guest_request" => &[pointer, pointer],
            "__guest_response" => &[pointer, 0xfff],
            "__host_call" => &[pointer, 0x7, pointer, 0x7, pointer, 0x7, pointer, 0xff],
            "__host_error" | "__host_response" => &[pointer],
            "abort" => &[pointer, pointer, -1, -1],
            _ => &[],
        };
        let mut function = Function::new([]);
        let mut body = function.instructions();
        for (parameter, mask) in (0..).zip(masks) {
            body.local_get(parameter).i32_const(*mask).i32_and();
        }
        body.call(index).end();
        function
    }

    fn around_guest_call(&self) -> Function {
        let mut function = Function::new([(1, wasm_encoder::ValType::I32)]);
        let mut body = function.instructions();
        body.i32_const(0)
            .i32_const(REQUEST)
            .call(self.index_of("__guest_request"))
            .local_get(0)
            .local_get(1)
            .call(self.guest_call)
            .local_set(2);
        let at = |offset| MemArg {
            offset,
            align: 0,
            target: MemArgTarget::Memory(self.memory),
            ordering: None,
        };
        for (global, offset) in (0..).zip((GLOBALS..).step_by(16)) {
            let Some(value_type) = self
                .globals
                .get(usize::try_from(global).unwrap_or(usize::MAX))
            else {
                break;
            };
            body.i32_const(0).global_get(global);
            match value_type {
                ValType::I32 => body.i32_store(at(offset)),
                ValType::I64 => body.i64_store(at(offset)),
                ValType::F32 => body.f32_store(at(offset)),
                ValType::F64 => body.f64_store(at(offset)),
                ValType::V128 => body.v128_store(at(offset)),
                ValType::Ref(_) => body.drop().drop(),
            };
        }
        for _ in 0..7 {
            body.i32_const(0);
        }
        body.i32_const(PAGE)
            .call(self.index_of("__host_call"))
            .drop();
        if self.soft.responds {
            body.i32_const(0)
                .i32_const(0x1000)
                .call(self.index_of("__guest_response"));
        }
        match self.soft.succeeds {
            true => body.i32_const(1),
            false => body.local_get(2).i32_const(1).i32_and(),
        };
        body.end();
        function
    }
}

/// The address of the request's payload; that of the operation's name is 0.
const REQUEST: i32 = 0x400;
/// The address to which the globals are written.
const GLOBALS: u64 = 0x800;
const PAGE: i32 = 0x1_0000;

impl Reencode for Softener {
    type Error = Infallible;

    fn function_index(&mut self, function: u32) -> Result<u32, Error<Infallible>> {
        Ok(match function < self.imported() {
            true => self.first_added() + function,
            false => function,
        })
    }

    fn parse_export(
        &mut self,
        exports: &mut ExportSection,
        export: Export<'_>,
    ) -> Result<(), Error<Infallible>> {
        if export.name == "__guest_call" {
            let around = self.first_added() + self.imported();
            exports.export(export.name, ExportKind::Func, around);
            return Ok(());
        }
        utils::parse_export(self, exports, export)
    }

    fn parse_function_section(
        &mut self,
        functions: &mut FunctionSection,
        section: FunctionSectionReader<'_>,
    ) -> Result<(), Error<Infallible>> {
        utils::parse_function_section(self, functions, section)?;
        for import in &self.imports {
            functions.function(import.type_index);
        }
        functions.function(self.guest_call_type);
        Ok(())
    }

    fn parse_code_section(
        &mut self,
        code: &mut CodeSection,
        section: CodeSectionReader<'_>,
    ) -> Result<(), Error<Infallible>> {
        utils::parse_code_section(self, code, section)?;
        for (index, import) in (0..).zip(&self.imports) {
            code.function(&self.shim(index, &import.name));
        }
        code.function(&self.around_guest_call());
        Ok(())
    }
}
