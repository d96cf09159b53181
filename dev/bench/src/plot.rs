//! The echo scenarios as an SVG: a line for each subject, time over payload.

use charts::{Axis, Chart, Line, Stroke};

use crate::results::Outcome;
use crate::scenarios::{Group, SCENARIOS, Scenario};
use crate::subject::{Kind, Result, Subject};

pub fn echo(subjects: &[&dyn Subject], outcomes: &[Outcome]) -> Result<String> {
    let columns: Vec<&Scenario> = SCENARIOS
        .iter()
        .filter(|s| s.group == Group::Call && s.name.starts_with("echo-"))
        .filter(|s| outcomes.iter().any(|o| o.scenario == s.name))
        .collect();
    let mut chart = Chart::new(
        "One call that echoes its payload: median time, by size",
        Axis::categories(columns.iter().map(|column| column.label)),
        Axis::logarithmic(charts::nanos),
    );
    chart.height = 480.0;
    chart.lines = subjects
        .iter()
        .enumerate()
        .filter_map(|(place, subject)| {
            let before = subjects.iter().take(place);
            let nth = before.filter(|s| s.kind() == subject.kind()).count();
            line(*subject, nth, &columns, outcomes)
        })
        .collect();
    if chart.lines.is_empty() {
        return Err("there is nothing to draw without the echo scenarios".into());
    }
    // The legend has the order in which the lines end.
    let last = |line: &Line| line.points.last().map_or(0.0, |point| point.1);
    chart.lines.sort_by(|a, b| last(b).total_cmp(&last(a)));
    Ok(charts::svg(&[chart]))
}

/// The line of the subject that is the `nth` of its kind.
fn line(
    subject: &dyn Subject,
    nth: usize,
    columns: &[&Scenario],
    outcomes: &[Outcome],
) -> Option<Line> {
    let points: Vec<(f64, f64)> = columns
        .iter()
        .enumerate()
        .filter_map(|(nth, column)| {
            let outcome = outcomes
                .iter()
                .find(|o| o.subject == subject.name() && o.scenario == column.name)?;
            Some((nth as f64, outcome.median))
        })
        .collect();
    if points.is_empty() {
        return None;
    }
    let (palette, width, stroke) = match subject.kind() {
        Kind::Ours => (OURS, 2.5, Stroke::Solid),
        Kind::Peer => (PEERS, 1.5, Stroke::Solid),
        Kind::Floor => (FLOORS, 1.5, Stroke::Dashed),
    };
    let color = palette[nth % palette.len()];
    let mut line = Line::new(subject.name(), color, points).stroke(stroke);
    line.width = width;
    line.markers = true;
    Some(line)
}

/// Distinct on white and on black, and for readers with impaired colour vision.
const OURS: &[&str] = &[
    "#0a84d6", "#14a37f", "#8a63d2", "#3ab0c9", "#d9480f", "#c2255c", "#b08800",
];
const PEERS: &[&str] = &["#e8590c", "#e64980", "#a0522d", "#f08c00", "#ae3ec9"];
const FLOORS: &[&str] = &["#7d8590", "#9a8f80", "#8c959f", "#6e7781", "#a1887f"];
