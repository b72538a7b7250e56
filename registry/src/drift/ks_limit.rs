//! The distribution of the one-sample Kolmogorov-Smirnov statistic, to which the two-sample one
//! tends: Simard & L'Ecuyer, "Computing the Two-Sided Kolmogorov-Smirnov Distribution" (J. Stat.
//! Softw. 39, 2011), with the cut-offs that SciPy's `kstwo` has.

use libm::{ceil, exp, lgamma, log, pow, sqrt};
use std::f64::consts::PI;

/// Numbers beyond it are scaled down, and counted.
const SCALE: f64 = (1_u128 << 127) as f64 * 2.0;
const SCALE_BITS: i32 = 128;

/// P(D >= x) for n samples; `n` is a whole number.
pub(super) fn survival(n: f64, x: f64) -> f64 {
    let t = n * x;
    if x >= 1.0 {
        0.0
    } else if t <= 0.5 {
        1.0
    } else if t <= 1.0 {
        1.0 - exp(lgamma(n + 1.0) - n * log(n) + n * log(2.0 * t - 1.0))
    } else if t >= n - 1.0 {
        2.0 * pow(1.0 - x, n)
    } else {
        middle(n, x)
    }
}

fn middle(n: f64, x: f64) -> f64 {
    let square = n * x * x;
    let one_sided_from = if n <= 140.0 { 4.0 } else { 2.2 };
    if square >= 370.0 {
        0.0
    } else if x >= 0.5 || square >= one_sided_from {
        2.0 * one_sided(n, x)
    } else if n <= 140.0 || (n <= 100_000.0 && n * pow(x, 1.5) <= 1.4) {
        1.0 - durbin(n, x)
    } else {
        1.0 - pelz_good(n, x)
    }
}

/// P(D+ >= x), a sum of positive terms (Birnbaum & Tingey, 1951).
fn one_sided(n: f64, x: f64) -> f64 {
    let whole = lgamma(n + 1.0);
    let mut sum = 0.0;
    let mut j = 0.0;
    while j <= n * (1.0 - x) {
        let (above, rest) = (x + j / n, 1.0 - x - j / n);
        if rest > 0.0 {
            let ways = whole - lgamma(j + 1.0) - lgamma(n - j + 1.0);
            sum += exp(ways + (n - j) * log(rest) + (j - 1.0) * log(above));
        }
        j += 1.0;
    }
    x * sum
}

/// P(D < x) as an entry of a power of Durbin's matrix (Marsaglia, Tsang & Wang, 2003).
fn durbin(n: f64, x: f64) -> f64 {
    let k = ceil(n * x) as usize;
    let mut base = Matrix::durbin(k, k as f64 - n * x);
    let mut power = Matrix::one(base.size);
    let (mut power_bits, mut base_bits) = (0, 0);
    let mut left = n as u64;
    while left > 0 {
        if left % 2 == 1 {
            power = power.times(&base);
            power_bits += base_bits;
        }
        base = base.times(&base);
        base_bits *= 2;
        if base.at(k - 1, k - 1) > SCALE {
            base.cells.iter_mut().for_each(|cell| *cell /= SCALE);
            base_bits += SCALE_BITS;
        }
        left /= 2;
    }
    let mut share = power.at(k - 1, k - 1);
    let mut i = 1.0;
    while i <= n {
        share *= i / n;
        if share < 1.0 / SCALE {
            share *= SCALE;
            power_bits -= SCALE_BITS;
        }
        i += 1.0;
    }
    libm::ldexp(share, power_bits)
}

struct Matrix {
    size: usize,
    cells: Vec<f64>,
}

impl Matrix {
    fn at(&self, row: usize, column: usize) -> f64 {
        self.cells[row * self.size + column]
    }

    fn one(size: usize) -> Self {
        let mut cells = vec![0.0; size * size];
        cells.iter_mut().step_by(size + 1).for_each(|cell| *cell = 1.0);
        Self { size, cells }
    }

    fn durbin(k: usize, h: f64) -> Self {
        let size = 2 * k - 1;
        let (mut edge, mut ways) = (Vec::new(), Vec::new());
        let mut inverse = 1.0;
        for j in 1..=size {
            ways.push(inverse);
            inverse /= j as f64;
            edge.push((1.0 - pow(h, j as f64)) * inverse);
        }
        let power = |base: f64| pow(base, size as f64);
        let corner = power((2.0 * h - 1.0).max(0.0)) - 2.0 * power(h);
        edge[size - 1] = (1.0 + corner) * inverse;
        let mut cells = vec![0.0; size * size];
        for column in 1..size {
            for row in column - 1..size {
                cells[row * size + column] = ways[row + 1 - column];
            }
        }
        for (row, cell) in edge.iter().enumerate() {
            cells[row * size] = *cell;
            cells[size * size - 1 - row] = *cell;
        }
        Self { size, cells }
    }

