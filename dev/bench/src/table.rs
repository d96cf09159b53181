//! The results as Markdown: for each group of scenarios the figures, and their ratios to
//! the floor and to each peer.

use std::fmt::Write;

use crate::results::Outcome;
use crate::scenarios::{GROUPS, Group, Measure, SCENARIOS, Scenario};
use crate::subject::{Kind, Subject};

/// Formats one group's tables; empty if nothing was measured.
pub fn group(group: Group, subjects: &[&dyn Subject], outcomes: &[Outcome]) -> String {
    let columns: Vec<&Scenario> = SCENARIOS
        .iter()
        .filter(|scenario| scenario.group == group)
        .filter(|scenario| outcomes.iter().any(|o| o.scenario == scenario.name))
        .collect();
    let Some(first) = columns.first() else {
        return String::new();
    };
    let scale = Scale::of(&columns, outcomes);
    let table = Table {
        subjects,
        columns: &columns,
        outcomes,
    };
    let mut text = format!("## {}\n\n", group.title());
    text += &match first.measure {
        Measure::Time => format!("{}, median (p10 to p90):\n\n", scale.unit),
        Measure::Rate { .. } => "A second, median (p10 to p90):\n\n".to_owned(),
        Measure::Resident => "KiB, median:\n\n".to_owned(),
        Measure::Allocations => String::new(),
    };
    text += &table.render(
        |_| true,
        |outcome| Some(scale.figure(outcome, first.measure)),
    );
    if first.measure == Measure::Allocations {
        return text;
    }

    text += "\nTimes the cost of its floor (1 is the floor; less is better):\n\n";
    text += &table.render(
        |subject| subject.floor() != subject.name(),
        |outcome| {
            let subject = subjects.iter().find(|s| s.name() == outcome.subject)?;
            outcome.cost_against(subject.floor()).map(ratio)
        },
    );
    // The reference if none of our subjects takes part.
    let ours = subjects.iter().any(|s| s.kind() == Kind::Ours);
    let compared = if ours { Kind::Ours } else { Kind::Floor };
    for peer in subjects.iter().filter(|s| s.kind() == Kind::Peer) {
        let against = |outcome: &Outcome| outcome.cost_against(peer.name());
        if !outcomes
            .iter()
            .any(|o| table.has(o) && against(o).is_some())
        {
            continue;
        }
        let _ = write!(text, "\nTimes better than `{}`:\n\n", peer.name());
        text += &table.render(
            |subject| subject.kind() == compared,
            |outcome| against(outcome).map(|cost| ratio(1.0 / cost)),
        );
    }
    text
}

/// Formats the legend of the subjects' names.
pub fn legend(subjects: &[&dyn Subject]) -> String {
    let mut text = "## The subjects\n\n".to_owned();
    for subject in subjects {
        let _ = writeln!(text, "- `{}`: {}", subject.name(), subject.about());
    }
    text
}

/// Formats all groups in order.
pub fn all(subjects: &[&dyn Subject], outcomes: &[Outcome]) -> String {
    let groups = GROUPS.iter().map(|g| group(*g, subjects, outcomes));
    let groups = groups.filter(|text| !text.is_empty());
    groups
        .chain([legend(subjects)])
        .collect::<Vec<_>>()
        .join("\n")
}

struct Table<'a> {
    subjects: &'a [&'a dyn Subject],
    columns: &'a [&'a Scenario],
    outcomes: &'a [Outcome],
}

impl Table<'_> {
    /// Adds a row for each of these subjects that has a value.
    fn render(
        &self,
        rows: impl Fn(&dyn Subject) -> bool,
        cell: impl Fn(&Outcome) -> Option<String>,
    ) -> String {
        let mut text = String::from("| |");
        for column in self.columns {
            let _ = write!(text, " {} |", column.label);
        }
        text += "\n|---|";
        text += &"--:|".repeat(self.columns.len());
        text.push('\n');
        for subject in self.subjects.iter().filter(|s| rows(**s)) {
            let cells: Vec<Option<String>> = self
                .columns
                .iter()
                .map(|column| self.find(*subject, column).and_then(&cell))
                .collect();
            if cells.iter().all(Option::is_none) {
                continue;
            }
            let _ = write!(text, "| `{}` |", subject.name());
            for cell in cells {
                let _ = write!(text, " {} |", cell.unwrap_or_default());
            }
            text.push('\n');
        }
        text
    }

    fn find(&self, subject: &dyn Subject, column: &Scenario) -> Option<&Outcome> {
        self.outcomes
            .iter()
            .find(|o| o.subject == subject.name() && o.scenario == column.name)
    }

    fn has(&self, outcome: &Outcome) -> bool {
        self.columns.iter().any(|c| c.name == outcome.scenario)
    }
}

/// Chooses one unit for a whole table.
struct Scale {
    unit: &'static str,
    divisor: f64,
}

impl Scale {
    fn of(columns: &[&Scenario], outcomes: &[Outcome]) -> Self {
        let timed = outcomes.iter().filter(|outcome| {
            let column = columns.iter().find(|c| c.name == outcome.scenario);
            column.is_some_and(|column| column.measure == Measure::Time)
        });
        let least = timed.map(|o| o.median).fold(f64::INFINITY, f64::min);
        if least.is_finite() && least >= 1_000.0 {
            Self {
                unit: "µs",
                divisor: 1_000.0,
            }
        } else {
            Self {
                unit: "ns",
                divisor: 1.0,
            }
        }
    }

    fn figure(&self, outcome: &Outcome, measure: Measure) -> String {
        let number = |value: f64| number(value / self.divisor);
        match measure {
            Measure::Time | Measure::Rate { .. } => format!(
                "{} ({}–{})",
                number(outcome.median),
                number(outcome.p10),
                number(outcome.p90),
            ),
            Measure::Resident | Measure::Allocations => number(outcome.median),
        }
    }
}

fn ratio(value: f64) -> String {
    match value {
        ..0.1 => format!("{value:.4}"),
        ..10.0 => format!("{value:.2}"),
        _ => number(value),
    }
}

/// Formats three significant digits, with commas between thousands.
pub fn number(value: f64) -> String {
    let digits = value.abs().max(1e-9).log10().floor() as i32;
    if value.fract() == 0.0 && digits < 2 {
        return format!("{value:.0}");
    }
    if digits < 2 {
        return format!("{value:.*}", (1 - digits).clamp(0, 2) as usize);
    }
    let step = 10f64.powi(digits - 2);
    let rounded = format!("{:.0}", (value / step).round() * step);
    let mut grouped = String::new();
    for (place, digit) in rounded.chars().enumerate() {
        if place > 0 && (rounded.len() - place) % 3 == 0 {
            grouped.push(',');
        }
        grouped.push(digit);
    }
    grouped
}

#[cfg(test)]
mod tests {
    use super::number;

    #[test]
    fn numbers_keep_three_digits() {
        assert_eq!(number(0.0), "0");
        assert_eq!(number(8.76), "8.8");
        assert_eq!(number(6.0), "6");
        assert_eq!(number(40.26), "40");
        assert_eq!(number(328.4), "328");
        assert_eq!(number(1_287.0), "1,290");
        assert_eq!(number(46_123_456.0), "46,100,000");
    }
}
