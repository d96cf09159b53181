//! Extism plugins: exports that read their input and write their output through functions of the host.
//!
//! The functions are a kernel over a memory of its own, which is linked with the plugin: moving a byte
//! is a call inside the module. What only the host can answer goes through `__host_call`:
//!
//! | binding | namespace | operation | payload | answer |
//! |---|---|---|---|---|
//! | `extism:host/env` | the key | `config_get`, `var_get` | | the value; empty for none |
//! | `extism:host/env` | the key | `var_set`, `var_delete` | the value | |
//! | `extism:host/env` | the request as JSON | `http_request` | the body | status and length of the headers (4 bytes each, little endian), headers as JSON, body |
//! | `extism:host/env` | | `log_trace`, `log_debug`, `log_info`, `log_warn`, `log_error` | the text | |
//! | `extism:host/env` | | `returned`, if [asked for](Plugins::reports_codes) | the number, 4 bytes | |
//! | `extism:host/user` | the import's module | the import's name | see below | see below |
//!
//! The payload of a function of the user's has the place of the next block, the mark of a block at 0,
//! each argument (8 bytes each), and for each that is an `i64` the length of its block (8 bytes; 0 for
//! what is no handle) and its bytes. The answer has the result, 8 bytes that are left free, and new
//! blocks, each with its header: the length and the mark (that of a block at 0, xor its place). A block
//! begins at a multiple of 16 bytes; its handle is the place behind its header.
//!
//! If [asked for](Plugins::imports_functions), a function of the user's is an import of the guest instead,
//! by its own module and name, of the type `(i32) -> ()`. Its number is the place of a record in the memory of
//! the blocks, whose fields have 8 bytes each: the place of the next block, the end of what blocks have used
//! before, the mark of a block at 0, the block that was freed last, the input's handle and its length, the handle of
//! the error, then the arguments. The function may make and free blocks, and change those fields, as the kernel does
//! (`$new`, `$free`); it leaves its results where the arguments were.

use std::{
    collections::{BTreeMap, BTreeSet, btree_map::Entry},
    fmt::Write as _,
    sync::LazyLock,
};

use wapc_host::module::{self, Dialect, ModuleError};
use wasmparser::{ExternalKind, FuncType, ValType, Validator, WasmFeatures};

use crate::{
    AdaptError, Options,
    kernel::{assemble, quoted},
    link::{Linker, Unit},
};

const KERNEL: &str = include_str!("extism/kernel.wat");

/// The module of the environment's functions, and their binding.
const ENV: &str = "extism:host/env";
/// The binding of the user's functions.
const USER: &str = "extism:host/user";
const WASI: &str = "wasi_snapshot_preview1";

/// Links the modules of an Extism plugin into a waPC guest.
///
/// [`adapt`](crate::adapt) does so for a plugin of one module. The host's part, Extism's API, is the crate
/// `wapc-extism`.
///
/// ```
/// use wapc_dialects::Plugins;
///
/// let plugin = br#"(module
///     (import "extism:host/env" "input_length" (func $length (result i64)))
///     (import "extism:host/user" "log_it" (func (param i64)))
///     (func (export "is_empty") (result i32) (i64.ne (call $length) (i64.const 0))))"#;
/// let plugin = Plugins::new().link(&[("main", plugin)])?;
/// assert_eq!(plugin.host_functions[0].name, "log_it");
/// assert!(plugin.exports.contains("is_empty"));
/// # Ok::<(), wapc_dialects::AdaptError>(())
/// ```
#[derive(Clone, Copy, Debug, Default)]
#[non_exhaustive]
pub struct Plugins {
    /// The least level of log lines that are sent to the host: 0 is trace, 4 is error. By default none is.
    pub log_level: Option<u8>,
    /// Set if an export that returns another number than 0 has answered nevertheless, and the host is
    /// told the number. By default it has failed with `Returned non-zero exit code: N`.
    pub reports_codes: bool,
    /// Set if functions of the user's are imports of the guest, which see the memory of the blocks. By default they are
    /// host calls.
    pub imports_functions: bool,
    /// Validates the guest before it is returned. By default that is left to the engine.
    pub validates: bool,
}

/// An Extism plugin as a waPC guest.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct LinkedPlugin {
    /// The guest in binary format.
    pub binary: Vec<u8>,
    /// The functions that it wants of the host, beside the environment and WASI.
    pub host_functions: Vec<HostFunction>,
    /// The exports that can be called.
    pub exports: BTreeSet<String>,
    /// The functions of WASI that it imports.
    pub wasi_functions: BTreeSet<String>,
    /// The pages of 64 KiB that the memories of its modules have at first.
    pub initial_pages: u64,
}

