//! The echo scenarios as an SVG, written by hand: a line for each subject, time over
//! payload, readable on a light and on a dark background.

use std::fmt::Write;

use crate::results::Outcome;
use crate::scenarios::{Group, SCENARIOS, Scenario};
use crate::subject::{Kind, Result, Subject};

pub fn echo(subjects: &[&dyn Subject], outcomes: &[Outcome]) -> Result<String> {
    let columns: Vec<&Scenario> = SCENARIOS
        .iter()
        .filter(|s| s.group == Group::Call && s.name.starts_with("echo-"))
        .filter(|s| outcomes.iter().any(|o| o.scenario == s.name))
        .collect();
    let mut lines: Vec<Line> = subjects
        .iter()
        .enumerate()
        .filter_map(|(place, subject)| {
            let before = subjects.iter().take(place);
            let nth = before.filter(|s| s.kind() == subject.kind()).count();
            Line::of(*subject, nth, &columns, outcomes)
        })
        .collect();
    if lines.is_empty() {
        return Err("there is nothing to draw without the echo scenarios".into());
    }
    // The legend stands in the order in which the lines end.
    lines.sort_by(|a, b| b.last().total_cmp(&a.last()));
    let axes = Axes::around(&lines, columns.len());

    let mut svg = format!(
        r#"<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" font-family="system-ui, sans-serif" font-size="13">
<title>Time for one call that echoes its payload</title>
{STYLE}
<text x="{LEFT}" y="22" font-size="15">One call that echoes its payload: median time, by size</text>
"#
    );
    axes.draw(&mut svg, &columns);
    for (nth, line) in lines.iter().enumerate() {
        line.draw(&mut svg, &axes, nth);
    }
    svg += "</svg>\n";
    Ok(svg)
}

const WIDTH: f64 = 900.0;
const HEIGHT: f64 = 480.0;
const LEFT: f64 = 70.0;
const RIGHT: f64 = 660.0;
const TOP: f64 = 44.0;
const BOTTOM: f64 = 440.0;

const STYLE: &str = "\
<style>
  text { fill: #24292f }
  .grid { stroke: #d0d7de }
  @media (prefers-color-scheme: dark) {
    text { fill: #e6edf3 }
    .grid { stroke: #3d444d }
  }
</style>";

/// Told apart on white and on black alike, and by those who do not see all colours.
const OURS: &[&str] = &[
    "#0a84d6", "#14a37f", "#8a63d2", "#3ab0c9", "#d9480f", "#c2255c", "#b08800",
];
const PEERS: &[&str] = &["#e8590c", "#e64980", "#a0522d", "#f08c00", "#ae3ec9"];
const FLOORS: &[&str] = &["#7d8590", "#9a8f80", "#8c959f", "#6e7781", "#a1887f"];

struct Line {
    name: &'static str,
    kind: Kind,
    color: &'static str,
    /// The column, and the nanoseconds.
    points: Vec<(usize, f64)>,
}

impl Line {
    /// The line of the subject that is the `nth` of its kind.
    fn of(
        subject: &dyn Subject,
        nth: usize,
        columns: &[&Scenario],
        outcomes: &[Outcome],
    ) -> Option<Self> {
        let points: Vec<(usize, f64)> = columns
            .iter()
            .enumerate()
            .filter_map(|(nth, column)| {
                let outcome = outcomes
                    .iter()
                    .find(|o| o.subject == subject.name() && o.scenario == column.name)?;
                Some((nth, outcome.median))
            })
            .collect();
        let palette = match subject.kind() {
            Kind::Ours => OURS,
            Kind::Peer => PEERS,
            Kind::Floor => FLOORS,
        };
        (!points.is_empty()).then(|| Self {
            name: subject.name(),
            kind: subject.kind(),
            color: palette[nth % palette.len()],
            points,
        })
    }

    fn last(&self) -> f64 {
        self.points.last().map_or(0.0, |point| point.1)
    }

    fn draw(&self, svg: &mut String, axes: &Axes, nth: usize) {
        let (color, name) = (self.color, self.name);
        let (dash, width) = match self.kind {
            Kind::Floor => (r#" stroke-dasharray="5 4""#, 1.5),
            Kind::Ours => ("", 2.5),
            Kind::Peer => ("", 1.5),
        };
        let path: Vec<String> = self
            .points
            .iter()
            .map(|(column, value)| format!("{:.1},{:.1}", axes.x(*column), axes.y(*value)))
            .collect();
        let _ = writeln!(
            svg,
            r#"<polyline points="{}" fill="none" stroke="{color}" stroke-width="{width}"{dash}/>"#,
            path.join(" ")
        );
        for point in &path {
            if let Some((x, y)) = point.split_once(',') {
                let _ = writeln!(svg, r#"<circle cx="{x}" cy="{y}" r="2.5" fill="{color}"/>"#);
            }
        }
        let y = TOP + 8.0 + 20.0 * nth as f64;
        let (start, end, text) = (RIGHT + 14.0, RIGHT + 40.0, RIGHT + 48.0);
        let _ = writeln!(
            svg,
            r#"<line x1="{start}" x2="{end}" y1="{y}" y2="{y}" stroke="{color}" stroke-width="{width}"{dash}/><text x="{text}" y="{}">{name}</text>"#,
            y + 4.5
        );
    }
}

/// Payloads at even distances, time on a logarithmic scale of whole decades.
struct Axes {
    columns: usize,
    first_decade: i32,
    last_decade: i32,
}

impl Axes {
    fn around(lines: &[Line], columns: usize) -> Self {
        let values = || {
            lines
                .iter()
                .flat_map(|line| &line.points)
                .map(|p| p.1.log10())
        };
        let first_decade = values().fold(f64::INFINITY, f64::min).floor() as i32;
        let last_decade = values().fold(f64::NEG_INFINITY, f64::max).ceil() as i32;
        Self {
            columns,
            first_decade,
            last_decade: last_decade.max(first_decade + 1),
        }
    }

    fn x(&self, column: usize) -> f64 {
        let share = (column as f64 + 0.5) / self.columns as f64;
        LEFT + (RIGHT - LEFT) * share
    }

    fn y(&self, nanoseconds: f64) -> f64 {
        let decades = f64::from(self.last_decade - self.first_decade);
        let share = (nanoseconds.log10() - f64::from(self.first_decade)) / decades;
        BOTTOM - (BOTTOM - TOP) * share
    }

    fn draw(&self, svg: &mut String, columns: &[&Scenario]) {
        for decade in self.first_decade..=self.last_decade {
            let y = self.y(10f64.powi(decade));
            let _ = writeln!(
                svg,
                r#"<line class="grid" x1="{LEFT}" x2="{RIGHT}" y1="{y:.1}" y2="{y:.1}"/><text x="{}" y="{:.1}" text-anchor="end">{}</text>"#,
                LEFT - 8.0,
                y + 4.5,
                duration(decade)
            );
        }
        for (nth, column) in columns.iter().enumerate() {
            let _ = writeln!(
                svg,
                r#"<text x="{:.1}" y="{}" text-anchor="middle">{}</text>"#,
                self.x(nth),
                BOTTOM + 22.0,
                column.label
            );
        }
    }
}

/// 10 to the power of `decade` nanoseconds.
fn duration(decade: i32) -> String {
    let (unit, decade) = match decade {
        ..3 => ("ns", decade),
        3..6 => ("µs", decade - 3),
        _ => ("ms", decade - 6),
    };
    format!("{:.0} {unit}", 10f64.powi(decade))
}
