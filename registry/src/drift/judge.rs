//! The verdict over one window of many features: what enters the log.

use super::{
    Correction, Effect, FeatureScore, KsMethod, Nano, Rules, RulesFault, ScoreFault, Sketched,
    WindowFault, score, verdicts,
};
use domain::{
    Decimal,
    drift::{CorrectionRule, Dispatch, FeatureFinding, MonitorRules},
};
use std::collections::BTreeMap;

/// Why windows were not judged.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum JudgeFault {
    /// A feature of one side alone.
    #[error(
        "feature `{feature}` is missing in the {which}; send the features that the monitor has"
    )]
    Features {
        /// Which feature.
        feature: String,
        /// `reference` or `current window`.
        which: &'static str,
    },
    /// A window that is none.
    #[error("feature `{feature}`: {fault}")]
    Window {
        /// Which feature.
        feature: String,
        /// Why.
        fault: WindowFault,
    },
    /// Windows that cannot be compared.
    #[error("feature `{feature}`: {fault}")]
    Score {
        /// Which feature.
        feature: String,
        /// Why.
        fault: ScoreFault,
    },
}

fn decimal(nano: Nano) -> Decimal {
    Decimal(i128::from(nano.0))
}

fn fixed(score: f64) -> Decimal {
    decimal(Nano::of(score))
}

fn nano(decimal: Decimal) -> Nano {
    Nano(i64::try_from(decimal.0).unwrap_or(if decimal.0 < 0 { i64::MIN } else { i64::MAX }))
}

/// What holds where nothing is said: what acts by itself must hardly ever name a feature wrongly.
#[must_use]
pub fn default_rules(dispatch: Dispatch) -> MonitorRules {
    let rules = Rules::default();
    MonitorRules {
        samples_min: rules.samples_min,
        alpha: decimal(rules.alpha),
        correction: match dispatch {
            Dispatch::Off | Dispatch::Suggest => CorrectionRule::BenjaminiHochberg,
            Dispatch::Auto => CorrectionRule::Holm,
        },
        psi: decimal(rules.psi),
        jensen_shannon: decimal(rules.jensen_shannon),
        wasserstein: decimal(rules.wasserstein),
    }
}

/// Rules as scores take them.
///
/// # Errors
/// When they cannot hold.
pub fn rules_of(rules: &MonitorRules) -> Result<Rules, RulesFault> {
    let rules = Rules {
        samples_min: rules.samples_min,
        alpha: nano(rules.alpha),
        correction: match rules.correction {
            CorrectionRule::BenjaminiHochberg => Correction::BenjaminiHochberg,
            CorrectionRule::Holm => Correction::Holm,
            CorrectionRule::None => Correction::None,
        },
        psi: nano(rules.psi),
        jensen_shannon: nano(rules.jensen_shannon),
        wasserstein: nano(rules.wasserstein),
        // The exact way takes the product of both counts where they differ.
        ks: KsMethod::Limit,
    };
    rules.check().map(|()| rules)
}

fn effect_word(effect: Effect) -> &'static str {
    match effect {
        Effect::Psi => "psi",
        Effect::JensenShannon => "jensen_shannon",
        Effect::WassersteinNormed => "wasserstein_normed",
    }
}

fn scores_of(score: &FeatureScore, corrected: f64) -> BTreeMap<String, Decimal> {
    let mut all = vec![("p_value", score.p_value()), ("p_value_corrected", corrected)];
    match score {
        FeatureScore::Numeric(score) => all.extend([
            ("jensen_shannon", score.jensen_shannon),
            ("ks", score.ks.statistic),
            ("psi", score.psi),
            ("wasserstein", score.wasserstein),
            ("wasserstein_normed", score.wasserstein_normed),
        ]),
        FeatureScore::Categorical(score) => all.extend([
            ("chi_square", score.chi_square.statistic),
            ("jensen_shannon", score.jensen_shannon),
            ("psi", score.psi),
        ]),
    }
    all.into_iter().map(|(name, value)| (name.to_owned(), fixed(value))).collect()
}