/// A function that a plugin wants of the host.
#[derive(Clone, Debug, Eq, Ord, PartialEq, PartialOrd)]
#[non_exhaustive]
pub struct HostFunction {
    /// The module of the import, which is the namespace of the host call.
    pub module: String,
    /// The name of the import, which is its operation.
    pub name: String,
    /// The types of its parameters, such as `i64`.
    pub params: Vec<&'static str>,
    /// The types of its results: at most one, unless the functions are
    /// [imports of the guest](Plugins::imports_functions).
    pub results: Vec<&'static str>,
}

impl Plugins {
    /// Returns the default.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Sets the least level of log lines that are sent to the host.
    #[must_use]
    pub const fn log_level(mut self, level: Option<u8>) -> Self {
        self.log_level = level;
        self
    }

    /// Sets whether the host is told numbers other than 0 that exports return.
    #[must_use]
    pub const fn reports_codes(mut self, reports: bool) -> Self {
        self.reports_codes = reports;
        self
    }

    /// Sets whether functions of the user's are imports of the guest.
    #[must_use]
    pub const fn imports_functions(mut self, imports: bool) -> Self {
        self.imports_functions = imports;
        self
    }

    /// Sets whether the guest is validated before it is returned.
    #[must_use]
    pub const fn validates(mut self, validates: bool) -> Self {
        self.validates = validates;
        self
    }

    /// Links modules (binary or text) by their names. The one called `main` is the plugin, and the others
    /// provide what it and they import from their names. Each keeps its own memory, which WASI's functions use
    /// where it calls them; if it exports none, they answer "not supported" (52). A library that is a command (it exports
    /// `_start`) is as new in each call, and none of its constructors runs but its start section; others keep their
    /// state.
    ///
    /// # Errors
    ///
    /// [`AdaptError::Module`] if one is no module; [`AdaptError::Unfit`] if there is no `main`, or if an
    /// import is none that can be had; [`AdaptError::Link`] if a module does not have what another
    /// imports from it.
    pub fn link(&self, modules: &[(&str, &[u8])]) -> Result<LinkedPlugin, AdaptError> {
        let mut binaries = Vec::new();
        for (name, bytes) in modules {
            binaries.push((*name, module::binary(bytes)?));
        }
        // The plugin first: the linker moves least of the first unit.
        binaries.sort_by_key(|(name, _)| *name != MAIN);
        let mut units = Vec::new();
        for (name, binary) in &binaries {
            let unit = Unit::parse(&format!("the module `{name}`"), binary)?;
            units.push((*name, unit));
        }
        if units.first().is_none_or(|(name, _)| *name != MAIN) {
            return Err(unfit("there is no module called `main`"));
        }
        self.link_units(units)
    }

