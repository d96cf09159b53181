//! Which modules are waPC guests: decided here, for every engine alike.
//!
//! An engine passes its bytes through [`binary`] and
//! [`ModuleLimits::check`](crate::ModuleLimits::check) before it compiles them,
//! describes the compiled module's imports and exports to [`GuestShape::of`],
//! and lets [`refusal`] say what is wrong with bytes that it refuses.
//!
//! A guest may use the features of WebAssembly 2.0 (fixed-width SIMD among
//! them), tail calls, extended constant expressions and several memories.

use std::{borrow::Cow, error::Error as StdError, fmt};

use thiserror::Error as ThisError;
use wasmparser::{Validator, WasmFeatures};

use crate::limits::module::ModuleLimitError;

/// The WebAssembly features that a guest may use on every engine.
const FEATURES: WasmFeatures = WasmFeatures::WASM2
    .union(WasmFeatures::TAIL_CALL)
    .union(WasmFeatures::EXTENDED_CONST)
    .union(WasmFeatures::MULTI_MEMORY);

/// Why a module is not a guest that an engine can run.
#[derive(Debug, ThisError)]
#[non_exhaustive]
pub enum ModuleError {
    /// There are no bytes.
    #[error("the module is empty")]
    Empty,

    /// The bytes are neither a WebAssembly binary nor its text format.
    #[error("not a WebAssembly module: it begins with {}", .start.escape_ascii())]
    NotWasm {
        /// The first bytes, eight at the most.
        start: Vec<u8>,
    },

    /// The bytes are a component; waPC guests are core modules.
    #[error("a WebAssembly component, not a core module")]
    Component,

    /// The bytes look like the text format and are not.
    #[error("the text format does not parse: {0}")]
    Text(String),

    /// The module breaks a rule of WebAssembly, or uses a feature that guests
    /// may not use.
    #[error("not valid WebAssembly at byte {offset:#x}: {reason}")]
    Invalid {
        /// What is wrong.
        reason: String,
        /// Where, in the binary.
        offset: usize,
    },

    /// The module would cost too much to compile.
    #[error("too costly to compile")]
    Limit(#[from] ModuleLimitError),

    /// The module is valid, and this engine refuses it all the same.
    #[error("the engine refuses the module")]
    Refused(#[source] Box<dyn StdError + Send + Sync>),

    /// An export that every guest needs is not there.
    #[error("the module does not export `{name}`, {expected}")]
    MissingExport {
        /// Its name.
        name: &'static str,
        /// What it must be.
        expected: String,
    },

    /// An export with a meaning in waPC is something else.
    #[error("the module's export `{name}` must be {expected}, and is {found}")]
    ExportType {
        /// Its name.
        name: &'static str,
        /// What it must be.
        expected: String,
        /// What it is.
        found: String,
    },

    /// The module imports what no host provides.
    #[error("the module imports `{module}.{name}`, {expected}, which the host does not provide")]
    UnknownImport {
        /// The import's module name.
        module: String,
        /// The import's own name.
        name: String,
        /// What the module wants it to be.
        expected: String,
    },

    /// The module imports a host function as something else.
    #[error("the module imports `{module}.{name}` as {expected}; the host provides {found}")]
    ImportType {
        /// The import's module name.
        module: String,
        /// The import's own name.
        name: String,
        /// What the module wants it to be.
        expected: String,
        /// What it is.
        found: String,
    },
}

/// The binary form of a module that comes as binary or as text.
///
/// # Errors
///
/// [`ModuleError::Empty`], [`ModuleError::NotWasm`], [`ModuleError::Component`]
/// and [`ModuleError::Text`]. A binary is not looked at beyond its header.
pub fn binary(bytes: &[u8]) -> Result<Cow<'_, [u8]>, ModuleError> {
    const MAGIC: &[u8] = b"\0asm";
    const COMPONENT_LAYER: &[u8] = &[1, 0];

    if bytes.is_empty() {
        return Err(ModuleError::Empty);
    }
    if bytes.starts_with(MAGIC) {
        // The version field: two bytes of version, two of layer. See
        // <https://github.com/WebAssembly/component-model/blob/main/design/mvp/Binary.md>.
        return match bytes.get(6..8) {
            Some(COMPONENT_LAYER) => Err(ModuleError::Component),
            _ => Ok(Cow::Borrowed(bytes)),
        };
    }
    match std::str::from_utf8(bytes) {
        Ok(text) if first_word(text) == Some("component") => Err(ModuleError::Component),
        Ok(text) if first_word(text).is_some() => wat::parse_str(text)
            .map(Cow::Owned)
            .map_err(|error| ModuleError::Text(error.to_string())),
        _ => Err(ModuleError::NotWasm {
            start: bytes.iter().take(8).copied().collect(),
        }),
    }
}

/// The word that the text format begins with, behind comments and a
/// parenthesis; `None` if this is not the text format.
fn first_word(mut text: &str) -> Option<&str> {
    loop {
        text = text.trim_start();
        if let Some(comment) = text.strip_prefix(";;") {
            text = comment.split_once('\n')?.1;
        } else if let Some(comment) = text.strip_prefix("(;") {
            text = comment.split_once(";)")?.1;
        } else {
            return text
                .strip_prefix('(')?
                .trim_start()
                .split(|end: char| !end.is_ascii_lowercase())
                .next();
        }
    }
}

/// Why an engine refused `binary`: in the words of WebAssembly's own
/// validation, the same for every engine, or else in the engine's.
#[must_use]
pub fn refusal(binary: &[u8], engine: impl Into<Box<dyn StdError + Send + Sync>>) -> ModuleError {
    match Validator::new_with_features(FEATURES).validate_all(binary) {
        Err(error) => ModuleError::Invalid {
            reason: error.message().to_owned(),
            offset: error.offset(),
        },
        Ok(_) => ModuleError::Refused(engine.into()),
    }
}

/// The type of a value, as far as a host is concerned.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(
    clippy::exhaustive_enums,
    reason = "engines map all their types to these"
)]
pub enum ValueType {
    /// A 32-bit integer.
    I32,
    /// A 64-bit integer.
    I64,
    /// A 32-bit float.
    F32,
    /// A 64-bit float.
    F64,
    /// A 128-bit vector.
    V128,
    /// A reference of any kind.
    Ref,
}

