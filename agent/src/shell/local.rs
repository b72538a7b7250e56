//! What the shell keeps of a lease beside the machine.

use crate::store::{ahead::Ahead, meter::Meter};
use domain::{
    Millis,
    framework::Framework,
    observed::{Observed, RankFacts},
};
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};
use tokio::task::JoinSet;

/// A lease's background work and times.
#[derive(Default)]
pub(super) struct Local {
    /// Preparing, hashing, uploading. Ends when the lease is forgotten.
    pub(super) work: JoinSet<()>,
    /// This node's ranks that have not ended.
    pub(super) left: BTreeSet<u32>,
    /// When its first task was started, by the wall clock.
    pub(super) started: Option<Millis>,
    /// When its last task ended, by the wall clock.
    pub(super) ended: Option<Millis>,
    /// Whether its tasks were seen to have left no process behind.
    pub(super) alone: bool,
    /// This node's ranks.
    pub(super) ranks: Vec<u32>,
    /// What the job computes with.
    pub(super) framework: Option<Framework>,
    /// What was read from its tasks' processes, by rank.
    pub(super) observed: BTreeMap<u32, Observed>,
    /// Counts what of its checkpoints was hashed and sent.
    pub(super) meter: Meter,
    /// What of its output is hashed while it is written, on the node that seals it.
    pub(super) ahead: Option<Followed>,
}

/// An output that is hashed while it is written, until this is dropped.
pub(super) struct Followed(pub(super) Arc<Ahead>);

impl Drop for Followed {
    fn drop(&mut self) {
        self.0.stop();
    }
}

impl Local {
    /// What was read from the processes of this node's ranks.
    pub(super) fn facts(&self) -> Vec<RankFacts> {
        let of = |rank: &u32| RankFacts {
            rank: *rank,
            observed: self.observed.get(rank).cloned(),
            answers: None,
        };
        self.ranks.iter().map(of).collect()
    }
}