    fn link_units(&self, units: Vec<(&str, Unit<'_>)>) -> Result<LinkedPlugin, AdaptError> {
        let mut glue = Glue::new(*self, &units)?;
        let kernel = glue.assemble()?;
        let mut linker = Linker::new();
        let mut ids = Vec::new();
        let (mut has_memory, mut commands) = (false, Vec::new());
        let initial_pages = units.iter().map(|(_, unit)| unit.initial_pages()).sum();
        for (number, (name, unit)) in units.into_iter().enumerate() {
            has_memory |= number == 0 && exports_memory(&unit);
            commands.push(number > 0 && is_command(&unit));
            ids.push((name, linker.add(unit)));
        }
        for ((_, id), is_command) in ids.iter().zip(commands) {
            if is_command {
                linker.renew(*id);
            }
        }
        let kernel = linker.add(Unit::parse("the kernel", &kernel)?);
        linker.inline(kernel);
        for (unit, import, binding) in &glue.bindings {
            let Some((_, id)) = ids.get(*unit) else {
                continue;
            };
            let (module, name) = import;
            match binding {
                Binding::Kernel(export) => linker.bind(*id, module, name, kernel, export),
                Binding::Module(provider) => {
                    if let Some((_, provider)) = ids.get(*provider) {
                        linker.bind(*id, module, name, *provider, name);
                    }
                }
            }
        }
        for (unit, export) in glue.wanted.keys() {
            if let Some((_, id)) = ids.get(*unit) {
                linker.bind(kernel, &unit_name(*unit), export, *id, export);
            }
        }
        match ids.first() {
            Some((_, main)) if has_memory => linker.export(*main, "memory", "memory"),
            _ => linker.export(kernel, "$memory", "memory"),
        }
        for number in &glue.library_memories {
            if let Some((_, id)) = ids.get(*number) {
                let number = i32::try_from(*number).unwrap_or(i32::MAX);
                linker.export(*id, "memory", &module::wasi_memory(number));
            }
        }
        linker.export(kernel, "$memory", "wapc:memory");
        linker.export(kernel, "__guest_call", "__guest_call");
        if !glue.starts.is_empty() {
            linker.export(kernel, "$start", "_initialize");
        }
        let binary = linker.link()?;
        if self.validates {
            Validator::new_with_features(WasmFeatures::all())
                .validate_all(&binary)
                .map_err(AdaptError::invalid)?;
        }
        Ok(LinkedPlugin {
            binary,
            host_functions: glue.host_functions.into_values().collect(),
            exports: glue.callables.into_iter().collect(),
            wasi_functions: glue.wasi_functions,
            initial_pages,
        })
    }
}

const MAIN: &str = "main";

pub(crate) fn adapt(plugin: Unit<'_>, options: &Options) -> Result<Vec<u8>, AdaptError> {
    let plugins = Plugins::new().validates(options.validates);
    Ok(plugins.link_units(vec![(MAIN, plugin)])?.binary)
}

fn unfit(reason: impl Into<String>) -> AdaptError {
    AdaptError::Unfit {
        dialect: Dialect::Extism,
        reason: reason.into(),
    }
}

fn exports_memory(unit: &Unit<'_>) -> bool {
    unit.exports()
        .any(|(name, kind, _)| name == "memory" && kind == ExternalKind::Memory)
}

fn is_command(unit: &Unit<'_>) -> bool {
    unit.exports()
        .any(|(name, kind, _)| name == "_start" && kind == ExternalKind::Func)
}

/// The thing that an import is bound to.
enum Binding {
    /// An export of the kernel.
    Kernel(String),
    /// The export of the same name of a module, by its number.
    Module(usize),
}

/// The parts of the kernel that depend on the plugin.
#[derive(Default)]
struct Glue {
    plugins: Plugins,
    /// Imports of each unit, by its number, and what they are bound to.
    bindings: Vec<(usize, (String, String), Binding)>,
    /// The exports that the kernel imports, by the number of the unit, and their names in the kernel.
    wanted: BTreeMap<(usize, String), String>,
    host_functions: BTreeMap<(String, String), HostFunction>,
    /// The exports that can be called, by their numbers.
    callables: Vec<String>,
    wasi_functions: BTreeSet<String>,
    exits: bool,
    /// The units whose memories WASI's functions use, by their numbers, and those functions in the kernel, by their
    /// names.
    library_memories: BTreeSet<usize>,
    wasi_of_libraries: BTreeMap<String, String>,
    /// Parts of the kernel in the text format.
    imports: String,
    functions: String,
    starts: String,
    elements: String,
    /// Names that are sent to the host.
    names: Vec<u8>,
    longest_names: usize,
    /// The bytes of the record for functions of the user's that are imports; 0 without any.
    record_bytes: usize,
}

/// A kernel without a plugin, whose exports are the environment.
static ENVIRONMENT: LazyLock<Result<Vec<u8>, String>> = LazyLock::new(|| {
    let assembled = Glue::empty(Plugins::new()).assemble();
    assembled.map_err(|error| error.to_string())
});

impl Glue {
    fn empty(plugins: Plugins) -> Self {
        Self {
            plugins,
            names: NOT_FOUND.as_bytes().to_vec(),
            ..Self::default()
        }
    }

