//! Shares of samples by bin, and how far two sets of shares are apart.

use super::{Categorical, Numeric};
use libm::{ceil, log, log2, sqrt};

/// Distinct values of the reference up to which numbers are compared value by value.
const BINNED_FROM: usize = 20;
/// Stands in for an empty bin, whose logarithm is infinite.
const EMPTY: f64 = 1e-4;

/// What part of each window falls into each bin.
#[derive(Clone, Debug, PartialEq)]
pub struct Shares {
    reference: Vec<f64>,
    current: Vec<f64>,
}

impl Shares {
    /// Of numbers, as Evidently bins them: between Sturges' edges over both windows together,
    /// or by value where the reference has at most 20 different ones.
    #[must_use]
    pub fn of_numbers(reference: &Numeric, current: &Numeric) -> Self {
        if reference.points().len() <= BINNED_FROM {
            return Self::by_value(reference, current);
        }
        let edges = sturges(reference, current);
        Self { reference: binned(reference, &edges), current: binned(current, &edges) }
    }

    /// Of names.
    #[must_use]
    pub fn of_names(reference: &Categorical, current: &Categorical) -> Self {
        let mut names: Vec<_> = reference.levels().keys().chain(current.levels().keys()).collect();
        names.sort_unstable();
        names.dedup();
        let of = |window: &Categorical| {
            let count = |name: &&String| window.levels().get(*name).copied().unwrap_or(0) as f64;
            names.iter().map(|name| count(name) / window.count() as f64).collect()
        };
        Self { reference: of(reference), current: of(current) }
    }

    fn by_value(reference: &Numeric, current: &Numeric) -> Self {
        let values = reference.points().iter().chain(current.points()).map(|(value, _)| *value);
        let mut values: Vec<f64> = values.collect();
        values.sort_unstable_by(f64::total_cmp);
        values.dedup();
        let of = |window: &Numeric| {
            let mut points = window.points().iter().peekable();
            let mut count = |value: f64| {
                points.next_if(|(at, _)| *at == value).map_or(0.0, |(_, count)| *count as f64)
            };
            values.iter().map(|value| count(*value) / window.count() as f64).collect()
        };
        Self { reference: of(reference), current: of(current) }
    }
}

/// As `numpy.histogram_bin_edges(bins="sturges")` does it, rounding included.
fn sturges(a: &Numeric, b: &Numeric) -> Vec<f64> {
    let ends = |window: &Numeric| {
        let points = window.points();
        let (first, last) = (points.first(), points.last());
        (first.map_or(0.0, |(low, _)| *low), last.map_or(0.0, |(high, _)| *high))
    };
    let (low, high) = (ends(a).0.min(ends(b).0), ends(a).1.max(ends(b).1));
    let width = (high - low) / (log2((a.count() + b.count()) as f64) + 1.0);
    let bins = ceil((high - low) / width).max(1.0);
    let step = (high - low) / bins;
    let inner = (0..bins as u64).map(|at| at as f64 * step + low);
    inner.chain([high]).collect()
}

/// Every bin holds its lower edge, the last one its upper edge too.
fn binned(window: &Numeric, edges: &[f64]) -> Vec<f64> {
    let bins = edges.len() - 1;
    let mut counts = vec![0_u64; bins];
    let mut bin = 0;
    for (value, count) in window.points() {
        while bin + 1 < bins && *value >= edges[bin + 1] {
            bin += 1;
        }
        counts[bin] += count;
    }
    counts.into_iter().map(|count| count as f64 / window.count() as f64).collect()
}

/// The population stability index. Empty bins count as [`EMPTY`], as Evidently has it.
#[must_use]
pub fn psi(shares: &Shares) -> f64 {
    let filled = |all: &[f64]| -> Vec<f64> {
        let least = all.iter().copied().filter(|share| *share > 0.0).fold(1.0, f64::min);
        let fill = if least <= EMPTY { least / 1e6 } else { EMPTY };
        all.iter().map(|share| if *share == 0.0 { fill } else { *share }).collect()
    };
    let (reference, current) = (filled(&shares.reference), filled(&shares.current));
    reference.iter().zip(&current).map(|(r, c)| (r - c) * log(r / c)).sum()
}

/// The Jensen-Shannon distance, base e. Equals `scipy.spatial.distance.jensenshannon`.
#[must_use]
pub fn jensen_shannon(shares: &Shares) -> f64 {
    let entropy = |share: f64, mean: f64| if share > 0.0 { share * log(share / mean) } else { 0.0 };
    let mut sums = (0.0, 0.0);
    for (r, c) in shares.reference.iter().zip(&shares.current) {
        let mean = (r + c) / 2.0;
        sums.0 += entropy(*r, mean);
        sums.1 += entropy(*c, mean);
    }
    // Rounding may leave equal shares a hair below zero.
    sqrt(((sums.0 + sums.1) / 2.0).max(0.0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_at_an_edge_belongs_to_the_bin_above_it() {
        let window = Numeric::of(&[0.0, 1.0, 2.0, 3.0]).unwrap();
        assert_eq!(binned(&window, &[0.0, 1.0, 2.0, 3.0]), [0.25, 0.25, 0.5]);
    }

    #[test]
    fn shares_without_overlap_have_a_finite_index_and_the_greatest_distance() {
        let of = |name: &str| Categorical::of(&[name, name]).unwrap();
        let shares = Shares::of_names(&of("a"), &of("b"));
        assert!((jensen_shannon(&shares) - sqrt(log(2.0))).abs() < 1e-15);
        assert!((psi(&shares) - 2.0 * (1.0 - EMPTY) * log(1.0 / EMPTY)).abs() < 1e-12);
    }
}
