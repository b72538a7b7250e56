//! Scores on recorded samples, beside those of SciPy, Evidently and NannyML.
#![expect(clippy::unwrap_used, reason = "a failed step fails the test")]

use registry::drift::{Categorical, FeatureScore, Numeric, Rules, Window, score};
use serde_json::Value;

/// The recorded scores were printed with all their digits.
const NEAR: f64 = 1e-9;

fn vectors() -> Value {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/data/drift.json");
    serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap()
}

fn near(case: &str, what: &str, found: f64, wanted: &Value) {
    let wanted = wanted.as_f64().unwrap();
    assert!((found - wanted).abs() < NEAR, "{case}: {what} is {found}, {wanted} is recorded");
}

fn numbers(samples: &Value) -> Window {
    let samples = samples.as_array().unwrap().iter();
    Window::Numeric(Numeric::of(&samples.map(|v| v.as_f64().unwrap()).collect::<Vec<_>>()).unwrap())
}

fn names(samples: &Value) -> Window {
    let samples: Vec<_> = samples.as_array().unwrap().iter().map(|v| v.as_str().unwrap()).collect();
    Window::Categorical(Categorical::of(&samples).unwrap())
}

#[test]
fn numeric_scores_are_those_of_scipy_and_evidently() {
    let vectors = vectors();
    for (name, case) in vectors["numeric"].as_object().unwrap() {
        let (reference, current) = (numbers(&case["reference"]), numbers(&case["current"]));
        let rules = Rules::default();
        let FeatureScore::Numeric(found) = score(&reference, &current, &rules).unwrap() else {
            panic!("{name}: numbers have a numeric score");
        };
        let (scipy, evidently) = (&case["scipy"], &case["evidently"]);
        near(name, "D", found.ks.statistic, &scipy["ks_2samp"]["statistic"]);
        near(name, "p", found.ks.p_value, &scipy["ks_2samp"]["pvalue"]);
        near(name, "wasserstein", found.wasserstein, &scipy["wasserstein_distance"]);
        let normed = &evidently["wasserstein"]["score"];
        near(name, "wasserstein_normed", found.wasserstein_normed, normed);
        near(name, "psi", found.psi, &evidently["psi"]["score"]);
        near(name, "jensen_shannon", found.jensen_shannon, &evidently["jensenshannon"]["score"]);
        let limit = Rules { ks: registry::drift::KsMethod::Limit, ..rules };
        let found = score(&reference, &current, &limit).unwrap();
        near(name, "p in the limit", found.p_value(), &scipy["ks_2samp_asymp_pvalue"]);
    }
}

#[test]
fn categorical_scores_are_those_of_scipy_and_evidently() {
    let vectors = vectors();
    for (name, case) in vectors["categorical"].as_object().unwrap() {
        let (reference, current) = (names(&case["reference"]), names(&case["current"]));
        let found = score(&reference, &current, &Rules::default()).unwrap();
        let FeatureScore::Categorical(found) = found else {
            panic!("{name}: names have a categorical score");
        };
        let scipy = &case["scipy"];
        near(
            name,
            "chi square",
            found.chi_square.statistic,
            &scipy["chi2_contingency"]["statistic"],
        );
        near(name, "p", found.chi_square.p_value, &scipy["chi2_contingency"]["pvalue"]);
        near(name, "jensen_shannon", found.jensen_shannon, &scipy["jensenshannon_base_e"]);
        near(name, "psi", found.psi, &case["evidently"]["psi"]["score"]);
    }
}

/// Two cores of a laptop do it in well under a second; run with
/// `cargo test --release -p registry --test drift -- --ignored --nocapture`.
#[test]
#[ignore = "measures time: only a release build says anything"]
fn a_thousand_features_of_ten_thousand_samples_take_under_a_second() {
    let mut state = 1_u64;
    let mut noise = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state >> 11) as f64 / (1_u64 << 53) as f64
    };
    let sample = |noise: &mut dyn FnMut() -> f64| (0..10_000).map(|_| noise()).collect::<Vec<_>>();
    let features: Vec<_> = (0..1_000).map(|_| (sample(&mut noise), sample(&mut noise))).collect();
    let rules = Rules::default();
    let started = std::time::Instant::now();
    let window = |samples: &[f64]| Window::Numeric(Numeric::of(samples).unwrap());
    let scores: Vec<_> = features
        .iter()
        .map(|(reference, current)| score(&window(reference), &window(current), &rules).unwrap())
        .collect();
    let verdicts = registry::drift::verdicts(&scores, &rules);
    let seconds = started.elapsed().as_secs_f64();
    let drifted = verdicts.iter().filter(|verdict| verdict.drifted).count();
    println!("1,000 features of 10,000 + 10,000 samples: {seconds:.3} s on one core");
    assert_eq!(drifted, 0);
    assert!(seconds < 1.0, "{seconds} s");
}