impl fmt::Display for ValueType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::I32 => "i32",
            Self::I64 => "i64",
            Self::F32 => "f32",
            Self::F64 => "f64",
            Self::V128 => "v128",
            Self::Ref => "ref",
        })
    }
}

/// The type of an import or export, as far as a host is concerned.
#[derive(Clone, Debug, PartialEq, Eq)]
#[expect(
    clippy::exhaustive_enums,
    reason = "engines map all their types to these"
)]
pub enum ExternType {
    /// A function with these parameters and results.
    Function(Vec<ValueType>, Vec<ValueType>),
    /// A memory with 32-bit addresses, of one thread.
    Memory,
    /// A memory of another kind: 64-bit or shared.
    OtherMemory,
    /// A table.
    Table,
    /// A global.
    Global,
    /// An exception tag.
    Tag,
}

impl fmt::Display for ExternType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (parameters, results) = match self {
            Self::Function(parameters, results) => (parameters, results),
            Self::Memory => return f.write_str("a memory"),
            Self::OtherMemory => return f.write_str("a 64-bit or shared memory"),
            Self::Table => return f.write_str("a table"),
            Self::Global => return f.write_str("a global"),
            Self::Tag => return f.write_str("a tag"),
        };
        let list = |f: &mut fmt::Formatter<'_>, types: &[ValueType]| {
            f.write_str("(")?;
            for (index, value_type) in types.iter().enumerate() {
                write!(f, "{}{value_type}", if index == 0 { "" } else { ", " })?;
            }
            f.write_str(")")
        };
        f.write_str("a function ")?;
        list(f, parameters)?;
        match results.as_slice() {
            [] => Ok(()),
            [result] => write!(f, " -> {result}"),
            results => {
                f.write_str(" -> ")?;
                list(f, results)
            }
        }
    }
}

/// What an engine must know of a module that is a guest.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct GuestShape {
    /// The start functions that it exports, in the order in which they run.
    /// The start section is not among them: instantiation runs it.
    pub start_functions: Vec<Start>,
    /// Whether it imports anything of WASI, of either name.
    pub imports_wasi: bool,
}

impl GuestShape {
    /// The shape of a module with these imports (module, name, type) and
    /// exports (name, type).
    ///
    /// # Errors
    ///
    /// [`ModuleError::MissingExport`], [`ModuleError::ExportType`],
    /// [`ModuleError::UnknownImport`] and [`ModuleError::ImportType`], for the
    /// wrong import that comes first by name, or else the first wrong export.
    pub fn of<'m>(
        imports: impl IntoIterator<Item = (&'m str, &'m str, ExternType)>,
        exports: impl IntoIterator<Item = (&'m str, ExternType)>,
    ) -> Result<Self, ModuleError> {
        let mut shape = Self::default();
        // Engines list imports in different orders, and must name the same one.
        let mut imports: Vec<_> = imports.into_iter().collect();
        imports
            .sort_by_cached_key(|(module, name, expected)| (*module, *name, expected.to_string()));
        for (module, name, expected) in imports {
            check_import(module, name, &expected)?;
            shape.imports_wasi |= WASI_MODULES.contains(&module);
        }

        let exports: Vec<_> = exports.into_iter().collect();
        let find = |name| exports.iter().find(|(export, _)| *export == name);
        for (name, expected) in required_exports() {
            match find(name) {
                Some((_, found)) => check_export(name, &expected, found)?,
                None => {
                    return Err(ModuleError::MissingExport {
                        name,
                        expected: expected.to_string(),
                    });
                }
            }
        }
        for start in Start::ALL {
            if let Some(name) = start.export()
                && let Some((_, found)) = find(name)
            {
                check_export(name, &ExternType::Function(vec![], vec![]), found)?;
                shape.start_functions.push(start);
            }
        }
        Ok(shape)
    }
}

