//! An evaluation: metrics that a sealed job measured of a version of a model.

use crate::{
    decimal::Decimal,
    digest::Digest,
    id::{ArtifactId, ElementId},
    promotion::{Bound, EvaluationGate, GateResult},
    unit::Millis,
};
use borsh::{BorshDeserialize, BorshSerialize};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// The file of an evaluation's output that holds its metrics.
pub const METRICS_FILE: &str = "metrics.json";

/// Words at the end of a metric's name that say that more is better.
const MORE: [&str; 12] = [
    "accuracy",
    "acc",
    "auc",
    "auroc",
    "f1",
    "precision",
    "recall",
    "r2",
    "score",
    "bleu",
    "iou",
    "map",
];
/// Words at the end of a metric's name that say that less is better.
const LESS: [&str; 12] = [
    "loss",
    "error",
    "err",
    "mae",
    "mse",
    "rmse",
    "mape",
    "wer",
    "cer",
    "perplexity",
    "brier",
    "nll",
];

/// Which way a metric gets better, where its name says so: by its last word, whatever stands
/// before it (`val_loss`, `macro-f1`).
#[must_use]
pub fn better(metric: &str) -> Option<Bound> {
    let last = metric.rsplit(['_', '-', '.', '/', ' ']).next()?.to_ascii_lowercase();
    match (MORE.contains(&last.as_str()), LESS.contains(&last.as_str())) {
        (true, _) => Some(Bound::Min),
        (_, true) => Some(Bound::Max),
        (false, false) => None,
    }
}

/// What a sealed job measured of a version. Never changes.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize, Serialize, Deserialize)]
pub struct Evaluation {
    /// The sealed output that holds the metrics.
    pub artifact: ArtifactId,
    /// The job that made it.
    pub job: ElementId,
    /// What it measured, by name.
    pub metrics: BTreeMap<String, Decimal>,
    /// SHA-256 of the file that says so.
    pub file: Digest,
    /// Digest of the signed statement over the output: its manifest.
    pub manifest: Digest,
    /// Digest of that statement's signature.
    pub signature: Digest,
    /// The job's names for the files of the version.
    pub inputs: Vec<String>,
    /// The job's other data, by its names.
    pub datasets: BTreeMap<String, Digest>,
    /// Recipe of the job without the version's files: equal for all versions that were measured
    /// in the same way.
    pub method: Digest,
    /// When it was recorded, by the log's clock.
    pub since: Millis,
    /// Who had it recorded.
    pub by: String,
    /// Sequence number of the audit event that records it.
    pub audit_seq: u64,
}

/// An evaluation in a version's document.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct EvaluationView {
    /// The evaluation.
    #[serde(flatten)]
    pub evaluation: Evaluation,
    /// Why it counts no more, if it does not: its artifact or the key that sealed it was revoked.
    pub void: Option<String>,
}

/// A metric with its source.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Measured {
    /// Its value.
    pub value: Decimal,
    /// The evaluation that measured it; none where whoever registered the version claims it.
    pub evaluation: Option<ArtifactId>,
    /// How that evaluation measured it.
    pub method: Option<Digest>,
}

/// What is known of a version's metrics.
#[derive(Clone, Copy, Debug)]
pub struct Metrics<'a> {
    /// What whoever registered the version claims.
    pub claimed: &'a BTreeMap<String, Decimal>,
    /// Its evaluations, newest first.
    pub evaluations: &'a [EvaluationView],
}

