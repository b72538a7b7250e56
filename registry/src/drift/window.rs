//! Windows: samples of one feature, sorted or counted once for all scores.

use super::Sketch;
use std::collections::BTreeMap;

/// Samples of a window at most, so that products of two counts fit 64 bits.
const COUNT_MAX: u64 = 1 << 31;
/// Different values of a categorical feature at most: beyond it, it is an identifier.
pub(super) const LEVELS_MAX: usize = 10_000;
/// Magnitude of a sample at most, so that squares and sums stay finite.
const MAGNITUDE_MAX: f64 = 1e150;

/// Why samples are no window.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum WindowFault {
    /// Nothing in it.
    #[error("the window is empty; send at least one sample")]
    Empty,
    /// Not a number, or infinite.
    #[error("sample {index} is {value}; leave out what is not a finite number")]
    NotFinite {
        /// Which, from 0.
        index: usize,
        /// What it is.
        value: String,
    },
    /// So large that its square is not finite.
    #[error("sample {index} is {value}, beyond 1e150; scale the feature")]
    TooLarge {
        /// Which, from 0.
        index: usize,
        /// What it is.
        value: String,
    },
    /// Too many samples.
    #[error("the window has {count} samples, {COUNT_MAX} are the most; send a shorter one")]
    TooMany {
        /// How many.
        count: u64,
    },
    /// Too many different values.
    #[error(
        "the feature has {levels} different values, {LEVELS_MAX} are the most; \
         an identifier has no distribution: group its values"
    )]
    TooManyLevels {
        /// How many.
        levels: usize,
    },
}

/// Numbers in ascending order, each with how often it stands there.
#[derive(Clone, Debug, PartialEq)]
pub struct Numeric {
    points: Vec<(f64, u64)>,
    count: u64,
}

impl Numeric {
    /// A window of samples.
    ///
    /// # Errors
    /// When there is none, or one is not finite or far too large.
    pub fn of(samples: &[f64]) -> Result<Self, WindowFault> {
        let keys = samples.iter().enumerate().map(|(index, value)| check(index, *value));
        let mut keys = keys.collect::<Result<Vec<u64>, _>>()?;
        keys.sort_unstable();
        let mut points: Vec<(f64, u64)> = Vec::with_capacity(keys.len());
        for value in keys.into_iter().map(value_of) {
            match points.last_mut() {
                Some((last, count)) if *last == value => *count += 1,
                _ => points.push((value, 1)),
            }
        }
        Self::of_points(points)
    }

    /// What a sketch stands for.
    ///
    /// # Errors
    /// When nothing was added to it, or too much.
    pub fn of_sketch(sketch: &Sketch) -> Result<Self, WindowFault> {
        Self::of_points(sketch.points().collect())
    }

    fn of_points(points: Vec<(f64, u64)>) -> Result<Self, WindowFault> {
        let count = points.iter().fold(0, |sum: u64, (_, count)| sum.saturating_add(*count));
        in_bounds(count)?;
        Ok(Self { points, count })
    }

    /// Samples in it.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.count
    }

    /// Distinct values, ascending, each with how often it stands there.
    #[must_use]
    pub fn points(&self) -> &[(f64, u64)] {
        &self.points
    }

    /// The population's standard deviation, in two passes.
    #[must_use]
    pub fn deviation(&self) -> f64 {
        let n = self.count as f64;
        let mean = self.points.iter().map(|(v, c)| v * *c as f64).sum::<f64>() / n;
        let squares = self.points.iter().map(|(v, c)| (v - mean) * (v - mean) * *c as f64);
        (squares.sum::<f64>() / n).sqrt()
    }
}

fn in_bounds(count: u64) -> Result<(), WindowFault> {
    match count {
        0 => Err(WindowFault::Empty),
        count if count > COUNT_MAX => Err(WindowFault::TooMany { count }),
        _ => Ok(()),
    }
}

/// The sample's place in the order of numbers, if it may be in a window.
pub(super) fn check(index: usize, value: f64) -> Result<u64, WindowFault> {
    if !value.is_finite() {
        return Err(WindowFault::NotFinite { index, value: value.to_string() });
    }
    if value.abs() > MAGNITUDE_MAX {
        return Err(WindowFault::TooLarge { index, value: format!("{value:e}") });
    }
    // Both zeros are one value.
    let bits = (value + 0.0).to_bits();
    Ok(if bits >> 63 == 0 { bits | (1 << 63) } else { !bits })
}

