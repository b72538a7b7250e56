//! `assay drift`: windows of samples, scored here or by the cluster that watches models.

mod samples;
mod watch;
mod windows;

use super::Context;
use crate::{
    args::{
        Global, Noun,
        debug::{Correct, DriftScore},
        drift::{Drift, Page, Words},
        user::Live,
    },
    exit::Exit,
    fault::{Fault, Kind},
    output::{Output, Style, table::table},
};
use registry::drift::{
    Correction, FeatureScore, KsMethod, Nano, Rules, ScoreFault, Tested, Window, WindowFault,
    score, verdicts,
};
use samples::{Sampled, Samples};
use serde::Serialize;
use std::path::Path;

/// One feature with its scores.
#[derive(Clone, Debug, PartialEq, Serialize)]
struct Feature {
    /// Its name; none where the files are plain arrays.
    #[serde(skip_serializing_if = "Option::is_none")]
    feature: Option<String>,
    reference_count: u64,
    current_count: u64,
    #[serde(flatten)]
    score: FeatureScore,
    p_value: f64,
    #[serde(flatten)]
    tested: Tested,
}

/// Many features.
#[derive(Debug, Serialize)]
struct Features {
    correction: Correction,
    drifted: Vec<String>,
    features: Vec<Feature>,
}

/// `assay drift`.
///
/// # Errors
/// When a file holds no samples, windows cannot be compared, a rule forbids it, or nobody answers.
pub async fn run(global: &Global, words: Words) -> Result<Exit, Fault> {
    let context = || Context::new(global);
    match words.verb.unwrap_or(Drift::List(Page { limit: 50, live: Live::default() })) {
        Drift::Score(args) => compare_files(&super::output(global), &args),
        Drift::Monitor(Noun { verb }) => watch::monitor(&context()?, verb).await,
        Drift::Observe(args) => watch::observe(&context()?, args).await,
        Drift::Alert(args) => watch::alert(&context()?, args).await,
        Drift::List(page) => watch::list(&context()?, &page).await,
        Drift::Alerts(page) => watch::alerts(&context()?, &page).await,
        Drift::Show { what } => watch::show(&context()?, &what).await,
        Drift::Retrain { episode, data } => watch::retrain(&context()?, episode, data).await,
        Drift::Close { episode, reason } => watch::close(&context()?, episode, reason).await,
    }
}

/// `assay drift score`.
fn compare_files(output: &Output, args: &DriftScore) -> Result<Exit, Fault> {
    let rules = rules(args);
    rules.check().map_err(|fault| Fault::usage("rules", fault.to_string()))?;
    let (reference, current) = (samples::load(&args.reference)?, samples::load(&args.current)?);
    match (reference, current) {
        (Sampled::One(reference), Sampled::One(current)) => {
            let pairs = [(None, reference, current)];
            let all = compare(args, &rules, pairs)?;
            let one = all.into_iter().next().expect("one pair gives one score");
            output.show("drift_score", &one, |style| text(style, std::slice::from_ref(&one)))?;
        }
        (Sampled::Many(reference), Sampled::Many(mut current)) => {
            let mut pairs = Vec::new();
            for (name, samples) in reference {
                let now = current.remove(&name).ok_or_else(|| absent(&name, &args.current))?;
                pairs.push((Some(name), samples, now));
            }
            if let Some(name) = current.keys().next() {
                return Err(absent(name, &args.reference));
            }
            let features = compare(args, &rules, pairs)?;
            let drifted = features.iter().filter(|feature| feature.tested.drifted);
            let drifted = drifted.filter_map(|feature| feature.feature.clone()).collect();
            let all = Features { correction: rules.correction, drifted, features };
            output.show("drift_scores", &all, |style| text(style, &all.features))?;
        }
        (Sampled::One(_), Sampled::Many(_)) | (Sampled::Many(_), Sampled::One(_)) => {
            let why = "one file is an array, the other an object of arrays by feature";
            return Err(Fault::new(Kind::Refused, "kinds_differ", why));
        }
    }
    Ok(Exit::Ok)
}

fn rules(args: &DriftScore) -> Rules {
    Rules {
        samples_min: args.min_samples,
        alpha: Nano::of(args.alpha),
        correction: match args.correction {
            Correct::BenjaminiHochberg => Correction::BenjaminiHochberg,
            Correct::Holm => Correction::Holm,
            Correct::None => Correction::None,
        },
        psi: Nano::of(args.psi),
        jensen_shannon: Nano::of(args.jensen_shannon),
        wasserstein: Nano::of(args.wasserstein),
        ks: KsMethod::Auto,
    }
}

fn absent(name: &str, file: &Path) -> Fault {
    let why = format!("{}: feature `{name}` is missing", file.display());
    Fault::new(Kind::Refused, "features_differ", why).hint("send the same features in both files")
}

