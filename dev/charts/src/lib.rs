//! Line charts as SVG, readable on a light and on a dark background.
//!
//! ```
//! use charts::{Axis, Chart, Line};
//!
//! let mut chart = Chart::new(
//!     "Time for one call",
//!     Axis::categories(["0 B", "64 B"]),
//!     Axis::logarithmic(charts::nanos),
//! );
//! chart.lines.push(Line::new("wasmtime", "#0a84d6", vec![(0.0, 30.0), (1.0, 35.0)]));
//! assert!(charts::svg(&[chart]).contains("<polyline"));
//! ```

#![forbid(unsafe_code)]

mod axis;
mod labels;

use std::fmt::Write;

pub use axis::Axis;
use axis::Scale;
pub use labels::{count, kibibytes, millis, nanos, share};

/// Lines over the same axes.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Chart {
    /// The text above the chart.
    pub title: String,
    /// The horizontal axis.
    pub x: Axis,
    /// The vertical axis.
    pub y: Axis,
    /// The height in pixels, 360 by default. The width is 900.
    pub height: f64,
    /// The lines, in the order of the legend.
    pub lines: Vec<Line>,
}

/// A line of a chart.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Line {
    /// The text in the legend.
    pub name: String,
    /// The colour, as CSS writes it.
    pub color: &'static str,
    /// The width in pixels, 2 by default.
    pub width: f64,
    /// The pattern, solid by default.
    pub stroke: Stroke,
    /// Marks each point with a dot. Off by default.
    pub markers: bool,
    /// The points, from left to right.
    pub points: Vec<(f64, f64)>,
}

/// The pattern of a line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Stroke {
    /// An unbroken line.
    Solid,
    /// Dashes.
    Dashed,
    /// Dots.
    Dotted,
}

/// Draws the charts, one below the other.
#[must_use]
pub fn svg(charts: &[Chart]) -> String {
    let height: f64 = charts.iter().map(|chart| chart.height).sum();
    let mut svg = format!(
        r#"<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" font-family="system-ui, sans-serif" font-size="13">
{STYLE}
"#
    );
    let mut top = 0.0;
    for chart in charts {
        _ = writeln!(svg, r#"<g transform="translate(0 {top})">"#);
        chart.draw(&mut svg);
        svg += "</g>\n";
        top += chart.height;
    }
    svg += "</svg>\n";
    svg
}

impl Chart {
    /// Creates a chart without lines.
    pub fn new(title: impl Into<String>, x: Axis, y: Axis) -> Self {
        Self {
            title: title.into(),
            x,
            y,
            height: 360.0,
            lines: Vec::new(),
        }
    }

    fn draw(&self, svg: &mut String) {
        let (title, bottom) = (&self.title, self.height - FOOT);
        _ = writeln!(
            svg,
            r#"<text x="{LEFT}" y="22" font-size="15">{title}</text>"#
        );
        let values = |of: fn(&(f64, f64)) -> f64| {
            let points = self.lines.iter().flat_map(|line| &line.points);
            points.map(of).collect::<Vec<_>>()
        };
        let x = self.x.scale(&values(|point| point.0), LEFT, RIGHT);
        let y = self.y.scale(&values(|point| point.1), bottom, TOP);
        for value in y.ticks() {
            let place = y.place(value);
            _ = writeln!(
                svg,
                r#"<line class="grid" x1="{LEFT}" x2="{RIGHT}" y1="{place:.1}" y2="{place:.1}"/><text x="{}" y="{:.1}" text-anchor="end">{}</text>"#,
                LEFT - 8.0,
                place + 4.5,
                self.y.label(value)
            );
        }
        for value in x.ticks() {
            _ = writeln!(
                svg,
                r#"<text x="{:.1}" y="{}" text-anchor="middle">{}</text>"#,
                x.place(value),
                bottom + 20.0,
                self.x.label(value)
            );
        }
        for (nth, line) in self.lines.iter().enumerate() {
            line.draw(svg, &x, &y, nth);
        }
    }
}

impl Line {
    /// Creates a solid line.
    pub fn new(name: impl Into<String>, color: &'static str, points: Vec<(f64, f64)>) -> Self {
        Self {
            name: name.into(),
            color,
            width: 2.0,
            stroke: Stroke::Solid,
            markers: false,
            points,
        }
    }

    /// Sets the pattern.
    #[must_use]
    pub const fn stroke(mut self, stroke: Stroke) -> Self {
        self.stroke = stroke;
        self
    }

    /// Draws the line, and its entry in the legend: the `nth` from the top.
    fn draw(&self, svg: &mut String, x: &Scale, y: &Scale, nth: usize) {
        let (color, name, width) = (self.color, &self.name, self.width);
        let dash = match self.stroke {
            Stroke::Solid => "",
            Stroke::Dashed => r#" stroke-dasharray="5 4""#,
            Stroke::Dotted => r#" stroke-dasharray="1 3""#,
        };
        let mut path = String::new();
        let mut markers = String::new();
        for &(x_value, y_value) in &self.points {
            let (cx, cy) = (x.place(x_value), y.place(y_value));
            _ = write!(path, " {cx:.1},{cy:.1}");
            if self.markers {
                _ = writeln!(
                    markers,
                    r#"<circle cx="{cx:.1}" cy="{cy:.1}" r="2.5" fill="{color}"/>"#
                );
            }
        }
        _ = writeln!(
            svg,
            r#"<polyline points="{}" fill="none" stroke="{color}" stroke-width="{width}"{dash}/>"#,
            path.trim_start()
        );
        svg.push_str(&markers);
        let place = TOP + 8.0 + 20.0 * nth as f64;
        let (start, end, text) = (RIGHT + 14.0, RIGHT + 40.0, RIGHT + 48.0);
        _ = writeln!(
            svg,
            r#"<line x1="{start}" x2="{end}" y1="{place}" y2="{place}" stroke="{color}" stroke-width="{width}"{dash}/><text x="{text}" y="{}">{name}</text>"#,
            place + 4.5
        );
    }
}

const WIDTH: f64 = 900.0;
const LEFT: f64 = 80.0;
/// The legend is to the right of it.
const RIGHT: f64 = 660.0;
const TOP: f64 = 44.0;
/// Room for the labels below the horizontal axis.
const FOOT: f64 = 45.0;

const STYLE: &str = "\
<style>
  text { fill: #24292f }
  .grid { stroke: #d0d7de }
  @media (prefers-color-scheme: dark) {
    text { fill: #e6edf3 }
    .grid { stroke: #3d444d }
  }
</style>";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_chart_without_points_is_drawn_empty() {
        let mut chart = Chart::new("empty", Axis::linear(count), Axis::logarithmic(share));
        chart.lines.push(Line::new("wasmi", "#14a37f", vec![]));
        assert!(svg(&[chart]).ends_with("</svg>\n"));
    }

    #[test]
    fn charts_stand_one_below_the_other() {
        let mut first = Chart::new("first", Axis::linear(count), Axis::linear(count));
        first.height = 480.0;
        let second = Chart::new("second", Axis::linear(count), Axis::linear(count));
        let svg = svg(&[first, second]);
        assert!(svg.contains(r#"viewBox="0 0 900 840""#));
        assert!(svg.contains("translate(0 480)"));
    }
}
