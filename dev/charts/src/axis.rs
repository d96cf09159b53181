//! Axes: where values are drawn, and which of them have labels.

/// The scale of one direction of a chart, and the text of its labels.
#[derive(Clone, Debug)]
pub struct Axis {
    kind: Kind,
    labels: Labels,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    /// Starts at 0, so that a flat line looks flat.
    Linear,
    /// Whole powers of ten at even distances.
    Logarithmic,
    /// The whole numbers below this one.
    Categories(usize),
}

#[derive(Clone, Debug)]
enum Labels {
    Format(fn(f64) -> String),
    Names(Vec<String>),
}

impl Axis {
    /// Creates an axis that starts at 0. `label` formats the values at its ticks.
    #[must_use]
    pub const fn linear(label: fn(f64) -> String) -> Self {
        Self {
            kind: Kind::Linear,
            labels: Labels::Format(label),
        }
    }

    /// Creates an axis of whole powers of ten. `label` formats them.
    #[must_use]
    pub const fn logarithmic(label: fn(f64) -> String) -> Self {
        Self {
            kind: Kind::Logarithmic,
            labels: Labels::Format(label),
        }
    }

    /// Creates an axis with one place for each name. Points use the name's index
    /// as their value.
    pub fn categories<N: Into<String>>(names: impl IntoIterator<Item = N>) -> Self {
        let names: Vec<String> = names.into_iter().map(Into::into).collect();
        Self {
            kind: Kind::Categories(names.len()),
            labels: Labels::Names(names),
        }
    }

    pub(crate) fn label(&self, value: f64) -> String {
        match &self.labels {
            Labels::Format(format) => format(value),
            Labels::Names(names) => names
                .iter()
                .enumerate()
                .find(|(index, _)| *index as f64 >= value)
                .map_or_else(String::new, |(_, name)| name.clone()),
        }
    }

    /// Maps `values` to the pixels between `from` and `to`.
    pub(crate) fn scale(&self, values: &[f64], from: f64, to: f64) -> Scale {
        let values = || {
            let scaled = values.iter().map(|&value| self.kind.scaled(value));
            scaled.filter(|value| value.is_finite())
        };
        let least = values().fold(f64::INFINITY, f64::min);
        let greatest = values().fold(f64::NEG_INFINITY, f64::max);
        let is_empty = least > greatest;
        let (low, high, step) = match self.kind {
            Kind::Categories(count) => (-0.5, count.max(1) as f64 - 0.5, 1.0),
            Kind::Logarithmic if is_empty => (0.0, 1.0, 1.0),
            Kind::Logarithmic => (least.floor(), greatest.ceil().max(least.floor() + 1.0), 1.0),
            Kind::Linear => {
                let greatest = if is_empty { 1.0 } else { greatest };
                let step = round_step(greatest);
                (0.0, ((greatest / step).ceil() * step).max(step), step)
            }
        };
        Scale {
            kind: self.kind,
            low,
            high,
            step,
            from,
            to,
        }
    }
}

impl Kind {
    fn scaled(self, value: f64) -> f64 {
        match self {
            Self::Logarithmic => value.log10(),
            Self::Linear | Self::Categories(_) => value,
        }
    }
}

/// An axis with its ends.
pub(crate) struct Scale {
    kind: Kind,
    /// The least and the greatest value, or their logarithms.
    low: f64,
    high: f64,
    /// The distance of two ticks.
    step: f64,
    /// The pixels of `low` and `high`.
    from: f64,
    to: f64,
}

impl Scale {
    pub(crate) fn place(&self, value: f64) -> f64 {
        let scaled = self.kind.scaled(value).clamp(self.low, self.high);
        self.from + (self.to - self.from) * (scaled - self.low) / (self.high - self.low)
    }

    pub(crate) fn ticks(&self) -> Vec<f64> {
        let mut ticks = Vec::new();
        // The places of categories are in the middle of their steps.
        let mut tick = match self.kind {
            Kind::Categories(_) => 0.0,
            Kind::Linear | Kind::Logarithmic => self.low,
        };
        let last = match self.kind {
            Kind::Categories(_) => self.high,
            Kind::Linear | Kind::Logarithmic => self.high + self.step / 2.0,
        };
        while tick <= last {
            ticks.push(match self.kind {
                Kind::Logarithmic => 10_f64.powf(tick),
                Kind::Linear | Kind::Categories(_) => tick,
            });
            tick += self.step;
        }
        ticks
    }
}

/// Returns 1, 2 or 5 times a power of ten, which fits five to ten times into
/// `range`.
fn round_step(range: f64) -> f64 {
    let fifth = range.max(1e-9) / 5.0;
    let power = 10_f64.powf(fifth.log10().floor());
    match fifth / power {
        5.0.. => 5.0 * power,
        2.0.. => 2.0 * power,
        _ => power,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::labels::{count, nanos};

    fn labels(axis: &Axis, values: &[f64]) -> Vec<String> {
        let ticks = axis.scale(values, 0.0, 100.0).ticks();
        ticks.into_iter().map(|tick| axis.label(tick)).collect()
    }

    #[test]
    fn ticks_are_round_numbers_and_enclose_the_points() {
        assert_eq!(
            labels(&Axis::linear(count), &[30.0, 1170.0]),
            ["0", "200", "400", "600", "800", "1000", "1200"]
        );
        let decades = Axis::logarithmic(nanos);
        assert_eq!(
            labels(&decades, &[30.0, 8_000.0]),
            ["10 ns", "100 ns", "1 µs", "10 µs"]
        );
        let scale = decades.scale(&[30.0, 8_000.0], 0.0, 100.0);
        assert!((scale.place(100.0) - 100.0 / 3.0).abs() < 0.1);
    }

    #[test]
    fn categories_stand_in_the_middle_of_equal_parts() {
        let axis = Axis::categories(["a", "b"]);
        assert_eq!(labels(&axis, &[0.0, 1.0]), ["a", "b"]);
        let scale = axis.scale(&[0.0], 0.0, 100.0);
        assert!((scale.place(0.0) - 25.0).abs() < 1e-9);
        assert!((scale.place(1.0) - 75.0).abs() < 1e-9);
    }
}
