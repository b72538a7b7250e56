//! Drift: monitors of models, what they met, and the retrains that followed.

use crate::{
    dataset::DatasetRef,
    decimal::Decimal,
    digest::Digest,
    evaluation::better,
    id::{ArtifactId, EpisodeId, JobId},
    model::ModelRef,
    promotion::Bound,
    unit::Millis,
};
use borsh::{BorshDeserialize, BorshSerialize};
use serde::{Deserialize, Serialize};
use std::{collections::BTreeMap, str::FromStr};

/// The slice that is all data: no name of a slice has this character.
pub const WHOLE: &str = "*";

/// What a monitor looks at: the first part of each feature's name.
pub const PARTS: [&str; 3] = ["inputs", "outputs", "quality"];

/// A word with few values, printed and read as it is written in files.
macro_rules! words {
    ($(#[$doc:meta])* $name:ident, $what:literal {
        $($(#[$of:meta])* $variant:ident = $word:literal,)*
    }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, BorshSerialize, BorshDeserialize,
                 Serialize, Deserialize)]
        pub enum $name {
            $($(#[$of])* #[serde(rename = $word)] $variant,)*
        }

        impl $name {
            /// Its word.
            #[must_use]
            pub fn word(self) -> &'static str {
                match self { $(Self::$variant => $word,)* }
            }
        }

        impl FromStr for $name {
            type Err = WordError;
            fn from_str(text: &str) -> Result<Self, WordError> {
                match text {
                    $($word => Ok(Self::$variant),)*
                    other => Err(WordError {
                        what: $what,
                        text: other.chars().take(40).collect(),
                        words: [$($word),*].join(", "),
                    }),
                }
            }
        }
    };
}

/// A word that is none of those that are known.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{what} is `{text}`; use one of: {words}")]
pub struct WordError {
    what: &'static str,
    text: String,
    words: String,
}

words! {
    /// How p-values are corrected for the number of features.
    CorrectionRule, "the correction" {
        /// Few of the features that are named are named wrongly.
        #[default] BenjaminiHochberg = "benjamini-hochberg",
        /// It is unlikely that any feature is named wrongly.
        Holm = "holm",
        /// Not at all.
        None = "none",
    }
}

words! {
    /// What follows an alert.
    Dispatch, "the dispatch" {
        /// Nothing: the alert is all.
        Off = "off",
        /// A retrain is suggested; a person starts it.
        #[default] Suggest = "suggest",
        /// A retrain is started in the entry that records the drift.
        Auto = "auto",
    }
}

/// What counts as drift. A feature has drifted where its test is significant after the
/// correction, and an effect has reached its threshold.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize, Serialize, Deserialize)]
pub struct MonitorRules {
    /// Samples that each window must have.
    pub samples_min: u64,
    /// Significance, after the correction.
    pub alpha: Decimal,
    /// How p-values are corrected.
    pub correction: CorrectionRule,
    /// Threshold of the population stability index.
    pub psi: Decimal,
    /// Threshold of the Jensen-Shannon distance.
    pub jensen_shannon: Decimal,
    /// Threshold of the Wasserstein distance, in standard deviations of the reference.
    pub wasserstein: Decimal,
}

/// When an alert is followed by a retrain.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize, Serialize, Deserialize,
)]
pub struct RetrainPolicy {
    /// What follows an alert.
    pub dispatch: Dispatch,
    /// Time after a retrain within which no other is started by itself.
    #[serde(rename = "cool_down_ms")]
    pub cool_down: Millis,
    /// Retrains within the period that are started by themselves.
    pub budget: u32,
    /// The budget's period.
    #[serde(rename = "period_ms")]
    pub period: Millis,
}

impl Default for RetrainPolicy {
    /// Suggestions only; a day's cool-down and four a month where retrains start by themselves.
    fn default() -> Self {
        const DAY: u64 = 24 * 3_600_000;
        let dispatch = Dispatch::default();
        Self { dispatch, cool_down: Millis(DAY), budget: 4, period: Millis(30 * DAY) }
    }
}

/// A feature of a reference.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize, Serialize, Deserialize)]
pub struct Feature {
    /// `numeric` or `categorical`.
    pub kind: String,
    /// Samples of the reference.
    pub samples: u64,
}

