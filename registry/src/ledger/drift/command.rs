//! What may be asked of monitors through the log.

use crate::drift::Sketched;
use borsh::{BorshDeserialize, BorshSerialize};
use domain::{
    Digest, EpisodeId,
    dataset::DatasetRef,
    drift::{FeatureFinding, MonitorRules, RetrainPolicy},
    model::ModelRef,
};
use std::collections::BTreeMap;

/// A change of what watches models.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub enum DriftCommand {
    /// Watch a version, or watch it in another way.
    SetMonitor {
        /// The version.
        model: ModelRef,
        /// What counts as drift.
        rules: MonitorRules,
        /// What follows.
        policy: RetrainPolicy,
        /// What it was made with, by feature; none where others alone raise alerts.
        reference: BTreeMap<String, Sketched>,
    },
    /// Watch a version no more.
    RemoveMonitor {
        /// The version.
        model: ModelRef,
        /// Why.
        reason: String,
    },
    /// A window that the proposer has scored.
    Observe {
        /// The version.
        model: ModelRef,
        /// The monitor's revision that it was scored against.
        revision: u64,
        /// What was found.
        seen: Seen,
    },
    /// Another system says that a model drifts.
    Alert {
        /// The version.
        model: ModelRef,
        /// What it says.
        reason: String,
        /// What it has found.
        seen: Seen,
    },
    /// A person starts the retrain of an episode.
    Retrain {
        /// The episode.
        episode: EpisodeId,
        /// Data to train with, by the job's name for each, beside what the episode has.
        data: BTreeMap<String, DatasetRef>,
    },
    /// A person ends an episode.
    Close {
        /// The episode.
        episode: EpisodeId,
        /// Why.
        reason: String,
    },
    /// What held the retrain of an episode is over: the leader asks for it to be decided anew.
    Resume {
        /// The episode.
        episode: EpisodeId,
    },
}

/// What was seen of a model.
#[derive(Clone, Debug, Default, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct Seen {
    /// Slices of data that it is of; none is all data.
    pub slices: Vec<String>,
    /// The sender's key, under which it has one effect.
    pub trigger: Option<String>,
    /// Data to train with, by the job's name for each; an empty name is the only one.
    pub data: BTreeMap<String, DatasetRef>,
    /// Digest of the windows; none where another system has scored them.
    pub windows: Option<Digest>,
    /// What was found, by feature.
    pub features: Vec<FeatureFinding>,
}
