//! Line charts as SVG, written by hand: readable on a light and on a dark
//! background.

use std::fmt::Write;

use crate::engine::Engine;

/// Lines over the same axes.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Chart {
    /// What stands above it.
    pub title: String,
    /// The axis from left to right.
    pub x: Axis,
    /// The axis from below.
    pub y: Axis,
    /// What is drawn.
    pub lines: Vec<Line>,
}

/// How values become places and words.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct Axis {
    /// Powers of ten at even distances, or the values themselves.
    pub logarithmic: bool,
    /// How a value is written.
    pub label: fn(f64) -> String,
}

/// One line.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Line {
    /// What the legend says.
    pub name: String,
    /// Whose colour it has.
    pub engine: Engine,
    /// How it is drawn.
    pub stroke: Stroke,
    /// From left to right.
    pub points: Vec<(f64, f64)>,
}

/// How a line is drawn: lines of one engine are told apart by it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Stroke {
    /// What was measured.
    Solid,
    /// What others are compared with.
    Dashed,
    /// What was measured with other settings.
    Dotted,
}

impl Chart {
    pub(crate) fn new(title: &str, x: Axis, y: Axis) -> Self {
        Self {
            title: title.to_owned(),
            x,
            y,
            lines: Vec::new(),
        }
    }

    /// A line of this name.
    pub(crate) fn line(
        &mut self,
        engine: Engine,
        stroke: Stroke,
        (name, points): (impl Into<String>, Vec<(f64, f64)>),
    ) {
        self.lines.push(Line {
            name: name.into(),
            engine,
            stroke,
            points,
        });
    }
}

impl Axis {
    pub(crate) const fn linear(label: fn(f64) -> String) -> Self {
        Self {
            logarithmic: false,
            label,
        }
    }

    pub(crate) const fn logarithmic(label: fn(f64) -> String) -> Self {
        Self {
            logarithmic: true,
            label,
        }
    }
}

/// The charts, one below the other.
#[must_use]
pub(crate) fn svg(charts: &[Chart]) -> String {
    let height = CHART * charts.len() as f64;
    let mut svg = format!(
        r#"<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" font-family="system-ui, sans-serif" font-size="13">
{STYLE}
"#
    );
    for (nth, chart) in charts.iter().enumerate() {
        _ = writeln!(
            svg,
            r#"<g transform="translate(0 {})">"#,
            CHART * nth as f64
        );
        chart.draw(&mut svg);
        svg += "</g>\n";
    }
    svg += "</svg>\n";
    svg
}

const WIDTH: f64 = 900.0;
const CHART: f64 = 360.0;
const LEFT: f64 = 80.0;
const RIGHT: f64 = 690.0;
const TOP: f64 = 44.0;
const BOTTOM: f64 = 315.0;

