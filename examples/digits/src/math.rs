//! Functions whose bits do not depend on the machine's library.

/// A small generator (SplitMix64: Steele, Lea, Flood 2014).
#[derive(Clone, Copy)]
pub struct Random(pub u64);

impl Random {
    /// The next 64 bits.
    pub fn bits(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// Evenly in -1..1.
    pub fn signed(&mut self) -> f32 {
        (self.bits() >> 40) as f32 / 8_388_608.0 - 1.0
    }

    /// Evenly in 0..bound.
    pub fn below(&mut self, bound: u64) -> u64 {
        ((u128::from(self.bits()) * u128::from(bound)) >> 64) as u64
    }
}

/// e to the power of `x`, for x <= 0: halved until small, then a polynomial, then squared back.
pub fn exp(x: f32) -> f32 {
    let mut y = f64::from(x.max(-80.0)) / 1_024.0;
    y = 1.0 + y * (1.0 + y * (0.5 + y * (1.0 / 6.0 + y / 24.0)));
    for _ in 0..10 {
        y *= y;
    }
    y as f32
}

/// The natural logarithm of `x` in 0..=1, by Newton's method on [`exp`].
pub fn ln(x: f32) -> f32 {
    let x = x.max(1e-30);
    let mut y = 0.0_f32;
    for _ in 0..60 {
        y += x / exp(y) - 1.0;
        y = y.clamp(-70.0, 0.0);
    }
    y
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_functions_are_close_to_the_real_ones() {
        for x in [-20.0_f32, -3.0, -0.5, 0.0] {
            assert!((exp(x) - x.exp()).abs() <= 1e-5 * x.exp(), "exp({x})");
        }
        for x in [1.0_f32, 0.5, 0.01] {
            assert!((ln(x) - x.ln()).abs() < 1e-3, "ln({x}) = {}", ln(x));
        }
    }
}