fn compare(
    args: &DriftScore,
    rules: &Rules,
    pairs: impl IntoIterator<Item = (Option<String>, Samples, Samples)>,
) -> Result<Vec<Feature>, Fault> {
    let mut found = Vec::new();
    for (name, reference, current) in pairs {
        let at = |file: &Path| match &name {
            Some(name) => format!("{}: feature `{name}`", file.display()),
            None => file.display().to_string(),
        };
        let window = |samples: Samples, file: &Path| {
            samples.window().map_err(|fault| not_a_window(&fault, &at(file)))
        };
        let reference = window(reference, &args.reference)?;
        let current = window(current, &args.current)?;
        let scored = score(&reference, &current, rules)
            .map_err(|fault| not_compared(&fault, name.as_deref()))?;
        found.push((name, reference, current, scored));
    }
    let scores: Vec<_> = found.iter().map(|(_, _, _, score)| score.clone()).collect();
    let feature = |((feature, reference, current, score), tested): (Found, Tested)| Feature {
        feature,
        reference_count: reference.count(),
        current_count: current.count(),
        p_value: score.p_value(),
        score,
        tested,
    };
    Ok(found.into_iter().zip(verdicts(&scores, rules)).map(feature).collect())
}

type Found = (Option<String>, Window, Window, FeatureScore);

fn not_a_window(fault: &WindowFault, place: &str) -> Fault {
    let reason = match fault {
        WindowFault::Empty => "empty_window",
        WindowFault::NotFinite { .. } => "not_finite",
        WindowFault::TooLarge { .. } => "sample_too_large",
        WindowFault::TooMany { .. } => "too_many_samples",
        WindowFault::TooManyLevels { .. } => "too_many_levels",
    };
    Fault::new(Kind::Refused, reason, format!("{place}: {fault}"))
}

fn not_compared(fault: &ScoreFault, name: Option<&str>) -> Fault {
    let reason = match fault {
        ScoreFault::TooFew { .. } => "too_few_samples",
        ScoreFault::Kinds { .. } => "kinds_differ",
    };
    let place = name.map_or(String::new(), |name| format!("feature `{name}`: "));
    Fault::new(Kind::Refused, reason, format!("{place}{fault}"))
}

const HEADING: [&str; 7] =
    ["FEATURE", "DRIFT", "PSI", "JENSEN-SHANNON", "WASSERSTEIN", "TEST", "P"];

fn text(style: Style, features: &[Feature]) -> String {
    let row = |feature: &Feature| {
        let (psi, distance, wasserstein, test) = match &feature.score {
            FeatureScore::Numeric(score) => (
                score.psi,
                score.jensen_shannon,
                format!("{:.6}", score.wasserstein),
                format!("KS {:.6}", score.ks.statistic),
            ),
            FeatureScore::Categorical(score) => (
                score.psi,
                score.jensen_shannon,
                "-".to_owned(),
                format!("chi-square {:.6}", score.chi_square.statistic),
            ),
        };
        vec![
            feature.feature.clone().unwrap_or_else(|| "-".to_owned()),
            if feature.tested.drifted { style.bad("yes") } else { "no".to_owned() },
            format!("{psi:.6}"),
            format!("{distance:.6}"),
            wasserstein,
            test,
            format!("{:.3e}", feature.tested.p_value_corrected),
        ]
    };
    table(style, &HEADING, &features.iter().map(row).collect::<Vec<_>>())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::output::stable;
    use expect_test::expect;

    fn args() -> DriftScore {
        DriftScore {
            reference: "reference.json".into(),
            current: "current.json".into(),
            alpha: 0.05,
            correction: Correct::BenjaminiHochberg,
            min_samples: 4,
            psi: 0.1,
            jensen_shannon: 0.1,
            wasserstein: 0.1,
        }
    }

    fn numbers(range: std::ops::Range<i32>) -> Samples {
        Samples::Numbers(range.map(f64::from).collect())
    }

    fn names(names: &[&str]) -> Samples {
        Samples::Names(names.iter().map(|name| (*name).to_owned()).collect())
    }

    #[test]
    fn scores_keep_their_form() {
        let pairs = [
            (Some("age".to_owned()), numbers(0..40), numbers(30..80)),
            (Some("city".to_owned()), names(&["a", "b", "a", "b"]), names(&["a", "b", "b", "a"])),
        ];
        let found = compare(&args(), &rules(&args()), pairs).unwrap();
        expect![[r#"
            age	yes	11.954526	0.733881	35.000000	KS 0.800000	2.127e-14
            city	no	0.000000	0.000000	-	chi-square 0.000000	1.000e0
        "#]]
        .assert_eq(&text(Style::PLAIN, &found));
        insta::assert_json_snapshot!(
            "drift_score.json",
            stable::document("drift_score", &found[0])
        );
    }

    #[test]
    fn windows_that_say_nothing_are_refused_by_name() {
        let refused = |reference, current| {
            let fault = compare(&args(), &rules(&args()), [(None, reference, current)]);
            let fault = fault.unwrap_err();
            assert_eq!(fault.code, Kind::Refused);
            fault.reason
        };
        assert_eq!(refused(numbers(0..9), numbers(0..0)), "empty_window");
        assert_eq!(refused(numbers(0..9), numbers(0..3)), "too_few_samples");
        assert_eq!(refused(numbers(0..4), names(&["a"; 4])), "kinds_differ");
        let huge = Samples::Numbers(vec![1e200; 9]);
        assert_eq!(refused(numbers(0..9), huge), "sample_too_large");
    }
}
