//! From the bytes of a module to code that can run: checked, validated, translated.

use std::collections::BTreeMap;

use wapc_host::{
    HostFunctions, ModuleLimits,
    error::{BoxError, ModuleError},
    module::{self, ExternType, GuestShape, StartFunction, ValueType},
};
use wasmparser::{
    CompositeInnerType, ConstExpr, DataKind, ExternalKind, FuncToValidate, FunctionBody, Operator,
    Parser, Payload, ValType, ValidPayload, Validator, ValidatorResources, WasmFeatures,
    types::{CoreTypeId, EntityType, Types},
};

use super::{
    function::{Function, Signature, only_i32},
    instruction::index,
};
use crate::linker::{Import, host_function};

/// The parts of WebAssembly that the validator lets through. The translation
/// refuses some of them.
const FEATURES: WasmFeatures = WasmFeatures::WASM1;

/// A compiled module, which all its instances share.
#[derive(Default)]
pub(crate) struct Code {
    /// The functions that the guest imports. They come first among the functions.
    pub(crate) imports: Vec<(Import, Signature)>,
    pub(crate) functions: Vec<Function>,
    pub(crate) globals: Vec<i32>,
    pub(crate) memory_bytes: usize,
    pub(crate) max_memory_bytes: Option<usize>,
    /// Address and bytes of each data segment.
    pub(crate) data: Vec<(u32, Vec<u8>)>,
    pub(crate) start_section: Option<usize>,
    pub(crate) start_functions: Vec<StartFunction>,
    /// The functions that the guest exports, by name.
    pub(crate) exports: BTreeMap<String, usize>,
}

impl Code {
    pub(crate) fn compile(
        module: &[u8],
        limits: &ModuleLimits,
        functions: &HostFunctions,
    ) -> Result<Self, ModuleError> {
        let binary = module::binary(module)?;
        limits.check(&binary)?;
        let mut reading = Reading::default();
        let types = reading
            .read(&binary)
            .map_err(|error| module::refusal(&binary, error))?;
        let mut code = reading.code;
        code.start_functions = shape(&types, functions)?.start_functions;
        for (function, (module, name)) in reading.imports.into_iter().enumerate() {
            let users = functions.resolve(module, name).map(Import::Users);
            let linked = users.or_else(|| host_function(module, name).map(Import::Own));
            let linked = linked.ok_or_else(|| {
                ModuleError::Refused(format!("the toy engine has no `{module}.{name}`").into())
            })?;
            let signature = signature(&types, function).map_err(ModuleError::Refused)?;
            code.imports.push((linked, signature));
        }
        for (function, (validator, body)) in reading.bodies.into_iter().enumerate() {
            let function = function.saturating_add(code.imports.len());
            let compiled = signature(&types, function)
                .and_then(|signature| Function::compile(validator, &body, signature))
                .map_err(|error| module::refusal(&binary, error))?;
            code.functions.push(compiled);
        }
        Ok(code)
    }
}

/// The sections that have been read so far.
#[derive(Default)]
struct Reading<'b> {
    code: Code,
    imports: Vec<(&'b str, &'b str)>,
    bodies: Vec<(FuncToValidate<ValidatorResources>, FunctionBody<'b>)>,
}

impl<'b> Reading<'b> {
    fn read(&mut self, binary: &'b [u8]) -> Result<Types, BoxError> {
        let mut validator = Validator::new_with_features(FEATURES);
        for payload in Parser::new(0).parse_all(binary) {
            let payload = payload?;
            match validator.payload(&payload)? {
                ValidPayload::Func(function, body) => self.bodies.push((function, body)),
                ValidPayload::End(types) => return Ok(types),
                _ => self.section(payload)?,
            }
        }
        Err("the module has no end".into())
    }