const STYLE: &str = "\
<style>
  text { fill: #24292f }
  .grid { stroke: #d0d7de }
  @media (prefers-color-scheme: dark) {
    text { fill: #e6edf3 }
    .grid { stroke: #3d444d }
  }
</style>";

/// Told apart on white and on black alike, and by those who do not see all
/// colours.
const fn color(engine: Engine) -> &'static str {
    match engine {
        Engine::Wasmtime => "#0a84d6",
        Engine::Wasmi => "#14a37f",
        Engine::Tiered => "#d9480f",
    }
}

impl Chart {
    fn draw(&self, svg: &mut String) {
        let title = &self.title;
        _ = writeln!(
            svg,
            r#"<text x="{LEFT}" y="22" font-size="15">{title}</text>"#
        );
        let values = |of: fn(&(f64, f64)) -> f64| {
            let points = self.lines.iter().flat_map(|line| &line.points);
            points.map(of).collect::<Vec<_>>()
        };
        let x = Scale::around(self.x, &values(|point| point.0), LEFT, RIGHT);
        let y = Scale::around(self.y, &values(|point| point.1), BOTTOM, TOP);
        for value in y.ticks() {
            let place = y.place(value);
            _ = writeln!(
                svg,
                r#"<line class="grid" x1="{LEFT}" x2="{RIGHT}" y1="{place:.1}" y2="{place:.1}"/><text x="{}" y="{:.1}" text-anchor="end">{}</text>"#,
                LEFT - 8.0,
                place + 4.5,
                (self.y.label)(value)
            );
        }
        for value in x.ticks() {
            _ = writeln!(
                svg,
                r#"<text x="{:.1}" y="{}" text-anchor="middle">{}</text>"#,
                x.place(value),
                BOTTOM + 20.0,
                (self.x.label)(value)
            );
        }
        for (nth, line) in self.lines.iter().enumerate() {
            line.draw(svg, &x, &y, nth);
        }
    }
}

impl Line {
    fn draw(&self, svg: &mut String, x: &Scale, y: &Scale, nth: usize) {
        let (color, name) = (color(self.engine), &self.name);
        let dash = match self.stroke {
            Stroke::Solid => "",
            Stroke::Dashed => r#" stroke-dasharray="5 4""#,
            Stroke::Dotted => r#" stroke-dasharray="1 3""#,
        };
        let path: Vec<String> = self
            .points
            .iter()
            .map(|point| format!("{:.1},{:.1}", x.place(point.0), y.place(point.1)))
            .collect();
        _ = writeln!(
            svg,
            r#"<polyline points="{}" fill="none" stroke="{color}" stroke-width="2"{dash}/>"#,
            path.join(" ")
        );
        let place = TOP + 8.0 + 20.0 * nth as f64;
        let (start, end, text) = (RIGHT + 14.0, RIGHT + 40.0, RIGHT + 48.0);
        _ = writeln!(
            svg,
            r#"<line x1="{start}" x2="{end}" y1="{place}" y2="{place}" stroke="{color}" stroke-width="2"{dash}/><text x="{text}" y="{}">{name}</text>"#,
            place + 4.5
        );
    }
}

/// An axis with its ends.
struct Scale {
    axis: Axis,
    /// The least and the greatest value, or their logarithms.
    low: f64,
    high: f64,
    /// The distance of two ticks.
    step: f64,
    /// Where `low` and `high` are drawn.
    from: f64,
    to: f64,
}

impl Scale {
    fn around(axis: Axis, values: &[f64], from: f64, to: f64) -> Self {
        let values = || {
            let scaled = values.iter().map(|&value| axis.scaled(value));
            scaled.filter(|value| value.is_finite())
        };
        let least = values().fold(f64::INFINITY, f64::min);
        let greatest = values().fold(f64::NEG_INFINITY, f64::max);
        let (least, greatest) = match (axis.logarithmic, least <= greatest) {
            (true, true) => (least, greatest),
            // A linear axis begins at zero: a flat line looks flat then.
            (false, true) => (0.0, greatest),
            (_, false) => (0.0, 1.0),
        };
        let step = match axis.logarithmic {
            true => 1.0,
            false => step(greatest - least),
        };
        let low = (least / step).floor() * step;
        Self {
            axis,
            low,
            high: ((greatest / step).ceil() * step).max(low + step),
            step,
            from,
            to,
        }
    }

    fn place(&self, value: f64) -> f64 {
        let scaled = self.axis.scaled(value).clamp(self.low, self.high);
        self.from + (self.to - self.from) * (scaled - self.low) / (self.high - self.low)
    }

    fn ticks(&self) -> Vec<f64> {
        let mut ticks = Vec::new();
        let mut tick = self.low;
        while tick <= self.high + self.step / 2.0 {
            ticks.push(match self.axis.logarithmic {
                true => 10f64.powf(tick),
                false => tick,
            });
            tick += self.step;
        }
        ticks
    }
}

impl Axis {
    fn scaled(self, value: f64) -> f64 {
        match self.logarithmic {
            true => value.log10(),
            false => value,
        }
    }
}

/// 1, 2 or 5 times a power of ten, so that `range` has five to ten of it.
fn step(range: f64) -> f64 {
    let power = 10f64.powf((range.max(1e-9) / 5.0).log10().floor());
    let times = range.max(1e-9) / 5.0 / power;
    match times {
        5.0.. => 5.0 * power,
        2.0.. => 2.0 * power,
        _ => power,
    }
}

/// Nanoseconds in words.
pub(crate) fn nanos(value: f64) -> String {
    match value {
        1e9.. => format!("{:.0} s", value / 1e9),
        1e6.. => format!("{:.0} ms", value / 1e6),
        1e3.. => format!("{:.0} µs", value / 1e3),
        _ => format!("{value:.0} ns"),
    }
}

/// A count in words.
pub(crate) fn count(value: f64) -> String {
    match value {
        1e6.. => format!("{} M", value / 1e6),
        1e4.. => format!("{} k", value / 1e3),
        _ => format!("{value:.0}"),
    }
}

/// Kibibytes in words.
pub(crate) fn kibibytes(value: f64) -> String {
    const MI: f64 = 1024.0;
    const GI: f64 = 1024.0 * MI;
    match value {
        GI.. => format!("{:.1} GiB", value / GI),
        _ => format!("{:.0} MiB", value / MI),
    }
}

/// A share of one in words.
pub(crate) fn share(value: f64) -> String {
    format!("{} %", (value * 1e10).round() / 1e8)
}

/// Milliseconds in words.
pub(crate) fn millis(value: f64) -> String {
    format!("{value:.0} ms")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ticks_are_round_numbers_and_points_lie_between_them() {
        let scale = Scale::around(Axis::linear(count), &[30.0, 1170.0], 0.0, 100.0);
        assert_eq!(
            scale.ticks(),
            [0.0, 200.0, 400.0, 600.0, 800.0, 1000.0, 1200.0]
        );
        let decades = Scale::around(Axis::logarithmic(nanos), &[30.0, 8_000.0], 0.0, 100.0);
        let words: Vec<String> = decades.ticks().into_iter().map(nanos).collect();
        assert_eq!(words, ["10 ns", "100 ns", "1 µs", "10 µs"]);
        assert!((decades.place(100.0) - 100.0 / 3.0).abs() < 0.1);
    }

    #[test]
    fn a_chart_without_points_is_drawn_empty() {
        let mut chart = Chart::new("nothing", Axis::linear(count), Axis::logarithmic(share));
        chart.line(Engine::Wasmi, Stroke::Solid, ("wasmi", vec![]));
        assert!(svg(&[chart]).ends_with("</svg>\n"));
    }
}
