//! Plugins for Typst: an export takes the lengths of its arguments, fetches them, and sends a result.
//!
//! Source: <https://typst.app/docs/reference/foundations/plugin/#protocol>.
//!
//! An export of one argument gets the payload whole. For one of several, the payload consists of
//! each argument's length (32 bits, little-endian) and its bytes, one after the other. An export of
//! none takes an empty payload.

use std::fmt::Write as _;

use wapc_host::module::Dialect;
use wasmparser::{FuncType, ValType};

use crate::{
    AdaptError, Options,
    kernel::{Operations, append_refusal, assemble, quoted, require_memory},
    link::{Linker, Unit},
};

const KERNEL: &str = include_str!("typst/kernel.wat");

const ENV: &str = "typst_env";
const FUNCTIONS: [&str; 2] = [
    "wasm_minimal_protocol_write_args_to_buffer",
    "wasm_minimal_protocol_send_result_to_host",
];

const MISFRAMED: &str =
    "the payload must consist of each argument's length (32 bits, little-endian) and its bytes";

pub(crate) fn adapt(plugin: Unit<'_>, _: &Options) -> Result<Vec<u8>, AdaptError> {
    require_memory(&plugin, Dialect::Typst)?;
    let operations: Vec<_> = plugin
        .exports()
        .filter_map(|(name, _, ty)| Some((name, arguments(ty?)?)))
        .filter(|(name, _)| !matches!(*name, "_initialize" | "_start"))
        .collect();
    let initializes = plugin.exports().any(|(name, ..)| name == "_initialize");

    let names = Operations::new(operations.iter().map(|(name, _)| *name));
    let (mut imports, mut elements, mut stubs) = (String::new(), String::new(), String::new());
    // A `String` takes everything.
    for (number, (export, arguments)) in operations.iter().enumerate() {
        let export = quoted(export.as_bytes());
        let parameters = " i32".repeat(*arguments);
        _ = writeln!(
            imports,
            r#"(import "plugin" {export} (func $export_{number} (param{parameters}) (result i32)))"#
        );
        _ = write!(elements, " $operation_{number}");
        let lengths = match arguments {
            1 => "(call $whole)".to_owned(),
            // Checked before the call: as its last operand, of no value.
            _ => "(call $unframe) ".repeat(*arguments) + "(call $used)",
        };
        _ = writeln!(
            stubs,
            "(func $operation_{number} (type $operation) (call $export_{number} {lengths}))"
        );
    }
    let mut data = names.data();
    let misframed_at = data.len();
    data.extend(MISFRAMED.as_bytes());
    let refusal_at = append_refusal(&mut data).to_string();
    let kernel = assemble(
        KERNEL,
        &[
            ("IMPORTS", &imports),
            ("ELEMENTS", &elements),
            ("STUBS", &stubs),
            ("MISFRAMED_AT", &misframed_at.to_string()),
            ("MISFRAMED_BYTES", &MISFRAMED.len().to_string()),
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
    let operations: Vec<_> = operations.iter().map(|(name, _)| *name).collect();
    let plugin = linker.add(plugin);
    let kernel = linker.add(Unit::parse("the kernel", &kernel)?);
    linker.inline(kernel);
    for name in FUNCTIONS {
        linker.bind(plugin, ENV, name, kernel, name);
    }
    for name in operations.into_iter().chain(["memory"]) {
        linker.bind(kernel, "plugin", name, plugin, name);
    }
    if initializes {
        linker.export(plugin, "_initialize", "_initialize");
    }
    linker.export(plugin, "memory", "memory");
    linker.export(kernel, "memory", "wapc:memory");
    linker.export(kernel, "__guest_call", "__guest_call");
    Ok(linker.link()?)
}

/// Returns the number of arguments of a function for Typst.
fn arguments(ty: &FuncType) -> Option<usize> {
    let is_one = ty.results() == [ValType::I32] && ty.params().iter().all(|ty| *ty == ValType::I32);
    is_one.then_some(ty.params().len())
}
