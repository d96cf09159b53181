//! Statistics of measurements.

/// Sorts the figures and returns the median; `None` if there are none.
#[must_use]
pub fn median(figures: &mut [f64]) -> Option<f64> {
    figures.sort_by(f64::total_cmp);
    figures.get(figures.len() / 2).copied()
}