/// The functions that run when an instance is made.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, ThisError)]
#[non_exhaustive]
pub enum Start {
    /// The module's start section, run by instantiation itself.
    #[error("the module's start section")]
    Section,
    /// The entry point of a WASI command; its exit with code 0 is success.
    #[error("`_start`")]
    Command,
    /// The initialiser of a WASI reactor.
    #[error("`_initialize`")]
    Reactor,
    /// The initialiser of waPC guests.
    #[error("`wapc_init`")]
    Wapc,
}

impl Start {
    /// All of them, in the order in which they run.
    pub const ALL: [Self; 4] = [Self::Section, Self::Command, Self::Reactor, Self::Wapc];

    /// The name under which a guest exports it; the start section has none.
    #[must_use]
    pub const fn export(self) -> Option<&'static str> {
        match self {
            Self::Section => None,
            Self::Command => Some("_start"),
            Self::Reactor => Some("_initialize"),
            Self::Wapc => Some("wapc_init"),
        }
    }
}

fn required_exports() -> [(&'static str, ExternType); 2] {
    [
        ("memory", ExternType::Memory),
        ("__guest_call", signature("ii>i")),
    ]
}

fn check_export(
    name: &'static str,
    expected: &ExternType,
    found: &ExternType,
) -> Result<(), ModuleError> {
    if found == expected {
        return Ok(());
    }
    Err(ModuleError::ExportType {
        name,
        expected: expected.to_string(),
        found: found.to_string(),
    })
}

fn check_import(module: &str, name: &str, expected: &ExternType) -> Result<(), ModuleError> {
    match provided(module, name) {
        Some(found) if found == *expected => Ok(()),
        Some(found) => Err(ModuleError::ImportType {
            module: module.to_owned(),
            name: name.to_owned(),
            expected: expected.to_string(),
            found: found.to_string(),
        }),
        None => Err(ModuleError::UnknownImport {
            module: module.to_owned(),
            name: name.to_owned(),
            expected: expected.to_string(),
        }),
    }
}

/// The type of the host function `module.name`, if there is one.
#[must_use]
pub fn provided(module: &str, name: &str) -> Option<ExternType> {
    let functions: &[(&str, &str)] = match module {
        "wapc" => WAPC_FUNCTIONS,
        "env" => ENV_FUNCTIONS,
        WASI_PREVIEW1 => WASI_FUNCTIONS,
        WASI_UNSTABLE if name == "sock_accept" => return None,
        WASI_UNSTABLE => WASI_FUNCTIONS,
        _ => return None,
    };
    functions
        .iter()
        .find(|(function, _)| *function == name)
        .map(|(_, types)| signature(types))
}

/// Reads the short form of the tables below: `ii>i` is `(i32, i32) -> i32`,
/// with `I` for `i64`.
fn signature(short: &str) -> ExternType {
    let types = |short: &str| {
        short
            .bytes()
            .map(|letter| match letter {
                b'I' => ValueType::I64,
                _ => ValueType::I32,
            })
            .collect()
    };
    let (parameters, results) = short.split_once('>').unwrap_or((short, ""));
    ExternType::Function(types(parameters), types(results))
}

const WASI_PREVIEW1: &str = "wasi_snapshot_preview1";
const WASI_UNSTABLE: &str = "wasi_unstable";
const WASI_MODULES: [&str; 2] = [WASI_PREVIEW1, WASI_UNSTABLE];

/// waPC's own functions, each a method of
/// [`ModuleState`](crate::ModuleState). Source:
/// <https://wapc.io/docs/spec/>.
const WAPC_FUNCTIONS: &[(&str, &str)] = &[
    ("__console_log", "ii"),
    ("__guest_error", "ii"),
    ("__guest_request", "ii"),
    ("__guest_response", "ii"),
    ("__host_call", "iiiiiiii>i"),
    ("__host_error", "i"),
    ("__host_error_len", ">i"),
    ("__host_response", "i"),
    ("__host_response_len", ">i"),
];

/// What AssemblyScript guests may import besides.
const ENV_FUNCTIONS: &[(&str, &str)] = &[("abort", "iiii")];

/// WASI preview 1; `wasi_unstable` has the same without `sock_accept`.
/// Source: <https://github.com/WebAssembly/WASI/tree/wasi-0.1/preview1>.
const WASI_FUNCTIONS: &[(&str, &str)] = &[
    ("args_get", "ii>i"),
    ("args_sizes_get", "ii>i"),
    ("clock_res_get", "ii>i"),
    ("clock_time_get", "iIi>i"),
    ("environ_get", "ii>i"),
    ("environ_sizes_get", "ii>i"),
    ("fd_advise", "iIIi>i"),
    ("fd_allocate", "iII>i"),
    ("fd_close", "i>i"),
    ("fd_datasync", "i>i"),
    ("fd_fdstat_get", "ii>i"),
    ("fd_fdstat_set_flags", "ii>i"),
    ("fd_fdstat_set_rights", "iII>i"),
    ("fd_filestat_get", "ii>i"),
    ("fd_filestat_set_size", "iI>i"),
    ("fd_filestat_set_times", "iIIi>i"),
    ("fd_pread", "iiiIi>i"),
    ("fd_prestat_dir_name", "iii>i"),
    ("fd_prestat_get", "ii>i"),
    ("fd_pwrite", "iiiIi>i"),
    ("fd_read", "iiii>i"),
    ("fd_readdir", "iiiIi>i"),
    ("fd_renumber", "ii>i"),
    ("fd_seek", "iIii>i"),
    ("fd_sync", "i>i"),
    ("fd_tell", "ii>i"),
    ("fd_write", "iiii>i"),
    ("path_create_directory", "iii>i"),
    ("path_filestat_get", "iiiii>i"),
    ("path_filestat_set_times", "iiiiIIi>i"),
    ("path_link", "iiiiiii>i"),
    ("path_open", "iiiiiIIii>i"),
    ("path_readlink", "iiiiii>i"),
    ("path_remove_directory", "iii>i"),
    ("path_rename", "iiiiii>i"),
    ("path_symlink", "iiiii>i"),
    ("path_unlink_file", "iii>i"),
    ("poll_oneoff", "iiii>i"),
    ("proc_exit", "i"),
    ("proc_raise", "i>i"),
    ("random_get", "ii>i"),
    ("sched_yield", ">i"),
    ("sock_accept", "iii>i"),
    ("sock_recv", "iiiiii>i"),
    ("sock_send", "iiiii>i"),
    ("sock_shutdown", "ii>i"),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_that_are_no_module_say_what_they_are() {
        let words = |bytes: &[u8]| binary(bytes).unwrap_err().to_string();
        assert_eq!(words(b""), "the module is empty");
        assert_eq!(
            words(b"\x7fELF\x02\x01\x01\0\0\0"),
            r"not a WebAssembly module: it begins with \x7fELF\x02\x01\x01\x00"
        );
        assert_eq!(
            words(b"hello"),
            "not a WebAssembly module: it begins with hello"
        );
        assert_eq!(
            words(b"\0asm\x0d\0\x01\0"),
            "a WebAssembly component, not a core module"
        );
        assert!(words(b"(module (func)").starts_with("the text format does not parse"));
    }

    #[test]
    fn text_is_found_behind_comments() {
        let text = b"\n;; a line\n(; a block ;)\n(module)";
        assert_eq!(&*binary(text).unwrap(), b"\0asm\x01\0\0\0");
        assert_eq!(first_word(";; only a comment"), None);
        assert_eq!(first_word("(; never closed"), None);
        assert_eq!(first_word(";;\n( component)"), Some("component"));
    }

    #[test]
    fn a_refusal_is_in_the_words_of_the_validator_if_it_has_any() {
        let ModuleError::Invalid { offset, .. } = refusal(b"\0asm\x01\0\0\0\xff", "no") else {
            panic!("an unknown section is invalid");
        };
        assert_eq!(offset, 8);
        assert!(matches!(
            refusal(b"\0asm\x01\0\0\0", "no"),
            ModuleError::Refused(_)
        ));
    }

    #[test]
    fn types_read_like_the_text_format() {
        assert_eq!(
            signature("iI>i").to_string(),
            "a function (i32, i64) -> i32"
        );
        assert_eq!(signature("").to_string(), "a function ()");
    }

    #[test]
    fn a_shape_names_start_functions_in_their_order() {
        let exports = [
            ("wapc_init", signature("")),
            ("__guest_call", signature("ii>i")),
            ("memory", ExternType::Memory),
            ("_initialize", signature("")),
        ];
        let shape = GuestShape::of(
            [("wasi_unstable", "fd_write", signature("iiii>i"))],
            exports,
        )
        .unwrap();
        assert_eq!(shape.start_functions, [Start::Reactor, Start::Wapc]);
        assert!(shape.imports_wasi);
    }
}