/// The number at a place in the order.
pub(super) fn value_of(key: u64) -> f64 {
    f64::from_bits(if key >> 63 == 1 { key ^ (1 << 63) } else { !key })
}

/// How often each value of a categorical feature stands in a window.
///
/// It is its own sketch: adding is exact, merging has no order, memory has a bound.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Categorical {
    levels: BTreeMap<String, u64>,
    count: u64,
}

impl Categorical {
    /// A window of samples.
    ///
    /// # Errors
    /// When there is none, or too many are different.
    pub fn of<T: AsRef<str>>(samples: &[T]) -> Result<Self, WindowFault> {
        let mut window = Self::default();
        for sample in samples {
            window.add(sample.as_ref(), 1)?;
        }
        in_bounds(window.count)?;
        Ok(window)
    }

    /// Adds a value that was seen `count` times.
    ///
    /// # Errors
    /// When it would be too much; nothing is added then.
    pub fn add(&mut self, level: &str, count: u64) -> Result<(), WindowFault> {
        let sum = self.count.saturating_add(count);
        if sum > COUNT_MAX {
            return Err(WindowFault::TooMany { count: sum });
        }
        if let Some(has) = self.levels.get_mut(level) {
            *has += count;
        } else if self.levels.len() < LEVELS_MAX {
            self.levels.insert(level.to_owned(), count);
        } else {
            return Err(WindowFault::TooManyLevels { levels: LEVELS_MAX + 1 });
        }
        self.count = sum;
        Ok(())
    }

    /// Adds what another one holds.
    ///
    /// # Errors
    /// When it would be too much; nothing is added then.
    pub fn merge(&mut self, other: &Self) -> Result<(), WindowFault> {
        let mut sum = self.clone();
        for (level, count) in &other.levels {
            sum.add(level, *count)?;
        }
        *self = sum;
        Ok(())
    }

    /// Samples in it.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.count
    }

    /// Values, each with how often it stands there.
    #[must_use]
    pub fn levels(&self) -> &BTreeMap<String, u64> {
        &self.levels
    }
}

/// A window of either kind.
#[derive(Clone, Debug, PartialEq)]
pub enum Window {
    /// Of numbers.
    Numeric(Numeric),
    /// Of names.
    Categorical(Categorical),
}

impl Window {
    /// Samples in it.
    #[must_use]
    pub fn count(&self) -> u64 {
        match self {
            Self::Numeric(window) => window.count(),
            Self::Categorical(window) => window.count(),
        }
    }

    /// The word for its kind.
    #[must_use]
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Numeric(_) => "numeric",
            Self::Categorical(_) => "categorical",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_window_counts_equal_samples_and_knows_one_zero() {
        let window = Numeric::of(&[2.0, -0.0, 0.0, -3.5, 2.0]).unwrap();
        assert_eq!(window.points(), [(-3.5, 1), (0.0, 2), (2.0, 2)]);
        assert_eq!(window.count(), 5);
    }

    #[test]
    fn what_is_no_window_is_refused_with_its_reason() {
        assert_eq!(Numeric::of(&[]), Err(WindowFault::Empty));
        assert_eq!(Categorical::of::<&str>(&[]), Err(WindowFault::Empty));
        for bad in [f64::NAN, f64::INFINITY, f64::NEG_INFINITY] {
            let value = bad.to_string();
            let fault = WindowFault::NotFinite { index: 1, value };
            assert_eq!(Numeric::of(&[1.0, bad]), Err(fault));
        }
        assert!(matches!(Numeric::of(&[-1e200]), Err(WindowFault::TooLarge { index: 0, .. })));
        let names: Vec<_> = (0..=LEVELS_MAX).map(|n| n.to_string()).collect();
        assert_eq!(
            Categorical::of(&names),
            Err(WindowFault::TooManyLevels { levels: LEVELS_MAX + 1 })
        );
        let mut full = Categorical::of(&["a"]).unwrap();
        assert!(matches!(full.add("a", COUNT_MAX), Err(WindowFault::TooMany { .. })));
        assert_eq!(full.count(), 1, "nothing half-done");
    }

    #[test]
    fn the_deviation_is_that_of_the_population() {
        let window = Numeric::of(&[2.0, 4.0, 4.0, 4.0, 5.0, 5.0, 7.0, 9.0]).unwrap();
        assert_eq!(window.deviation(), 2.0);
    }
}
