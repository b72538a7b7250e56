//! The two-sample Kolmogorov-Smirnov test.

use super::{Numeric, ecdf::walk, ks_limit};
use serde::Serialize;

/// Samples of the larger window up to which `Auto` computes the exact p-value, as SciPy does.
const EXACT_MAX: u64 = 10_000;

/// How the p-value is had.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum KsMethod {
    /// Exact up to 10,000 samples a window, by the limit distribution beyond: SciPy's `auto`.
    #[default]
    Auto,
    /// By the limit distribution: quick for windows of different sizes.
    Limit,
}

/// What the test says.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Ks {
    /// The greatest distance between both cumulative distributions.
    pub statistic: f64,
    /// How likely such a distance is, or a greater one, without drift.
    pub p_value: f64,
}

/// Equals `scipy.stats.ks_2samp`, two-sided.
#[must_use]
pub fn ks(a: &Numeric, b: &Numeric, method: KsMethod) -> Ks {
    let mut lead_max = 0;
    walk(a, b, |_, lead| lead_max = lead_max.max(lead.unsigned_abs()));
    let (n1, n2) = (a.count(), b.count());
    let statistic = lead_max as f64 / (n1 * n2) as f64;
    let p_value = match method {
        KsMethod::Auto if n1.max(n2) <= EXACT_MAX => exact(n1, n2, lead_max),
        KsMethod::Auto | KsMethod::Limit => {
            let (n1, n2) = (n1 as f64, n2 as f64);
            ks_limit::survival(libm::rint(n1 * n2 / (n1 + n2)), statistic)
        }
    };
    Ks { statistic, p_value: p_value.clamp(0.0, 1.0) }
}

fn exact(n1: u64, n2: u64, lead_max: u64) -> f64 {
    let common = gcd(n1, n2);
    let height = lead_max / common;
    match (height, n1 == n2) {
        (0, _) => 1.0,
        (height, true) => outside_square(n1, height),
        (height, false) => outside(n1.max(n2), n1.min(n2), common, height),
    }
}

fn gcd(a: u64, b: u64) -> u64 {
    if b == 0 { a } else { gcd(b, a % b) }
}

/// The share of lattice paths from (0, 0) to (n, n) that leave the band |x - y| < h, by the
/// reflection principle with its sum factored as Horner would (Hodges, Ark. Mat. 3, 1958).
fn outside_square(n: u64, h: u64) -> f64 {
    let mut share = 0.0;
    for k in (0..=n / h).rev() {
        let mut term = 1.0;
        for j in 0..h {
            term = (n - k * h).saturating_sub(j) as f64 * term / (n + k * h + j + 1) as f64;
        }
        share = term * (1.0 - share);
    }
    2.0 * share
}

/// The share of lattice paths from (0, 0) to (m, n) that leave the band |x n - y m| / g < h.
///
/// Column by column: the share at a point is the mean of those of its two predecessors, weighted
/// with the paths through them, and 1 outside of the band. All terms are positive, so small
/// shares are as exact as large ones.
fn outside(m: u64, n: u64, g: u64, h: u64) -> f64 {
    let (step_x, step_y) = (n / g, m / g);
    let inside_to = |x: u64| (x * step_x + h).div_ceil(step_y).min(n + 1) as usize;
    let mut column = vec![1.0; n as usize + 1];
    column[..inside_to(0)].fill(0.0);
    for x in 1..=m {
        let from = (x * step_x).checked_sub(h).map_or(0, |low| low / step_y + 1) as usize;
        let to = inside_to(x);
        if from >= to {
            return 1.0;
        }
        let mut below = 1.0;
        for (y, share) in (from..to).zip(&mut column[from..to]) {
            let all = x as f64 + y as f64;
            below = *share * (x as f64 / all) + below * (y as f64 / all);
            *share = below;
        }
    }
    column[n as usize]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn test(a: &[f64], b: &[f64]) -> Ks {
        ks(&Numeric::of(a).unwrap(), &Numeric::of(b).unwrap(), KsMethod::Auto)
    }

    #[test]
    fn windows_apart_are_as_unlikely_as_one_order_of_all() {
        // Of the 70 orders of 4 + 4 samples, two keep the windows apart.
        let found = test(&[1.0, 2.0, 3.0, 4.0], &[5.0, 6.0, 7.0, 8.0]);
        assert_eq!(found.statistic, 1.0);
        assert!((found.p_value - 2.0 / 70.0).abs() < 1e-15);
        // Of the 35 orders of 4 + 3, two do.
        let found = test(&[1.0, 2.0, 3.0, 4.0], &[5.0, 6.0, 7.0]);
        assert!((found.p_value - 2.0 / 35.0).abs() < 1e-15);
    }

    #[test]
    fn equal_windows_are_certain() {
        assert_eq!(test(&[1.0, 2.0], &[1.0, 2.0]), Ks { statistic: 0.0, p_value: 1.0 });
    }

    #[test]
    fn the_limit_is_near_the_exact_value() {
        let a: Vec<f64> = (0..400).map(f64::from).collect();
        let b: Vec<f64> = (0..390).map(|n| f64::from(n) + 31.5).collect();
        let (a, b) = (Numeric::of(&a).unwrap(), Numeric::of(&b).unwrap());
        let (exact, limit) = (ks(&a, &b, KsMethod::Auto), ks(&a, &b, KsMethod::Limit));
        assert!((exact.p_value - limit.p_value).abs() < 0.02, "{exact:?} {limit:?}");
    }
}
