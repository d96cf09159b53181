//! The report on a module.

use std::sync::Arc;

use serde::{Serialize, Serializer};
use wapc_typed::Operation;

/// A description of a module. Its `Display` is for people,
/// [`Report::json`] for programs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Report {
    /// The kind of module.
    pub kind: Kind,
    /// The kind of WASI module, which a guest may be as well.
    pub wasi: Option<WasiKind>,
    /// The format of the file.
    pub form: Form,
    /// The size of the file.
    pub file_bytes: usize,
    /// The size of the module in the binary format.
    pub module_bytes: usize,
    /// The module's name in its name section.
    pub name: Option<String>,
    /// The imports, by module.
    pub imports: Vec<ImportGroup>,
    /// The exports.
    pub exports: Vec<Export>,
    /// The memories, imported ones first.
    pub memories: Vec<Memory>,
    /// The tables, imported ones first.
    pub tables: Vec<Table>,
    /// The functions that a waPC host runs before the first call, in this order.
    pub start_functions: Vec<StartEntry>,
    /// The numbers of functions.
    pub functions: Functions,
    /// The custom sections.
    pub custom_sections: Vec<CustomSection>,
    /// The typed operations that the guest describes.
    pub operations: Vec<Operation>,
    /// The producers section: the languages and tools that made the module.
    pub producers: Vec<Producer>,
    /// The target features section.
    pub target_features: Vec<TargetFeature>,
    /// `true` if there is a name section, without which traps name no functions.
    pub has_name_section: bool,
    /// The languages that it may have been written in, guessed from its producers.
    pub languages: Vec<Language>,
    /// The effect of adapting a module of another dialect, which `wapc call` does by itself.
    pub adapted: Option<&'static str>,
    /// The needs of the adapted module that another waPC host must meet. Empty if it needs nothing more, or if
    /// the module is not adapted.
    pub adapted_needs: Vec<&'static str>,
    /// The reasons for which every engine refuses the module; empty for a guest, and for a
    /// module that can be adapted. An
    /// invalid module has one reason.
    pub refusals: Vec<String>,
    /// The verdict of each engine; empty from [`read`](super::read).
    pub engines: Vec<Verdict>,
    /// Notes on sections that cannot be decoded.
    pub notes: Vec<String>,
}

/// A language that a module may have been written in.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Language {
    /// Its name.
    pub name: &'static str,
    /// The entry of the producers section that names it.
    pub evidence: String,
}

/// The kinds of modules.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum Kind {
    /// A module that imports from `wapc` or exports `__guest_call`.
    WapcGuest,
    /// A program for WASI that is no guest.
    WasiCommand,
    /// A library for WASI that is no guest.
    WasiReactor,
    /// A component, which contains modules.
    Component,
    /// Any other module.
    Other,
}

/// The two kinds of WASI modules. Source:
/// <https://github.com/WebAssembly/WASI/blob/wasi-0.1/application-abi.md>.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum WasiKind {
    /// A module that exports `_start`.
    Command,
    /// A module that exports `_initialize`, or imports from WASI and does not
    /// export `_start`.
    Reactor,
}

/// The formats of modules.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum Form {
    /// The binary format.
    Binary,
    /// The text format.
    Text,
}

/// The imports from one module.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct ImportGroup {
    /// The module's name.
    pub module: String,
    /// The imports from it.
    pub items: Vec<Import>,
}

/// One import.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Import {
    /// Its name.
    pub name: String,
    /// The type that the module requires.
    #[serde(rename = "type", serialize_with = "shared_text")]
    pub extern_type: Arc<str>,
    /// The host's answer to the import.
    #[serde(flatten)]
    pub status: ImportStatus,
}

/// The host's answer to an import. Its key in JSON is `standing`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "standing", rename_all = "kebab-case")]
#[non_exhaustive]
pub enum ImportStatus {
    /// The host provides it.
    Provided,
    /// The host provides something of another type under this name.
    Mismatched {
        /// The type that the host provides.
        provided: String,
    },
    /// The host provides nothing under this name.
    NotProvided,
}

/// One export.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Export {
    /// Its name.
    pub name: String,
    /// Its type.
    #[serde(rename = "type", serialize_with = "shared_text")]
    pub extern_type: Arc<str>,
    /// Its index among the items of its kind.
    pub index: u32,
}

/// The size at the start, and the maximum.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Limits {
    /// The size at the start.
    pub min: u64,
    /// The maximum, if the module declares one.
    pub max: Option<u64>,
}

/// One memory.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Memory {
    /// `true` if it is imported.
    pub imported: bool,
    /// The names under which it is exported.
    pub exported_as: Vec<String>,
    /// Its size in pages.
    pub pages: Limits,
    /// Its size in bytes, saturated at 2⁶⁴ − 1.
    pub bytes: Limits,
    /// The size of a page in bytes.
    pub page_bytes: u64,
    /// `true` if addresses have 64 bits.
    pub is_64: bool,
    /// `true` if threads share it.
    pub is_shared: bool,
}

/// One table.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Table {
    /// `true` if it is imported.
    pub imported: bool,
    /// The names under which it is exported.
    pub exported_as: Vec<String>,
    /// The type of its elements.
    pub element_type: String,
    /// The number of elements.
    pub elements: Limits,
    /// `true` if indices have 64 bits.
    pub is_64: bool,
}

/// One start function.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct StartEntry {
    /// The export's name, or a description of the start section.
    pub name: String,
    /// Its index.
    pub function: u32,
}

/// Counts of functions.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Functions {
    /// Imported functions.
    pub imported: usize,
    /// Functions with a body.
    pub defined: usize,
    /// Functions with a name in the name section.
    pub named: usize,
    /// The size of the code section in bytes.
    pub code_bytes: u32,
}

/// One custom section.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct CustomSection {
    /// Its name.
    pub name: String,
    /// The size of its contents, without the name.
    pub bytes: usize,
}

/// One entry of the producers section.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Producer {
    /// `language`, `processed-by` or `sdk`.
    pub field: String,
    /// The language or tool.
    pub name: String,
    /// Its version.
    pub version: String,
}

/// One entry of the target features section.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct TargetFeature {
    /// The name that compilers use.
    pub name: String,
    /// `true` if the module uses it; `false` if the module must not be linked with one
    /// that does.
    pub used: bool,
}

/// An engine's verdict on a module.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Verdict {
    /// The engine's name.
    pub engine: &'static str,
    /// The reason for which it refuses the module.
    pub refusal: Option<String>,
}

impl Report {
    /// Returns the report in JSON, with a line break at its end.
    ///
    /// ```
    /// let report = wapc_cli::inspect::read(b"(module)")?;
    /// assert!(report.json()?.contains(r#""kind": "other""#));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    ///
    /// If `serde_json` fails, for which this report gives no known cause.
    pub fn json(&self) -> Result<String, serde_json::Error> {
        serde_json::to_string_pretty(self).map(|json| json + "\n")
    }
}

fn shared_text<S: Serializer>(text: &Arc<str>, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(text)
}
