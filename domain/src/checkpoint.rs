//! Saved progress of an attempt.

use crate::{
    digest::Digest,
    id::LeaseId,
    limit,
    unit::{Bytes, Millis},
};
use borsh::{BorshDeserialize, BorshSerialize};
use serde::{Deserialize, Serialize};

/// A committed checkpoint: its bytes are on enough servers and its digest is in the log.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize, Serialize, Deserialize)]
pub struct Checkpoint {
    /// The step in the folder's name `step-N`.
    pub step: u64,
    /// Root digest over its files, by which runs are compared.
    pub root: Digest,
    /// Digest of its stored [`crate::chunks::ChunkManifest`], by which it is fetched.
    pub tree: Digest,
    /// Bytes over all files.
    pub size: Bytes,
    /// The lease under which it was committed.
    pub lease: LeaseId,
}

/// Whose bytes are kept, as a job says; what it does not say is the default. Digests are kept in
/// any case, and the newest checkpoint of what may still be resumed.
#[derive(
    Clone,
    Copy,
    Debug,
    Default,
    PartialEq,
    Eq,
    BorshSerialize,
    BorshDeserialize,
    Serialize,
    Deserialize,
)]
pub struct CheckpointRule {
    /// How many of an element: the newest.
    pub keep: Option<u32>,
    /// For how long.
    pub max_age: Option<Millis>,
}

impl CheckpointRule {
    /// How many are kept.
    #[must_use]
    pub fn count(&self) -> u32 {
        self.keep.unwrap_or(limit::CHECKPOINTS_KEPT).max(1)
    }

    /// For how long they are kept.
    #[must_use]
    pub fn age(&self) -> Millis {
        self.max_age.unwrap_or(limit::CHECKPOINT_AGE)
    }

    /// Names what is out of its range: field, fault and remedy.
    pub fn check(&self, fault: &mut impl FnMut(&str, String, &str)) {
        if let Some(keep) = self.keep
            && (keep == 0 || keep > limit::CHECKPOINTS_KEPT_MAX)
        {
            fault("checkpoint.keep", format!("is {keep}"), "give 1 to 512");
        }
        if self.max_age == Some(Millis(0)) {
            fault("checkpoint.max_age", "is zero".into(), "give a duration such as \"7d\"");
        }
    }

    /// Whether the job says nothing of it.
    #[must_use]
    pub fn is_default(&self) -> bool {
        *self == Self::default()
    }
}

/// Drops every second checkpoint of a list, ascending by step, that has become too long: the first
/// and the newest stay, and what stays is spread evenly over the run. Returns what was dropped.
///
/// Two runs that commit the same steps keep the same steps, so they can still be compared.
pub fn thin<T>(checkpoints: &mut Vec<T>) -> Vec<T> {
    if checkpoints.len() <= limit::CHECKPOINT_DIGESTS_KEPT {
        return Vec::new();
    }
    let (mut kept, mut dropped) = (Vec::new(), Vec::new());
    for (at, checkpoint) in std::mem::take(checkpoints).into_iter().enumerate() {
        if at.is_multiple_of(2) { kept.push(checkpoint) } else { dropped.push(checkpoint) }
    }
    *checkpoints = kept;
    dropped
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_that_grows_for_ever_stays_bounded_and_keeps_its_first_and_newest() {
        let mut steps = Vec::new();
        for step in 0..10 * limit::CHECKPOINT_DIGESTS_KEPT {
            steps.push(step);
            thin(&mut steps);
            assert!(steps.len() <= limit::CHECKPOINT_DIGESTS_KEPT);
            assert_eq!((steps.first(), steps.last()), (Some(&0), Some(&step)));
            assert!(steps.is_sorted());
        }
    }
}
