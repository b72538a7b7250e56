//! Fixed point: the form in which a score may enter the log.

use serde::Serialize;
use std::fmt;

/// A score in billionths. Equal on every machine, and ordered.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Nano(pub i64);

const UNIT: f64 = 1e9;

impl Nano {
    /// The nearest to a score; the ends of the range for what is beyond it.
    #[must_use]
    pub fn of(score: f64) -> Self {
        // `as` saturates, which is what the contract of this function says.
        Self(libm::round(score * UNIT) as i64)
    }

    /// The score.
    #[must_use]
    pub fn get(self) -> f64 {
        self.0 as f64 / UNIT
    }
}

impl fmt::Display for Nano {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.get().fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_score_keeps_nine_digits() {
        assert_eq!(Nano::of(0.1), Nano(100_000_000));
        assert_eq!(Nano::of(-1.25).get(), -1.25);
        assert_eq!(Nano::of(1e300), Nano(i64::MAX));
    }
}
