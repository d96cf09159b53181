//! Guests of waPC's earlier protocols.
//!
//! In 2019 (`wapc-guest` 0.1) `__host_call` took an operation and a payload, in 2020 (0.2) a
//! namespace before them. All else is as today.

use crate::{
    AdaptError, Options,
    kernel::assemble,
    link::{Linker, Unit},
};

const TODAY: &str = r#"(module
    (import "wapc" "__host_call"
        (func $host_call (param i32 i32 i32 i32 i32 i32 i32 i32) (result i32)))
    (func (export "4") (param $op i32) (param $op_len i32) (param $ptr i32) (param $len i32)
        (result i32)
        (call $host_call
            (i32.const 0) (i32.const 0) (i32.const 0) (i32.const 0)
            (local.get $op) (local.get $op_len) (local.get $ptr) (local.get $len)))
    (func (export "6") (param $ns i32) (param $ns_len i32)
        (param $op i32) (param $op_len i32) (param $ptr i32) (param $len i32) (result i32)
        (call $host_call
            (i32.const 0) (i32.const 0) (local.get $ns) (local.get $ns_len)
            (local.get $op) (local.get $op_len) (local.get $ptr) (local.get $len))))"#;

pub(crate) fn adapt(guest: Unit<'_>, _: &Options) -> Result<Vec<u8>, AdaptError> {
    let of_guest = |(module, name): (&str, &str)| module == "wapc" && name == "__host_call";
    let parameters = guest
        .imports()
        .find(|(module, name, _)| of_guest((module, name)))
        .and_then(|(_, _, ty)| ty)
        .map_or(0, |ty| ty.params().len());
    let exports: Vec<_> = guest.exports().map(|(name, ..)| name).collect();
    let today = assemble(TODAY, &[])?;
    let mut linker = Linker::new();
    let guest = linker.add(guest);
    let today = linker.add(Unit::parse("the protocol", &today)?);
    let export = parameters.to_string();
    linker.bind(guest, "wapc", "__host_call", today, &export);
    for export in exports {
        linker.export(guest, export, export);
    }
    Ok(linker.link()?)
}
