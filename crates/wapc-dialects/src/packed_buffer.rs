//! Plugins that pass buffers packed into a number: its upper half is a pointer, its lower half a
//! length.
//!
//! Source: the crate `plugin_runtime` of Zed at commit 28ba27c. The host frees a buffer that it has
//! got, and the plugin one that it was given.

use std::fmt::Write as _;

use wapc_host::module::Dialect;
use wasmparser::{FuncType, ValType};

use crate::{
    AdaptError, Options,
    kernel::{Operations, append_refusal, assemble, quoted, require_memory},
    link::{Linker, Unit},
};

const KERNEL: &str = include_str!("packed_buffer/kernel.wat");

pub(crate) fn adapt(plugin: Unit<'_>, _: &Options) -> Result<Vec<u8>, AdaptError> {
    require_memory(&plugin, Dialect::PackedBuffer)?;
    let (mut operations, mut starts) = (vec![], vec![]);
    for (name, _, ty) in plugin.exports() {
        match name.strip_prefix("__") {
            Some(operation) if is_packed(ty) => operations.push((name, operation)),
            _ if matches!(name, "_initialize" | "_start") => starts.push(name),
            _ => {}
        }
    }
    let mut host_functions = vec![];
    for (module, name, ty) in plugin.imports() {
        if let Some(operation) = name.strip_prefix("__")
            && module == "env"
            && is_packed(ty)
        {
            host_functions.push((name, operation));
        }
    }

    let names = Operations::new(operations.iter().map(|(_, operation)| *operation));
    let (mut imports, mut elements, mut stubs) = (String::new(), String::new(), String::new());
    // A `String` takes everything.
    for (number, (export, _)) in operations.iter().enumerate() {
        let export = quoted(export.as_bytes());
        _ = writeln!(
            imports,
            r#"(import "plugin" {export} (func $operation_{number} (type $packed)))"#
        );
        _ = write!(elements, " $operation_{number}");
    }
    let mut data = names.data();
    let mut at = data.len();
    for (import, operation) in &host_functions {
        let (import, length) = (quoted(import.as_bytes()), operation.len());
        _ = writeln!(
            stubs,
            "(func (export {import}) (type $packed)
                (call $ask (i32.const {at}) (i32.const {length}) (local.get 0)))"
        );
        data.extend(operation.as_bytes());
        at += length;
    }
    let refusal_at = append_refusal(&mut data).to_string();
    let kernel = assemble(
        KERNEL,
        &[
            ("IMPORTS", &imports),
            ("ELEMENTS", &elements),
            ("STUBS", &stubs),
            ("NUMBER", &operations.len().to_string()),
            ("REFUSAL_AT", &refusal_at),
            ("OPERATION_AT", &data.len().to_string()),
            ("PAGES", &(data.len() / 65536 + 1).to_string()),
            (
                "DATA",
                &format!("(data (memory $own) (i32.const 0) {})", quoted(&data)),
            ),
        ],
    )?;

    let mut linker = Linker::new();
    let host_functions: Vec<_> = host_functions.iter().map(|(name, _)| *name).collect();
    let operations: Vec<_> = operations.iter().map(|(name, _)| *name).collect();
    let plugin = linker.add(plugin);
    let kernel = linker.add(Unit::parse("the kernel", &kernel)?);
    linker.inline(kernel);
    for name in host_functions {
        linker.bind(plugin, "env", name, kernel, name);
    }
    for name in ["memory", "__alloc_buffer", "__free_buffer"]
        .into_iter()
        .chain(operations)
    {
        linker.bind(kernel, "plugin", name, plugin, name);
    }
    for name in starts {
        linker.export(plugin, name, name);
    }
    linker.export(plugin, "memory", "memory");
    linker.export(kernel, "memory", "wapc:memory");
    linker.export(kernel, "__guest_call", "__guest_call");
    Ok(linker.link()?)
}

fn is_packed(ty: Option<&FuncType>) -> bool {
    ty.is_some_and(|ty| ty.params() == [ValType::I64] && ty.results() == [ValType::I64])
}
