//! The results: medians, spread, ratios, and their JSON.

use serde::Serialize;

use crate::measure::Samples;
use crate::scenarios::{Measure, Scenario};
use crate::subject::{Kind, Subject};

#[derive(Serialize)]
pub struct Report {
    pub machine: Machine,
    pub rounds: usize,
    pub results: Vec<Outcome>,
}

/// The machine on which the figures were measured.
#[derive(Serialize)]
pub struct Machine {
    pub os: &'static str,
    pub processor: String,
    pub threads: usize,
}

/// The result of one subject in one scenario.
#[derive(Serialize)]
pub struct Outcome {
    pub scenario: &'static str,
    pub subject: &'static str,
    pub unit: &'static str,
    pub median: f64,
    pub p10: f64,
    pub p90: f64,
    /// The ratios to other subjects of the same run.
    pub costs: Vec<Cost>,
    /// The value of each round.
    pub samples: Vec<f64>,
}

/// The ratio to the cost of `subject`: above 1 is worse, in every unit.
#[derive(Serialize)]
pub struct Cost {
    pub subject: &'static str,
    pub ratio: f64,
}

impl Machine {
    pub fn here() -> Self {
        let cpuinfo = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
        let processor = cpuinfo
            .lines()
            .find_map(|line| line.strip_prefix("model name"))
            .map(|rest| rest.trim_start_matches([' ', '\t', ':']))
            .unwrap_or("unknown");
        Self {
            os: std::env::consts::OS,
            processor: processor.to_owned(),
            threads: std::thread::available_parallelism().map_or(1, usize::from),
        }
    }
}

/// Computes the outcomes of one scenario, with the ratios to the floor and to each peer.
pub fn outcomes(scenario: &Scenario, samples: &[Samples<'_>]) -> Vec<Outcome> {
    samples
        .iter()
        .map(|own| {
            let costs = samples
                .iter()
                .filter(|other| stands_beside(own.subject, other.subject))
                .filter_map(|other| {
                    let ratio = cost(scenario.measure, &own.values, &other.values)?;
                    let subject = other.subject.name();
                    Some(Cost { subject, ratio })
                })
                .collect();
            Outcome {
                scenario: scenario.name,
                subject: own.subject.name(),
                unit: unit(scenario.measure),
                median: quantile(&own.values, 0.5),
                p10: quantile(&own.values, 0.1),
                p90: quantile(&own.values, 0.9),
                costs,
                samples: own.values.clone(),
            }
        })
        .collect()
}

impl Outcome {
    pub fn cost_against(&self, subject: &str) -> Option<f64> {
        let cost = self.costs.iter().find(|cost| cost.subject == subject);
        cost.map(|cost| cost.ratio)
    }
}

pub fn unit(measure: Measure) -> &'static str {
    match measure {
        Measure::Time => "ns",
        Measure::Rate { .. } => "per second",
        Measure::Resident => "KiB",
        Measure::Allocations => "allocations",
    }
}

fn stands_beside(own: &dyn Subject, other: &dyn Subject) -> bool {
    other.name() != own.name() && (other.name() == own.floor() || other.kind() == Kind::Peer)
}

/// Returns the median of the ratios of the rounds, which cancels disturbances that
/// affect both subjects. `None` if there is no divisor.
fn cost(measure: Measure, own: &[f64], other: &[f64]) -> Option<f64> {
    let ratios: Vec<f64> = own
        .iter()
        .zip(other)
        .map(|(own, other)| match measure {
            Measure::Rate { .. } => other / own,
            Measure::Time | Measure::Resident | Measure::Allocations => own / other,
        })
        .collect();
    Some(quantile(&ratios, 0.5)).filter(|ratio| ratio.is_finite())
}

/// Interpolates linearly between the two nearest ranks.
fn quantile(values: &[f64], q: f64) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let Some(last) = sorted.len().checked_sub(1) else {
        return f64::NAN;
    };
    let rank = q * last as f64;
    let below = sorted[rank.floor() as usize];
    let above = sorted[rank.ceil() as usize];
    below + (above - below) * rank.fract()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_interpolate() {
        let values = [4.0, 1.0, 3.0, 2.0];
        assert_eq!(quantile(&values, 0.5), 2.5);
        assert_eq!(quantile(&values, 0.0), 1.0);
        assert_eq!(quantile(&values, 1.0), 4.0);
        assert_eq!(quantile(&[7.0], 0.9), 7.0);
        assert!(quantile(&[], 0.5).is_nan());
    }

    #[test]
    fn a_cost_is_above_one_for_the_worse_whatever_the_unit() {
        let (slow, fast) = ([20.0, 40.0, 60.0], [10.0, 10.0, 20.0]);
        assert_eq!(cost(Measure::Time, &slow, &fast), Some(3.0));
        assert_eq!(cost(Measure::Rate { threads: 1 }, &fast, &slow), Some(3.0));
        assert_eq!(cost(Measure::Allocations, &slow, &[0.0; 3]), None);
    }
}
