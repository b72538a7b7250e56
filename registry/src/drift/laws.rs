//! What holds for every pair of windows.

use super::*;
use proptest::prelude::*;

fn window(values: &[f64]) -> Window {
    Window::Numeric(Numeric::of(values).unwrap())
}

fn numeric(score: &FeatureScore) -> &NumericScore {
    match score {
        FeatureScore::Numeric(score) => score,
        FeatureScore::Categorical(_) => panic!("numbers have a numeric score"),
    }
}

#[test]
fn too_few_samples_and_unlike_kinds_are_refused() {
    let rules = Rules::default();
    let (few, many) = (window(&[1.0; 29]), window(&[1.0; 30]));
    let fault = ScoreFault::TooFew { which: "current", count: 29, wanted: 30 };
    assert_eq!(score(&many, &few, &rules), Err(fault));
    let names = Window::Categorical(Categorical::of(&["a"; 30]).unwrap());
    let fault = ScoreFault::Kinds { reference: "numeric", current: "categorical" };
    assert_eq!(score(&many, &names, &rules), Err(fault));
}

#[test]
fn a_significant_but_small_difference_is_no_drift() {
    let a: Vec<f64> = (0..20_000).map(f64::from).collect();
    let b: Vec<f64> = a.iter().map(|value| value + 400.0).collect();
    let rules = Rules::default();
    let found = score(&window(&a), &window(&b), &rules).unwrap();
    assert!(found.p_value() < 0.001);
    assert!(!verdicts(&[found], &rules)[0].drifted);
}

#[test]
fn one_drifted_feature_among_many_is_found_and_the_others_are_not_named() {
    // A generator of Knuth, MMIX: the test needs noise, not quality.
    let mut state = 7_u64;
    let mut noise = move || {
        let step = |state: u64| state.wrapping_mul(6_364_136_223_846_793_005);
        state = step(state).wrapping_add(1_442_695_040_888_963_407);
        (state >> 11) as f64 / (1_u64 << 53) as f64
    };
    let rules = Rules { correction: Correction::Holm, ..Rules::default() };
    let scores: Vec<_> = (0..200)
        .map(|feature| {
            let reference: Vec<f64> = (0..300).map(|_| noise()).collect();
            let moved = if feature == 17 { 0.2 } else { 0.0 };
            let current: Vec<f64> = (0..250).map(|_| noise() + moved).collect();
            score(&window(&reference), &window(&current), &rules).unwrap()
        })
        .collect();
    let found = verdicts(&scores, &rules);
    let named: Vec<_> = (0..200).filter(|feature| found[*feature].drifted).collect();
    assert_eq!(named, [17]);
}

proptest! {
    #[test]
    fn a_window_has_not_drifted_from_itself(
        values in prop::collection::vec(-1e6_f64..1e6, 30..200),
    ) {
        let found = score(&window(&values), &window(&values), &Rules::default()).unwrap();
        let found = numeric(&found);
        prop_assert_eq!(found.ks, Ks { statistic: 0.0, p_value: 1.0 });
        prop_assert_eq!((found.psi, found.wasserstein), (0.0, 0.0));
        prop_assert_eq!(found.jensen_shannon, 0.0);
    }

    #[test]
    fn the_order_of_samples_changes_no_bit(
        mut values in prop::collection::vec(-1e6_f64..1e6, 30..200),
        other in prop::collection::vec(-1e6_f64..1e6, 30..200),
    ) {
        let rules = Rules::default();
        let one = score(&window(&values), &window(&other), &rules);
        values.reverse();
        prop_assert_eq!(one, score(&window(&values), &window(&other), &rules));
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(12))]
    #[test]
    fn scores_of_sketches_are_near_those_of_samples(
        seed in 1_u32..1000,
    ) {
        let value = |n: u32| f64::from(n.wrapping_mul(2_654_435_761) >> 8);
        let a: Vec<f64> = (0..9_000).map(|n| value(n * seed)).collect();
        let b: Vec<f64> = (0..9_000).map(|n| value(n * seed + 1) * 1.1).collect();
        let (mut left, mut right) = (Sketch::default(), Sketch::default());
        a.iter().for_each(|value| left.add(*value).unwrap());
        b.iter().for_each(|value| right.add(*value).unwrap());
        left.align(&mut right);
        let sketched = |sketch| Window::Numeric(Numeric::of_sketch(sketch).unwrap());
        let rules = Rules { ks: KsMethod::Limit, ..Rules::default() };
        let exact = score(&window(&a), &window(&b), &rules).unwrap();
        let near = score(&sketched(&left), &sketched(&right), &rules).unwrap();
        let (exact, near) = (numeric(&exact), numeric(&near));
        prop_assert!((exact.ks.statistic - near.ks.statistic).abs() < 0.01);
        let scale = exact.wasserstein.max(1.0);
        prop_assert!((exact.wasserstein - near.wasserstein).abs() < scale * 0.1);
        prop_assert!((exact.psi - near.psi).abs() < 0.02);
    }
}
