//! Durations in buckets of equal relative width.

use std::time::Duration;

/// A histogram of durations, with an error of about 3 %.
#[derive(Clone, Debug)]
pub(crate) struct Histogram {
    buckets: Vec<u64>,
    max: u64,
}

/// Each power of two nanoseconds is split into 2 to the power of this.
const SPLIT: u32 = 5;

/// A `u64` has 64 powers of two; those below `1 << SPLIT` share the first
/// buckets.
const BUCKETS: usize = (65 - SPLIT as usize) << SPLIT;

impl Default for Histogram {
    fn default() -> Self {
        Self {
            buckets: vec![0; BUCKETS],
            max: 0,
        }
    }
}

impl Histogram {
    /// Adds one duration.
    pub(crate) fn record(&mut self, duration: Duration) {
        let nanos = u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX);
        if let Some(bucket) = self.buckets.get_mut(bucket(nanos)) {
            *bucket += 1;
        }
        self.max = self.max.max(nanos);
    }

    /// Adds the durations of `other`.
    pub(crate) fn merge(&mut self, other: &Self) {
        for (bucket, more) in self.buckets.iter_mut().zip(&other.buckets) {
            *bucket += more;
        }
        self.max = self.max.max(other.max);
    }

    /// Returns the number of durations.
    pub(crate) fn count(&self) -> u64 {
        self.buckets.iter().sum()
    }

    /// Returns the longest duration.
    pub(crate) const fn max(&self) -> Duration {
        Duration::from_nanos(self.max)
    }

    /// Returns the duration that this share of all does not exceed: 0.99 for p99.
    pub(crate) fn quantile(&self, share: f64) -> Duration {
        let wanted = (self.count() as f64 * share).ceil().max(1.0);
        let mut seen = 0;
        for (index, bucket) in self.buckets.iter().enumerate() {
            seen += bucket;
            if seen as f64 >= wanted {
                return Duration::from_nanos(upper_bound(index).min(self.max));
            }
        }
        self.max()
    }

    /// Returns the share of all durations in each quarter of a power of two, with the
    /// quarter's lower bound in nanoseconds. Empty quarters are left out.
    pub(crate) fn shares(&self) -> Vec<(f64, f64)> {
        let count = self.count().max(1) as f64;
        self.buckets
            .chunks(1 << (SPLIT - 2))
            .enumerate()
            .filter_map(|(quarter, chunk)| {
                let in_it: u64 = chunk.iter().sum();
                let first = quarter << (SPLIT - 2);
                let bound = first
                    .checked_sub(1)
                    .map_or(1, |below| upper_bound(below) + 1);
                (in_it > 0).then(|| (bound as f64, in_it as f64 / count))
            })
            .collect()
    }
}

fn bucket(nanos: u64) -> usize {
    let power = u64::BITS - nanos.leading_zeros();
    let index = match power.checked_sub(SPLIT + 1) {
        None => nanos,
        Some(shift) => (u64::from(shift) << SPLIT) + (nanos >> shift),
    };
    usize::try_from(index).unwrap_or(usize::MAX)
}

/// The longest duration in the bucket.
fn upper_bound(index: usize) -> u64 {
    let shift = (index >> SPLIT).saturating_sub(1);
    let mantissa = (index - (shift << SPLIT)) as u128;
    u64::try_from(((mantissa + 1) << shift) - 1).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_duration_is_in_the_bucket_of_its_size() {
        let mut last = 0;
        for power in 0..64 {
            for nanos in [1_u64 << power, (1 << power) + (1 << power) / 3] {
                let index = bucket(nanos);
                assert!(index >= last && index < BUCKETS, "{nanos}");
                last = index;
                let bound = upper_bound(index);
                assert!(bound >= nanos && bound - nanos <= nanos / 32, "{nanos}");
                assert!(index == 0 || upper_bound(index - 1) < nanos);
            }
        }
        assert_eq!(bucket(u64::MAX), BUCKETS - 1);
    }

    #[test]
    fn quantiles_are_those_of_the_recorded_durations() {
        let mut histogram = Histogram::default();
        for micros in 1..=1000 {
            histogram.record(Duration::from_micros(micros));
        }
        let mut both = Histogram::default();
        both.merge(&histogram);
        let near = |share, micros: u64| {
            let nanos = both.quantile(share).as_nanos() as f64;
            (nanos / (micros as f64 * 1e3) - 1.0).abs() < 0.04
        };
        assert!(near(0.5, 500) && near(0.99, 990) && near(0.999, 999));
        assert_eq!(both.max(), Duration::from_millis(1));
        assert_eq!(both.count(), 1000);
        let shares: f64 = both.shares().iter().map(|share| share.1).sum();
        assert!((shares - 1.0).abs() < 1e-9);
    }
}
