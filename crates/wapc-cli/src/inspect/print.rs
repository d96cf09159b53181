//! The report's text for people.

use std::fmt;

use super::{
    analysis::PAGE_BYTES,
    report::{Form, ImportStatus, Kind, Limits, Memory, Report, StartEntry, Table, WasiKind},
};
use wapc_host::error::Printable;

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.heading(f)?;
        if self.kind != Kind::Component {
            self.interface(f)?;
            self.contents(f)?;
            self.origin(f)?;
        }
        self.verdicts(f)
    }
}

impl Report {
    fn heading(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match (self.kind, self.wasi) {
            (Kind::WapcGuest, None) => "a waPC guest",
            (Kind::WapcGuest, Some(WasiKind::Command)) => "a waPC guest and WASI command",
            (Kind::WapcGuest, Some(WasiKind::Reactor)) => "a waPC guest and WASI reactor",
            (Kind::WasiCommand, _) => "a WASI command, not a waPC guest",
            (Kind::WasiReactor, _) => "a WASI reactor, not a waPC guest",
            (Kind::Component, _) => "a component, not a module",
            (Kind::Other, _) => "a module, neither a waPC guest nor of WASI",
        })?;
        if let Some(name) = &self.name {
            write!(f, ", `{}`", Printable::line(name))?;
        }
        match self.form {
            Form::Binary => writeln!(f, "\n{} bytes", self.module_bytes),
            Form::Text if self.kind == Kind::Component => {
                writeln!(f, "\n{} bytes of text", self.file_bytes)
            }
            Form::Text => writeln!(
                f,
                "\n{} bytes of text, {} bytes in binary",
                self.file_bytes, self.module_bytes
            ),
        }
    }

    /// Writes imports, exports and start functions.
    fn interface(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        heading(f, "imports", self.imports.is_empty())?;
        for group in &self.imports {
            writeln!(f, "  from {}", Printable::line(&group.module))?;
            let width = width(group.items.iter().map(|import| &*import.name));
            for import in &group.items {
                let name = Printable::line(&import.name).to_string();
                write!(f, "    {name:width$}  {}", import.extern_type)?;
                match &import.status {
                    ImportStatus::Provided => writeln!(f)?,
                    ImportStatus::Mismatched { provided } => {
                        writeln!(f, "  WRONG: the host has {provided}")?;
                    }
                    ImportStatus::NotProvided => writeln!(f, "  NOT PROVIDED by the host")?,
                }
            }
        }
        heading(f, "exports", self.exports.is_empty())?;
        let width = width(self.exports.iter().map(|export| &*export.name));
        for export in &self.exports {
            let name = Printable::line(&export.name).to_string();
            writeln!(f, "  {name:width$}  {}", export.extern_type)?;
        }
        if !self.operations.is_empty() {
            heading(f, "typed operations", false)?;
        }
        for operation in &self.operations {
            writeln!(f, "  {}", Printable::line(&operation.to_string()))?;
            if !operation.doc.is_empty() {
                writeln!(f, "    {}", Printable::line(&operation.doc))?;
            }
        }
        heading(f, "start functions", self.start_functions.is_empty())?;
        for (index, start) in self.start_functions.iter().enumerate() {
            let StartEntry { name, function } = start;
            writeln!(f, "  {}. {name}, function {function}", index + 1)?;
        }
        Ok(())
    }

    /// Writes memories, tables and functions.
    fn contents(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        heading(f, "memories", self.memories.is_empty())?;
        for (index, memory) in self.memories.iter().enumerate() {
            writeln!(f, "  {index}: {}", MemoryText(memory))?;
        }
        heading(f, "tables", self.tables.is_empty())?;
        for (index, table) in self.tables.iter().enumerate() {
            writeln!(f, "  {index}: {}", TableText(table))?;
        }
        let functions = &self.functions;
        writeln!(
            f,
            "\nfunctions\n  {} imported, {} defined in {} bytes of code",
            functions.imported, functions.defined, functions.code_bytes
        )?;
        match self.has_name_section {
            true => writeln!(f, "  {} named in the name section", functions.named),
            false => writeln!(f, "  no name section: traps cannot name them"),
        }
    }

    /// Writes custom sections and what they tell of the module's making.
    fn origin(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        heading(f, "custom sections", self.custom_sections.is_empty())?;
        let width = width(self.custom_sections.iter().map(|section| &*section.name));
        for section in &self.custom_sections {
            let name = Printable::line(&section.name).to_string();
            writeln!(f, "  {name:width$}  {} bytes", section.bytes)?;
        }
        heading(f, "producers", self.producers.is_empty())?;
        for producer in &self.producers {
            let text = format!("{}: {} {}", producer.field, producer.name, producer.version);
            writeln!(f, "  {}", Printable::line(text.trim_end()))?;
        }
        if !self.target_features.is_empty() {
            f.write_str("\ntarget features\n ")?;
            for feature in &self.target_features {
                let sign = if feature.used { '+' } else { '-' };
                write!(f, " {sign}{}", Printable::line(&feature.name))?;
            }
            writeln!(f)?;
        }
        writeln!(f, "\nlanguages")?;
        if self.languages.is_empty() {
            writeln!(f, "  unknown: the producers name none")?;
        }
        for language in &self.languages {
            let evidence = Printable::line(&language.evidence);
            writeln!(f, "  {} ({evidence})", language.name)?;
        }
        Ok(())
    }

    fn verdicts(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(adapted) = self.adapted {
            writeln!(f, "\nadapted to a waPC guest by `wapc call`\n  {adapted}")?;
            match &*self.adapted_needs {
                [] => writeln!(f, "  other waPC hosts run the result of `wapc adapt`")?,
                needs => writeln!(f, "  another waPC host needs: {}", needs.join(", "))?,
            }
        }
        if !self.refusals.is_empty() {
            writeln!(f, "\nrefused by every engine")?;
        }
        for refusal in &self.refusals {
            writeln!(f, "  {}", Printable::line(refusal))?;
        }
        if !self.engines.is_empty() {
            writeln!(f, "\nengines")?;
        }
        for verdict in &self.engines {
            match &verdict.refusal {
                None if self.adapted.is_some() => {
                    writeln!(f, "  {} accepts it, adapted", verdict.engine)?;
                }
                None => writeln!(f, "  {} accepts it", verdict.engine)?,
                Some(refusal) => writeln!(
                    f,
                    "  {} refuses it: {}",
                    verdict.engine,
                    Printable::line(refusal)
                )?,
            }
        }
        if !self.notes.is_empty() {
            writeln!(f, "\nnotes")?;
        }
        for note in &self.notes {
            writeln!(f, "  {}", Printable::line(note))?;
        }
        Ok(())
    }
}