    fn times(&self, other: &Self) -> Self {
        let size = self.size;
        let mut cells = vec![0.0; size * size];
        for row in 0..size {
            for middle in 0..size {
                let factor = self.at(row, middle);
                let right = &other.cells[middle * size..(middle + 1) * size];
                for (cell, right) in cells[row * size..(row + 1) * size].iter_mut().zip(right) {
                    *cell += factor * right;
                }
            }
        }
        Self { size, cells }
    }
}

/// P(D < x) by the expansion of Pelz & Good (J. R. Stat. Soc. B 38, 1976).
fn pelz_good(n: f64, x: f64) -> f64 {
    let z = sqrt(n) * x;
    let (z2, z4, z6) = (z * z, pow(z, 4.0), pow(z, 6.0));
    let (pi2, pi4, pi6) = (PI * PI, pow(PI, 4.0), pow(PI, 6.0));
    let exponent = -pi2 / 8.0 / z2;
    if exponent < -708.0 {
        return 0.0;
    }
    let terms = ceil(16.0 * z / PI) as u32;
    let mut sums = [0.0; 4];
    for k in (1..=terms).rev().map(f64::from) {
        let m2 = pow(2.0 * k - 1.0, 2.0);
        let (m4, m6) = (m2 * m2, m2 * m2 * m2);
        let second = (2.0 * z4 - 5.0 * z2) * pi2 / 4.0 * m2 + pi4 * (1.0 - 2.0 * z2) / 16.0 * m4;
        let third = pi2 * (135.0 * z4 - 96.0 * z6) / 4.0 * m2
            + pi4 * (-60.0 * z2 + 212.0 * z4) / 16.0 * m4
            + pi6 * (5.0 - 30.0 * z2) / 64.0 * m6;
        let coefficients = [
            1.0,
            -z2 + pi2 / 4.0 * m2,
            6.0 * z6 + 2.0 * z4 + second,
            -30.0 * z6 - 90.0 * pow(z, 8.0) + third,
        ];
        let shrink = exp(8.0 * k * exponent);
        for (sum, coefficient) in sums.iter_mut().zip(coefficients) {
            *sum = *sum * shrink + coefficient;
        }
    }
    let scales = [z, 6.0 * z4, 72.0 * pow(z, 7.0), 6480.0 * pow(z, 10.0)];
    let root = sqrt(2.0 * PI);
    for (sum, scale) in sums.iter_mut().zip(scales) {
        *sum *= exp(exponent) * root / scale;
    }
    let (mut second, mut third) = (0.0, 0.0);
    for k in (1..=terms).rev().map(f64::from) {
        let weight = k * k * exp(-pi2 / 2.0 / z2 * k * k);
        second += weight;
        third += (3.0 * z2 - pi2 * k * k) * weight;
    }
    sums[2] -= second * pi2 * root / (36.0 * z * z2);
    sums[3] += third * pi2 * root / (216.0 * z6);
    sums[0] + sums[1] / sqrt(n) + sums[2] / n + sums[3] / pow(n, 1.5)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `scipy.stats.kstwo.sf` 1.17 in each branch.
    #[test]
    fn every_branch_gives_what_scipy_gives() {
        let cases = [
            (100.0, 0.004, 1.0),
            (100.0, 0.008, 1.0),
            (100.0, 0.995, 1.5777218104421636e-230),
            (100.0, 0.6, 5.912822156396238e-35),
            (100.0, 0.05, 0.9532159710635725),
            (100.0, 0.08, 0.5182193645480672),
            (100.0, 0.15, 0.019839242125641813),
            (100.0, 0.25, 5.408871776434847e-06),
            (140.0, 0.03, 0.9992547123063266),
            (750.0, 0.0333333, 0.3671604226686124),
            (750.0, 0.005, 1.0),
            (750.0, 0.012, 0.9998784177875836),
            (750.0, 0.02, 0.9191006429786927),
            (750.0, 0.05, 0.04544775815282098),
            (750.0, 0.0542, 0.02349312476936153),
            (750.0, 0.1, 5.558521380055011e-07),
            (750.0, 0.2, 9.034989956783312e-27),
            (750.0, 0.9, 0.0),
            (750.0, 0.001, 1.0),
            (5000.0, 0.003, 0.9999999999740126),
            (5000.0, 0.004, 0.9999977369528622),
            (5000.0, 0.01, 0.6954557253913853),
            (5000.0, 0.02, 0.03613941395325637),
            (5000.0, 0.03, 0.00024159234422666817),
            (5000.0, 0.3, 0.0),
            (200000.0, 0.002, 0.39995085369038097),
            (200000.0, 0.0025, 0.16380630168585164),
            (200000.0, 0.0034, 0.019582357729473667),
            (1000000.0, 0.0012, 0.11215991901443556),
            (1000000.0, 0.00149, 0.02356371247560591),
            (20000.0, 0.0004, 1.0),
        ];
        for (n, x, wanted) in cases {
            let found = survival(n, x);
            assert!((found - wanted).abs() < 1e-10, "n {n}, x {x}: {found} is not {wanted}");
        }
    }
}
