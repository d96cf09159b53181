//! Modules that are written for another host than waPC's.

use std::fmt;

use super::types::ExternType;

/// The kind of host that a module was written for, as its imports and exports show it.
///
/// ```
/// use wapc_host::module::{Dialect, ExternType, ValueType::I64};
///
/// let import = ("extism:host/env", "input_length", ExternType::Function(vec![], vec![I64]));
/// let (dialect, reason) = Dialect::detect(&[import], &[]).unwrap();
/// assert_eq!(dialect, Dialect::Extism);
/// assert_eq!(dialect.to_string(), "an Extism plugin");
/// assert_eq!(reason, "it imports from `extism:host/env`");
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Dialect {
    /// A guest of waPC's protocols of 2019 and 2020, whose `__host_call` has fewer parameters.
    OldWapc,
    /// A plugin for Extism.
    Extism,
    /// A policy of the Open Policy Agent.
    OpaPolicy,
    /// A program for WASI: its `main` is run once.
    WasiCommand,
    /// A library for WASI, or a module that exports functions of its own.
    WasiReactor,
    /// A plugin of Zed's first runtime: it passes buffers packed into a number.
    PackedBuffer,
    /// A plugin for Typst.
    Typst,
}

impl Dialect {
    /// Returns what a module with these imports (module, name, type) and exports (name, type) was
    /// written for, with the reason. `None` for a guest of waPC and for a module without signs.
    #[must_use]
    pub fn detect(
        imports: &[(&str, &str, ExternType)],
        exports: &[(&str, ExternType)],
    ) -> Option<(Self, &'static str)> {
        let from = |module: &str| imports.iter().any(|(from, _, _)| *from == module);
        let exports = |name: &str| exports.iter().any(|(export, _)| *export == name);
        let parameters_of_host_call = imports
            .iter()
            .find(|(module, name, _)| *module == "wapc" && *name == "__host_call")
            .and_then(|(_, _, ty)| match ty {
                ExternType::Function(parameters, _) => Some(parameters.len()),
                _ => None,
            });
        let wasi = from("wasi_snapshot_preview1") || from("wasi_unstable");
        Some(match () {
            () if matches!(parameters_of_host_call, Some(4 | 6)) => (
                Self::OldWapc,
                "its `wapc.__host_call` has the parameters of an earlier protocol",
            ),
            () if from("wapc") || from("wasmbus") || exports("__guest_call") => return None,
            () if from("extism:host/env") => (Self::Extism, "it imports from `extism:host/env`"),
            () if from("extism:host/user") => (Self::Extism, "it imports from `extism:host/user`"),
            () if from("env") && from_opa(imports)
                || exports("opa_eval")
                || exports("opa_eval_ctx_new") =>
            {
                (Self::OpaPolicy, "it has the functions of OPA's ABI")
            }
            () if from("typst_env") => (Self::Typst, "it imports from `typst_env`"),
            () if exports("__alloc_buffer") && exports("__free_buffer") => (
                Self::PackedBuffer,
                "it exports `__alloc_buffer` and `__free_buffer`",
            ),
            () if exports("_start") => (Self::WasiCommand, "it exports `_start`"),
            () if exports("_initialize") => (Self::WasiReactor, "it exports `_initialize`"),
            () if wasi => (
                Self::WasiReactor,
                "it imports WASI, and exports no `_start`",
            ),
            () => return None,
        })
    }

    /// Returns what to do with such a module.
    #[must_use]
    pub const fn advice(self) -> &'static str {
        match self {
            Self::OldWapc | Self::Extism | Self::WasiCommand | Self::PackedBuffer | Self::Typst => {
                "adapt it: `wapc call` does so by itself, a program by the crate `wapc-dialects`"
            }
            Self::OpaPolicy => "run it with an OPA SDK, or wrap it in a waPC guest",
            Self::WasiReactor => "export `__guest_call` from it with a waPC SDK",
        }
    }
}

fn from_opa(imports: &[(&str, &str, ExternType)]) -> bool {
    imports.iter().any(|(_, name, _)| name.starts_with("opa_"))
}

impl fmt::Display for Dialect {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::OldWapc => "a guest of an earlier waPC protocol",
            Self::Extism => "an Extism plugin",
            Self::OpaPolicy => "an OPA policy",
            Self::WasiCommand => "a WASI command",
            Self::WasiReactor => "a WASI library",
            Self::PackedBuffer => "a plugin that packs buffers into numbers",
            Self::Typst => "a Typst plugin",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::module::imports::signature;

    #[test]
    fn each_dialect_is_known_by_a_sign() {
        let detect = |imports: &[(&str, &str, &str)], exports: &[&str]| {
            let imports: Vec<_> = imports
                .iter()
                .map(|(module, name, ty)| (*module, *name, signature(ty)))
                .collect();
            let exports: Vec<_> = exports.iter().map(|name| (*name, signature(""))).collect();
            Dialect::detect(&imports, &exports).map(|(dialect, _)| dialect)
        };
        let wasi = ("wasi_snapshot_preview1", "fd_write", "iiii>i");
        for (imports, exports, expected) in [
            (
                &[("wapc", "__host_call", "iiii>i")][..],
                &["__guest_call"][..],
                Some(Dialect::OldWapc),
            ),
            (
                &[("wapc", "__host_call", "iiiiii>i")],
                &["__guest_call"],
                Some(Dialect::OldWapc),
            ),
            (
                &[("wapc", "__host_call", "iiiiiiii>i"), wasi],
                &["_start"],
                None,
            ),
            (&[("wasmbus", "__guest_response", "ii")], &[], None),
            (
                &[wasi, ("extism:host/env", "alloc", "I>I")],
                &["run"],
                Some(Dialect::Extism),
            ),
            (
                &[("extism:host/user", "f", "I>I")],
                &[],
                Some(Dialect::Extism),
            ),
            (
                &[("env", "opa_abort", "i")],
                &["eval"],
                Some(Dialect::OpaPolicy),
            ),
            (&[], &["opa_eval"], Some(Dialect::OpaPolicy)),
            (
                &[(
                    "typst_env",
                    "wasm_minimal_protocol_write_args_to_buffer",
                    "i",
                )],
                &["run"],
                Some(Dialect::Typst),
            ),
            (
                &[wasi],
                &["__alloc_buffer", "__free_buffer", "__echo"],
                Some(Dialect::PackedBuffer),
            ),
            (&[wasi], &["_start"], Some(Dialect::WasiCommand)),
            (&[], &["_initialize", "add"], Some(Dialect::WasiReactor)),
            (&[wasi], &["add"], Some(Dialect::WasiReactor)),
            (&[("env", "f", "")], &["add"], None),
        ] {
            assert_eq!(
                detect(imports, exports),
                expected,
                "{imports:?} {exports:?}"
            );
        }
    }
}