struct MemoryText<'r>(&'r Memory);

impl fmt::Display for MemoryText<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Memory {
            imported,
            exported_as,
            pages,
            bytes,
            page_bytes,
            is_64,
            is_shared,
        } = self.0;
        let Limits { min, max } = pages;
        let pages = |count: u64| if count == 1 { "page" } else { "pages" };
        write!(f, "{min} {} ({} bytes)", pages(*min), bytes.min)?;
        match (max, bytes.max) {
            (Some(max), Some(max_bytes)) => {
                write!(f, ", at most {max} {} ({max_bytes} bytes)", pages(*max))?;
            }
            _ => f.write_str(", without a maximum")?,
        }
        if *page_bytes != PAGE_BYTES {
            write!(f, ", pages of {page_bytes} bytes")?;
        }
        if *is_64 {
            f.write_str(", 64-bit")?;
        }
        if *is_shared {
            f.write_str(", shared")?;
        }
        names(f, *imported, exported_as)
    }
}

struct TableText<'r>(&'r Table);

impl fmt::Display for TableText<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Table {
            imported,
            exported_as,
            element_type,
            elements,
            is_64,
        } = self.0;
        write!(f, "{} elements of {element_type}", elements.min)?;
        match elements.max {
            Some(max) => write!(f, ", at most {max}")?,
            None => f.write_str(", without a maximum")?,
        }
        if *is_64 {
            f.write_str(", 64-bit")?;
        }
        names(f, *imported, exported_as)
    }
}

fn names(f: &mut fmt::Formatter<'_>, imported: bool, exported_as: &[String]) -> fmt::Result {
    if imported {
        f.write_str(", imported")?;
    }
    for name in exported_as {
        write!(f, ", exported as `{}`", Printable::line(name))?;
    }
    Ok(())
}

fn heading(f: &mut fmt::Formatter<'_>, what: &str, none: bool) -> fmt::Result {
    writeln!(f, "\n{what}{}", if none { ": none" } else { "" })
}

/// Returns the width of the longest name, but at most [`MAX_WIDTH`].
fn width<'n>(names: impl Iterator<Item = &'n str>) -> usize {
    names
        .map(|name| name.chars().count())
        .max()
        .unwrap_or_default()
        .min(MAX_WIDTH)
}

const MAX_WIDTH: usize = 32;
