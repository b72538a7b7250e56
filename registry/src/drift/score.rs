//! All scores of a feature, and the verdict over many.

use super::{
    Categorical, ChiSquare, Ks, Numeric, Rules, Shares, Window, chi_square, jensen_shannon, ks,
    psi, wasserstein,
};
use serde::Serialize;

/// Stands in for the deviation of a reference that hardly has one, as Evidently has it.
const DEVIATION_MIN: f64 = 1e-3;

/// Why two windows were not compared.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ScoreFault {
    /// Too few samples for a verdict.
    #[error("the {which} window has {count} samples, {wanted} are needed; wait for more")]
    TooFew {
        /// `reference` or `current`.
        which: &'static str,
        /// How many there are.
        count: u64,
        /// How many there must be.
        wanted: u64,
    },
    /// Numbers against names.
    #[error("the reference window is {reference}, the current one is {current}")]
    Kinds {
        /// The reference's kind.
        reference: &'static str,
        /// The current one's.
        current: &'static str,
    },
}

/// Scores of a numeric feature.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct NumericScore {
    /// Jensen-Shannon distance, base e, of the binned windows.
    pub jensen_shannon: f64,
    /// The Kolmogorov-Smirnov test.
    pub ks: Ks,
    /// Population stability index of the binned windows.
    pub psi: f64,
    /// Wasserstein distance.
    pub wasserstein: f64,
    /// The same, in standard deviations of the reference.
    pub wasserstein_normed: f64,
}

/// Scores of a categorical feature.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct CategoricalScore {
    /// The chi-square test.
    pub chi_square: ChiSquare,
    /// Jensen-Shannon distance, base e.
    pub jensen_shannon: f64,
    /// Population stability index.
    pub psi: f64,
}

/// Scores of a feature.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum FeatureScore {
    /// Of numbers.
    Numeric(NumericScore),
    /// Of names.
    Categorical(CategoricalScore),
}

/// A measure of how large a difference is, whatever the number of samples.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Effect {
    /// Population stability index.
    Psi,
    /// Jensen-Shannon distance.
    JensenShannon,
    /// Wasserstein distance in standard deviations of the reference.
    WassersteinNormed,
}

/// What a feature's scores mean among all features that were tested with it.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Tested {
    /// Significant and large enough.
    pub drifted: bool,
    /// Effects that reached their threshold.
    pub effects: Vec<Effect>,
    /// The test's p-value, corrected for the number of features.
    pub p_value_corrected: f64,
}

/// Compares two windows of one feature.
///
/// # Errors
/// When they are of different kinds, or one has too few samples.
pub fn score(
    reference: &Window,
    current: &Window,
    rules: &Rules,
) -> Result<FeatureScore, ScoreFault> {
    for (which, window) in [("reference", reference), ("current", current)] {
        let (count, wanted) = (window.count(), rules.samples_min);
        if count < wanted {
            return Err(ScoreFault::TooFew { which, count, wanted });
        }
    }
    match (reference, current) {
        (Window::Numeric(reference), Window::Numeric(current)) => {
            Ok(FeatureScore::Numeric(numbers(reference, current, rules)))
        }
        (Window::Categorical(reference), Window::Categorical(current)) => {
            Ok(FeatureScore::Categorical(names(reference, current)))
        }
        (Window::Numeric(_), Window::Categorical(_))
        | (Window::Categorical(_), Window::Numeric(_)) => {
            Err(ScoreFault::Kinds { reference: reference.kind(), current: current.kind() })
        }
    }
}

fn numbers(reference: &Numeric, current: &Numeric, rules: &Rules) -> NumericScore {
    let shares = Shares::of_numbers(reference, current);
    let distance = wasserstein(reference, current);
    NumericScore {
        jensen_shannon: jensen_shannon(&shares),
        ks: ks(reference, current, rules.ks),
        psi: psi(&shares),
        wasserstein: distance,
        wasserstein_normed: distance / reference.deviation().max(DEVIATION_MIN),
    }
}

fn names(reference: &Categorical, current: &Categorical) -> CategoricalScore {
    let shares = Shares::of_names(reference, current);
    CategoricalScore {
        chi_square: chi_square(reference, current),
        jensen_shannon: jensen_shannon(&shares),
        psi: psi(&shares),
    }
}

impl FeatureScore {
    /// The p-value of its test.
    #[must_use]
    pub fn p_value(&self) -> f64 {
        match self {
            Self::Numeric(score) => score.ks.p_value,
            Self::Categorical(score) => score.chi_square.p_value,
        }
    }

    /// Effects that reached their threshold.
    #[must_use]
    pub fn effects(&self, rules: &Rules) -> Vec<Effect> {
        let psi = |value| (Effect::Psi, value, rules.psi);
        let jensen_shannon = |value| (Effect::JensenShannon, value, rules.jensen_shannon);
        let all = match self {
            Self::Numeric(score) => vec![
                psi(score.psi),
                jensen_shannon(score.jensen_shannon),
                (Effect::WassersteinNormed, score.wasserstein_normed, rules.wasserstein),
            ],
            Self::Categorical(score) => vec![psi(score.psi), jensen_shannon(score.jensen_shannon)],
        };
        let reached = all.into_iter().filter(|(_, value, least)| *value >= least.get());
        reached.map(|(effect, _, _)| effect).collect()
    }
}

/// The verdicts over all features that were tested together, in their order.
#[must_use]
pub fn verdicts(scores: &[FeatureScore], rules: &Rules) -> Vec<Tested> {
    let p_values: Vec<f64> = scores.iter().map(FeatureScore::p_value).collect();
    let corrected = rules.correction.adjust(&p_values);
    let verdict = |(score, p_value_corrected): (&FeatureScore, f64)| {
        let effects = score.effects(rules);
        let drifted = p_value_corrected < rules.alpha.get() && !effects.is_empty();
        Tested { drifted, effects, p_value_corrected }
    };
    scores.iter().zip(corrected).map(verdict).collect()
}
