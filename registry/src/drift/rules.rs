//! What counts as drift.

use super::{Correction, KsMethod, Nano};

/// Samples below which no test can reach 5 %: of the 20 orders of 3 + 3 samples two are the most
/// extreme, of the 70 orders of 4 + 4 also two.
const SAMPLES_MIN: u64 = 4;

/// Thresholds. A feature has drifted where its test is significant after the correction, and an
/// effect has reached its threshold: in a large window every difference is significant, in a
/// small one every difference is large.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rules {
    /// Samples that each window must have.
    pub samples_min: u64,
    /// Significance, after correction.
    pub alpha: Nano,
    /// How p-values are corrected for the number of features.
    pub correction: Correction,
    /// Threshold of the population stability index.
    pub psi: Nano,
    /// Threshold of the Jensen-Shannon distance.
    pub jensen_shannon: Nano,
    /// Threshold of the Wasserstein distance, in standard deviations of the reference.
    pub wasserstein: Nano,
    /// How the Kolmogorov-Smirnov test has its p-value.
    pub ks: KsMethod,
}

const TENTH: Nano = Nano(100_000_000);

impl Default for Rules {
    /// 30 samples, 5 %, and 0.1 for each effect, which are Evidently's thresholds.
    fn default() -> Self {
        Self {
            samples_min: 30,
            alpha: Nano(50_000_000),
            correction: Correction::default(),
            psi: TENTH,
            jensen_shannon: TENTH,
            wasserstein: TENTH,
            ks: KsMethod::default(),
        }
    }
}

/// Rules that cannot hold.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RulesFault {
    /// Too few samples for any test.
    #[error("`samples_min` is {asked}, {SAMPLES_MIN} is the least at which a test can reach 5 %")]
    SamplesMin {
        /// What was asked.
        asked: u64,
    },
    /// Not a probability that decides anything.
    #[error("`alpha` is {asked}, it must lie between 0 and 1")]
    Alpha {
        /// What was asked.
        asked: Nano,
    },
    /// A threshold that everything or nothing reaches.
    #[error("`{name}` is {asked}, it must be above 0")]
    Threshold {
        /// Which.
        name: &'static str,
        /// What was asked.
        asked: Nano,
    },
}

impl Rules {
    /// Checks that they can hold.
    ///
    /// # Errors
    /// The first that cannot.
    pub fn check(&self) -> Result<(), RulesFault> {
        if self.samples_min < SAMPLES_MIN {
            return Err(RulesFault::SamplesMin { asked: self.samples_min });
        }
        if self.alpha <= Nano(0) || self.alpha >= Nano::of(1.0) {
            return Err(RulesFault::Alpha { asked: self.alpha });
        }
        let thresholds = [
            ("psi", self.psi),
            ("jensen_shannon", self.jensen_shannon),
            ("wasserstein", self.wasserstein),
        ];
        match thresholds.into_iter().find(|(_, asked)| *asked <= Nano(0)) {
            Some((name, asked)) => Err(RulesFault::Threshold { name, asked }),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rules_that_decide_nothing_are_refused() {
        let rules = Rules::default();
        assert_eq!(rules.check(), Ok(()));
        let few = Rules { samples_min: 3, ..rules };
        assert_eq!(few.check(), Err(RulesFault::SamplesMin { asked: 3 }));
        let sure = Rules { alpha: Nano::of(1.0), ..rules };
        assert!(sure.check().is_err());
        let all = Rules { psi: Nano(0), ..rules };
        assert_eq!(all.check(), Err(RulesFault::Threshold { name: "psi", asked: Nano(0) }));
    }
}
