//! What is known of a module.

use std::sync::Arc;

use serde::{Serialize, Serializer};

use super::languages::Language;

/// What is known of a module. Its `Display` is for people,
/// [`Report::json`] for programs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Report {
    /// What it is.
    pub kind: Kind,
    /// What of WASI it is, which a guest may be as well.
    pub wasi: Option<WasiKind>,
    /// Whether it came as binary or text.
    pub form: Form,
    /// The size of what was given.
    pub file_bytes: usize,
    /// The size of the binary: another one if text was given.
    pub module_bytes: usize,
    /// The name that it gives itself in its name section.
    pub name: Option<String>,
    /// What it imports, by module.
    pub imports: Vec<ImportGroup>,
    /// What it exports.
    pub exports: Vec<Export>,
    /// Its memories, imported ones first.
    pub memories: Vec<Memory>,
    /// Its tables, imported ones first.
    pub tables: Vec<Table>,
    /// What runs before the first call, in this order, in a host of waPC.
    pub start_functions: Vec<StartEntry>,
    /// How many functions it has.
    pub functions: Functions,
    /// Its custom sections.
    pub custom_sections: Vec<CustomSection>,
    /// The producers section: what it was made with.
    pub producers: Vec<Producer>,
    /// The target features section.
    pub target_features: Vec<TargetFeature>,
    /// Whether it has a name section, without which traps name no functions.
    pub has_name_section: bool,
    /// What it may have been written in, guessed from its producers.
    pub languages: Vec<Language>,
    /// Why it is not a guest that any engine of this host runs; empty if it
    /// is one. Of a module that is not valid, only that.
    pub refusals: Vec<String>,
    /// What each engine says.
    pub engines: Vec<Verdict>,
    /// What was odd when it was read.
    pub notes: Vec<String>,
}

/// What a module is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum Kind {
    /// It imports from `wapc` or exports `__guest_call`.
    WapcGuest,
    /// No guest, and a program for WASI.
    WasiCommand,
    /// No guest, and a library for WASI.
    WasiReactor,
    /// A component, which holds modules.
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
    /// It exports `_start`.
    Command,
    /// It exports `_initialize`, or imports from WASI and does not export
    /// `_start`.
    Reactor,
}

/// How a module was given.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum Form {
    /// In the binary format.
    Binary,
    /// In the text format.
    Text,
}

/// The imports from one module.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct ImportGroup {
    /// The module's name.
    pub module: String,
    /// What is imported from it.
    pub items: Vec<Import>,
}

/// One import.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Import {
    /// Its name.
    pub name: String,
    /// What it is to be.
    #[serde(rename = "type", serialize_with = "shared_text")]
    pub extern_type: Arc<str>,
    /// Whether the host has it.
    #[serde(flatten)]
    pub standing: Standing,
}

/// Whether the host has what is imported.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "standing", rename_all = "kebab-case")]
#[non_exhaustive]
pub enum Standing {
    /// It has.
    Provided,
    /// It has something else of this name.
    Mismatched {
        /// What that is.
        provided: String,
    },
    /// It has not.
    NotProvided,
}

/// One export.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Export {
    /// Its name.
    pub name: String,
    /// What it is.
    #[serde(rename = "type", serialize_with = "shared_text")]
    pub extern_type: Arc<str>,
    /// Which one, among those of its kind.
    pub index: u32,
}

/// How much there is at first, and at most.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Limits {
    /// At first.
    pub min: u64,
    /// At most, as far as the module says.
    pub max: Option<u64>,
}

/// One memory.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Memory {
    /// Whether somebody else is to give it.
    pub imported: bool,
    /// The names under which it is exported.
    pub exported_as: Vec<String>,
    /// Its size in pages.
    pub pages: Limits,
    /// Its size in bytes; 2⁶⁴ − 1 stands for more than that too.
    pub bytes: Limits,
    /// The size of a page in bytes.
    pub page_bytes: u64,
    /// Whether its addresses have 64 bits.
    pub is_64: bool,
    /// Whether threads share it.
    pub is_shared: bool,
}

/// One table.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Table {
    /// Whether somebody else is to give it.
    pub imported: bool,
    /// The names under which it is exported.
    pub exported_as: Vec<String>,
    /// What it holds.
    pub element_type: String,
    /// How many of them.
    pub elements: Limits,
    /// Whether its indices have 64 bits.
    pub is_64: bool,
}

/// One start function.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct StartEntry {
    /// What makes it one.
    pub name: String,
    /// Its index.
    pub function: u32,
}

/// Counts of functions.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Functions {
    /// From elsewhere.
    pub imported: usize,
    /// Its own.
    pub defined: usize,
    /// Those that the name section names.
    pub named: usize,
    /// The size of the code section.
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
    /// Its name, as compilers have it.
    pub name: String,
    /// Whether the module uses it; if not, it must not be linked with one that
    /// does.
    pub used: bool,
}

/// What an engine says of a module.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Verdict {
    /// The engine.
    pub engine: &'static str,
    /// Why it refuses the module, if it does.
    pub refusal: Option<String>,
}

impl Report {
    /// The report in JSON, with a line break at its end.
    ///
    /// # Errors
    ///
    /// As `serde_json` has them; none is known that this report can cause.
    pub fn json(&self) -> Result<String, serde_json::Error> {
        serde_json::to_string_pretty(self).map(|json| json + "\n")
    }
}

fn shared_text<S: Serializer>(text: &Arc<str>, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(text)
}