impl Metrics<'_> {
    /// What the newest evaluation that counts says of a metric, of those with the method if one is
    /// named; else what is claimed.
    #[must_use]
    pub fn of(&self, name: &str, method: Option<Digest>) -> Option<Measured> {
        let counts = |view: &&EvaluationView| {
            view.void.is_none() && method.is_none_or(|method| view.evaluation.method == method)
        };
        let measured = self.evaluations.iter().filter(counts).find_map(|view| {
            let Evaluation { artifact, method, metrics, .. } = &view.evaluation;
            let value = *metrics.get(name)?;
            Some(Measured { value, evaluation: Some(*artifact), method: Some(*method) })
        });
        let claimed = self.claimed.get(name);
        let claim = |value: &Decimal| Measured { value: *value, evaluation: None, method: None };
        measured.or_else(|| claimed.map(claim))
    }

    /// Every metric with its source.
    #[must_use]
    pub fn all(&self) -> BTreeMap<String, Measured> {
        let evaluated = self.evaluations.iter().flat_map(|view| view.evaluation.metrics.keys());
        let names = self.claimed.keys().chain(evaluated);
        names.filter_map(|name| Some((name.clone(), self.of(name, None)?))).collect()
    }

    /// What a gate meets.
    #[must_use]
    pub fn meet(&self, gate: EvaluationGate) -> GateResult {
        let found = self.of(&gate.metric, gate.method);
        GateResult::of(gate, found.map(|found| (found.value, found.evaluation)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::id::JobId;

    fn evaluation(number: u64, accuracy: &str, method: &str) -> EvaluationView {
        let evaluation = Evaluation {
            artifact: ArtifactId(number),
            job: JobId(number).into(),
            metrics: [("accuracy".to_owned(), accuracy.parse().unwrap())].into(),
            file: Digest::of(b"file"),
            manifest: Digest::of(b"manifest"),
            signature: Digest::of(b"signature"),
            inputs: vec!["model".into()],
            datasets: BTreeMap::new(),
            method: Digest::of(method.as_bytes()),
            since: Millis(1),
            by: "ada".into(),
            audit_seq: 1,
        };
        EvaluationView { evaluation, void: None }
    }

    fn gate(claimed: bool, method: Option<&str>) -> EvaluationGate {
        EvaluationGate {
            metric: "accuracy".into(),
            bound: Bound::Min,
            needed: "0.9".parse().unwrap(),
            claimed,
            method: method.map(|method| Digest::of(method.as_bytes())),
        }
    }

    #[test]
    fn what_is_claimed_passes_only_a_gate_that_says_so() {
        let claimed = [("accuracy".to_owned(), "0.99".parse().unwrap())].into();
        let metrics = Metrics { claimed: &claimed, evaluations: &[] };
        let met = metrics.meet(gate(false, None));
        assert!(!met.passed && met.evaluation.is_none());
        let said = met.to_string();
        assert!(said.contains("0.99 is only claimed") && said.contains("at least 0.9"), "{said}");
        assert!(metrics.meet(gate(true, None)).passed);
    }

    #[test]
    fn the_newest_evaluation_that_counts_is_believed_before_any_claim() {
        let claimed = [("accuracy".to_owned(), "0.99".parse().unwrap())].into();
        let mut all = [evaluation(3, "0.85", "ours"), evaluation(2, "0.95", "ours")];
        let meet = |all: &[EvaluationView], method| {
            let metrics = Metrics { claimed: &claimed, evaluations: all };
            let met = metrics.meet(gate(false, method));
            (met.evaluation.map(|id| id.0), met.passed)
        };
        assert_eq!(meet(&all, None), (Some(3), false), "an older, better one hides nothing");
        all[0].void = Some("revoked".into());
        assert_eq!(meet(&all, None), (Some(2), true));
        assert_eq!(meet(&all, Some("ours")), (Some(2), true));
        assert_eq!(meet(&all, Some("another")), (None, false), "measured in another way");
    }

    #[test]
    fn every_metric_names_its_source() {
        let claimed = [("accuracy", "0.99"), ("loss", "0.1")];
        let claimed = claimed.map(|(name, it)| (name.to_owned(), it.parse().unwrap())).into();
        let evaluations = [evaluation(3, "0.85", "ours")];
        let all = Metrics { claimed: &claimed, evaluations: &evaluations }.all();
        let sources = all.iter().map(|(name, it)| (name.as_str(), it.evaluation.map(|id| id.0)));
        assert_eq!(sources.collect::<Vec<_>>(), [("accuracy", Some(3)), ("loss", None)]);
    }

    #[test]
    fn a_metric_says_by_its_last_word_which_way_is_better() {
        for (name, way) in [
            ("accuracy", Some(Bound::Min)),
            ("macro-F1", Some(Bound::Min)),
            ("val_loss", Some(Bound::Max)),
            ("eval/rmse", Some(Bound::Max)),
            ("loss_weight", None),
            ("samples", None),
            ("", None),
        ] {
            assert_eq!(better(name), way, "{name}");
        }
    }
}
