//! Windows of a bounded size, as they travel and are kept.

use super::{Categorical, Numeric, Sketch, Window, WindowFault, window::LEVELS_MAX};
use borsh::{BorshDeserialize, BorshSerialize};
use domain::{drift::PARTS, limit};
use std::collections::BTreeMap;

/// Bytes of a feature's name.
const NAME_MAX: usize = 128;
/// Buckets that a feature has at least, however many features there are.
const BUCKETS_MIN: usize = limit::SKETCH_BUCKETS_MAX / limit::FEATURES_MAX;

/// A window of one feature.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub enum Sketched {
    /// Of numbers.
    Numbers(Sketch),
    /// Of names, each with how often it stands there.
    Names(BTreeMap<String, u64>),
}

/// Windows that cannot be taken.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SetFault {
    /// No feature.
    #[error("no feature is given; send at least one window")]
    Empty,
    /// Too many.
    #[error(
        "{count} features, {most} are the most; watch those that matter",
        most = limit::FEATURES_MAX
    )]
    TooMany {
        /// How many.
        count: usize,
    },
    /// A name that says not what it is of.
    #[error(
        "feature `{0}` is of nothing that is watched; write `inputs/NAME`, `outputs/NAME` or \
         `quality/NAME`, with at most {NAME_MAX} bytes"
    )]
    Name(String),
    /// A window that is none.
    #[error("feature `{feature}`: {fault}")]
    Window {
        /// Which.
        feature: String,
        /// Why.
        fault: WindowFault,
    },
    /// Too large for the log.
    #[error(
        "the windows take {size} bytes, {most} are the most; watch fewer features, or group names",
        most = limit::REFERENCE_MAX.0
    )]
    Size {
        /// Their size.
        size: u64,
    },
    /// Two windows of one feature, of different kinds.
    #[error("feature `{feature}` has numbers in one window and names in another")]
    Kinds {
        /// Which.
        feature: String,
    },
}

impl Sketched {
    /// A window of numbers.
    ///
    /// # Errors
    /// When one may not be in a window.
    pub fn of_numbers(samples: &[f64]) -> Result<Self, WindowFault> {
        let window = Numeric::of(samples)?;
        let mut sketch = Sketch::default();
        for (value, count) in window.points() {
            sketch.add_times(*value, *count)?;
        }
        Ok(Self::Numbers(sketch))
    }

    /// A window of names.
    ///
    /// # Errors
    /// When there is none, or too many are different.
    pub fn of_names(samples: &[String]) -> Result<Self, WindowFault> {
        Ok(Self::Names(Categorical::of(samples)?.levels().clone()))
    }

    /// Samples in it.
    #[must_use]
    pub fn count(&self) -> u64 {
        match self {
            Self::Numbers(sketch) => sketch.count(),
            Self::Names(names) => names.values().fold(0, |sum, count| sum.saturating_add(*count)),
        }
    }

    /// The word for its kind.
    #[must_use]
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Numbers(_) => "numeric",
            Self::Names(_) => "categorical",
        }
    }

    /// Adds what another holds; false when it is of another kind.
    #[must_use]
    pub fn merge(&mut self, other: &Self) -> bool {
        match (self, other) {
            (Self::Numbers(mine), Self::Numbers(other)) => mine.merge(other),
            (Self::Names(mine), Self::Names(other)) => {
                for (name, count) in other {
                    let sum = mine.entry(name.clone()).or_default();
                    *sum = sum.saturating_add(*count);
                }
            }
            (Self::Numbers(_), Self::Names(_)) | (Self::Names(_), Self::Numbers(_)) => {
                return false;
            }
        }
        true
    }

    /// As scores take it.
    ///
    /// # Errors
    /// When it is empty, or holds too much.
    pub fn window(&self) -> Result<Window, WindowFault> {
        match self {
            Self::Numbers(sketch) => Numeric::of_sketch(sketch).map(Window::Numeric),
            Self::Names(names) => {
                let mut window = Categorical::default();
                for (name, count) in names {
                    window.add(name, *count)?;
                }
                match window.count() {
                    0 => Err(WindowFault::Empty),
                    _ => Ok(Window::Categorical(window)),
                }
            }
        }
    }
}

