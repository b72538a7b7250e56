//! The chi-square test of homogeneity: do two windows of names come from one distribution?

use super::Categorical;
use libm::{erfc, exp, lgamma, log, sqrt};
use serde::Serialize;

/// What the test says.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct ChiSquare {
    /// The sum of squared differences over what was expected.
    pub statistic: f64,
    /// How likely such a sum is, or a greater one, without drift.
    pub p_value: f64,
    /// Degrees of freedom: one less than the names.
    pub dof: u64,
}

/// Equals `scipy.stats.chi2_contingency` on the table of both windows, which for two names
/// corrects for continuity after Yates.
#[must_use]
pub fn chi_square(a: &Categorical, b: &Categorical) -> ChiSquare {
    let mut names: Vec<&String> = a.levels().keys().chain(b.levels().keys()).collect();
    names.sort_unstable();
    names.dedup();
    let dof = names.len().saturating_sub(1) as u64;
    let (n1, n2) = (a.count() as f64, b.count() as f64);
    let mut statistic = 0.0;
    for name in names {
        let counts = [a, b].map(|window| window.levels().get(name).copied().unwrap_or(0) as f64);
        let both = counts[0] + counts[1];
        for (count, n) in counts.into_iter().zip([n1, n2]) {
            let expected = both * n / (n1 + n2);
            let mut distance = (count - expected).abs();
            if dof == 1 {
                distance -= distance.min(0.5);
            }
            statistic += distance * distance / expected;
        }
    }
    ChiSquare { statistic, p_value: survival(dof, statistic), dof }
}

/// P(X >= x) for a whole number of degrees of freedom, a sum of positive terms
/// (Abramowitz & Stegun 26.4.4 and 26.4.5).
fn survival(dof: u64, x: f64) -> f64 {
    if dof == 0 || x <= 0.0 {
        return 1.0;
    }
    let half = x / 2.0;
    let (mut sum, mut order) = if dof % 2 == 1 { (erfc(sqrt(half)), 0.5) } else { (0.0, 0.0) };
    for _ in 0..dof / 2 {
        sum += exp(order * log(half) - half - lgamma(order + 1.0));
        order += 1.0;
    }
    sum.min(1.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_tail_is_that_of_scipy() {
        // scipy.stats.chi2.sf
        let cases = [
            (1, 3.841_458_820_694_124, 0.05),
            (2, 5.991_464_547_107_98, 0.05),
            (7, 14.067_140_449_340_17, 0.05),
            (2, 34.212_386_513_296_16, 3.722_842_492_188_137e-8),
            (999, 1_000.0, 0.485_131_489_274_901_46),
            (5, 0.0, 1.0),
        ];
        for (dof, x, wanted) in cases {
            let found = survival(dof, x);
            assert!((found - wanted).abs() < 1e-11, "{dof} {x}: {found}");
        }
    }

    #[test]
    fn two_names_are_corrected_for_continuity() {
        let of = |yes, no| {
            let mut window = Categorical::default();
            window.add("yes", yes).unwrap();
            window.add("no", no).unwrap();
            window
        };
        // scipy.stats.chi2_contingency([[10, 20], [20, 20]])
        let found = chi_square(&of(10, 20), &of(20, 20));
        assert!((found.statistic - 1.323_437_5).abs() < 1e-12, "{found:?}");
        assert!((found.p_value - 0.249_976_057_520_485_07).abs() < 1e-9, "{found:?}");
        assert_eq!(found.dof, 1);
    }
}
