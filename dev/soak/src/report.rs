//! The report of a run: a table, charts, and verdicts on the host's promises.

use std::fmt;

use charts::Chart;

use crate::engine::Engine;

/// The outcome of a run.
#[derive(Debug, Default)]
#[non_exhaustive]
pub struct Report {
    /// The kind of run, and the number of threads.
    pub title: String,
    /// The header of the table, then its rows.
    pub table: Vec<Vec<String>>,
    /// Remarks and descriptions of failures.
    pub notes: Vec<String>,
    /// The verdicts, for each engine and promise.
    pub verdicts: Vec<Verdict>,
    /// The charts for `--svg`.
    pub charts: Vec<Chart>,
}

/// The verdict on a promise on an engine.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Verdict {
    /// The engine.
    pub engine: Engine,
    /// The promise in a few words.
    pub promise: String,
    /// `true` if the promise was kept.
    pub kept: bool,
}

impl Report {
    pub(crate) fn new(title: String, head: &[&str]) -> Self {
        Self {
            title,
            table: vec![head.iter().map(|&word| word.to_owned()).collect()],
            ..Self::default()
        }
    }

    pub(crate) fn judge(&mut self, engine: Engine, promise: impl Into<String>, kept: bool) {
        self.verdicts.push(Verdict {
            engine,
            promise: promise.into(),
            kept,
        });
    }

    /// Returns `true` if all promises were kept.
    #[must_use]
    pub fn all_kept(&self) -> bool {
        self.verdicts.iter().all(|verdict| verdict.kept)
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}", self.title)?;
        let columns = self.table.iter().map(Vec::len).max().unwrap_or_default();
        let widths: Vec<usize> = (0..columns)
            .map(|column| {
                let cells = self.table.iter().filter_map(|row| row.get(column));
                cells.map(|cell| cell.chars().count()).max().unwrap_or(0)
            })
            .collect();
        for row in &self.table {
            let mut line = String::new();
            for (column, (cell, width)) in row.iter().zip(&widths).enumerate() {
                line += &match column {
                    0 => format!("{cell:width$}"),
                    _ => format!("  {cell:>width$}"),
                };
            }
            writeln!(f, "{}", line.trim_end())?;
        }
        for note in &self.notes {
            writeln!(f, "{note}")?;
        }
        let mut engine = None;
        for verdict in &self.verdicts {
            if engine != Some(verdict.engine) {
                let before = if engine.is_some() { "; " } else { "" };
                write!(f, "{before}{}:", verdict.engine)?;
            } else {
                f.write_str(",")?;
            }
            engine = Some(verdict.engine);
            let word = if verdict.kept { "ok" } else { "BROKEN" };
            write!(f, " {} {word}", verdict.promise)?;
        }
        writeln!(f)
    }
}