    fn section(&mut self, payload: Payload<'b>) -> Result<(), BoxError> {
        let code = &mut self.code;
        match payload {
            Payload::ImportSection(imports) => {
                for import in imports.into_imports() {
                    let import = import?;
                    self.imports.push((import.module, import.name));
                }
            }
            Payload::MemorySection(memories) => {
                if memories.count() > 1 {
                    return Err("this engine has one memory".into());
                }
                for memory in memories {
                    let memory = memory?;
                    code.memory_bytes = bytes_of(memory.initial);
                    code.max_memory_bytes = memory.maximum.map(bytes_of);
                }
            }
            Payload::GlobalSection(globals) => {
                for global in globals {
                    let global = global?;
                    only_i32(global.ty.content_type)?;
                    code.globals.push(constant(&global.init_expr)?);
                }
            }
            Payload::ExportSection(exports) => {
                for export in exports {
                    let export = export?;
                    if export.kind == ExternalKind::Func {
                        code.exports.insert(export.name.into(), index(export.index));
                    }
                }
            }
            Payload::StartSection { func, .. } => code.start_section = Some(index(func)),
            Payload::DataSection(segments) => {
                for segment in segments {
                    let segment = segment?;
                    if let DataKind::Active { offset_expr, .. } = segment.kind {
                        let address = constant(&offset_expr)?.cast_unsigned();
                        code.data.push((address, segment.data.to_vec()));
                    }
                }
            }
            Payload::TableSection(_) => return Err("the toy engine has no tables".into()),
            _ => {}
        }
        Ok(())
    }
}

fn bytes_of(pages: u64) -> usize {
    usize::try_from(pages).map_or(usize::MAX, |pages| pages.saturating_mul(PAGE_BYTES))
}

/// The size of WebAssembly's pages.
pub(crate) const PAGE_BYTES: usize = 65_536;

fn constant(expression: &ConstExpr<'_>) -> Result<i32, BoxError> {
    match expression.get_operators_reader().read()? {
        Operator::I32Const { value } => Ok(value),
        other => Err(format!("the toy engine cannot begin with {other:?}").into()),
    }
}

fn signature(types: &Types, function: usize) -> Result<Signature, BoxError> {
    let id = types.as_ref().core_function_at(u32::try_from(function)?);
    let CompositeInnerType::Func(function_type) = &types[id].composite_type.inner else {
        return Err("a function whose type is none of a function".into());
    };
    let (parameters, results) = (function_type.params(), function_type.results());
    for value_type in parameters.iter().chain(results) {
        only_i32(*value_type)?;
    }
    Ok(Signature {
        parameters: parameters.len(),
        returns_value: !results.is_empty(),
    })
}

/// Checks that the module is a guest, by the core's rules.
fn shape(types: &Types, functions: &HostFunctions) -> Result<GuestShape, ModuleError> {
    let imports = types.as_ref().core_imports().into_iter().flatten();
    let exports = types.as_ref().core_exports().into_iter().flatten();
    functions.shape(
        imports.map(|(module, name, entity)| (module, name, extern_type(types, entity))),
        exports.map(|(name, entity)| (name, extern_type(types, entity))),
    )
}

fn extern_type(types: &Types, entity: EntityType) -> ExternType {
    match entity {
        EntityType::Func(id) | EntityType::FuncExact(id) => function_type(types, id),
        EntityType::Memory(memory) if memory.memory64 || memory.shared => ExternType::OtherMemory,
        EntityType::Memory(_) => ExternType::Memory,
        EntityType::Table(_) => ExternType::Table,
        EntityType::Global(_) => ExternType::Global,
        EntityType::Tag(_) => ExternType::Tag,
    }
}

fn function_type(types: &Types, id: CoreTypeId) -> ExternType {
    let values = |types: &[ValType]| types.iter().map(value_type).collect();
    match &types[id].composite_type.inner {
        CompositeInnerType::Func(function) => {
            ExternType::Function(values(function.params()), values(function.results()))
        }
        _ => ExternType::Tag,
    }
}

const fn value_type(value_type: &ValType) -> ValueType {
    match value_type {
        ValType::I32 => ValueType::I32,
        ValType::I64 => ValueType::I64,
        ValType::F32 => ValueType::F32,
        ValType::F64 => ValueType::F64,
        ValType::V128 => ValueType::V128,
        ValType::Ref(_) => ValueType::Ref,
    }
}
