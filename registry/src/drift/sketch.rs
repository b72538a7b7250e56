//! A sketch of many numbers: integer counts in buckets that coarsen as it fills.
//!
//! A bucket is a prefix of a number's bits in ascending order: sign, exponent, and the first bits
//! of the mantissa, so its relative width is the same everywhere, as in DDSketch (Masson, Rim, Lee,
//! VLDB 2019). When buckets run out, neighbours are joined two by two, as in UDDSketch (Epicoco
//! et al., 2020). How coarse it is follows from the set of numbers alone: adding and merging in
//! any order gives the same bytes.

use super::window::{WindowFault, check, value_of};
use borsh::{BorshDeserialize, BorshSerialize};
use std::collections::BTreeMap;

/// Buckets at most: 64 KiB of keys and counts.
const BUCKETS_MAX: usize = 4_096;

/// Buckets that no numbers could have made.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SketchFault {
    /// Coarser than all numbers together.
    #[error("the sketch forgets {shift} bits of each number, 63 are the most")]
    Shift {
        /// How many bits.
        shift: u32,
    },
    /// Not ascending.
    #[error("bucket {key} stands out of order or twice; send buckets ascending by key")]
    Order {
        /// Which.
        key: u64,
    },
    /// A bucket that nothing falls into.
    #[error("bucket {key} with {count} numbers cannot be; send those that hold some")]
    Bucket {
        /// Which.
        key: u64,
        /// What it holds.
        count: u64,
    },
    /// Too many.
    #[error("the sketch has more than {BUCKETS_MAX} buckets; coarsen it")]
    Size,
    /// A number that may not be in a window.
    #[error(transparent)]
    Number(#[from] WindowFault),
}

/// A sketch.
#[derive(Clone, Debug, Default, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct Sketch {
    /// Bits of a number that its bucket forgets; 0 while all numbers are kept as they are.
    shift: u32,
    buckets: BTreeMap<u64, u64>,
}

impl Sketch {
    /// Adds a number.
    ///
    /// # Errors
    /// When it may not be in a window.
    pub fn add(&mut self, value: f64) -> Result<(), WindowFault> {
        self.add_times(value, 1)
    }

    /// Adds a number that was seen so many times.
    ///
    /// # Errors
    /// When it may not be in a window.
    pub fn add_times(&mut self, value: f64, times: u64) -> Result<(), WindowFault> {
        let key = check(0, value)? >> self.shift;
        if times > 0 {
            let count = self.buckets.entry(key).or_default();
            *count = count.saturating_add(times);
            self.bound();
        }
        Ok(())
    }

    /// Adds what another sketch holds.
    pub fn merge(&mut self, other: &Self) {
        self.coarsen(other.shift);
        for (key, count) in &other.buckets {
            let sum = self.buckets.entry(key >> (self.shift - other.shift)).or_default();
            *sum = sum.saturating_add(*count);
        }
        self.bound();
    }

    /// A sketch that came from elsewhere: how coarse it is, and its buckets.
    ///
    /// # Errors
    /// When no numbers could have made it.
    pub fn of_parts(
        shift: u32,
        buckets: impl IntoIterator<Item = (u64, u64)>,
    ) -> Result<Self, SketchFault> {
        if shift >= u64::BITS {
            return Err(SketchFault::Shift { shift });
        }
        let mut sketch = Self { shift, buckets: BTreeMap::new() };
        for (key, count) in buckets {
            if sketch.buckets.last_key_value().is_some_and(|(last, _)| *last >= key) {
                return Err(SketchFault::Order { key });
            }
            if count == 0 || key > u64::MAX >> shift {
                return Err(SketchFault::Bucket { key, count });
            }
            sketch.buckets.insert(key, count);
            if sketch.buckets.len() > BUCKETS_MAX {
                return Err(SketchFault::Size);
            }
        }
        for (index, (value, _)) in sketch.points().enumerate() {
            check(index, value)?;
        }
        Ok(sketch)
    }

    /// How coarse it is, and its buckets, ascending.
    #[must_use]
    pub fn parts(&self) -> (u32, &BTreeMap<u64, u64>) {
        (self.shift, &self.buckets)
    }

    /// Coarsens it until it has no more than so many buckets.
    pub fn limit(&mut self, buckets: usize) {
        while self.buckets.len() > buckets.max(1) && self.shift + 1 < u64::BITS {
            self.coarsen(self.shift + 1);
        }
    }