/// Coarsens windows to the size that so many features may take.
pub fn bound(windows: &mut BTreeMap<String, Sketched>) {
    let each = limit::SKETCH_BUCKETS_MAX / windows.len().max(1);
    for window in windows.values_mut() {
        if let Sketched::Numbers(sketch) = window {
            sketch.limit(each.max(BUCKETS_MIN));
        }
    }
}

/// Checks names, number, content and size of windows.
///
/// # Errors
/// What does not hold, with the feature.
pub fn check_set(windows: &BTreeMap<String, Sketched>) -> Result<(), SetFault> {
    if windows.is_empty() {
        return Err(SetFault::Empty);
    }
    if windows.len() > limit::FEATURES_MAX {
        return Err(SetFault::TooMany { count: windows.len() });
    }
    for (feature, window) in windows {
        check_name(feature)?;
        if let Sketched::Names(names) = window
            && names.len() > LEVELS_MAX
        {
            let fault = WindowFault::TooManyLevels { levels: names.len() };
            return Err(SetFault::Window { feature: feature.clone(), fault });
        }
        if let Err(fault) = window.window() {
            return Err(SetFault::Window { feature: feature.clone(), fault });
        }
    }
    let size = borsh::object_length(windows).map_or(u64::MAX, |size| size as u64);
    match size > limit::REFERENCE_MAX.0 {
        true => Err(SetFault::Size { size }),
        false => Ok(()),
    }
}

/// Checks a feature's name: `inputs/age`.
///
/// # Errors
/// When it does not say what it is of.
pub fn check_name(feature: &str) -> Result<(), SetFault> {
    let good = feature.split_once('/').is_some_and(|(part, name)| {
        PARTS.contains(&part) && !name.is_empty() && feature.len() <= NAME_MAX
    });
    match good && !feature.chars().any(char::is_control) {
        true => Ok(()),
        false => Err(SetFault::Name(feature.chars().take(NAME_MAX).collect())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn numbers(range: std::ops::Range<i32>) -> Sketched {
        Sketched::of_numbers(&range.map(f64::from).collect::<Vec<_>>()).unwrap()
    }

    #[test]
    fn many_windows_fit_one_proposal_however_many_numbers_they_hold() {
        let window = Sketched::of_numbers(
            &(0..50_000).map(|n| f64::from(n) * 0.37 - 7_000.0).collect::<Vec<_>>(),
        );
        let window = window.unwrap();
        let mut all: BTreeMap<_, _> =
            (0..limit::FEATURES_MAX).map(|n| (format!("inputs/{n}"), window.clone())).collect();
        assert!(matches!(check_set(&all), Err(SetFault::Size { .. })));
        bound(&mut all);
        assert_eq!(check_set(&all), Ok(()));
        assert!(all.values().all(|window| window.count() == 50_000));
    }

    #[test]
    fn parts_of_a_window_add_up_to_it_in_any_order() {
        let whole = numbers(0..900);
        let (mut left, mut right) = (numbers(0..300), numbers(300..900));
        let (one, other) = (left.clone(), right.clone());
        assert!(left.merge(&other) && right.merge(&one));
        assert_eq!((&left, &right), (&whole, &whole));
        let names = Sketched::of_names(&["a".to_owned()]).unwrap();
        assert!(!left.merge(&names));
    }

    #[test]
    fn windows_that_cannot_be_kept_are_refused_by_name() {
        assert_eq!(check_set(&BTreeMap::new()), Err(SetFault::Empty));
        for name in ["age", "inputs/", "other/age", "inputs/\n", &"inputs/x".repeat(40)] {
            let set = [(name.to_owned(), numbers(0..9))].into();
            assert!(matches!(check_set(&set), Err(SetFault::Name(_))), "{name}");
        }
        let empty = [("inputs/a".to_owned(), Sketched::Names(BTreeMap::new()))].into();
        let fault = check_set(&empty).unwrap_err().to_string();
        assert!(fault.starts_with("feature `inputs/a`: the window is empty"), "{fault}");
        let many = (0..=limit::FEATURES_MAX).map(|n| (format!("inputs/{n}"), numbers(0..9)));
        assert!(matches!(check_set(&many.collect()), Err(SetFault::TooMany { .. })));
    }
}