    fn new(plugins: Plugins, units: &[(&str, Unit<'_>)]) -> Result<Self, AdaptError> {
        let mut glue = Self::empty(plugins);
        let environment = ENVIRONMENT.as_ref();
        let environment = environment.map_err(|error| ModuleError::Text(error.clone()))?;
        let environment = Unit::parse("the environment", environment)?;
        for (number, (_, unit)) in units.iter().enumerate() {
            glue.bind(number, unit, units, &environment)?;
        }
        // Libraries begin before the plugin.
        for (number, (_, unit)) in units.iter().enumerate().skip(1) {
            if !is_command(unit) {
                glue.begin(number, unit);
            }
        }
        if let Some((_, main)) = units.first() {
            glue.begin(0, main);
            glue.add_callables(main);
        }
        Ok(glue)
    }

    fn bind(
        &mut self,
        number: usize,
        unit: &Unit<'_>,
        units: &[(&str, Unit<'_>)],
        environment: &Unit<'_>,
    ) -> Result<(), AdaptError> {
        for (module, name, ty) in unit.imports() {
            let provider = units.iter().position(|(unit, _)| *unit == module);
            let binding = match (module, ty) {
                (ENV, Some(ty)) => {
                    let mut provided = environment.exports();
                    let is_provided = provided.any(|(found, _, provided)| {
                        found == name && !found.starts_with(['$', '_']) && provided == Some(ty)
                    });
                    if !is_provided {
                        let signature = signature(name, ty)?;
                        return Err(unfit(format!(
                            "Invalid function import from {ENV}: {name} {signature}; its PDK may be \
                             newer than this host"
                        )));
                    }
                    Binding::Kernel(name.to_owned())
                }
                (ENV, None) => {
                    return Err(unfit(
                        "linked modules cannot access non-function exports of extism kernel",
                    ));
                }
                _ if let Some(provider) = provider => Binding::Module(provider),
                ("wapc" | "wasmbus", _) => {
                    return Err(unfit(format!("it imports from `{module}` too")));
                }
                (WASI, Some(ty)) => {
                    self.wasi_functions.insert(name.to_owned());
                    match name {
                        "proc_exit" => {
                            self.exits = true;
                            Binding::Kernel("$exit".to_owned())
                        }
                        // Bound to nothing, it is the host's.
                        _ if number == 0 => continue,
                        _ => Binding::Kernel(self.add_wasi_of_library(number, unit, name, ty)?),
                    }
                }
                (_, Some(ty)) => Binding::Kernel(self.add_host_function(module, name, ty)?),
                (_, None) => {
                    return Err(unfit(format!(
                        "nobody provides `{module}.{name}`, which is no function"
                    )));
                }
            };
            let import = (module.to_owned(), name.to_owned());
            self.bindings.push((number, import, binding));
        }
        Ok(())
    }

    /// Adds names that are sent to the host together. Returns their place.
    fn add_names(&mut self, names: &[&str]) -> usize {
        let at = self.names.len();
        for name in names {
            self.names.extend(name.as_bytes());
        }
        self.longest_names = self.longest_names.max(self.names.len() - at);
        at
    }

    /// A function of WASI for a library: it uses the library's memory, or answers that it is not supported.
    fn add_wasi_of_library(
        &mut self,
        number: usize,
        unit: &Unit<'_>,
        name: &str,
        ty: &FuncType,
    ) -> Result<String, AdaptError> {
        let export = format!("$wasi {number} {name}");
        let (quoted_export, signature) = (quoted(export.as_bytes()), signature(name, ty)?);
        if ty.results() != [ValType::I32] || !exports_memory(unit) {
            let errno = if ty.results().is_empty() {
                ""
            } else {
                NOT_SUPPORTED
            };
            _ = writeln!(
                self.functions,
                "(func (export {quoted_export}) {signature} {errno})"
            );
            return Ok(export);
        }
        if self.library_memories.is_empty() {
            self.imports += "(import \"wapc\" \"__wasi_memory\" (func $wasi_memory (param i32) (result i32)))\n";
        }
        self.library_memories.insert(number);
        let wasi = self.wasi_of_libraries.len();
        let function = match self.wasi_of_libraries.entry(name.to_owned()) {
            Entry::Occupied(function) => function.get().clone(),
            Entry::Vacant(entry) => {
                let function = format!("$wasi{wasi}");
                let name = quoted(name.as_bytes());
                _ = writeln!(
                    self.imports,
                    "(import \"{WASI}\" {name} (func {function} {signature}))"
                );
                entry.insert(function).clone()
            }
        };
        let mut arguments = String::new();
        for index in 0..ty.params().len() {
            _ = write!(arguments, "(local.get {index})");
        }
        _ = writeln!(
            self.functions,
            "(func (export {quoted_export}) {signature} (local $errno i32)
                (if (i32.eqz (call $wasi_memory (i32.const {number})))
                  (then (return {NOT_SUPPORTED})))
                (local.set $errno (call {function} {arguments}))
                (drop (call $wasi_memory (i32.const 0)))
                (local.get $errno))"
        );
        Ok(export)
    }

    fn add_host_function(
        &mut self,
        module: &str,
        name: &str,
        ty: &FuncType,
    ) -> Result<String, AdaptError> {
        let export = format!("{module}\0{name}");
        signature_of(ty).map_err(|ty| other_type(name, ty))?;
        let types = |types: &[ValType]| types.iter().filter_map(type_name).collect();
        let function = HostFunction {
            module: module.to_owned(),
            name: name.to_owned(),
            params: types(ty.params()),
            results: types(ty.results()),
        };
        let key = (module.to_owned(), name.to_owned());
        match self.host_functions.get(&key) {
            Some(other) if *other == function => return Ok(export),
            Some(_) => {
                return Err(unfit(format!(
                    "two modules import `{module}.{name}` with different types"
                )));
            }
            None => self.host_functions.insert(key, function),
        };
        if self.plugins.imports_functions {
            self.add_import(module, name, &export, ty);
        } else {
            self.add_host_call(module, name, &export, ty)?;
        }
        Ok(export)
    }

    /// A function of the user's as an import: the state of the blocks, its arguments and its results are in a record.
    fn add_import(&mut self, module: &str, name: &str, export: &str, ty: &FuncType) {
        let function = format!("$user{}", self.host_functions.len());
        let (module, name) = (quoted(module.as_bytes()), quoted(name.as_bytes()));
        _ = writeln!(
            self.imports,
            "(import {module} {name} (func {function} (param i32)))"
        );
        let (mut stores, mut loads) = (String::new(), String::new());
        for (index, ty) in ty.params().iter().enumerate() {
            let (offset, value) = (RECORD_BYTES + 8 * index, as_i64(index, ty));
            _ = writeln!(
                stores,
                "(i64.store offset={offset} (i32.const RECORD_AT) {value})"
            );
        }
        for (index, ty) in ty.results().iter().enumerate() {
            let offset = RECORD_BYTES + 8 * index;
            let load = format!("(i64.load offset={offset} (i32.const RECORD_AT))");
            _ = writeln!(loads, "{}", from_i64(&load, ty));
        }
        let signature = signature_of(ty).unwrap_or_default();
        _ = writeln!(
            self.functions,
            "(func (export {}) {signature}
                (call $lend) {stores}
                (call {function} (i32.const RECORD_AT))
                (call $take_back) {loads})",
            quoted(export.as_bytes())
        );
        let numbers = ty.params().len().max(ty.results().len());
        self.record_bytes = self.record_bytes.max(RECORD_BYTES + 8 * numbers);
    }

    /// A function of the user's as a host call: its arguments and their blocks go out as one payload.
    fn add_host_call(
        &mut self,
        module: &str,
        name: &str,
        export: &str,
        ty: &FuncType,
    ) -> Result<(), AdaptError> {
        let signature = signature(name, ty)?;
        let from = self.add_names(&[USER, module, name]);
        let head = 16 + 8 * ty.params().len();
        let (mut stores, mut blocks) = (String::new(), String::new());
        for (index, ty) in ty.params().iter().enumerate() {
            let (offset, value) = (16 + 8 * index, as_i64(index, ty));
            _ = writeln!(
                stores,
                "(i64.store offset={offset} align=1 (local.get $at) {value})"
            );
            if *ty == ValType::I64 {
                _ = writeln!(
                    blocks,
                    "(local.set $end (call $append_block (local.get $end) (local.get {index})))"
                );
            }
        }
        let (module_bytes, name_bytes) = (module.len(), name.len());
        let ask = format!(
            "(call $ask_user (i32.const {from}) (i32.const {module_bytes}) \
             (i32.const {name_bytes}) (local.get $end))"
        );
        let result = match ty.results() {
            [] => format!("(drop {ask})"),
            [ty, ..] => from_i64(&ask, ty),
        };
        _ = writeln!(
            self.functions,
            "(func (export {}) {signature} (local $at i32) (local $end i32)
                (local.set $at (call $begin_arguments (i64.const {head})))
                {stores}
                (local.set $end (i32.add (local.get $at) (i32.const {head})))
                {blocks}
                {result})",
            quoted(export.as_bytes())
        );
        Ok(())
    }

    /// Calls the functions that a unit begins with: Haskell's, those of C and C++, or a reactor's.
    fn begin(&mut self, number: usize, unit: &Unit<'_>) {
        let has = |name: &str, params: &[ValType]| {
            unit.exports().any(|(found, _, ty)| {
                found == name
                    && ty.is_some_and(|ty| ty.params() == params && ty.results().is_empty())
            })
        };
        let is_haskell = has("hs_init", &[ValType::I32, ValType::I32]);
        if !is_haskell && has("__wasm_call_ctors", &[]) {
            let function = self.want(number, "__wasm_call_ctors", "");
            _ = write!(self.starts, "(call {function})");
        } else if has("_initialize", &[]) {
            let function = self.want(number, "_initialize", "");
            _ = write!(self.starts, "(call {function})");
        }
        if is_haskell {
            let function = self.want(number, "hs_init", "(param i32 i32)");
            _ = write!(self.starts, "(call {function} (i32.const 0) (i32.const 0))");
        }
    }

    /// Has the kernel import an export of a unit. Returns the function's name in the kernel.
    fn want(&mut self, unit: usize, export: &str, signature: &str) -> String {
        let function = format!("$f{}", self.wanted.len());
        let key = (unit, export.to_owned());
        if let Some(function) = self.wanted.get(&key) {
            return function.clone();
        }
        let (module, name) = (
            quoted(unit_name(unit).as_bytes()),
            quoted(export.as_bytes()),
        );
        _ = writeln!(
            self.imports,
            "(import {module} {name} (func {function} {signature}))"
        );
        self.wanted.insert(key, function.clone());
        function
    }

    fn add_callables(&mut self, main: &Unit<'_>) {
        for (name, _, ty) in main.exports() {
            let Some(ty) = ty else { continue };
            let (signature, after) = match (ty.params(), ty.results()) {
                ([], []) if name == "_start" => {
                    self.exits = true;
                    (String::new(), "(call $exit (i32.const 0)) (unreachable)")
                }
                ([], []) => (String::new(), "(i32.const 0)"),
                ([], [ValType::I32]) => ("(result i32)".to_owned(), ""),
                // A result that is no code counts as -1.
                ([], [other]) if let Some(other) = type_name(other) => {
                    (format!("(result {other})"), "(drop) (i32.const -1)")
                }
                _ => continue,
            };
            let function = self.want(0, name, &signature);
            let number = self.callables.len();
            _ = writeln!(
                self.functions,
                "(func $callable_{number} (type $callable) (call {function}) {after})"
            );
            _ = write!(self.elements, " $callable_{number}");
            self.callables.push(name.to_owned());
        }
    }

    /// Returns the kernel in binary format.
    fn assemble(&mut self) -> Result<Vec<u8>, AdaptError> {
        if self.exits {
            _ = writeln!(
                self.imports,
                "(import \"{WASI}\" \"proc_exit\" (func $host_exit (param i32)))"
            );
            self.functions += EXIT;
        }
        if !self.starts.is_empty() {
            let start = format!("(func (export \"$start\") {})\n", self.starts);
            self.functions += &start;
        }
        let mut words = Vec::new();
        for (word, name) in ASKED {
            let at = self.add_names(&[ENV, name]);
            words.push((word, format!("(i32.const {at}) (i32.const {})", name.len())));
        }
        for (word, of) in HANDLES {
            let text = format!("invalid handle offset for {of}: ");
            let at = self.names.len();
            self.names.extend(text.as_bytes());
            words.push((word, format!("(i32.const {at}) (i32.const {})", text.len())));
        }
        let text_at = self.names.len();
        self.names.extend(RETURNED.as_bytes());
        let report_code = match self.plugins.reports_codes {
            true => {
                let at = self.add_names(&[ENV, "returned"]);
                TELL_CODE.replace("RETURNED_AT", &at.to_string())
            }
            false => FAIL_WITH_CODE.replace("RETURNED_AT", &text_at.to_string()),
        };
        self.functions += &report_code;

        let mut table = Vec::new();
        for name in &self.callables {
            // The format bounds names to 32 bits.
            let length = u32::try_from(name.len()).unwrap_or(u32::MAX);
            table.extend(u64::from(length).to_le_bytes());
            table.extend(name.as_bytes());
            table.resize(table.len().next_multiple_of(8), 0);
        }
        let scratch_at = table.len();
        let not_found_at = scratch_at + self.longest_names;
        let operation_at = not_found_at + NOT_FOUND.len();
        let longest = self.callables.iter().map(String::len).max();
        let operation_bytes = longest.unwrap_or(0).max(64);
        let zero_at = (operation_at + operation_bytes + 8).next_multiple_of(16);
        let record_at = zero_at + 16;
        let blocks_at = (record_at + self.record_bytes).next_multiple_of(16);
        if self.record_bytes > 0 {
            self.functions += LENDING;
        }
        let pages = blocks_at / 65536 + 2;
        let bytes = pages * 65536;
        for (word, number) in [
            ("BLOCKS_AT_AND_16", blocks_at + 16),
            ("BLOCKS_AT", blocks_at),
            ("SCRATCH_AT", scratch_at),
            ("NOT_FOUND_AT", not_found_at),
            ("OPERATION_AT", operation_at),
            ("ZERO_AT", zero_at),
            ("TRASH_AT", zero_at + 8),
            ("RECORD_AT", record_at),
            ("OPERATION_BYTES", operation_bytes),
            ("MEMORY_BYTES", bytes),
            ("LAST_U64", bytes - 8),
            ("ROOM_U64", bytes - blocks_at - 7),
            ("ROOM", bytes - blocks_at),
            ("PAGES", pages),
            ("NUMBER", self.callables.len()),
        ] {
            words.push((word, number.to_string()));
        }
        let level = self.plugins.log_level.map_or(i32::MAX, i32::from);
        words.push(("LOG_LEVEL", level.to_string()));
        words.push(("ELEMENTS", self.elements.clone()));
        words.push(("HOST_NAMES", quoted(&self.names)));
        let table = format!("(data (i32.const 0) {})", quoted(&table));
        words.push(("EXPORTED_NAMES", table));
        // First what has words in it; the names of imports and exports are quoted, and have none.
        let text = KERNEL
            .replace("FUNCTIONS", &self.functions)
            .replace("IMPORTS", &self.imports);
        let words: Vec<_> = words.iter().map(|(word, text)| (*word, &**text)).collect();
        assemble(&text, &words)
    }
}

const NOT_FOUND: &str = "Function not found: ";
const RETURNED: &str = "Returned non-zero exit code: ";

/// The functions of the environment that ask the host: the word for the place and the length of its
/// name in the kernel, and the name.
const ASKED: [(&str, &str); 10] = [
    ("CONFIG_GET", "config_get"),
    ("VAR_GET", "var_get"),
    ("VAR_SET", "var_set"),
    ("VAR_DELETE", "var_delete"),
    ("HTTP_REQUEST", "http_request"),
    ("LOG_TRACE", "log_trace"),
    ("LOG_DEBUG", "log_debug"),
    ("LOG_INFO", "log_info"),
    ("LOG_WARN", "log_warn"),
    ("LOG_ERROR", "log_error"),
];

/// The blocks that functions of the environment take: the word for the place and the length of the text for a wrong
/// handle, and the block's name in it.
const HANDLES: [(&str, &str); 6] = [
    ("OF_CONFIG_KEY", "config key"),
    ("OF_VAR_KEY", "var key"),
    ("OF_VAR_VALUE", "var value"),
    ("OF_REQUEST", "http request"),
    ("OF_BODY", "http request body"),
    ("OF_LOG", "log message"),
];

/// `proc_exit`: with code 0 and no error, the output is the response. Of other codes the host is told
/// before, because WASI has none above 125.
const EXIT: &str = r#"
  (func $exit (export "$exit") (param $code i32)
    (if (global.get $in_call)
      (then (if (local.get $code)
        (then (drop (call $report_code (local.get $code))))
        (else (if (i32.eqz (call $report_error))
          (then (call $guest_response
            (i32.wrap_i64 (global.get $output)) (i32.wrap_i64 (global.get $output_bytes)))))))))
    (call $host_exit (local.get $code)))
"#;

/// WASI's error number for it, `nosys`.
const NOT_SUPPORTED: &str = "(i32.const 52)";

/// Tells the host the number that an export has returned. Returns whether the call goes on.
const TELL_CODE: &str = "
  (func $report_code (param $code i32) (result i32)
    (i32.store align=1 (i32.const OPERATION_AT) (local.get $code))
    (call $ask (i32.const RETURNED_AT) (i32.const 15) (i32.const 0) (i32.const 8)
      (i64.const 0) (i32.const 0) (i32.const OPERATION_AT) (i32.const 4))
    (i32.const 1))
";

/// Makes an error of that number, unless one is set.
const FAIL_WITH_CODE: &str = "
  (func $report_code (param $code i32) (result i32)
    (local $at i32) (local $rest i64)
    (if (call $report_error) (then (return (i32.const 0))))
    (local.set $at (i32.const OPERATION_AT))
    (local.set $at (i32.add (local.get $at) (i32.const 48)))
    (local.set $rest (i64.extend_i32_s (local.get $code)))
    (if (i32.lt_s (local.get $code) (i32.const 0))
      (then (local.set $rest (i64.sub (i64.const 0) (local.get $rest)))))
    (loop $digit
      (local.set $at (i32.sub (local.get $at) (i32.const 1)))
      (i32.store8 (local.get $at)
        (i32.add (i32.const 48) (i32.wrap_i64 (i64.rem_u (local.get $rest) (i64.const 10)))))
      (local.set $rest (i64.div_u (local.get $rest) (i64.const 10)))
      (br_if $digit (i32.eqz (i64.eqz (local.get $rest)))))
    (if (i32.lt_s (local.get $code) (i32.const 0))
      (then
        (local.set $at (i32.sub (local.get $at) (i32.const 1)))
        (i32.store8 (local.get $at) (i32.const 45))))
    (local.set $at (i32.sub (local.get $at) (i32.const 29)))
    (memory.init $names (local.get $at) (i32.const RETURNED_AT) (i32.const 29))
    (call $guest_error (local.get $at)
      (i32.sub (i32.add (i32.const OPERATION_AT) (i32.const 48)) (local.get $at)))
    (i32.const 0))
";

/// Lends the blocks to a function of the user's by the record, and takes them back.
const LENDING: &str = "
  (func $lend
    (i64.store (i32.const RECORD_AT) (global.get $top))
    (i64.store offset=8 (i32.const RECORD_AT) (global.get $used))
    (i64.store offset=16 (i32.const RECORD_AT) (call $mark (i64.const 0)))
    (i64.store offset=24 (i32.const RECORD_AT) (global.get $freed))
    (i64.store offset=32 (i32.const RECORD_AT) (global.get $input))
    (i64.store offset=40 (i32.const RECORD_AT) (global.get $input_bytes))
    (i64.store offset=48 (i32.const RECORD_AT) (global.get $error)))
  (func $take_back (local $error i64)
    (global.set $top (i64.load (i32.const RECORD_AT)))
    (global.set $freed (i64.load offset=24 (i32.const RECORD_AT)))
    (call $set_input (global.get $input) (i64.load offset=40 (i32.const RECORD_AT)))
    (call $note_size)
    (local.set $error (i64.load offset=48 (i32.const RECORD_AT)))
    (if (i64.ne (local.get $error) (global.get $error))
      (then
        (global.set $error (local.get $error))
        (drop (call $report_error)))))
";

/// The bytes of the record before the arguments.
const RECORD_BYTES: usize = 56;

/// Returns the type of a function that the host may have, in the text format.
fn signature(name: &str, ty: &FuncType) -> Result<String, AdaptError> {
    match (signature_of(ty), ty.results().len()) {
        (Ok(text), 0 | 1) => Ok(text),
        (Ok(_), results) => Err(unfit(format!(
            "`{name}`, which it imports, has {results} results"
        ))),
        (Err(ty), _) => Err(other_type(name, ty)),
    }
}

fn other_type(name: &str, ty: ValType) -> AdaptError {
    unfit(format!(
        "`{name}`, which it imports, has a parameter or result of the type {ty}"
    ))
}

/// Returns a type in the text format, or the part of it that hosts do not have.
fn signature_of(ty: &FuncType) -> Result<String, ValType> {
    let mut text = String::new();
    for (what, types) in [("param", ty.params()), ("result", ty.results())] {
        for ty in types {
            _ = write!(text, "({what} {})", type_name(ty).ok_or(*ty)?);
        }
    }
    Ok(text)
}

/// Returns an argument as an i64.
fn as_i64(index: usize, ty: &ValType) -> String {
    match ty {
        ValType::I32 => format!("(i64.extend_i32_u (local.get {index}))"),
        ValType::F32 => format!("(i64.extend_i32_u (i32.reinterpret_f32 (local.get {index})))"),
        ValType::F64 => format!("(i64.reinterpret_f64 (local.get {index}))"),
        _ => format!("(local.get {index})"),
    }
}

/// Returns an i64 as a result.
fn from_i64(value: &str, ty: &ValType) -> String {
    match ty {
        ValType::I32 => format!("(i32.wrap_i64 {value})"),
        ValType::F32 => format!("(f32.reinterpret_i32 (i32.wrap_i64 {value}))"),
        ValType::F64 => format!("(f64.reinterpret_i64 {value})"),
        _ => value.to_owned(),
    }
}

const fn type_name(ty: &ValType) -> Option<&'static str> {
    match ty {
        ValType::I32 => Some("i32"),
        ValType::I64 => Some("i64"),
        ValType::F32 => Some("f32"),
        ValType::F64 => Some("f64"),
        ValType::V128 | ValType::Ref(_) => None,
    }
}

/// Returns the module by which the kernel imports from a unit.
fn unit_name(number: usize) -> String {
    format!("unit {number}")
}