/// What watches one version of a model.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize, Serialize, Deserialize)]
pub struct Monitor {
    /// The version.
    pub model: ModelRef,
    /// How often it was set.
    pub revision: u64,
    /// What counts as drift.
    pub rules: MonitorRules,
    /// What follows.
    pub policy: RetrainPolicy,
    /// Features of the reference by name: `inputs/age`. Without any, only alerts of others count.
    pub features: BTreeMap<String, Feature>,
    /// Digest of the reference.
    pub reference: Digest,
    /// When it was set last, by the log's clock.
    pub since: Millis,
    /// By whom: retrains that start by themselves are that user's jobs.
    pub set_by: String,
    /// Sequence number of the audit event that records it.
    pub audit_seq: u64,
}

/// What was found of one feature.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize, Serialize, Deserialize)]
pub struct FeatureFinding {
    /// Its name: `inputs/age`.
    pub feature: String,
    /// Whether it has drifted.
    pub drifted: bool,
    /// Samples of the window; 0 where another system has scored it.
    pub samples: u64,
    /// Effects that have reached their threshold.
    pub effects: Vec<String>,
    /// Scores by name, in fixed point.
    pub scores: BTreeMap<String, Decimal>,
}

/// A window that was scored, or an alert of another system.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize, Serialize, Deserialize)]
pub struct Observation {
    /// Its number within the monitor, from 1 on.
    pub number: u64,
    /// The revision that it was scored against.
    pub revision: u64,
    /// When, by the log's clock.
    pub since: Millis,
    /// Who sent it.
    pub by: String,
    /// Slices of data that it is of; none is all data.
    pub slices: Vec<String>,
    /// The sender's key, under which it has one effect.
    pub trigger: Option<String>,
    /// What another system says; none where windows were scored here.
    pub reason: Option<String>,
    /// Data sets to train with, by the job's name for each; an empty name is the only one.
    pub data: BTreeMap<String, DatasetRef>,
    /// Digest of the windows.
    pub windows: Option<Digest>,
    /// What was found, by feature.
    pub features: Vec<FeatureFinding>,
    /// The episode that it belongs to.
    pub episode: Option<EpisodeId>,
}

impl Observation {
    /// Names of features that have drifted.
    pub fn drifted(&self) -> impl Iterator<Item = &str> {
        self.features.iter().filter(|it| it.drifted).map(|it| it.feature.as_str())
    }
}

/// A monitor with what it met.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct MonitorView {
    /// The monitor.
    #[serde(flatten)]
    pub monitor: Monitor,
    /// The episode that is open.
    pub open: Option<EpisodeId>,
    /// Observations so far.
    pub observations: u64,
    /// When retrains were started, oldest first; old ones are left out.
    #[serde(rename = "retrains_ms")]
    pub retrains: Vec<Millis>,
    /// The newest observations, newest first; in a list the newest one.
    pub recent: Vec<Observation>,
}

/// A part of the data that drifted.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize, Serialize, Deserialize)]
pub struct DataSlice {
    /// Its name; `*` is all data.
    pub slice: String,
    /// The data set that has a slice of this name, where one was named.
    pub dataset: Option<DatasetRef>,
    /// The slice's paths in it.
    pub paths: Vec<String>,
}

/// How the retrain of an episode stands.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize, Serialize, Deserialize)]
#[serde(tag = "state", rename_all = "snake_case")]
pub enum Retrain {
    /// None is suggested: the policy is off.
    Off,
    /// A person is to start it.
    Suggested,
    /// The policy would start it, but for this.
    Held {
        /// Why not.
        why: String,
        /// When that is over, where it is a matter of time.
        due: Option<Millis>,
    },
    /// Its job was submitted.
    Dispatched {
        /// The job.
        job: JobId,
        /// When, by the log's clock.
        since: Millis,
        /// Who started it; the policy, where it is the observer's word that did.
        by: String,
    },
}

/// A metric of both versions.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize, Serialize, Deserialize)]
pub struct MetricPair {
    /// Of the version that drifted.
    pub before: Option<Decimal>,
    /// Of what was made anew.
    pub after: Option<Decimal>,
}