/// Scores a window of each feature against the reference's, in order of names.
///
/// # Errors
/// When features differ, a window is none, or two cannot be compared.
pub fn judge(
    reference: &BTreeMap<String, Sketched>,
    current: &BTreeMap<String, Sketched>,
    rules: &Rules,
) -> Result<Vec<FeatureFinding>, JudgeFault> {
    if let Some(name) = current.keys().find(|name| !reference.contains_key(*name)) {
        return Err(JudgeFault::Features { feature: name.clone(), which: "reference" });
    }
    let mut scored = Vec::with_capacity(reference.len());
    for (feature, before) in reference {
        let absent = || JudgeFault::Features { feature: feature.clone(), which: "current window" };
        let now = current.get(feature).ok_or_else(absent)?;
        scored.push((feature, now.count(), one(feature, before, now, rules)?));
    }
    let scores: Vec<_> = scored.iter().map(|(_, _, score)| score.clone()).collect();
    let finding = |((feature, samples, score), tested): ((&String, u64, FeatureScore), _)| {
        let super::Tested { drifted, effects, p_value_corrected } = tested;
        FeatureFinding {
            feature: feature.clone(),
            drifted,
            samples,
            effects: effects.into_iter().map(|effect| effect_word(effect).to_owned()).collect(),
            scores: scores_of(&score, p_value_corrected),
        }
    };
    Ok(scored.into_iter().zip(verdicts(&scores, rules)).map(finding).collect())
}

fn one(
    feature: &str,
    reference: &Sketched,
    current: &Sketched,
    rules: &Rules,
) -> Result<FeatureScore, JudgeFault> {
    let (mut reference, mut current) = (reference.clone(), current.clone());
    if let (Sketched::Numbers(reference), Sketched::Numbers(current)) =
        (&mut reference, &mut current)
    {
        reference.align(current);
    }
    let none = |fault| JudgeFault::Window { feature: feature.to_owned(), fault };
    let (reference, current) = (reference.window().map_err(none)?, current.window().map_err(none)?);
    score(&reference, &current, rules)
        .map_err(|fault| JudgeFault::Score { feature: feature.to_owned(), fault })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn set(from: i32, names: &[&str]) -> BTreeMap<String, Sketched> {
        let numbers: Vec<f64> = (from..from + 200).map(f64::from).collect();
        let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
        [
            ("inputs/age".to_owned(), Sketched::of_numbers(&numbers).unwrap()),
            ("outputs/city".to_owned(), Sketched::of_names(&names).unwrap()),
        ]
        .into()
    }

    fn rules() -> Rules {
        rules_of(&MonitorRules { samples_min: 4, ..default_rules(Dispatch::Auto) }).unwrap()
    }

    const CITIES: [&str; 6] = ["a", "b", "a", "b", "a", "b"];

    #[test]
    fn what_has_moved_is_named_with_its_scores_and_what_has_not_is_not() {
        let found = judge(&set(0, &CITIES), &set(150, &CITIES), &rules()).unwrap();
        let words: Vec<_> = found.iter().map(|it| (it.feature.as_str(), it.drifted)).collect();
        assert_eq!(words, [("inputs/age", true), ("outputs/city", false)]);
        assert_eq!(found[0].scores["wasserstein"].to_string(), "150");
        assert_eq!(found[0].effects, ["psi", "jensen_shannon", "wasserstein_normed"]);
        assert_eq!(found[1].scores["psi"].to_string(), "0");
    }

    #[test]
    fn windows_that_do_not_belong_together_are_refused_by_name() {
        let reference = set(0, &CITIES);
        let mut less = reference.clone();
        less.remove("outputs/city");
        let fault = judge(&reference, &less, &rules()).unwrap_err().to_string();
        assert!(fault.starts_with("feature `outputs/city` is missing in the current"), "{fault}");
        let fault = judge(&less, &reference, &rules()).unwrap_err().to_string();
        assert!(fault.starts_with("feature `outputs/city` is missing in the reference"), "{fault}");
        let few = judge(&reference, &set(0, &["a"]), &rules()).unwrap_err().to_string();
        assert!(few.contains("feature `outputs/city`: the current window has 1"), "{few}");
        let mut other = reference.clone();
        other.insert("inputs/age".into(), reference["outputs/city"].clone());
        let kinds = judge(&reference, &other, &rules()).unwrap_err().to_string();
        assert!(kinds.contains("numeric, the current one is categorical"), "{kinds}");
    }
}
