//! Fixed documents of drift for the golden tests.

use domain::{
    ArtifactId, Decimal, Digest, EpisodeId, JobId, Millis,
    dataset::DatasetRef,
    drift::{
        Closing, Comparison, CorrectionRule, DataSlice, Dispatch, DriftedFeature, Episode,
        EpisodeView, Feature, FeatureFinding, Measurement, MetricPair, Monitor, MonitorRules,
        MonitorView, Observation, Retrain, RetrainPolicy, WHOLE,
    },
    model::ModelRef,
};
use std::collections::BTreeMap;

const START: Millis = Millis(1_764_000_000_000);

fn number(text: &str) -> Decimal {
    text.parse().expect("a decimal number")
}

fn model(version: u64) -> ModelRef {
    ModelRef { family: "digits".into(), version }
}

fn scores(all: &[(&str, &str)]) -> BTreeMap<String, Decimal> {
    all.iter().map(|(name, value)| ((*name).to_owned(), number(value))).collect()
}

fn age() -> BTreeMap<String, Decimal> {
    scores(&[
        ("jensen_shannon", "0.733881"),
        ("ks", "0.8"),
        ("p_value", "0.000000001"),
        ("p_value_corrected", "0.000000002"),
        ("psi", "11.954526"),
        ("wasserstein", "35"),
        ("wasserstein_normed", "3.03"),
    ])
}

fn corpus() -> BTreeMap<String, DatasetRef> {
    [("corpus".to_owned(), DatasetRef { name: "reviews".into(), version: 4 })].into()
}

pub fn observation() -> Observation {
    let city = scores(&[
        ("chi_square", "0.5"),
        ("jensen_shannon", "0.01"),
        ("p_value", "0.48"),
        ("p_value_corrected", "0.48"),
        ("psi", "0.002"),
    ]);
    let finding = |feature: &str, drifted, scores| FeatureFinding {
        feature: feature.into(),
        drifted,
        samples: 400,
        effects: if drifted { vec!["psi".into()] } else { Vec::new() },
        scores,
    };
    Observation {
        number: 7,
        revision: 2,
        since: START,
        by: "ada".into(),
        slices: vec!["german".into()],
        trigger: Some("nightly-7".into()),
        reason: None,
        data: corpus(),
        windows: Some(Digest::of(b"windows")),
        features: vec![finding("inputs/age", true, age()), finding("outputs/city", false, city)],
        episode: Some(EpisodeId(3)),
    }
}

pub fn monitor() -> MonitorView {
    let feature = |kind: &str| Feature { kind: kind.into(), samples: 10_000 };
    MonitorView {
        monitor: Monitor {
            model: model(1),
            revision: 2,
            rules: MonitorRules {
                samples_min: 30,
                alpha: number("0.05"),
                correction: CorrectionRule::Holm,
                psi: number("0.1"),
                jensen_shannon: number("0.1"),
                wasserstein: number("0.1"),
            },
            policy: RetrainPolicy { dispatch: Dispatch::Auto, ..RetrainPolicy::default() },
            features: [
                ("inputs/age".to_owned(), feature("numeric")),
                ("outputs/city".to_owned(), feature("categorical")),
            ]
            .into(),
            reference: Digest::of(b"reference"),
            since: START,
            set_by: "ada".into(),
            audit_seq: 40,
        },
        open: Some(EpisodeId(3)),
        observations: 7,
        retrains: vec![START],
        recent: vec![observation()],
    }
}

/// What sealed evaluations say of both versions.
fn measured() -> Measurement {
    let metrics = |accuracy: &str| [("accuracy".to_owned(), number(accuracy))].into();
    let (before, after) = (metrics("0.9"), metrics("0.93"));
    let method = Digest::of(b"method");
    Measurement::of(method, (ArtifactId(4), &before), (ArtifactId(5), &after))
}

/// An episode with its retrain's artifact beside the one before.
pub fn episode() -> EpisodeView {
    let metric = MetricPair { before: Some(number("0.91")), after: Some(number("0.94")) };
    EpisodeView {
        episode: Episode {
            id: EpisodeId(3),
            model: model(1),
            opened: START,
            opened_by: "ada".into(),
            features: [(
                "inputs/age".to_owned(),
                DriftedFeature { scores: age(), slices: vec!["german".into()] },
            )]
            .into(),
            slices: [("german".to_owned(), true)].into(),
            observations: 2,
            data: corpus(),
            suggested: vec![DataSlice {
                slice: "german".into(),
                dataset: corpus().remove("corpus"),
                paths: vec!["de".into()],
            }],
            retrain: Retrain::Dispatched { job: JobId(9), since: START, by: "policy".into() },
            comparison: Some(Comparison {
                artifact: ArtifactId(2),
                root: Digest::of(b"new"),
                recipe: Digest::of(b"new recipe"),
                artifact_before: ArtifactId(1),
                root_before: Digest::of(b"old"),
                recipe_before: Digest::of(b"old recipe"),
                same_bits: false,
                model: Some(model(2)),
                metrics: [("accuracy".to_owned(), metric)].into(),
                since: START,
                suggested_seq: Some(61),
                measured_by: Some(JobId(11)),
                measured: Some(measured()),
            }),
            closed: None,
            alert_seq: 52,
            suggestion_seq: Some(53),
        },
        job_state: Some("completed".into()),
    }
}

/// One whose retrain a policy holds back, and one that is over.
pub fn others() -> [EpisodeView; 2] {
    let held = Retrain::Held {
        why: "the last retrain is not long ago (cool-down)".into(),
        due: Some(Millis(START.0 + 86_400_000)),
    };
    let bare = |id, retrain, closed| {
        let episode = Episode {
            id: EpisodeId(id),
            slices: [(WHOLE.to_owned(), false)].into(),
            suggested: Vec::new(),
            comparison: None,
            retrain,
            closed,
            ..episode().episode
        };
        EpisodeView { episode, job_state: None }
    };
    let over = Closing {
        reason: "every slice that drifted has come back".into(),
        by: "ada".into(),
        since: START,
    };
    [bare(2, held, None), bare(1, Retrain::Off, Some(over))]
}