    /// Numbers in it.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.buckets.values().fold(0, |sum: u64, count| sum.saturating_add(*count))
    }

    /// Widths of buckets, relative to the numbers in them, at most.
    #[must_use]
    pub fn width(&self) -> f64 {
        if self.shift == 0 { 0.0 } else { libm::exp2(f64::from(self.shift) - 52.0) }
    }

    /// Makes two sketches equally coarse, so that equal numbers are in equal buckets.
    pub fn align(&mut self, other: &mut Self) {
        let shift = self.shift.max(other.shift);
        self.coarsen(shift);
        other.coarsen(shift);
    }

    /// The middles of its buckets, ascending, each with its count.
    pub(super) fn points(&self) -> impl Iterator<Item = (f64, u64)> + '_ {
        let middle = if self.shift == 0 { 0 } else { 1 << (self.shift - 1) };
        let value = move |key: u64| value_of((key << self.shift) | middle);
        self.buckets.iter().map(move |(key, count)| (value(*key), *count))
    }

    fn bound(&mut self) {
        while self.buckets.len() > BUCKETS_MAX {
            self.coarsen(self.shift + 1);
        }
    }

    fn coarsen(&mut self, shift: u32) {
        let by = shift.saturating_sub(self.shift);
        if by == 0 {
            return;
        }
        let mut joined = BTreeMap::new();
        for (key, count) in std::mem::take(&mut self.buckets) {
            let sum: &mut u64 = joined.entry(key >> by).or_default();
            *sum = sum.saturating_add(count);
        }
        (self.shift, self.buckets) = (shift, joined);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn of(values: &[f64]) -> Sketch {
        let mut sketch = Sketch::default();
        values.iter().for_each(|value| sketch.add(*value).unwrap());
        sketch
    }

    #[test]
    fn few_numbers_are_kept_as_they_are() {
        let sketch = of(&[3.0, -1.0, 3.0, 0.0]);
        assert_eq!(sketch.points().collect::<Vec<_>>(), [(-1.0, 1), (0.0, 1), (3.0, 2)]);
        assert_eq!(sketch.width(), 0.0);
    }

    #[test]
    fn many_numbers_keep_their_place_within_the_width() {
        let values: Vec<f64> = (1..=100_000).map(|n| f64::from(n) * 0.37).collect();
        let sketch = of(&values);
        assert!(sketch.buckets.len() <= BUCKETS_MAX);
        assert!(sketch.width() < 0.01, "{}", sketch.width());
        assert_eq!(sketch.count(), 100_000);
        let mut seen = 0;
        for (middle, count) in sketch.points() {
            seen += count;
            let exact = values[usize::try_from(seen).unwrap() - 1];
            assert!((middle / exact - 1.0).abs() <= sketch.width(), "{middle} {exact}");
        }
    }

    #[test]
    fn a_sketch_from_elsewhere_is_one_that_numbers_could_have_made() {
        let sketch = of(&[3.0, -1.0, 3.0]);
        let (shift, buckets) = sketch.parts();
        let again = Sketch::of_parts(shift, buckets.iter().map(|(key, count)| (*key, *count)));
        assert_eq!(again, Ok(sketch));
        assert_eq!(Sketch::of_parts(64, []), Err(SketchFault::Shift { shift: 64 }));
        assert_eq!(Sketch::of_parts(60, [(9, 0)]), Err(SketchFault::Bucket { key: 9, count: 0 }));
        assert_eq!(Sketch::of_parts(60, [(16, 1)]), Err(SketchFault::Bucket { key: 16, count: 1 }));
        assert_eq!(Sketch::of_parts(0, [(9, 1), (9, 1)]), Err(SketchFault::Order { key: 9 }));
        // The last keys are those of infinity and of what is no number.
        assert!(matches!(Sketch::of_parts(0, [(u64::MAX, 1)]), Err(SketchFault::Number(_))));
        let many = (0..=BUCKETS_MAX as u64).map(|key| ((1 << 63) | (key << 40), 1));
        assert_eq!(Sketch::of_parts(0, many), Err(SketchFault::Size));
        let mut few = of(&[1.0, 2.0, 3.0, 4.0, 5.0]);
        few.limit(2);
        assert!(few.buckets.len() <= 2 && few.count() == 5);
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(24))]
        #[test]
        fn order_and_grouping_do_not_change_a_sketch(
            mut values in prop::collection::vec(-1e12_f64..1e12, 0..9_000),
            cuts in prop::collection::vec(0_usize..9_000, 2),
        ) {
            let whole = of(&values);
            let (a, b) = (cuts[0].min(values.len()), cuts[1].min(values.len()));
            let (a, b) = (a.min(b), a.max(b));
            let (mut left, middle, right) = (of(&values[..a]), of(&values[a..b]), of(&values[b..]));
            let mut other = right.clone();
            other.merge(&left);
            other.merge(&middle);
            left.merge(&middle);
            left.merge(&right);
            prop_assert_eq!(&left, &whole);
            prop_assert_eq!(&other, &whole);
            values.reverse();
            prop_assert_eq!(borsh::to_vec(&of(&values)).unwrap(), borsh::to_vec(&whole).unwrap());
        }
    }
}