/// What was made anew beside what it is to replace.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize, Serialize, Deserialize)]
pub struct Comparison {
    /// What was made.
    pub artifact: ArtifactId,
    /// Root over its files.
    pub root: Digest,
    /// Its recipe.
    pub recipe: Digest,
    /// What drifted.
    pub artifact_before: ArtifactId,
    /// Root over its files.
    pub root_before: Digest,
    /// Its recipe.
    pub recipe_before: Digest,
    /// Whether both are the same bits: the new data has changed nothing.
    pub same_bits: bool,
    /// The version that it was registered as.
    pub model: Option<ModelRef>,
    /// Metrics by name, once it was registered.
    pub metrics: BTreeMap<String, MetricPair>,
    /// When it was sealed, by the log's clock.
    pub since: Millis,
    /// Sequence number of the audit event that suggests a promotion.
    pub suggested_seq: Option<u64>,
    /// The job that measures what was made, as the version was measured.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub measured_by: Option<JobId>,
    /// What sealed evaluations say of both.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub measured: Option<Measurement>,
}

/// What two sealed evaluations say, one of each version, that measured in one way.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize, Serialize, Deserialize)]
pub struct Measurement {
    /// How they measured: the recipe of both jobs, without the version's files.
    pub method: Digest,
    /// The evaluation of the version that drifted.
    pub before: ArtifactId,
    /// That of what was made anew.
    pub after: ArtifactId,
    /// What they found.
    pub metrics: BTreeMap<String, MetricPair>,
    /// Metrics that say which way is better, and got no better value or an equal one: worse, or
    /// not measured any more.
    pub worse: Vec<String>,
    /// Metrics that say which way is better, and are not worse.
    pub held: Vec<String>,
}

impl Measurement {
    /// Compares what both measured.
    #[must_use]
    pub fn of(
        method: Digest,
        before: (ArtifactId, &BTreeMap<String, Decimal>),
        after: (ArtifactId, &BTreeMap<String, Decimal>),
    ) -> Self {
        let names = before.1.keys().chain(after.1.keys());
        let pair = |name: &String| MetricPair {
            before: before.1.get(name).copied(),
            after: after.1.get(name).copied(),
        };
        let metrics: BTreeMap<_, _> = names.map(|name| (name.clone(), pair(name))).collect();
        let (mut worse, mut held) = (Vec::new(), Vec::new());
        for (name, pair) in &metrics {
            let (Some(way), Some(was)) = (better(name), pair.before) else { continue };
            let holds = pair.after.is_some_and(|is| match way {
                Bound::Min => is >= was,
                Bound::Max => is <= was,
            });
            if holds { held.push(name.clone()) } else { worse.push(name.clone()) }
        }
        Self { method, before: before.0, after: after.0, metrics, worse, held }
    }

    /// Whether what was made anew is not worse, as far as names of metrics say what worse is.
    #[must_use]
    pub fn not_worse(&self) -> bool {
        self.worse.is_empty() && !self.held.is_empty()
    }
}

/// Why an episode is over.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize, Serialize, Deserialize)]
pub struct Closing {
    /// Why.
    pub reason: String,
    /// Whose word or window.
    pub by: String,
    /// When, by the log's clock.
    pub since: Millis,
}

/// A feature of an episode.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize, Serialize, Deserialize)]
pub struct DriftedFeature {
    /// Its newest scores at which it had drifted.
    pub scores: BTreeMap<String, Decimal>,
    /// Slices in which it had.
    pub slices: Vec<String>,
}

/// A time for which a model drifts: one alert, and at most one retrain.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize, Serialize, Deserialize)]
pub struct Episode {
    /// Its id.
    pub id: EpisodeId,
    /// The version that drifts.
    pub model: ModelRef,
    /// When it was opened, by the log's clock.
    pub opened: Millis,
    /// By whose window or alert.
    pub opened_by: String,
    /// Features that have drifted.
    pub features: BTreeMap<String, DriftedFeature>,
    /// Slices that have drifted, and whether they did in their newest window.
    pub slices: BTreeMap<String, bool>,
    /// Observations of drift.
    pub observations: u64,
    /// Data to train with: what was named last.
    pub data: BTreeMap<String, DatasetRef>,
    /// What of the data the suggestion is about.
    pub suggested: Vec<DataSlice>,
    /// How the retrain stands.
    pub retrain: Retrain,
    /// What became of it.
    pub comparison: Option<Comparison>,
    /// Whether it is over, and why.
    pub closed: Option<Closing>,
    /// Sequence number of the audit event that is its alert.
    pub alert_seq: u64,
    /// Sequence number of the audit event of its newest suggestion.
    pub suggestion_seq: Option<u64>,
}

/// An episode with how its job stands.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct EpisodeView {
    /// The episode.
    #[serde(flatten)]
    pub episode: Episode,
    /// The state of the retrain's job.
    pub job_state: Option<String>,
}
